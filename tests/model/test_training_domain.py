"""Stars outside the training set: flagged, with larger errors; ordinary stars are not, however noisy."""

import dataclasses
import warnings
from collections import namedtuple
from functools import partial

import catalogue_rows
import h5py
import numpy as np
import pytest
from tiny_survey import write_apstar

from apogaia.cli import commands
from apogaia.distances import catalogue
from apogaia.distances.catalogue import Flags
from apogaia.formats.pixel_grid import N_PIXELS, N_PIXELS_APSTAR
from apogaia.model import model_file, networks, training_domain
from apogaia.model.training_domain import Placement, TrainingDomain
from apogaia.model.training_set import TrainingSet
from apogaia.reduction.continuum import apogee_continuum
from apogaia.simulate.design import design_survey
from apogaia.simulate.run import observe_stars
from apogaia.simulate.synthesis import synthetic_flux
from apogaia.survey import load_survey
from apogaia.trained_model import TrainedModel

SURVEY = load_survey("smoke")
Stars = namedtuple("Stars", "spectrum g_mag bp_rp teff fe_h")


def normalised(observations):
    """Spectra (n, 7514) as the reduction gives them."""
    return normalise(*(np.stack(parts) for parts in zip(*(o.combined() for o in observations), strict=True)))


def normalise(flux, error, mask=None):
    mask = np.zeros(flux.shape, int) if mask is None else mask
    return apogee_continuum(flux, error, mask, settings=SURVEY.spectra)[0]


def training_set(stars, rows=slice(None)):
    ones = np.ones(len(stars.teff[rows]))
    return TrainingSet(stars.spectrum[rows], ones, ones, ones, stars.g_mag[rows], stars.bp_rp[rows], stars.teff[rows])


@pytest.fixture(scope="module")
def design():
    return design_survey(dataclasses.replace(SURVEY, simulation=dataclasses.replace(SURVEY.simulation, n_stars=7000)))


def ordinary(giants):
    """Neither metal-poor nor at the tip of the giant branch, where the training set itself is thin."""
    return (giants.teff > 4000) & (giants.teff < 5500) & (giants.fe_h > -1)


def observed(design, rows):
    labels = (design.stars[name][rows] for name in ("g_true_mag", "bp_rp_true_mag", "teff", "fe_h"))
    return Stars(normalised(observe_stars(design, rows)), *labels)


def passes_cuts(design):
    return (design.stars["starflag"] == 0) & (design.stars["v_scatter"] < 1)


@pytest.fixture(scope="module")
def giant_rows(design):
    giant = (design.stars["logg"] < 3.5) & (design.stars["snr"] > 200)
    rows = np.flatnonzero(giant & passes_cuts(design))  # ordered by Galactic component
    return np.random.default_rng(3).permutation(rows)[:1000]


@pytest.fixture(scope="module")
def giants(design, giant_rows):
    return observed(design, giant_rows)


TRAINED, HELD_OUT = slice(0, 600), slice(600, 1000)


@pytest.fixture(scope="module")
def knows_giants(giants):
    return TrainingDomain.fit(training_set(giants, TRAINED))


@pytest.fixture(scope="module")
def dwarfs(design):
    dwarf = (design.stars["logg"] > 4) & (design.stars["teff"] < 5500)
    return observed(design, np.flatnonzero(dwarf & passes_cuts(design)))


@pytest.fixture(scope="module")
def hot_flux():
    """Hot stars (3, 8575) of 9000 K and more, at SNR 100."""
    flux = synthetic_flux([9000.0, 10_000.0, 12_000.0], [4.0, 4.0, 3.5], {"Fe": 0.0}, 2.0, 20.0)
    return flux + np.random.default_rng(1).normal(0, 0.01, flux.shape).astype(np.float32)


@pytest.fixture(scope="module")
def hot(hot_flux):
    return normalise(hot_flux, np.full_like(hot_flux, 0.01))


def noise(level, n=3, seed=2):
    """Noise around the continuum, (n, 7514), without negative flux, as normalisation leaves it."""
    return np.maximum(np.random.default_rng(seed).normal(1, level, (n, N_PIXELS)), 0).astype(np.float32)


