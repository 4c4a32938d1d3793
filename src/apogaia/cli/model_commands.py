"""The commands for published networks: ``apogaia models`` and ``apogaia import-model``."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from apogaia.cli.checks import check_output, one_line_without_backend
from apogaia.cli.help_texts import IMPORT_MODEL, IMPORT_MODEL_EPILOG, MODELS, MODELS_EPILOG
from apogaia.cli.options import add_command, add_file
from apogaia.published import registry

__all__ = ["add"]


def add(commands: argparse._SubParsersAction) -> None:
    """Add the commands to the parser of all."""
    listing = add_command(commands, "models", _models, "list published networks, or fetch one")
    listing.description, listing.epilog = MODELS, MODELS_EPILOG
    listing.add_argument("action", nargs="?", choices=("list", "fetch"), default="list", help="default: list")
    listing.add_argument("name", nargs="?", metavar="NAME", help="of the network to fetch")
    add_file(listing, "--folder", "where to put it (default: data/published/NAME)", "FOLDER")

    importing = add_command(commands, "import-model", _import_model, "a published network as a model of apogaia")
    importing.description, importing.epilog = IMPORT_MODEL, IMPORT_MODEL_EPILOG
    importing.add_argument("source", type=Path, metavar="FOLDER_OR_FILE", help="a model folder, or a PyTorch file")
    importing.add_argument("--output", type=Path, required=True, metavar="NAME.keras", help="the model file to write")
    importing.add_argument(
        "--survey",
        metavar="SURVEY",
        help="survey with the network's settings of spectra (default: dr14 or dr17, by the files' layout)",
    )
    importing.add_argument(
        "--constant-at",
        choices=("ones", "zeros"),
        default="ones",
        help="inputs for a constant zero point: as in the paper (ones, the default), or as in training (zeros)",
    )


def _models(options: argparse.Namespace) -> int:
    """List the published networks, or fetch one."""
    if options.action == "fetch":
        return _fetch(options)
    if options.folder is not None or options.name is not None:
        raise ValueError("a name and --folder go with `apogaia models fetch NAME`")
    for model in registry.published_models():
        sizes = sum(model.sizes.values())
        print(f"{model.name}\n    {model.about}")
        print(f"    {model.network}, spectra as in {model.survey}; {model.folder} at {model.page}")
        print(f"    {f'{sizes / 1e6:.0f} MB; ' if sizes else ''}licence: {model.licence}; cite {model.citation}")
    return 0


def _fetch(options: argparse.Namespace) -> int:
    if options.name is None:
        names = ", ".join(model.name for model in registry.published_models())
        raise ValueError(f"name the network to fetch: one of {names}")
    model = registry.find_model(options.name)
    folder = registry.fetch_model(model, options.folder)
    output = f"{folder.name}.keras"
    print(f"{folder} is complete; cite {model.citation}")
    print(
        f"next: apogaia import-model {shlex.quote(str(folder))} --survey {model.survey} --output {shlex.quote(output)}"
    )
    return 0


def _import_model(options: argparse.Namespace) -> int:
    """Write a published network as a model file."""
    check_output(options, ".keras")
    with one_line_without_backend():
        from apogaia.published.import_model import import_model as write

    imported = write(options.source, options.output, survey=options.survey, offset_at=options.constant_at)
    for line in imported.lines():
        print(line)
    print(f"written: {options.output}")
    return 0
