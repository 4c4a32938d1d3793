"""The simulated survey: formats equal to the real ones, physics that holds, truth that can be found again."""

import dataclasses
import filecmp
import json
import re
import warnings

import numpy as np
import pytest
from astropy.coordinates import angular_separation
from astropy.io import fits
from astropy.table import Table

from apogaia.formats.apstar import read_apstar
from apogaia.simulate import binaries, chemistry, evolution, gaia, photometry, population, run, sky_error, spectrograph
from apogaia.simulate.apstar import smallest_size
from apogaia.simulate.design import design_survey
from apogaia.simulate.fields import survey_fields
from apogaia.simulate.imperfections import STARFLAG_BITS
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

BAD = 1e10


def small_survey(n_stars=60, **changes):
    survey = load_survey("smoke")
    simulation = dataclasses.replace(survey.simulation, n_stars=n_stars, **changes)
    return dataclasses.replace(survey, simulation=simulation)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    survey = small_survey()
    workspace = Workspace(survey, tmp_path_factory.mktemp("simulated"))
    run.simulate_survey(survey, workspace, processes=1, progress=False)
    return survey, workspace


@pytest.fixture(scope="module")
def design():
    return design_survey(small_survey(8000))


@pytest.fixture(scope="module")
def stars():
    return population.draw_population(30_000, seed=7)


def tree(folder):
    return {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}


def whole_stars(workspace):
    truth = Table.read(workspace.truth)
    return truth[(truth["spectrum_state"] == "whole") & (truth["location_id"] != 1)]


# --- files ---


@pytest.mark.slow
def test_same_bytes_from_two_processes(written, tmp_path):
    survey, first = written
    second = Workspace(survey, tmp_path)
    run.simulate_survey(survey, second, processes=2, progress=False)
    ours, theirs = tree(first.data), tree(second.data)
    assert ours.keys() == theirs.keys()
    assert all(filecmp.cmp(ours[name], theirs[name], shallow=False) for name in ours)


def test_goes_on_where_it_stopped_and_clears_other_settings(tmp_path):
    survey = small_survey(12)
    workspace = Workspace(survey, tmp_path)
    run.simulate_survey(survey, workspace, processes=1, progress=False)
    before = {name: path.read_bytes() for name, path in tree(workspace.data).items()}
    files = sorted(path for path in workspace.raw.rglob("a[ps]Star*-*") if path.stat().st_size > 300_000)
    kept, lost, emptied = files[:3]
    stamp = kept.stat().st_mtime_ns
    lost.unlink()
    emptied.write_bytes(b"")
    workspace.raw_manifest.unlink()
    workspace.raw_manifest.with_name("started.json").write_text(
        json.dumps({"kind": "simulated", "fingerprint": json.loads(before[_manifest_name(workspace)])["fingerprint"]})
    )
    (lost.parent / f".{lost.name}.123").write_bytes(b"half")
    run.simulate_survey(survey, workspace, processes=1, progress=False)
    assert {name: path.read_bytes() for name, path in tree(workspace.data).items()} == before
    assert kept.stat().st_mtime_ns == stamp
    other = dataclasses.replace(survey, simulation=dataclasses.replace(survey.simulation, seed=1))
    run.simulate_survey(other, workspace, processes=1, progress=False)
    assert not lost.exists()
    assert json.loads(workspace.raw_manifest.read_text())["seed"] == 1


def _manifest_name(workspace):
    return workspace.raw_manifest.relative_to(workspace.data)


def test_refuses_a_folder_with_other_files(tmp_path):
    survey = small_survey(12)
    workspace = Workspace(survey, tmp_path)
    workspace.raw.mkdir(parents=True)
    precious = workspace.raw / "allStar-l31c.2.fits"
    precious.write_bytes(b"downloaded over a night")
    with pytest.raises(FileExistsError, match="no simulation wrote"):
        run.simulate_survey(survey, workspace, processes=1, progress=False)
    workspace.raw_manifest.write_text('{"kind": "archive"}')
    with pytest.raises(FileExistsError):
        run.simulate_survey(survey, workspace, processes=1, progress=False)
    assert precious.read_bytes() == b"downloaded over a night"


def test_only_simulated_surveys_can_be_designed():
    for name in ("dr14", "dr17"):
        with pytest.raises(ValueError, match="fetched"):
            design_survey(load_survey(name))


def test_allstar_has_the_real_columns_and_types(written, realdata):
    _, workspace = written
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        real = {c.name: c for c in fits.open(realdata / "allStar-l31c.2-rows-DR14-binaries.fits")[1].columns}
        real["K"] = real["KS"]  # the file's K column is a binary star's velocity amplitude
        real["K_ERR"] = real["KS_ERR"]
    ours = fits.open(workspace.allstar)[1].columns
    unknown = [c.name for c in ours if c.name not in real]
    assert unknown == []
    for column in ours:
        if "A" in real[column.name].format:
            assert column.format.endswith("A"), column.name
        else:
            assert column.format == real[column.name].format, column.name
    physics = {name for name in real if re.fullmatch(r"[A-Z0-9_]+", name)} - {c.name for c in ours}
    assert physics - {"P", "M0", "M1", "R1", "GALR"} == {
        *("KS", "KS_ERR", "PARAM_COV", "FPARAM_COV", "FPARAM_CLASS", "CHI2_CLASS"),
        *("ALL_VISITS", "ALL_VISIT_PK", "VISIT_PK", "DR14RC", "TINGRC"),
    }


