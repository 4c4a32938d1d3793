"""One road for a spectrum: a star has the same bits alone, in a batch, and in a survey."""

import numpy as np
import tiny_survey as tiny

from apogaia.formats.apstar import Status
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
