"""Weights in Keras 3's archives (``model_weights.keras``)."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import h5py

from apogaia.model.model_origin import ModelFileError
from apogaia.published.archive_members import read_members
from apogaia.published.keras_layers import KerasLayers, configured_layers, read_array

__all__ = ["read_keras3_file"]

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
KINDS = {"Dense", "Conv1D"}  # of layers with weights that a network needs


def read_keras3_file(path: Path) -> KerasLayers:
    """Layers of a ``.keras`` file.

    The groups of its weights are numbered by class in the order of the model's layers, whose names are in its
    description. Later versions of Keras note the names beside the weights, too: they must agree.

    Raises
    ------
    ModelFileError
        If it is no such file, damaged, or the description does not fit the weights.
    """
    members = read_members(path, "a .keras file")
    if CONFIG not in members or WEIGHTS not in members:
        raise ModelFileError(f"{path}: lacks {CONFIG} or {WEIGHTS}: is it a .keras file?")
    weights = {}
    try:
        layers = configured_layers(json.loads(members[CONFIG]), path)
        with h5py.File(io.BytesIO(members[WEIGHTS]), "r") as file:
            kinds = [(name, str(layer["class_name"])) for name, layer in layers.items()]
            for name, group in _groups(kinds):
                variables = file["layers"][group]["vars"]
                noted = variables.attrs.get("name", name)
                if noted != name:
                    raise ModelFileError(f"{path}: weights of layer {noted!r}, but {name!r} is described: get it again")
                arrays = [read_array(variables[key], f"layer {name!r}", path) for key in ("0", "1") if key in variables]
                weights[name] = dict(zip(("kernel", "bias"), arrays, strict=False))
    except (OSError, RuntimeError, KeyError, json.JSONDecodeError, UnicodeError) as error:
        raise ModelFileError(f"{path}: damaged, or not as Keras writes it ({error}): get it again") from error
    return KerasLayers(path, weights, layers)


def _groups(kinds: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Layers with weights and their groups: dense, dense_1, ... in the order of the layers."""
    seen: Counter[str] = Counter()
    groups = []
    for name, kind in kinds:
        if kind in KINDS:
            snake = re.sub("([a-z])([A-Z])", r"\1_\2", kind).lower()
            groups.append((name, f"{snake}_{seen[kind]}" if seen[kind] else snake))
            seen[kind] += 1
    return groups
