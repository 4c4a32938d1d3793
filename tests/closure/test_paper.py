"""Trials of the paper's recipe: the measures of its luminosities, of the right stars and in per cent."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table

from apogaia.closure.recipes import paper
from apogaia.closure.trials import Sample
from apogaia.model.error_calibration import Prediction
from apogaia.survey import load_survey

N = 6000
TRAINING = np.arange(0, N, 2)


@pytest.fixture
def accuracy(monkeypatch):
    """Of a network whose luminosities have known errors: training stars have even rows, test stars odd ones."""
    rng = np.random.default_rng(1)
    distance = rng.uniform(0.5, 5, N)
    k0 = rng.normal(11, 1, N)
    table = Table({"k0_mag": k0, "k_mag": k0, "snr": rng.uniform(50, 150, N)})
    fakemag = 10 ** (0.2 * k0) / distance
    truth = Table({"parallax_true": 1 / distance, "distance_kpc": distance, "fakemag_true": fakemag})
    truth["logg"], truth["teff"] = rng.uniform(1, 3, N), rng.uniform(4000, 5000, N)
    sample = Sample(load_survey("mock-dr14"), None, table, truth)
    monkeypatch.setattr(Sample, "spectra_of", lambda self, rows: np.asarray(rows))
    monkeypatch.setattr(paper.quality_cuts, "select", lambda table, survey: SimpleNamespace(test=np.arange(1, N, 2)))

    def predict(network, rows, **settings):
        found = fakemag[rows] * (1 + 0.09 * rng.standard_normal(len(rows)))
        model = np.where(rows % 2 == 0, 0.07, np.where(rows % 8 == 1, 0.15, 0.05)) * found
        return Prediction(found, model, model, 0.09 * found)

    monkeypatch.setattr(paper.inference, "predict", predict)
    return paper._accuracy(None, sample, TRAINING, False)


def test_scatter_and_coverage_are_of_test_stars_and_dropout_noise_of_training_stars(accuracy):
    assert accuracy["giants_scatter_percent"] == pytest.approx(9, abs=0.5)
    assert accuracy["within_68_percent"] == pytest.approx(68, abs=3)
    assert accuracy["model_error_below_10_percent"] == pytest.approx(75, abs=2)  # a quarter of them has 15 %
    assert accuracy["dropout_noise_percent"] == pytest.approx(7)
