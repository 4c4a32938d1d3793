"""Reading apStar files: a star's combined spectrum and its visits, or a status that says what is wrong with each."""

from __future__ import annotations

import enum
import errno
import gzip
import math
import os
import re
import stat
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.formats.fits_columns import foreign_format
from apogaia.formats.pixel_grid import (
    LOG10_WAVELENGTH_START,
    LOG10_WAVELENGTH_STEP,
    N_PIXELS_APSTAR,
    bitmask_boolean,
    detector_slices,
    gap_delete,
)

__all__ = ["ApStar", "SpectrumError", "Status", "read_apstar", "read_visits"]

UNUSABLE_ERROR = 1e9  # bad pixels carry an error of 1e10 in apStar files
MAX_ROWS = 1000  # of an apStar image; no star has nearly as many visits
MIN_USABLE_PIXELS = 100  # in each detector: with fewer the continuum would be a guess


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
    CONSTANT = 9
    BAD_CHECKSUM = 10

    @property
    def reason(self) -> str:
        """One line for the user."""
        return _REASONS[self]

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return _REMEDIES[self]


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
    Status.CONSTANT: "a detector has the same flux in every usable pixel",
    Status.BAD_CHECKSUM: "the file has changed since it was written: its checksum does not agree",
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
    Status.CONSTANT: _AS_RELEASED,
    Status.BAD_CHECKSUM: _FETCH_AGAIN,
}


class SpectrumError(ValueError):
    """A spectrum that cannot be used: `status` says why, `detail` what was found; the message adds file and remedy."""

    def __init__(self, status: Status, path: str | Path, detail: str = ""):
        self.status = status
        self.found = detail
        self.header: dict = {}  # what the file says of the star all the same, as `ApStar.header`
        self.visit = 0  # as `ApStar.visit`
        self.detail = f"{status.reason} ({detail})" if detail else status.reason
        super().__init__(f"{path}: {self.detail}; {status.remedy}")


@dataclass(frozen=True)
class ApStar:
    """One rest-frame spectrum: flux and error [1e-17 erg/s/cm^2/Angstrom], APOGEE_PIXMASK, each (8575,)."""

    flux: np.ndarray
    error: np.ndarray
    mask: np.ndarray
    n_visits: int
    row: int  # of the file's images, from 0
    header: dict  # the cards of `_CARDS`, of a visit those of `_VISIT_CARDS` too; None where the header lacks one
    visit: int = 0  # number of the visit, from 1; 0: the combination of the visits


_CARDS = {  # the first card that is there counts: SDSS-IV's name, then SDSS-V's
    "apogee_id": ("OBJID",),
    "telescope": ("TELESCOP",),
    "location_id": ("LOCID",),
    "field": ("FIELD",),
    "ra": ("RA",),
    "dec": ("DEC",),
    "glon": ("GLON",),
    "glat": ("GLAT",),
    "j_mag": ("J", "JMAG"),
    "h_mag": ("H", "HMAG"),
    "k_mag": ("K", "KMAG"),
    "a_k_targ": ("AKTARG",),  # neither in older headers nor in SDSS-V's
    "snr": ("SNR",),
    "starflag": ("STARFLAG",),
    "v_helio": ("VHELIO", "VHBARY"),
    "v_scatter": ("VSCATTER",),
}

_VISIT_CARDS = {  # the number of the visit follows; what a combination has too is the visit's own
    "visit_file": ("SFILE",),
    "date": ("DATE",),
    "jd": ("JD",),
    "fiber": ("FIBER",),
    "snr": ("SNRVIS",),
    "starflag": ("FLAG",),
    "v_helio": ("VHELIO", "VHBARY"),
}
_VISIT_NAME = re.compile(r"-(\w+)-(\d{5})-(\d{1,3})\.fits")  # plate, MJD and fibre in the name of a visit's file
_NIGHT = 0.3  # [d] by which SDSS's MJD of a night is ahead of that of a moment, so that it changes at noon

_DESIGNATION = re.compile(r"(?<!\d)\d{8}[+-]\d{7}(?!\d)")  # of 2MASS: the part of a name that is a position


