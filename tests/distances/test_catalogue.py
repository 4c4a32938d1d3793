"""The catalogue: Table 1, errors and flags, weighted distances, and the FITS file."""

import dataclasses
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from astropy.utils.masked import Masked
from catalogue_rows import TABLE_1, Prediction, prediction, stars

from apogaia.distances import catalogue as cat
from apogaia.distances.catalogue import Flags
from apogaia.physics import luminosity
from apogaia.survey import load_survey

INFERENCE = load_survey("smoke").inference
PAPERS = dataclasses.replace(INFERENCE, weighted_error="model")
ZERO_POINT = -0.05
PROVENANCE = {
    "survey": "smoke",
    "model": "ab" * 32,
    "zero_point": ZERO_POINT,
    "weighted_error": "total",
    "passes": 20,
    "seed": 8634,
    "versions": {"numpy": "2.4.6", "apogaia": "0.1.0", "keras": "3.15.1", "astropy": "8.0.2", "tensorflow": "2.21.0"},
}


def build(table, fakemag, zero_point=ZERO_POINT, inference=INFERENCE, **errors):
    return cat.build_catalogue(table, prediction(fakemag, **errors), zero_point, inference)


@pytest.fixture
def ten():
    fakemag = np.linspace(5, 60, 10)
    table = stars(10, k_mag=np.linspace(8, 12, 10, dtype="float32"), location_id=[4405, 0] * 5)
    table["parallax"][2] = table["parallax_error"][2] = np.nan
    table["gaia_source_id"][4], table["ra"][4] = 0, np.nan
    table["status"][5] = 5
    table["reason"] = ["star.fits: the spectrum is blank" if status else "" for status in table["status"]]
    fakemag[6] = np.nan
    return build(table, fakemag)


def test_columns_are_table_1_then_the_rest(ten):
    assert ten.colnames[:22] == TABLE_1
    assert ten.colnames == [name for name, _, _ in cat.COLUMNS]
    units = {name: str(ten[name].unit) for name in TABLE_1}
    assert units["ra"] == "deg" and units["pmra_error"] == "mas / yr" and units["bp_rp"] == "mag"
    assert units["nn_parallax"] == "mas" and units["weighted_dist_error"] == "pc"


def test_distance_closed_form_and_error_parts():
    row = build(stars(), [20.0])[0]
    # K0 = 10: parallax = L / 100 mas, distance 1000 * 100 / L pc
    assert row["nn_parallax"] == pytest.approx(0.2, rel=1e-6)
    assert row["dist"] == pytest.approx(5000, rel=1e-6)
    for value, error in (("fakemag", "fakemag_error"), ("nn_parallax", "nn_parallax_error"), ("dist", "dist_error")):
        assert row[error] / row[value] == pytest.approx(0.05)  # 3 % and 4 % in quadrature
    for value in ("fakemag", "nn_parallax", "dist"):
        assert row[f"{value}_model_error"] / row[value] == pytest.approx(0.03)
    assert row["fakemag_predictive_error"] == pytest.approx(0.8)
    assert row["flags"] == 0


@pytest.mark.parametrize(("inference", "nn_error"), [(INFERENCE, 0.01), (PAPERS, 0.006)], ids=["total", "model"])
def test_weighted_distance_is_the_inverse_variance_mean(inference, nn_error):
    row = build(stars(), [20.0], inference=inference)[0]
    weights = 1 / np.array([nn_error, 0.02]) ** 2
    parallax = np.average([0.2, 0.15 + 0.05], weights=weights)
    assert row["weighted_dist"] == pytest.approx(1000 / parallax, rel=1e-6)
    assert row["weighted_dist_error"] == pytest.approx(1000 / parallax**2 / np.sqrt(weights.sum()), rel=1e-5)
    assert row["weighted_dist_error"] < 1000 / 0.2**2 * nn_error


