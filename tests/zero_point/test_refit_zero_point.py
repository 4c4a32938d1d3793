"""The calibrated zero point: recovered from stars whose spectra encode their luminosity."""

import dataclasses
import json
import types

import numpy as np
import pytest
from astropy.table import Table

from apogaia import files
from apogaia.refit import stellar_density
from apogaia.survey import load_survey
from apogaia.zero_point import refit_zero_point
from apogaia.zero_point.dependence import ZeroPointPlane
from apogaia.zero_point.refit_zero_point import calibrate, has_corrected_k0, usable

SURVEY = load_survey("dr14")
ZERO_POINT, SIGMA, PIXELS = -45.0, 0.15, 50


def sample(n=2500, seed=1, *, surface=0.0):
    """Stars with Ks < 12.5 that thin out with distance, their spectra, and their true ln fakemag.

    `surface` is the change of the zero point per magnitude of G [uas].
    """
    rng = np.random.default_rng(seed)
    draws = 6 * n
    abs_mag_of_spectrum = rng.uniform(-6.0, -1.0, draws)
    abs_mag = abs_mag_of_spectrum + SIGMA * rng.standard_normal(draws)
    distance = rng.gamma(3.0, 1.0, draws)
    k0 = abs_mag + 5 * np.log10(distance) + 10
    kept = np.flatnonzero((k0 > 7) & (k0 < 12.5))[:n]
    assert len(kept) == n
    fe_h = rng.normal(-0.1, 0.25, n)
    x = (abs_mag_of_spectrum[kept] + 3.5) / 1.5
    patterns = rng.standard_normal((3, PIXELS))
    spectra = 0.9 + 0.02 * np.column_stack([x, x**2, fe_h / 0.25]) @ patterns + 0.002 * rng.standard_normal((n, PIXELS))
    g_mag = k0[kept] + rng.normal(2.8, 0.4, n)
    error = rng.uniform(0.02, 0.04, n)
    zero_point = ZERO_POINT + surface * (g_mag - g_mag.mean())
    table = Table(
        {
            "parallax": 1 / distance[kept] + 1e-3 * zero_point + error * rng.standard_normal(n),
            "parallax_error": error,
            "k0_mag": k0[kept],
            "a_k_mag": np.full(n, 0.05),
            "glon": np.full(n, 180.0),
            "glat": np.full(n, 30.0),
            "fe_h": fe_h,
            "mg_h": fe_h + rng.normal(0.08, 0.05, n),
            "g_mag": g_mag,
            "bp_rp": rng.normal(1.4, 0.2, n),
            "teff": rng.normal(4700, 300, n),
            "snr": rng.uniform(50, 400, n),
        }
    )
    return table, spectra.astype(np.float32), np.log(10.0) * (0.2 * abs_mag_of_spectrum[kept] + 2)


@pytest.fixture(scope="module", autouse=True)
def fewer_stars_in_the_density():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stellar_density, "MAX_STARS", 1200)
        yield


@pytest.fixture(scope="module")
def fitted():
    return calibrate(SURVEY, *sample()[:2])


def test_the_zero_point_comes_back(fitted):
    assert abs(fitted.zero_point_uas - ZERO_POINT) < 3 * fitted.error_uas
    assert 0.5 < fitted.statistical_error_uas < 8.0
    systematic = SURVEY.calibration.systematic_share * (fitted.zero_point_uas - fitted.without_density_uas)
    assert fitted.error_uas == pytest.approx(np.hypot(fitted.statistical_error_uas, systematic))
    assert abs(fitted.without_chemistry_uas - fitted.zero_point_uas) < 3 * fitted.error_uas
    truth = sample()[2]
    difference = fitted.fit.log_fakemag - truth
    assert np.std(difference) < 0.03  # of stars that scatter by 0.07
    assert np.median(fitted.fit.scatter) == pytest.approx(0.2 * np.log(10) * SIGMA, rel=0.2)
    assert fitted.fit.contaminant_fraction < 0.005


def test_a_second_call_gives_the_same_bits(fitted):
    table, spectra, _ = sample()
    again = calibrate(SURVEY, table, spectra)
    assert json.dumps(files_ready(again)) == json.dumps(files_ready(fitted))
    assert np.array_equal(again.fit.log_fakemag, fitted.fit.log_fakemag)


