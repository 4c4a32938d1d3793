"""Other catalogues of distances: recognised by their columns, in one unit, unknown as NaN, faults in one line."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table

from apogaia.formats.distance_catalogues import FORMS, catalogues_in, read_distance_catalogue, recognised
from apogaia.formats.fits_columns import ReductionError

IDS = np.array(["2M00000001+0000001", "2M00000002+0000002", "2M00000003+0000003"])
D = np.array([1.0, 2.0, 4.0])  # kpc

KINDS = {
    "apogaia": {"apogee_id": IDS, "dist": 1000 * D, "dist_error": 100 * D, "fakemag": D, "flags": np.zeros(3, "i4")},
    "astronndist": {
        "obj": IDS,
        "L_fakemag": D,
        "dist": 1000 * D,
        "dist_err": 100 * D,
        "result_flags": np.zeros(3, "i4"),
    },
    "astronn": {"APOGEE_ID": IDS, "dist": 1000 * D, "dist_error": 100 * D, "nn_parallax": 1 / D, "weighted_dist": D},
    "apogee_rc": {"APOGEE_ID": IDS, "RC_DIST": D, "LOGG": np.full(3, 2.5)},
    "bpg": {"APOGEE_ID": IDS, "BPG_dist16": 0.9 * D, "BPG_dist50": D, "BPG_dist84": 1.1 * D},
    "hogg_eilers_rix": {"2MASS_ID": IDS, "spec_parallax": 1 / D, "spec_parallax_err": 0.1 / D},
    "starhorse": {"APOGEE_ID": IDS, "dist16": 0.9 * D, "dist50": D, "dist84": 1.1 * D},
    "apokasc": {"2MASS_ID": IDS, "APOKASC2_RADIUS": D, "APOKASC2_RADIUS_RANERR": 0.1 * D},
    "table": {"apogee_id": IDS, "dist": 1000 * D, "dist_error": 100 * D},
}


def written(folder, columns, name="a.fits", hdu=1):
    table = Table(columns)
    empty = [fits.BinTableHDU(table[:0]) for _ in range(hdu - 1)]
    fits.HDUList([fits.PrimaryHDU(), *empty, fits.BinTableHDU(table)]).writeto(folder / name)
    return folder / name


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_recognised_and_read_in_pc(tmp_path, kind):
    path = written(tmp_path, KINDS[kind])
    catalogue = read_distance_catalogue(path)
    assert catalogue.form.kind == kind and list(catalogue.table["apogee_id"]) == list(IDS)
    scale = 1 if kind == "apokasc" else 1000
    np.testing.assert_allclose(catalogue.table[catalogue.quantity], scale * D, rtol=1e-6)
    error = 0.05 if kind == "apogee_rc" else 0.1  # quoted, where the file has none
    np.testing.assert_allclose(catalogue.table[f"{catalogue.quantity}_error"], error * scale * D, rtol=1e-5)
    assert recognised(path) == (None if kind == "table" else catalogue.form)


@pytest.mark.parametrize("kind", [name for name in KINDS if name != "table"])
def test_columns_are_found_in_upper_and_lower_case_and_in_the_second_hdu(tmp_path, kind):
    catalogue = read_distance_catalogue(written(tmp_path, {k.upper(): v for k, v in KINDS[kind].items()}, hdu=2))
    assert catalogue.form.kind == kind and np.isfinite(catalogue.table[catalogue.quantity]).all()


def test_a_unit_that_the_file_states_counts(tmp_path):
    table = Table(KINDS["bpg"])
    for name in table.colnames[1:]:
        table[name] = 1000 * table[name]
        table[name].unit = "pc"
    np.testing.assert_allclose(read_distance_catalogue(written(tmp_path, table)).table["dist"], 1000 * D)


def test_unknown_distances_are_nan_whatever_stands_for_them(tmp_path):
    n = 7
    values = np.array([1.0, np.nan, -9999.0, -9999.99, 0.0, -1.0, 1e20])
    ids = [f"2M0000000{i}+0000000" for i in range(n)]
    found = read_distance_catalogue(written(tmp_path, {"APOGEE_ID": ids, "RC_DIST": values})).table
    assert np.isfinite(found["dist"]).tolist() == [True] + 6 * [False]
    assert not np.isfinite(found["dist_error"][1:]).any()
    masked = Table({"apogee_id": IDS, "dist": MaskedColumn(1000 * D, mask=[0, 1, 0]), "dist_error": D})
    masked.write(tmp_path / "masked.ecsv")
    assert np.isfinite(read_distance_catalogue(tmp_path / "masked.ecsv").table["dist"]).tolist() == [True, False, True]


@pytest.mark.parametrize(("kind", "name"), [("apogaia", "flags"), ("astronndist", "result_flags")])
def test_distances_that_flags_call_absent_are_unknown(tmp_path, kind, name):
    columns = KINDS[kind] | {name: np.array([1, 2, 1 << 11], "i4")}
    found = read_distance_catalogue(written(tmp_path, columns)).table["dist"]
    assert np.isfinite(found).tolist() == [True, False, False]


def test_names_of_2mass_become_apogee_s(tmp_path):
    names = ["J00000001+0000001", "00000002+0000002", "2M00000003+0000003"]
    found = read_distance_catalogue(written(tmp_path, KINDS["apokasc"] | {"2MASS_ID": names}))
    assert list(found.table["apogee_id"]) == list(IDS)


def test_a_star_without_one_name_has_the_next(tmp_path):
    columns = KINDS["astronndist"] | {"sdss4_apogee_id": [IDS[0], "", ""], "obj": ["x", IDS[1], IDS[2]]}
    assert list(read_distance_catalogue(written(tmp_path, columns)).table["apogee_id"]) == list(IDS)


def test_stars_of_clusters_have_their_cluster_s_distance(tmp_path):
    stars = {"RA_ICRS": D, "DE_ICRS": D, "Proba": [1.0, 0.7, 0.6], "Cluster": ["M_67", "NGC_188", "M_67"]}
    path = written(tmp_path, stars, "members.fits")
    with pytest.raises(ReductionError, match=r"no table beside it .*DistPc.*J/A\+A/640/A1"):
        read_distance_catalogue(path)
    written(tmp_path, {"Cluster": ["NGC_188", "M_67"], "DistPc": [1700.0, 889.0]}, "clusters.fits")
    found = read_distance_catalogue(path).table
    assert found["dist"].tolist() == [889.0, 1700.0] and found["cluster"].tolist() == ["M_67", "NGC_188"]
    assert found["ra"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("kind", "absent", "says"),
    [
        ("bpg", "BPG_dist16", "BPG but has no column BPG_DIST16: fetch it again"),
        ("starhorse", "dist84", "no column DIST84"),
        ("hogg_eilers_rix", "spec_parallax_err", "no column SPEC_PARALLAX_ERR"),
        ("apokasc", "APOKASC2_RADIUS_RANERR", "no column APOKASC2_RADIUS_RANERR"),
        ("apogee_rc", "APOGEE_ID", "neither names .APOGEE_ID. nor positions"),
    ],
)
def test_a_missing_column_is_one_line_with_file_column_and_remedy(tmp_path, kind, absent, says):
    path = written(tmp_path, {name: values for name, values in KINDS[kind].items() if name != absent})
    with pytest.raises(ReductionError, match=says) as caught:
        read_distance_catalogue(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_no_catalogue_or_damaged_is_told(tmp_path):
    with pytest.raises(ReductionError, match="with known columns"):
        read_distance_catalogue(written(tmp_path, {"APOGEE_ID": IDS, "K": D}))
    with pytest.raises(ReductionError, match="is missing"):
        read_distance_catalogue(tmp_path / "none.fits")
    (tmp_path / "page.fits").write_text("<html>busy</html>")
    with pytest.raises(ReductionError, match="HTML"):
        recognised(tmp_path / "page.fits")
    (tmp_path / "bad.ecsv").write_text("%ECSV nothing\n")
    with pytest.raises(ReductionError, match="cannot be read as a table"):
        read_distance_catalogue(tmp_path / "bad.ecsv")
    with pytest.raises(ReductionError, match="no rows"):
        read_distance_catalogue(written(tmp_path, Table(KINDS["bpg"])[:0], "empty.fits"))
    with pytest.raises(ReductionError, match="column RC_DIST holds 2 values a row"):
        read_distance_catalogue(written(tmp_path, {"APOGEE_ID": IDS, "RC_DIST": np.stack([D, D], 1)}, "vector.fits"))


def test_a_folder_gives_its_catalogues_in_order_and_says_what_it_could_not_read(tmp_path):
    for kind in ("starhorse", "bpg", "apogee_rc", "apogaia"):
        written(tmp_path, KINDS[kind], f"{kind}.fits")
    written(tmp_path, {"APOGEE_ID": IDS, "K": D}, "allStar.fits")
    written(tmp_path, {k: v for k, v in KINDS["hogg_eilers_rix"].items() if k != "spec_parallax_err"}, "hogg.fits")
    (tmp_path / "damaged.fits").write_bytes(b"SIMPLE")
    (tmp_path / "known.fits").write_bytes(b"SIMPLE")
    (tmp_path / ".bpg.fits.fingerprint").write_text("x")
    found, not_read = catalogues_in(tmp_path, 0.7, ["known.fits"])
    assert [one.form.kind for one in found] == ["apogee_rc", "bpg", "starhorse"]
    assert set(not_read) == {"damaged.fits", "hogg.fits"} and "SPEC_PARALLAX_ERR" in not_read["hogg.fits"]


def test_no_form_hides_one_that_comes_after_it():
    for place, form in enumerate(FORMS):
        assert not any(set(earlier.marks) < set(form.marks) for earlier in FORMS[:place])