# --- spectra ----------------------------------------------------------------------------------------------------------


def test_ordinary_stars_are_inside(knows_giants, giants):
    outside = knows_giants.outside(giants.spectrum[HELD_OUT])
    assert np.mean(outside[ordinary(giants)[HELD_OUT]]) <= 0.01
    assert np.mean(outside) <= 0.02  # metal-poor giants and the coolest included


@pytest.mark.parametrize("snr", [50, 30])
def test_low_signal_to_noise_alone_is_not_outside(knows_giants, design, giants, giant_rows, snr):
    visit_snr = design.stars["visit_snr"] * (snr / design.stars["snr"])[:, None]
    noisy = dataclasses.replace(design, stars=design.stars | {"visit_snr": visit_snr})
    rows = giant_rows[HELD_OUT][ordinary(giants)[HELD_OUT]]
    assert np.mean(knows_giants.outside(normalised(observe_stars(noisy, rows)))) <= 0.02


def test_hot_stars_are_outside(knows_giants, hot):
    assert np.all(knows_giants.outside(hot))
    assert np.all(knows_giants.inflation(hot) > 2)


@pytest.mark.parametrize("level", [0.005, 0.03, 0.1, 1.0])
def test_pure_noise_is_outside(knows_giants, level):
    assert np.all(knows_giants.outside(noise(level)))


@pytest.mark.parametrize("flux", [1.0, 0.0, 0.5, 1.3])
def test_blank_and_constant_spectra_are_outside(knows_giants, flux):
    spectrum = np.full((1, N_PIXELS), flux, np.float32)
    assert knows_giants.outside(spectrum).all()
    assert 2 < knows_giants.inflation(spectrum)[0] < np.inf


def test_a_wrong_radial_velocity_is_outside(knows_giants, giants):
    assert np.all(knows_giants.outside(np.roll(giants.spectrum[HELD_OUT], 10, axis=1)))


def test_cool_dwarfs_are_outside_a_training_set_of_giants(knows_giants, dwarfs):
    cool = dwarfs.teff < 4500
    assert cool.sum() > 50
    assert np.mean(knows_giants.outside(dwarfs.spectrum[cool])) > 0.95


def test_giants_are_outside_a_training_set_of_dwarfs(dwarfs, giants):
    trained = np.arange(len(dwarfs.teff)) % 4 > 0
    knows_dwarfs = TrainingDomain.fit(training_set(dwarfs, trained))
    assert np.mean(knows_dwarfs.outside(giants.spectrum)) > 0.9
    assert np.mean(knows_dwarfs.outside(dwarfs.spectrum[~trained])) < 0.1  # and it is not that everything is


# --- the error's growth -----------------------------------------------------------------------------------------------


def test_the_error_grows_from_one_at_the_edge_without_a_step():
    distance = np.array([np.nan, 0.0, 0.5, 1.0, 1 + 1e-9, 1.1, 2.0, 40.0])
    placement = Placement(distance, np.full(8, 50.0))  # far off in labels, of which the luminosity does not know
    np.testing.assert_array_equal(placement.inflation[:4], 1.0)
    assert placement.inflation[4] == pytest.approx(1)
    assert np.all(np.diff(placement.inflation[3:]) > 0)


def test_the_error_grows_with_temperature_beyond_the_giants(knows_giants):
    teff = np.array([4800.0, 5500.0, 6500.0, 7000.0, 8000.0, 9000.0, 11_000.0])
    flux = synthetic_flux(teff, np.full(7, 3.0), {"Fe": 0.0}, 1.5, 5.0)
    factor = knows_giants.inflation(normalise(flux, np.full_like(flux, 0.01)))
    np.testing.assert_array_equal(factor[:2], 1.0)
    assert np.all(np.diff(factor[1:]) > 0)


def test_the_error_is_as_it_was_for_stars_inside(knows_giants, giants):
    distance = knows_giants.spectrum_distance(giants.spectrum[HELD_OUT])
    factor = knows_giants.inflation(giants.spectrum[HELD_OUT])
    np.testing.assert_array_equal(factor == 1, distance <= 1)