@pytest.mark.parametrize(
    "name, n_visits",
    [("apStar-r6-2M03290406+3117075.fits", 1), ("apStar-r6-2M11194647+0820356.fits", 3)],
)
def test_apstar_is_built_as_the_real_one(written, realdata, name, n_visits):
    _, workspace = written
    star = next(row for row in whole_stars(workspace) if _n_visits(workspace, row) == n_visits)
    with fits.open(realdata / name) as real, fits.open(_path(workspace, star)) as ours:
        ours.verify("exception")
        assert len(ours) == len(real) == 10
        for k, (theirs, mine) in enumerate(zip(real, ours, strict=True)):
            assert type(theirs) is type(mine)
            # Sky and telluric images hold one pixel only, so they have one axis.
            excused = {"DATE", "NAXIS2"} if 4 <= k <= 7 else {"DATE"}
            assert set(theirs.header) - set(mine.header) - excused == set() or k == 9, k
            for card in ("BITPIX", "CRVAL1", "CDELT1", "CRPIX1", "CTYPE1", "BUNIT", "DC-FLAG"):
                assert theirs.header.get(card) == mine.header.get(card), (k, card)
            if k in (1, 2, 3):
                assert theirs.data.shape == mine.data.shape
                assert theirs.data.dtype == mine.data.dtype
        assert [c.name for c in real[9].columns] == [c.name for c in ours[9].columns]
        formats = {c.name: c.format for c in ours[9].columns}
        assert {c.name: c.format for c in real[9].columns} == formats
        kinds = {
            card: type(real[0].header[card]) for card in real[0].header if card not in ("COMMENT", "HISTORY", "DATE")
        }
        assert {card: type(ours[0].header[card]) for card in kinds} == kinds
        assert all(ours[0].header[card] is not None for card in ("AKTARG", "AKMETHOD"))


def _path(workspace, star):
    path = workspace.apstar(str(star["apogee_id"]), int(star["location_id"]))
    commissioning = path.with_name(path.name.replace("apStar-", "apStarC-"))
    return commissioning if commissioning.exists() else path


def _n_visits(workspace, star):
    return fits.getheader(_path(workspace, star))["NVISITS"]


def test_headers_tables_and_pixels_agree(written):
    _, workspace = written
    allstar = Table.read(workspace.allstar)
    truth = Table.read(workspace.truth)
    assert list(allstar["APOGEE_ID"]) == list(truth["apogee_id"])
    checked = 0
    for row, known in zip(allstar, truth, strict=True):
        if known["spectrum_state"] != "whole" or row["LOCATION_ID"] == 1:
            continue
        with fits.open(_path(workspace, known)) as hdus:
            header = hdus[0].header
            flux, error, mask = (hdus[k].data for k in (1, 2, 3))
        assert header["OBJID"] == row["APOGEE_ID"]
        assert header["LOCID"] == row["LOCATION_ID"]
        assert header["NVISITS"] == row["NVISITS"]
        assert header["STARFLAG"] == row["STARFLAG"]
        for card, column in (("SNR", "SNR"), ("AKTARG", "AK_TARG"), ("H", "H"), ("RA", "RA"), ("VSCATTER", "VSCATTER")):
            assert header[card] == pytest.approx(row[column], rel=1e-5, abs=1e-5)
        if row["NVISITS"] > 1:
            assert flux.shape == error.shape == mask.shape == (row["NVISITS"] + 2, 8575)
            flux, error, mask = flux[1], error[1], mask[1]
        usable = (error < BAD) & (flux != 0)
        assert np.median(flux[usable] / error[usable]) == pytest.approx(row["SNR"], rel=0.2)
        assert np.all(flux[:150] == 0) and np.all(error[:150] == np.float32(BAD)) and np.all(mask[:150] & 1)
        assert np.all(np.isfinite(flux)) and np.all(error > 0)
        # H = 0 is 1.133e-10 erg/s/cm2/A.
        expected = 1.133e7 * 10 ** (-0.4 * float(known["h_true_mag"]))
        assert np.median(flux[usable]) == pytest.approx(expected, rel=0.25)
        checked += 1
    assert checked > 50


def test_spoiled_files_are_there(written):
    _, workspace = written
    truth = Table.read(workspace.truth)
    states = dict(zip(truth["spectrum_state"], truth, strict=True))
    assert {"missing", "cut", "blank", "NaN errors", "whole"} == set(states)
    assert not _path(workspace, states["missing"]).exists()
    assert _path(workspace, states["cut"]).stat().st_size < smallest_size(1, "dr14") * 6
    with fits.open(_path(workspace, states["blank"])) as hdus:
        assert np.all(hdus[1].data == 0)
    with fits.open(_path(workspace, states["NaN errors"])) as hdus:
        assert np.all(np.isnan(hdus[2].data))
    allstar = Table.read(workspace.allstar)
    k_mag = np.ma.filled(allstar["K"], np.nan)
    assert np.isnan(k_mag).any() and (k_mag < -9999).any()
    assert (allstar["AK_TARG"] < -9999).any()
    at_one_metre = allstar["LOCATION_ID"] == 1
    assert at_one_metre.any() and not (workspace.raw / "apo25m" / "1").exists()


def test_spectra_of_commissioning_have_files_of_their_own_in_dr14_alone(design):
    from apogaia.simulate.allstar import allstar_columns
    from apogaia.simulate.allstar_dr17 import allstar_dr17_columns

    stars = design.stars
    commissioning = stars["commissioning"] == 1
    assert 0 < commissioning.sum() < len(commissioning)
    columns = allstar_columns(np.random.default_rng(1), stars)
    kinds = np.where(commissioning, "c", "s")
    for name, id_, file, kind in zip(columns["APOGEE_ID"], columns["APSTAR_ID"], columns["FILE"], kinds, strict=True):
        assert file == f"apStar{'C' if kind == 'c' else ''}-r8-{name}.fits"
        assert id_.split(".")[2:4] == [kind, "stars"] and id_.endswith(f".{name}")
    assert [name.split(".")[2] for name in columns["ASPCAP_ID"]] == kinds.tolist()
    np.testing.assert_array_equal(columns["EXTRATARG"] & 2 != 0, commissioning)
    np.testing.assert_array_equal(columns["COMMISS"] != 0, commissioning)

    survey = load_survey("smoke-dr17")
    survey = dataclasses.replace(survey, simulation=dataclasses.replace(survey.simulation, n_stars=600))
    other = design_survey(survey)
    columns = allstar_dr17_columns(np.random.default_rng(1), other.stars, other.sources)
    assert other.stars["commissioning"].any()
    assert not any("StarC" in file for file in columns["FILE"]) and not (columns["EXTRATARG"] & 2).any()


