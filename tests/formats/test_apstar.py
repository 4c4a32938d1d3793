"""apStar files: what is read of whole ones, and the status of each fault."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutate_apstar
from real_files import APSTAR
from tiny_survey import image, spectra, write_apstar

from apogaia.formats.apstar import SpectrumError, Status, read_apstar, read_visits
from apogaia.formats.pixel_grid import DETECTORS


def test_real_files(realdata):
    giant = read_apstar(realdata / APSTAR[0])
    assert giant.n_visits == 3
    assert giant.header["k_mag"] == 8.328 and giant.header["snr"] == 736.781 and giant.header["location_id"] == 4548
    assert giant.header["a_k_targ"] is None
    with fits.open(realdata / APSTAR[0]) as hdus:
        np.testing.assert_array_equal(giant.flux, hdus[1].data[1])
        np.testing.assert_array_equal(giant.mask, hdus[3].data[1])
    single = read_apstar(realdata / APSTAR[1])
    assert single.n_visits == 1 and single.flux.shape == (8575,) and single.flux.dtype == np.dtype("=f4")


def test_visits_of_real_files_have_their_rows_and_their_cards(realdata):
    combined, *visits = read_visits(realdata / APSTAR[0])
    np.testing.assert_array_equal(combined.flux, read_apstar(realdata / APSTAR[0]).flux)
    assert (combined.visit, combined.header["snr"]) == (0, 736.781) and [v.visit for v in visits] == [1, 2, 3]
    with fits.open(realdata / APSTAR[0]) as hdus:
        for i, visit in enumerate(visits):
            np.testing.assert_array_equal(visit.flux, hdus[1].data[2 + i])
            np.testing.assert_array_equal(visit.error, hdus[2].data[2 + i])
            np.testing.assert_array_equal(visit.mask, hdus[3].data[2 + i])
    own = {"snr": 349.199, "mjd": 56588, "plate": "6560", "fiber": 200, "starflag": 0, "v_helio": -0.0260468}
    assert {**visits[1].header, **own, "k_mag": 8.328} == visits[1].header
    alone, visit = read_visits(realdata / APSTAR[1])
    np.testing.assert_array_equal(alone.flux, visit.flux)
    assert (alone.header["snr"], visit.header["snr"], visit.header["mjd"]) == (33.127, 26.1027, 56671)


@pytest.mark.parametrize("layout", ["dr14", "dr17", "dr19"])
def test_a_star_of_one_visit_has_it_in_the_first_row(tmp_path, layout):
    path = tmp_path / "apStar-r8-2M1.fits"
    write_apstar(path, "2M1", *(array[0] for array in spectra(1)), layout=layout)
    alone, visit = read_visits(path)
    np.testing.assert_array_equal(alone.flux, visit.flux)
    assert visit.header["snr"] is None and visit.header["mjd"] is None  # nothing of the visit in the header
    assert alone.header["snr"] == 100


def test_the_night_follows_from_the_date_where_no_name_tells_it(tmp_path):
    path = tmp_path / "apStar-r8-2M1.fits"
    write_apstar(path, "2M1", *(array[0] for array in spectra(1)))
    for jd, mjd in ((2456584.74908, 56584), (2456584.3, 56584), (2456584.1, 56583)):
        fits.setval(path, "JD1", value=jd)
        assert read_visits(path)[1].header["mjd"] == mjd


def test_a_damaged_visit_harms_no_other_and_no_visit_is_lost(tmp_path):
    path = tmp_path / "apStar-dr17-2M1.fits"
    write_apstar(path, "2M1", *(array[0] for array in spectra(1)), visits=3, layout="dr17")
    with fits.open(path, mode="update") as hdus:
        hdus[1].data[3] = 0
        hdus[0].header["SNRVIS2"] = 12.5
    _, first, second, third = read_visits(path)
    assert isinstance(second, SpectrumError) and second.status == Status.BLANK and second.visit == 2
    assert second.header["snr"] == 12.5 and str(path) in str(second)
    np.testing.assert_array_equal(first.flux, third.flux)
    whole = path.read_bytes()
    for length, known in ((300_000, 4), (2880, 4), (1000, 1), (0, 1)):
        path.write_bytes(whole[:length])
        read = read_visits(path)
        assert {spectrum.status for spectrum in read} <= {Status.UNREADABLE, Status.NOT_APSTAR}
        assert [spectrum.visit for spectrum in read] == list(range(known))
    path.unlink()
    assert [spectrum.status for spectrum in read_visits(path)] == [Status.NO_FILE]


@pytest.mark.parametrize("stated", [2, 4])
def test_rows_that_are_not_those_of_the_visits_are_not_taken_for_them(tmp_path, stated):
    path = tmp_path / "apStar-dr17-2M1.fits"
    write_apstar(path, "2M1", *(array[0] for array in spectra(1)), visits=3, layout="dr17")
    fits.setval(path, "NVISITS", value=stated)
    combined, *visits = read_visits(path)
    assert not isinstance(combined, SpectrumError) and len(visits) == stated
    assert {visit.status for visit in visits} == {Status.NOT_APSTAR}
    assert f"NVISITS is {stated}, but each HDU holds 5" in str(visits[0])


@pytest.mark.parametrize("visits", [1, 3])
def test_the_globally_weighted_row_is_read(tmp_path, visits):
    flux, error, mask = (array[0] for array in spectra(1))
    path = tmp_path / "apStar-r8-2M1.fits"
    write_apstar(path, "2M1", flux, error, mask, visits)
    star = read_apstar(path)
    np.testing.assert_array_equal(star.flux, flux.astype(np.float32))
    np.testing.assert_array_equal(star.error, error.astype(np.float32))
    np.testing.assert_array_equal(star.mask, mask)


@pytest.mark.parametrize("combined_row", [0, 1])
@pytest.mark.parametrize("visits", [1, 3])
@pytest.mark.parametrize("layout", ["dr17", "dr19"])
def test_from_dr17_on_the_first_row_is_read_whatever_the_survey(tmp_path, layout, visits, combined_row):
    flux, error, mask = (array[0] for array in spectra(1))
    path = tmp_path / "apStar-dr17-2M1.fits"
    write_apstar(path, "2M1", flux, error, mask, visits, layout=layout)
    star = read_apstar(path, combined_row=combined_row)
    np.testing.assert_array_equal(star.flux, flux.astype(np.float32))
    np.testing.assert_array_equal(star.error, error.astype(np.float32))
    np.testing.assert_array_equal(star.mask, mask)
    assert star.mask.any() and star.row == 0 and star.n_visits == visits


@pytest.mark.parametrize("combined_row", [0, 1])
def test_of_dr14_files_the_row_of_the_survey_is_read(tmp_path, combined_row):
    flux, error, mask = (array[0] for array in spectra(1))
    path = tmp_path / "apStar-r8-2M1.fits"
    write_apstar(path, "2M1", flux, error, mask, 3)
    star = read_apstar(path, combined_row=combined_row)
    np.testing.assert_array_equal(star.flux, flux[:: 1 if combined_row else -1].astype(np.float32))
    assert star.row == combined_row


@pytest.mark.parametrize("visits", [1, 2])
def test_two_rows_that_may_be_two_visits_are_refused(tmp_path, visits):
    path = tmp_path / "apStar-dr17-2M1.fits"
    write_apstar(path, "2M1", *(array[0] for array in spectra(1)), layout="dr17")
    with fits.open(path, mode="update") as hdus:
        hdus[0].header["NVISITS"] = visits
        hdus[1].data[1, 4000] = visits % 2
    with pytest.raises(SpectrumError, match=f"NVISITS is {visits}, but each HDU holds 2") as caught:
        read_apstar(path)
    assert caught.value.status == Status.NOT_APSTAR


def test_a_star_without_light_in_a_detectors_edge_is_read(tmp_path):
    # DR17's combinations are NaN, with an error of zero, where one of the visits has no light
    flux, error, mask = (array[0] for array in spectra(1))
    flux[:260], error[:260] = np.nan, 0
    write_apstar(tmp_path / "apStar-dr17-2M1.fits", "2M1", flux, error, mask, 2, layout="dr17")
    assert np.isnan(read_apstar(tmp_path / "apStar-dr17-2M1.fits", combined_row=0).flux[:260]).all()


def test_sdss_v_names_its_magnitudes_otherwise(tmp_path):
    path = tmp_path / f"apStar-1.3-apo25m-{ID}.fits"
    write_apstar(path, ID, *(array[0] for array in spectra(1)), layout="dr19")
    with fits.open(path, mode="update") as hdus:
        del hdus[0].header["K"]
        hdus[0].header["KMAG"], hdus[0].header["HMAG"], hdus[0].header["VHBARY"] = 9.5, "NaN", -31.5
    header = read_apstar(path).header
    assert header["k_mag"] == 9.5 and header["v_helio"] == -31.5 and header["h_mag"] is None


def faulty(path, fault):
    """Write the file with a fault; the status that it must give."""
    flux, error, mask = (array[0] for array in spectra(1))
    name = "2M00000001+0000001"
    if fault == "blank":
        flux = flux * 0
    elif fault == "nan flux":
        flux = flux * np.nan
    elif fault == "nan errors":
        error = error * np.nan
    elif fault == "zero error":
        error[1000] = 0
    elif fault == "dead detector":
        error[DETECTORS["green"]] = 1e10
    elif fault == "other star":
        name = "2M00000002+0000002"
    write_apstar(path, name, flux, error, mask)
    content = path.read_bytes()
    if fault == "empty":
        path.write_bytes(b"")
    elif fault == "html":
        path.write_bytes(b"<html>504 Gateway Time-out</html>" * 100)
    elif fault.startswith("cut"):
        path.write_bytes(content[: int(fault.split()[1])])
    elif fault == "other grid":
        with fits.open(path, mode="update") as hdus:
            hdus[1].header["CRVAL1"] = 4.0
    elif fault == "short":
        fits.HDUList([fits.PrimaryHDU(), *[image(np.ones(100, ">f4"))] * 3]).writeto(path, overwrite=True)
    elif fault == "table":
        fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([])]).writeto(path, overwrite=True)
    elif fault == "no cards":
        fits.HDUList([fits.PrimaryHDU(), *map(image, (flux, error, mask))]).writeto(path, overwrite=True)
    elif fault == "folder":
        path.unlink()
        path.mkdir()


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("blank", Status.BLANK),
        ("nan flux", Status.BLANK),
        ("nan errors", Status.BAD_ERRORS),
        ("zero error", Status.BAD_ERRORS),
        ("dead detector", Status.TOO_FEW_PIXELS),
        ("other star", Status.WRONG_STAR),
        ("other grid", Status.NOT_APSTAR),
        ("short", Status.NOT_APSTAR),
        ("table", Status.NOT_APSTAR),
        ("no cards", Status.NOT_APSTAR),
        ("empty", Status.UNREADABLE),
        ("html", Status.UNREADABLE),
        ("folder", Status.UNREADABLE),
        ("cut 1000", Status.UNREADABLE),
        ("cut 20000", Status.UNREADABLE),
        ("cut 60000", Status.UNREADABLE),
        ("cut 90000", Status.UNREADABLE),
    ],
)
def test_every_fault_has_its_status_and_names_the_file(tmp_path, fault, status):
    path = tmp_path / "apStar-r8-2M00000001+0000001.fits"
    faulty(path, fault)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SpectrumError) as caught:
            read_apstar(path)
    assert caught.value.status == status
    assert str(caught.value).startswith(f"{path}: {status.reason}")
    assert "; " in str(caught.value)
    assert str(tmp_path) not in caught.value.detail


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 120_000))
def test_a_file_cut_anywhere_is_read_right_or_refused(tmp_path_factory, cut):
    folder = tmp_path_factory.getbasetemp() / "cuts"
    path = folder / "apStar-r8-2M1.fits"
    if not path.is_file():
        write_apstar(path, "2M1", *(array[0] for array in spectra(1)))
    whole = read_apstar(path)
    part = folder / "part" / path.name
    part.parent.mkdir(exist_ok=True)
    part.write_bytes(path.read_bytes()[:cut])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            star = read_apstar(part)
        except SpectrumError as fault:
            assert fault.status in (Status.UNREADABLE, Status.NOT_APSTAR)
        else:
            for name in ("flux", "error", "mask"):
                np.testing.assert_array_equal(getattr(star, name), getattr(whole, name))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1200), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_corrupt_header_is_never_more_than_a_refused_spectrum(tmp_path_factory, changes):
    path = tmp_path_factory.getbasetemp() / "corrupt" / "apStar-r8-2M1.fits"
    original = path.with_suffix(".original")
    if not original.is_file():
        write_apstar(original, "2M1", *(array[0] for array in spectra(1)))
    content = bytearray(original.read_bytes())
    headers = [i for i in range(0, len(content), 2880) if content[i : i + 8] in (b"SIMPLE  ", b"XTENSION")]
    for hdu, place, byte in changes:
        content[headers[hdu] + place] = byte
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            read_apstar(path)
        except SpectrumError as fault:
            assert fault.status in (Status.UNREADABLE, Status.NOT_APSTAR, Status.WRONG_STAR)


def test_a_missing_file(tmp_path):
    with pytest.raises(SpectrumError) as caught:
        read_apstar(tmp_path / "apStar-r8-2M1.fits")
    assert caught.value.status == Status.NO_FILE


def test_a_cut_behind_the_three_arrays_is_harmless_and_silent(tmp_path):
    path = tmp_path / "apStar-r8-2M1.fits"
    write_apstar(path, "2M1", *(array[0] for array in spectra(1)))
    path.write_bytes(path.read_bytes()[:-100_000])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_apstar(path).n_visits == 1


def test_statuses_are_what_products_say_they_are():
    assert [(status.name, int(status)) for status in Status] == [
        ("OK", 0),
        ("NO_FILE", 1),
        ("UNREADABLE", 2),
        ("NOT_APSTAR", 3),
        ("WRONG_STAR", 4),
        ("BLANK", 5),
        ("BAD_ERRORS", 6),
        ("TOO_FEW_PIXELS", 7),
        ("NO_CONTINUUM", 8),
        ("CONSTANT", 9),
        ("BAD_CHECKSUM", 10),
    ]
    readme = (Path(__file__).parents[2] / "data" / "README.md").read_text(encoding="utf-8")
    table = readme.partition("| status | name | reason |")[2].partition("\n\n")[0]
    listed = [line for line in table.splitlines() if line[:3].strip("| ").isdigit()]
    assert listed == [f"| {status:d} | {status.name} | {status.reason} |" for status in Status]
    assert all(status.reason in str(SpectrumError(status, "star.fits")) for status in Status if status)


ID = "2M03434763+3209025"


@pytest.mark.parametrize(
    "name",
    [
        f"apStar-r6-{ID}.fits",
        f"apStar-r8-{ID} (1).fits",
        f"apStar-r6-{ID}-55960.fits",
        f"apStar-1.3-apo25m-{ID}.fits",
        f"copy of {ID.lower()}.fit",
        "my star.fits",
        "12345678.fits",
    ],
)
def test_a_name_that_names_no_other_star_is_fine(tmp_path, name):
    write_apstar(tmp_path / name, ID, *(array[0] for array in spectra(1)))
    assert read_apstar(tmp_path / name).header["apogee_id"] == ID


@pytest.mark.parametrize(
    ("name", "apogee_id"),
    [
        ("apStar-r8-2M03434763+3209026.fits", ID),
        ("apStar-r8-2M03434763-3209025 (1).fits", ID),
        ("apStar-1.3-apo25m-2M13434763+3209025.fits", ID),
        (f"apStar-r8-{ID}.fits", "VESTA"),
    ],
)
def test_a_name_that_names_another_star_is_refused(tmp_path, name, apogee_id):
    write_apstar(tmp_path / name, apogee_id, *(array[0] for array in spectra(1)))
    with pytest.raises(SpectrumError, match="OBJID is") as caught:
        read_apstar(tmp_path / name)
    assert caught.value.status == Status.WRONG_STAR


@pytest.mark.parametrize("card", ["K       =                 10.0", "SNR     =                100.0"])
def test_a_card_that_cannot_be_parsed_is_unknown_and_costs_no_other(tmp_path, card):
    path = tmp_path / f"apStar-r8-{ID}.fits"
    write_apstar(path, ID, *(array[0] for array in spectra(1)))
    whole = read_apstar(path).header
    content = path.read_bytes()
    assert card.encode() in content
    path.write_bytes(content.replace(card.encode(), card[:10].encode() + b"nan".rjust(len(card) - 10)))
    changed = {"K": "k_mag", "SNR": "snr"}[card.split()[0]]
    header = read_apstar(path).header
    assert header.pop(changed) is None and whole.pop(changed) is not None
    assert header == whole


def test_a_refused_file_still_says_which_star_it_is(tmp_path):
    path = tmp_path / f"apStar-r8-{ID}.fits"
    flux, error, mask = (array[0] for array in spectra(1))
    write_apstar(path, ID, 0 * flux, error, mask)
    with pytest.raises(SpectrumError) as caught:
        read_apstar(path)
    assert caught.value.status == Status.BLANK
    assert caught.value.header["apogee_id"] == ID and caught.value.header["k_mag"] == 10.0


@pytest.mark.parametrize("layout", ["dr14", "dr17"])
def test_a_hundred_mutated_files_are_refused_or_read_right(tmp_path, layout):
    source, path = tmp_path / f"source-{ID}.fits", tmp_path / f"apStar-r8-{ID}.fits"
    flux, error, mask = (array[0] for array in spectra(1))
    write_apstar(source, ID, flux, error, mask, 3, unread_rows=1, layout=layout)
    row = 1 if layout == "dr14" else 0
    good, refused = read_apstar(source, combined_row=row), 0
    for seed in range(100):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of astropy, about what is written here
            done = mutate_apstar(source, path, np.random.default_rng([seed, row]))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                star = read_apstar(path, combined_row=row)
            except SpectrumError as fault:
                assert str(fault).startswith(f"{path}: {fault.status.reason}") and "\n" not in str(fault), done
                refused += 1
                continue
        for name in ("flux", "error", "mask"):
            np.testing.assert_array_equal(getattr(star, name), getattr(good, name), err_msg=done)
    assert 30 < refused < 90
