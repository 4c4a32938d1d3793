"""``apogaia predict``: luminosities of all stars of a survey by one of its networks, which notebooks 04 and 05 read."""

from __future__ import annotations

import argparse

from apogaia.cli.checks import call, one_line_without_backend
from apogaia.cli.help_texts import PREDICT, PREDICT_EPILOG
from apogaia.cli.options import add_command, add_survey
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

__all__ = ["add"]

MODELS = ("none", "constant", "multivariate", "calibrated")


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser of all."""
    predict = add_command(commands, "predict", _predict, "luminosities of all stars of a survey")
    predict.description, predict.epilog = PREDICT, PREDICT_EPILOG
    add_survey(predict)
    predict.add_argument(
        "--model", choices=MODELS, help="the network (default: the one that the survey's catalogue is made with)"
    )


def _predict(options: argparse.Namespace) -> int:
    survey = load_survey(options.survey)
    workspace = Workspace(survey)
    name = options.model or survey.calibration.model
    for path, command in ((workspace.stars, "reduce"), (workspace.model(name), "train")):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: run {call(command, options.survey)} first")
    with one_line_without_backend():
        from apogaia.products import predicted_stars
    predicted_stars(survey, workspace, name)
    print(workspace.prediction(name))
    return 0
