"""APOGEE's combined spectra: the pixel grid, bit masks, continuum normalisation, and reading apStar files."""

from __future__ import annotations

import enum
import functools
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning
from numpy.polynomial import chebyshev

from apogaia.survey import Spectra

__all__ = [
    "DETECTORS",
    "N_PIXELS",
    "N_PIXELS_APSTAR",
    "ApStar",
    "SpectrumError",
    "Status",
    "apogee_continuum",
    "bitmask_boolean",
    "continuum_pixels",
    "detector_slices",
    "element_window",
    "gap_delete",
    "read_apstar",
    "wavelength_solution",
]

_PIXELS = json.loads((resources.files("apogaia") / "facts" / "apogee_pixels.json").read_text(encoding="utf-8"))

LOG10_WAVELENGTH_START = 4.179  # log10 of the first pixel's vacuum wavelength in Angstrom (apStar data model)
LOG10_WAVELENGTH_STEP = 6e-6

N_PIXELS_APSTAR = 8575
DETECTORS: dict[str, slice] = {name: slice(*edges) for name, edges in _PIXELS["chips_8575"].items()}
N_PIXELS = sum(detector.stop - detector.start for detector in DETECTORS.values())

UNUSABLE_ERROR = 1e9  # bad pixels carry an error of 1e10 in apStar files
MIN_USABLE_PIXELS = 100  # in each detector: with fewer the continuum would be a guess


def wavelength_solution() -> np.ndarray:
    """Vacuum wavelengths of the apStar grid, (8575,) Angstrom; `gap_delete` trims them to the detectors."""
    return 10.0 ** (LOG10_WAVELENGTH_START + LOG10_WAVELENGTH_STEP * np.arange(N_PIXELS_APSTAR))


def gap_delete(array: np.ndarray) -> np.ndarray:
    """Drop the pixels outside the three detectors: (..., 8575) -> (..., 7514)."""
    array = np.asarray(array)
    if array.shape[-1] != N_PIXELS_APSTAR:
        raise ValueError(f"the last axis must have {N_PIXELS_APSTAR} pixels, not {array.shape[-1]}")
    return np.concatenate([array[..., detector] for detector in DETECTORS.values()], axis=-1)


def detector_slices() -> dict[str, slice]:
    """The detectors in the numbering of the 7514 pixels that `gap_delete` leaves."""
    widths = [detector.stop - detector.start for detector in DETECTORS.values()]
    edges = np.concatenate([[0], np.cumsum(widths)]).tolist()
    return {name: slice(*edges[i : i + 2]) for i, name in enumerate(DETECTORS)}


def bitmask_boolean(mask: np.ndarray, bits: Sequence[int]) -> np.ndarray:
    """Whether any of `bits` is set in APOGEE_PIXMASK, an integer array; boolean, of the same shape."""
    mask = np.asarray(mask)
    value = sum(1 << bit for bit in set(bits))
    if value > np.iinfo(mask.dtype).max:
        mask = mask.astype(np.int64)
    return (mask & mask.dtype.type(value)) != 0


def _from_runs(runs: Sequence[Sequence[int]]) -> np.ndarray:
    chosen = np.zeros(N_PIXELS, dtype=bool)
    for start, stop in runs:
        chosen[start:stop] = True
    return chosen


def continuum_pixels(name: str) -> np.ndarray:
    """The continuum pixels of data release "dr13", "dr14", "dr16" or "dr17", boolean (7514,)."""
    if name not in _PIXELS["continuum"]:
        raise ValueError(f"no continuum pixels called {name!r}; there are {', '.join(_PIXELS['continuum'])}")
    return _from_runs(_PIXELS["continuum"][name])


def element_window(element: str) -> np.ndarray:
    """The pixels that ASPCAP's window of an element ("Mg", "CI", "TiII") weighs, boolean (7514,)."""
    if element not in _PIXELS["element_windows"]:
        raise ValueError(f"no window for {element!r}; there are {', '.join(_PIXELS['element_windows'])}")
    return _from_runs(_PIXELS["element_windows"][element])


# --- continuum normalisation ------------------------------------------------------------------------------------------

_BLOCK = 32  # spectra normalised together: a detector's temporaries stay in the processor's cache


