"""A fit of a small network that can be killed between epochs, and what it must end in.

``python kill_trainings.py FILE`` fits it slowly, with its state in this file, for a process that is to be killed.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from apogaia.model import checkpoint, fitting, networks
from apogaia.model.fast.layers import BitDropout
from apogaia.survey import load_survey

# With these the validation loss is best after 3 epochs and the rate is halved after 5 and 7; 8 are run. After 6, both
# schedule and patience are amid their waits.
SETTINGS = dataclasses.replace(
    load_survey("smoke").training,
    epochs=12,
    batch_size=16,
    seed=1,
    min_learning_rate=1e-6,
    plateau_patience=2,
    plateau_factor=0.5,
    plateau_threshold=0.0,
)
PATIENCE = 5
ROWS = np.arange(80), np.arange(80, 100)  # of the gradient, and of the validation stars


class Killed(BaseException):
    """Stands for a signal that ends the process."""


def noisy_line():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(100, 20)).astype(np.float32)
    return {"x": x}, (x[:, :1] + rng.normal(size=(100, 1))).astype(np.float32)


def square(y, predicted):
    return keras.ops.sum((y - predicted) ** 2, axis=-1)


def network(dropout=0.2, rate=0.06):
    """A network that soon learns the noise of the line."""
    given = keras.Input((20,), name="x")
    hidden = BitDropout(dropout, name="dropout")(keras.layers.Dense(24, activation="relu", name="hidden")(given))
    model = keras.Model({"x": given}, keras.layers.Dense(1, name="line")(hidden), name="noisy")
    model.compile(optimizer=keras.optimizers.Adam(rate), loss=square)
    return model


def fitted(place=None, *, settings=SETTINGS, patience=PATIENCE, device=None, verbose=False):
    """Weights and history."""
    fitting.be_reproducible(settings.seed)
    model = network()
    history = fitting.fit(
        model,
        noisy_line(),
        ROWS,
        settings,
        name="noisy",
        patience=patience,
        verbose=verbose,
        device=device,
        checkpoint=place,
        code=[networks.trunk],
    )
    return model.get_weights(), history


def killed(patch, place, epochs, **changed):
    """Fit it, and kill it as it begins another epoch after so many, each of which has left its state."""

    class Report(fitting.EpochReport):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == epochs:
                raise Killed

    with patch.context() as inner:
        inner.setattr(checkpoint, "EVERY_S", 0.0)
        inner.setattr(fitting, "EpochReport", Report)
        with pytest.raises(Killed):
            fitted(place, **changed)


def assert_same(found, wanted):
    assert found[1] == wanted[1]
    for a, b in zip(found[0], wanted[0], strict=True):
        np.testing.assert_array_equal(a, b)


def fit_slowly(place: Path) -> None:
    class Slow(fitting.EpochReport):
        def on_epoch_begin(self, epoch, logs=None):
            time.sleep(0.5)

    checkpoint.EVERY_S, fitting.EpochReport = 0.0, Slow
    fitted(place)


if __name__ == "__main__":
    fit_slowly(Path(sys.argv[1]))
