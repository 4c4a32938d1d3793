"""Whose spectrum a row of Astra's products is."""

import dataclasses

import numpy as np
import pytest
import tiny_survey as tiny
from astropy.table import Table

from apogaia.formats.apstar import Status
from apogaia.formats.stars_h5_columns import COLUMNS
from apogaia.parameters.spectra_rows import file_rows, read_visit_part, survey_rows
from apogaia.reduction.normalised_spectra import read_spectra
from apogaia.survey import load_survey


def stars(n=3, **columns) -> Table:
    table = Table({column.name: np.full(n, column.unknown) for column in COLUMNS})
    for name, values in columns.items():
        table[name] = values
    return table


@pytest.mark.parametrize(
    ("name", "gaia", "release"), [("dr14", "2", "dr14"), ("dr17", "3", "dr17"), ("dr19", "3", "sdss5")]
)
def test_rows_of_each_release(name, gaia, release):
    table = stars(
        apogee_id=["2M1", "2M2", "2M3"],
        telescope=["apo25m", "lco25m", "apo25m"],
        gaia_source_id=[5, 0, 7],
        healpix=[11, 12, 0],
        sdss_id=[8, 9, 10] if name == "dr19" else 0,
        reduction=["1.4", "1.4", "dr17"] if name == "dr19" else "",
    )
    rows = survey_rows(load_survey(name), table)
    assert list(rows[f"gaia_dr{gaia}_source_id"]) == [5, -1, 7] and list(rows["obj"]) == ["2M1", "2M2", "2M3"]
    if name == "dr19":
        assert list(rows["release"]) == ["sdss5", "sdss5", "dr17"] and list(rows["apred"]) == ["1.4", "1.4", "dr17"]
        assert list(rows["healpix"]) == [11, 12, -1] and list(rows["sdss_id"]) == [8, 9, 10]
        assert list(rows["sdss4_apogee_id"]) == ["", "", "2M3"] and list(rows["prefix"]) == ["", "", "ap"]
    else:
        assert set(rows["release"]) == {release} and set(rows["sdss_id"]) == {-1} and set(rows["healpix"]) == {-1}
        assert list(rows["prefix"]) == ["ap", "as", "ap"] and list(rows["sdss4_apogee_id"]) == ["2M1", "2M2", "2M3"]


def test_extinction_in_ks_becomes_a_reddening_and_unknown_stays_unknown():
    rows = survey_rows(load_survey("dr14"), stars(a_k_mag=[0.3517, np.nan, 0.0], k_mag=[9.0, np.nan, 10.0]))
    np.testing.assert_allclose(rows["ebv"], [1, np.nan, 0])
    np.testing.assert_allclose(rows["k_mag"], [9, np.nan, 10])


def test_headers_of_files_that_hold_nonsense_give_unknown(tmp_path):
    path = tmp_path / "apStar-r8-2M1.fits"
    tiny.write_apstar(path, "2M1", *tiny.spectrum(np.random.default_rng(1)))
    read = read_spectra([path], load_survey("smoke").spectra)
    read.headers[0].update(snr=-1.0, ra="abc", starflag=2**70, telescope=None, k_mag=True)
    (row,) = file_rows([path], read)
    assert np.isnan([row["snr"], row["ra"], row["k_mag"], row["ebv"]]).all()
    assert row["spectrum_flags"] == -1 and row["telescope"] == "" and row["obj"] == "2M1" and row["reason"] == ""


def test_a_file_that_is_lost_keeps_as_many_rows_as_it_should_have_visits(tmp_path):
    path = tmp_path / "apStar-r8-2M1.fits"
    tiny.write_apstar(path, "2M1", *tiny.spectrum(np.random.default_rng(1)), visits=2, layout="dr17")
    settings = dataclasses.replace(load_survey("smoke").spectra)
    part = tmp_path / "part.npz"
    paths = [tmp_path / "no-1.fits", path, tmp_path / "no-2.fits", tmp_path / "no-3.fits"]
    assert read_visit_part(part, 100, paths, [2, 7, 0, 10**9], settings) == part
    with np.load(part) as arrays:
        assert arrays["star"].tolist() == [100, 100, 101, 101, 102] + [103] * 1000
        assert arrays["visit"].tolist()[:5] == [1, 2, 1, 2, 1]
        assert arrays["status"].tolist()[:5] == [Status.NO_FILE] * 2 + [Status.OK] * 2 + [Status.NO_FILE]
        assert np.isfinite(arrays["spectrum"][:, 0]).tolist()[:5] == [False, False, True, True, False]
        assert arrays["snr"].shape == arrays["mjd"].shape == (1005,)