# --- labels -----------------------------------------------------------------------------------------------------------


def test_labels_outside_the_training_set(knows_giants, giants):
    g_mag, bp_rp, teff = (np.median(column) for column in (giants.g_mag, giants.bp_rp, giants.teff))
    g_mag, bp_rp, teff = np.array([(g_mag, bp_rp, teff), (25, bp_rp, teff), (g_mag, -2, teff), (g_mag, bp_rp, 9500)]).T
    assert (knows_giants.label_distance(g_mag, bp_rp, teff) > 1).tolist() == [False, True, True, True]
    held_out = (column[HELD_OUT] for column in (giants.g_mag, giants.bp_rp, giants.teff))
    assert np.mean(knows_giants.label_distance(*held_out) > 1) < 0.03
    star = giants.spectrum[HELD_OUT][:1]
    assert knows_giants.place(star, 12.0, bp_rp[0], teff[3]).outside.all()
    assert not knows_giants.place(star, 12.0, bp_rp[0], teff[0]).outside.any()


def test_missing_labels_are_missing_not_outside(knows_giants, giants):
    g_mag, bp_rp, teff = giants.g_mag.copy(), giants.bp_rp.copy(), giants.teff.copy()
    whole = knows_giants.label_distance(g_mag, bp_rp, teff)
    bp_rp[::2], teff[::3] = np.nan, np.nan
    part = knows_giants.label_distance(g_mag, bp_rp, teff)
    assert np.all(part <= whole + 1e-9) and np.any(part < 0.9 * whole)
    nan = np.full(2, np.nan)
    assert np.isnan(knows_giants.label_distance(nan, nan, nan)).all()
    # what is known still counts
    assert (knows_giants.label_distance(nan, nan, [4500.0, 9500.0]) > 1).tolist() == [False, True]
    star = giants.spectrum[HELD_OUT][:1]
    assert not knows_giants.outside(star, np.nan, np.nan, np.nan).any() and not knows_giants.outside(star).any()


def test_training_stars_without_labels(giants):
    nan = np.full(1000, np.nan)
    every_other = np.where(np.arange(1000) % 2, giants.bp_rp, np.nan)
    half = TrainingDomain.fit(training_set(giants._replace(bp_rp=every_other), slice(0, 200)))
    assert np.isfinite(half.label_distance(12.0, 1.5, 4500.0)).all()
    no_teff = TrainingDomain.fit(training_set(giants._replace(teff=nan), slice(0, 200)))
    assert np.isnan(no_teff.label_distance(np.nan, np.nan, 9500.0)).all()
    g_mag, bp_rp = np.array([(12.0, 1.5), (12.0, -2.0), (25.0, 1.5)]).T  # what the training stars have still counts
    distance = no_teff.label_distance(g_mag, bp_rp, np.full(3, 9500.0))
    assert (distance > 1).tolist() == [False, True, True]
    np.testing.assert_array_equal(distance, no_teff.label_distance(g_mag, bp_rp, np.full(3, np.nan)))
    assert not no_teff.place(giants.spectrum[:1], 12.0, 1.5, 9500.0).outside.any()
    restored = TrainingDomain.from_bytes(no_teff.to_bytes())
    np.testing.assert_array_equal(restored.label_distance(g_mag, bp_rp, np.full(3, 9500.0)), distance)
    none = TrainingDomain.fit(training_set(giants._replace(g_mag=nan, bp_rp=nan, teff=nan), slice(0, 200)))
    assert np.isnan(none.label_distance(12.0, 1.5, 9500.0)).all()
    assert not none.place(giants.spectrum[:1], 12.0, 1.5, 9500.0).outside.any()


# --- what cannot be placed --------------------------------------------------------------------------------------------


def test_a_star_without_spectrum_has_no_distance(knows_giants, giants):
    spectra = giants.spectrum[HELD_OUT][:4].copy()
    whole = knows_giants.spectrum_distance(spectra)
    spectra[1], spectra[2, 7] = np.nan, np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        placement = knows_giants.place(spectra)
    assert np.isnan(placement.spectrum).tolist() == [False, True, True, False]
    np.testing.assert_allclose(placement.spectrum[[0, 3]], whole[[0, 3]], rtol=1e-5)
    assert not placement.outside.any() and np.all(placement.inflation == 1)


