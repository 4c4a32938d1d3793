"""Kinds of damage to an apStar file, each with the status and the words that its star must end with."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from apogaia.formats.apstar import Status
from apogaia.formats.pixel_grid import DETECTORS, N_PIXELS_APSTAR

BLOCK = 2880


@dataclass(frozen=True)
class Kind:
    """`damage` changes the file at a path; then its star has `status`, and a reason that matches `says`.

    Where the status is OK the spectrum is that of the undamaged file up to `tolerance`; None: it may be another.
    """

    name: str
    damage: Callable[[Path], None]
    status: Status
    says: str = ""
    tolerance: float | None = 0.0


KINDS: list[Kind] = []


def kind(name: str, status: Status, says: str = "", tolerance: float | None = 0.0):
    """Add the function below to `KINDS`."""

    def add(damage):
        KINDS.append(Kind(name, damage, status, says, tolerance))
        return damage

    return add


def harmless(name: str, tolerance: float | None = 0.0):
    return kind(name, Status.OK, tolerance=tolerance)


def edit(change: Callable[[fits.HDUList], object], **options) -> Callable[[Path], None]:
    """Damage that `change(hdus)` does; it may return another list of HDUs."""

    def damage(path: Path) -> None:
        with fits.open(path, memmap=False) as hdus:
            changed = change(hdus) or hdus
            fits.HDUList(list(changed)).writeto(path, overwrite=True, output_verify="silentfix", **options)

    return damage


def add(name: str, status: Status, says: str, change: Callable[[fits.HDUList], object]) -> None:
    kind(name, status, says)(edit(change))


def add_harmless(name: str, change: Callable[[fits.HDUList], object], tolerance: float | None = 0.0, **options) -> None:
    harmless(name, tolerance)(edit(change, **options))


def put(index: int, value, where=slice(None)) -> Callable[[fits.HDUList], None]:
    """Set pixels of the combined spectrum in one HDU."""

    def change(hdus):
        hdus[index].data[1, where] = value

    return change


def in_place(index: int, make: Callable[[np.ndarray], np.ndarray]) -> Callable[[fits.HDUList], None]:
    """Replace the array of one HDU, or of HDUs 1 to 3 with index 0."""

    def change(hdus):
        for i in (1, 2, 3) if index == 0 else (index,):
            header = hdus[i].header
            hdus[i] = fits.ImageHDU(make(np.array(hdus[i].data)))
            for card in ("CRVAL1", "CDELT1", "CRPIX1"):
                hdus[i].header[card] = header[card]

    return change


def place(path: Path, index: int) -> tuple[int, int, int]:
    """First byte of the header of one HDU, first of its data, and the first behind its data without padding."""
    with fits.open(path, memmap=False) as hdus:
        info = hdus[index].fileinfo()
        return info["hdrLoc"], info["datLoc"], info["datLoc"] + hdus[index].size


def cut(index: int, part: str) -> Callable[[Path], None]:
    """Cut the file in the header or in the data of an HDU, or in the padding behind its data."""

    def damage(path: Path) -> None:
        header, data, end = place(path, index)
        at = {"header": header + 700, "data": (data + end) // 2, "padding": end + 5, "end": data}[part]
        path.write_bytes(path.read_bytes()[:at])

    return damage


def card(index: int, name: str, value) -> Callable[[fits.HDUList], None]:
    """Change a card, or remove it (None)."""

    def change(hdus):
        if value is None:
            del hdus[index].header[name]
        else:
            hdus[index].header[name] = value

    return change


def overwrite(path: Path, old: bytes, new: bytes) -> None:
    """Change bytes that are there once."""
    content = path.read_bytes()
    assert len(old) == len(new) and content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def bytes_swapped(array: np.ndarray) -> np.ndarray:
    """What a program sees that takes little-endian bytes for big-endian ones."""
    return array.astype(">f4").byteswap()


# --- the file ---------------------------------------------------------------------------------------------------------

for _index in range(4):
    kind(f"cut in the header of HDU {_index}", Status.UNREADABLE, f"cut short.* header of HDU {_index}")(
        cut(_index, "header")
    )
for _index in (1, 2, 3):
    kind(f"cut in the data of HDU {_index}", Status.UNREADABLE, f"cut short in HDU {_index}: \\d+ bytes instead")(
        cut(_index, "data")
    )
kind("cut where the data of HDU 2 begin", Status.UNREADABLE, "cut short in HDU 2")(cut(2, "end"))
kind("cut between HDU 2 and 3", Status.NOT_APSTAR, "no HDU 3")(
    lambda path: path.write_bytes(path.read_bytes()[: place(path, 3)[0]])
)
harmless("cut in the padding of HDU 3")(cut(3, "padding"))
harmless("cut behind HDU 3")(cut(4, "data"))
kind("no bytes", Status.UNREADABLE, "it is empty")(lambda path: path.write_bytes(b""))
kind("only zeros", Status.UNREADABLE, "zero bytes: never written")(lambda path: path.write_bytes(bytes(200_000)))
kind("an HTML page", Status.UNREADABLE, "an HTML or XML page")(
    lambda path: path.write_text("\n<!DOCTYPE html><html><body>504 Gateway Time-out</body></html>")
)
kind("a text", Status.UNREADABLE, "does not begin as FITS")(lambda path: path.write_text("Not found\n"))
harmless("gzip under the name .fits")(lambda path: path.write_bytes(gzip.compress(path.read_bytes(), 1)))


@kind("gzip cut short", Status.UNREADABLE, "compressed, and cut short or damaged before HDU 1")
def _(path):
    packed = gzip.compress(path.read_bytes(), 1)
    path.write_bytes(packed[: len(packed) // 30])


@kind("gzip beside a missing file", Status.NO_FILE, r"\.fits\.gz is there: unpack it")
def _(path):
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    path.unlink()


@kind("a folder", Status.UNREADABLE, "a folder bears its name")
def _(path):
    path.unlink()
    path.mkdir()


@kind("a link to nothing", Status.NO_FILE, "a link to nothing")
def _(path):
    path.unlink()
    path.symlink_to("nowhere.fits")


@kind("a link to itself", Status.UNREADABLE, "(?i)symbolic links")
def _(path):
    path.unlink()
    path.symlink_to(path.name)


@kind("a named pipe", Status.UNREADABLE, "something that is no file")
def _(path):
    path.unlink()
    os.mkfifo(path)


@harmless("four gigabytes of zeros behind it")
def _(path):
    os.truncate(path, 4 << 30)  # sparse: takes no space


# --- headers ----------------------------------------------------------------------------------------------------------

add("another star", Status.WRONG_STAR, "OBJID is 2M99999999", card(0, "OBJID", "2M99999999+9999999"))
add("no OBJID", Status.NOT_APSTAR, "no card OBJID", card(0, "OBJID", None))
add("OBJID without a value", Status.NOT_APSTAR, "no card OBJID", card(0, "OBJID", fits.card.Undefined()))
add("no NVISITS", Status.NOT_APSTAR, "no card NVISITS: perhaps a single visit", card(0, "NVISITS", None))
add("NVISITS zero", Status.NOT_APSTAR, "NVISITS is 0", card(0, "NVISITS", 0))
add("NVISITS a text", Status.NOT_APSTAR, "NVISITS is three", card(0, "NVISITS", "three"))
add_harmless("NVISITS smaller than the rows", card(0, "NVISITS", 2))
add_harmless("NVISITS larger than the rows", card(0, "NVISITS", 9))
add(
    "one row of several visits",
    Status.NOT_APSTAR,
    "NVISITS is 3, but each HDU holds 1 of the 5 rows",
    in_place(0, lambda a: a[1]),
)
add("two rows", Status.NOT_APSTAR, "NVISITS is 3, but each HDU holds 2 of the 5 rows", in_place(0, lambda a: a[:2]))


def one_row(hdus):
    in_place(0, lambda a: a[1:2])(hdus)
    hdus[0].header["NVISITS"] = 1


add_harmless("one row of one visit, two-dimensional", one_row)
add_harmless("extra visits", in_place(0, lambda a: np.concatenate([a, a[:2], a[:2]])))
add_harmless("OBJID in lower case", lambda h: card(0, "OBJID", h[0].header["OBJID"].lower())(h))
add_harmless("OBJID with blanks before it", lambda h: card(0, "OBJID", " " + h[0].header["OBJID"])(h))
harmless("names of cards in lower case")(lambda path: overwrite(path, b"NVISITS =", b"nvisits ="))
harmless("bytes beyond ASCII in a card that is not read")(
    lambda path: overwrite(path, b"EXTEND  =", b"EXT\xc4\xd6\xdc  =")
)
kind("bytes beyond ASCII in OBJID", Status.WRONG_STAR, "OBJID is 2M.+")(
    lambda path: overwrite(path, b"OBJID   = '2M0", b"OBJID   = '2M\xb0")
)
kind("an unreadable card NVISITS", Status.NOT_APSTAR, "NVISITS is unreadable")(
    lambda path: overwrite(path, b"NVISITS =                    3", b"NVISITS =                 3,.,")
)
kind("rows without end", Status.UNREADABLE, "a header states an impossible size")(
    lambda path: _change_card(path, 1, b"NAXIS2  =                    5", b"NAXIS2  =            999999999")
)
kind("more rows than there can be visits", Status.NOT_APSTAR, "HDU 1 does not hold 8575 pixels a row, but 1001 x 8575")(
    lambda path: _change_card(path, 1, b"NAXIS2  =                    5", b"NAXIS2  =                 1001")
)
kind(
    "more rows than the file holds", Status.UNREADABLE, "cut short in HDU 1: [0-9]+ bytes instead of 3430[0-9]+ or more"
)(lambda path: _change_card(path, 1, b"NAXIS2  =                    5", b"NAXIS2  =                 1000"))
add("another start of the wavelengths", Status.NOT_APSTAR, "CRVAL1, .* are 4.1, 6e-06, 1", card(1, "CRVAL1", 4.1))
add("another step of the wavelengths", Status.NOT_APSTAR, "are 4.179, 0.2, 1", card(1, "CDELT1", 0.2))
add("another reference pixel", Status.NOT_APSTAR, "are 4.179, 6e-06, 100", card(1, "CRPIX1", 100))
add("no wavelengths", Status.NOT_APSTAR, "are None, 6e-06, 1", card(1, "CRVAL1", None))
add("the start of the wavelengths a text", Status.NOT_APSTAR, "are 4\\.179A", card(1, "CRVAL1", "4.179A"))


def _change_card(path: Path, index: int, old: bytes, new: bytes) -> None:
    start, end, _ = place(path, index)
    content = path.read_bytes()
    assert content[start:end].count(old) == 1
    path.write_bytes(content[:start] + content[start:end].replace(old, new) + content[end:])


# --- arrays -----------------------------------------------------------------------------------------------------------

HOLDS = "HDU {} does not hold 8575 pixels a row, but {}"

add("8574 pixels", Status.NOT_APSTAR, HOLDS.format(1, "5 x 8574"), in_place(0, lambda a: a[:, :-1]))
add("8576 pixels", Status.NOT_APSTAR, HOLDS.format(1, "5 x 8576"), in_place(0, lambda a: np.pad(a, ((0, 0), (0, 1)))))
add("errors of another length", Status.NOT_APSTAR, HOLDS.format(2, "5 x 8000"), in_place(2, lambda a: a[:, :8000]))
add("fewer rows of errors", Status.NOT_APSTAR, "hold 5, 4 and 5 rows", in_place(2, lambda a: a[:4]))
add("a single mask for several rows", Status.NOT_APSTAR, "hold 5, 5 and 1 rows", in_place(3, lambda a: a[1]))
add("three dimensions", Status.NOT_APSTAR, HOLDS.format(1, "1 x 5 x 8575"), in_place(1, lambda a: a[None]))
add("turned by 90 degrees", Status.NOT_APSTAR, HOLDS.format(1, "8575 x 5"), in_place(1, lambda a: a.T.copy()))
add("no HDU 3 or later", Status.NOT_APSTAR, "no HDU 3", lambda h: h[:3])
add("no HDU 2 or later", Status.NOT_APSTAR, "no HDU 2", lambda h: h[:2])
add("an empty HDU 2", Status.NOT_APSTAR, HOLDS.format(2, "none"), lambda h: [*h[:2], fits.ImageHDU(), *h[3:]])
add(
    "a table for HDU 1",
    Status.NOT_APSTAR,
    "HDU 1 is no image",
    lambda h: [h[0], fits.BinTableHDU.from_columns([fits.Column("FLUX", "8575E", array=h[1].data)]), *h[2:]],
)


@kind("a single visit's file", Status.NOT_APSTAR, "no card NVISITS: perhaps a single visit")
@edit
def _(hdus):
    primary = fits.PrimaryHDU()
    primary.header["OBJID"], primary.header["FIBERID"], primary.header["MJD5"] = hdus[0].header["OBJID"], 7, 56000
    chips = np.ones((3, 4096), ">f4")
    return [
        primary,
        *(fits.ImageHDU(chips.astype(form)) for form in (">f4", ">f4", ">i2")),
        *[fits.ImageHDU(chips)] * 2,
    ]


add_harmless("flux in double precision", in_place(1, lambda a: a.astype(">f8")))
add_harmless("flux in whole numbers", in_place(1, lambda a: np.rint(a).astype(">i4")), tolerance=0.01)
add_harmless("mask in 32 bits", in_place(3, lambda a: a.astype(">i4")))
add_harmless("mask in 64 bits", in_place(3, lambda a: a.astype(">i8")))
add_harmless("mask unsigned", in_place(3, lambda a: a.astype(np.uint16)))
add("mask of fractions", Status.NOT_APSTAR, "HDU 3 is not a bit mask", in_place(3, lambda a: a.astype(">f4")))


@harmless("flux scaled to whole numbers", tolerance=1e-4)
@edit
def _(hdus):
    hdus[1].scale("int32", bscale=1e-3, bzero=5.0)


@harmless("images compressed without loss")
@edit
def _(hdus):
    made = [hdus[0]]
    for hdu in hdus[1:4]:
        options = {"compression_type": "GZIP_2", "quantize_level": 0.0, "tile_shape": (1, N_PIXELS_APSTAR)}
        made.append(fits.CompImageHDU(hdu.data, hdu.header, **options))
    return made


@harmless("images compressed with loss", tolerance=0.01)
@edit
def _(hdus):
    made = [hdus[0]]
    for hdu in hdus[1:4]:
        made.append(fits.CompImageHDU(hdu.data, hdu.header, compression_type="RICE_1", quantize_level=64.0))
    return made


@kind("a compressed image with damaged bytes", Status.UNREADABLE, "compressed data are cut short or damaged")
def _(path):
    edit(lambda h: [h[0], *(fits.CompImageHDU(x.data, x.header, compression_type="GZIP_1") for x in h[1:4])])(path)
    content = bytearray(path.read_bytes())
    at = place(path, 1)[1] + 10_000  # in a row's compressed pixels
    content[at : at + 400] = bytes(400)
    path.write_bytes(content)


# --- pixels -----------------------------------------------------------------------------------------------------------

inside = np.zeros(N_PIXELS_APSTAR, bool)
for _detector in DETECTORS.values():
    inside[_detector] = True
some = np.flatnonzero(inside)[::50]


def zero_or_nan(hdus):
    hdus[1].data[1] = np.where(np.cumsum(inside) % 2, 0, np.nan)


def dead(hdus):
    hdus[1].data[1, DETECTORS["red"]], hdus[2].data[1, DETECTORS["red"]] = 0, 1e10


def times(flux: float, error: float) -> Callable[[fits.HDUList], None]:
    def change(hdus):
        hdus[1].data *= flux
        hdus[2].data *= error

    return change


add("flux zero", Status.BLANK, "no pixel differs from zero$", put(1, 0))
add("flux NaN", Status.BLANK, r"7514 pixels are NaN or infinite", put(1, np.nan))
add("flux zero or NaN", Status.BLANK, "3757 pixels are NaN", zero_or_nan)
add_harmless("flux NaN in some pixels", put(1, np.nan, some), tolerance=None)
add_harmless("flux infinite in some pixels", put(1, np.inf, some), tolerance=None)
add("flux constant", Status.CONSTANT, "100 in the blue one", put(1, 100.0))
add("flux constant in one detector", Status.CONSTANT, "0.5 in the green one", put(1, 0.5, DETECTORS["green"]))
add("flux negative", Status.NO_CONTINUUM, "the continuum is not positive", times(-1.0, 1.0))
add("flux with its bytes swapped", Status.NO_CONTINUUM, "the continuum is not positive", in_place(1, bytes_swapped))
add_harmless("flux of 1e37", times(1e35, 1.0), tolerance=1e-5)
add_harmless("flux in another unit", times(1e-17, 1e-17), tolerance=1e-5)
add("errors NaN", Status.BAD_ERRORS, "7514 pixels NaN, 0 zero or negative", put(2, np.nan))
add("errors negative", Status.BAD_ERRORS, "0 pixels NaN, 7514 zero or negative", put(2, -1.0))
add("errors zero in one pixel", Status.BAD_ERRORS, "0 pixels NaN, 1 zero", put(2, 0.0, 1000))
add("errors with their bytes swapped", Status.BAD_ERRORS, "zero or negative", in_place(2, bytes_swapped))
add(
    "errors 1e10",
    Status.TOO_FEW_PIXELS,
    "0 in the blue one: 0 without flux, 3028 with an error above 1e9",
    put(2, 1e10),
)
add(
    "errors infinite", Status.TOO_FEW_PIXELS, "0 in the blue one: .* 3028 with an error", put(2, np.inf, slice(0, 4000))
)
add(
    "one detector dead",
    Status.TOO_FEW_PIXELS,
    "0 in the red one: 1991 without flux, 1991 with an error",
    dead,
)
add("every bit of the mask set", Status.TOO_FEW_PIXELS, "0 in the blue one: .* 3028 masked", put(3, -1))
add("one detector masked", Status.TOO_FEW_PIXELS, "0 in the green one: .* 2495 masked", put(3, 1, DETECTORS["green"]))


# --- checksums --------------------------------------------------------------------------------------------------------


def flip(path: Path, index: int) -> None:
    """Flip one bit of the combined spectrum, in the middle of the green detector."""
    content = bytearray(path.read_bytes())
    width = 2 if index == 3 else 4
    content[place(path, index)[1] + width * (N_PIXELS_APSTAR + 5000) + 1] ^= 16
    path.write_bytes(content)


harmless("a flipped bit without a checksum", tolerance=None)(lambda path: flip(path, 1))
add_harmless("checksums that agree", lambda h: h, checksum=True)
add_harmless("an empty checksum", card(1, "DATASUM", ""))
add("a checksum that is no number", Status.BAD_CHECKSUM, "DATASUM of HDU 3", card(3, "DATASUM", "unknown"))
for _index in (1, 2, 3):

    @kind(f"a flipped bit in HDU {_index} with a checksum", Status.BAD_CHECKSUM, f"DATASUM of HDU {_index}")
    def _(path, index=_index):
        edit(lambda h: h, checksum=True)(path)
        flip(path, index)


@harmless("compressed images whose checksums agree")
def _(path):
    options = {"compression_type": "GZIP_2", "quantize_level": 0.0}
    edit(lambda h: [h[0], *(fits.CompImageHDU(x.data, x.header, **options) for x in h[1:4])], checksum=True)(path)