@takes(path=file_path)
def read_apstar(path: str | Path, *, masked_bits: Sequence[int] = (), combined_row: int = 1) -> ApStar:
    """Read the combined spectrum of an apStar file.

    Row 0 of the images is the combination of the visits with weights for each pixel, row 1 that with a weight for each
    visit. Up to DR16 both are complete, and a star of one visit has one row. From DR17 on only row 0 has a mask and
    errors that mark bad pixels, and a star of one visit has a row 1 of zeros (DR17) or none (DR19). Files of either
    kind are read: where row 1 has no mask at all, row 0 is taken.

    A file that is compressed as a whole (gzip, under whatever name) reads as the file in it. What lies behind the three
    arrays goes unread. Arrays with a DATASUM card are checked against it; a header edited later is not.

    Parameters
    ----------
    path
        The file.
    masked_bits
        Pixels with one of these bits of APOGEE_PIXMASK do not count as usable.
    combined_row
        0 or 1: which combination of several visits to read (`SpectraSettings.combined_row`).

    Raises
    ------
    SpectrumError
        If the file is missing, unreadable or cut short, changed since it was written, not an apStar file, of another
        star than its name says, or if the spectrum is blank, constant, lacks errors, or leaves a detector without
        usable pixels.
    """
    spectrum = _read_file(Path(path), masked_bits, combined_row, visits=False)[0]
    if isinstance(spectrum, SpectrumError):
        raise spectrum
    return spectrum


@takes(path=file_path)
def read_visits(
    path: str | Path, *, masked_bits: Sequence[int] = (), combined_row: int = 1
) -> list[ApStar | SpectrumError]:
    """Read the combined spectrum of an apStar file and the spectrum of each visit, all at rest wavelengths.

    The visits are the rows behind the two combinations; a star of one visit has it in the only row, or in row 0. Their
    headers hold the visit's own SNR, flags and velocity, and `visit_file`, `date`, `jd`, `fiber`, `plate` and `mjd`.

    Parameters
    ----------
    path, masked_bits, combined_row
        As for `read_apstar`.

    Returns
    -------
    list
        The combination, then visits 1, 2, ... In the place of a spectrum that cannot be used stands the `SpectrumError`
        that `read_apstar` would raise, with the header. Of a file that cannot be read there are as many visits as its
        header states, none if that is lost too.
    """
    return _read_file(Path(path), masked_bits, combined_row, visits=True)


class _Pixels(NamedTuple):
    """One row of a file's images, before it is looked at."""

    flux: np.ndarray
    error: np.ndarray
    mask: np.ndarray
    row: int


def _read_file(path: Path, masked_bits: Sequence[int], combined_row: int, visits: bool) -> list[ApStar | SpectrumError]:
    """The combination, and the visits if they are wanted, each as a spectrum or as what is wrong with it."""
    header: dict = {}
    of_visits: list[dict] = []
    found: list[_Pixels | SpectrumError]
    try:
        with _opened(path) as (hdus, size):
            header = _cards(hdus[0].header)
            of_visits = _visit_cards(hdus[0].header, header) if visits else []
            _check_star(header, path)
            images = [_image(hdus, i, path, size) for i in (1, 2, 3)]
            rows: list[int | SpectrumError | None] = [_combined_row(images, header, path, combined_row)]
            rows += [_visit_row(images, visit, len(of_visits), path) for visit in range(1, len(of_visits) + 1)]
            found = [row if isinstance(row, SpectrumError) else _pixels(images, row) for row in rows]
    except FileNotFoundError:
        found = [SpectrumError(Status.NO_FILE, path, _instead(path))]
    except SpectrumError as refusal:
        found = [refusal]
    except MemoryError:
        raise
    except Exception as fault:  # what the libraries of FITS and of compression raise on damage has no common base
        unreadable = SpectrumError(Status.UNREADABLE, path, _what_ails(path, fault))
        unreadable.__cause__ = fault
        found = [unreadable]
    n_visits = header.pop("n_visits", 0)
    headers = [header, *of_visits]
    if isinstance(found[0], SpectrumError):
        first = found[0]
        found = [first, *(SpectrumError(first.status, path, first.found) for _ in of_visits)]
    return [
        _checked(spectrum, headers[visit], visit, n_visits, masked_bits, path) for visit, spectrum in enumerate(found)
    ]


