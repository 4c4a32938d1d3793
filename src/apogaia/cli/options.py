"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from apogaia.survey import survey_names

__all__ = [
    "PROCESSES_HELP",
    "SEED_HELP",
    "add_command",
    "add_dropout",
    "add_file",
    "add_number",
    "add_schema",
    "add_survey",
    "add_workers",
]

PROCESSES_HELP = "one core each (default: all cores)"
SEED_HELP = "of the dropout (default: the survey's)"


def add_command(
    commands: argparse._SubParsersAction, name: str, run: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    """Add a command with its one-line summary; `run` is called with the options and returns the exit code."""
    parser = commands.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(run=run)
    return parser


def add_survey(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names a survey."""
    parser.add_argument("survey", metavar="SURVEY", help=f"{', '.join(survey_names())}, or the path of a .toml file")


def add_number(options: argparse._ActionsContainer, name: str, text: str) -> None:
    """Add an option that takes a whole number."""
    options.add_argument(name, type=int, metavar="N", help=text)


def add_file(options: argparse._ActionsContainer, name: str, text: str, metavar: str = "FILE") -> None:
    """Add an option that takes a path."""
    options.add_argument(name, type=Path, metavar=metavar, help=text)


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add the options that say who works: processes of this machine, or a Dask scheduler's workers."""
    workers = parser.add_mutually_exclusive_group()
    add_number(workers, "--processes", "on this machine, one core each (default: all cores)")
    workers.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="read the spectra on the workers of the Dask scheduler at this address, tcp://host:8786",
    )


def add_schema(options: argparse._ActionsContainer) -> None:
    """Add the option that chooses the names of Astra's columns."""
    options.add_argument(
        "--schema", choices=("dr19", "dev"), default="dr19", help="names of Astra's columns (default: dr19)"
    )


def add_dropout(options: argparse._ActionsContainer) -> None:
    """Add the options of the dropout passes."""
    add_number(options, "--passes", "dropout passes (default: the survey's, 100)")
    add_number(options, "--seed", SEED_HELP)
