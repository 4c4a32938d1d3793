"""Astra's products: columns, units and flags of the files, and each known defect of such products."""

import gzip
import re
import warnings

import numpy as np
import pytest
import write_astra_page
from astropy import units as u
from astropy.io import fits
from astropy.table import Table

from apogaia.formats.releases import RELEASES
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.formats.survey_tables import read_stellar_parameters
from apogaia.model.error_calibration import Prediction
from apogaia.parameters import astra
from apogaia.parameters.predictions import LabelPrediction

N = 40
PROVENANCE = {"survey": "smoke: a test", "model": "f" * 64, "passes": 100, "seed": 1}
BLANK = 3  # a row whose spectrum is blank though the network said something
NOTHING = 5  # a row for which the network said nothing


def rows(**columns) -> Table:
    status = np.zeros(N, int)
    status[BLANK] = 5
    return Table({"obj": [f"2M{i:08d}+0000000" for i in range(N)], "status": status, **columns})


def labels(seed=1) -> tuple[LabelPrediction, LabelPrediction]:
    """Labels of which every bit is set for some rows, and the same with errors grown by half."""
    rng = np.random.default_rng(seed)
    label = rng.normal(0, 0.3, (N, 22))
    label[:, 0], label[:, 1] = rng.uniform(3500, 6500, N), rng.uniform(0, 5, N)
    model, predictive = rng.uniform(0, 0.3, (2, N, 22))
    model[:, 0], predictive[:, 0] = rng.uniform(0, 350, (2, N))
    model[::2], predictive[::2] = 0.05 * model[::2], 0.05 * predictive[::2]
    label[NOTHING] = model[NOTHING] = predictive[NOTHING] = np.nan
    label[7, LABELS.index("fe_h")] = 0.0
    raw = LabelPrediction(label, model, predictive, np.hypot(model, predictive))
    return raw, LabelPrediction(label, *(1.5 * part for part in raw[1:]))


def luminosities(seed=1) -> Prediction:
    rng = np.random.default_rng(seed)
    fakemag = rng.uniform(20, 90, N)
    model, predictive = rng.uniform(0, 0.2, (2, N)) * fakemag
    fakemag[NOTHING] = np.nan
    return Prediction(fakemag, model, predictive, np.hypot(model, predictive))


