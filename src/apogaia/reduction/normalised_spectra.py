"""From the file of a star to its normalised spectrum: the single code path for surveys and individual stars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from apogaia.arguments.plain import file_paths
from apogaia.arguments.takes import takes
from apogaia.formats.apstar import ApStar, SpectrumError, Status, read_apstar, read_visits
from apogaia.formats.pixel_grid import N_PIXELS, N_PIXELS_APSTAR
from apogaia.reduction.continuum import apogee_continuum
from apogaia.survey import SpectraSettings

__all__ = ["NormalisedSpectra", "read_spectra"]

# Spectra normalised together. Always this many, padded with blank rows: matrix libraries choose their kernels by the
# size of a batch, and a star read alone would differ in its last bits from the same star in a survey.
BLOCK_ROWS = 100


@dataclass(frozen=True)
class NormalisedSpectra:
    """Spectra of n files, or of the combinations and visits in them: a row for each spectrum."""

    flux: np.ndarray  # (n, 7514) float32; NaN where there is no spectrum
    status: np.ndarray  # (n,) int8, `Status`
    fault: list[str]  # what is wrong, without the file's name; empty where nothing is
    headers: list[Mapping]  # of `read_apstar` or `read_visits`; empty where the file cannot be read
    file: np.ndarray  # (n,) which of the files, from 0
    visit: np.ndarray  # (n,) number of the visit, from 1; 0: the combination


@takes(paths=file_paths)
def read_spectra(paths: Sequence[str | Path], settings: SpectraSettings, *, visits: bool = False) -> NormalisedSpectra:
    """Read apStar files and normalise their spectra.

    A spectrum has the same bits whatever others are read with it. Memory use is that of the result plus 100 spectra;
    with visits, whose number is known at the end alone, up to half as much again.

    Parameters
    ----------
    paths
        apStar or asStar files.
    settings
        The survey's section ``spectra``.
    visits
        Each file's combined spectrum is followed by its visits (`apogaia.formats.apstar.read_visits`). A file that
        cannot be read has its combined spectrum's row, and a row for each visit that its header still states.
    """
    about = _Rows([], [], [], [], [])
    rows = _normalised(_spectra_of(paths, settings, visits), settings, about)
    flux = np.fromiter(rows, np.dtype((np.float32, N_PIXELS)), count=-1 if visits else len(paths))
    status, fault = np.array(about.status, np.int8), about.fault
    flux[status != Status.OK] = np.nan
    for i in np.flatnonzero((status == Status.OK) & np.isnan(flux[:, 0])).tolist():
        status[i], fault[i] = Status.NO_CONTINUUM, Status.NO_CONTINUUM.reason
    return NormalisedSpectra(
        flux, status, fault, about.headers, np.array(about.file, np.int64), np.array(about.visit, np.int64)
    )


class _Rows(NamedTuple):
    """What is noted of each spectrum while it is read."""

    status: list[int]
    fault: list[str]
    headers: list[Mapping]
    file: list[int]
    visit: list[int]


def _spectra_of(
    paths: Sequence[str | Path], settings: SpectraSettings, visits: bool
) -> Iterator[tuple[int, ApStar | SpectrumError]]:
    """Each file's number with its combined spectrum, and with those of its visits if they are wanted."""
    bits, row = settings.masked_bits, settings.combined_row
    for i, path in enumerate(paths):
        if visits:
            yield from ((i, spectrum) for spectrum in read_visits(path, masked_bits=bits, combined_row=row))
            continue
        try:
            yield i, read_apstar(path, masked_bits=bits, combined_row=row)
        except SpectrumError as refusal:
            yield i, refusal


def _normalised(
    spectra: Iterator[tuple[int, ApStar | SpectrumError]], settings: SpectraSettings, about: _Rows
) -> Iterator[np.ndarray]:
    """Normalise the spectra in blocks, and note what else is known of each."""
    while block := list(islice(spectra, BLOCK_ROWS)):
        raw_flux, raw_error = np.zeros((2, BLOCK_ROWS, N_PIXELS_APSTAR), dtype=np.float32)
        mask = np.zeros((BLOCK_ROWS, N_PIXELS_APSTAR), dtype=np.int32)
        for k, (i, star) in enumerate(block):
            if isinstance(star, SpectrumError):
                about.status.append(star.status)
                about.fault.append(star.detail)
            else:
                raw_flux[k], raw_error[k], mask[k] = star.flux, star.error, star.mask
                about.status.append(Status.OK)
                about.fault.append("")
            about.headers.append(star.header)
            about.file.append(i)
            about.visit.append(star.visit)
        yield from apogee_continuum(raw_flux, raw_error, mask, settings=settings)[0][: len(block)]
