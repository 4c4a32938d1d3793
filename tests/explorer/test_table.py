"""The explorer's table: what it takes from each kind of catalogue, and its samples."""

import catalogue_rows
import explorer_files
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from apogaia.distances.catalogue import BAD, read_catalogue, write_table
from apogaia.explorer.table import read_table, sampled
from apogaia.formats.fits_columns import ReductionError
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters import astra
from apogaia.physics.galaxy import galactocentric
from apogaia.survey import load_survey

MAPS = load_survey("smoke").maps


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    explorer_files.write_catalogue(folder)
    explorer_files.write_parameters(folder)
    return folder


@pytest.fixture(scope="module")
def table(folder):
    return read_table(folder / "apogee_nn_dist.fits", MAPS, folder / "apogee_nn_parameters.fits")


def test_every_row_is_there_with_its_numbers_names_and_flags(table, folder):
    catalogue = read_catalogue(folder / "apogee_nn_dist.fits")
    assert len(table) == table.n_rows == len(catalogue)
    assert np.array_equal(table.ids, catalogue["apogee_id"]) and np.array_equal(table.flags, catalogue["flags"])
    for key in ("dist", "dist_error", "nn_parallax", "teff", "snr", "parallax"):
        assert table.values(key) == pytest.approx(np.asarray(catalogue[key], float), nan_ok=True, rel=1e-6)
    assert np.array_equal(table.bad, (np.asarray(catalogue["flags"]) & BAD) != 0) and 0 < table.bad.sum() < len(table)
    assert table.meanings[1 << 11] == ("NO_RESULT", "no usable spectrum: see reason")
    assert table.texts["why there is no spectrum"][explorer_files.NO_SPECTRUM] == "the file is missing"
    assert table.origin["survey"].startswith("smoke:")


def test_positions_and_differences_are_those_of_their_formulas(table, folder):
    catalogue = read_catalogue(folder / "apogee_nn_dist.fits")
    x, y, _ = galactocentric(catalogue["ra"], catalogue["dec"], catalogue["dist"], MAPS)
    assert table.values("x") == pytest.approx(x, nan_ok=True) and table.values("y") == pytest.approx(y, nan_ok=True)
    gaia = np.asarray(catalogue["parallax"] - catalogue["zero_point"])
    assert table.values("gaia") == pytest.approx(gaia) and table.has("gaia", "nn_parallax")
    assert table.values("difference") == pytest.approx(gaia - np.asarray(catalogue["nn_parallax"]), nan_ok=True)
    errors = np.hypot(catalogue["nn_parallax_error"], catalogue["parallax_error"])
    assert table.values("sigmas") == pytest.approx(table.values("difference") / np.asarray(errors), nan_ok=True)
    assert table.values("relative_error") == pytest.approx(
        np.asarray(100 * catalogue["dist_error"] / catalogue["dist"]), nan_ok=True
    )


def test_abundances_are_relative_to_iron_and_labelled(table, folder):
    labels = fits.getdata(folder / "apogee_nn_parameters.fits", 1)["astroNN"].astype(float)
    magnesium, iron = (labels[:, LABELS.index(name)] for name in ("mg_h", "fe_h"))
    assert table.values("mg_fe") == pytest.approx(magnesium - iron, abs=1e-5)
    assert table.columns["fe_h"].label == "[Fe/H]" and table.columns["fe_h"].error == "fe_h_error"
    assert table.columns["ci_fe"].label == "[C I/Fe]" and "fe_fe" not in table.columns
    assert len([key for key in table.columns if key.endswith("_fe")]) == 19


def test_a_position_that_gaia_lacks_is_apogees(tmp_path):
    stars = explorer_files.star_rows()
    path = explorer_files.write_catalogue(tmp_path)
    catalogue = read_catalogue(path)
    catalogue["ra"][3] = catalogue["dec"][3] = np.nan
    write_table(catalogue, tmp_path / "no_gaia.fits")
    table = read_table(tmp_path / "no_gaia.fits", MAPS)
    assert table.values("ra")[3] == pytest.approx(stars["ra_apogee"][3]) and np.isfinite(table.values("x")[3])