@contextmanager
def _opened(path: Path) -> Iterator[tuple[fits.HDUList, int | None]]:
    """An open file, and its length; None of a compressed one, of which the length says nothing."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        what = "a folder" if stat.S_ISDIR(found.st_mode) else "something that is no file"
        raise SpectrumError(Status.UNREADABLE, path, f"{what} bears its name")
    with warnings.catch_warnings(), open(path, "rb") as handle:
        warnings.simplefilter("ignore", AstropyUserWarning)  # of truncation: an error or harmless here
        size = found.st_size if handle.peek(6).startswith(b"SIMPLE") else None
        with fits.open(handle, memmap=False) as hdus:
            yield hdus, size


def _checked(
    found: _Pixels | SpectrumError, header: dict, visit: int, n_visits: int, masked_bits: Sequence[int], path: Path
) -> ApStar | SpectrumError:
    """The spectrum, or what is wrong with it, with the header."""
    if isinstance(found, SpectrumError):
        refusal = found
    else:
        star = ApStar(found.flux, found.error, found.mask, n_visits, found.row, header, visit)
        try:
            _check_pixels(star, masked_bits, path)
        except SpectrumError as error:
            refusal = error
        else:
            return star
    refusal.header, refusal.visit = header, visit
    return refusal


def _instead(path: Path) -> str:
    """Say what is there in place of a missing file."""
    if path.is_symlink():
        return "its name is a link to nothing"
    packed = path.with_name(f"{path.name}.gz")
    return f"{packed.name} is there: unpack it with gunzip" if packed.exists() else ""


def _cards(primary: fits.Header) -> dict:
    """Return the cards of `_CARDS` and the number of visits; None where there is none, or one that cannot be parsed."""
    return _values_of(primary, {**_CARDS, "n_visits": ("NVISITS",)})


def _values_of(primary: fits.Header, wanted: Mapping[str, Sequence[str]]) -> dict:
    cards = {}
    for key, names in wanted.items():
        card = next((name for name in names if name in primary), names[0])
        try:
            value = primary.get(card)
        except (fits.VerifyError, ValueError):  # one damaged card says nothing about the others
            value = "unreadable" if key == "n_visits" else None  # that one is needed: the reason says so
        unknown = isinstance(value, fits.card.Undefined) or value == "NaN"  # as SDSS-V's pipeline writes it
        cards[key] = None if unknown else value
    return cards


def _visit_cards(primary: fits.Header, header: dict) -> list[dict]:
    """Of each visit: the star's cards with the visit's own in their place; none if their number is lost."""
    n_visits = header["n_visits"]
    if type(n_visits) is not int:
        return []
    star = {key: value for key, value in header.items() if key != "n_visits"}
    visits = []
    for number in range(1, min(n_visits, MAX_ROWS) + 1):
        cards = {key: tuple(f"{name}{number}" for name in names) for key, names in _VISIT_CARDS.items()}
        own = _values_of(primary, cards)
        named = _VISIT_NAME.search(str(own["visit_file"]))
        own["plate"], own["mjd"] = (named[1], int(named[2])) if named else (None, None)
        if named is None and isinstance(own["jd"], float):
            own["mjd"] = math.floor(own["jd"] - 2_400_000.5 + _NIGHT)
        visits.append(star | own)
    return visits


def _check_star(header: dict, path: Path) -> None:
    """Check that the header is an apStar file's, and that the file's name does not name another star.

    A copy may be called ``apStar-r8-2M... (1).fits``, a visit's combination ``apStar-r6-2M...-55960.fits``, SDSS-V has
    ``apStar-1.3-apo25m-2M....fits``: of a name, only the designation of a star counts.
    """
    n_visits = header["n_visits"]
    if type(n_visits) is not int or n_visits < 1:
        found = "no card NVISITS: perhaps a single visit" if n_visits is None else f"NVISITS is {n_visits}"
        raise SpectrumError(Status.NOT_APSTAR, path, found)
    if header["apogee_id"] is None:
        raise SpectrumError(Status.NOT_APSTAR, path, "no card OBJID")
    apogee_id, named = str(header["apogee_id"]).strip(), _DESIGNATION.findall(path.name)
    stated = _DESIGNATION.search(apogee_id)
    if named and (stated.group() if stated else apogee_id) not in named:
        raise SpectrumError(Status.WRONG_STAR, path, f"OBJID is {apogee_id}")


def _image(hdus: fits.HDUList, index: int, path: Path, size: int | None) -> fits.ImageHDU | fits.CompImageHDU:
    """One HDU, after a check that it is on the apStar grid, whole in a file of `size` bytes, and as it was written."""
    try:
        hdu = hdus[index]
    except IndexError:
        before = hdus[-1].fileinfo()
        found = ""
        if size is None:
            found = f"compressed, and cut short or damaged before HDU {index}"
        elif size != before["datLoc"] + before["datSpan"]:
            found = f"cut short or damaged in the header of HDU {len(hdus)}, or just before"
        if found:
            raise SpectrumError(Status.UNREADABLE, path, found) from None
        raise SpectrumError(Status.NOT_APSTAR, path, f"no HDU {index}") from None
    if not isinstance(hdu, (fits.ImageHDU, fits.CompImageHDU)):
        raise SpectrumError(Status.NOT_APSTAR, path, f"HDU {index} is no image")
    shape, header = hdu.shape, hdu.header
    rows = 1 if len(shape) == 1 else shape[0] if len(shape) == 2 else 0
    if not 0 < rows <= MAX_ROWS or shape[-1] != N_PIXELS_APSTAR:
        found = " x ".join(map(str, shape)) or "none"
        raise SpectrumError(
            Status.NOT_APSTAR, path, f"HDU {index} does not hold {N_PIXELS_APSTAR} pixels a row, but {found}"
        )
    if index == 1:
        grid = [header.get(card) for card in ("CRVAL1", "CDELT1", "CRPIX1")]
        if not (_close(grid[0], LOG10_WAVELENGTH_START) and _close(grid[1], LOG10_WAVELENGTH_STEP)) or (
            grid[2] not in (1, None)
        ):
            found = f"CRVAL1, CDELT1, CRPIX1 are {grid[0]}, {grid[1]}, {grid[2]}"
            raise SpectrumError(Status.NOT_APSTAR, path, found)
    if size is not None and not isinstance(hdu, fits.CompImageHDU):
        needed = hdu.fileinfo()["datLoc"] + math.prod(shape) * abs(header["BITPIX"]) // 8
        if size < needed:
            found = f"cut short in HDU {index}: {size} bytes instead of {needed} or more"
            raise SpectrumError(Status.UNREADABLE, path, found)
    if "DATASUM" in header and not _as_written(hdu):
        raise SpectrumError(Status.BAD_CHECKSUM, path, f"DATASUM of HDU {index}")
    return hdu


def _as_written(hdu: fits.ImageHDU | fits.CompImageHDU) -> bool:
    """Whether the data agree with the card DATASUM; an empty card says nothing."""
    stated = str(hdu.header["DATASUM"]).strip()
    return not stated or (stated.isdecimal() and hdu.verify_datasum() == 1)


def _close(value, expected: float) -> bool:
    return isinstance(value, (int, float)) and math.isclose(value, expected, rel_tol=1e-9)


def _combined_row(images: list, header: dict, path: Path, combined_row: int) -> int | None:
    """Return the row of the combined spectrum, None of 1-D images; `read_apstar` says what the rows are."""
    rows = [1 if len(hdu.shape) == 1 else hdu.shape[0] for hdu in images]
    if len(set(rows)) > 1:
        raise SpectrumError(Status.NOT_APSTAR, path, f"HDUs 1, 2 and 3 hold {rows[0]}, {rows[1]} and {rows[2]} rows")
    n_visits, n_rows = header["n_visits"], rows[0]
    second_is_blank = n_rows == 2 and n_visits == 1 and not np.any(images[0].data[1])
    if n_rows == 1 < n_visits or (n_rows == 2 and not second_is_blank):  # a combination or a visit?
        found = f"NVISITS is {n_visits}, but each HDU holds {n_rows} of the {n_visits + 2} rows"
        raise SpectrumError(Status.NOT_APSTAR, path, found)
    if images[2].data.dtype.kind not in "iu":
        raise SpectrumError(Status.NOT_APSTAR, path, "HDU 3 is not a bit mask")
    if len(images[0].shape) == 1:
        return None
    return combined_row if n_rows > 2 and np.any(images[2].data[1]) else 0


def _visit_row(images: list, visit: int, n_visits: int, path: Path) -> int | SpectrumError | None:
    """Return the row of a visit, None of 1-D images; or that the rows do not say which visit is which."""
    shape = images[0].shape
    n_rows = 1 if len(shape) == 1 else shape[0]
    if n_visits == 1 and n_rows <= 2:
        return None if len(shape) == 1 else 0
    if n_rows != n_visits + 2:
        found = f"NVISITS is {n_visits}, but each HDU holds {n_rows} of the {n_visits + 2} rows"
        return SpectrumError(Status.NOT_APSTAR, path, found)
    return visit + 1


def _pixels(images: list, row: int | None) -> _Pixels:
    flux, error, mask = (hdu.data if row is None else hdu.data[row] for hdu in images)
    with np.errstate(over="ignore", invalid="ignore"):  # infinite, hence bad, in single precision
        return _Pixels(flux.astype(np.float32), error.astype(np.float32), mask.astype(np.int32), row or 0)


def _check_pixels(star: ApStar, masked_bits: Sequence[int], path: Path) -> None:
    flux, error = gap_delete(star.flux), gap_delete(star.error)
    finite = np.isfinite(flux)
    lit = finite & (flux != 0)
    if not lit.any():
        unknown = len(flux) - np.count_nonzero(finite)
        raise SpectrumError(Status.BLANK, path, f"{unknown} pixels are NaN or infinite" if unknown else "")
    without_error = lit & ~(error > 0)
    if without_error.any():
        unknown = np.count_nonzero(np.isnan(error) & without_error)
        found = f"{unknown} pixels NaN, {np.count_nonzero(without_error) - unknown} zero or negative"
        raise SpectrumError(Status.BAD_ERRORS, path, found)
    certain = error < UNUSABLE_ERROR
    masked = bitmask_boolean(gap_delete(star.mask), masked_bits)
    usable = lit & certain & ~masked
    for name, detector in detector_slices().items():
        chosen = usable[detector]
        count = np.count_nonzero(chosen)
        if count < MIN_USABLE_PIXELS:
            lost = (np.count_nonzero(~good[detector]) for good in (lit, certain, ~masked))
            found = "{} without flux, {} with an error above 1e9, {} masked".format(*lost)
            raise SpectrumError(Status.TOO_FEW_PIXELS, path, f"{count} in the {name} one: {found}")
        values = flux[detector][chosen]
        if values.min() == values.max():
            raise SpectrumError(Status.CONSTANT, path, f"{values[0]:g} in the {name} one")


def _what_ails(path: Path, fault: Exception) -> str:
    """Say what is wrong with a file that a FITS reader refused with `fault`, without naming this machine's folders."""
    if isinstance(fault, PermissionError):
        return "no permission to read it"
    if getattr(fault, "errno", None) == errno.EINVAL:
        return "a header states an impossible size"
    found = str(fault).replace(str(path), path.name).partition("\n")[0].partition(", fix it first")[0]
    try:
        with open(path, "rb") as handle:
            ailment = foreign_format(handle.read(2880))
    except (OSError, ValueError):
        return getattr(fault, "strerror", None) or found
    if isinstance(fault, (EOFError, gzip.BadGzipFile, zlib.error)):
        found = f"compressed data are cut short or damaged: {found}"
    return ailment or found
