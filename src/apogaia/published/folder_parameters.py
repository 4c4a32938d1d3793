"""The JSON file of a model folder (``astroNN_model_parameter.json``): sizes, checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apogaia.formats.stars_h5_columns import ELEMENTS, OFFSET_INPUTS
from apogaia.model.model_origin import ModelFileError

__all__ = ["CENSORED", "DISTANCES", "JOINT", "PARAMETERS_FILE", "FolderParameters", "read_folder_parameters"]

PARAMETERS_FILE = "astroNN_model_parameter.json"
DISTANCES, JOINT, CENSORED = "ApogeeBCNN", "ApogeeDR14GaiaDR2BCNN", "ApogeeBCNNCensored"
HIDDEN = {DISTANCES: 2, JOINT: 4, CENSORED: 5}  # sizes that each states: trunk, then offset, or elements and auxiliary
MAX_BYTES = 1 << 24  # of the file; the published ones have some 0.4 MB
LABELS_STATED = ("teff", "logg", *(element.lower() for element in ELEMENTS))


@dataclass(frozen=True)
class FolderParameters:
    """What a folder states of its network."""

    path: Path
    architecture: str
    by_name: bool  # values are stated for each input and output by name, as from 2021 on
    n_pixels: int
    n_inputs: int  # pixels, and for the joint network Ks, G, BP-RP and Teff
    n_labels: int
    filters: tuple[int, int]
    conv_width: int
    pool_width: int
    hidden: tuple[int, ...]
    dropout: float
    last_activation: str | None
    content: Mapping[str, Any]  # all of it


def read_folder_parameters(folder: Path) -> FolderParameters:
    """Read and check the JSON file of a folder.

    Raises
    ------
    ModelFileError
        If it is missing, cannot be read, states a size that is none, or another network than the three known ones.
    """
    path = folder / PARAMETERS_FILE
    if not path.is_file():
        raise ModelFileError(f"{folder}: no {PARAMETERS_FILE} in it: give the whole model folder")
    if path.stat().st_size > MAX_BYTES:
        raise ModelFileError(f"{path}: larger than {MAX_BYTES} bytes: is it the file of a model folder?")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        architecture = content["id"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileError(f"{path}: damaged, cut short, or not of a model folder ({error}): get it again") from error
    if architecture not in HIDDEN:
        raise ModelFileError(f"{path}: a network of the kind {architecture!r}; apogaia reads {', '.join(HIDDEN)}")
    if content.get("activation", "relu") != "relu" or content.get("task", "regression") != "regression":
        raise ModelFileError(f"{path}: activation must be relu and task regression, as in the published networks")
    hidden = _whole(content, "hidden", path, HIDDEN[architecture])
    n_inputs = _whole(_of(content, "input", "input"), "input", path)[0]
    parameters = FolderParameters(
        path=path,
        architecture=architecture,
        by_name=isinstance(content["input"], Mapping),
        n_pixels=n_inputs - (1 + len(OFFSET_INPUTS) if architecture == JOINT else 0),
        n_inputs=n_inputs,
        n_labels=_whole(_of(content, "labels", "output"), "labels", path)[0],
        filters=(*_whole(content, "filternum", path, 2),),  # type: ignore[arg-type]
        conv_width=_whole(content, "filterlen", path)[0],
        pool_width=_whole(content, "pool_length", path)[0],
        hidden=hidden,
        dropout=_share(content, path),
        last_activation=content.get("last_layer_activation"),
        content=content,
    )
    _check_labels(parameters)
    return parameters


def _check_labels(parameters: FolderParameters) -> None:
    expected = len(LABELS_STATED) if parameters.architecture == CENSORED else 1
    if parameters.n_labels != expected:
        raise ModelFileError(
            f"{parameters.path}: {parameters.n_labels} labels; the {parameters.architecture} that apogaia reads has"
            f" {expected}"
        )
    stated = parameters.content.get("targetname")
    if parameters.architecture == CENSORED and isinstance(stated, list):
        names = tuple(str(name).lower().removeprefix("[").removesuffix("/h]") for name in stated)
        names = tuple({"c1": "ci", "ti2": "tiii"}.get(name, name) for name in names)
        if names != LABELS_STATED:
            raise ModelFileError(f"{parameters.path}: targetname is not {', '.join(LABELS_STATED)}, in this order")


def _of(content: Mapping, key: str, name: str) -> Mapping:
    """The same with one value where a file states several by name."""
    value = content.get(key)
    return {key: value[name] if isinstance(value, Mapping) and name in value else value}


def _whole(content: Mapping, key: str, path: Path, length: int | None = None) -> tuple[int, ...]:
    """Whole numbers above zero: one, or as many as `length`; a file may state more."""
    value = content.get(key)
    numbers = value if isinstance(value, list) else [value]
    good = all(isinstance(number, int) and not isinstance(number, bool) and 0 < number < 100_000 for number in numbers)
    if not good or not numbers or (length is not None and len(numbers) != length):
        wanted = "a whole number above zero" if length is None else f"{length} whole numbers above zero"
        raise ModelFileError(f"{path}: {key} must be {wanted}, not {value!r}: get the file again")
    return tuple(numbers)


def _share(content: Mapping, path: Path) -> float:
    rate = content.get("dropout_rate")
    if not isinstance(rate, (int, float)) or not 0 <= rate < 1:
        raise ModelFileError(f"{path}: dropout_rate must be from 0 to below 1, not {rate!r}: get the file again")
    return float(rate)
