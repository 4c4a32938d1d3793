"""DR19 of SDSS-V: a row for each spectrum, Gaia in the row, folders by HEALPix pixel, DR17's spectra served again."""

import dataclasses
import re

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from stand_in import StandIn
from stand_in_archive import ArchiveOf, fetched_survey

from apogaia.archive import pull
from apogaia.archive.estimate import estimate
from apogaia.archive.fetch import fetch_survey
from apogaia.formats import survey_tables
from apogaia.formats.apstar import Status
from apogaia.formats.fits_columns import ReductionError
from apogaia.formats.releases import RELEASES
from apogaia.physics.luminosity import mag_to_fakemag
from apogaia.reduction import quality_cuts, reduce
from apogaia.reduction.stars_h5 import open_stars
from apogaia.simulate import run
from apogaia.simulate.design import design_survey
from apogaia.simulate.healpix import healpix
from apogaia.survey import SurveyError, load_survey
from apogaia.workspace import Workspace

DR19 = RELEASES["dr19"]


N_STARS = 120  # enough for a few that train


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    survey = load_survey("smoke-dr19")
    survey = dataclasses.replace(survey, simulation=dataclasses.replace(survey.simulation, n_stars=N_STARS))
    workspace = Workspace(survey, tmp_path_factory.mktemp("dr19"))
    run.simulate_survey(survey, workspace, processes=1, progress=False)
    with open_stars(reduce.reduce_survey(survey, workspace, processes=1, progress=False)) as stars:
        return survey, workspace, stars.table, design_survey(survey).stars


# --- places -----------------------------------------------------------------------------------------------------------


def test_spectra_lie_where_sdss_v_has_them():
    star = {"apogee_id": "2M04482524+4456383", "telescope": "apo25m", "healpix": 28656}
    assert DR19.spectrum(**star) == "1.4/stars/apo25m/28/28656/apStar-1.4-apo25m-2M04482524+4456383.fits"
    older = DR19.spectrum(**star, reduction="1.3")
    assert older == "1.3/stars/apo25m/28/28656/apStar-1.3-apo25m-2M04482524+4456383.fits"
    again = DR19.spectrum("2M1", "lco25m", field="000+02", reduction="dr17")
    assert again == "dr17/stars/lco25m/000+02/asStar-dr17-2M1.fits"
    assert DR19.hash_list("1.4/stars/apo25m/28/28656").endswith("/28656/1.4_stars_apo25m_28_28656.sha1sum")
    assert RELEASES["dr17"].hash_list("apo25m/000+02") == "apo25m/000+02/dr17_stars_apo25m_000+02.sha1sum"


def test_the_healpix_pixel_is_that_of_a_real_file_and_all_pixels_are_equal():
    # of a path in SDSS's documentation: .../apo25m/28/28656/apStar-daily-apo25m-2M04482524+4456383.fits
    assert healpix(np.array([72.105167]), np.array([44.943972])) == 28656
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 400_000), np.degrees(np.arcsin(rng.uniform(-1, 1, 400_000)))
    counts = np.bincount(healpix(ra, dec), minlength=12 * 128**2)
    assert len(counts) == 12 * 128**2 and counts.var() / counts.mean() == pytest.approx(1, abs=0.03)
    poles = healpix(np.array([10.0, 100.0, 190.0, 280.0] * 2), np.array([89.9] * 4 + [-89.9] * 4))
    np.testing.assert_array_equal(poles, [0, 1, 2, 3, 196604, 196605, 196606, 196607])


def test_files_and_rows_are_spectra(reduced):
    _, workspace, table, design = reduced
    names = [path.relative_to(workspace.raw).as_posix() for path in workspace.raw.rglob("a?Star*.fits")]
    new = [name for name in names if name.startswith("1.4/")]
    assert 15 < len(new) < len(names) - 15
    for name in new:
        found = re.fullmatch(r"1\.4/stars/(apo25m|lco25m)/(\d+)/(\d+)/apStar-1\.4-(\w+)-2M\S+\.fits", name)
        assert found and int(found[3]) // 1000 == int(found[2]) and found[4] == found[1]
    assert all(re.match(r"dr17/stars/\w+/\d{3}[+-]\d\d/a[ps]Star-dr17-2M", name) for name in set(names) - set(new))
    ids, counts = np.unique(table["sdss_id"], return_counts=True)
    assert (counts > 1).any() and (ids > 0).all()
    for number in ids[counts > 1]:
        rows = np.flatnonzero(table["sdss_id"] == number)
        assert len(set(table["apogee_id"][rows])) == 1 and set(table["reduction"][rows]) == {"1.4", "dr17"}
    assert len(set(table["spectrum_pk"])) == len(table) == len(design["apogee_id"])