def read(path, hdu=2) -> Table:
    """As anybody reads it; that nothing in the file is unclear to astropy is part of the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return Table.read(path, hdu=hdu, mask_invalid=False)


# --- AstroNN ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", astra.SCHEMAS)
def test_flags_follow_from_the_columns_of_the_file(tmp_path, schema):
    path = tmp_path / "astraAllStarAstroNN.fits.gz"
    astra.write_astra(path, astra.astronn_table(rows(), *labels(), schema), "AstroNN", PROVENANCE, schema)
    table = read(path)
    assert len(table) == N
    flags = []
    for row in table:  # the conditions as the documentation words them
        bits = 0
        if row["raw_e_logg"] > 0.2 and abs(row["raw_e_logg"] / row["raw_logg"]) > 0.075:
            bits += 1
        if row["raw_e_teff"] > 300:
            bits += 2
        if row["raw_fe_h"] == 0 or abs(row["raw_e_fe_h"] / row["raw_fe_h"]) > 0.12:
            bits += 4
        if not np.isfinite(row["teff"]):
            bits += 2048
        flags.append(bits)
    np.testing.assert_array_equal(table["result_flags"], flags)
    assert {1, 2, 4} <= {bit for flag in flags for bit in (1, 2, 4) if flag & bit} and {0, 2048} <= set(flags)
    np.testing.assert_array_equal(table["flag_warn"], [flag > 0 for flag in flags])
    bad = [flag & 7 == 7 for flag in flags] if schema == "dev" else [flag & 2 or flag & 5 == 5 for flag in flags]
    np.testing.assert_array_equal(table["flag_bad"], np.array(bad, bool))
    assert 0 < sum(map(bool, bad)) < N


def test_flags_rest_on_raw_errors():
    raw, calibrated = labels()
    doubled = calibrated._replace(total_error=100 * calibrated.total_error)
    given, grown = (astra.astronn_table(rows(), raw, errors)["result_flags"] for errors in (calibrated, doubled))
    np.testing.assert_array_equal(given, grown)
    assert np.any(astra.astronn_table(rows(), doubled, doubled)["result_flags"] != given)


def test_every_column_of_a_label_is_filled_with_its_own_values():
    raw, calibrated = labels()
    table = astra.astronn_table(rows(), raw, calibrated)
    good = [i for i in range(N) if i not in (BLANK, NOTHING)]
    assert astra.LABEL_NAMES["ci_h"] == "c_1_h" and astra.LABEL_NAMES["tiii_h"] == "ti_2_h"
    for i, name in enumerate(astra.LABEL_NAMES.values()):
        for column, values in (
            (name, calibrated.label),
            (f"e_{name}", calibrated.total_error),
            (f"raw_{name}", raw.label),
            (f"raw_e_{name}", raw.total_error),
        ):
            np.testing.assert_allclose(table[column][good], values[good, i], rtol=1e-6)
            assert np.isnan(table[column][[BLANK, NOTHING]]).all()
    assert table["result_flags"][[BLANK, NOTHING]].tolist() == [2048, 2048]


def test_our_own_reader_of_the_product_finds_every_label(tmp_path):
    path = tmp_path / "astraAllStarAstroNN.fits.gz"
    numbers = np.arange(N)[::-1] + 1000
    raw, calibrated = labels()
    astra.write_astra(path, astra.astronn_table(rows(spectrum_pk=numbers), raw, calibrated), "AstroNN", PROVENANCE)
    allstar = Table({"apogee_id": ["2M1", "2M2"], "spectrum_pk": numbers[[9, 2]]})
    found = read_stellar_parameters(path, allstar, RELEASES["dr19"])
    for i, name in enumerate(LABELS):
        np.testing.assert_allclose(found[name], calibrated.label[[9, 2], i], rtol=1e-6)
        np.testing.assert_allclose(found[f"{name}_error"], calibrated.total_error[[9, 2], i], rtol=1e-6)


# --- AstroNNDist ------------------------------------------------------------------------------------------------------


def photometry() -> dict:
    """Ks and E(B-V) that differ from row to row, with every form of missing ones."""
    rng = np.random.default_rng(2)
    k_mag, ebv = rng.uniform(7, 13, N), rng.uniform(0.01, 2, N)
    k_mag[10:15] = [np.nan, 98.0, 99.999, -1.0, -9999.99]
    ebv[13:18] = [np.nan, 0.0, -0.1, -9999.0, np.inf]
    return {"k_mag": k_mag, "ebv": ebv}


@pytest.mark.parametrize(
    ("schema", "names"), [("dr19", "a_k_mag L_fakemag_err dist_err"), ("dev", "A_k_mag e_L_fakemag e_dist")]
)
def test_distances_and_their_flags_follow_from_the_columns_of_the_file(tmp_path, schema, names):
    path = tmp_path / "astraAllStarAstroNNDist.fits"
    given, prediction = photometry(), luminosities()
    table = astra.astronn_dist_table(rows(**given), prediction, schema)
    astra.write_astra(path, table, "AstroNNDist", PROVENANCE, schema)
    table = read(path)
    a_k, error, dist_error = names.split()
    unknown_k = np.isin(np.arange(N), range(10, 15))
    unknown_ebv = np.isin(np.arange(N), range(13, 18))
    none = np.isin(np.arange(N), [BLANK, NOTHING])
    np.testing.assert_array_equal(np.isnan(table["k_mag"]), unknown_k)
    np.testing.assert_array_equal(np.isnan(table["ebv"]), unknown_ebv)
    expected = np.where(unknown_ebv, 0, 0.3517 * np.asarray(given["ebv"]))
    np.testing.assert_allclose(table[a_k], expected, rtol=1e-6)
    m_k = 5 * np.log10(np.where(none, np.nan, prediction.fakemag)) - 10
    dist = np.where(unknown_k, np.nan, 10 ** (0.2 * (given["k_mag"] - expected - m_k) + 1))
    np.testing.assert_allclose(table["dist"], dist, rtol=1e-5)
    np.testing.assert_allclose(table[dist_error], dist * prediction.total_error / prediction.fakemag, rtol=1e-5)
    bits = np.where(table[error] / table["L_fakemag"] >= 0.2, 1, 0) + 2 * unknown_k + 4 * unknown_ebv + 2048 * none
    np.testing.assert_array_equal(table["result_flags"], bits)
    assert 0 < np.sum(bits & 1 != 0) < N
    np.testing.assert_array_equal(table["flag_warn"], unknown_ebv)
    np.testing.assert_array_equal(table["flag_bad"], bits & (1 | 2 | 2048) != 0)


def test_each_star_has_its_own_magnitude_whatever_stars_are_with_it():
    given, prediction = photometry(), luminosities()
    together = astra.astronn_dist_table(rows(**given), prediction)
    for i in (0, 1, 11, 20, N - 1):
        one = rows(**given)[i : i + 1]
        alone = astra.astronn_dist_table(one, Prediction(*(part[i : i + 1] for part in prediction)))
        for name in together.colnames:
            np.testing.assert_array_equal(np.asarray(alone[name]), np.asarray(together[name][i : i + 1]))


def test_a_luminosity_of_practically_zero_has_no_distance():
    prediction = luminosities()
    prediction.fakemag[0], prediction.fakemag[1] = 1e-6, 0.0
    table = astra.astronn_dist_table(rows(**photometry()), prediction)
    assert np.isnan(table["dist"][:2]).all() and np.isnan(table["dist_err"][:2]).all()
    assert (table["result_flags"][:2] & 1 == 1).all() and table["flag_bad"][:2].all()


def test_no_photometry_at_all_is_missing_photometry():
    table = astra.astronn_dist_table(rows(), luminosities())
    assert (table["result_flags"] & 6 == 6).all() and np.isnan(table["dist"]).all()
    assert np.isfinite(table["L_fakemag"]).sum() == N - 2


# --- files ------------------------------------------------------------------------------------------------------------


def product(kind, schema="dr19", **more) -> Table:
    if kind == "AstroNN":
        return astra.astronn_table(rows(**more), *labels(), schema)
    return astra.astronn_dist_table(rows(**photometry(), **more), luminosities(), schema)


@pytest.mark.parametrize("kind", astra.KINDS)
@pytest.mark.parametrize("schema", astra.SCHEMAS)
@pytest.mark.parametrize("visits", [False, True])
def test_files_have_astras_form_with_units_and_descriptions(tmp_path, kind, schema, visits):
    path = tmp_path / "product.fits.gz"
    more = {"mjd": np.arange(N), "visit": np.ones(N, int)} if visits else {}
    table = product(kind, schema, **more)
    astra.write_astra(path, table, kind, PROVENANCE, schema)
    assert path.read_bytes()[:2] == b"\x1f\x8b"
    with fits.open(path, checksum=True) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "BOSS", "APOGEE"]
        assert len(hdus[1].data) == 0 and len(hdus[2].data) == N
        assert hdus[1].columns.names == hdus[2].columns.names == table.colnames
        header = hdus[2].header
        stated = {column.name_in(schema): column for column in astra.columns(kind, visits=visits)}
        for i, name in enumerate(table.colnames, start=1):
            assert header[f"TCOMM{i}"] == stated[name].description
        assert header["SURVEY"] == "smoke: a test" and header["SCHEMA"] == schema and header["PIPELINE"] == kind
        assert header["FLAG11"] == "NO_RESULT"
    found = read(path)
    units = {name: str(found[name].unit or "") for name in found.colnames}
    assert units == {name: {"dex": ""}.get(stated[name].unit, stated[name].unit) for name in table.colnames}
    assert found["ra"].unit == u.deg
    for name in found.colnames:
        assert np.dtype(stated[name].kind).kind == ("U" if found[name].dtype.kind in "SU" else found[name].dtype.kind)
        np.testing.assert_array_equal(found[name], table[name])
    if not visits:
        assert found.colnames[-4:] == ["result_flags", "flag_warn", "flag_bad", "status"]


def test_the_same_table_gives_the_same_bytes_and_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    first, second = tmp_path / "a.fits.gz", tmp_path / "b.fits.gz"
    for path in (first, second):
        astra.write_astra(path, product("AstroNN"), "AstroNN", PROVENANCE)
    assert first.read_bytes() == second.read_bytes()
    plain = tmp_path / "a.fits"
    astra.write_astra(plain, product("AstroNN"), "AstroNN", PROVENANCE)
    assert gzip.decompress(first.read_bytes()) == plain.read_bytes()
    with pytest.raises(ValueError, match=r"c.fits: not the columns of AstroNNDist .*dist"):
        astra.write_astra(tmp_path / "c.fits", product("AstroNN"), "AstroNNDist", PROVENANCE)
    with pytest.raises(ValueError, match="seed"):
        astra.write_astra(tmp_path / "c.fits", product("AstroNN"), "AstroNN", {"survey": "smoke"})
    monkeypatch.setattr(fits.HDUList, "writeto", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        astra.write_astra(tmp_path / "c.fits", product("AstroNN"), "AstroNN", PROVENANCE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.fits", "a.fits.gz", "b.fits.gz"]


@pytest.mark.parametrize("kind", astra.KINDS)
def test_every_column_is_named_once_and_described(kind):
    for schema in astra.SCHEMAS:
        every = astra.columns(kind, visits=True)
        assert len({column.name_in(schema) for column in every}) == len(every)
        assert all(column.description for column in every)
    renamed = {column.name: column.dev for column in astra.columns(kind) if column.dev}
    expected = {"a_k_mag": "A_k_mag", "L_fakemag_err": "e_L_fakemag", "dist_err": "e_dist"}
    assert renamed == (expected if kind == "AstroNNDist" else {})


def test_wrong_numbers_of_rows_and_unknown_names_are_refused():
    raw, calibrated = labels()
    with pytest.raises(ValueError, match="for 3 spectra"):
        astra.astronn_table(rows()[:3], raw, calibrated)
    with pytest.raises(ValueError, match="for 3 spectra"):
        astra.astronn_dist_table(rows()[:3], luminosities())
    with pytest.raises(ValueError, match="schema must be dr19 or dev, not 'dr18'"):
        astra.astronn_table(rows(), raw, calibrated, "dr18")
    with pytest.raises(ValueError, match="kind must be"):
        astra.columns("ASPCAP")


def test_flags_are_explained_in_words():
    assert astra.describe_flags("AstroNN", 2049) == [
        "     1 UNCERTAIN_LOGG: raw_e_logg > 0.2 and |raw_e_logg / raw_logg| > 0.075",
        "  2048 NO_RESULT: no usable spectrum",
    ]


def test_the_page_of_the_products_is_that_of_the_schema():
    text = write_astra_page.PAGE.read_text(encoding="utf-8")
    assert write_astra_page.page(text) == text, "python tools/write_astra_page.py writes its tables anew"
    for kind in astra.KINDS:
        for column in astra.columns(kind, visits=True):
            rows = re.findall(rf"^\| `{column.name}`(?: \(dev: `\w+`\))? \| \w+ \|.*\|$", text, re.MULTILINE)
            assert len(rows) == 1, column.name
