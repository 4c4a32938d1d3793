"""The FITS edge: columns of external tables, and strings for FITS files.

Columns are read with a clear error if damaged, numbers in our types, unknown as NaN. Texts are written in ASCII.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes

__all__ = [
    "ReductionError",
    "ascii_column",
    "ascii_text",
    "find_column",
    "foreign_format",
    "known_number",
    "native",
    "open_table",
    "raw_values",
    "set_text_card",
]

MISSING = -9999  # stands for unknown in APOGEE's tables, in tables of Gaia without NaN, and in our catalogue
MISSING_BELOW = -9000.0  # -9999.99, too
MISSING_ABOVE = 1e19  # 1e20 stands for a masked value where a table was converted from VOTable


class ReductionError(ValueError):
    """A raw table that cannot be used; the message names the file and the remedy."""


@takes(path=file_path)
def open_table(path: str | Path, hdu: int = 1) -> fits.HDUList:
    """Open a FITS file, optionally gzipped, with a complete binary table in HDU `hdu`.

    Raises
    ------
    ReductionError
        If there is none.
    """
    again = "get it again as data/README.md says, or run `apogaia mock`"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AstropyUserWarning)  # of truncation: an error below
            hdus = fits.open(path, memmap=True)
            _check_table(path, hdus, hdu)
            return hdus
    except FileNotFoundError:
        raise ReductionError(
            f"{path} is missing: data/README.md says where it comes from; simulated: run `apogaia mock`"
        ) from None
    except ReductionError as fault:
        hdus.close()
        raise ReductionError(f"{path} {fault}: {again}") from None
    except Exception as fault:  # what the libraries of FITS and of compression raise on damage has no common base
        raise ReductionError(f"{path} cannot be read ({_why(path, fault)}): {again}") from fault


def _check_table(path: str | Path, hdus: fits.HDUList, number: int) -> None:
    found = hdus[number] if len(hdus) > number else None
    if not isinstance(found, fits.BinTableHDU):
        tables = [f"HDU {i}" for i, hdu in enumerate(hdus) if isinstance(hdu, fits.BinTableHDU)]
        where = f", but in {' and '.join(tables)}: it is not as released" if tables else ""
        raise ReductionError(f"holds no table in HDU {number}{where}")
    size, needed = Path(path).stat().st_size, found.fileinfo()["datLoc"] + found.size
    if size < needed and _first_bytes(path).startswith(b"SIMPLE"):  # the length of a compressed file says nothing
        raise ReductionError(f"is cut short: {size} bytes instead of {needed} or more")
    _ = found.data.names  # a compressed or damaged table shows itself here
    del found.data  # read again where it is needed; what is loaded when a file is closed is copied into memory whole


def _why(path: str | Path, fault: Exception) -> str:
    try:
        return foreign_format(_first_bytes(path)) or str(fault)
    except OSError:
        return str(fault)


def _first_bytes(path: str | Path) -> bytes:
    with open(path, "rb") as handle:
        return handle.read(2880)


_CONVERT = "convert it to FITS with astropy.table.Table.read and write"
_FORMATS = {
    b"<": "an HTML or XML page, perhaps a server's error message",
    b"\x1f\x8b": "compressed with gzip, and cut short or damaged",
    b"BZh": "compressed with bzip2, and cut short or damaged",
    b"\xfd7zXZ": "compressed with xz, and cut short or damaged",
    b"PK": "a zip archive: unpack it",
    b"PAR1": f"a Parquet file: {_CONVERT}",
    b"\x89HDF": f"an HDF5 file: {_CONVERT}",
}


def foreign_format(start: bytes) -> str:
    """Say what a file that cannot be read as FITS is, from its first 2880 bytes; empty if they look like FITS."""
    if not start:
        return "it is empty"
    if not start.strip(b"\0"):
        return "it begins with zero bytes: never written, or lost when the machine stopped"
    if b"<VOTABLE" in start.upper():
        return f"a VOTable: {_CONVERT}"
    for first, meaning in _FORMATS.items():
        if start.lstrip().startswith(first):
            return meaning
    if start.startswith(b"SIMPLE"):
        return f"cut short in the header of HDU 0, after {len(start)} bytes" if len(start) < 2880 else ""
    if start.isascii() and b"," in start.partition(b"\n")[0]:
        return f"text, perhaps CSV: {_CONVERT}"
    return "it does not begin as FITS does"


def find_column(present: Sequence[str], candidates: Sequence[str]) -> str | None:
    """Find the first candidate that is present: in this spelling, else in any case; a joined table may hold both."""
    folded = {name.upper(): name for name in reversed(present)}
    for name in candidates:
        found = name if name in present else folded.get(name.upper())
        if found is not None:
            return found
    return None


def raw_values(data: fits.FITS_rec, name: str) -> np.ndarray:
    """Return a column's values; texts as str, stripped, with the replacement character for bytes that are not UTF-8."""
    stored = data.view(np.ndarray)[name]
    if stored.dtype.kind == "S":  # FITS is ASCII; a name in UTF-8 is the name of the star's file, too
        return np.char.strip(np.char.decode(stored, "utf-8", "replace"))
    return np.asarray(data[name])