def test_spectra_have_the_layout_of_their_release(reduced):
    _, workspace, table, _ = reduced
    shapes = {"1.4": set(), "dr17": set()}
    places = survey_tables.spectrum_places(table, DR19)
    for i in np.flatnonzero(np.asarray(table["status"]) == Status.OK).tolist():
        with fits.open(workspace.raw / places[i]) as hdus:
            header, rows = hdus[0].header, len(hdus[1].data)
            shapes[table["reduction"][i]].add((header["NVISITS"], rows))
            new = table["reduction"][i] == "1.4"
            assert ("KMAG" in header) == new and ("K" in header) == ("AKTARG" in header) == (not new)
            assert not new or header["HEALPIX"] == table["healpix"][i]
            assert hdus[3].data[0].any() and (rows == 1 or not hdus[3].data[1].any())
    assert (1, 1) in shapes["1.4"] and (1, 2) in shapes["dr17"] and any(rows > 2 for _, rows in shapes["1.4"])


# --- the table --------------------------------------------------------------------------------------------------------


def test_gaia_and_extinction_come_from_the_row(reduced):
    survey, workspace, table, design = reduced
    assert not workspace.gaia.exists() and workspace.raw_tables == [workspace.allstar, workspace.stellar_parameters]
    with fits.open(workspace.allstar) as hdus:
        assert hdus[1].header["NAXIS2"] == 0 and hdus[2].header["NAXIS2"] == N_STARS
    matched = design["gaia_source_id"] != 0
    np.testing.assert_array_equal(table["gaia_source_id"], design["gaia_source_id"])
    np.testing.assert_array_equal(table["n_gaia_matches"], matched)
    np.testing.assert_array_equal(np.isfinite(table["ra"]), matched)
    a_k = design["a_k_targ"]
    known = a_k > 0
    np.testing.assert_allclose(table["a_k_mag"][known], a_k[known], rtol=1e-5)
    assert np.isnan(table["a_k_mag"][~known]).all() and (~known).any()
    colour = np.isfinite(table["bp_rp"])
    assert colour.sum() > 50 and np.median(np.abs(table["bp_rp"] - design["bp_rp_true_mag"])[colour]) < 0.02
    expected, _ = mag_to_fakemag(table["k0_mag"], table["parallax"], table["parallax_error"])
    np.testing.assert_array_equal(table["fakemag"], expected)
    single = np.asarray(table["n_visits"]) == 1
    assert single.any() and (table["v_scatter"][single] == 0).all()
    selected = quality_cuts.select(table, survey)
    assert len(selected.training) > 5 and len(selected.test) > 2


def test_every_number_comes_from_its_own_column(tmp_path):
    values = {"ra": 10.0, "dec": -20.0, "l": 30.0, "b": -40.0, "plx": 0.5, "e_plx": 0.06, "pmra": 7.0, "e_pmra": 0.08}
    values |= {"pmde": -9.0, "e_pmde": 0.11, "g_mag": 12.0, "bp_mag": 13.5, "rp_mag": 11.3, "j_mag": 10.4, "h_mag": 9.7}
    values |= {"k_mag": 9.5, "e_k_mag": 0.02, "ebv": 0.6, "snr": 150.0, "v_rad": -33.0, "std_v_rad": 0.15}
    values |= {"n_visits": 3, "spectrum_flags": 4, "healpix": 555, "sdss_id": 66, "spectrum_pk": 77}
    values |= {"gaia_dr3_source_id": 2**60 + 1, "obj": "2M1", "telescope": "lco25m", "field": "f", "apred": "1.3"}
    table = fits.BinTableHDU(Table({name: [value] for name, value in values.items()}))
    path = tmp_path / DR19.allstar.name.removesuffix(".gz")
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(), table]).writeto(path)
    (row,) = survey_tables.read_allstar(path, DR19)
    wanted = {"ra_apogee": 10, "dec_apogee": -20, "ra": 10, "dec": -20, "glon": 30, "glat": -40, "parallax": 0.5}
    wanted |= {"parallax_error": 0.06, "pmra": 7, "pmra_error": 0.08, "pmdec": -9, "pmdec_error": 0.11, "g_mag": 12}
    wanted |= {"bp_rp": 2.2, "j_mag": 10.4, "h_mag": 9.7, "k_mag": 9.5, "k_mag_error": 0.02, "a_k_mag": 0.3517 * 0.6}
    wanted |= {"snr": 150, "v_helio": -33, "v_scatter": 0.15, "n_visits": 3, "starflag": 4, "healpix": 555}
    for name, value in wanted.items():
        assert row[name] == pytest.approx(value, rel=1e-6), name
    assert (row["sdss_id"], row["spectrum_pk"], row["gaia_source_id"]) == (66, 77, 2**60 + 1)
    assert list(row["apogee_id", "telescope", "field", "reduction"]) == ["2M1", "lco25m", "f", "1.3"]
    assert "rp_mag" not in row.colnames and row["location_id"] == 0 and np.isnan(row["ruwe"])