def test_a_commissioning_spectrum_is_written_and_read_under_its_name(design, tmp_path):
    workspace = Workspace(small_survey(8000), tmp_path)
    rows = np.flatnonzero((design.stars["commissioning"] == 1) & run.has_file(design))[:2]
    rows = rows[design.stars["spectrum_state"][rows] == ""]
    paths = [run._path(workspace, design, i) for i in rows]
    run._make(run.part(design, rows), paths)
    assert len(paths) and sorted(workspace.raw.rglob("apStarC-r8-2M*.fits")) == sorted(paths)
    for path, apogee_id in zip(paths, design.stars["apogee_id"][rows], strict=True):
        assert read_apstar(path).header["apogee_id"] == apogee_id
    half = paths[0].with_name(f".{paths[0].name}.123")
    half.write_bytes(b"half")
    run._sweep_temporary_files(paths)
    assert not half.exists() and paths[0].exists()


def test_what_allstar_lacks_its_spectra_s_headers_lack_too(written):
    _, workspace = written
    allstar, truth = Table.read(workspace.allstar), Table.read(workspace.truth)
    k_mag = np.ma.filled(allstar["K"], np.nan)
    missing = np.isnan(k_mag) | (k_mag < -9999)
    checked = 0
    for row, known, lacking in zip(allstar, truth, missing, strict=True):
        if known["spectrum_state"] == "whole" and row["LOCATION_ID"] != 1:
            header = fits.getheader(_path(workspace, known))
            assert header["K"] == pytest.approx(-9999.99 if lacking else row["K"], abs=1e-4)
            checked += lacking
    assert checked > 0


def test_bad_pixels_of_visits_have_ordinary_errors_and_those_of_combinations_large_ones(written):
    _, workspace = written
    bad = 0
    for star in whole_stars(workspace):
        with fits.open(_path(workspace, star)) as hdus:
            error, mask = hdus[2].data, hdus[3].data
        if error.ndim == 2:
            lit = error[2:] < BAD
            marked = (mask[2:] & 1 != 0) & lit
            bad += marked.sum()
            everywhere = marked.all(axis=0)
            assert np.all(error[0, everywhere] == np.float32(BAD))
    assert bad > 1000


def test_no_date_or_machine_in_the_files(written):
    _, workspace = written
    for path in (workspace.allstar, workspace.gaia, workspace.truth, _path(workspace, whole_stars(workspace)[0])):
        with fits.open(path) as hdus:
            for hdu in hdus:
                assert not {"DATE", "CREATOR", "HOSTNAME", "CHECKSUM"} & set(hdu.header)


def test_stellar_parameters_scatter_about_the_truth(design):
    from apogaia.simulate.allstar import CATALOGUE_ELEMENTS, stellar_parameter_columns

    columns = stellar_parameter_columns(np.random.default_rng(1), design.stars)
    values, errors = columns["astroNN"].astype(float), columns["astroNN_error"].astype(float)
    assert values.shape == errors.shape == (8000, 22)
    known = values[:, 0] > 0
    assert np.all(values[~known] == -9999) and np.all(errors[~known] == -9999)
    # teff logg C CI N O Na Mg Al Si P S K Ca Ti TiII V Cr Mn Fe Co Ni
    assert CATALOGUE_ELEMENTS.index("FE") + 2 == 19
    for k, name in {
        0: "teff",
        1: "logg",
        2: "c_h",
        3: "c_h",
        4: "n_h",
        7: "mg_h",
        15: "ti_h",
        19: "fe_h",
        21: "ni_h",
    }.items():
        pull = ((values[:, k] - design.stars[name]) / errors[:, k])[known]
        assert abs(pull.mean()) < 0.05 and pull.std() == pytest.approx(1, abs=0.05), name


# --- the Galaxy and its stars ---


def test_luminosity_follows_from_radius_and_temperature(stars):
    # In SI units, with G, sigma and the Sun's values typed here: R^2 = G M / g and L = 4 pi R^2 sigma T^4.
    g = 10 ** stars["logg"] * 1e-2
    radius = np.sqrt(1.3271244e20 * stars["mass_msun"] / g)
    luminosity = 4 * np.pi * radius**2 * 5.670374e-8 * stars["teff"] ** 4
    np.testing.assert_allclose(radius, stars["radius_rsun"] * 6.957e8, rtol=2e-3)
    np.testing.assert_allclose(luminosity, stars["luminosity_lsun"] * 3.828e26, rtol=4e-3)


def test_apparent_magnitude_is_absolute_plus_modulus_plus_extinction(stars):
    modulus = 5 * np.log10(stars["distance_kpc"] * 1000) - 5
    np.testing.assert_allclose(stars["k_true_mag"], stars["k_abs_mag"] + modulus + stars["a_k_true_mag"], atol=1e-9)
    reddening = stars["h_true_mag"] - stars["w2_true_mag"] - stars["a_k_true_mag"] / 0.918
    assert np.abs(reddening - 0.08).max() < 0.2


