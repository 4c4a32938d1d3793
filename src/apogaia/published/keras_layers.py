"""Layers of a network that Keras saved: weights by the layers' names, and which layers feed which."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from apogaia.model.model_origin import ModelFileError
from apogaia.published.network_parts import MAX_VALUES, Dense, finite

__all__ = ["KerasLayers", "configured_layers", "read_array"]


@dataclass(frozen=True)
class KerasLayers:
    """What a file of Keras holds, with checks."""

    source: Path
    weights: Mapping[str, Mapping[str, np.ndarray]]  # layer -> "kernel", "bias" -> numbers
    layers: Mapping[str, Mapping[str, Any]]  # layer -> its description; empty if the file has none

    def named(self, name: str, shape: tuple[int, ...]) -> Dense:
        """Weights of the layer of that name, whose kernel must have that shape.

        Raises
        ------
        ModelFileError
            If there is no such layer, or its weights have other shapes or are not finite.
        """
        if name not in self.weights:
            raise ModelFileError(f"{self.source}: no layer {name!r} with weights: is the folder complete?")
        found = self.weights[name]
        kernel, bias = found.get("kernel"), found.get("bias")
        if kernel is None or bias is None or kernel.shape != shape or bias.shape != shape[-1:]:
            shapes = {end: values.shape for end, values in found.items()}
            raise ModelFileError(
                f"{self.source}: layer {name!r} has weights {shapes}, not a kernel {shape} and its bias"
            )
        return Dense(*(finite(values, f"layer {name!r}", self.source) for values in (kernel, bias)))

    def shaped(self, shape: tuple[int, ...], what: str, besides: Collection[str]) -> Dense:
        """Weights of the one layer whose kernel has that shape; those `besides` do not count.

        Raises
        ------
        ModelFileError
            If there is none, or more than one.
        """
        found = [
            name
            for name, values in self.weights.items()
            if name not in besides and "kernel" in values and values["kernel"].shape == shape
        ]
        if len(found) != 1:
            others = [values for name, values in self.weights.items() if name not in besides and "kernel" in values]
            kernels = sorted(str(values["kernel"].shape) for values in others)
            fault = f"layers {' and '.join(sorted(found))} both have" if found else "no layer has"
            raise ModelFileError(
                f"{self.source}: {fault} a kernel of the shape {shape} ({what}); there are"
                f" {', '.join(kernels) or 'none'}"
            )
        return self.named(found[0], shape)

    def feeding(self, name: str) -> list[str]:
        """Names of the layers whose outputs a layer takes, in their order.

        Raises
        ------
        ModelFileError
            If the file does not describe that layer.
        """
        if name not in self.layers:
            raise ModelFileError(
                f"{self.source}: no description of the layer {name!r}, whose inputs tell which label is which: give a"
                " file of the whole model, not only of its weights"
            )
        return list(_names(self.layers[name].get("inbound_nodes", [])))

    def activation(self, name: str) -> str | None:
        """The activation of a layer; None if the file does not describe it."""
        return self.layers.get(name, {}).get("config", {}).get("activation")

    def in_a_lambda(self, number: float) -> bool | None:
        """Whether the code of a Lambda layer, which is not run, has that number; None if there is no such code."""
        codes = [
            code
            for layer in self.layers.values()
            if layer.get("class_name") == "Lambda"
            for code in _decoded(layer.get("config", {}))
        ]
        return any(struct.pack("<d", number) in code for code in codes) if codes else None


def configured_layers(config: Any, source: Path) -> dict[str, dict]:
    """Layers of a model's description by their names, in its order.

    Raises
    ------
    ModelFileError
        If it is not such a description.
    """
    try:
        layers = config["config"]["layers"]
        return {layer["config"]["name"]: layer for layer in layers}
    except (KeyError, TypeError) as error:
        raise ModelFileError(f"{source}: the model's description has no layers: get the file again") from error


def read_array(dataset, what: str, source: Path) -> np.ndarray:
    """Numbers of an HDF5 dataset of this file.

    Raises
    ------
    ModelFileError
        If it is none, is too large, or lies in another file.
    """
    if not hasattr(dataset, "shape") or dataset.dtype.kind != "f" or dataset.is_virtual or dataset.external:
        raise ModelFileError(f"{source}: {what} is not an array of floating-point numbers of this file: get it again")
    if dataset.size > MAX_VALUES:
        raise ModelFileError(f"{source}: {what} has the shape {dataset.shape}, too large for any published network")
    return np.asarray(dataset[()], np.float64)


def _names(nodes: Any) -> Iterator[str]:
    """Names in the order of a description: [name, node, tensor, ...] of Keras 2, or "keras_history" of Keras 3."""
    if isinstance(nodes, Mapping):
        if "keras_history" in nodes:
            yield str(nodes["keras_history"][0])
            return
        for value in nodes.values():
            yield from _names(value)
    elif isinstance(nodes, list):
        if len(nodes) >= 3 and isinstance(nodes[0], str) and all(isinstance(number, int) for number in nodes[1:3]):
            yield nodes[0]
            return
        for value in nodes:
            yield from _names(value)


def _decoded(value: Any) -> Iterator[bytes]:
    """What the long texts of a description hold in base 64."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _decoded(item)
    elif isinstance(value, str) and len(value) > 60:
        try:
            yield base64.b64decode(value)
        except (binascii.Error, ValueError):
            return