def test_weighted_distance_covers_the_truth_with_the_total_error_and_not_with_the_model_s():
    """A network whose total error is the scatter about the truth, of which dropout sees a third."""
    rng = np.random.default_rng(12)
    n, relative = 20_000, 0.09
    fakemag, k0, gaia_error = rng.uniform(15, 60, n), rng.uniform(7, 11, n), rng.uniform(0.02, 0.05, n)
    true = fakemag * 10 ** (-0.2 * k0)
    table = stars(n, k_mag=k0 + 0.1, parallax=true + ZERO_POINT + gaia_error * rng.standard_normal(n))
    table["parallax_error"] = gaia_error
    seen = fakemag * (1 + relative * rng.standard_normal(n))
    model, predictive = relative / 3, relative * np.sqrt(8 / 9)

    def covered(inference):
        found = build(table, seen, inference=inference, model=model, predictive=predictive)
        pull = (found["weighted_dist"] - 1000 / true) / found["weighted_dist_error"]
        return np.mean(np.abs(pull) < 1)

    assert 0.64 < covered(INFERENCE) < 0.72
    assert covered(PAPERS) < 0.40


def test_errors_that_gaia_does_not_state_enter_the_weighted_distance_and_its_flag():
    """Errors of 24 uas that neighbours share, beside stated ones of 20: without them the weighted distance claims too
    much, and stars are said to disagree that do not.
    """
    rng = np.random.default_rng(13)
    n, relative, shared = 20_000, 0.09, 0.024
    fakemag, k0, gaia_error = rng.uniform(15, 60, n), rng.uniform(7, 11, n), np.full(n, 0.02)
    true = fakemag * 10 ** (-0.2 * k0)
    noise = np.hypot(gaia_error, shared) * rng.standard_normal(n)
    table = stars(n, k_mag=k0 + 0.1, parallax=true + ZERO_POINT + noise)
    table["parallax_error"] = gaia_error
    given = prediction(fakemag * (1 + relative * rng.standard_normal(n)), model=0.0, predictive=relative)

    def made(inference, error):
        found = cat.build_catalogue(table, given, ZERO_POINT, inference, zero_point_error=error)
        pull = (found["weighted_dist"] - 1000 / true) / found["weighted_dist_error"]
        return found, np.mean(np.abs(pull) < 1)

    with_it, covered = made(INFERENCE, shared)
    assert 0.64 < covered < 0.72
    assert made(INFERENCE, 0.0)[1] < 0.60
    np.testing.assert_allclose(with_it["zero_point_error"], shared)
    np.testing.assert_allclose(with_it["parallax_error"], 0.02)  # as Gaia gives it
    papers = [made(dataclasses.replace(PAPERS), error)[0]["weighted_dist"] for error in (0.0, shared)]
    np.testing.assert_array_equal(*papers)  # the paper's definition knows Gaia's stated errors alone

    # a network that is sure, and a Gaia parallax six stated errors away, which is four with the shared error
    table = stars(1, parallax=0.15 + 6 * 0.02)
    sure = prediction([20.0], model=0.0, predictive=1e-4)
    disagree = [
        bool(cat.build_catalogue(table, sure, ZERO_POINT, INFERENCE, zero_point_error=error)["flags"][0] & 4096)
        for error in (0.0, shared)
    ]
    assert disagree == [True, False]


def test_weighted_distance_fallbacks():
    nan = np.nan
    table = stars(
        6,
        parallax=[nan, 0.15, 0.15, nan, -0.2, -0.05],
        parallax_error=[nan, 0.02, 0.02, nan, 0.02, 0.02],
        k_mag=[10.1, 10.1, nan, 10.1, nan, nan],
    )
    found = build(table, [20.0, nan, 20.0, nan, 20.0, 20.0])
    np.testing.assert_allclose(found["weighted_dist"], [5000, 5000, 5000, nan, nan, nan], rtol=1e-6)
    np.testing.assert_allclose(found["weighted_dist_error"], [250, 500, 500, nan, nan, nan], rtol=1e-6)
    flagged = (found["flags"] & Flags.NO_POSITIVE_PARALLAX) != 0
    assert flagged.tolist() == [False] * 4 + [True] * 2  # negative, and zero


def test_zero_point_enters_once_with_its_sign_and_only_where_there_is_a_parallax():
    table = stars(3, k_mag=np.full(3, np.nan), parallax=[0.2, np.nan, 0.2], parallax_error=[0.01] * 3)
    found = build(table, [np.nan] * 3, zero_point=np.array([-0.05, -0.05, np.nan]))
    np.testing.assert_allclose(found["weighted_dist"], [4000, np.nan, np.nan])
    assert found["flags"][2] & Flags.NO_ZERO_POINT and not found["flags"][1] & Flags.NO_ZERO_POINT
    assert found["parallax"][0] == 0.2  # as Gaia gives it