def test_the_density_moves_the_zero_point_towards_the_truth():
    """Many stars of small errors, so that the shift stands out of the noise."""
    table, spectra, _ = sample(n=4000, seed=3)
    found = calibrate(SURVEY, table, spectra)
    assert found.without_density_uas - found.zero_point_uas > 2.0
    assert abs(found.zero_point_uas - ZERO_POINT) < 3 * found.error_uas
    assert abs(found.zero_point_uas - ZERO_POINT) < abs(found.without_density_uas - ZERO_POINT)


def files_ready(found):
    """As the results are written, in plain numbers."""
    return json.loads(json.dumps(found.in_uas(), default=lambda array: array.tolist()))


class EvenDensity:
    """Stands in for the density of the stars: their number does not change with distance."""

    def __init__(self):
        self.given = {"fit": [], "slope": []}

    def fit(self, *args):
        self.given["fit"].append(args)
        return self

    def slope(self, *args):
        self.given["slope"].append(args)
        return np.zeros(len(args[0]))


@pytest.fixture
def even_density(monkeypatch):
    density = EvenDensity()
    monkeypatch.setattr(refit_zero_point, "DensityModel", density)
    return density


@pytest.mark.parametrize("iterations", [1, 3])
def test_every_iteration_bends_the_luminosities_of_the_one_before(iterations, monkeypatch, even_density):
    """One fit from the same luminosity for all stars, the iterations, two fits with a density's shift, bends, plane.

    Those start where the last iteration did, so that the shift is all that differs: one of zero gives the same fit.
    """
    fits, fit = [], refit_zero_point.least_squares.fit

    def spy(parallax, error, k0_mag, start, features, **options):
        found = fit(parallax, error, k0_mag, start, features, **options)
        fits.append((start, features, options.get("shift"), found))
        return found

    monkeypatch.setattr(refit_zero_point.least_squares, "fit", spy)
    settings = dataclasses.replace(SURVEY.calibration, iterations=iterations)
    found = calibrate(dataclasses.replace(SURVEY, calibration=settings), *sample(n=500)[:2])
    starts, features, shifts, results = zip(*fits, strict=True)
    assert [shift is not None for shift in shifts] == [False] * (1 + iterations) + [True] * 4
    assert np.ptp(starts[0]) == 0 and np.array_equal(starts[1], results[0].log_fakemag)
    for i in range(2, 1 + iterations):  # without the drift, which is not the spectrum's
        told = starts[i - 1] + features[i - 1][:, :-1] @ results[i - 1].weights[:-1]
        assert np.array_equal(starts[i], told)
    last = iterations
    for start, used in zip(starts[-4:], features[-4:], strict=True):
        assert np.array_equal(start, starts[last]) and np.array_equal(used[:, :-1], features[last])
        assert not used[:, -1].any()  # the share of a shift of zero
    assert found.without_density_uas == results[last].mean_uas
    assert found.zero_point_uas == pytest.approx(found.without_density_uas, abs=0.01)
    assert found.without_chemistry_uas == found.zero_point_uas
    assert np.ptp(results[last].log_fakemag) > 1 and found.fit is results[-3]


def test_the_density_is_that_of_the_stars_luminosities_places_and_composition(even_density):
    table, spectra, truth = sample(n=500)
    table["glon"], table["glat"] = np.linspace(90, 270, 500), np.linspace(-60, 60, 500)
    calibrate(SURVEY, table, spectra)
    mg_fe = table["mg_h"] - table["fe_h"]
    columns = [np.asarray(column) for column in (table["k0_mag"], table["glon"], table["glat"], table["fe_h"], mg_fe)]
    for calls in even_density.given.values():
        assert [len(args) for args in calls] == [4, 6]  # without and with chemistry
        for args in calls:
            assert np.std(args[0] - (5 * truth / np.log(10) - 10)) < 0.1  # absolute magnitude
            for one, two in zip(args[1:], columns, strict=False):
                assert np.array_equal(one, two)


def test_the_numbers_travel_as_json(fitted, tmp_path):
    files.write_json(tmp_path / "calibration.json", fitted.in_uas())
    read = files.read_json(tmp_path / "calibration.json")
    assert read["value_uas"] == fitted.zero_point_uas and read["error_uas"] == fitted.error_uas
    assert read["stars"] == 2500 and read["without_density_uas"] == fitted.without_density_uas
    plane = ZeroPointPlane.from_dict(read["plane"])
    inputs = (np.array([11.0, 14.0]), np.array([1.2, 1.6]), np.array([4500.0, 4900.0]))
    for one, two in zip(plane.at_uas(*inputs), fitted.plane.at_uas(*inputs), strict=True):
        assert np.array_equal(one, two)


