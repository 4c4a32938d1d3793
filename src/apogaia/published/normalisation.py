"""The normalisation of inputs and labels that a model folder states in its JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from apogaia.model.model_origin import ModelFileError
from apogaia.published.network_parts import finite

__all__ = ["Normalisation", "read_normalisation"]

# mode -> whether it subtracts a mean and divides by a standard deviation
MODES = {
    "0": (False, False),
    "1": (True, True),
    "2": (True, True),
    "3": (True, False),
    "4": (False, True),
    "255": (False, True),
}
ONE_NUMBER = ("1", "255")  # for all features


class Normalisation(NamedTuple):
    """(x - mean) / sd; both (features,)."""

    mean: np.ndarray
    sd: np.ndarray
    mode: str


def read_normalisation(
    parameters: Mapping[str, Any], kind: str, name: str, n_features: int, source: Path
) -> Normalisation:
    """Mean and standard deviation of an input or of the labels.

    Parameters
    ----------
    parameters
        Content of the folder's JSON file.
    kind, name
        "input", "input" or "labels", "output": the kind and, where a file holds several, the name.
    n_features
        Pixels (and further inputs), or labels; a single number holds for all of them.
    source
        The folder, for messages.

    Raises
    ------
    ModelFileError
        If a value is missing or not finite, the number of values is another, or the mode is unknown, is not a shift
        and a scale (3s), or is contradicted by the values.
    """
    mean, sd, mode = (_entry(parameters, f"{kind}_{end}", name, source) for end in ("mean", "std", "norm_mode"))
    mode = str(mode)
    if mode == "3s":
        raise ModelFileError(
            f"{source}: {kind}_norm_mode 3s is a sigmoid, but apogaia's networks only shift and scale: give a network"
            " of another mode"
        )
    if mode not in MODES:
        raise ModelFileError(f"{source}: {kind}_norm_mode {mode!r} is unknown; known are {', '.join(MODES)} and 3s")
    mean, sd = (_values(values, f"{kind}_{end}", n_features, source) for values, end in ((mean, "mean"), (sd, "std")))
    if np.any(sd <= 0):
        raise ModelFileError(f"{source}: {kind}_std must be above zero everywhere: get the file again")
    _check_mode(mode, mean, sd, kind, source)
    return Normalisation(mean, sd, mode)


def _check_mode(mode: str, mean: np.ndarray, sd: np.ndarray, kind: str, source: Path) -> None:
    """Mode 0 may come with values: the networks extracted from joint ones state their scale, which is applied."""
    centred, scaled = MODES[mode]
    fault = ""
    if mode != "0" and not centred and np.any(mean != 0):
        fault = f"subtracts nothing, but {kind}_mean is not zero"
    elif mode != "0" and not scaled and np.any(sd != 1):
        fault = f"divides by nothing, but {kind}_std is not one"
    elif mode in ONE_NUMBER and (np.ptp(mean) > 0 or np.ptp(sd) > 0):
        fault = f"has one number for all, but {kind}_mean or {kind}_std several"
    elif mode == "255" and np.any(sd != 255):
        fault = f"divides by 255, but {kind}_std is not that"
    if fault:
        raise ModelFileError(f"{source}: {kind}_norm_mode {mode} {fault}: get the file again")


def _entry(parameters: Mapping[str, Any], key: str, name: str, source: Path):
    value = parameters.get(key)
    if isinstance(value, Mapping):
        value = value.get(name)
    if value is None:
        raise ModelFileError(f"{source}: the JSON file does not state {key}: get the file again")
    return value


def _values(values, what: str, n_features: int, source: Path) -> np.ndarray:
    values = np.atleast_1d(finite(values, what, source))
    if values.shape == (1,):
        values = np.repeat(values, n_features)
    if values.shape != (n_features,):
        raise ModelFileError(f"{source}: {what} has the shape {values.shape}, not ({n_features},): get the file again")
    return values
