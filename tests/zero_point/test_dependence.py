"""On what the zero point may depend: what K0 and the spectrum tell of G, BP-RP and Teff, and parts of the sky."""

import numpy as np
import pytest
from astropy.table import Table

from apogaia.survey import load_survey
from apogaia.zero_point.dependence import COLOUR, TEFF, Dependence, G, ZeroPointPlane, log_evidence, sky_cells, told_by

N = 600
SETTINGS = load_survey("dr14").calibration


@pytest.fixture
def stars():
    """Stars whose G follows K0 and the first feature, BP-RP and Teff the first and the second; with errors of K0."""
    rng = np.random.default_rng(1)
    spectral = rng.standard_normal((N, 3))
    k0_true = rng.uniform(7, 13, N)
    error = 0.1 * rng.standard_normal(N)
    table = Table(
        {
            "g_mag": k0_true + 2.5 + 0.3 * spectral[:, 0],
            "bp_rp": 1.4 + 0.1 * spectral[:, 0],
            "teff": 4700 + 300 * spectral[:, 1],
            "glon": rng.uniform(0, 360, N),
            "glat": np.degrees(np.arcsin(rng.uniform(-1, 1, N))),
        }
    )
    return table, k0_true + error, spectral, error


def test_what_is_told_is_what_is_linear_and_the_rest_is_left_out():
    rng = np.random.default_rng(2)
    known, noise = rng.standard_normal((N, 2)), rng.standard_normal(N)
    values = 5.0 + known @ [2.0, -1.0] + noise
    told = told_by(known, values)
    exact = np.column_stack([np.ones(N), known])
    assert told == pytest.approx(exact @ np.linalg.lstsq(exact, values, rcond=None)[0], abs=1e-6)
    values[3] = np.nan
    told = told_by(np.column_stack([known, np.full(N, 7.0)]), values)  # a column without variance tells nothing
    assert told[3] == pytest.approx(exact[3] @ [5.0, 2.0, -1.0], abs=0.3)  # its features are known: they tell it, too
    assert np.isfinite(told).all()
    assert np.isnan(told_by(known, np.full(N, np.nan))).all()


def test_stars_without_a_teff_have_the_one_that_their_spectrum_tells(stars):
    """As average stars, two per cent of them moved the zero point by two thirds of its error (docs/closure.md)."""
    table, k0_mag, spectral, _ = stars
    whole = Dependence.of(table, k0_mag, spectral)
    table["teff"][::10] = np.nan
    parts = Dependence.of(table, k0_mag, spectral)
    assert parts.basis[:, TEFF] == pytest.approx(whole.basis[:, TEFF], abs=0.01)


def test_errors_of_k0_are_in_gaia_s_g_beside_k0_and_not_in_the_g_that_is_told(stars):
    table, k0_mag, spectral, error = stars
    offset = Dependence.of(table, k0_mag, spectral)
    told = offset.mean[0] + offset.sd[0] * (offset.basis[:, G] + offset.centre[0])
    beside = np.column_stack([np.ones(N), k0_mag, spectral])

    def left(values):  # without what K0 and the spectrum tell
        return values - beside @ np.linalg.lstsq(beside, values, rcond=None)[0]

    assert np.corrcoef(left(np.asarray(table["g_mag"])), error)[0, 1] < -0.9
    assert np.std(left(told)) < 0.02 and np.std(told - table["g_mag"]) > 0.05
    teff = offset.mean[2] + offset.sd[2] * (offset.basis[:, TEFF] + offset.centre[2])
    most = 3 * offset.sd[2]  # beyond, a star counts as one there
    assert teff == pytest.approx(np.clip(table["teff"], offset.mean[2] - most, offset.mean[2] + most), abs=0.1)