def test_the_plane_is_the_mean_in_the_middle_and_flat_where_the_zero_point_is(fitted):
    value, error = fitted.plane.at_uas(*fitted.plane.mean[:, None])
    assert abs(value[0] - fitted.zero_point_uas) < error[0] < 1.5 * fitted.error_uas
    assert (np.abs(fitted.plane.weights_uas[2:]) < 5.0).all()
    table, _, _ = sample()
    values = fitted.plane.at_uas(*(np.asarray(table[name]) for name in ("g_mag", "bp_rp", "teff")))[0]
    # over the stars that it was fitted to; inputs beyond three standard deviations count as those
    assert values.mean() == pytest.approx(fitted.plane.weights_uas[0], abs=0.05)


@pytest.mark.parametrize("surface", [-9.2, 10.0])
def test_the_mean_of_a_zero_point_that_depends_on_g_comes_back_with_its_slope(surface):
    """A constant fitted to such stars is not their mean; the paper's own slope is -9.2 uas per mag."""
    table, spectra, _ = sample(n=3000, seed=6, surface=surface)
    found = calibrate(SURVEY, table, spectra)
    assert abs(found.zero_point_uas - ZERO_POINT) < 2 * found.error_uas < 16
    assert abs(found.g_slope_uas_per_mag - surface) < 3 * found.g_slope_error_uas_per_mag < 6
    held = dataclasses.replace(SURVEY, calibration=dataclasses.replace(SURVEY.calibration, slope_prior=0.01))
    constant = calibrate(held, table, spectra)
    assert (constant.zero_point_uas - found.zero_point_uas) * surface > 0
    assert abs(constant.zero_point_uas - ZERO_POINT) > max(10, 2 * constant.statistical_error_uas)


@pytest.mark.parametrize("per_1000_k", [20.0, -20.0])
def test_the_mean_of_a_zero_point_that_depends_on_teff_comes_back_with_its_slope(per_1000_k):
    """Cool stars are luminous and far, so they say most of the zero point: a constant is not the stars' mean."""
    table, spectra, log_fakemag = sample(n=3000, seed=14)
    teff = 4500 - 1000 * (log_fakemag - log_fakemag.mean()) + np.random.default_rng(15).normal(0, 30, 3000)
    table["teff"] = teff
    table["parallax"] += 1e-6 * per_1000_k * (teff - teff.mean())
    found = calibrate(SURVEY, table, spectra)
    assert abs(found.zero_point_uas - ZERO_POINT) < found.error_uas < 16
    assert abs(found.teff_slope_uas_per_1000_k - per_1000_k) < 1.5 * found.teff_slope_error_uas_per_1000_k < 15
    held = dataclasses.replace(SURVEY, calibration=dataclasses.replace(SURVEY.calibration, teff_prior=0.01))
    constant = calibrate(held, table, spectra)
    assert abs(constant.teff_slope_uas_per_1000_k) < 0.1
    assert abs(constant.zero_point_uas - ZERO_POINT) > 25


def test_errors_of_k0_that_gaia_s_g_betrays_are_no_slope_of_the_zero_point():
    """G has no part in the errors of K0. Beside the spectrum it tells them, and a slope in it would take them up."""
    table, spectra, _ = sample(n=4000, seed=11)
    colour = np.random.default_rng(12).normal(2.8, 0.02, 4000)  # G - K: all but free of scatter
    table["g_mag"] = table["k0_mag"] + colour
    exact = calibrate(SURVEY, table, spectra)
    noise = 0.15 * np.random.default_rng(13).standard_normal(4000)
    table["k0_mag"] += noise
    noisy = calibrate(SURVEY, table, spectra)
    moved = noisy.g_slope_uas_per_mag - exact.g_slope_uas_per_mag
    assert abs(moved) < 2 * exact.g_slope_error_uas_per_mag
    assert abs(noisy.zero_point_uas - exact.zero_point_uas) < 1.5 * exact.statistical_error_uas


def test_a_zero_point_that_no_line_follows_shows_in_the_residuals(fitted):
    assert set(fitted.residuals) == {"g_mag", "bp_rp", "teff", "k0_mag", "snr"}  # the table has no log g

    def pulls(found, name):
        return np.array([one["mean_uas"] / one["error_uas"] for one in found.residuals[name]])

    for name in fitted.residuals:
        assert np.sqrt(np.mean(pulls(fitted, name) ** 2)) < 1.5
        assert sum(one["stars"] for one in fitted.residuals[name]) == 2500
    table, spectra, _ = sample()
    middle = np.median(table["g_mag"])
    table["parallax"] += 0.06 * (np.abs(table["g_mag"] - middle) < 0.7)
    bent = pulls(calibrate(straight(), table, spectra), "g_mag")
    assert bent[3:5].min() > 1 and bent.min() < -1 and np.abs(bent).max() > 2.5