def test_spectra_are_read_in_blocks(knows_giants, giants, tmp_path, monkeypatch):
    spectra = giants.spectrum[HELD_OUT][:50]
    whole = knows_giants.spectrum_distance(spectra)
    monkeypatch.setattr(training_domain, "BLOCK_SPECTRA", 7)
    with h5py.File(tmp_path / "stars.h5", "w") as file:
        found = knows_giants.spectrum_distance(file.create_dataset("spectrum", data=spectra))
    np.testing.assert_allclose(found, whole, rtol=1e-4)


def test_a_large_training_set_is_sampled(giants, monkeypatch):
    monkeypatch.setattr(training_domain, "MAX_STARS", 200)
    fitted = TrainingDomain.fit(training_set(giants, TRAINED))
    assert len(fitted.positions) == 200
    assert np.mean(fitted.outside(giants.spectrum[HELD_OUT])) < 0.05


def test_what_cannot_be_fitted_or_placed_is_refused(knows_giants, giants):
    with pytest.raises(ValueError, match="7 training stars are too few"):
        TrainingDomain.fit(training_set(giants), np.arange(7))
    with pytest.raises(ValueError, match="7514 pixels"):
        knows_giants.spectrum_distance(np.ones((2, N_PIXELS_APSTAR), np.float32))
    with pytest.raises(ValueError, match="7514 pixels"):
        knows_giants.spectrum_distance(np.ones(N_PIXELS, np.float32))


# --- the model file ---------------------------------------------------------------------------------------------------


def arrays(known):
    return {field.name: getattr(known, field.name) for field in dataclasses.fields(known)}


def test_restored_exactly_and_the_same_bytes(knows_giants, giants):
    content = knows_giants.to_bytes()
    restored = TrainingDomain.from_bytes(content)
    for name, values in arrays(knows_giants).items():
        np.testing.assert_array_equal(arrays(restored)[name], values, err_msg=name, strict=True)
    np.testing.assert_array_equal(
        restored.inflation(giants.spectrum[:50]), knows_giants.inflation(giants.spectrum[:50])
    )
    assert restored.to_bytes() == content
    again = TrainingDomain.fit(training_set(giants), np.arange(600))
    assert again.to_bytes() == content
    assert TrainingDomain.fit(training_set(giants), np.arange(600), seed=1).to_bytes() != content


@pytest.fixture(scope="module")
def model():
    mean = np.ones(N_PIXELS, np.float32)
    return networks.build_joint_network(SURVEY.network, "constant", mean_spectrum=mean, parallax_scale=1.0)