def test_luminosities_of_one_spectrum_scatter_and_more_so_for_luminous_giants(design):
    """The hidden scatter, which no spectrum shows and every recovered zero point feels (docs/simulated_survey.md)."""
    stars = design.stars
    labels = [stars[name] for name in ("teff", "logg", "fe_h", "luminosity_lsun")]
    modulus = 5 * np.log10(stars["distance_kpc"] * 100)
    absolute = stars["k_true_mag"] - modulus - stars["a_k_true_mag"]
    hidden = absolute - photometry.absolute_magnitudes(*labels)["k"] + stars["companion_mag"]
    np.testing.assert_allclose(hidden, stars["hidden_mag"], atol=1e-9)
    logg = stars["logg"]
    for kind, scatter in ((logg > 4, 0.08), ((logg > 2.7) & (logg < 3.5), 0.08), ((logg > 0.7) & (logg < 1.2), 0.13)):
        assert kind.sum() > 300
        assert hidden[kind].std() == pytest.approx(scatter, rel=0.12)
    # of stars that are chosen by magnitude the more luminous ones are seen farther away, where there are more
    assert -0.02 < hidden.mean() < 0.005
    # a branch star whose spectrum might be that of a clump star is fainter than this
    alike = (logg > 2.3) & (logg < 2.6)
    branch, clump = (hidden[alike & (stars["stage"] == stage)].mean() for stage in (2, 3))
    assert branch - clump == pytest.approx(0.165, abs=0.04)


def test_one_companion_gives_light_a_velocity_and_an_orbit(design):
    stars, sources = design.stars, design.sources
    pair, dwarf = stars["binary"], stars["logg"] > 4
    assert 0.3 < pair.mean() < 0.5
    assert np.all(stars["companion_mag"][pair] > 0)
    assert not any(stars[name][~pair].any() for name in ("companion_mag", "orbit_km_s", "orbit_au"))
    # a dwarf's companion is often nearly as bright, a giant's hardly ever
    bright = stars["companion_mag"] > 0.1
    assert 0.2 < bright[dwarf].mean() < 0.4 and 0.003 < bright[stars["logg"] < 3].mean() < 0.03
    assert stars["companion_mag"].max() < 2.5 * np.log10(2) + 1e-9
    moving = stars["orbit_km_s"] > 2
    several = stars["n_visits"] > 2
    short = pair & (stars["orbit_days"] < 100) & moving & several
    assert np.mean(stars["v_scatter"][short] > 1) > 0.8
    assert np.mean(stars["v_scatter"][several & ~pair & (stars["snr"] > 60)] > 1) < 0.02
    good = (stars["gaia_row"] >= 0) & (stars["contamination"] == "") & ~stars["is_repeat"]
    row = stars["gaia_row"]
    pull = (sources["parallax"][row] - 1 / stars["distance_kpc"] - stars["zero_point"]) / sources["parallax_error"][row]
    good &= np.isfinite(pull)
    disturbed = binaries.parallax_excess(stars, 668.0) > 0.03
    assert disturbed[good].sum() > 50 and np.std(pull[good & disturbed]) > 1.25
    assert np.std(pull[good & ~pair]) == pytest.approx(1, abs=0.03)


def test_orbits_obey_kepler():
    """Speed, size and period of one orbit belong together, and inclinations are random."""
    n = 20_000
    one = np.ones(n)
    drawn = binaries.draw_binaries(np.random.default_rng(1), one, one, np.zeros(n, bool), -5 * one, one)
    dim = drawn["binary"] & (
        drawn["companion_mag"] < 0.002
    )  # its orbit is the primary's, as no light shifts the centre
    # v = 2 pi a / P = 29.8 km/s a [au] / P [yr] for an orbit seen edge-on: the largest
    speed = 29.785 * drawn["orbit_au"] / (drawn["orbit_days"] / 365.25)
    assert dim.sum() > 100
    assert np.all(drawn["orbit_km_s"][dim] <= 1.05 * speed[dim])
    assert np.median(drawn["orbit_km_s"][dim] / speed[dim]) == pytest.approx(np.sqrt(0.75), abs=0.08)


def test_sun_and_red_clump_stand_where_they_should():
    sun = photometry.absolute_magnitudes(5772.0, 4.438, 0.0, 1.0)
    assert sun["k"] == pytest.approx(3.27, abs=0.01)
    assert sun["bp_rp"] == pytest.approx(0.82, abs=0.05)
    assert sun["g"] == pytest.approx(4.67, abs=0.1)
    teff, logg = evolution.track(3, 0.5, 1.2, 5.0, 0.0)
    clump = photometry.absolute_magnitudes(teff, logg, 0.0, evolution.luminosity(evolution.radius(1.2, logg), teff))
    assert clump["k"] == pytest.approx(-1.61, abs=0.08)
    assert clump["j"] - clump["k"] == pytest.approx(0.64, abs=0.05)
    assert logg == pytest.approx(2.45, abs=0.1)


def test_masses_follow_kroupa():
    rng = np.random.default_rng(0)
    mass = evolution.main_sequence_mass(rng.random(400_000), 2.0)
    assert mass.min() >= 0.2 and mass.max() <= 2.0
    for low, high, slope in ((0.25, 0.45, -1.3), (0.6, 1.8, -2.3)):
        inside = mass[(mass > low) & (mass < high)]
        edges = np.geomspace(low, high, 9)
        density = np.histogram(inside, edges)[0] / np.diff(edges)
        fitted = np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(density), 1)[0]
        assert fitted == pytest.approx(slope, abs=0.06)


