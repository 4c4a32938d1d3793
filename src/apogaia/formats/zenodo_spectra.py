"""The paper's training and test spectra as released on Zenodo, in place of one apStar file per star.

Each of the two HDF5 files holds `spectra` (n, 7514), continuum-normalised, and `allstar_idx`, the row of allStar that a
spectrum belongs to; RA and DEC [deg] confirm it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from astropy import units as u

from apogaia.arguments.plain import file_paths
from apogaia.arguments.takes import takes
from apogaia.formats.apstar import Status
from apogaia.formats.fits_columns import ReductionError
from apogaia.formats.pixel_grid import N_PIXELS

__all__ = ["ReleasedSpectra"]

NOT_RELEASED = "neither in the released training nor test set"
SAME_PLACE = 1 / 3600  # deg


class ReleasedSpectra:
    """Which released spectrum is which row of allStar.

    Parameters
    ----------
    paths
        The HDF5 files; where two hold the same row, the first counts.
    ra, dec
        (n,) positions of allStar's rows [deg].

    Raises
    ------
    ReductionError
        If a file cannot be read, lacks a dataset, has another number of pixels, or names rows of another allStar.
    """

    @takes(paths=file_paths, ra=u.deg, dec=u.deg)
    def __init__(self, paths: Sequence[Path], ra: np.ndarray, dec: np.ndarray):
        self.paths = list(paths)
        self.file = np.full(len(ra), -1, dtype=np.int8)
        self.row = np.zeros(len(ra), dtype=np.int64)
        for k in reversed(range(len(self.paths))):
            index, their_ra, their_dec = self._read(self.paths[k])
            if len(index) and (index.min() < 0 or index.max() >= len(ra)):
                raise ReductionError(f"{self.paths[k]}: allstar_idx goes to {index.max()}, allStar has {len(ra)} rows")
            off_ra = np.abs((their_ra - ra[index] + 180) % 360 - 180) * np.cos(np.radians(dec[index]))
            off = np.flatnonzero(~(np.hypot(off_ra, their_dec - dec[index]) < SAME_PLACE))
            if len(off):
                raise ReductionError(
                    f"{self.paths[k]}: spectrum {off[0]} lies elsewhere than row {index[off[0]]} of allStar:"
                    " both must be of DR14's release l31c.2; fetch them again"
                )
            self.file[index], self.row[index] = k, np.arange(len(index))

    @staticmethod
    def _read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        try:
            with h5py.File(path, "r") as file:
                shape = file["spectra"].shape
                index, ra, dec = (np.asarray(file[name]) for name in ("allstar_idx", "RA", "DEC"))
        except (OSError, KeyError) as fault:
            raise ReductionError(f"{path} cannot be read ({fault}): remove it and run `apogaia fetch` again") from fault
        if len(shape) != 2 or shape[1] != N_PIXELS or not len(index) == len(ra) == len(dec) == shape[0]:
            raise ReductionError(f"{path}: spectra are {shape} and not {len(index)} times {N_PIXELS} pixels")
        return index.astype(np.int64), ra.astype(float), dec.astype(float)

    def read(self, rows: slice) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Spectra, status and reason of a range of allStar's rows, as `apogaia.reduction.reduce_spectra` gives them."""
        files, places = self.file[rows], self.row[rows]
        spectra = np.full((len(files), N_PIXELS), np.nan, dtype=np.float32)
        for k, path in enumerate(self.paths):
            chosen = np.flatnonzero(files == k)
            order = chosen[np.argsort(places[chosen])]
            if len(order):
                with h5py.File(path, "r") as file:
                    spectra[order] = file["spectra"][places[order]]
        status = np.where(files >= 0, Status.OK, Status.NO_FILE).astype(np.int8)
        reason = np.where(files >= 0, "", NOT_RELEASED).tolist()
        for i in np.flatnonzero((files >= 0) & ~np.isfinite(spectra).all(axis=1)):
            spectra[i], status[i] = np.nan, Status.NO_CONTINUUM
            reason[i] = f"{self.paths[files[i]].name}: the released spectrum is not finite everywhere"
        return spectra, status, reason
