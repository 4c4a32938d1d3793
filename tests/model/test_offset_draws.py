"""Dropout draws of the zero point."""

import keras
import numpy as np
import pytest
from small_networks import SMALL, model_of

from apogaia.model.offset_draws import offset_draws


def test_constant_offset_draws_follow_the_dropout_of_the_offset_network():
    model = model_of(SMALL)
    draws = offset_draws(model, None, draws=20000, seed=1)
    assert draws.shape == (20000, 1)
    network = model.get_layer("offset")
    weights = [[keras.ops.convert_to_numpy(w).astype(float) for w in layer.weights] for layer in network.layers]
    first, second, last = (w for w in weights if w and len(w) == 2 and w[0].ndim == 2)
    rng = np.random.default_rng(5)
    x = np.tanh(np.ones((20000, 3)) @ first[0] + first[1])
    x = x * (rng.random(x.shape) < 0.7) / 0.7
    x = np.tanh(x @ second[0] + second[1])
    x = x * (rng.random(x.shape) < 0.7) / 0.7
    expected = 1.5 * np.tanh(x @ last[0] + last[1])
    assert draws.mean() == pytest.approx(expected.mean(), abs=5 * expected.std() * np.sqrt(2 / 20000))
    assert draws.std() == pytest.approx(expected.std(), rel=0.05)
    np.testing.assert_array_equal(draws, offset_draws(model, None, draws=20000, seed=1))


def test_multivariate_offset_draws_have_one_row_per_draw():
    model = model_of(SMALL, "multivariate")
    inputs = {"g_mag": np.array([0.1, 0.2]), "bp_rp": np.array([0.5, -0.2]), "teff": np.array([1.0, -1.0])}
    draws = offset_draws(model, inputs, draws=300, seed=1)
    assert draws.shape == (300, 2)
    columns = {name: values[:, None].astype(np.float32) for name, values in inputs.items()}
    deterministic = keras.ops.convert_to_numpy(model.get_layer("offset")(columns))[:, 0]
    # dropout bends the tanh layers, so its mean is near the deterministic output, not equal to it
    assert draws.mean(axis=0) == pytest.approx(deterministic, abs=5 * draws.std() / np.sqrt(300) + 0.1)


def test_offset_draws_refuse_what_does_not_fit_the_model():
    with pytest.raises(ValueError, match="without an offset"):
        offset_draws(model_of(SMALL, "none"), None, draws=2, seed=1)
    with pytest.raises(ValueError, match="None for a constant"):
        offset_draws(model_of(SMALL, "constant"), {"g_mag": np.ones(2)}, draws=2, seed=1)
    with pytest.raises(ValueError, match="G, BP-RP and Teff"):
        offset_draws(model_of(SMALL, "multivariate"), None, draws=2, seed=1)