def test_stellar_parameters_meet_by_the_number_of_the_spectrum(reduced):
    _, workspace, table, design = reduced
    astra = Table.read(workspace.stellar_parameters, hdu=2)
    assert len(astra) < N_STARS and list(astra["spectrum_pk"]) != list(table["spectrum_pk"])[: len(astra)]
    by_number = {row["spectrum_pk"]: row for row in astra}
    for row in table:
        found = by_number.get(row["spectrum_pk"])
        if found is None:
            assert np.isnan(row["teff"]) and np.isnan(row["fe_h_error"])
        else:
            assert row["teff"] == found["teff"] and row["ci_h"] == found["c_1_h"]
            assert row["tiii_h_error"] == found["e_ti_2_h"]
    good = np.isfinite(table["teff"])
    assert np.median(np.abs(table["teff"] - design["teff"])[good]) < 60


def test_every_fault_is_a_flagged_row(reduced):
    _, _, table, design = reduced
    status, state = np.asarray(table["status"]), design["spectrum_state"]
    expected = {"missing": 1, "cut": 2, "blank": 5, "NaN errors": 6}
    for name, number in expected.items():
        assert (status[state == name] == number).all() and (state == name).any()
    assert (status[(state == "") & ~design["one_metre"]] == Status.OK).all()
    assert all(table["reason"][status != 0])


@pytest.mark.parametrize("spoil", ["unknown ids", "repeated results", "no results"])
def test_odd_tables(reduced, tmp_path, spoil):
    _, workspace, table, _ = reduced
    astra = Table.read(workspace.stellar_parameters, hdu=2)
    if spoil == "unknown ids":
        astra["spectrum_pk"][:3] = -1
    elif spoil == "repeated results":
        astra = Table(np.concatenate([np.asarray(astra), np.asarray(astra)]))
    else:
        astra = astra[:0]
    path = tmp_path / "astra.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU(), fits.BinTableHDU(astra)]).writeto(path)
    labels = survey_tables.read_stellar_parameters(path, table, DR19)
    known = np.isfinite(labels["teff"])
    expected = np.isfinite(table["teff"]).sum() - {"unknown ids": 3, "repeated results": 0, "no results": 999}[spoil]
    assert len(labels) == N_STARS and known.sum() == max(0, expected)
    np.testing.assert_array_equal(labels["teff"][known], table["teff"][known])


def test_the_first_hdu_is_not_taken_for_the_table(reduced, tmp_path):
    _, workspace, _, _ = reduced
    path = tmp_path / "mwmAllStar-0.6.0.fits"
    with fits.open(workspace.allstar) as hdus:
        hdus[:2].writeto(path)
    with pytest.raises(ReductionError, match=r"mwmAllStar-0\.6\.0\.fits holds no table in HDU 2, but in HDU 1"):
        survey_tables.read_allstar(path, DR19)


# --- the archive and the survey file ----------------------------------------------------------------------------------


def test_a_fetched_survey_is_the_simulated_one(reduced, tmp_path, monkeypatch):
    _, simulated, _, design = reduced
    monkeypatch.setattr(pull, "FIRST_WAIT_S", 0.01)
    with StandIn(ArchiveOf(simulated)) as server:
        survey = fetched_survey(simulated, server.url, allstar_sha1="")
        workspace = Workspace(survey, tmp_path)
        report = fetch_survey(survey, workspace, progress=False)
        assert report.complete and not report.failed and not report.unverified
        assert "0 present" not in str(estimate(survey, workspace, ask=False))
    there = {path.relative_to(simulated.raw): path.read_bytes() for path in simulated.raw.rglob("*.fits*")}
    fetched = {path.relative_to(workspace.raw): path.read_bytes() for path in workspace.raw.rglob("*.fits*")}
    assert fetched == there
    assert len(report.missing) == 1 + np.count_nonzero(design["one_metre"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ('[sources]\nparallax_zero_point = "lindegren2021"', "parallax_zero_point must be 'none' for DR19"),
        ("[cuts]\nmax_ruwe = 1.4", "DR19's table has no column for cuts.min_visibility_periods"),
        ("[cuts]\nmin_visibility_periods = 10", "DR19's table has no column for cuts.min_visibility_periods"),
    ],
)
def test_what_the_table_lacks_cannot_be_asked_for(tmp_path, change, says):
    path = tmp_path / "my.toml"
    path.write_text(f'extends = "dr19"\ntitle = "mine"\n{change}\n')
    with pytest.raises(SurveyError, match=re.escape(says)):
        load_survey(path)
