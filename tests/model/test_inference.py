"""Monte-Carlo dropout, draws of the zero point, and the Jacobian."""

import dataclasses

import h5py
import keras
import numpy as np
import pytest

from apogaia.model import inference, networks
from apogaia.model.fast.dropout_cpu import FastDropout, _keys, _mask_rows
from apogaia.survey import load_survey

DR14 = load_survey("dr14").network
SMALL = dataclasses.replace(DR14, hidden_units=(12, 7), offset_hidden_units=(6, 4), initial_weight_sd=0.4)
ODD = dataclasses.replace(SMALL, conv_filters=(3, 5), conv_width=5, pool_width=3, hidden_units=(9,), dropout=0.45)


def model_of(network, offset="constant", n_pixels=61, seed=3):
    """A network with random biases too, so that nothing is zero by chance."""
    keras.utils.set_random_seed(seed)
    mean_spectrum = np.linspace(0.8, 1.0, n_pixels)
    model = networks.build_joint_network(network, offset, mean_spectrum=mean_spectrum, parallax_scale=1.5)
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        if weight.name == "bias":
            weight.assign(rng.normal(0, 0.2, weight.shape))
    return model


def spectra_for(model, n, seed=0):
    return (
        np.random.default_rng(seed)
        .normal(0.9, 0.3, (n, model.get_layer("luminosity").input_shape[1]))
        .astype(np.float32)
    )


def assert_same_distribution(fast, reference, passes):
    """Means within 5 standard errors, spreads within 5 relative standard errors of a spread (kurtosis allowed for)."""
    error = fast.model_error / np.sqrt(passes) * np.sqrt(2)
    assert np.all(np.abs(fast.fakemag - reference.fakemag) < 5 * error)
    assert fast.model_error == pytest.approx(reference.model_error, rel=5 * np.sqrt(2 / passes))
    assert fast.predictive_error == pytest.approx(reference.predictive_error, rel=0.05)


@pytest.mark.parametrize("network", [SMALL, ODD], ids=["small", "odd sizes"])
def test_fast_passes_have_the_distribution_of_the_keras_model(network):
    model, passes = model_of(network), 4000
    spectra = spectra_for(model, 3)
    fast = inference.predict(model, spectra, passes=passes, seed=1, progress=False)
    # many copies of the same star in a batch are as many independent passes
    copies = np.repeat(spectra, passes // 10, axis=0)
    rows = [
        np.concatenate([draw.reshape(3, -1) for draw in _keras_draws(model, copies, 10)[:, :, i]], axis=1)
        for i in range(2)
    ]
    variance = np.exp(rows[1].astype(float)).mean(axis=1)
    reference = inference.Prediction(rows[0].mean(axis=1), rows[0].std(axis=1), np.sqrt(variance), None)
    assert_same_distribution(fast, reference, passes)


def _keras_draws(model, spectra, passes):
    network = model.get_layer("luminosity")
    return np.stack([keras.ops.convert_to_numpy(network(spectra, training=True)) for _ in range(passes)])


def test_fast_passes_have_the_distribution_of_the_papers_network():
    model, passes = model_of(DR14, n_pixels=7514), 600
    spectra = spectra_for(model, 2)
    fast = inference.predict(model, spectra, passes=passes, seed=1, progress=False)
    draws = _keras_draws(model, np.repeat(spectra, 100, axis=0), passes // 100).reshape(-1, 2, 100, 2)
    draws = draws.transpose(1, 0, 2, 3).reshape(2, -1, 2).astype(float)
    spread = draws[..., 0].std(axis=1)
    predictive = np.sqrt(np.exp(draws[..., 1]).mean(axis=1))
    assert_same_distribution(fast, inference.Prediction(draws[..., 0].mean(axis=1), spread, predictive, None), passes)


def test_fast_pass_without_dropout_is_the_deterministic_model():
    model = model_of(dataclasses.replace(ODD, dropout=0.0))
    spectra = spectra_for(model, 4)
    fast = inference.predict(model, spectra, passes=2, seed=1, progress=False)
    fakemag, log_variance = keras.ops.convert_to_numpy(model.get_layer("luminosity")(spectra)).T
    assert fast.fakemag == pytest.approx(fakemag, rel=1e-5)
    assert fast.model_error == pytest.approx(0, abs=1e-4)
    assert fast.predictive_error == pytest.approx(np.exp(log_variance / 2), rel=1e-4)


def test_masks_keep_the_rate_to_1e_4_and_are_independent():
    keys = _keys(np.uint64(7), np.uint64(3), 4000)
    rows = np.ones((4, 1501), np.float32)
    kept = np.empty((len(keys), *rows.shape), np.float32)
    for i, key in enumerate(keys):
        _mask_rows(rows, kept[i], 0, key, np.uint32(19661))
    assert kept.mean() == pytest.approx(0.7, abs=5 * np.sqrt(0.21 / kept.size))
    assert kept.mean(axis=(0, 2)) == pytest.approx(0.7, abs=6e-4 + 5 * np.sqrt(0.21 / 6e6))
    pairs = [(kept[:, 0], kept[:, 1]), (kept[:, :, :-1], kept[:, :, 1:]), (kept[:-1], kept[1:])]
    for a, b in pairs:  # the two halves of a hash, neighbouring positions, neighbouring passes
        assert abs(np.mean((a - 0.7) * (b - 0.7)) / 0.21) < 5 / np.sqrt(a.size)
    # the number kept in a row has the binomial spread
    assert kept.sum(axis=2).var() == pytest.approx(1501 * 0.21, rel=5 * np.sqrt(2 / 16000))


def test_stars_and_passes_have_different_masks_and_the_seed_matters():
    model = model_of(SMALL)
    spectra = np.repeat(spectra_for(model, 1), 3, axis=0)
    a = inference.predict(model, spectra, passes=10, seed=1, progress=False)
    b = inference.predict(model, spectra, passes=10, seed=2, progress=False)
    assert len({*a.fakemag, *b.fakemag}) == 6
    assert np.all(a.model_error > 0)


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


def test_network_with_one_convolution_is_refused_with_the_remedy():
    model = model_of(dataclasses.replace(SMALL, conv_filters=(2,)))
    with pytest.raises(ValueError, match="predict_reference"):
        FastDropout.from_model(model.get_layer("luminosity"))


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