def straight():
    """A survey whose zero points hardly bend."""
    return dataclasses.replace(SURVEY, calibration=dataclasses.replace(SURVEY.calibration, bend_prior=1e-3))


def test_a_zero_point_is_bent_only_if_the_parallaxes_ask_for_it(fitted):
    """A dip in G, of which a line makes a slope: the mean is then off by far more than its error."""
    assert not fitted.bends and -20 < fitted.bends_log_evidence < 3
    assert fitted.without_bends_uas == fitted.zero_point_uas and fitted.error_budget_uas["bends"] == 0
    table, spectra, _ = sample(n=3000, seed=6)
    g_mag = np.asarray(table["g_mag"])
    bend = -80.0 * (g_mag - g_mag.min() > 4.0)
    table["parallax"] += 1e-3 * (bend - bend.mean())
    line, found = (calibrate(survey, table, spectra) for survey in (straight(), SURVEY))
    assert not line.bends and abs(line.zero_point_uas - ZERO_POINT) > 2.5 * line.error_uas
    assert found.bends and found.bends_log_evidence > 3
    assert found.without_bends_uas == pytest.approx(line.zero_point_uas, abs=0.5)
    assert abs(found.zero_point_uas - ZERO_POINT) < min(2 * found.error_uas, abs(line.zero_point_uas - ZERO_POINT))
    moved = found.zero_point_uas - found.without_bends_uas
    assert found.error_budget_uas["bends"] == pytest.approx(SURVEY.calibration.systematic_share * abs(moved))
    assert found.error_budget_uas["total"] == pytest.approx(found.error_uas)
    # what the bends' priors hold is no error that neighbours share
    assert found.error_budget_uas["slopes"] > 2 * line.error_budget_uas["slopes"]
    assert found.error_budget_uas["neighbours"] == pytest.approx(line.error_budget_uas["neighbours"], abs=1.0)
    # the plane holds what the bends leave: fitted to all of it, its mean moved by 13 uas here, its slope by four errors
    assert abs(found.plane.weights_uas[0] - found.zero_point_uas) < 0.2 * found.error_uas
    slope_of_plane = found.plane.weights_uas[1] / found.plane.sd[0]
    assert abs(slope_of_plane - found.g_slope_uas_per_mag) < found.g_slope_error_uas_per_mag


def test_labels_tell_of_luminosities_what_the_spectra_s_components_do_not():
    """A clump: stars of one log g are more luminous than the first components say."""
    table, spectra, log_fakemag = sample()
    log_g = np.random.default_rng(20).uniform(1.0, 3.5, len(table))
    clump = -0.15 * np.exp(-0.5 * ((log_g - 2.4) / 0.2) ** 2)
    table["parallax"] = (np.asarray(table["parallax"]) - 1e-3 * ZERO_POINT) * np.exp(clump) + 1e-3 * ZERO_POINT
    without = calibrate(SURVEY, table, spectra)
    table["logg"] = log_g
    found = calibrate(SURVEY, table, spectra)
    assert without.label_features == 0 < found.label_features
    truth = log_fakemag + clump
    assert np.std(found.fit.log_fakemag - truth) < 0.7 * np.std(without.fit.log_fakemag - truth)
    assert np.median(found.fit.scatter) < 0.95 * np.median(without.fit.scatter)
    assert abs(found.zero_point_uas - ZERO_POINT) < 2 * found.error_uas


def test_the_error_budget_adds_up_to_the_quoted_error(fitted):
    parts = dict(fitted.error_budget_uas)
    assert parts.pop("total") == pytest.approx(fitted.error_uas)
    assert np.sqrt(sum(part**2 for part in parts.values())) == pytest.approx(fitted.error_uas)
    systematic = SURVEY.calibration.systematic_share * (fitted.zero_point_uas - fitted.without_density_uas)
    assert parts["density"] == pytest.approx(abs(systematic))
    assert set(parts) == {
        "residuals", "luminosities", "drift", "density_share", "slopes", "neighbours", "density", "bends"
    }  # fmt: skip
    assert parts["residuals"] > 0 and parts["slopes"] > 0


