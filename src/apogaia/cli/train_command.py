"""``apogaia train``: the networks of a survey, without notebooks and make."""

from __future__ import annotations

import argparse
import sys

from apogaia.cli.checks import call, one_line_without_backend
from apogaia.cli.help_texts import TRAIN, TRAIN_EPILOG
from apogaia.cli.options import add_command, add_survey, add_workers
from apogaia.files import alone
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

__all__ = ["add"]

MODELS = ("parameters", "none", "constant", "multivariate", "calibrated")


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser of all."""
    train = add_command(commands, "train", _train, "train a survey's networks")
    train.description, train.epilog = TRAIN, TRAIN_EPILOG
    add_survey(train)
    train.add_argument(
        "--model",
        choices=MODELS,
        action="append",
        help="only this network (may be repeated; default: all that make trains)",
    )
    add_workers(train)


def _train(options: argparse.Namespace) -> int:
    survey = load_survey(options.survey)
    workspace = Workspace(survey)
    if not workspace.raw_manifest.is_file():
        raise FileNotFoundError(f"{workspace.raw_manifest} is missing: run {call('data', options.survey)} first")
    with one_line_without_backend():
        from apogaia import products
    from apogaia.reduction.reduce import reduce_survey
    from apogaia.reduction.stars_h5 import open_stars
    from apogaia.zero_point.sample_checks import check_samples, without_multivariate

    reduce_survey(survey, workspace, processes=options.processes, scheduler=options.scheduler)
    own_labels = survey.labels.source == "own"
    wanted = options.model or [name for name in MODELS if name != "parameters" or own_labels]
    if set(wanted) != {"parameters"}:
        with open_stars(workspace.stars) as stars:
            check_samples(survey, stars.table)
    left_out = ""
    if "multivariate" in wanted:
        with open_stars(products.labelled_stars(survey, workspace)) as stars:
            left_out = without_multivariate(survey, stars.table)
        if left_out:
            print(left_out, file=sys.stderr)
    for name in MODELS:
        if name not in wanted or (name == "multivariate" and left_out):
            continue
        path = workspace.model(name)
        with alone(path.with_name(f".{name}.lock"), f"another process is training {path}"):
            if name == "parameters":
                products.parameters_model(survey, workspace)
            elif name == "calibrated":
                products.calibrated_model(survey, workspace)
            else:
                products.trained_model(survey, workspace, name)
        print(path)
    return int(bool(left_out) and options.model == ["multivariate"])
