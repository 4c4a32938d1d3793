"""From the file of a star to its normalised spectrum: the single code path for surveys and individual stars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from apogaia.arguments.plain import file_paths
from apogaia.arguments.takes import takes
from apogaia.formats.apstar import SpectrumError, Status, read_apstar
from apogaia.formats.pixel_grid import N_PIXELS, N_PIXELS_APSTAR
from apogaia.reduction.continuum import apogee_continuum
from apogaia.survey import SpectraSettings

__all__ = ["NormalisedSpectra", "read_spectra"]

# Spectra normalised together. Always this many, padded with blank rows: matrix libraries choose their kernels by the
# size of a batch, and a star read alone would differ in its last bits from the same star in a survey.
BLOCK_ROWS = 100


@dataclass(frozen=True)
class NormalisedSpectra:
    """Spectra of n files."""

    flux: np.ndarray  # (n, 7514) float32; NaN where there is no spectrum
    status: np.ndarray  # (n,) int8, `Status`
    fault: list[str]  # what is wrong, without the file's name; empty where nothing is
    headers: list[Mapping]  # of `read_apstar`; empty where the file cannot be read


@takes(paths=file_paths)
def read_spectra(paths: Sequence[str | Path], settings: SpectraSettings) -> NormalisedSpectra:
    """Read apStar files and normalise their spectra.

    A star has the same bits whatever other files are read with it. Memory use is that of the result plus 100 spectra.

    Parameters
    ----------
    paths
        apStar or asStar files.
    settings
        The survey's section ``spectra``.
    """
    n = len(paths)
    flux = np.full((n, N_PIXELS), np.nan, dtype=np.float32)
    status, fault = np.zeros(n, dtype=np.int8), [""] * n
    headers: list[Mapping] = [{} for _ in range(n)]
    for start in range(0, n, BLOCK_ROWS):
        raw_flux, raw_error = np.zeros((2, BLOCK_ROWS, N_PIXELS_APSTAR), dtype=np.float32)
        mask = np.zeros((BLOCK_ROWS, N_PIXELS_APSTAR), dtype=np.int32)
        stop = min(start + BLOCK_ROWS, n)
        for k, i in enumerate(range(start, stop)):
            try:
                star = read_apstar(paths[i], masked_bits=settings.masked_bits, combined_row=settings.combined_row)
            except SpectrumError as error:
                status[i], fault[i], headers[i] = error.status, error.detail, error.header
            else:
                raw_flux[k], raw_error[k], mask[k] = star.flux, star.error, star.mask
                headers[i] = star.header
        flux[start:stop] = apogee_continuum(raw_flux, raw_error, mask, settings=settings)[0][: stop - start]
    flux[status != Status.OK] = np.nan
    for i in np.flatnonzero((status == Status.OK) & np.isnan(flux[:, 0])).tolist():
        status[i], fault[i] = Status.NO_CONTINUUM, Status.NO_CONTINUUM.reason
    return NormalisedSpectra(flux, status, fault, headers)
