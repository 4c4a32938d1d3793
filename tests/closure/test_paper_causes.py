"""What biases the paper's recipe: the optimum of its likelihood, cause by cause."""

import numpy as np
import pytest
from astropy.table import Table
from scipy.optimize import minimize, minimize_scalar

from apogaia.closure.recipes import paper_causes
from apogaia.closure.recipes.paper_causes import optimum
from apogaia.closure.trials import Sample, Trial
from apogaia.survey import load_survey

N = 20_000
SURVEY = load_survey("mock-dr14")


def test_without_a_cause_the_zero_point_is_the_injected_one():
    true = np.random.default_rng(1).uniform(0.1, 2.0, N)
    for injected in (-0.05, 0.02):
        assert optimum(true[:, None], true + injected, np.full(N, 0.04), 0.0) == pytest.approx(injected, abs=1e-9)


@pytest.mark.parametrize("noise", [0.04, 0.08, 0.15])
def test_dropout_noise_acts_as_errors_in_variables(noise):
    """Stars of one luminosity, weighted alike: noise on the regressor shrinks the slope by a known factor."""
    true = np.random.default_rng(2).uniform(0.1, 2.0, N)
    spread, square = noise**2 * np.mean(true**2), np.mean(true**2)
    expected = -0.05 + true.mean() * spread / (square - true.mean() ** 2 + spread)
    found = optimum(true[:, None], true - 0.05, np.full(N, 50.0), noise)
    assert found == pytest.approx(expected, abs=1e-5)
    assert found > -0.05


def test_the_expectation_is_what_drawn_masks_give():
    """The closed form against many drawn copies of each star."""
    rng, noise = np.random.default_rng(3), 0.1
    true = rng.uniform(0.1, 2.0, 500)
    copies = np.repeat(true, 400)
    drawn = copies * (1 + noise * rng.standard_normal(len(copies)))
    by_draws = np.linalg.lstsq(np.column_stack([drawn, np.ones(len(drawn))]), copies - 0.05, rcond=None)[0][1]
    assert optimum(true[:, None], true - 0.05, np.full(500, 50.0), noise) == pytest.approx(by_draws, abs=2e-3)


@pytest.mark.parametrize(("noise", "slope"), [(0.0, 0.0), (0.08, 0.0), (0.08, -0.009), (0.12, -0.009)])
def test_the_optimum_is_where_the_expected_loss_is_stationary(noise, slope):
    """With Gaia's errors: at the variance of the optimum no other luminosity or zero point has a smaller loss."""
    rng = np.random.default_rng(5)
    true = rng.gamma(2.0, 0.4, 4000) + 0.05
    error = rng.uniform(0.03, 0.05, len(true))
    seen = true - 0.05 + slope * (-5 * np.log10(true))

    def loss(parameters, variance=None):
        scale, offset, log_scatter = parameters
        model = scale * true
        square = error**2 + (seen - model - offset) ** 2 + (noise * model) ** 2
        variance = error**2 + (np.exp(log_scatter) * model) ** 2 if variance is None else variance
        return np.mean(square / variance + np.log(variance))

    offset, log_scatter, scale = optimum(true[:, None], seen, error, noise), np.log(0.1), 1.0
    for _ in range(30):  # the luminosity and the scatter that belong to it, by another solver
        weights = error**2 + (np.exp(log_scatter) * scale * true) ** 2
        found = minimize(lambda p, w=weights: loss((*p, 0.0), w), (scale, -0.05), method="BFGS", tol=1e-12)
        scale = found.x[0]
        log_scatter = minimize_scalar(
            lambda x, s=scale, o=found.x[1]: loss((s, o, x)), bounds=(-10, 0), method="bounded"
        ).x
    assert offset == pytest.approx(found.x[1], abs=2e-5)  # mas


def made_up_sample(contaminants: int) -> Sample:
    """Stars of a uniform density about us, some of them with Ks too bright by half a magnitude."""
    rng = np.random.default_rng(4)
    distance = 6 * rng.random(N) ** (1 / 3) + 0.3
    abs_mag, hidden = rng.normal(-1.5, 1.0, N), rng.normal(0, 0.2, N)
    abs_mag += hidden
    k0_true = abs_mag + 5 * np.log10(distance) + 10
    seen = (k0_true > 7) & (k0_true < 12)
    spoilt = np.where(np.arange(N) % (N // max(contaminants, 1)) == 0, contaminants > 0, False)
    g_mag = k0_true + 2.0
    parallax = 1 / distance - 0.0523
    truth = {
        "parallax_true": 1 / distance,
        "k_abs_mag": abs_mag,
        "hidden_mag": hidden,
        "k0_true_mag": k0_true,
        "zero_point": np.full(N, -0.0523),
        "contamination": np.where(spoilt, "blend", "none"),
    }
    table = {
        "g_mag": g_mag,
        "k0_mag": k0_true - 0.5 * spoilt,
        "snr": np.full(N, 300.0),
        "parallax": parallax,
        "parallax_error": rng.uniform(0.02, 0.05, N),
    }
    return Sample(SURVEY, None, Table(table)[seen], Table(truth)[seen])  # no workspace: no spectra are asked for


@pytest.fixture
def causes(monkeypatch):
    def found(contaminants: int) -> dict:
        monkeypatch.setattr(paper_causes, "simulated", lambda trial, workspace: made_up_sample(contaminants))
        return paper_causes.recover(Trial("t", "causes"), None)

    return found


def test_causes_of_a_made_up_survey(causes):
    result = causes(0)
    assert result["contaminants"] == 0 and result["contaminants_uas"] == pytest.approx(0, abs=1e-6)
    assert result["nothing_uas"] == pytest.approx(0, abs=1e-6)
    assert result["scatter_percent"] == pytest.approx(100 * 0.2 * np.log(10) / 5, rel=0.05)
    assert result["falling_uas"] < -5  # faint stars, which are far, have the lower zero point
    noises = [each["uas"] for each in result["dropout"]]
    assert 0 < noises[0] < noises[1] < noises[2] and noises[1] / noises[0] == pytest.approx(4, rel=0.35)
    without, *_, most = result["together"]
    assert without["constant_uas"] == pytest.approx(result["scatter_uas"])
    assert most["constant_uas"] > without["constant_uas"] and most["falling_uas"] < most["constant_uas"]


def test_a_spectrum_shows_the_luminosity_without_its_hidden_part():
    sample = made_up_sample(0)
    rows = np.arange(100)
    abs_mag, hidden = (np.asarray(sample.truth[name])[rows] for name in ("k_abs_mag", "hidden_mag"))
    shown = 10 ** (0.2 * (abs_mag - hidden) + 2)  # fakemag [mas]
    assert paper_causes._spectral_fakemag(sample, rows) == pytest.approx(shown)
    assert paper_causes._true_fakemag(sample, rows) == pytest.approx(10 ** (0.2 * abs_mag + 2))


def test_contaminants_move_the_optimum(causes):
    result = causes(200)
    assert 100 < result["contaminants"] <= 200
    assert result["contaminants_uas"] > 1  # stars whose Ks is too bright seem nearer than they are
    assert result["nothing_uas"] == pytest.approx(0, abs=1e-6)  # those without them do not change