@pytest.fixture(scope="module")
def model_path(model, knows_giants, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "constant.keras"
    model_file.save_model(model, path, {"settings": SURVEY.settings()}, knows_giants)
    return path


def test_the_model_file_knows_its_training_set(model, model_path, knows_giants, tmp_path):
    assert model_file.read_domain(model_path).to_bytes() == knows_giants.to_bytes()
    assert model_file.load_network(model_path).name == "joint_constant"
    model_file.save_model(model, tmp_path / "again.keras", {"settings": SURVEY.settings()}, knows_giants)
    assert (tmp_path / "again.keras").read_bytes() == model_path.read_bytes()


@pytest.fixture(scope="module")
def domainless_path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "domainless.keras"
    model_file.save_model(model, path, {"settings": SURVEY.settings()})
    return path


def test_a_model_file_without_a_domain_loads_and_flags_nothing(domainless_path, giants):
    assert model_file.read_domain(domainless_path) is None
    placement = TrainedModel.load(domainless_path).place(giants.spectrum[:3])
    assert np.isnan(placement.spectrum).all() and not placement.outside.any()
    with pytest.raises(FileNotFoundError, match="notebook 02"):
        model_file.read_domain(domainless_path.with_name("none.keras"))


# --- catalogue and command line ---------------------------------------------------------------------------------------

Prediction = namedtuple("Prediction", "fakemag model_error predictive_error total_error")


def test_distances_outside_are_flagged_and_their_errors_grow():
    n = 4
    prediction = Prediction(np.full(n, 20.0), np.full(n, 0.3), np.full(n, 0.4), np.full(n, 0.5))
    placement = Placement(np.array([0.9, 1.5, np.nan, 0.9]), np.array([0.9, np.nan, np.nan, 3.0]))
    k_mag, a_k_mag = np.full(n, 10.1), np.full(n, 0.1)
    found = catalogue.distance_table(prediction, k_mag, a_k_mag, SURVEY.inference, placement)
    plain = catalogue.distance_table(prediction, k_mag, a_k_mag, SURVEY.inference)
    assert (found["flags"] & Flags.OUTSIDE_TRAINING_SET > 0).tolist() == [False, True, False, True]
    assert not np.any(plain["flags"] & Flags.OUTSIDE_TRAINING_SET)
    np.testing.assert_array_equal(found["training_distance"], placement.spectrum)
    for name in ("fakemag", "nn_parallax", "dist"):
        np.testing.assert_array_equal(found[name], plain[name])
        for kind in ("_model_error", "_predictive_error", "_error"):
            growth = found[name + kind] / plain[name + kind]
            np.testing.assert_array_equal(growth[[0, 2, 3]], 1.0)
            assert growth[1] == pytest.approx(1.5**training_domain.ERROR_GROWTH_POWER)


def test_the_catalogue_flags_and_trusts_gaia_instead():
    table, fakemag = catalogue_rows.stars(2), [20.0, 20.0]
    placement = Placement(np.array([0.5, 4.0]), np.array([0.5, 0.5]))
    build = partial(catalogue.build_catalogue, table, catalogue_rows.prediction(fakemag), 0.0, SURVEY.inference)
    found = build(placement)
    assert found.colnames[:22] == catalogue_rows.TABLE_1
    outside = Flags.OUTSIDE_TRAINING_SET | Flags.FAKEMAG_UNRELIABLE
    assert [Flags(int(flags)) for flags in found["flags"]] == [Flags(0), outside]
    gaia_dist = 1000 / table["parallax"][1]
    assert abs(found["weighted_dist"][1] - gaia_dist) < 0.01 * gaia_dist < abs(found["weighted_dist"][0] - gaia_dist)
    assert not np.any(build()["flags"]) and np.isnan(build()["training_distance"]).all()
    with pytest.raises(catalogue.CatalogueError, match="placement"):
        build(Placement.unknown(3))


@pytest.fixture(scope="module")
def files(hot_flux, design, giant_rows, tmp_path_factory):
    """apStar files of a giant and of a hot star."""
    folder = tmp_path_factory.mktemp("apstar")
    giant, _, _ = observe_stars(design, giant_rows[TRAINED][:1])[0].combined()
    paths = [folder / "giant.fits", folder / "hot.fits"]
    flat = np.zeros(N_PIXELS_APSTAR, int)
    for path, flux in zip(paths, (giant, 300 * hot_flux[0]), strict=True):
        write_apstar(path, f"2M{path.stem}", flux, np.full(N_PIXELS_APSTAR, np.median(flux) / 100), flat)
    return paths


def test_a_users_hot_star_is_flagged(files, model_path, domainless_path):
    found = TrainedModel.load(model_path).distances(files, passes=5)
    plain = TrainedModel.load(domainless_path).distances(files, passes=5)
    assert (found["flags"] & Flags.OUTSIDE_TRAINING_SET > 0).tolist() == [False, True]
    assert found["dist_error"][0] == plain["dist_error"][0]
    assert found["dist_error"][1] > 3 * plain["dist_error"][1]


def test_the_command_line_prints_the_flag_or_that_there_is_none(files, model_path, domainless_path, capsys):
    arguments = ["distance", "--passes", "5", *map(str, files)]
    commands.main([*arguments, "--model", str(model_path)])
    assert "OUTSIDE_TRAINING_SET" in capsys.readouterr().out
    commands.main([*arguments, "--model", str(domainless_path)])
    printed = capsys.readouterr()
    assert "OUTSIDE_TRAINING_SET" not in printed.out and "no star is flagged" in printed.err
