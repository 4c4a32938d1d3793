"""The commands for published networks: ``apogaia models`` and ``apogaia import-model``."""

from __future__ import annotations

import argparse
import os
import shlex

from apogaia.cli.checks import check_output, one_line_without_backend
from apogaia.published import registry

__all__ = ["import_model", "models"]


def models(options: argparse.Namespace) -> int:
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
        raise ValueError(f"fetch which? Known are {names}")
    model = registry.find_model(options.name)
    folder = registry.fetch_model(model, options.folder)
    output = f"{folder.name}.keras"
    print(f"{folder} is complete; cite {model.citation}")
    print(
        f"next: apogaia import-model {shlex.quote(str(folder))} --survey {model.survey} --output {shlex.quote(output)}"
    )
    return 0


def import_model(options: argparse.Namespace) -> int:
    """Write a published network as a model file."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    check_output(options, ".keras")
    with one_line_without_backend():
        from apogaia.published.import_model import import_model as write

    imported = write(options.source, options.output, survey=options.survey, offset_at=options.constant_at)
    for line in imported.lines():
        print(line)
    print(f"written: {options.output}")
    return 0
