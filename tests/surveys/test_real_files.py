"""Real allStar rows and real apStar files through the whole reduction: every row has its status and its columns."""

from collections import namedtuple

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from apogaia import files
from apogaia.distances.catalogue import Flags, build_catalogue
from apogaia.formats.apstar import Status
from apogaia.reduction.crossmatch import at_epoch
from apogaia.reduction.quality_cuts import cut_flow
from apogaia.reduction.reduce import reduce_survey
from apogaia.reduction.stars_h5 import open_stars
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

# column of allStar: card of an apStar header; Ks has different names in different releases
CARDS = {"APOGEE_ID": "OBJID", "TELESCOPE": "TELESCOP", "LOCATION_ID": "LOCID", "VHELIO_AVG": "VHELIO"}
CARDS |= {name: name for name in "FIELD J H RA DEC GLON GLAT NVISITS SNR STARFLAG VSCATTER".split()}
Prediction = namedtuple("Prediction", "fakemag model_error predictive_error total_error")


def append_stars(source, target, headers) -> np.ndarray:
    """Write an allStar file with the rows of a real one, all its columns, and one more row for each header."""
    with fits.open(source) as hdus:
        names, n = hdus[1].columns.names, len(hdus[1].data)
        k = "KS" if "KS" in names else "K"
        table = fits.BinTableHDU.from_columns(hdus[1].columns, nrows=n + len(headers))
    for column in table.columns:
        if column.name not in {*CARDS, k}:
            kind = table.data[column.name].dtype.kind
            unknown = {"f": -9999.0, "i": column.null or 0}.get(kind, "" if kind in "SU" else 0)
            table.data[column.name][n:] = unknown
    for row, header in enumerate(headers, start=n):
        for name, card in (CARDS | {k: "K"}).items():
            table.data[name][row] = header[card]
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(target)
    return table.data