def test_catalogues_of_others_are_shown_in_part(tmp_path):
    stars = catalogue_rows.stars(4)
    columns = {"APOGEE_ID": stars["apogee_id"], "RA": stars["ra"], "DEC": stars["dec"], "RC_DIST": [1.0, 2, 3, 4]}
    Table(columns).write(tmp_path / "rc.fits")
    table = read_table(tmp_path / "rc.fits", MAPS)
    assert table.values("dist").tolist() == [1000, 2000, 3000, 4000] and table.has("x", "y")
    assert not table.has("teff") and not table.has("gaia") and not table.bad.any() and table.meanings == {}
    assert table.values("nn_parallax") == pytest.approx([1, 0.5, 1 / 3, 0.25])


def test_a_product_of_astra_has_its_own_flags_and_says_what_made_it(tmp_path):
    rows = Table({"sdss4_apogee_id": ["2M1", "2M2"], "obj": ["2M1", "2M2"], "ra": [1.0, 2], "dec": [3.0, 4]})
    rows["snr"], rows["k_mag"], rows["ebv"] = [90.0, 80], [10.0, 10], [np.nan, 0.1]
    made = astra.astronn_dist_table(rows, catalogue_rows.prediction([50.0, 60], np.array([0.01, 0.5])))
    (tmp_path / "m.keras").write_bytes(b"model")
    survey = load_survey("smoke")
    astra.write_astra(tmp_path / "a.fits.gz", made, "AstroNNDist", astra.provenance(survey, tmp_path / "m.keras", 5, 1))
    table = read_table(tmp_path / "a.fits.gz", MAPS)
    assert table.bad.tolist() == [False, True] and table.flags.tolist() == [4, 1]
    assert table.meanings[4][1] == "no E(B-V): taken as zero"
    assert table.values("dist")[0] == pytest.approx(1000 * 10 ** (0.2 * 10) / 50, rel=1e-5)  # no extinction
    assert table.origin["survey"].startswith("smoke: ") and len(table.origin["model"]) == 64


def test_what_cannot_be_shown_is_refused_with_the_remedy(tmp_path, folder):
    stars = catalogue_rows.stars(4)
    Table({"APOGEE_ID": stars["apogee_id"], "APOKASC2_RADIUS": np.ones(4), "APOKASC2_RADIUS_RANERR": np.ones(4)}).write(
        tmp_path / "r.fits"
    )
    with pytest.raises(ReductionError, match=r"r\.fits \(APOKASC\) has radii and no distances: give a catalogue"):
        read_table(tmp_path / "r.fits", MAPS)
    other = explorer_files.write_parameters(tmp_path, 7)
    with pytest.raises(ReductionError, match=r"parameters\.fits has 7 rows.*--parameters none"):
        read_table(folder / "apogee_nn_dist.fits", MAPS, other)


def test_a_sample_is_the_same_each_time_and_keeps_the_stars_that_are_asked_for(table):
    first, second = sampled(table, 50, [table.ids[7]]), sampled(table, 50, [table.ids[7]])
    assert len(first) == 50 and first.n_rows == len(table) and np.array_equal(first.rows, second.rows)
    assert 7 in first.rows and np.all(np.diff(first.rows) > 0)
    assert np.array_equal(first.ids, table.ids[first.rows])
    assert first.values("dist") == pytest.approx(table.values("dist")[first.rows], nan_ok=True)
    assert sampled(table, len(table)) is table


def test_the_better_row_of_a_repeated_star_comes_first(table):
    rows = explorer_files.REPEATED
    found = table.rows_of(table.ids[rows[0]])
    assert sorted(found) == sorted(rows) and table.values("snr")[found[0]] > table.values("snr")[found[1]]
    assert not len(table.rows_of("2M"))