def test_metallicity_peaks_near_five_kpc_and_falls_inwards(stars):
    big_r = np.hypot(stars["x_kpc"], stars["y_kpc"])
    low = (np.abs(stars["z_kpc"]) < 0.5) & np.isin(stars["component"], (0, 2))
    edges = np.arange(0, 13.0)
    medians = np.array([np.median(stars["fe_h"][low & (big_r >= a) & (big_r < a + 1)]) for a in edges[:-1]])
    assert 3.5 <= edges[np.argmax(medians)] + 0.5 <= 6
    assert medians[0] == pytest.approx(-0.3, abs=0.12)
    slope = np.polyfit(big_r[low & (big_r > 6) & (big_r < 13)], stars["fe_h"][low & (big_r > 6) & (big_r < 13)], 1)[0]
    assert slope == pytest.approx(-0.07, abs=0.015)
    # Along the bar the decline reaches 5 kpc, across it half as far; the near end has positive y.
    angle = np.deg2rad(25)
    assert chemistry.mean_metallicity(-4 * np.cos(angle), 4 * np.sin(angle)) == pytest.approx(-0.3 + 0.52 * 0.8)
    assert chemistry.mean_metallicity(2.5 * np.sin(angle), 2.5 * np.cos(angle)) == pytest.approx(0.22)


def test_two_alpha_sequences(stars):
    at = np.abs(stars["fe_h"] + 0.4) < 0.1
    alpha = stars["mg_h"][at] - stars["fe_h"][at]
    counts, edges = np.histogram(alpha, np.linspace(-0.05, 0.4, 16))
    middle = (edges[1:] + edges[:-1]) / 2
    valley = counts[(middle > 0.13) & (middle < 0.19)].min()
    assert counts[middle < 0.13].max() > 1.5 * valley
    assert counts[middle > 0.19].max() > 1.5 * valley


def test_carbon_to_nitrogen_shows_the_mass_of_giants(stars):
    giants = (stars["logg"] < 3.3) & (stars["fe_h"] > -0.5)
    c_n = stars["c_h"] - stars["n_h"]
    assert np.corrcoef(c_n[giants], np.log10(stars["mass_msun"][giants]))[0, 1] < -0.8
    dwarfs = stars["stage"] == 0
    assert abs(np.corrcoef(c_n[dwarfs], stars["mass_msun"][dwarfs])[0, 1]) < 0.3
    surface = chemistry.dredged_up(np.array([0.1]), np.array([-0.1]), 1.5, np.array([2.0]), True, 0.0)
    ratio = chemistry.CARBON_TO_NITROGEN_SUN
    assert ratio * 10 ** surface[0] + 10 ** surface[1] == pytest.approx(ratio * 10**0.1 + 10**-0.1)
    assert surface[0] < 0.1 and surface[1] > -0.1


def test_selection_holds_for_every_star(stars):
    assert np.all(stars["h_mag"] >= stars["cohort_min_h_mag"])
    assert np.all(stars["h_mag"] < stars["cohort_max_h_mag"])
    standard = stars["telluric"]
    assert stars["h_mag"][~standard].min() >= 7 and stars["h_mag"].max() < 13.3
    j_k = stars["j_mag"] - stars["k_mag"]
    j_k0 = j_k - 1.5 * np.maximum(stars["a_k_rjce"], 0)
    assert np.all((j_k0 >= stars["min_j_k_mag"]) | stars["any_colour"] | standard)
    assert np.all(j_k[standard] < population.TELLURIC_MAX_J_K) and np.median(stars["teff"][standard]) > 6000
    assert standard.mean() == pytest.approx(population.TELLURIC_SHARE, abs=0.01)
    # within a cohort stars are taken as the sky offers them: more of the faint
    short = ~standard & (stars["cohort_max_h_mag"] == 12.2)
    assert np.mean(stars["h_mag"][short] > 11) > 0.4
    visits = {
        limit: set(stars["planned_visits"][~standard & (stars["cohort_max_h_mag"] == limit)].tolist())
        for limit in (11.0, 12.2, 12.8, 13.3)
    }
    assert visits == {11.0: {1}, 12.2: {3}, 12.8: {6}, 13.3: {12}}
    names = [field.name for field in survey_fields()]
    assert len(set(names)) == len(names) and {"000+00", "060-04", "030+60"} <= set(names)
    with pytest.raises(ValueError, match="layout must be one of apogee, kepler, not 'tess'"):
        survey_fields("tess")


def test_stars_move_as_the_galaxy_turns(stars):
    nearby = (stars["component"] == 0) & (stars["distance_kpc"] < 4)
    # Radial velocity of the disc against longitude: the Sun's own motion, and differential rotation's double wave.
    glon, glat = np.deg2rad(stars["glon"][nearby]), np.deg2rad(stars["glat"][nearby])
    v = stars["v_helio_true"][nearby]
    basis = np.stack(
        [np.cos(glon) * np.cos(glat), np.sin(glon) * np.cos(glat), stars["distance_kpc"][nearby] * np.sin(2 * glon)],
        axis=1,
    )
    (toward_centre, along_rotation, oort_a), *_ = np.linalg.lstsq(basis, v, rcond=None)
    assert toward_centre == pytest.approx(-11.1, abs=4)
    assert -35 < along_rotation < -20
    assert 10 < oort_a < 18
    # A proper motion times distance is a velocity of the same order.
    speed = 4.74 * stars["distance_kpc"] * np.hypot(stars["pmra_true"], stars["pmdec_true"])
    assert 30 < np.median(speed[nearby]) < 120


# --- Gaia ---


def test_parallax_errors_grow_with_magnitude():
    g = np.array([10, 13, 15, 17, 18, 20.0])
    error = gaia.parallax_error_by_magnitude(g)
    assert error[1] < error[0] and np.all(np.diff(error[1:]) > 0)
    np.testing.assert_allclose(error, [0.03, 0.023, 0.035, 0.08, 0.15, 0.75], rtol=0.25)


def _good(design):
    stars, row = design.stars, design.stars["gaia_row"]
    parallax, error = (np.where(row >= 0, design.sources[c][row], np.nan) for c in ("parallax", "parallax_error"))
    good = np.isfinite(parallax) & (stars["contamination"] == "") & ~stars["is_repeat"]
    return parallax[good], error[good], {name: values[good] for name, values in stars.items()}


