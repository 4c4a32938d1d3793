"""Fit a network to a sample in memory: code shared by the training of the joint and the censored networks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from apogaia.formats.stars_h5_columns import OFFSET_INPUTS
from apogaia.model.batches import Batches, in_one_thread
from apogaia.model.checkpoint import Checkpoint, training_key
from apogaia.model.fast import devices, training_jax
from apogaia.survey import TrainingSettings

__all__ = ["CosineRate", "be_reproducible", "fit"]

LAST_RATE = 0.02  # of the cosine, as a share of its highest


def fit(
    model: keras.Model,
    arrays: tuple[Mapping[str, np.ndarray], np.ndarray],
    rows: tuple[np.ndarray, np.ndarray],
    settings: TrainingSettings,
    *,
    name: str,
    patience: int | None = None,
    verbose: bool = True,
    device: bool | None = None,
    checkpoint: Path | None = None,
    code: Iterable[Callable] = (),
) -> dict[str, list[float]]:
    """Fit a compiled network, whose learning rate follows the settings' schedule.

    Parameters
    ----------
    model
        Compiled with an optimiser and a loss per star.
    arrays
        Inputs by name, and targets; one row per star.
    rows
        Of the gradient and of the validation stars.
    settings
        Its seed is that of the order; also used are batch size, epochs and schedule.
    name
        Of the model, in the lines that are printed.
    patience
        Epochs without a better validation loss that end the fit; the weights are then those of the best epoch, also if
        all epochs ran. None: all epochs, and the weights of the last.
    verbose
        Print one line per epoch, with the time that is left.
    device
        Whether JAX compiles whole epochs (`apogaia.model.fast.training_jax`); None: where Keras runs on JAX with an
        accelerator.
    checkpoint
        File in which the state of the fit is kept while it runs. A fit that was killed goes on from there, and ends as
        if it had not been. It stays when the fit has ended: `apogaia.model.checkpoint.remove_checkpoint`.
    code
        Functions that made the network and its loss: where their modules have changed, the fit starts over.

    Returns
    -------
    dict
        Per epoch: ``loss``, ``val_loss``, ``learning_rate``, and of a constant zero point ``offset`` [mas].
    """
    compiled = devices.uses_device(device)
    history = keras.callbacks.History()
    callbacks = [*_schedule(settings, patience, EpochReport(name, settings.epochs, verbose)), history]
    gradient, validation = rows
    batches = Batches(*arrays, gradient, settings.batch_size, shuffle_seed=settings.seed)
    validation_batches = Batches(*arrays, validation, settings.batch_size)
    first_epoch = 0
    if checkpoint is not None:
        key = training_key(model, arrays, rows, settings, [fit, *code], patience=patience, compiled=compiled)
        kept = Checkpoint(checkpoint, key, callbacks, settings.epochs)
        callbacks.append(kept)
        first_epoch = kept.first_epoch
        for _ in range(first_epoch):
            batches.on_epoch_begin()  # each epoch's order follows from the one before
        if verbose and kept.says:
            print(f"{name}: {kept.says}", flush=True)
    epochs: dict[str, Any] = {"initial_epoch": first_epoch, "epochs": settings.epochs, "callbacks": callbacks}
    if compiled:
        training_jax.fit(model, batches, validation_batches, **epochs)
    else:
        batches, validation_batches = in_one_thread(batches, validation_batches)
        model.fit(batches, validation_data=validation_batches, shuffle=False, verbose=0, **epochs)
    return {key: [float(value) for value in values] for key, values in history.history.items()}


def _schedule(settings: TrainingSettings, patience: int | None, report: EpochReport) -> list[keras.callbacks.Callback]:
    """What acts at the end of each epoch, in this order; the report tells the rate with which the epoch was trained."""
    if settings.schedule == "cosine":
        rate: keras.callbacks.Callback = CosineRate(settings.epochs)
    else:
        rate = keras.callbacks.ReduceLROnPlateau(
            monitor="val_loss",
            factor=settings.plateau_factor,
            patience=settings.plateau_patience,
            min_delta=settings.plateau_threshold,
            min_lr=settings.min_learning_rate,
        )
    if patience is None:
        return [rate, report]
    stopping = keras.callbacks.EarlyStopping(monitor="val_loss", patience=patience, restore_best_weights=True)
    return [rate, report, stopping]


class CosineRate(keras.callbacks.Callback):
    """The learning rate rises to the optimiser's own in an eighth of the epochs, and falls to 2 % as half a cosine.

    A high rate in the middle, as in Smith & Topin (2018, arXiv:1708.07120): the networks of the default survey are as
    good as with the plateau after half of the epochs (docs/labels.md).
    """

    def __init__(self, epochs: int):
        super().__init__()
        self.epochs, self.rising, self.highest = epochs, max(1, epochs // 8), float("nan")

    def on_train_begin(self, logs=None):
        """Use the optimiser's rate as the highest."""
        self.highest = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def on_epoch_begin(self, epoch, logs=None):
        """Set the rate of the epoch."""
        self.model.optimizer.learning_rate = self.highest * self.share(epoch)

    def on_epoch_end(self, epoch, logs=None):
        """Report the learning rate of the epoch."""
        logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def share(self, epoch: int) -> float:
        """Share of the highest rate with which an epoch, from 0, is trained."""
        if epoch < self.rising:
            return (epoch + 1) / (self.rising + 1)
        done = (epoch - self.rising) / max(1, self.epochs - 1 - self.rising)
        return LAST_RATE + (1.0 - LAST_RATE) * 0.5 * (1.0 + np.cos(np.pi * done))


def be_reproducible(seed: int) -> None:
    """Seed weights and dropout, and let TensorFlow sum in one order."""
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()


class EpochReport(keras.callbacks.Callback):
    """Add the constant zero point to the history, and print one line per epoch, which make shows in the terminal."""

    def __init__(self, name: str, epochs: int, verbose: bool):
        super().__init__()
        self.name, self.epochs, self.verbose = name, epochs, verbose
        self.ends: list[float] = []  # of start, first epoch that this process trains, ... [s]

    def on_train_begin(self, logs=None):
        self.ends = [time.monotonic()]

    def on_epoch_end(self, epoch, logs=None):
        if self.model.name == "joint_constant":
            ones = np.ones((1, len(OFFSET_INPUTS)), np.float32)
            logs["offset"] = float(keras.ops.convert_to_numpy(self.model.get_layer("offset")(ones))[0, 0])
        self.ends.append(time.monotonic())
        if self.verbose:
            values = "  ".join(f"{name} {value:.4g}" for name, value in logs.items())
            print(
                f"epoch {epoch + 1}/{self.epochs}  {self.name}  {values}  {self._left(self.epochs - 1 - epoch)}",
                flush=True,
            )

    def _left(self, epochs: int) -> str:
        """How long so many epochs will take, as the past ones did; the first also compiles, and is left out."""
        past = self.ends[1:] if len(self.ends) > 2 else self.ends
        seconds = (past[-1] - past[0]) / (len(past) - 1) * epochs
        return f"{seconds:.0f} s left" if seconds < 120 else f"{seconds / 60:.0f} min left"
