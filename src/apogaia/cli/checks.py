"""What the commands share: which model, which output, and errors in one line."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from apogaia.survey import Survey, load_survey
from apogaia.workspace import Workspace

__all__ = ["call", "check_output", "check_passes", "model_path_of", "one_line_without_backend", "warn_if_simulated"]

KERAS_BACKENDS = ("tensorflow", "jax", "jaxlib", "torch", "openvino")  # packages that Keras imports as its backend


@contextmanager
def one_line_without_backend() -> Iterator[None]:
    """Say in one line which backends Keras may run on where it cannot import the one that it is to run on."""
    try:
        yield
    except (ModuleNotFoundError, ValueError) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and missing.partition(".")[0] not in KERAS_BACKENDS:
            raise
        raise ValueError(
            f"Keras cannot use its backend ({error}): install it (pip install 'apogaia[cpu]' brings TensorFlow,"
            " apogaia[cuda] the one for NVIDIA), or set KERAS_BACKEND to one that is installed:"
            " tensorflow, jax and torch train and predict, numpy predicts"
        ) from error


def call(command: str, survey: str) -> str:
    """Return a command line for the survey as the user named it."""
    return f"`apogaia {command} {shlex.quote(survey)}`"


def model_path_of(given: Path | None, name: str, survey: Survey | None = None) -> Path:
    """Return the model to use, checked before the imports that take seconds."""
    survey = survey or load_survey("mock")
    path = given or Workspace(survey).model(name)
    if not path.is_file():
        others = sorted(Workspace(survey).data.parent.glob(f"*/models/{name}.keras"))
        there = f", for instance {others[0]}, which exists" if others and given is None else ""
        raise FileNotFoundError(
            f"{path}: no such model; `make all` or {call('train', survey.name)} trains one, or name yours with"
            f" --model{there}"
        )
    return path


def warn_if_simulated(path: Path, provenance: Mapping) -> None:
    """Say so of a model that was trained on simulated stars."""
    if provenance["settings"]["sources"]["kind"] == "simulated":
        print(
            f"warning: {path} was trained on simulated stars: its results are meaningless for real ones",
            file=sys.stderr,
        )


def check_output(options: argparse.Namespace, *suffixes: str) -> None:
    """Raise a ValueError if ``--output`` is given with another suffix."""
    if options.output and not options.output.name.endswith(suffixes):
        allowed = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
        raise ValueError(f"--output {options.output}: the suffix must be {allowed}")


def check_passes(options: argparse.Namespace) -> None:
    """Raise a ValueError if ``--passes`` is given and below 2."""
    if options.passes is not None and options.passes < 2:
        raise ValueError(
            f"--passes {options.passes}: the model error is a standard deviation and needs at least 2 passes"
        )
