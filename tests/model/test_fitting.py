"""Fits of a network of one layer: patience, best weights, and the time that is left."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest

from apogaia.model import fitting
from apogaia.survey import load_survey

SETTINGS = dataclasses.replace(load_survey("smoke").training, epochs=12, batch_size=32, seed=1)
# one batch an epoch, whose order does not count
ROWS = (np.arange(32), np.arange(32, 40))


def fitted(patience, device=None):
    """The validation stars lie on y = 3 x, the others on y = 5 x: on its way to 5 the weight is best at 3."""
    x = np.linspace(-1, 1, 40, dtype=np.float32)[np.random.default_rng(1).permutation(40), None]
    y = 5 * x
    y[ROWS[1]] = 3 * x[ROWS[1]]
    fitting.be_reproducible(1)
    given = keras.Input((1,), name="x")
    slope = keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name="slope")
    model = keras.Model({"x": given}, slope(given))
    model.compile(optimizer=keras.optimizers.SGD(0.3), loss=lambda y, p: keras.ops.sum((y - p) ** 2, axis=-1))
    history = fitting.fit(
        model, ({"x": x}, y), ROWS, SETTINGS, name="line", patience=patience, verbose=False, device=device
    )
    at_best = (float(keras.ops.convert_to_numpy(slope.kernel)[0, 0]) - 3) ** 2 * float((x[ROWS[1]] ** 2).mean())
    return history["val_loss"], at_best


def test_patience_ends_the_fit_and_the_best_weights_come_back():
    losses, at_end = fitted(patience=2)
    best = int(np.argmin(losses))
    assert best > 0 and len(losses) == best + 3 < 12
    assert at_end == pytest.approx(losses[best], rel=1e-4, abs=1e-6)


def test_the_best_weights_come_back_where_all_epochs_ran():
    losses, at_end = fitted(patience=50)
    assert len(losses) == 12 and min(losses) < 0.5 * losses[-1]
    assert at_end == pytest.approx(min(losses), rel=1e-4, abs=1e-6)


def test_without_patience_all_epochs_run_and_the_last_weights_stay():
    losses, at_end = fitted(patience=None)
    assert len(losses) == 12 and min(losses) < 0.5 * losses[-1]
    assert at_end == pytest.approx(losses[-1], rel=1e-4)


def test_epochs_that_jax_compiles_end_in_the_same_way(jax_process):
    jax_process.run(f"""
        patch.syspath_prepend({str(Path(__file__).parent)!r})
        from test_fitting import fitted

        for patience in (2, 50, None):
            for one, other in zip(fitted(patience, device=True), fitted(patience, device=False), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    """)


@pytest.mark.parametrize(
    ("ends", "epochs", "left"),
    [([0, 50], 9, "8 min left"), ([0, 50, 51], 8, "8 s left"), ([0, 50, 650, 1250], 7, "70 min left")],
)
def test_the_time_left_follows_from_the_epochs_after_the_first(ends, epochs, left):
    """The first one also compiles."""
    report = fitting.EpochReport("none", 10, verbose=True)
    report.ends = ends
    assert report._left(epochs) == left


def test_the_time_left_of_a_resumed_training_is_that_of_its_last_epochs(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(fitting.time, "monotonic", lambda: now[0])
    report = fitting.EpochReport("none", 60, verbose=True)
    report.set_model(keras.Sequential())
    report.on_train_begin()
    for epoch in (17, 18, 59):  # counted from 0
        now[0] += 2.0
        report.on_epoch_end(epoch, {})
    assert [line.split("  ")[-1] for line in capsys.readouterr().out.splitlines()] == [
        *("84 s left", "82 s left", "0 s left"),
    ]
