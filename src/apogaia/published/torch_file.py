"""Arrays in PyTorch's files, without PyTorch, and without running what a pickle may ask for."""

from __future__ import annotations

import collections
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from apogaia.model.model_origin import ModelFileError
from apogaia.published.archive_members import read_members
from apogaia.published.network_parts import MAX_VALUES

__all__ = ["read_torch_file"]

STATE = "model_state_dict"
TYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


def read_torch_file(path: Path) -> dict[str, np.ndarray]:
    """Arrays of the dictionary ``model_state_dict`` in a file that ``torch.save`` wrote (PyTorch 1.6 or later).

    Only what makes up tensors is taken from the pickle; a file that names anything else is refused, and nothing of it
    has run then.

    Raises
    ------
    ModelFileError
        If it is no such file, is damaged, or names other things than tensors and dictionaries.
    """
    members = read_members(path, "a file that PyTorch 1.6 or later saved")
    pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise ModelFileError(
            f"{path}: a zip archive, but not of PyTorch: it holds {len(pickles)} files data.pkl, not one"
        )
    root = pickles[0].removesuffix("data.pkl")
    order: Literal[">", "<"] = ">" if members.get(f"{root}byteorder", b"little").strip() == b"big" else "<"
    reader = _Reader(io.BytesIO(members[pickles[0]]), path)
    try:
        content = reader.load()
    except ModelFileError:
        raise
    except Exception as error:  # a damaged pickle may fail in any way
        raise ModelFileError(f"{path}: its pickle cannot be read ({error}): get the file again") from error
    state = content.get(STATE) if isinstance(content, dict) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, _Tensor) for value in state.values()):
        raise ModelFileError(f"{path}: holds no dictionary {STATE!r} of tensors: is it the parameters of a network?")
    return {str(name): tensor.numbers(members, root, order, f"{path}: {name}") for name, tensor in state.items()}


class _Storage(NamedTuple):
    """Which member holds the numbers, their type and their number; the last two are not trusted."""

    type: str
    key: str


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage, not yet read."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def numbers(self, members: Mapping[str, bytes], root: str, order: Literal[">", "<"], what: str) -> np.ndarray:
        """Read the numbers, all of which must lie inside the storage."""
        member = f"{root}data/{self.storage.key}"
        whole = (self.offset, *self.shape, *self.strides)
        if (
            member not in members
            or len(self.shape) != len(self.strides)
            or not all(isinstance(number, int) and number >= 0 for number in whole)
        ):
            raise ModelFileError(f"{what}: the tensor is not described as PyTorch does: get the file again")
        dtype = np.dtype(TYPES[self.storage.type]).newbyteorder(order)
        stored = np.frombuffer(members[member][: len(members[member]) // dtype.itemsize * dtype.itemsize], dtype)
        n_values = int(np.prod([float(length) for length in self.shape]))
        last = self.offset + sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if n_values > MAX_VALUES or (n_values and last >= len(stored)):
            raise ModelFileError(f"{what}: {n_values} values, more than are stored or than any published network has")
        if not n_values:
            return np.zeros(self.shape, dtype.newbyteorder("="))
        steps = [step * dtype.itemsize for step in self.strides]
        view = np.lib.stride_tricks.as_strided(stored[self.offset :], self.shape, steps, writeable=False)
        return view.astype(dtype.newbyteorder("="))


class _Reader(pickle.Unpickler):
    """Makes dictionaries and `_Tensor` of a pickle, and refuses it at any other name."""

    def __init__(self, content: io.BytesIO, path: Path):
        super().__init__(content)
        self.path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module == "torch" and name in TYPES:
            return name  # a text, which nothing can call
        raise ModelFileError(
            f"{self.path}: its pickle names {module}.{name}, which is no tensor and might run code: refused. Save"
            " the network's state_dict alone"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        kind, storage, key, *_ = pid
        if kind != "storage" or storage not in TYPES or not str(key).isdigit():
            raise pickle.UnpicklingError(f"unknown storage {pid!r}")
        return _Storage(storage, str(key))


def _tensor(storage, offset, shape, strides, *_) -> _Tensor:
    if not isinstance(storage, _Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    return _Tensor(storage, offset, tuple(shape), tuple(strides))


def _parameter(tensor, *_) -> _Tensor:
    if not isinstance(tensor, _Tensor):
        raise pickle.UnpicklingError("a parameter without a tensor")
    return tensor