def gaia_sources(allstar: np.ndarray, years: float) -> dict[str, np.ndarray]:
    """The Gaia sources that allStar's own columns tell of, at Gaia's epoch; without these, of the last four stars."""
    if "GAIA_SOURCE_ID" in allstar.names:
        rows = np.flatnonzero(allstar["GAIA_PARALLAX"] > -9000)
        value = {
            name: np.where(allstar[f"GAIA_{name.upper()}"][rows] > -9000, allstar[f"GAIA_{name.upper()}"][rows], np.nan)
            for name in "parallax parallax_error pmra pmra_error pmdec pmdec_error phot_g_mean_mag".split()
        }
        bp, rp = (allstar[f"GAIA_PHOT_{band}_MEAN_MAG"][rows] for band in ("BP", "RP"))
        value |= {"source_id": allstar["GAIA_SOURCE_ID"][rows].astype(np.int64), "bp_rp": bp - rp}
    else:
        rows = np.arange(len(allstar) - 4, len(allstar))
        value = {
            name: np.full(4, 0.1) for name in "parallax_error pmra_error pmdec_error bp_rp phot_g_mean_mag".split()
        }
        value |= {"parallax": [0.82, 3.0, -0.1, 40.0], "source_id": np.arange(1, 5), "pmra": [0, 9, 9, 300.0]}
        value["pmdec"] = [0, -9, 9, -300.0]
    moved = at_epoch(allstar["RA"][rows], allstar["DEC"][rows], value["pmra"], value["pmdec"], years)
    value["ra"] = np.degrees(np.arctan2(moved[:, 1], moved[:, 0])) % 360
    value["dec"] = np.degrees(np.arcsin(moved[:, 2]))
    counts = {name: np.full(len(rows), 14) for name in ("visibility_periods_used", "astrometric_n_good_obs_al")}
    return {name: np.asarray(array) for name, array in value.items()} | counts | {
        "astrometric_chi2_al": np.full(len(rows), 20.0)
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore::astropy.io.fits.verify.VerifyWarning")
@pytest.mark.parametrize("name", ["allStar-l31c.2-rows-DR14-binaries.fits", "allStar-rows-DR16.fits"])
def test_real_rows_and_real_spectra_as_a_survey(realdata, tmp_path, name):
    survey = load_survey("dr14")
    workspace, source = Workspace(survey, tmp_path), name
    workspace.raw.mkdir(parents=True)
    headers = []
    for path in sorted(realdata.glob("apStar-*.fits")):
        headers.append(fits.getheader(path))
        target = workspace.apstar(headers[-1]["OBJID"], headers[-1]["LOCID"], headers[-1]["TELESCOP"])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    raw = append_stars(realdata / name, workspace.allstar, headers)
    n = len(raw)
    sources = gaia_sources(raw, survey.sources.gaia_epoch - survey.sources.apogee_epoch)
    Table(sources)[::-1].write(workspace.gaia)
    labels = np.tile(np.arange(22.0), (n, 1))
    labels[:, 0] = raw["TEFF"]
    Table(
        {"APOGEE_ID": raw["APOGEE_ID"], "astroNN": labels, "astroNN_error": np.where(labels > -9000, 0.1, np.nan)}
    ).write(workspace.stellar_parameters)
    files.write_json(workspace.raw_manifest, {})

    reduce_survey(survey, workspace, processes=1, progress=False)
    with open_stars(workspace.stars) as stars:
        table, spectra = stars.table, stars.spectra[:]
    assert len(table) == n == {"allStar-rows-DR16.fits": 37}.get(name, 326)
    np.testing.assert_array_equal(table["apogee_id"], np.char.strip(np.asarray(raw["APOGEE_ID"])))
    assert table["status"].tolist() == [Status.NO_FILE] * (n - 4) + [Status.OK] * 4
    lost = raw["LOCATION_ID"][:-4] == 999999  # TNULL, in one of DR16's rows
    assert lost.sum() == ("DR16" in name)
    named = np.flatnonzero(~lost)  # FILE of that row is N/A
    np.testing.assert_array_equal(table["spectrum_file"][named], np.char.strip(np.asarray(raw["FILE"][named])))
    commissioning = np.char.find(np.asarray(table["spectrum_file"][named]), "apStarC-") == 0
    assert commissioning.sum() == (0 if "DR16" in source else 13)
    if "COMMISS" in raw.names:
        np.testing.assert_array_equal(commissioning, raw["COMMISS"][named] == 1)
    assert all(name.endswith(f"{i}.fits") for i, name in zip(table["apogee_id"], table["spectrum_file"], strict=True))
    for name, reason, unknown in zip(table["spectrum_file"][:-4], table["reason"][:-4], lost, strict=True):
        assert reason.startswith("LOCATION_ID is unknown") if unknown else reason == f"{name}: there is no apStar file"
    assert table["reason"][-4:].tolist() == [""] * 4

    expected = np.load(realdata / "expected_normalised.npz")
    for apogee_id, spectrum in zip(table["apogee_id"][-4:], spectra[-4:], strict=True):
        np.testing.assert_allclose(spectrum, expected[f"{apogee_id}_dr14"], atol=1e-6)
    assert np.isnan(spectra[:-4]).all()

    ks = np.asarray(raw["KS" if "KS" in raw.names else "K"], "f4")
    np.testing.assert_array_equal(table["k_mag"], ks)
    np.testing.assert_array_equal(np.isnan(table["a_k_mag"]), raw["AK_TARG"] < -9000)
    np.testing.assert_array_equal(table["starflag"], raw["STARFLAG"])
    np.testing.assert_array_equal(np.isnan(table["teff"]), raw["TEFF"] < -9000)

    matched = np.asarray(table["gaia_source_id"]) != 0
    assert sorted(set(table["gaia_source_id"][matched])) == sorted(set(sources["source_id"].tolist()))
    by_id = dict(zip(sources["source_id"].tolist(), sources["parallax"], strict=True))
    np.testing.assert_array_equal(table["parallax"][matched], [by_id[i] for i in table["gaia_source_id"][matched]])
    if "GAIA_PARALLAX" in raw.names:
        own = raw["GAIA_PARALLAX"] > -9000
        assert (matched == own).all() and 0 < own.sum() < n - 4
        np.testing.assert_array_equal(table["parallax"][own], raw["GAIA_PARALLAX"][own])
        assert (table["parallax"][own] < 0).any()
    assert np.nanmax(table["match_distance"]) < 0.01 and np.isnan(table["parallax"][~matched]).all()

    luminosity = np.full(n, 20.0)
    catalogue = build_catalogue(table, Prediction(luminosity, *[luminosity / 10] * 3), -0.05, survey.inference)
    flags = np.asarray(catalogue["flags"])
    np.testing.assert_array_equal(flags & Flags.NO_RESULT != 0, table["status"] != 0)
    np.testing.assert_array_equal(flags & Flags.NO_GAIA_MATCH != 0, ~matched)
    np.testing.assert_array_equal(flags & Flags.MISSING_EXTINCTION != 0, np.isnan(table["a_k_mag"]))
    assert cut_flow(table, survey)["surviving"][0] == n
