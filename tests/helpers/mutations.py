"""Seeded mutations of FITS tables: what a stranger's file may be like, and what a disk or a transfer makes of one."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Column, Table

PLACEHOLDERS = (np.nan, np.inf, -np.inf, 1e20, -1e30, -9999.0, -9999.99)


def mutate_table(source: Path, target: Path, rng: np.random.Generator, hdu: int = 1) -> str:
    """Write `source`, changed in one to three ways, to `target`; return what was done."""
    table = Table.read(source, hdu=hdu)
    done = []
    for _ in range(rng.integers(1, 4)):
        change = EDITS[rng.integers(len(EDITS))]
        done.append(change(table, rng))
    before = [fits.BinTableHDU() for _ in range(hdu - 1)]
    fits.HDUList([fits.PrimaryHDU(), *before, fits.BinTableHDU(table)]).writeto(target, overwrite=True)
    if rng.random() < 0.4:
        change_bytes = DAMAGES[rng.integers(len(DAMAGES))]
        content, what = change_bytes(target.read_bytes(), rng)
        target.write_bytes(content)
        done.append(what)
    return ", ".join(done)


def _any_column(table: Table, rng: np.random.Generator, kinds: str = "fiuSU") -> str | None:
    names = [
        name
        for name in table.colnames
        if table[name].dtype.kind in kinds and table[name].ndim == 1 and not hasattr(table[name], "mask")
    ]
    return str(rng.choice(names)) if names else None


def drop_column(table, rng):
    name = str(rng.choice(table.colnames))
    table.remove_column(name)
    return f"no {name}"


def change_case(table, rng):
    name = str(rng.choice(table.colnames))
    if name.swapcase() not in table.colnames:
        table.rename_column(name, name.swapcase())
    return f"{name} in another case"


def add_twin(table, rng):
    """A joined table holds a name twice, in two spellings; the one that the release has counts."""
    name = _any_column(table, rng, "fi")
    if name and name.swapcase() not in table.colnames:
        table[name.swapcase()] = np.asarray(table[name]) + 1
    return f"{name} twice, in two spellings"


def widen(table, rng):
    name = _any_column(table, rng, "fi")
    if name:
        kind = "f8" if table[name].dtype.kind == "f" else "i8"
        table.replace_column(name, Column(np.asarray(table[name]).astype(kind), name=name))
    return f"{name} with 64 bits"


def as_text(table, rng):
    name = _any_column(table, rng, "fi")
    if name:
        texts = ["" if value != value else repr(value.item()) for value in np.asarray(table[name])]
        table.replace_column(name, Column(texts, name=name))
    return f"{name} as text"


def as_vector(table, rng):
    name = _any_column(table, rng, "fi")
    if name:
        table.replace_column(name, Column(np.stack([np.asarray(table[name])] * 2, axis=1), name=name))
    return f"{name} two values a row"


def put_placeholder(table, rng):
    name = _any_column(table, rng, "f")
    if name:
        value = PLACEHOLDERS[rng.integers(len(PLACEHOLDERS))]
        rows = rng.random(len(table)) < rng.choice([0.1, 1.0])
        column = np.array(table[name])
        with np.errstate(over="ignore"):
            column[rows] = value
        table.replace_column(name, Column(column, name=name))
    return f"{name} with {value if name else ''}"


def put_null(table, rng):
    name = _any_column(table, rng, "i")
    if name:
        column = np.array(table[name])
        column[rng.random(len(table)) < 0.2] = 99
        table.replace_column(name, Table({name: np.ma.masked_equal(column, 99)})[name])
    return f"{name} masked"


def reorder(table, rng):
    order = [str(name) for name in rng.permutation(table.colnames)]
    columns = [table[name] for name in order]
    table.remove_columns(table.colnames)
    table.add_columns(columns)
    return "columns in another order"


def foreign_text(table, rng):
    name = _any_column(table, rng, "SU")
    if name:
        values = np.asarray(table[name])
        texts = list(np.char.decode(values, "latin-1") if values.dtype.kind == "S" else values)
        texts[rng.integers(len(texts))] = "K\u00f6nig"
        table.replace_column(name, Column(np.char.encode(np.array(texts), "latin-1"), name=name))
    return f"{name} with a letter that is not ASCII"


def add_column(table, rng):
    n = len(table)
    table[f"EXTRA{rng.integers(100)}"] = [np.zeros((n, 3)), np.full(n, "x"), np.ones(n, bool)][rng.integers(3)]
    return "one more column"


EDITS = (
    *(drop_column, change_case, add_twin, widen, as_text, as_vector, put_placeholder, put_null, reorder, foreign_text),
    *(add_column, put_placeholder),
)


def cut(content, rng):
    at = int(rng.integers(len(content)))
    return content[:at], f"cut after {at} bytes"


def spoil_card(content, rng):
    """A byte of a header is another one."""
    headers = [i for i in range(0, len(content), 2880) if content[i : i + 8] in (b"SIMPLE  ", b"XTENSION")]
    place = headers[-1] + int(rng.integers(2880))
    byte = int(rng.integers(256))
    return content[:place] + bytes([byte]) + content[place + 1 :], f"byte {place} is {byte}"


def pack(content, rng):
    return gzip.compress(content), "compressed"


def pack_and_cut(content, rng):
    packed = gzip.compress(content)
    at = int(rng.integers(10, len(packed)))
    return packed[:at], f"compressed, and cut after {at} bytes"


def replace(content, rng):
    return [b"", b"<html>504</html>" * 500, b"\0" * 9000, b"a,b\n1,2\n"][rng.integers(4)], "something else"


DAMAGES = (cut, spoil_card, spoil_card, spoil_card, pack, pack_and_cut, replace)


# --- apStar files -----------------------------------------------------------------------------------------------------


def mutate_apstar(source: Path, target: Path, rng: np.random.Generator) -> str:
    """Write an apStar file of several visits, changed in one or more ways, to `target`; return what was done."""
    with fits.open(source, memmap=False) as hdus:
        parts = [fits.PrimaryHDU(header=hdus[0].header)]
        parts += [fits.ImageHDU(np.array(hdu.data), hdu.header) for hdu in hdus[1:]]
    done = [APSTAR_EDITS[rng.integers(len(APSTAR_EDITS))](parts, rng) for _ in range(rng.integers(1, 3))]
    fits.HDUList(parts).writeto(target, overwrite=True, output_verify="silentfix")
    if rng.random() < 0.3:
        content, what = DAMAGES[rng.integers(len(DAMAGES))](target.read_bytes(), rng)
        target.write_bytes(content)
        done.append(what)
    return ", ".join(done)


def _each(parts, change):
    """Change the arrays of flux, error and mask alike; headers stay."""
    for i in (1, 2, 3):
        header = parts[i].header
        parts[i] = fits.ImageHDU(change(parts[i].data))
        for card in ("CRVAL1", "CDELT1", "CRPIX1"):
            if card in header:
                parts[i].header[card] = header[card]


def other_bits(parts, rng):
    wide = bool(rng.integers(2))
    _each(parts, lambda data: data.astype((">f8" if wide else "<f4") if data.dtype.kind == "f" else ">i8"))
    return "numbers of other length or byte order"


def fewer_or_more_rows(parts, rng):
    rows = int(rng.integers(1, 8))
    _each(parts, lambda data: np.concatenate([data] * 2)[:rows] if data.ndim == 2 else data)
    return f"{rows} rows"


def rows_of_one(parts, rng):
    i = int(rng.integers(1, 4))
    if parts[i].data.ndim == 2:
        parts[i].data = parts[i].data[:-1]
    return f"HDU {i} with a row less"


def turned(parts, rng):
    _each(parts, lambda data: np.ascontiguousarray(data.T))
    return "rows and pixels exchanged"


def deeper(parts, rng):
    _each(parts, lambda data: data[None])
    return "one axis more"


def fewer_pixels(parts, rng):
    _each(parts, lambda data: np.ascontiguousarray(data[..., :-1]))
    return "8574 pixels"


def lose_hdu(parts, rng):
    if len(parts) > 2:
        del parts[int(rng.integers(1, len(parts)))]
    return "an HDU less"


def mask_as_float(parts, rng):
    if len(parts) > 3:
        parts[3] = fits.ImageHDU(parts[3].data.astype(">f4"))
    return "mask of floating-point numbers"


def odd_card(parts, rng):
    name = str(rng.choice(["OBJID", "NVISITS", "K", "SNR", "AKTARG", "TELESCOP", "RA"]))
    value = [None, "", "x", -1, 0, 2.5, 10**9, True, "NaN", fits.card.Undefined()][rng.integers(10)]
    if value is None:
        parts[0].header.remove(name, ignore_missing=True)
    else:
        parts[0].header[name] = value
    return f"{name} is {value!r}"


def odd_grid(parts, rng):
    name = str(rng.choice(["CRVAL1", "CDELT1", "CRPIX1"]))
    parts[1].header[name] = [0, "4.179", 4.0, True, -1][rng.integers(5)]
    return f"{name} of HDU 1 is {parts[1].header[name]!r}"


def spoil_pixels(parts, rng):
    """Flux or errors of all rows, so that no row is the good one."""
    i = int(rng.integers(1, 3))
    value = (np.nan, np.inf, -1.0, 0.0, 1e10)[rng.integers(5)]
    if len(parts) > i:
        parts[i].data = np.full_like(parts[i].data, value)
    return f"HDU {i} full of {value}"


APSTAR_EDITS = (
    *(other_bits, fewer_or_more_rows, rows_of_one, turned, deeper, fewer_pixels, lose_hdu, mask_as_float),
    *(odd_card, odd_card, odd_card, odd_grid, spoil_pixels),
)