def test_injected_constant_zero_point_is_present(design):
    parallax, error, stars = _good(design)
    shift = parallax - 1 / stars["distance_kpc"]
    assert np.sum(shift / error**2) / np.sum(error**-2.0) * 1000 == pytest.approx(
        -52.3, abs=3e3 / np.sqrt(np.sum(error**-2.0))
    )
    pull = ((shift - stars["zero_point"]) / error)[~stars["binary"]]
    assert pull.std() == pytest.approx(1, abs=0.03)
    assert 0.005 < np.mean(parallax < 0) < 0.06


def test_injected_surface_is_present():
    design = design_survey(small_survey(8000, zero_point="surface"))
    parallax, error, stars = _good(design)
    expected = gaia.injected_surface(stars["g_true_mag"], stars["bp_rp_true_mag"], stars["teff"])
    np.testing.assert_allclose(expected + stars["sky_error"], stars["zero_point"], atol=1e-12)
    shift = parallax - 1 / stars["distance_kpc"]
    expected = stars["zero_point"]
    for part in (stars["g_true_mag"] < 13, stars["g_true_mag"] > 14):
        mean = np.sum((shift - expected)[part] / error[part] ** 2) / np.sum(error[part] ** -2.0)
        assert abs(mean) < 3 / np.sqrt(np.sum(error[part] ** -2.0))
    # One point by hand: G = 15, BP - RP = 1, Teff = 4500.
    by_hand = ((1.18 + 9.2 - 55.49) + (6.90 - 34.63 - 11.67) - 53.17) / 3e3
    assert gaia.injected_surface(15.0, 1.0, 4500.0) == pytest.approx(by_hand)


def test_neighbours_on_the_sky_share_parallax_errors(design):
    """Covariance over 40 skies: half of it falls as exp(-angle / 14 deg), half as a Gaussian of 1 deg."""
    rng = np.random.default_rng(3)
    ra, dec = rng.uniform(0, 360, 300), rng.uniform(-70, 70, 300)
    for apart, expected in (
        (0.0, 1.0),
        (0.3, 0.5 * np.exp(-0.045) + 0.49),
        (2.0, 0.5 * np.exp(-2) + 0.433),
        (14, 0.184),
    ):
        products = [
            sky_error.sky_error(seed, ra, dec) * sky_error.sky_error(seed, ra, dec + apart) for seed in range(40)
        ]
        assert np.mean(products) == pytest.approx(expected, abs=0.08), apart
    whole = sky_error.sky_error(8, ra, dec)
    np.testing.assert_allclose(
        np.concatenate([sky_error.sky_error(8, ra[k::2], dec[k::2]) for k in (0, 1)]),
        np.concatenate([whole[::2], whole[1::2]]),
        atol=1e-12,
    )

    stars = design.stars
    first = ~stars["is_repeat"]
    assert np.std(stars["sky_error"][first]) == pytest.approx(0.025, rel=0.35)
    assert abs(np.mean(stars["sky_error"][first])) < 1e-9
    np.testing.assert_allclose(stars["zero_point"], -0.0523 + stars["sky_error"], atol=1e-12)
    # it is in the parallaxes, with its sign
    parallax, error, good = _good(design)
    residual = parallax - 1 / good["distance_kpc"] + 0.0523
    slope = np.sum(residual * good["sky_error"] / error**2) / np.sum(good["sky_error"] ** 2 / error**2)
    assert slope == pytest.approx(1, abs=0.1)
    assert not design_survey(small_survey(200, sky_error=0.0)).stars["sky_error"].any()


def test_gaia_positions_lead_back_to_apogee(design):
    stars, sources = design.stars, design.sources
    row = stars["gaia_row"]
    clean = (row >= 0) & np.isfinite(sources["pmra"][row])
    row = row[clean]
    cos = np.cos(np.deg2rad(stars["dec"][clean]))
    ra = sources["ra"][row] - 15.5 * sources["pmra"][row] / cos / 3.6e6
    dec = sources["dec"][row] - 15.5 * sources["pmdec"][row] / 3.6e6
    d_ra = ((ra - stars["ra"][clean] + 180) % 360 - 180) * cos * 3600
    separation = np.hypot(d_ra, (dec - stars["dec"][clean]) * 3600)
    assert np.percentile(separation, 99.5) < 0.5
    unmoved = np.hypot(
        ((sources["ra"][row] - stars["ra"][clean] + 180) % 360 - 180) * cos, sources["dec"][row] - stars["dec"][clean]
    )
    assert (unmoved * 3600).max() > 1


def test_gaia_table_has_gaps_neighbours_and_unique_ids(design):
    sources, stars = design.sources, design.stars
    assert len(np.unique(sources["source_id"])) == len(sources["source_id"])
    assert np.all(np.diff(sources["source_id"]) > 0)
    assert np.all(sources["source_id"][stars["gaia_row"][stars["gaia_row"] >= 0]] > 0)
    missing = np.mean(stars["gaia_row"] < 0)
    assert 0.003 < missing < 0.05
    no_motion = np.isnan(sources["pmra"])
    np.testing.assert_array_equal(no_motion, np.isnan(sources["parallax"]))
    assert 0.005 < no_motion.mean() < 0.1
    assert len(sources["ra"]) > 1.04 * len(stars["ra"])
    few = sources["visibility_periods_used"] <= 10
    assert 0.1 < few.mean() < 0.3
    # scans crowd about 45 deg from the ecliptic, so that fields near it have few periods and larger errors
    latitude = np.abs(gaia.ecliptic_latitude(sources["ra"], sources["dec"]))
    assert np.mean(few[latitude < 20]) > 0.3 > 0.05 > np.mean(few[np.abs(latitude - 50) < 10])
    sky = np.arcsin(np.linspace(-1, 1, 2001))
    assert gaia.scan_density(np.rad2deg(sky)).mean() == pytest.approx(1, abs=0.02)


