"""Training of the joint networks."""

from __future__ import annotations

import time
from pathlib import Path

import keras
import numpy as np

from apogaia.formats.stars_h5_columns import OFFSET_INPUTS
from apogaia.model import likelihood, model_file, networks
from apogaia.model.batches import Batches, in_one_thread
from apogaia.model.fast import devices, training_jax
from apogaia.model.training_domain import TrainingDomain
from apogaia.model.training_set import TrainingSet, mean_of_rows, split
from apogaia.reduction import quality_cuts, stars_h5
from apogaia.survey import Survey, TrainingSettings

__all__ = ["train", "train_joint_model"]


def train(
    survey: Survey,
    sample: TrainingSet,
    offset: str,
    *,
    name: str | None = None,
    verbose: bool = True,
    device: bool | None = None,
) -> tuple[keras.Model, dict[str, list[float]]]:
    """Train one joint network.

    Adam, the learning rate reduced on a plateau of the validation loss, a seeded split into gradient and validation
    stars. The same survey and sample give the same weights, bit for bit, on one kind of CPU.

    Parameters
    ----------
    survey
        Its sections ``network`` and ``training`` are used.
    sample
        The training set; scales and mean spectrum are those of its gradient stars.
    offset
        "none", "constant" or "multivariate".
    name
        Of the model, in the lines that are printed; None: `offset`.
    verbose
        Print one line per epoch, with the time that is left.
    device
        Whether JAX compiles whole epochs (`apogaia.model.fast.training_jax`); None: where Keras runs on JAX with an
        accelerator.

    Returns
    -------
    model, history
        History per epoch: ``loss``, ``val_loss``, ``learning_rate``, and for "constant" ``offset`` [mas].

    Raises
    ------
    ValueError
        If the sample has values that are not finite or too few stars to split, or Keras' backend has no gradients.
    """
    devices.check_gradients("training")
    settings = survey.training
    gradient, validation = split(len(sample), settings.validation_fraction, settings.seed)
    inputs, targets = sample.arrays(offset)
    colours = np.column_stack([getattr(sample, name)[gradient] for name in OFFSET_INPUTS])
    devices.log_once("training")
    _be_reproducible(settings.seed)
    rate = settings.learning_rate_without_offset if offset == "none" else settings.learning_rate_with_offset
    with devices.training_scope():
        model = networks.build_joint_network(
            survey.network,
            offset,
            mean_spectrum=mean_of_rows(sample.spectrum, gradient),
            parallax_scale=float(np.std(sample.parallax[gradient])),
            offset_mean=colours.mean(axis=0),
            offset_sd=colours.std(axis=0),
            variance_form=settings.variance_form,
        )
        model.compile(optimizer=keras.optimizers.Adam(rate), loss=_loss(settings))
    batches = Batches(inputs, targets, gradient, settings.batch_size, shuffle_seed=settings.seed)
    validation_batches = Batches(inputs, targets, validation, settings.batch_size)
    callbacks = [
        keras.callbacks.ReduceLROnPlateau(
            monitor="val_loss",
            factor=settings.plateau_factor,
            patience=settings.plateau_patience,
            min_delta=settings.plateau_threshold,
            min_lr=settings.min_learning_rate,
        ),
        EpochReport(name or offset, settings.epochs, verbose),
    ]
    if devices.uses_device(device):
        history = training_jax.fit(model, batches, validation_batches, epochs=settings.epochs, callbacks=callbacks)
    else:
        batches, validation_batches = in_one_thread(batches, validation_batches)
        history = model.fit(
            batches,
            validation_data=validation_batches,
            epochs=settings.epochs,
            shuffle=False,
            verbose=0,
            callbacks=callbacks,
        )
    return model, {name: [float(value) for value in values] for name, values in history.history.items()}


def train_joint_model(path: Path, survey: Survey, stars: Path, offset: str) -> None:
    """Train a joint network on the survey's training set, and write its model file.

    Parameters
    ----------
    path
        Model file to write.
    survey
        Its sections ``sources``, ``cuts``, ``network`` and ``training`` are used.
    stars
        The survey's stars.h5.
    offset
        "none", "constant" or "multivariate".
    """
    with stars_h5.open_stars(stars) as opened:
        selected = quality_cuts.select(opened.table, survey)
        rows = selected.training_multivariate if offset == "multivariate" else selected.training
        sample = TrainingSet.from_stars(opened, rows)
    network, history = train(survey, sample, offset)
    gradient, _ = split(len(sample), survey.training.validation_fraction, survey.training.seed)
    domain = TrainingDomain.fit(sample, gradient, seed=survey.training.seed)
    origin = model_file.provenance(survey, sample, offset) | {"history": history}
    model_file.save_model(network, path, origin, domain)


class EpochReport(keras.callbacks.Callback):
    """Add the constant zero point to the history, and print one line per epoch, which make shows in the terminal."""

    def __init__(self, name: str, epochs: int, verbose: bool):
        super().__init__()
        self.name, self.epochs, self.verbose = name, epochs, verbose
        self.ends: list[float] = []  # of start, first epoch, ... [s]

    def on_train_begin(self, logs=None):
        self.ends = [time.monotonic()]

    def on_epoch_end(self, epoch, logs=None):
        if self.model.name == "joint_constant":
            ones = np.ones((1, len(OFFSET_INPUTS)), np.float32)
            logs["offset"] = float(keras.ops.convert_to_numpy(self.model.get_layer("offset")(ones))[0, 0])
        self.ends.append(time.monotonic())
        if self.verbose:
            values = "  ".join(f"{name} {value:.4g}" for name, value in logs.items())
            print(f"epoch {epoch + 1}/{self.epochs}  {self.name}  {values}  {self._left()}", flush=True)

    def _left(self) -> str:
        """How long the epochs to come will take, as the past ones did; the first also compiles, and is left out."""
        past = self.ends[1:] if len(self.ends) > 2 else self.ends
        seconds = (past[-1] - past[0]) / (len(past) - 1) * (self.epochs + 1 - len(self.ends))
        return f"{seconds:.0f} s left" if seconds < 120 else f"{seconds / 60:.0f} min left"


def _loss(settings: TrainingSettings):
    if settings.contaminant_fraction == 0:
        return likelihood.parallax_loss
    return likelihood.robust_parallax_loss(settings.contaminant_fraction, settings.contaminant_width)


def _be_reproducible(seed: int) -> None:
    keras.utils.set_random_seed(seed)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