def test_a_zero_point_that_was_subtracted_beforehand_is_part_of_the_whole_one():
    nan = np.nan
    table = stars(
        3,
        k_mag=np.full(3, nan),
        parallax=[0.235, 0.2, nan],  # less -0.035 for the first; none is known for the second
        parallax_error=[0.01] * 3,
        parallax_zero_point=[-0.035, nan, nan],
    )
    found = build(table, [nan] * 3, zero_point=0.015)
    np.testing.assert_allclose(found["parallax"], [0.2, 0.2, nan])
    np.testing.assert_allclose(found["zero_point"], [-0.02, nan, nan])
    np.testing.assert_allclose(found["weighted_dist"], [1000 / 0.22, nan, nan])
    assert [bool(flag & Flags.NO_ZERO_POINT) for flag in found["flags"]] == [False, True, False]


def test_provenance_names_what_was_subtracted_beforehand(tmp_path):
    model = tmp_path / "model.keras"
    model.write_bytes(b"weights")
    survey = load_survey("smoke")
    assert cat.provenance(survey, model, -0.05)["zero_point"] == -0.05
    assert cat.provenance(survey, model, -0.05)["weighted_error"] == "total"
    papers = dataclasses.replace(survey, inference=PAPERS)
    assert cat.provenance(papers, model, -0.05)["weighted_error"] == "model"
    assert cat.provenance(load_survey("smoke-dr17"), model, 0.015)["zero_point"] == "lindegren2021 +0.01500"


CASES = {
    Flags.FAKEMAG_UNRELIABLE: ({}, {"model": 0.16, "predictive": 0.12}),
    Flags.MISSING_PHOTOMETRY: ({"k_mag": [np.nan]}, {}),
    Flags.MISSING_EXTINCTION: ({"a_k_mag": [np.nan], "k_mag": [10.0]}, {}),
    Flags.NO_GAIA_MATCH | Flags.NO_GAIA_PARALLAX: (
        {"ra": [np.nan], "parallax": [np.nan], "parallax_error": [np.nan]},
        {},
    ),
    Flags.NO_GAIA_PARALLAX: ({"parallax": [np.nan]}, {}),
    Flags.AMBIGUOUS_GAIA_MATCH: ({"n_gaia_matches": [2]}, {}),
    Flags.SPECTRUM_FLAGGED: ({"starflag": [1 << 17]}, {}),
    Flags.NO_RESULT: ({"status": [1]}, {}),
    Flags.PARALLAXES_DISAGREE: ({"parallax": [0.5]}, {}),
}


@pytest.mark.parametrize("flag", CASES, ids=str)
def test_each_flag_says_what_is_wrong_and_nothing_else(flag):
    columns, errors = CASES[flag]
    assert Flags(int(build(stars(**columns), [20.0], **errors)["flags"][0])) == flag


def test_unreliable_begins_at_the_limit_and_covers_unknown_errors():
    just_below = build(stars(), [20.0], model=0.19999, predictive=0.0)
    assert not just_below["flags"][0] & Flags.FAKEMAG_UNRELIABLE
    unknown = cat.build_catalogue(
        stars(), prediction([20.0])._replace(model_error=np.array([np.nan])), -0.05, INFERENCE
    )
    assert unknown["flags"][0] & Flags.FAKEMAG_UNRELIABLE


def test_bits_are_those_of_astra_where_it_has_them():
    assert (Flags.FAKEMAG_UNRELIABLE, Flags.MISSING_PHOTOMETRY, Flags.MISSING_EXTINCTION) == (1, 2, 4)
    assert Flags.NO_RESULT == 1 << 11
    assert set(cat.FLAG_MEANINGS) == set(Flags)


def test_a_vanishing_luminosity_has_no_distance():
    found = build(stars(3, parallax=[np.nan, np.nan, 0.15]), [0.0, 1e-300, 1e-300])
    assert np.isnan(found["dist"]).all() and np.isnan(found["dist_error"]).all()
    assert (found["flags"] & Flags.DIST_OUT_OF_RANGE != 0).all()
    np.testing.assert_allclose(found["weighted_dist"], [np.nan, np.nan, 5000])


def test_repeated_stars_keep_one_unflagged_row_each():
    table = stars(6, apogee_id=["2MA", "2MB", "2MA", "2MA", "", ""], snr=[50.0, 10.0, 90.0, np.nan, 5.0, 5.0])
    repeated = build(table, [20.0] * 6)["flags"] & Flags.REPEATED_STAR != 0
    assert repeated.tolist() == [True, False, False, True, False, False]


