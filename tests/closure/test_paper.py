"""Trials of the paper's recipe: the measures of its luminosities, of the right stars and in per cent."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.table import Table

from apogaia.closure.recipes import paper
from apogaia.closure.trials import Sample, Trial
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


@pytest.fixture
def recovered(monkeypatch):
    """What a trial finds with a network that is not trained: its luminosities are a tenth too large."""
    truth = Table({"fakemag_true": np.full(N, 50.0), "contamination": np.full(N, "none")})
    table = Table({"g_mag": np.full(N, 11.0), "snr": np.where(np.arange(N) % 2, 100.0, 300.0)})
    sample = Sample(load_survey("mock-dr14"), None, table, truth)
    luminosity = SimpleNamespace(get_layer=lambda name: lambda spectra: np.full((len(spectra), 2), 55.0))
    value = SimpleNamespace(in_uas=lambda: {"value_uas": -30.0, "error_uas": 0.5})
    monkeypatch.setattr(Sample, "spectra_of", lambda self, rows: np.asarray(rows))
    monkeypatch.setattr(paper, "simulated", lambda trial, workspace: sample)
    monkeypatch.setattr(paper, "joint_model", lambda trial, sample, verbose: "model.keras")
    monkeypatch.setattr(paper, "_accuracy", lambda *arguments: {})
    monkeypatch.setattr(paper.model_file, "load_network", lambda path: luminosity)
    monkeypatch.setattr(paper.model_file, "read_provenance", lambda path: {"history": {"offset": [-0.01, -0.03]}})
    monkeypatch.setattr(paper.offset_posterior, "constant_zero_point", lambda network, **draws: value)
    return lambda **options: paper.recover(Trial("t", "paper", **options), None)


def test_a_trial_tells_the_mean_of_the_zero_point_that_was_injected_in_uas(recovered):
    found = recovered(slope_in_g=-9.2)
    assert found["true_mean_uas"] == pytest.approx(-52.3 + 9.2)  # all stars are a magnitude brighter than G_PIVOT
    assert recovered()["true_mean_uas"] == pytest.approx(-52.3)
    assert (found["value_uas"], found["stars"]) == (-30.0, N // 2)
    assert found["offset_history_uas"] == pytest.approx([-10.0, -30.0])
    assert found["scatter_network"] == pytest.approx(0, abs=1e-6)  # a luminosity that is off by a factor has no scatter