def test_the_density_moves_near_stars_outwards_and_far_ones_less(fitted):
    bins = fitted.density_shift
    assert sum(one["stars"] for one in bins) == 2500
    assert [one["middle"] for one in bins] == sorted(one["middle"] for one in bins)
    assert 0.5 < bins[0]["middle"] < bins[-1]["middle"] < 12  # kpc
    shift = np.array([one["shift_percent"] for one in bins])
    assert shift[0] < shift[-1]  # near ones still grow in number with distance, far ones thin out
    assert fitted.spectral_features > 2


def test_residuals_are_means_in_bins_weighted_as_in_the_fit():
    fit = types.SimpleNamespace(
        residual_uas=np.arange(800.0), residual_error_uas=np.where(np.arange(800) % 2, 10.0, 20.0)
    )
    found = refit_zero_point.residuals_by({"snr": np.arange(800.0), "logg": np.full(800, np.nan)}, fit)
    assert list(found) == ["snr"] and len(found["snr"]) == 8
    first = found["snr"][0]
    assert (first["low"], first["high"], first["middle"], first["stars"]) == (0.0, 99.0, 49.5, 100)
    odd, even = np.arange(1.0, 100, 2), np.arange(0.0, 100, 2)
    assert first["mean_uas"] == pytest.approx((4 * odd.sum() + even.sum()) / 250)
    assert first["error_uas"] == pytest.approx((50 / 100 + 50 / 400) ** -0.5)


def test_the_slope_has_the_plane_s_sign_and_unit(fitted):
    g = fitted.plane.mean[0] + np.array([0.0, 1.0])
    low, high = fitted.plane.at_uas(g, np.full(2, fitted.plane.mean[1]), np.full(2, fitted.plane.mean[2]))[0]
    assert abs(high - low - fitted.g_slope_uas_per_mag) < fitted.g_slope_error_uas_per_mag


@pytest.mark.parametrize("drift", [0.03, -0.03])
def test_a_drift_of_luminosities_with_magnitude_is_not_taken_for_a_zero_point(drift, fitted):
    """As pairs of the same stars: the zero point stays, the drift is told."""
    table, spectra, _ = sample()
    true = np.asarray(table["parallax"]) - 1e-3 * ZERO_POINT
    table["parallax"] = true * 10 ** (0.2 * drift * (table["k0_mag"] - 10.5)) + 1e-3 * ZERO_POINT
    found = calibrate(SURVEY, table, spectra)
    assert abs(found.zero_point_uas - fitted.zero_point_uas) < fitted.error_uas
    moved = found.drift_per_mag - fitted.drift_per_mag
    assert moved == pytest.approx(0.2 * np.log(10) * drift, abs=2 * found.drift_error_per_mag)
    assert 0 < found.drift_error_per_mag < 0.01


def test_luminosities_that_depend_on_the_noise_of_the_spectra_are_no_zero_point():
    """Stars of noisy spectra are read as too much alike, and they are the faint ones."""
    table, spectra, _ = sample(n=3000, seed=9)
    table["snr"] = 400.0 * 10 ** (-0.15 * (np.asarray(table["k0_mag"]) - 7))
    clean = calibrate(SURVEY, table, spectra)
    noise = (np.asarray(table["snr"]) / 100) ** -2.0
    drawn = np.random.default_rng(10).standard_normal(spectra.shape).astype(np.float32)
    noisy = calibrate(SURVEY, table, spectra + 0.004 * np.sqrt(noise)[:, None].astype(np.float32) * drawn)
    assert abs(noisy.zero_point_uas - clean.zero_point_uas) < 1.5 * clean.statistical_error_uas


def test_without_colours_there_is_a_mean_and_no_plane():
    table, spectra, _ = sample(n=400)
    table["bp_rp"][:201] = np.nan
    found = calibrate(SURVEY, table, spectra)
    assert found.plane is None and found.in_uas()["plane"] is None and np.isfinite(found.g_slope_uas_per_mag)
    table["g_mag"][:201] = np.nan
    table["teff"][:201] = np.nan
    without = calibrate(SURVEY, table, spectra)
    assert np.isnan([without.g_slope_uas_per_mag, without.teff_slope_uas_per_1000_k]).all()
    assert np.isfinite([without.zero_point_uas, without.error_uas]).all()
    table["g_mag"], table["teff"] = 13.0, 4700.0
    table["bp_rp"][0] = 1.4
    assert calibrate(SURVEY, table, spectra).plane is not None