@functools.cache
def _detector_bases(name: str, degree: int) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], ...]:
    """For each detector: its continuum pixels, the Chebyshev basis at these (c, k), and at all pixels (k, pixels)."""
    chosen = continuum_pixels(name)
    bases = []
    for detector in detector_slices().values():
        x = np.linspace(-1.0, 1.0, detector.stop - detector.start)
        pixels = np.flatnonzero(chosen[detector])
        bases.append((pixels, chebyshev.chebvander(x[pixels], degree), chebyshev.chebvander(x, degree).T))
    return tuple(bases)


def _fit(flux: np.ndarray, error: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Weighted least squares of each row of `flux` (n, c) on `basis` (c, k), with weights 1 / error^4: (n, k).

    Rows with fewer usable pixels than coefficients give NaN. The normal equations serve while they are well
    conditioned; the few rows whose weight rests on a handful of pixels go through a singular value decomposition.
    """
    k = basis.shape[1]
    usable = np.isfinite(flux) & (error > 0) & (error < np.inf)
    flux = np.where(usable, flux, 0.0)
    error = np.where(usable, error, np.inf)
    smallest = error.min(axis=1, keepdims=True, initial=np.inf)
    smallest[~np.isfinite(smallest)] = 1.0
    root_weight = np.square(smallest / error)  # only ratios of the weights count
    weight = np.square(root_weight)

    products = (basis[:, :, None] * basis[:, None, :]).reshape(-1, k * k)
    normal = (weight @ products).reshape(-1, k, k)
    right = (weight * flux) @ basis
    scale = np.sqrt(np.diagonal(normal, axis1=1, axis2=2))
    scale = np.where(scale > 0, scale, 1.0)
    normal /= scale[:, :, None] * scale[:, None, :]

    enough = np.count_nonzero(usable, axis=1) >= k
    well = enough & (np.linalg.det(normal) > 1e-6)
    coefficients = np.full((len(flux), k), np.nan)
    coefficients[well] = np.linalg.solve(normal[well], (right / scale)[well][..., None])[..., 0] / scale[well]
    for i in np.flatnonzero(enough & ~well):
        design = basis * root_weight[i][:, None]
        length = np.sqrt(np.square(design).sum(axis=0))
        length[length == 0] = 1.0
        rcond = len(design) * np.finfo(float).eps
        coefficients[i] = np.linalg.lstsq(design / length, flux[i] * root_weight[i], rcond=rcond)[0] / length
    return coefficients


def apogee_continuum(
    flux: np.ndarray, error: np.ndarray, mask: np.ndarray, *, spectra: Spectra
) -> tuple[np.ndarray, np.ndarray]:
    """Divide spectra by their pseudo-continuum and set bad pixels to it, whole batches at once.

    Per detector a Chebyshev polynomial goes through the continuum pixels, masked ones included, with weights
    1 / error^4 (what the paper's spectra were made with: a fit that squares its weights was given 1 / error^2). Then
    negative flux becomes 0; non-finite, masked, and clipped pixels become 1 (Leung & Bovy 2019b, section 3.1).

    Parameters
    ----------
    flux, error
        (n, 8575) or (8575,), or already trimmed to 7514 pixels; in any unit, the same for both.
    mask
        APOGEE_PIXMASK, integers of the same shape.
    spectra
        The survey's settings: set of continuum pixels, degree, masked bits, clipping.

    Returns
    -------
    flux, error
        Normalised, float32, (n, 7514) or (7514,). A spectrum whose continuum is not positive throughout, or cannot be
        fitted, is NaN in both.
    """
    single = np.ndim(flux) == 1
    flux, error = (np.atleast_2d(np.asarray(array, dtype=np.float32)) for array in (flux, error))
    mask = np.atleast_2d(mask)
    if not flux.shape == error.shape == mask.shape or flux.shape[-1] not in (N_PIXELS, N_PIXELS_APSTAR):
        raise ValueError(
            f"flux, error and mask must share a shape of {N_PIXELS_APSTAR} or {N_PIXELS} pixels, "
            f"not {flux.shape}, {error.shape}, {mask.shape}"
        )
    trimmed = detector_slices()
    sources = trimmed if flux.shape[-1] == N_PIXELS else DETECTORS
    limit = np.float32(min(spectra.max_abs_flux, np.finfo(np.float32).max))
    normalised, normalised_error = np.empty((2, len(flux), N_PIXELS), dtype=np.float32)
    positive = np.ones(len(flux), dtype=bool)

    bases = _detector_bases(spectra.continuum_pixels, spectra.continuum_degree)
    for name, (pixels, basis, basis_everywhere) in zip(DETECTORS, bases, strict=True):
        at = pixels + sources[name].start
        coefficients = _fit(flux[:, at].astype(float), error[:, at].astype(float), basis).astype(np.float32)
        basis_everywhere = basis_everywhere.astype(np.float32)
        for start in range(0, len(flux), _BLOCK):
            rows = slice(start, start + _BLOCK)
            continuum = coefficients[rows] @ basis_everywhere
            positive[rows] &= continuum.min(axis=1) > 0
            out = normalised[rows, trimmed[name]]
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                np.divide(flux[rows, sources[name]], continuum, out=out)
                np.divide(error[rows, sources[name]], continuum, out=normalised_error[rows, trimmed[name]])
            np.maximum(out, 0, out=out)
            bad = ~(out <= limit)  # true for NaN, too
            bad |= bitmask_boolean(mask[rows, sources[name]], spectra.masked_bits)
            np.copyto(out, np.float32(1), where=bad)
    normalised[~positive] = np.nan
    normalised_error[~positive] = np.nan
    return (normalised[0], normalised_error[0]) if single else (normalised, normalised_error)


# --- apStar files -----------------------------------------------------------------------------------------------------


class Status(enum.IntEnum):
    """What became of a star's spectrum; the numbers are part of the products and never change their meaning."""

    OK = 0
    NO_FILE = 1
    UNREADABLE = 2
    NOT_APSTAR = 3
    WRONG_STAR = 4
    BLANK = 5
    BAD_ERRORS = 6
    TOO_FEW_PIXELS = 7
    NO_CONTINUUM = 8

    @property
    def reason(self) -> str:
        """One line for people."""
        return _REASONS[self]


_REASONS = {
    Status.OK: "spectrum is good",
    Status.NO_FILE: "there is no apStar file",
    Status.UNREADABLE: "the file cannot be read or is cut short",
    Status.NOT_APSTAR: "the file is not an apStar file",
    Status.WRONG_STAR: "the file holds another star",
    Status.BLANK: "the spectrum is blank: no pixel differs from zero",
    Status.BAD_ERRORS: "pixels with flux have no positive error",
    Status.TOO_FEW_PIXELS: "a detector has too few usable pixels",
    Status.NO_CONTINUUM: "the continuum is not positive",
}

_FETCH_AGAIN = "get the star's apStar file again from where it came (SAS, or `apogaia mock`)"
_AS_RELEASED = "nothing to do if it was released so: the star is flagged and has no distance"
_REMEDIES = {
    Status.NO_FILE: "get it from SAS (data/README.md), or run `apogaia mock`",
    Status.UNREADABLE: _FETCH_AGAIN,
    Status.NOT_APSTAR: _FETCH_AGAIN,
    Status.WRONG_STAR: _FETCH_AGAIN,
    Status.BLANK: _AS_RELEASED,
    Status.BAD_ERRORS: _AS_RELEASED,
    Status.TOO_FEW_PIXELS: _AS_RELEASED,
    Status.NO_CONTINUUM: _AS_RELEASED,
}


class SpectrumError(ValueError):
    """A spectrum that cannot be used: `status` says why, `detail` what was found; the message adds file and remedy."""

    def __init__(self, status: Status, path: str | Path, detail: str = ""):
        self.status = status
        self.detail = f"{status.reason} ({detail})" if detail else status.reason
        super().__init__(f"{path}: {self.detail}; {_REMEDIES[status]}")


@dataclass(frozen=True)
class ApStar:
    """One star's combined spectrum: flux and error [1e-17 erg/s/cm^2/Angstrom], APOGEE_PIXMASK, each (8575,)."""

    flux: np.ndarray
    error: np.ndarray
    mask: np.ndarray
    n_visits: int
    header: dict  # the cards of `_CARDS`; None where the header lacks one


_CARDS = {
    "apogee_id": "OBJID",
    "telescope": "TELESCOP",
    "location_id": "LOCID",
    "field": "FIELD",
    "ra": "RA",
    "dec": "DEC",
    "glon": "GLON",
    "glat": "GLAT",
    "j_mag": "J",
    "h_mag": "H",
    "k_mag": "K",
    "a_k_targ": "AKTARG",  # not in older headers
    "snr": "SNR",
    "starflag": "STARFLAG",
    "v_helio": "VHELIO",
    "v_scatter": "VSCATTER",
}

_FILE_NAME = re.compile(r"a[ps]Star-[^-]+-(?P<apogee_id>.+)\.fits")


def read_apstar(path: str | Path) -> ApStar:
    """Read the combined spectrum of an apStar file: the globally weighted one where there were several visits.

    Raises
    ------
    SpectrumError
        If the file is missing, unreadable or cut short, not an apStar file, of another star than its name says, or if
        the spectrum is blank, lacks errors, or leaves a detector without usable pixels. A file cut short behind
        the three arrays that are read goes unnoticed.
    """
    path = Path(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyUserWarning)  # of truncation: an error or harmless here
        try:
            with open(path, "rb") as handle, fits.open(handle, memmap=False) as hdus:
                primary = hdus[0].header
                n_visits = primary.get("NVISITS")
                header = {key: primary.get(card) for key, card in _CARDS.items()}
                flux, error, mask = (_combined(hdus, i, path) for i in (1, 2, 3))
        except FileNotFoundError:
            raise SpectrumError(Status.NO_FILE, path) from None
        except SpectrumError:
            raise
        except (OSError, TypeError, ValueError, KeyError, fits.VerifyError) as fault:
            found = str(fault).replace(str(path), path.name).partition("\n")[0]
            raise SpectrumError(Status.UNREADABLE, path, found) from fault
    if not isinstance(n_visits, int) or header["apogee_id"] is None:
        raise SpectrumError(Status.NOT_APSTAR, path, "no card NVISITS or OBJID")
    name = _FILE_NAME.fullmatch(path.name)
    if name and name["apogee_id"] != str(header["apogee_id"]).strip():
        raise SpectrumError(Status.WRONG_STAR, path, f"OBJID is {header['apogee_id']}")
    if mask.dtype.kind not in "iu":
        raise SpectrumError(Status.NOT_APSTAR, path, "HDU 3 is not a bit mask")
    with np.errstate(over="ignore"):  # infinite, hence bad, in single precision
        star = ApStar(flux.astype(np.float32), error.astype(np.float32), mask.astype(np.int32), n_visits, header)
    _check_pixels(star, path)
    return star


def _combined(hdus: fits.HDUList, index: int, path: Path) -> np.ndarray:
    """The combined spectrum in one HDU, (8575,), after a check that the HDU is on the apStar grid."""
    try:
        hdu = hdus[index]
    except IndexError:
        raise SpectrumError(Status.NOT_APSTAR, path, f"no HDU {index}") from None
    shape = hdu.shape if isinstance(hdu, (fits.ImageHDU, fits.CompImageHDU)) else ()
    if len(shape) not in (1, 2) or shape[-1] != N_PIXELS_APSTAR or 0 in shape:
        raise SpectrumError(Status.NOT_APSTAR, path, f"HDU {index} does not hold {N_PIXELS_APSTAR} pixels")
    grid = hdu.header.get("CRVAL1"), hdu.header.get("CDELT1")
    if index == 1 and not (
        None not in grid and np.allclose(grid, (LOG10_WAVELENGTH_START, LOG10_WAVELENGTH_STEP), rtol=1e-9, atol=0)
    ):
        raise SpectrumError(Status.NOT_APSTAR, path, f"CRVAL1, CDELT1 are {grid[0]}, {grid[1]}")
    # Rows are [pixel-weighted combination, globally weighted combination, visit 1, ...]; one visit is 1-D.
    return hdu.data if len(shape) == 1 else hdu.data[min(1, shape[0] - 1)]


def _check_pixels(star: ApStar, path: Path) -> None:
    flux, error = gap_delete(star.flux), gap_delete(star.error)
    lit = np.isfinite(flux) & (flux != 0)
    if not lit.any():
        raise SpectrumError(Status.BLANK, path)
    without_error = np.count_nonzero(lit & ~(error > 0))
    if without_error:
        raise SpectrumError(Status.BAD_ERRORS, path, f"{without_error} pixels")
    usable = lit & (error < UNUSABLE_ERROR)
    for name, detector in detector_slices().items():
        count = np.count_nonzero(usable[detector])
        if count < MIN_USABLE_PIXELS:
            raise SpectrumError(Status.TOO_FEW_PIXELS, path, f"{count} in the {name} one")
