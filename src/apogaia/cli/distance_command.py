"""``apogaia distance``: distances of single stars from their files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from apogaia.cli import astra_commands
from apogaia.cli.checks import check_output, check_passes, model_path_of, one_line_without_backend, warn_if_simulated
from apogaia.cli.help_texts import DISTANCE, DISTANCE_EPILOG
from apogaia.cli.options import add_command, add_dropout, add_file, add_schema

__all__ = ["add"]


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser of all."""
    distance = add_command(commands, "distance", _distance, "distances of single stars from their apStar files")
    distance.description, distance.epilog = DISTANCE, DISTANCE_EPILOG
    distance.add_argument("files", nargs="+", type=Path, metavar="APSTAR", help="apStar or asStar files")
    add_file(
        distance,
        "--model",
        "trained model (.keras); default: data/mock/models/calibrated.keras, which `make all` trains, or none.keras"
        " beside it with --product astra",
    )
    add_dropout(distance)
    add_file(
        distance,
        "--output",
        "write the table to a .ecsv, .csv or .fits file; .fits.gz, too, with --product astra",
    )
    distance.add_argument(
        "--product",
        choices=("catalogue", "astra"),
        default="catalogue",
        help="columns and flags of our catalogue (default), or those of AstroNNDist, SDSS Astra's distances",
    )
    astra = distance.add_argument_group("with --product astra")
    astra.add_argument(
        "--ebv", type=float, metavar="MAG", help="E(B-V) of stars whose header states no extinction (default: unknown)"
    )
    add_schema(astra)


def _distance(options: argparse.Namespace) -> int:

    import numpy as np

    if options.product == "astra":
        return astra_commands.distances(options)
    for option in ("ebv", "schema"):
        if getattr(options, option) not in (None, "dr19"):
            raise ValueError(f"--{option} is for --product astra")
    check_output(options, ".ecsv", ".csv", ".fits")
    check_passes(options)
    model_path = model_path_of(options.model, "calibrated")
    from apogaia.distances.catalogue import Flags, describe_flags, write_table

    with one_line_without_backend():
        from apogaia.trained_model import TrainedModel

    model = TrainedModel.load(model_path)
    warn_if_simulated(model_path, model.provenance)
    if model.domain is None:
        print(
            f"warning: {model_path} does not hold its training domain: no star is flagged as outside it",
            file=sys.stderr,
        )
    table = model.distances(options.files, passes=options.passes, seed=options.seed, progress=len(options.files) > 20)
    shown = table["apogee_id", "fakemag", "nn_parallax", "dist", "dist_model_error", "dist_error", "flags"]
    names = [star or path.name for star, path in zip(table["apogee_id"], options.files, strict=True)]
    shown.replace_column("apogee_id", names)
    for name, form in {"fakemag": ".3f", "nn_parallax": ".4f"}.items():
        shown[name].info.format = form
    for name in ("dist", "dist_model_error", "dist_error"):
        shown[name].info.format = ".1f"
    shown.pprint(max_lines=-1, max_width=-1)
    for reason in filter(None, table["reason"]):
        print(reason, file=sys.stderr)
    for line in describe_flags(np.bitwise_or.reduce(np.asarray(table["flags"]))):
        print(line)
    if options.output:
        write_table(table, options.output)
        print(f"written: {options.output}")
    return int(bool(np.any(table["flags"] & Flags.NO_RESULT)) or bool(np.any(~np.isfinite(table["dist"]))))
