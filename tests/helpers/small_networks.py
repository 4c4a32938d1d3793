"""Small networks, spectra for them, and synthetic stars to train them."""

import dataclasses

import h5py
import keras
import numpy as np
import pytest
from astropy.table import Table

from apogaia.model import networks
from apogaia.model.training_set import TrainingSet
from apogaia.reduction import stars_h5
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


N_PIXELS = 90


OFFSET = -0.05  # mas


def small_survey(**changes):
    survey = load_survey("smoke")
    network = dataclasses.replace(survey.network, hidden_units=(24, 12), dropout=0.1)
    settings = {"epochs": 2, "learning_rate_with_offset": 3e-3, "learning_rate_without_offset": 3e-3, **changes}
    return dataclasses.replace(
        survey,
        network=network,
        training=dataclasses.replace(survey.training, **settings),
        labels=dataclasses.replace(survey.labels, source="external"),
    )


def synthetic_stars(n, seed=1, offset=OFFSET):
    """Smooth spectra in which the depth of three lines follows the luminosity, and parallaxes shifted by `offset`."""
    rng = np.random.default_rng(seed)
    log_fakemag = rng.uniform(0.8, 2.0, n)
    x = np.arange(N_PIXELS)
    depth = np.stack([0.25 * (log_fakemag - 0.8), 0.3 * (2.0 - log_fakemag), 0.1 * log_fakemag], axis=1)
    profiles = np.exp(-0.5 * ((x - np.array([[20], [45], [70]])) / 4) ** 2)
    slope = rng.normal(0, 0.02, (n, 1)) * (x / N_PIXELS - 0.5)
    spectrum = 1 - depth @ profiles + slope + rng.normal(0, 0.003, (n, N_PIXELS))
    k0_mag = rng.uniform(7, 13, n)
    error = rng.uniform(0.02, 0.06, n)
    g_mag = k0_mag + rng.normal(3, 0.3, n)
    parallax = 10**log_fakemag * 10 ** (-0.2 * k0_mag) + offset + rng.normal(0, error)
    return TrainingSet(
        spectrum.astype(np.float32), k0_mag, parallax, error, g_mag, rng.normal(1.3, 0.3, n), rng.normal(4800, 300, n)
    )


def table_and_spectra(path, sample):
    table = Table({f.name: getattr(sample, f.name) for f in dataclasses.fields(sample)[1:]})
    file = h5py.File(path, "w")
    return stars_h5.Stars(table, file.create_dataset("spectrum", data=sample.spectrum))