# --- imperfections and spectra ---


def test_rates_of_what_goes_wrong(design):
    stars = design.stars
    assert np.count_nonzero(stars["contamination"] != "") == pytest.approx(80, abs=4)
    assert set(stars["contamination"]) == {"", "wrong match", "blend", "wrong parallax"}
    assert 0.08 < np.mean(stars["starflag"] != 0) < 0.15  # the survey's flag_rate is small
    assert np.mean(stars["commissioning"]) == pytest.approx(0.01, abs=0.005)
    assert 0.03 < np.mean(stars["v_scatter"] > 1) < 0.12
    assert np.all(stars["v_scatter"][stars["n_visits"] == 1] == 0)
    assert 0.2 < np.mean(stars["snr"] > 200) < 0.3
    repeated = stars["apogee_id"][stars["is_repeat"]]
    assert 0.005 < len(repeated) / 8000 < 0.015
    for name in repeated[:20]:
        rows = np.flatnonzero(stars["apogee_id"] == name)
        assert len(rows) == 2 and len(set(stars["gaia_source_id"][rows])) == 1
        assert len(set(stars["field"][rows])) == 2
    # the second row names a field nearby, whose cohort the star suits
    again = np.flatnonzero(stars["is_repeat"] & ~stars["one_metre"])
    fields = {field.location_id: (field.glon, field.glat) for field in survey_fields()}
    centre = np.array([fields[location] for location in stars["location_id"][again].tolist()])
    away = angular_separation(*np.deg2rad((stars["glon"][again], stars["glat"][again], *centre.T)))
    assert np.rad2deg(np.median(away)) < 8
    unspoilt = again[stars["contamination"][again] != "blend"]
    inside = (stars["h_mag"] >= stars["cohort_min_h_mag"]) & (stars["h_mag"] < stars["cohort_max_h_mag"])
    assert inside[unspoilt].all()


def test_starflag_gathers_persistence_and_brighter_neighbours():
    """Beside 60 real rows (DR14, DR16) of up to three visits: persistence 22 %, bright neighbours 12 %."""
    stars = design_survey(small_survey(8000, flag_rate=1.0)).stars
    bit = {name: (stars["starflag"] >> number & 1).astype(bool) for name, number in STARFLAG_BITS.items()}
    persistent = bit["PERSIST_HIGH"] | bit["PERSIST_MED"] | bit["PERSIST_LOW"]
    few = stars["planned_visits"] <= 3
    assert persistent[few].mean() == pytest.approx(0.22, abs=0.02)
    assert persistent[stars["planned_visits"] == 12].mean() > 0.3
    bright, faint = stars["h_mag"] < 9, stars["h_mag"] > 12
    assert bit["BRIGHT_NEIGHBOR"][bright].mean() < 0.02 < 0.2 < bit["BRIGHT_NEIGHBOR"][faint].mean()
    assert bit["BRIGHT_NEIGHBOR"][few].mean() == pytest.approx(0.12, abs=0.04)
    none = design_survey(small_survey(8000, flag_rate=0.0)).stars
    assert not any((none["starflag"] >> STARFLAG_BITS[name] & 1).any() for name in ("BRIGHT_NEIGHBOR", "PERSIST_LOW"))


def test_signal_to_noise_per_visit_is_that_of_real_rows(design):
    """Medians per visit of the 322 rows of DR14's allStar with which the reader is tested."""
    stars = design.stars
    cool = stars["teff"] < 5500
    for h_mag, real in ((8.5, 300), (9.5, 190), (10.75, 103), (11.75, 56), (12.3, 45)):
        rows = cool & (np.abs(stars["h_mag"] - h_mag) < 0.25) & (stars["planned_visits"] <= 3)
        assert np.nanmedian(stars["visit_snr"][rows]) == pytest.approx(real, rel=0.15), h_mag


@pytest.fixture(scope="module")
def contaminated():
    return design_survey(small_survey(8000, contaminant_fraction=0.3))


def test_some_stars_are_fainter_than_the_survey_planned(design):
    """Clouds and badly plugged fibres leave a few stars below SNR 30, most of them faint."""
    stars = design.stars
    few = stars["snr"] < 30
    assert few.mean() == pytest.approx(0.02, abs=0.01)
    assert np.median(stars["h_mag"][few]) > np.median(stars["h_mag"]) + 0.4
    assert 0 < np.mean(stars["snr"] < 20) < 0.02 and stars["snr"].min() > 1
    low = (stars["starflag"] >> STARFLAG_BITS["LOW_SNR"] & 1).astype(bool)
    np.testing.assert_array_equal(low, stars["snr"] < 20)


def test_wrong_parallaxes_have_a_heavy_tail_on_either_side(contaminated):
    stars, sources = contaminated.stars, contaminated.sources
    rows = np.flatnonzero((stars["contamination"] == "wrong parallax") & ~stars["is_repeat"])
    source = stars["gaia_row"][rows]
    shift = sources["parallax"][source] - 1 / stars["distance_kpc"][rows] - stars["zero_point"][rows]
    pull = shift / sources["parallax_error"][source]
    pull = pull[np.isfinite(pull)]
    assert np.mean(pull > 0) == pytest.approx(0.5, abs=0.06)
    assert np.median(np.abs(pull)) == pytest.approx(4.4, abs=0.4)
    assert np.mean(np.abs(pull) > 20) == pytest.approx(0.025, abs=0.02)  # t of two degrees of freedom beyond 3


