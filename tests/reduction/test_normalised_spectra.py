"""One road for a spectrum: a star has the same bits alone, in a batch, and in a survey."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_survey as tiny
from astropy.io import fits
from real_files import APSTAR

from apogaia.formats.apstar import Status, read_apstar
from apogaia.reduction.normalised_spectra import BLOCK_ROWS, read_spectra
from apogaia.reduction.reduce import reduce_survey
from apogaia.reduction.stars_h5 import open_stars
from apogaia.survey import load_survey

SETTINGS = load_survey("smoke").spectra


def write_stars(folder, n):
    """apStar files of stars that differ, the last one blank."""
    rng = np.random.default_rng(4)
    paths = [folder / f"apStar-r8-2M{i:08d}+0000000.fits" for i in range(n)]
    for i, path in enumerate(paths):
        flux, error, mask = tiny.spectrum(rng)
        tiny.write_apstar(path, path.stem.split("-")[-1], flux * (i < n - 1), error, mask, unread_rows=1)
    return paths


def test_a_star_has_the_same_bits_alone_and_anywhere_in_a_batch(tmp_path):
    paths = write_stars(tmp_path, 12)
    many = [*paths[:5], *paths * 9][: BLOCK_ROWS + 7]  # more than a block, and each star at several places
    together = read_spectra(many, SETTINGS)
    for path in paths[:-1]:
        alone = read_spectra([path], SETTINGS).flux[0]
        assert np.isfinite(alone).all()
        places = [i for i, other in enumerate(many) if other == path]
        assert len(places) > 5
        for i in places:
            assert together.flux[i].tobytes() == alone.tobytes()


def test_faults_do_not_move_and_headers_stay_with_their_stars(tmp_path):
    paths = write_stars(tmp_path, 3)
    read = read_spectra([paths[2], tmp_path / "nothing.fits", paths[0]], SETTINGS)
    assert read.status.tolist() == [Status.BLANK, Status.NO_FILE, Status.OK]
    assert [bool(fault) for fault in read.fault] == [True, True, False]
    assert np.isnan(read.flux[:2]).all() and read.headers[2]["apogee_id"] == "2M00000000+0000000"


def test_visits_are_normalised_as_combined_spectra_are(tmp_path):
    rng = np.random.default_rng(6)
    rows = [np.stack(arrays) for arrays in zip(*(tiny.spectrum(rng) for _ in range(5)), strict=True)]
    rows[0][3] = 0  # the second visit
    path = tmp_path / "apStar-r8-2M1.fits"
    tiny.write_apstar(path, "2M1", rows[0][0], rows[1][0], rows[2][0], visits=3)
    with fits.open(path, mode="update") as hdus:
        for hdu, values in zip(hdus[1:4], rows, strict=True):
            hdu.data[:] = values
    missing = tmp_path / "nothing.fits"
    read = read_spectra([path, missing, path], SETTINGS, visits=True)
    assert read.file.tolist() == [0] * 4 + [1] + [2] * 4 and read.visit.tolist() == [0, 1, 2, 3, 0, 0, 1, 2, 3]
    good, blank = Status.OK, Status.BLANK
    assert read.status.tolist() == [good, good, blank, good, Status.NO_FILE, good, good, blank, good]
    assert [bool(fault) for fault in read.fault] == (read.status != 0).tolist()
    np.testing.assert_array_equal(read.flux[:4], read.flux[5:])
    assert read.flux[0].tobytes() == read_spectra([path], SETTINGS).flux[0].tobytes()
    for visit in (1, 3):  # as a star of its own
        alone = tmp_path / f"apStar-r8-2M{visit}.fits"
        tiny.write_apstar(alone, f"2M{visit}", *(array[1 + visit] for array in rows))
        assert read_spectra([alone], SETTINGS).flux[0].tobytes() == read.flux[visit].tobytes()


def test_blocks_of_visits_and_of_files_end_anywhere(tmp_path):
    paths = [tmp_path / f"apStar-r8-2M{i}.fits" for i in range(2)]
    for i, path in enumerate(paths):
        tiny.write_apstar(path, f"2M{i}", *tiny.spectrum(np.random.default_rng(i)), visits=2, layout="dr17")
    many = [paths[i % 2] for i in range(BLOCK_ROWS // 3 + 5)]
    read = read_spectra(many, SETTINGS, visits=True)
    assert len(read.flux) == 3 * len(many) > BLOCK_ROWS and (read.status == 0).all()
    for i in range(2):
        alone = read_spectra([paths[i]], SETTINGS).flux[0]
        assert (read.flux[read.file % 2 == i] == alone).all()


def test_a_survey_has_the_bits_of_its_stars_alone(tmp_path):
    survey, workspace = tiny.write_tiny_survey(tmp_path)
    with open_stars(reduce_survey(survey, workspace, processes=1, progress=False)) as stars:
        good = np.flatnonzero(np.asarray(stars.table["status"]) == Status.OK)
        assert len(good) > 5
        for i in good.tolist():
            row = stars.table[i]
            names = ("apogee_id", "location_id", "telescope", "field", "spectrum_file")
            path = workspace.apstar(*(row[name].item() for name in names))
            assert read_spectra([path], survey.spectra).flux[0].tobytes() == stars.spectra[i].tobytes()


@pytest.mark.parametrize("visits", [1, 3])
@pytest.mark.parametrize("layout", ["dr17", "dr19"])
def test_the_same_data_give_the_same_spectrum_in_any_layout(tmp_path, layout, visits):
    flux, error, mask = tiny.spectrum(np.random.default_rng(5))
    dr17 = replace(SETTINGS, combined_row=0)
    paths = [tmp_path / where / "apStar-r8-2M1.fits" for where in ("dr14", layout)]
    for path in paths:
        tiny.write_apstar(path, "2M1", flux, error, mask, visits, layout=path.parent.name)
    expected = read_spectra(paths[:1], SETTINGS).flux[0]
    assert np.count_nonzero(expected == 1) > 100  # masked pixels
    for settings in (SETTINGS, dr17):  # a survey's files, and files handed to the other release's model
        assert read_spectra(paths[1:], settings).flux[0].tobytes() == expected.tobytes()


@pytest.mark.parametrize(("release", "row"), [("dr14", 1), ("dr17", 0), ("dr19", 0)])
def test_of_two_good_combinations_the_release_says_which_is_read(tmp_path, release, row):
    flux, error, mask = tiny.spectrum(np.random.default_rng(5))
    path = tmp_path / "apStar-r8-2M1.fits"
    tiny.write_apstar(path, "2M1", flux, error, mask, 3)  # in DR14's layout, with a mask for either row
    settings = replace(load_survey(release).spectra, continuum_pixels="dr14", max_abs_flux=np.inf)
    with fits.open(path) as hdus:
        rows = [np.array(hdus[i].data[row]) for i in (1, 2, 3)]
    alone = tmp_path / "alone" / path.name
    tiny.write_apstar(alone, "2M1", *rows)
    normalised = read_spectra([path], settings).flux[0]
    assert np.isfinite(normalised).all() and normalised.tobytes() == read_spectra([alone], settings).flux[0].tobytes()


@pytest.mark.parametrize("name", APSTAR)
def test_real_data_give_the_same_spectrum_in_the_layout_of_dr17(realdata, tmp_path, name):
    star = read_apstar(realdata / name)
    path = tmp_path / name
    tiny.write_apstar(path, star.header["apogee_id"], star.flux, star.error, star.mask, star.n_visits, layout="dr17")
    dr14, dr17 = (replace(SETTINGS, continuum_pixels="dr17", combined_row=row) for row in (1, 0))
    expected = np.load(realdata / "expected_normalised.npz")[f"{star.header['apogee_id']}_dr17"]
    normalised = read_spectra([path], dr17).flux[0]
    assert normalised.tobytes() == read_spectra([realdata / name], dr14).flux[0].tobytes()
    np.testing.assert_allclose(normalised, expected, rtol=0, atol=1e-6)
    with fits.open(path) as hdus:
        assert not hdus[3].data[1].any()