def test_the_mean_is_fitted_with_slopes_in_what_is_known_and_priors_in_their_units(stars):
    table, k0_mag, spectral, _ = stars
    offset = Dependence.of(table, k0_mag, spectral)
    options = offset.options(SETTINGS)
    assert np.abs(options["offset_basis"].mean(axis=0)[1:]).max() < 1e-12  # so that the first weight is the mean
    prior = options["offset_prior_uas"]
    sd_g, sd_teff = offset.sd[0], offset.sd[2]
    assert np.isinf(prior[0]) and sd_g == pytest.approx(np.std(table["g_mag"]), rel=0.05)
    assert prior[1] == pytest.approx(SETTINGS.slope_prior * sd_g)  # per mag
    assert prior[2] == pytest.approx(SETTINGS.teff_prior * sd_teff / 1000)  # per 1000 K
    assert (prior[3:] == SETTINGS.sky_prior).all() and len(prior) == options["offset_basis"].shape[1]
    table["g_mag"] = np.nan
    assert Dependence.of(table, k0_mag, spectral).columns == [0, TEFF]
    table["teff"][: N // 2 + 1] = np.nan
    assert Dependence.of(table, k0_mag, spectral).columns == [0]


@pytest.mark.parametrize("size_deg", [2.0, 15.0])
def test_cells_of_the_sky_are_of_about_their_size_and_hold_neighbours(size_deg):
    rng = np.random.default_rng(3)
    n = 40_000
    table = Table({"glon": rng.uniform(-10, 370, n), "glat": np.degrees(np.arcsin(rng.uniform(-1, 1, n)))})
    cell = sky_cells(table, size_deg)
    assert set(cell) == set(range(cell.max() + 1))
    assert cell.max() + 1 == pytest.approx(41_253 / size_deg**2, rel=0.15)
    glon, glat = np.radians(table["glon"]), np.radians(table["glat"])
    places = np.column_stack([np.cos(glat) * np.cos(glon), np.cos(glat) * np.sin(glon), np.sin(glat)])
    for one in (0, cell.max() // 2, cell.max()):
        inside = places[cell == one]
        assert np.degrees(np.arccos(np.clip(inside @ inside[0], -1, 1))).max() < 2.9 * size_deg
    turned = Table({"glon": np.asarray(table["glon"]) + 360.0, "glat": table["glat"]})
    assert np.array_equal(sky_cells(turned, size_deg), cell)


def test_the_plane_stays_nan_where_an_input_is_unknown():
    mean, sd = np.array([13.0, 1.4, 4700.0]), np.array([1.0, 0.2, 300.0])
    plane = ZeroPointPlane(mean, sd, np.arange(4.0), np.eye(4), np.zeros(3))
    given = np.array([[13.0, 1.4, 4700.0], [14.0, 1.4, 4700.0], [13.0, 1.4, 5000.0], [30.0, 1.4, 4700.0]])
    value, error = plane.at_uas(*given.T)
    assert value == pytest.approx([0.0, 1.0, 3.0, 3.0])  # three standard deviations at most
    assert error == pytest.approx(np.sqrt([1.0, 2.0, 2.0, 10.0]))
    for column in range(3):
        unknown = given.copy()
        unknown[1, column] = np.nan
        value, error = plane.at_uas(*unknown.T)
        assert np.array_equal(np.isnan(value), [False, True, False, False])
        assert np.array_equal(np.isnan(error), [False, True, False, False])


def test_bends_hold_no_line_in_g_or_teff_and_follow_what_is_none(stars):
    table, k0_mag, spectral, _ = stars
    offset = Dependence.of(table, k0_mag, spectral)
    linear = offset.basis[:, [0, G, TEFF]]
    assert np.abs(linear.T @ offset.bends).max() < 1e-8 * N
    g, colour = offset.basis[:, G], offset.basis[:, COLOUR]
    for bent in (np.abs(g), (g > 0.3).astype(float), g * colour):
        bent = bent - linear @ np.linalg.lstsq(linear, bent, rcond=None)[0]
        follows = offset.bends @ np.linalg.lstsq(offset.bends, bent, rcond=None)[0]
        assert np.std(bent - follows) < 0.55 * np.std(bent)
    straight, bends = offset.options(SETTINGS), offset.options(SETTINGS, bends=True)
    k = offset.bends.shape[1]
    assert bends["offset_basis"].shape[1] == straight["offset_basis"].shape[1] + k == 3 + k + offset.cells.shape[1]
    assert np.array_equal(bends["offset_basis"][:, 3 : 3 + k], offset.bends)
    prior = bends["offset_prior_uas"][3 : 3 + k]
    assert set(prior) == {SETTINGS.bend_prior, 0.5 * SETTINGS.bend_prior} and len(prior) == k


def test_without_g_there_is_no_bend_and_without_bp_rp_one_in_g_alone(stars):
    table, k0_mag, spectral, _ = stars
    whole = Dependence.of(table, k0_mag, spectral).bends.shape[1]
    table["bp_rp"] = np.nan
    in_g = Dependence.of(table, k0_mag, spectral)
    assert 0 < in_g.bends.shape[1] < whole and len(in_g.bend_shares) == in_g.bends.shape[1]
    table["g_mag"] = np.nan
    assert Dependence.of(table, k0_mag, spectral).bends.shape == (N, 0)


@pytest.mark.parametrize("true", [0.0, 3.0])
def test_the_evidence_is_the_ratio_of_marginal_likelihoods(true):
    """By the determinants of the data's covariance with and without the terms."""
    rng = np.random.default_rng(5)
    design, prior, noise = rng.standard_normal((40, 3)), np.array([2.0, 1.0, 0.5]), 3.0
    data = design @ (true * prior) + noise * rng.standard_normal(40)
    covariance = np.linalg.inv(design.T @ design / noise**2 + np.diag(prior**-2.0))
    weights = covariance @ design.T @ data / noise**2

    def log_likelihood(of_data):
        return -0.5 * (data @ np.linalg.solve(of_data, data) + np.linalg.slogdet(of_data)[1])

    without = noise**2 * np.eye(40)
    exact = log_likelihood(without + (design * prior**2) @ design.T) - log_likelihood(without)
    assert log_evidence(weights, covariance, prior) == pytest.approx(exact)
    assert (exact > 3) == (true > 0)