def test_stars_without_abundances_calibrate_too():
    table, spectra, _ = sample(n=600)
    table["fe_h"][::3] = np.nan
    table["mg_h"][::5] = np.nan
    found = calibrate(SURVEY, table, spectra)
    assert np.isfinite([found.zero_point_uas, found.error_uas, found.without_chemistry_uas]).all()


def test_contaminants_do_not_carry_the_zero_point_away(fitted):
    table, spectra, _ = sample()
    spoilt = np.random.default_rng(4).permutation(2500)[:25]
    table["parallax"][spoilt] += 30 * table["parallax_error"][spoilt]
    found = calibrate(SURVEY, table, spectra)
    assert abs(found.zero_point_uas - fitted.zero_point_uas) < 1.5 * fitted.statistical_error_uas
    assert found.fit.contaminant_fraction == pytest.approx(0.01, rel=0.4)
    gaussian = calibrate(SURVEY, table, spectra, robust=False)
    assert gaussian.statistical_error_uas > 1.2 * found.statistical_error_uas


def test_usable_stars_have_an_extinction_and_are_away_from_the_bar():
    glon = np.array([0.0, 29.0, 31.0, 180.0, 329.0, 331.0, 359.9, -31.0, -29.0, 391.0, 90.0, 90.0, np.nan])
    table = Table({"glon": glon, "glat": np.full(13, 5.0), "a_k_mag": np.full(13, 0.1), "k0_mag": np.full(13, 10.0)})
    table["a_k_mag"][10], table["k0_mag"][11] = np.nan, np.nan
    assert np.flatnonzero(usable(SURVEY, table)).tolist() == [2, 3, 4, 7, 9]
    nowhere = table.copy()
    nowhere["glat"][3] = np.nan  # a table without GLAT: the density model knows no place for the star
    assert np.flatnonzero(usable(SURVEY, nowhere)).tolist() == [2, 4, 7, 9]
    assert np.flatnonzero(~has_corrected_k0(table)).tolist() == [10, 11]
    anywhere = dataclasses.replace(SURVEY, calibration=dataclasses.replace(SURVEY.calibration, min_abs_glon=0.0))
    assert np.flatnonzero(~usable(anywhere, table)).tolist() == [10, 11, 12]


def test_a_star_s_zero_point_is_as_uncertain_as_the_mean_and_as_what_its_neighbours_share():
    settings = dataclasses.replace(SURVEY.calibration, sky_prior=30.0)
    survey = dataclasses.replace(SURVEY, calibration=settings)
    assert refit_zero_point.star_error_mas(survey, 0.0) == pytest.approx(0.030 * np.sqrt(2))
    assert refit_zero_point.star_error_mas(survey, 40.0) == pytest.approx(np.sqrt(2 * 0.030**2 + 0.040**2))


def test_few_stars_have_few_features():
    rng = np.random.default_rng(5)
    per_feature = SURVEY.calibration.stars_per_feature
    for n in (60, 100, 400, 3000):
        features = refit_zero_point.spectral_features(SURVEY, rng.standard_normal((n, PIXELS)).astype(np.float32))
        assert len(features) == n and 1 <= features.shape[1] <= max(2, n / per_feature)
        assert np.isfinite(features).all()
    assert features.shape[1] > 0.6 * 3000 / per_feature


def test_the_density_s_shift_is_told_by_distance_in_per_cent_of_the_parallax():
    n = 80
    parallax = 1 / np.linspace(0.5, 8.0, n)  # mas, of 0.5 to 8 kpc
    k0 = np.resize([9.0, 11.0], n)
    shift = -0.01 * np.linspace(1, 3, n)  # farther by 1 to 3 per cent
    fit = types.SimpleNamespace(scatter=np.full(n, 0.1))
    bins = refit_zero_point.density_shift_by_distance(k0, np.log(parallax * 10 ** (0.2 * k0)), shift, fit)
    assert sum(one["stars"] for one in bins) == n and bins[0]["low"] == pytest.approx(0.5)
    assert bins[-1]["high"] == pytest.approx(8.0) and all(one["low"] < one["middle"] < one["high"] for one in bins)
    assert bins[0]["shift_percent"] == pytest.approx(-1.1, abs=0.05)
    assert bins[-1]["shift_percent"] == pytest.approx(-2.9, abs=0.05)
    assert all(one["scatter_percent"] == pytest.approx(10.0) for one in bins)