def test_blends_are_too_bright_and_never_too_faint(contaminated):
    stars = contaminated.stars
    rows = stars["contamination"] == "blend"
    assert np.mean(rows) == pytest.approx(0.135, abs=0.01)
    for band in ("j", "h", "k", "w2"):
        brighter = (stars[f"{band}_true_mag"] - stars[f"{band}_mag"])[rows]
        assert np.median(brighter) == pytest.approx(0.2, abs=0.04)
        assert brighter.min() > -0.4 and 1.5 < brighter.max() < 2.4  # errors of the faintest, and the limit
    colour = (stars["j_mag"] - stars["k_mag"] - stars["j_true_mag"] + stars["k_true_mag"])[rows]
    assert abs(np.median(colour)) < 0.01


def test_noise_is_what_the_errors_say():
    design = design_survey(small_survey(60))
    row = design.row(int(np.argmax((design.stars["n_visits"] == 3) & (design.stars["persistence"] == 0))))
    flat = np.ones(8575)
    seeds = np.random.SeedSequence(5).spawn(40)
    flux, error, mask = zip(*(_visits(row, flat, seed) for seed in seeds), strict=True)
    flux, error, mask = np.concatenate(flux), np.concatenate(error), np.concatenate(mask)
    inside = slice(600, 3200)
    clean = ((mask[:, inside] & 0b11000000110011) == 0) & (error[:, inside] < BAD)
    # Against a running median: what remains is noise, of the quoted size.
    smooth = np.median(flux[:, inside].reshape(len(flux), -1, 26), axis=2).repeat(26, axis=1)
    pull = ((flux[:, inside] - smooth) / error[:, inside])[clean]
    assert 1.4826 * np.median(np.abs(pull)) == pytest.approx(1, abs=0.06)


def _visits(star, synthetic, seed):
    observation = spectrograph.observe(np.random.default_rng(seed), synthetic, star)
    return observation.flux[2:], observation.error[2:], observation.mask[2:]


def test_combination_weighs_visits():
    flux = np.array([[2.0, 4.0, 0.0], [4.0, 8.0, 0.0]])
    error = np.array([[1.0, BAD, BAD], [2.0, 1.0, BAD]])
    mask = np.array([[0, 3, 1], [2, 0, 1]])
    combined = spectrograph._combine(flux, error, mask, np.array([1.0, 3.0]))
    assert combined.flux.shape == (4, 3)
    np.testing.assert_allclose(combined.flux[0], [(2 + 4 / 4) / 1.25, 8.0, 0.0])
    np.testing.assert_allclose(combined.error[0, :2], [1.25**-0.5, 1.0])
    np.testing.assert_allclose(combined.flux[1], [3.5, 7.0, 0.0])
    np.testing.assert_allclose(combined.error[1, 0], np.hypot(1.0, 6.0) / 4)
    assert combined.error[1, 2] == np.float32(BAD)
    np.testing.assert_array_equal(combined.mask[:2], [[2, 3, 1], [0, 0, 1]])


def test_combinations_of_dr17():
    flux = np.array([[2.0, 4.0, 6.0, 0.0, 1.0], [4.0, 8.0, 8.0, 0.0, 0.0]])
    error = np.array([[1.0, BAD, 1.0, BAD, 1.0], [2.0, 1.0, 2.0, BAD, BAD]])
    sky, high = (1 << spectrograph.PIXMASK_BITS[name] for name in ("SIG_SKYLINE", "PERSIST_HIGH"))
    mask = np.array([[0, 3, sky, 1, 0], [2, 2, high, 1, 1]])
    pad = [(0, 0), (0, 8570)]
    arrays = [np.pad(array, pad, mode="edge") for array in (flux, error, mask)]
    continuum = np.full(8575, 5.0)
    both = spectrograph._combine_dr17(*arrays, continuum, blank_row=True)
    assert both.flux.shape == (4, 8575) and both.row == 0
    # a bad pixel is the continuum with an error as large; errors grow on sky lines and by persistence
    expected = [(2 + 4 / 4) / 1.25, (5 / 25 + 8) / (1 / 25 + 1), (6 / 100 + 8 / 20) / (1 / 100 + 1 / 20)]
    np.testing.assert_allclose(both.flux[0, :3], expected, rtol=1e-6)
    np.testing.assert_allclose(both.error[0, :3] ** -2.0, [1.25, 1.04, 0.06], rtol=1e-6)
    # where a visit has no light there is none
    assert np.isnan(both.flux[0, 3:]).all() and not both.error[0, 3:].any()
    np.testing.assert_array_equal(both.mask[:2, :5], [[0, 2, 0, 0, 0], [0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(both.mask[2:, :5], [[0, 3, sky, 0, 0], [2, 2, high, 0, 0]])
    one = spectrograph._combine_dr17(*(array[:1] for array in arrays), continuum, blank_row=True)
    assert one.flux.shape == one.error.shape == one.mask.shape == (2, 8575)
    assert not any(array[1].any() for array in (one.flux, one.error, one.mask))
    np.testing.assert_allclose(one.combined()[0][:3], [2, 5, 6], rtol=1e-6)
    assert spectrograph._combine_dr17(*(array[:1] for array in arrays), continuum, blank_row=False).flux.shape[0] == 1


def test_in_memory_spectra_equal_the_files(written):
    survey, workspace = written
    design = design_survey(survey)
    rows = np.flatnonzero(run.has_file(design) & (design.stars["spectrum_state"] == ""))[[0, 7, 20]]
    for i, observation in zip(rows, run.observe_stars(design, rows), strict=True):
        path = workspace.apstar(str(design.stars["apogee_id"][i]), int(design.stars["location_id"][i]))
        with fits.open(path) as hdus:
            for k, values in ((1, observation.flux), (2, observation.error), (3, observation.mask)):
                np.testing.assert_array_equal(hdus[k].data, values)
        flux, error, mask = observation.combined()
        assert flux.shape == error.shape == mask.shape == (8575,)
