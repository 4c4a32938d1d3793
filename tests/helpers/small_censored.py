"""A small censored network, and spectra for it."""

import dataclasses

import keras
import numpy as np
from small_networks import DR14

from apogaia.parameters.network import CENSORED_ELEMENTS, build_censored_network
from apogaia.survey import load_survey

PUBLISHED = load_survey("dr14").parameters


NETWORK = dataclasses.replace(DR14, initial_weight_sd=0.3)


PARAMETERS = dataclasses.replace(PUBLISHED, hidden_units=(12, 9), element_units=(5, 4), wide_element_units=(7, 6))


N_PIXELS = 120


WINDOWS = {
    element: np.isin(np.arange(N_PIXELS), np.random.default_rng(i).choice(N_PIXELS, 3 + 2 * i, replace=False))
    for i, element in enumerate(CENSORED_ELEMENTS)
}


MEAN = np.array([4800.0, 2.4, *np.linspace(-0.3, 0.1, 20)])


SD = np.array([500.0, 0.8, *np.linspace(0.2, 0.5, 20)])


def small_model(seed=3, parameters=PARAMETERS, network=NETWORK):
    """A network with random biases too, so that nothing is zero by chance."""
    keras.utils.set_random_seed(seed)
    mean_spectrum = np.linspace(0.8, 1.0, N_PIXELS)
    labels = {"label_mean": MEAN, "label_sd": SD}
    model = build_censored_network(network, parameters, mean_spectrum=mean_spectrum, windows=WINDOWS, **labels)
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        if weight.name == "bias":
            weight.assign(rng.normal(0, 0.2, weight.shape))
    return model


def small_spectra(n=4, seed=0):
    return np.random.default_rng(seed).normal(0.9, 0.3, (n, N_PIXELS)).astype(np.float32)