def native(values: np.ndarray, kind: str, null: int | None = None, unknown_integer: int = 0) -> np.ndarray:
    """In native byte order and of our type, with NaN, `unknown_integer` or the empty text for unknown.

    Unknown are `null` (TNULL of the column), -9999, numbers that are not finite or beyond any measurement, fractions
    where `kind` is whole, and texts that are no numbers where it is not a text.

    Raises
    ------
    ValueError
        If a column of numbers holds none.
    """
    values = np.asarray(values)
    if kind == "U":
        return np.char.strip(values.astype(str))
    if values.dtype.kind in "SU":
        values = _numbers(np.char.strip(values.astype(str)), whole=kind[0] == "i")
    unknown = values == null if null is not None else np.zeros(values.shape, dtype=bool)
    if kind[0] == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # signalling NaN
            values = values.astype(kind)
        values[unknown | ~((values >= MISSING_BELOW) & (values < MISSING_ABOVE))] = np.nan
        return values
    limits = np.iinfo(kind)
    unknown |= (values == MISSING) | ~((values >= limits.min) & (values <= limits.max))
    if values.dtype.kind == "f":
        unknown |= values != np.rint(values)
    whole = np.where(unknown, 0, values).astype(kind)  # first without what has no counterpart among whole numbers
    whole[unknown] = unknown_integer
    return whole


def known_number(value: object, below: float = MISSING_ABOVE) -> float:
    """The number of a header card; NaN if it is absent, a string or a placeholder.

    Parameters
    ----------
    value
        What the card holds.
    below
        Larger numbers are placeholders too, such as 99.999 for a magnitude.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not MISSING_BELOW <= value < below:
        return float("nan")
    return float(value)


def _numbers(texts: np.ndarray, whole: bool) -> np.ndarray:
    """Texts as numbers: 0 or NaN where a text is none, an error where none is one."""
    numbers = np.zeros(texts.shape, np.int64) if whole else np.full(texts.shape, np.nan)
    known = 0
    for place, text in np.ndenumerate(texts):
        try:
            numbers[place] = int(text) if whole else float(text)
            known += 1
        except (OverflowError, ValueError):
            continue
    if not known and texts.size:
        raise ValueError(f"texts that are no {'whole ' if whole else ''}numbers: {str(texts.flat[0])!r}")
    return numbers


# What Unicode's own decomposition has no ASCII letters for, or others than one writes
_TRANSLITERATED = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "ß": "ss", "ẞ": "SS"}
    | {"æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D"}
    | {"µ": "u", "μ": "u", "±": "+-", "×": "x", "°": " deg"}
    | dict.fromkeys("‘’‚‹›", "'")
    | dict.fromkeys("“”„«»", '"')
    | dict.fromkeys("‐‑‒–—−", "-")
)


def ascii_text(text: str) -> str:
    """The printable ASCII form of a string, the only form that FITS allows.

    Umlauts become two letters as in German, other letters lose their accents, line breaks and other control characters
    become blanks, dashes and quotation marks plain ones, and what is left a question mark each.
    """
    if text.isascii() and text.isprintable():
        return text
    plain = unicodedata.normalize("NFC", text).translate(_TRANSLITERATED)
    letters = "".join(char for char in unicodedata.normalize("NFKD", plain) if not unicodedata.combining(char))
    return re.sub("[^ -~]", "?", re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", letters))


def ascii_column(texts: np.ndarray) -> np.ndarray:
    """(n,) `ascii_text` of each text, as bytes."""
    return np.array([ascii_text(text) for text in texts.tolist()], dtype=bytes)


def set_text_card(header: fits.Header, keyword: str, text: str, comment: str = "") -> None:
    """Write a text of any characters and length into a header, as `ascii_text`; the comment only if there is room.

    A text of more than one card goes on in CONTINUE cards. An ampersand at its end would mean that it goes on: it
    becomes a plus sign.
    """
    text = re.sub("&$", "+", ascii_text(text))
    quoted = f"'{text.replace(chr(39), 2 * chr(39)):8s}'"
    room = fits.Card.length - len(f"{keyword:8s}= {quoted:20s} / ")
    header[keyword] = (text, comment if len(comment) <= room else "")
