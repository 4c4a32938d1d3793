"""``apogaia zeropoint``: the parallax zero point of every star in a Gaia table."""

from __future__ import annotations

import argparse
from pathlib import Path

from apogaia.cli.checks import model_path_of, one_line_without_backend, warn_if_simulated
from apogaia.cli.help_texts import ZEROPOINT, ZEROPOINT_EPILOG
from apogaia.cli.options import SEED_HELP, add_command, add_file, add_number

__all__ = ["add"]


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser of all."""
    zero_point = add_command(
        commands, "zeropoint", _zero_point, "the parallax zero point of every star in a Gaia table"
    )
    zero_point.description, zero_point.epilog = ZEROPOINT, ZEROPOINT_EPILOG
    zero_point.add_argument(
        "table",
        type=Path,
        metavar="TABLE",
        help="Gaia sources: a .parquet, .fits, .csv or .ecsv file, or a folder of Parquet files",
    )
    add_file(
        zero_point,
        "--model",
        "trained model (.keras) with an offset; default: data/mock/models/multivariate.keras, which `make all` trains,"
        " or constant.keras beside it with --constant",
    )
    add_file(zero_point, "--output", "default: TABLE with _zero_point in its name")
    zero_point.add_argument(
        "--constant", action="store_true", help="one zero point for all stars; needs no G, BP-RP and Teff"
    )
    zero_point.add_argument(
        "--exact",
        action="store_true",
        help="evaluate the network for each star (about 20,000 stars a second) instead of a grid that differs from it"
        " by less than 0.1 uas (millions of stars a second)",
    )
    add_number(zero_point, "--chunk", "rows at a time (default: 262144)")
    add_number(zero_point, "--draws", "dropout draws (default: the survey's)")
    add_number(zero_point, "--seed", SEED_HELP)
    for option, default in (("g-mag", "phot_g_mean_mag"), ("bp-rp", "bp_rp"), ("parallax", "parallax")):
        zero_point.add_argument(
            f"--{option}", default=default, metavar="COLUMN", help=f"name of that column (default: {default})"
        )
    zero_point.add_argument("--teff", metavar="COLUMN", help="default: teff_gspphot (DR3) or teff_val (DR2)")


def _zero_point(options: argparse.Namespace) -> int:

    model_path = model_path_of(options.model, "constant" if options.constant else "multivariate")
    if not options.table.exists():  # before Keras, which takes seconds to load
        raise FileNotFoundError(f"{options.table}: no such file or folder")
    from apogaia.model.model_origin import read_provenance
    from apogaia.zero_point.gaia_tables import (
        CHUNK,
        ColumnNames,
        ZeroPointFlags,
        add_zero_point_to_file,
        default_output,
    )

    provenance = read_provenance(model_path)
    warn_if_simulated(model_path, provenance)
    if options.constant and provenance.get("offset") != "constant":
        raise ValueError(f"{model_path}: its offset is not constant; give constant.keras or leave --constant out")
    with one_line_without_backend():
        import keras  # noqa: F401
    output = options.output or default_output(options.table)
    counts = add_zero_point_to_file(
        options.table,
        output,
        model_path,
        exact=options.exact,
        columns=ColumnNames(options.g_mag, options.bp_rp, options.teff, options.parallax),
        chunk=CHUNK if options.chunk is None else options.chunk,
        draws=options.draws,
        seed=options.seed,
    )
    print(f"written: {output}, {counts['valid']} of {counts['rows']} stars with a zero point")
    for name, bit in ZeroPointFlags.__members__.items():
        if counts[name]:
            print(f"  domain {bit.value:2d}: {counts[name]} stars, {bit.reason}")
    return int(counts["valid"] == 0)
