"""Weights in Keras 2's HDF5 files (``model_weights.h5``)."""

from __future__ import annotations

import json
from pathlib import Path

import h5py

from apogaia.model.model_origin import ModelFileError
from apogaia.published.keras_layers import KerasLayers, configured_layers, read_array

__all__ = ["read_keras2_file"]


def read_keras2_file(path: Path) -> KerasLayers:
    """Layers of a file that holds a whole model, or its weights alone.

    Raises
    ------
    ModelFileError
        If it is no such file, damaged, or holds other than floating-point numbers.
    """
    try:
        with h5py.File(path, "r") as file:
            description = "".join(_texts(file, "model_config"))
            layers = configured_layers(json.loads(description), path) if description else {}
            group = file.get("model_weights", file)
            weights = {name: _weights(group[name], name, path) for name in _texts(group, "layer_names")}
    except (OSError, RuntimeError, KeyError, UnicodeError, json.JSONDecodeError) as error:
        raise ModelFileError(f"{path}: damaged, cut short, or no HDF5 file of Keras ({error}): get it again") from error
    weights = {name: values for name, values in weights.items() if values}
    if not weights:
        raise ModelFileError(f"{path}: holds no weights: is it an HDF5 file of Keras?")
    return KerasLayers(path, weights, layers)


def _weights(group: h5py.Group, layer: str, path: Path) -> dict:
    """Arrays of a layer by the ends of their names: "conv1d_1/kernel:0" is "kernel"."""
    return {
        name.rpartition("/")[2].partition(":")[0]: read_array(group[name], f"layer {layer!r}", path)
        for name in _texts(group, "weight_names")
    }


def _texts(group: h5py.Group, attribute: str) -> list[str]:
    """Texts of an attribute; one too long for HDF5 stands in numbered pieces."""
    if attribute in group.attrs:
        pieces = [group.attrs[attribute]]
    else:
        numbered = (f"{attribute}{i}" for i in range(len(group.attrs)))
        pieces = [group.attrs[name] for name in numbered if name in group.attrs]
    texts = []
    for piece in pieces:
        values = [piece] if isinstance(piece, (bytes, str)) else list(piece)
        texts += [value.decode() if isinstance(value, bytes) else str(value) for value in values]
    return texts
