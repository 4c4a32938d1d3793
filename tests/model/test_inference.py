"""Monte-Carlo dropout, draws of the zero point, and the Jacobian."""

import h5py
import keras
import numpy as np
import pytest
from small_networks import SMALL, model_of, spectra_for

from apogaia.model import inference


def test_result_is_independent_of_batch_size_and_source(tmp_path):
    model = model_of(SMALL)
    spectra = spectra_for(model, 7)
    spectra[2, 5] = np.nan
    whole = inference.predict(model, spectra, passes=20, seed=1, batch_size=64, progress=False)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        parts = inference.predict(model, file.create_dataset("s", data=spectra), passes=20, seed=1, batch_size=3)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.shape == (7,)
        assert np.flatnonzero(np.isnan(a)).tolist() == [2]


@pytest.mark.parametrize("function", [inference.predict, inference.predict_reference])
def test_errors_add_in_quadrature_and_nan_stays_nan(function):
    model = model_of(SMALL)
    spectra = spectra_for(model, 5)
    spectra[[0, 3], 7] = np.nan
    prediction = function(model, spectra, passes=8, seed=1, batch_size=2, progress=False)
    assert np.isnan(prediction).sum(axis=1).tolist() == [2, 2, 2, 2]
    total = np.hypot(prediction.model_error, prediction.predictive_error)
    np.testing.assert_allclose(prediction.total_error, total)
    again = function(model, spectra, passes=8, seed=1, batch_size=2, progress=False)
    np.testing.assert_array_equal(np.array(prediction), np.array(again))


@pytest.mark.parametrize("function", [inference.predict, inference.predict_reference])
def test_spectra_with_a_wrong_number_of_pixels_are_refused(function):
    with pytest.raises(ValueError, match=r"\(2, 60\).*61 pixels"):
        function(model_of(SMALL), np.ones((2, 60)), passes=2, seed=1)


def test_constant_offset_draws_follow_the_dropout_of_the_offset_network():
    model = model_of(SMALL)
    draws = inference.offset_draws(model, None, draws=20000, seed=1)
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
    np.testing.assert_array_equal(draws, inference.offset_draws(model, None, draws=20000, seed=1))


def test_multivariate_offset_draws_have_one_row_per_draw():
    model = model_of(SMALL, "multivariate")
    inputs = {"g_mag": np.array([0.1, 0.2]), "bp_rp": np.array([0.5, -0.2]), "teff": np.array([1.0, -1.0])}
    draws = inference.offset_draws(model, inputs, draws=300, seed=1)
    assert draws.shape == (300, 2)
    columns = {name: values[:, None].astype(np.float32) for name, values in inputs.items()}
    deterministic = keras.ops.convert_to_numpy(model.get_layer("offset")(columns))[:, 0]
    # dropout bends the tanh layers, so its mean is near the deterministic output, not equal to it
    assert draws.mean(axis=0) == pytest.approx(deterministic, abs=5 * draws.std() / np.sqrt(300) + 0.1)


def test_offset_draws_refuse_what_does_not_fit_the_model():
    with pytest.raises(ValueError, match="without an offset"):
        inference.offset_draws(model_of(SMALL, "none"), None, draws=2, seed=1)
    with pytest.raises(ValueError, match="None for a constant"):
        inference.offset_draws(model_of(SMALL, "constant"), {"g_mag": np.ones(2)}, draws=2, seed=1)
    with pytest.raises(ValueError, match="G, BP-RP and Teff"):
        inference.offset_draws(model_of(SMALL, "multivariate"), None, draws=2, seed=1)


def test_jacobian_equals_finite_differences():
    model = model_of(SMALL)
    network = model.get_layer("luminosity")
    spectra = spectra_for(model, 5)
    jacobian = inference.jacobian(model, spectra, batch_size=2)
    assert jacobian.shape == spectra.shape
    step = 1e-3
    for pixel in (0, 1, 30, 59):
        shift = np.zeros(61, np.float32)
        shift[pixel] = step
        high, low = (keras.ops.convert_to_numpy(network(spectra + sign * shift))[:, 0] for sign in (1, -1))
        difference = (high.astype(float) - low) / (2 * step)
        # a kink of a ReLU or of the pooling may lie within the step for one star; never for most of them
        assert np.median(np.abs(jacobian[:, pixel] - difference)) < 0.01 * np.abs(jacobian).max()
    assert np.abs(jacobian).max() > 0.1