def test_a_refused_spectrum_has_no_result_whatever_the_network_says():
    found = build(stars(2, status=[5, 0], reason=["blank", ""]), [20.0, 20.0])
    assert np.isnan(found["fakemag"][0]) and np.isnan(found["fakemag_model_error"][0]) and np.isnan(found["dist"][0])
    assert np.isfinite(found["dist"][1]) and found["reason"][0] == "blank"
    # Gaia's side is still there
    assert found["weighted_dist"][0] == pytest.approx(5000)


def test_each_star_has_its_own_magnitude_and_extinction():
    k_mag, a_k_mag, fakemag = np.array([8.0, 9.0, 11.0]), np.array([0.0, 0.3, np.nan]), np.array([10.0, 20.0, 30.0])
    table = cat.distance_table(prediction(fakemag), k_mag, a_k_mag, INFERENCE)
    np.testing.assert_allclose(table["dist"], 1000 * 10 ** (0.2 * (k_mag - [0.0, 0.3, 0.0])) / fakemag)
    np.testing.assert_allclose(
        np.hypot(table["dist_model_error"], table["dist_predictive_error"]), np.asarray(table["dist_error"])
    )


def test_build_catalogue_uses_distance_table(ten):
    known = np.isfinite(ten["fakemag"])
    again = cat.distance_table(
        Prediction(ten["fakemag"], ten["fakemag_model_error"], ten["fakemag_predictive_error"], None),
        ten["k_mag"],
        ten["a_k_mag"],
        INFERENCE,
    )
    for name in set(again.colnames) & set(ten.colnames) - {"flags"}:
        np.testing.assert_array_equal(again[name][known], ten[name][known])


def test_lengths_must_agree():
    with pytest.raises(cat.CatalogueError, match="prediction"):
        build(stars(2), [20.0])
    with pytest.raises(cat.CatalogueError, match="zero point"):
        build(stars(2), [20.0, 20.0], zero_point=np.zeros(3))


def test_file_has_no_nan_and_comes_back_the_same(ten, tmp_path):
    path = tmp_path / "catalogue.fits"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no card cut short
        cat.write_catalogue(ten, path, PROVENANCE)
        back = cat.read_catalogue(path)
    raw = fits.getdata(path)
    for name in raw.names:
        if raw[name].dtype.kind == "f":
            assert np.isfinite(raw[name]).all()
    assert raw["weighted_dist"][0] > 0 and raw["parallax"][2] == -9999 and raw["fakemag"][6] == -9999
    assert raw["location_id"][1] == -9999 and raw["gaia_source_id"][4] == -9999
    assert raw["gaia_source_id"][0] == 2**53 + 1  # no detour over floats
    assert back.colnames == ten.colnames
    for name in ten.colnames:
        np.testing.assert_array_equal(np.asarray(back[name]), np.asarray(ten[name]), err_msg=name)
        assert back[name].dtype == ten[name].dtype or back[name].dtype.kind == "U"
        assert back[name].unit == ten[name].unit and back[name].description == ten[name].description
    assert not back.has_masked_columns


