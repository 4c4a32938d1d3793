"""``apogaia compare``: two catalogues of distances, star by star."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from apogaia.cli.checks import check_output
from apogaia.cli.help_texts import COMPARE, COMPARE_EPILOG
from apogaia.cli.options import add_command
from apogaia.survey import load_survey

__all__ = ["add"]

FIGURES = (".pdf", ".png", ".svg")


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser of all."""
    parser = add_command(commands, "compare", _compare, "compare two catalogues of distances, star by star")
    parser.description, parser.epilog = COMPARE, COMPARE_EPILOG
    for name, text in (("first", "your distances"), ("second", "the distances to compare them with")):
        parser.add_argument(
            name, type=Path, metavar=name.upper(), help=f"{text}: a .fits, .fits.gz, .ecsv or .csv file"
        )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write all numbers to a .json file")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the comparison: a .pdf, .png or .svg file")
    parser.add_argument(
        "--max-error",
        type=float,
        default=0.2,
        metavar="X",
        help="leave out stars whose relative error in either is larger (default: 0.2, as the paper; inf: none)",
    )
    parser.add_argument(
        "--radius", type=float, default=2.0, metavar="ARCSEC", help="for matches by position (default: 2)"
    )


def _compare(options: argparse.Namespace) -> int:
    """Run the command and return the exit code."""
    check_output(options, ".json")
    if options.figure and options.figure.suffix not in FIGURES:
        raise ValueError(f"--figure {options.figure}: the suffix must be {', '.join(FIGURES)}")
    for option, value in (("max-error", options.max_error), ("radius", options.radius)):
        if not value > 0:
            raise ValueError(f"--{option} {value} must be above 0")
    from apogaia.distances.comparisons import pair_up, summary_rows
    from apogaia.files import atomic, write_json
    from apogaia.formats.distance_catalogues import read_distance_catalogue

    survey = load_survey("dr14")
    settings = dataclasses.replace(survey.comparisons, max_relative_error=options.max_error)
    sources = dataclasses.replace(survey.sources, match_radius=options.radius)
    first, second = (read_distance_catalogue(path, settings.min_membership) for path in (options.first, options.second))
    for catalogue in (first, second):
        print(f"{catalogue.path}: {catalogue.title}, {len(catalogue.table)} rows")
    pair = pair_up(first, second, sources, settings)
    numbers = pair.numbers()
    print("\n".join(summary_rows(numbers)))
    if options.output:
        write_json(options.output, numbers | {"files": [str(options.first), str(options.second)]})
        print(f"written: {options.output}")
    if options.figure:
        import matplotlib

        matplotlib.use("Agg")
        from apogaia import plots

        plots.use_style()
        with atomic(options.figure) as temporary:
            plots.pair_figure(pair, numbers).flat[0].figure.savefig(temporary)
        print(f"written: {options.figure}")
    return 0
