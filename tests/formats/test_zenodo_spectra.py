"""The paper's released spectra in place of apStar files: every row of allStar, its own spectrum or a reason."""

import h5py
import numpy as np
import pytest

from apogaia.formats.apstar import Status
from apogaia.formats.fits_columns import ReductionError
from apogaia.formats.pixel_grid import N_PIXELS
from apogaia.formats.zenodo_spectra import NOT_RELEASED, ReleasedSpectra

N = 12
RA, DEC = np.linspace(0, 330, N), np.linspace(-80, 80, N)


def write(path, index, spectra=None, ra=None, dec=None):
    index = np.asarray(index)
    if spectra is None:
        spectra = index[:, None] + np.zeros(N_PIXELS)
    with h5py.File(path, "w") as file:
        file["spectra"] = spectra.astype("f4")
        file["allstar_idx"] = index
        file["RA"] = RA[index] if ra is None else ra
        file["DEC"] = DEC[index] if dec is None else dec
    return path


def test_spectra_go_to_their_rows_from_both_files(tmp_path):
    paths = [write(tmp_path / "train.h5", [7, 2, 9]), write(tmp_path / "test.h5", [0, 11])]
    released = ReleasedSpectra(paths, RA, DEC)
    spectra, status, reason = released.read(slice(0, N))
    have = [0, 2, 7, 9, 11]
    assert np.flatnonzero(status == Status.OK).tolist() == have
    np.testing.assert_array_equal(spectra[have, 0], have)
    assert np.isnan(np.delete(spectra, have, axis=0)).all()
    assert reason == ["" if i in have else NOT_RELEASED for i in range(N)]
    part, _, _ = released.read(slice(6, 10))
    np.testing.assert_array_equal(part, spectra[6:10])


def test_the_training_set_counts_where_both_have_a_star(tmp_path):
    test = write(tmp_path / "test.h5", [3], np.full((1, N_PIXELS), 5.0))
    released = ReleasedSpectra([write(tmp_path / "train.h5", [3]), test], RA, DEC)
    assert released.read(slice(3, 4))[0][0, 0] == 3


def test_a_spectrum_that_is_not_finite_is_flagged(tmp_path):
    spectra = np.ones((2, N_PIXELS))
    spectra[1, 17] = np.nan
    released = ReleasedSpectra([write(tmp_path / "train.h5", [4, 5], spectra)], RA, DEC)
    spectra, status, reason = released.read(slice(4, 6))
    assert status.tolist() == [Status.OK, Status.NO_CONTINUUM] and np.isnan(spectra[1]).all()
    assert reason[1] == "train.h5: the released spectrum is not finite everywhere"


def test_right_ascensions_on_both_sides_of_zero_are_near(tmp_path):
    ReleasedSpectra([write(tmp_path / "train.h5", [0], ra=[359.9999])], RA, DEC)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"index": [N + 3], "ra": [0.0], "dec": [0.0]}, "allstar_idx goes to 15, allStar has 12 rows"),
        ({"index": [4], "ra": [RA[5]], "dec": [DEC[5]]}, "lies elsewhere than row 4"),
        ({"index": [4], "ra": [np.nan]}, "lies elsewhere than row 4"),
        ({"index": [4], "spectra": np.ones((1, 7513))}, "7513"),
        ({"index": [4, 5], "spectra": np.ones((1, N_PIXELS))}, "not 2 times"),
    ],
    ids=["row beyond allStar", "another allStar", "no position", "other pixels", "a spectrum missing"],
)
def test_files_of_another_release_are_refused(tmp_path, change, said):
    path = write(tmp_path / "train.h5", **change)
    with pytest.raises(ReductionError, match=said):
        ReleasedSpectra([path], RA, DEC)


def test_a_damaged_file_is_named(tmp_path):
    path = write(tmp_path / "train.h5", [1])
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ReductionError, match=r"train\.h5 cannot be read .*remove it"):
        ReleasedSpectra([path], RA, DEC)