def test_header_documents_columns_flags_and_provenance(ten, tmp_path):
    path = tmp_path / "catalogue.fits"
    cat.write_catalogue(ten, path, PROVENANCE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with fits.open(path, checksum=True) as hdus:
            header = hdus[1].header
            hdus[1].data  # noqa: B018
    units = {"pmra": "mas yr-1", "dist": "pc", "nn_parallax": "mas", "ra": "deg", "bp_rp": "mag"}
    for index, name in enumerate(ten.colnames, start=1):
        assert header[f"TTYPE{index}"] == name
        assert header[f"TCOMM{index}"] == header.comments[f"TTYPE{index}"] != ""
        assert header.get(f"TUNIT{index}") == units.get(name, header.get(f"TUNIT{index}"))
    for flag in Flags:
        bit = int(np.log2(flag))
        assert header[f"FLAG{bit:02d}"] == flag.name and header.comments[f"FLAG{bit:02d}"] == cat.FLAG_MEANINGS[flag]
    assert header["SURVEY"] == "smoke" and header["MODELKEY"] == "ab" * 32 and header["ZEROPT"] == ZERO_POINT
    assert header["NPASSES"] == 20 and header["SEED"] == 8634 and header["WGTERR"] == "total"
    assert "apogaia 0.1.0" in header["VERSIONS"]
    assert "DATE" not in header
    assert cat.read_catalogue(path).meta["zero_point"] == ZERO_POINT


TITLE = "Mein Survey: größer\nals «alles» 😀 & <b> $x_1$ %"
ASCII_TITLE = 'Mein Survey: groesser als "alles" ? & <b> $x_1$ %'


@pytest.mark.parametrize(
    ("title", "written"),
    [
        (TITLE, ASCII_TITLE),
        *((f"{TITLE} {'x' * more}&", f"{ASCII_TITLE} {'x' * more}+") for more in range(0, 30, 3)),
        (20 * TITLE, 20 * ASCII_TITLE),
        ("O'Neill's 'own'" * 9, "O'Neill's 'own'" * 9),
        ("\x00\x7f\u2028 \udcff é Å – µas", "  ? e A - uas"),
    ],
)
def test_a_title_of_any_characters_has_an_ascii_form_in_the_header(ten, tmp_path, title, written):
    path = tmp_path / "größer als\nalles.fits"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of cards that are too long
        cat.write_catalogue(ten, path, {**PROVENANCE, "survey": title})
        with fits.open(path, checksum=True) as hdus:
            hdus.verify("exception")
            assert hdus[1].header["SURVEY"] == written
    assert cat.read_catalogue(path).meta["survey"] == written


def test_names_of_any_characters_have_an_ascii_form_in_the_columns(ten, tmp_path):
    names = ["Stern Nr. 1", "größer", "two\nlines", "naïve", "星", "\udcff", "$x_1$", "_", "", "a'b"]
    ten["field"] = names
    path = tmp_path / "catalogue.fits"
    cat.write_catalogue(ten, path, PROVENANCE)
    written = ["Stern Nr. 1", "groesser", "two lines", "naive", "?", "?", "$x_1$", "_", "", "a'b"]
    assert cat.read_catalogue(path)["field"].tolist() == written
    table = cat.distance_table(prediction(np.full(10, 20.0)), np.full(10, 10.0), np.zeros(10), INFERENCE)
    table["file"] = names
    cat.write_table(table, tmp_path / "t.fits")
    assert fits.getdata(tmp_path / "t.fits")["file"].tolist() == written
    cat.write_table(table, tmp_path / "t.ecsv")
    assert len((tmp_path / "t.ecsv").read_bytes()) > 0
    del table[[2, 5]]
    cat.write_table(table, tmp_path / "t.ecsv")
    assert Table.read(tmp_path / "t.ecsv")["file"].filled("").tolist() == [*names[:2], *names[3:5], *names[6:]]


def test_a_catalogue_with_texts_in_utf_8_is_read(ten, tmp_path):
    table = Table({name: np.asarray(ten[name]) for name in TABLE_1})
    table["apogee_id"] = np.char.encode(["größer"] * 10, "utf-8")
    fits.table_to_hdu(table).writeto(tmp_path / "c.fits")
    assert cat.read_catalogue(tmp_path / "c.fits")["apogee_id"][0] == "größer"


def test_same_content_gives_the_same_bytes(ten, tmp_path):
    first, second = tmp_path / "a.fits", tmp_path / "b" / "c.fits"
    cat.write_catalogue(ten, first, PROVENANCE)
    cat.write_catalogue(ten, second, {**PROVENANCE, "passes": np.int64(20)})
    assert first.read_bytes() == second.read_bytes()
    cat.write_catalogue(cat.read_catalogue(first), first, PROVENANCE)
    assert first.read_bytes() == second.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.fits", "b"]


def test_incomplete_provenance_or_columns_write_nothing(ten, tmp_path):
    path = tmp_path / "catalogue.fits"
    with pytest.raises(cat.CatalogueError, match="seed"):
        cat.write_catalogue(ten, path, {k: v for k, v in PROVENANCE.items() if k != "seed"})
    with pytest.raises(cat.CatalogueError, match="host"):
        cat.write_catalogue(ten, path, {**PROVENANCE, "host": "x"})
    with pytest.raises(cat.CatalogueError, match="columns"):
        cat.write_catalogue(ten[TABLE_1], path, PROVENANCE)
    assert not path.exists()


def test_the_papers_own_file_can_be_read(ten, tmp_path):
    path = tmp_path / "apogee_dr14_nn_dist.fits"
    table = Table({name: np.asarray(ten[name]) for name in TABLE_1})
    table["dist"][6] = -9999.0
    fits.table_to_hdu(table).writeto(path)
    assert np.isnan(cat.read_catalogue(path)["dist"][6])


@pytest.mark.parametrize("damage", ["absent", "not fits", "cut", "flipped", "no table", "other table"])
def test_what_is_not_a_whole_catalogue_is_refused(ten, tmp_path, damage):
    path = tmp_path / "catalogue.fits"
    cat.write_catalogue(ten, path, PROVENANCE)
    content = bytearray(path.read_bytes())
    if damage == "absent":
        path.unlink()
    elif damage == "not fits":
        path.write_text("<html>504 Gateway Time-out</html>")
    elif damage == "cut":
        path.write_bytes(content[: len(content) - 3500])
    elif damage == "flipped":
        content[-2880 + 5] ^= 1
        path.write_bytes(content)
    elif damage == "no table":
        fits.PrimaryHDU().writeto(path, overwrite=True)
    else:
        fits.table_to_hdu(Table({"a": [1]})).writeto(path, overwrite=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(cat.CatalogueError, match=r"catalogue\.fits"):
            cat.read_catalogue(path)


def test_distance_tables_are_written_too(tmp_path):
    table = cat.distance_table(prediction([20.0, np.nan]), [10.0, 10.0], [0.0, 0.0], INFERENCE)
    table["file"] = ["a.fits", "b.fits"]
    cat.write_table(table, tmp_path / "t.fits")
    cat.write_table(table, tmp_path / "t.csv")
    plain = Table.read(tmp_path / "t.csv", format="ascii.csv")
    assert plain.colnames == table.colnames and len(plain) == len(table)
    np.testing.assert_array_equal(plain["dist"], table["dist"])
    cat.write_table(table, tmp_path / "t.ecsv")
    raw = fits.getdata(tmp_path / "t.fits")
    assert raw["dist"].tolist() == [pytest.approx(5000), -9999] and raw["file"].tolist() == ["a.fits", "b.fits"]
    assert fits.getheader(tmp_path / "t.fits", 1)["FLAG11"] == "NO_RESULT"
    back = Table.read(tmp_path / "t.ecsv")
    assert np.isnan(back["dist"][1]) and str(back["dist"].unit) == "pc"
    with pytest.raises(cat.CatalogueError, match="csv"):
        cat.write_table(table, tmp_path / "t.txt")


def test_describe_flags_names_the_bits():
    lines = cat.describe_flags(np.int32(Flags.NO_RESULT | Flags.MISSING_EXTINCTION))
    assert len(lines) == 2 and "MISSING_EXTINCTION" in lines[0] and lines[1].split()[0] == "2048"
    assert cat.describe_flags(0) == []


def test_corrected_parallax_is_larger():
    assert luminosity.corrected_parallax(0.5, -0.0523) == pytest.approx(0.5523)


def test_masked_entries_are_written_as_unknown(tmp_path):
    dist = Masked([1.0, 2.0] * u.kpc, mask=[False, True])
    table = QTable({"dist": dist, "flags": MaskedColumn([1, 2], mask=[False, True])})
    cat.write_table(table, tmp_path / "t.fits")
    with fits.open(tmp_path / "t.fits") as hdus:
        assert hdus[1].data["dist"].tolist() == [1, -9999] and hdus[1].columns["dist"].unit == "kpc"
        assert hdus[1].data["flags"].tolist() == [1, 0]


def test_a_catalogue_of_quantities_is_written_in_the_units_of_table_1(tmp_path):
    made = cat.build_catalogue(stars(2), prediction([20.0, 20.0]), 0.0, INFERENCE)
    other = QTable(made)
    other["dist"] = other["dist"].to(u.kpc)
    origin = {
        "survey": "a",
        "model": "b",
        "zero_point": 0.0,
        "weighted_error": "total",
        "passes": 1,
        "seed": 1,
        "versions": {},
    }
    for name, table in (("a.fits", made), ("b.fits", other)):
        cat.write_catalogue(table, str(tmp_path / name), origin)
    first, second = (cat.read_catalogue(str(tmp_path / name)) for name in ("a.fits", "b.fits"))
    np.testing.assert_allclose(second["dist"], first["dist"])
    assert second["dist"].unit == "pc" and second["dist"].description == first["dist"].description
