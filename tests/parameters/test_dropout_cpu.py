"""Monte-Carlo dropout of the censored network in numba: the joint distribution of the Keras model's labels."""

import dataclasses
import itertools

import keras
import numba
import numpy as np
import pytest
from small_censored import NETWORK, PARAMETERS, SD, small_model, small_spectra
from small_networks import ODD

from apogaia.model.fast.dropout_cpu import _features, _first_convolution, branches, each_star, pass_keys
from apogaia.parameters.dropout_cpu import FastCensoredDropout

# branches of other depths, one without a second layer, and sizes that are no whole vectors of the processor
ODD_PARAMETERS = dataclasses.replace(
    PARAMETERS, hidden_units=(9,), element_units=(18, 7, 5), wide_element_units=(33,), dropout=0.45
)
SIZES = pytest.mark.parametrize(
    ("network", "parameters"), [(NETWORK, PARAMETERS), (ODD, ODD_PARAMETERS)], ids=["small", "odd sizes"]
)


def keras_draws(model, spectrum, passes):
    """(passes, 22, 2) of one star: many copies of it in a batch are as many independent passes."""
    copies = {"spectrum": np.repeat(spectrum[None], passes // 4, axis=0)}
    draws = [keras.ops.convert_to_numpy(model(copies, training=True)) for _ in range(4)]
    return np.concatenate(draws).astype(np.float64)


def features_of(trunk, spectrum, keys):
    """(passes, features) that the first dense layer sees."""
    first = _first_convolution(
        spectrum - trunk.mean_spectrum,
        trunk.first_kernel,
        trunk.first_bias,
        trunk.pool_width,
        trunk.pooled_pixels,
        *trunk.margin,
    )
    x = np.zeros((len(keys), len(trunk.hidden[0].kernel)), np.float32)
    taps = trunk.second_kernel, trunk.second_bias, trunk.tap_rows, trunk.tap_starts, trunk.pooled_pixels
    _features(first, *taps, keys, trunk.threshold, x)
    return x


@SIZES
def test_without_dropout_each_pass_is_the_deterministic_model(network, parameters):
    model = small_model(network=network, parameters=dataclasses.replace(parameters, dropout=0.0))
    spectra = small_spectra(11)
    expected = keras.ops.convert_to_numpy(model({"spectrum": spectra}))
    fast = FastCensoredDropout.from_model(model)
    mean, variance, predicted_variance = fast.moments(spectra, np.arange(11), passes=3, seed=1)
    np.testing.assert_allclose(mean / SD, expected[..., 0] / SD, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(predicted_variance, np.exp(expected[..., 1]), rtol=1e-4)
    features = features_of(fast.trunk, spectra[4], pass_keys(1, 4, 3))
    assert features.any()
    np.testing.assert_array_equal(features, features[[0] * len(features)])
    # a matrix product may then give the same rows other last bits in other places
    assert np.max(np.sqrt(variance) / SD) < 4 * np.finfo(np.float32).eps
    draws = fast.draws(spectra[4:5], [4], passes=3, seed=1)[0]
    np.testing.assert_array_equal(draws[:, :, 0].mean(axis=0), mean[4])


@SIZES
def test_draws_have_the_joint_distribution_of_the_keras_model(network, parameters):
    """Correlations, too: parts of the network that shared masks would show in them alone."""
    model, passes = small_model(network=network, parameters=parameters), 12_000
    spectrum = small_spectra(1)[0]
    fast = FastCensoredDropout.from_model(model).draws(spectrum[None], [5], passes=passes, seed=1).reshape(passes, -1)
    reference = keras_draws(model, spectrum, passes).reshape(passes, -1)
    error = np.sqrt((fast.var(axis=0) + reference.var(axis=0)) / passes)
    assert np.all(np.abs(fast.mean(axis=0) - reference.mean(axis=0)) < 5 * error)
    # 5 standard errors of a spread, with the kurtosis of the draws
    standardised = (reference - reference.mean(axis=0)) / reference.std(axis=0)
    of_spread = np.sqrt(2 * ((standardised**4).mean(axis=0) - 1) / 4 / passes)
    assert np.all(np.abs(fast.std(axis=0) / reference.std(axis=0) - 1) < 5 * of_spread)
    difference = np.corrcoef(fast.T) - np.corrcoef(reference.T)
    assert np.max(np.abs(difference)) < 5.5 * np.sqrt(2 / passes)


@SIZES
def test_no_two_layers_share_masks(network, parameters):
    """With ones for values and unit matrices for layers, what comes out are products of masks."""
    model, passes = small_model(network=network, parameters=parameters), 4000
    fast = FastCensoredDropout.from_model(model)
    (hidden,), (keys,), used = fast.trunk.last_hidden(small_spectra(1), [2], passes=passes, seed=1)
    ends = np.cumsum(fast.depths + 1)
    units = [fast.widths[end - depth - 1 : end] for end, depth in zip(ends, fast.depths, strict=True)]
    kernels = [np.eye(*pair, dtype=np.float32) for element in units for pair in itertools.pairwise(element)]
    layers = [part for kernel in kernels for part in (kernel.ravel(), np.zeros(kernel.shape[1], np.float32))]
    ones = np.ones(sum(element[0] for element in units), np.float32)
    kept = np.empty((passes, sum(element[-1] for element in units)), np.float32)
    branches(ones, fast.depths, fast.widths, np.concatenate(layers), keys, used, fast.trunk.threshold, kept)
    rate = np.concatenate([np.repeat((1 - parameters.dropout) ** len(element), element[-1]) for element in units])
    assert np.all(np.abs(kept.mean(axis=0) - rate) < 5 * np.sqrt(rate * (1 - rate) / passes))
    correlation = np.corrcoef(np.hstack([kept, hidden[:, hidden.std(axis=0) > 0]]).T)[: len(rate)]
    np.fill_diagonal(correlation, 0.0)
    assert np.max(np.abs(correlation)) < 6 / np.sqrt(passes)


@pytest.mark.parametrize("passes", [7, 18, 30, 50])  # groups of 8, 3, 2 stars, and of one
@pytest.mark.parametrize("units", [(5, 4), (48, 16)], ids=["less than a vector", "several vectors"])
def test_a_star_has_the_same_bits_wherever_it_stands_and_on_any_number_of_threads(units, passes):
    settings = {"passes": passes, "seed": 1}
    fast = FastCensoredDropout.from_model(small_model(parameters=dataclasses.replace(PARAMETERS, element_units=units)))
    spectra, rows = small_spectra(256), np.arange(1000, 1256)
    together = np.array(fast.moments(spectra, rows, **settings))
    for i in (0, 7, 8, 100, 255):
        alone = np.array(fast.moments(spectra[i : i + 1], rows[i : i + 1], **settings))
        np.testing.assert_array_equal(alone[:, 0], together[:, i])
    order = np.random.default_rng(0).permutation(256)[:101]
    np.testing.assert_array_equal(fast.moments(spectra[order], rows[order], **settings), together[:, order])
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        np.testing.assert_array_equal(fast.moments(spectra, rows, **settings), together)
    finally:
        numba.set_num_threads(threads)
    ((draws,),) = each_star(lambda stars: fast.draws(spectra[stars], rows[stars], **settings), [slice(9, 10)])
    np.testing.assert_array_equal(draws[..., 0].mean(axis=0), together[0, 9])


def test_moments_are_those_of_the_draws_and_the_last_of_an_odd_number_of_passes_counts():
    fast = FastCensoredDropout.from_model(small_model())
    spectra = small_spectra(2)
    draws = fast.draws(spectra[1:], [6], passes=5, seed=4)[0]
    assert draws.shape == (5, 22, 2) and draws.dtype == np.float64
    np.testing.assert_array_equal(draws, fast.draws(spectra[1:], [6], passes=6, seed=4)[0, :5])
    moments = fast.moments(spectra, np.array([5, 6]), passes=5, seed=4)
    assert [part.shape for part in moments] == [(2, 22)] * 3
    expected = draws[..., 0].mean(axis=0), draws[..., 0].var(axis=0), np.exp(draws[..., 1]).mean(axis=0)
    np.testing.assert_allclose([part[1] for part in moments], expected, rtol=1e-12)


def test_stars_passes_and_seeds_have_different_masks():
    fast = FastCensoredDropout.from_model(small_model())
    spectra = small_spectra(1)
    draws = [fast.draws(spectra, [row], passes=20, seed=seed)[0, ..., 0] for row, seed in ((0, 1), (1, 1), (0, 2))]
    distinct = [len(np.unique(label)) for label in np.concatenate(draws).T]
    assert min(distinct) >= 57  # of 60: few units may be dropped alike by chance


def test_networks_of_another_structure_are_refused_with_the_remedy():
    model = small_model(network=dataclasses.replace(NETWORK, conv_filters=(2,)))
    with pytest.raises(ValueError, match="two convolutions; `predict_labels_reference`"):
        FastCensoredDropout.from_model(model)
    model = small_model()
    model.get_layer("mg_dropout_2").rate = 0.1
    with pytest.raises(ValueError, match="one rate; `predict_labels_reference`"):
        FastCensoredDropout.from_model(model)
