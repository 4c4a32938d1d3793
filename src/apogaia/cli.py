"""The command line: ``apogaia mock | reduce | distance``."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from apogaia import __version__
from apogaia.survey import SurveyError, load_survey, survey_names
from apogaia.workspace import Workspace

EPILOG = """examples:
  apogaia mock smoke                        simulate the smallest survey under data/smoke
  apogaia reduce smoke                      its spectra, normalised, in data/smoke/stars.h5
  apogaia distance apStar-r8-2M*.fits       distances of your own stars, with the model of data/mock
  apogaia distance star.fits --model data/mock/models/none.keras --output star.ecsv
"""

DISTANCE = """Distances from apStar files: luminosity (fakemag), parallax and distance, each with its error from the spread
of dropout passes (model), the network's own estimate (predictive) and both together (total).

Ks and A_Ks are read from the files' headers. Stars without a usable spectrum or Ks keep their row: the column
`reason` says why, and `flags` (bits, explained under the table) whether something else is missing or doubtful.

Exit code: 0 if every file has a distance, 1 if at least one has none, 2 if nothing could be tried (no model, wrong
arguments)."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (SurveyError, FileNotFoundError, ValueError) as error:
        print(f"apogaia {options.command}: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="apogaia",
        description="Spectro-photometric distances for APOGEE stars and the Gaia parallax zero point.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"apogaia {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    survey_help = f"{', '.join(survey_names())}, or the path of a .toml file"

    mock = commands.add_parser("mock", help="simulate a survey with known truth, in the real file formats")
    mock.add_argument("survey", help=survey_help)
    mock.add_argument("--processes", type=int, default=None, help="default: all cores")
    mock.set_defaults(run=_mock)

    reduce = commands.add_parser("reduce", help="raw files -> normalised spectra and labels (stars.h5)")
    reduce.add_argument("survey", help=survey_help)
    reduce.add_argument("--processes", type=int, default=None, help="default: all cores")
    reduce.set_defaults(run=_reduce)

    distance = commands.add_parser(
        "distance",
        help="distances of single stars from their apStar files",
        description=DISTANCE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    distance.add_argument("files", nargs="+", type=Path, metavar="APSTAR", help="apStar or asStar files")
    distance.add_argument(
        "--model",
        type=Path,
        default=None,
        help="trained model (.keras); default: data/mock/models/constant.keras, which `make all` makes",
    )
    distance.add_argument("--passes", type=int, default=None, help="dropout passes (default: the survey's, 100)")
    distance.add_argument("--seed", type=int, default=None, help="of the dropout (default: the survey's)")
    distance.add_argument("--output", type=Path, default=None, help="write the table to a .ecsv or .fits file")
    distance.set_defaults(run=_distance)
    return parser


def _mock(options: argparse.Namespace) -> int:
    from apogaia.simulate import simulate_survey

    survey = load_survey(options.survey)
    workspace = Workspace(survey)
    if survey.simulation is None:
        raise ValueError(
            f"survey {survey.name} is not simulated: put its raw files under {workspace.raw} as data/README.md lists"
            f" them, with a file {workspace.raw_manifest.name} beside them"
        )
    simulate_survey(survey, workspace, processes=options.processes)
    print(f"{survey.simulation.n_stars} simulated stars under {workspace.raw}, their truth in {workspace.truth}")
    return 0


def _reduce(options: argparse.Namespace) -> int:
    from apogaia.reduction import reduce_survey

    survey = load_survey(options.survey)
    print(reduce_survey(survey, Workspace(survey), processes=options.processes))
    return 0


def _distance(options: argparse.Namespace) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import numpy as np

    from apogaia.catalogue import Flags, describe_flags, write_table
    from apogaia.distance import measure_distances
    from apogaia.training import load_model, read_provenance

    if options.output and options.output.suffix not in (".ecsv", ".fits"):
        raise ValueError(f"--output {options.output}: write to a .ecsv or a .fits file")
    model_path = options.model or Workspace(load_survey("mock")).model("constant")
    if not model_path.is_file():
        raise FileNotFoundError(f"{model_path}: no such model; `make all` trains one, or name yours with --model")
    model = load_model(model_path)
    provenance = read_provenance(model_path)
    table = measure_distances(
        options.files,
        model,
        load_survey(provenance["survey"]),
        passes=options.passes,
        seed=options.seed,
        progress=len(options.files) > 20,
    )
    print_columns = ["apogee_id", "fakemag", "nn_parallax", "dist", "dist_model_error", "dist_error", "flags"]
    shown = table[print_columns]
    shown.pprint(max_lines=-1, max_width=-1)
    for path, reason in zip(options.files, table["reason"], strict=True):
        if reason:
            print(f"{path.name}: {reason}", file=sys.stderr)
    for line in describe_flags(np.bitwise_or.reduce(np.asarray(table["flags"]))):
        print(line)
    if options.output:
        write_table(table, options.output)
        print(f"written: {options.output}")
    return int(bool(np.any(table["flags"] & Flags.NO_RESULT)) or bool(np.any(~np.isfinite(table["dist"]))))
