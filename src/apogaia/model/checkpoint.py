"""The state of a training between two epochs, in one file, from which a killed training resumes.

The file has all that the epochs to come depend on, so that they end in the same weights, bit for bit. Keras' own
BackupAndRestore writes in place, and keeps neither the history nor the state of schedule and patience.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import keras
import numpy as np

from apogaia import files
from apogaia.survey import TrainingSettings

__all__ = ["Checkpoint", "remove_checkpoint", "training_key"]

EVERY_S = 20.0  # [s] writing takes a fraction of a second at the paper's size: at most some percent of a training
STATE = ("best", "best_epoch", "cooldown_counter", "history", "stopped_epoch", "wait")  # of schedule, patience, history


class Checkpoint(keras.callbacks.Callback):
    """Resumes the training whose state is in a file, and saves the state there after epochs.

    It must be the last of the callbacks, since what they do at the end of an epoch belongs to the state.

    Parameters
    ----------
    path
        The file; a training that ends sooner than `EVERY_S` leaves none.
    key
        What `training_key` gives; the file of another training is not used.
    callbacks
        The others.
    epochs
        Of the whole training.

    Attributes
    ----------
    first_epoch
        How many epochs are done; all, if patience has ended the training.
    says
        How the training begins, in a line; "" without a file.
    """

    def __init__(self, path: Path, key: str, callbacks: Sequence[keras.callbacks.Callback], epochs: int):
        super().__init__()
        self.path, self.key, self.callbacks, self.epochs = path, key, list(callbacks), epochs
        self.first_epoch, self.says, self.written_at = 0, "", 0.0
        self.found: dict[str, np.ndarray] = {}
        if path.is_file():
            self._read()

    def on_train_begin(self, logs=None):
        """Restore the state, after the other callbacks have been reset."""
        self.written_at = time.monotonic()
        if not self.found:
            return
        self.model.optimizer.build(self.model.trainable_variables)
        variables = [*self.model.variables, *self.model.optimizer.variables]
        for variable, value in zip(variables, _group(self.found, "variable"), strict=True):
            variable.assign(value)
        states = json.loads(self.found["state"].item())["callbacks"]
        for i, (callback, state) in enumerate(zip(self.callbacks, states, strict=True)):
            vars(callback).update(state)
            if best_weights := _group(self.found, f"best_weight_{i}"):
                callback.best_weights = best_weights
        self.found = {}

    def on_epoch_end(self, epoch, logs=None):
        """Save the state, unless that has just been done."""
        if time.monotonic() >= self.written_at + EVERY_S:
            self._write(epoch + 1)
            self.written_at = time.monotonic()

    def _read(self) -> None:
        mark, _, content = self.path.read_bytes().partition(b"\n")
        key, _, digest = mark.partition(b" ")
        if digest != _digest(content):
            self.says = f"starts over: {self.path} is damaged"
            return
        if key != self.key.encode():
            self.says = f"starts over: {self.path} is of another training, with other settings, stars or code"
            return
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            self.found = dict(arrays)
        state = json.loads(self.found["state"].item())
        self.first_epoch = self.epochs if state["ended"] else state["epoch"]
        self.says = f"resumes after epoch {state['epoch']} of {self.epochs}"

    def _write(self, epoch: int) -> None:
        states = [{name: vars(item)[name] for name in STATE if name in vars(item)} for item in self.callbacks]
        state = {"epoch": epoch, "ended": self.model.stop_training, "callbacks": states}
        arrays = {"state": np.array(json.dumps(state, default=float))}
        variables = [*self.model.variables, *self.model.optimizer.variables]
        arrays |= {f"variable_{i}": keras.ops.convert_to_numpy(variable) for i, variable in enumerate(variables)}
        for i, callback in enumerate(self.callbacks):
            best_weights = getattr(callback, "best_weights", None) or []
            arrays |= {f"best_weight_{i}_{j}": weight for j, weight in enumerate(best_weights)}
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **arrays)
        first_line = self.key.encode() + b" " + _digest(content.getvalue()) + b"\n"
        with files.atomic(self.path) as temporary:
            temporary.write_bytes(first_line + content.getvalue())


def training_key(
    model: keras.Model,
    arrays: tuple[Mapping[str, np.ndarray], np.ndarray],
    rows: tuple[np.ndarray, np.ndarray],
    settings: TrainingSettings,
    code: Iterable[Callable],
    **others,
) -> str:
    """A hash of everything that determines a training.

    Parameters
    ----------
    model
        Before its first step: its layers, weights and seeds count, and its optimiser.
    arrays, rows, settings
        As for `apogaia.model.fitting.fit`.
    code
        Functions that make and train the model, with all that their modules import, as for `apogaia.files.fingerprint`.
    others
        Numbers and texts.
    """
    optimiser = {name: value for name, value in model.optimizer.get_config().items() if name != "name"}  # it is counted
    inputs, targets = arrays
    stated = {"settings": dataclasses.asdict(settings), "network": model.get_config(), "optimiser": optimiser}
    stated |= {"keras": keras.__version__, "backend": keras.backend.backend(), "inputs": sorted(inputs)} | others
    digest = hashlib.sha256(files.fingerprint(stated, code=code).encode())
    weights = [keras.ops.convert_to_numpy(variable) for variable in model.variables]
    for values in (*(inputs[name] for name in sorted(inputs)), targets, *rows, *weights):
        digest.update(f"{values.dtype} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def remove_checkpoint(path: Path | None) -> None:
    """Remove the state of a finished training, and files left by killed runs."""
    if path is not None:
        files.remove_leftovers(path)
        path.unlink(missing_ok=True)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _group(arrays: Mapping[str, np.ndarray], name: str) -> list[np.ndarray]:
    """The arrays name_0, name_1, ... in this order."""
    return [arrays[f"{name}_{i}"] for i in range(sum(key.startswith(f"{name}_") for key in arrays))]
