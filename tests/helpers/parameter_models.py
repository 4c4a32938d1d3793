"""Untrained models for APOGEE's spectra, small ones: for the way from files to products, not for its numbers."""

import dataclasses
from pathlib import Path

import keras
import numpy as np

from apogaia.formats.stars_h5_columns import LABELS
from apogaia.model import model_file, networks
from apogaia.parameters.network import build_censored_network
from apogaia.survey import Survey, load_survey

MEAN = np.array([4800.0, 2.4, *np.linspace(-0.3, 0.1, 20)])
SD = np.array([500.0, 0.8, *np.linspace(0.2, 0.5, 20)])
KNOTS = np.linspace(2, 7, 3).tolist()  # of ln SNR: five functions
CALIBRATION = {  # errors of all labels doubled, whatever the star
    "splines": {"knots": {"teff": np.linspace(3000, 7000, 3).tolist()}, "log_snr_knots": KNOTS},
    "log_growth": [[float(np.log(2)), *[0.0] * 11]] * 22,
    "log_stated": [[-6.0, 0.0, 6.0]] * 22,
    "stars": 300,
}
SHIFT = {  # 0.25 K or dex more of every label, whatever the star
    "splines": {"knots": {"fe_h": np.linspace(-2, 1, 3).tolist()}, "log_snr_knots": KNOTS},
    "coefficients": [[0.25, *[0.0] * 10]] * 22,
}

PRESENCE = {  # no star has a log g like that of any star; its spread is 0.8 dex
    "splines": {"knots": {"logg": np.linspace(0, 5, 3).tolist()}, "log_snr_knots": []},
    "coefficients": [[] if name != "logg" else [-50.0, *[0.0] * 5] for name in LABELS],
    "share": [1.0] * 22,
    "spread": [0.8] * 22,
}


def quick(survey: Survey, **inference) -> Survey:
    """The survey with few dropout passes: two for luminosities, three for labels."""
    return dataclasses.replace(
        survey,
        inference=dataclasses.replace(survey.inference, **{"passes": 2, **inference}),
        parameters=dataclasses.replace(survey.parameters, passes=3),
    )


def write_parameters_model(path: Path, survey: Survey | None = None, dropout: float = 0.3, **provenance) -> Path:
    survey = quick(survey or load_survey("smoke"))
    sizes = {"hidden_units": (8, 6), "element_units": (4, 3), "wide_element_units": (4, 3), "dropout": dropout}
    parameters = dataclasses.replace(survey.parameters, **sizes)
    keras.utils.set_random_seed(4)
    model = build_censored_network(
        survey.network, parameters, mean_spectrum=np.ones(7514, np.float32), label_mean=MEAN, label_sd=SD
    )
    origin = {"survey": survey.name, "settings": survey.settings(), "labels": list(LABELS)}
    model_file.save_model(model, path, origin | provenance)
    return path


def write_luminosity_model(path: Path, survey: Survey | None = None) -> Path:
    survey = quick(survey or load_survey("smoke"))
    keras.utils.set_random_seed(4)
    network = dataclasses.replace(survey.network, hidden_units=(8, 6))
    spectrum = np.ones(7514, np.float32)
    model = networks.build_joint_network(network, "none", mean_spectrum=spectrum, parallax_scale=50.0)
    model_file.save_model(model, path, {"survey": survey.name, "offset": "none", "settings": survey.settings()})
    return path
