"""Tables of Gaia sources with random damage: header cards, columns, shapes, encodings, bytes that are cut or changed.

Damage either leaves the numbers of a row as they are, makes one unknown, or makes the table one that must be refused.
Changes after which a file states another number just as well are left out: no reader can tell them.
"""

from __future__ import annotations

import bz2
import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.table import Table

N = 20
NEEDED = ("phot_g_mean_mag", "bp_rp", "teff_val", "parallax")
Change = Callable[[np.random.Generator, bytes], bytes]
PLACEHOLDERS = (1e20, -9999.0, -9999.99, np.nan, np.inf, -np.inf, -3e38)


def sources() -> Table:
    rng = np.random.default_rng(7)
    values = [rng.uniform(*limits, N) for limits in ((9.5, 16), (0.8, 2.9), (3800, 5700), (0.1, 3))]
    table = Table({"source_id": np.arange(N) + 2**60, "name": [f"star {i}" for i in range(N)]})
    for name, column in zip(NEEDED, values, strict=True):
        table[name] = column.round(3)
    table["ra"] = rng.uniform(0, 360, N)
    return table


def _choice(rng: np.random.Generator, items):
    return items[rng.integers(len(items))]


# --- damage to the table, in any format -------------------------------------------------------------------------------


def _columns(rng: np.random.Generator) -> Table:
    """One needed column is missing, renamed, of another type, in another place, or has unknown values."""
    table, name = sources(), _choice(rng, NEEDED)
    column = np.asarray(table[name])
    kind = rng.integers(9)
    if kind == 0:
        table.remove_column(name)
    elif kind == 1:
        table.rename_column(name, _choice(rng, [name.upper(), name.title(), name[:-1], f"{name}_2", "x"]))
    elif kind == 2:
        column = column.copy()
        column[rng.integers(N, size=3)] = _choice(rng, PLACEHOLDERS)
        table[name] = column
    elif kind == 3:
        table[name] = column.astype(_choice(rng, ["f4", ">f8", "U9"]))
    elif kind == 4:
        table[name] = [_choice(rng, ["null", "NaN", "", "--", "red", str(x)]) for x in column]
    elif kind == 5:
        table[_choice(rng, [name.upper(), name.title()])] = column + 1
    elif kind == 6:
        table = table[[str(other) for other in rng.permutation(table.colnames)]]
    elif kind == 7:
        table[name] = _choice(rng, [column > 0, column.astype(complex)])
    else:
        table.rename_column("ra", _choice(rng, ["zero_point", "Zero_Point_Error", "TEFF_GSPPHOT"]))
    return table


def _packed(rng: np.random.Generator, content: bytes) -> bytes:
    half = int(rng.integers(len(content)))
    packed = gzip.compress(content[:half]) + gzip.compress(content[half:])
    kind = rng.integers(6)
    if kind == 0:
        return packed
    if kind == 1:
        return packed + bytes(9)
    if kind == 2:
        return packed + b"rubbish"
    if kind == 3:
        return gzip.compress(packed)
    if kind == 4:
        return bz2.compress(content)
    return gzip.compress(content)[: int(rng.integers(30, len(content) // 2))]


def _cut(rng: np.random.Generator, content: bytes) -> bytes:
    return content[: int(rng.integers(len(content)))]


# --- FITS -------------------------------------------------------------------------------------------------------------


def _fits(table: Table) -> bytes:
    hdu = fits.table_to_hdu(table)
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file)
    return file.getvalue()


def _fits_base(rng: np.random.Generator) -> bytes:
    """Teff as scaled whole numbers, one of which is TNULL."""
    columns = list(fits.table_to_hdu(sources()).columns)
    stored = np.round((np.asarray(sources()["teff_val"]) - 5000) / 0.1).astype("i2")
    stored[3] = -32768
    place = [column.name for column in columns].index("teff_val")
    columns[place] = fits.Column("teff_val", "I", array=stored)
    hdu = fits.BinTableHDU.from_columns(columns)
    for key, value in (("TNULL", -32768), ("TSCAL", 0.1), ("TZERO", 5000.0)):
        hdu.header[f"{key}{place + 1}"] = value
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file)
    return file.getvalue()


def _cards(rng: np.random.Generator, content: bytes) -> bytes:
    """A card of the headers is gone, there twice, in lower case, or says something that cannot be."""
    places = [i for i in range(0, 4 * 2880, 80) if content[i + 8 : i + 10] == b"= "]
    place = _choice(rng, places)
    card = content[place : place + 80]
    scaling = card[:5] in (b"TNULL", b"TSCAL", b"TZERO")
    kind = rng.integers(5)
    if kind == 0:
        values = ["'abc'", "T", "1E400", "NaN", "", "???"] + (
            [] if scaling else ["-1", "0", "1", "999999999999", "3.5"]
        )
        card = card[:10] + str(_choice(rng, values)).rjust(20).encode().ljust(70)
    elif kind == 1 and not scaling:
        card = b" " * 80
    elif kind == 2:
        other = _choice(rng, places)
        return content[:other] + card + content[other + 80 :] if not scaling else content
    elif kind == 3:
        card = card.lower()
    else:
        card = card[:30] + bytes(_choice(rng, [b"\xff", b"\0", b"\n", b"'"])) + card[31:]
    return content[:place] + card + content[place + 80 :]


def _fits_shapes(rng: np.random.Generator, _: bytes) -> bytes:
    """Vectors, lists, bits and ASCII tables where one number is needed."""
    table, name = sources(), _choice(rng, NEEDED)
    kind = rng.integers(4)
    if kind == 0:
        table[name] = np.stack([np.asarray(table[name])] * int(rng.integers(2, 4)), axis=1)
    columns = list(fits.table_to_hdu(table).columns)
    place = table.colnames.index(name)
    if kind == 1:
        columns[place] = fits.Column(name, "PD()", array=np.array([np.ones(i % 3) for i in range(N)], object))
    elif kind == 2:
        columns[place] = fits.Column(name, "7X", array=np.ones((N, 7), bool))
    if kind == 3:
        hdu = fits.TableHDU.from_columns([fits.Column(key, "F12.4", array=np.asarray(table[key])) for key in NEEDED])
    else:
        hdu = fits.BinTableHDU.from_columns(columns)
    file = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(file)
    return file.getvalue()


# --- CSV and ECSV -----------------------------------------------------------------------------------------------------


def _text(table: Table, kind: str = "csv", delimiter: str = ",") -> bytes:
    text = io.StringIO()
    table.write(text, format=f"ascii.{kind}", delimiter=delimiter)
    return text.getvalue().encode()


def _lines(rng: np.random.Generator, content: bytes) -> bytes:
    """One line, or all, are not as they should be."""
    lines = content.splitlines()
    place = int(rng.integers(len(lines)))
    line = lines[place]
    kind = rng.integers(10)
    if kind == 0:
        line = line + b",1"
    elif kind == 1:
        line = line[: max(line.rfind(b","), line.rfind(b" "), 1)]
    elif kind == 2:
        line = line.replace(b",", b";").replace(b" ", b"  ")
    elif kind == 3:
        at = int(rng.integers(len(line) + 1))
        line = line[:at] + b'"' + line[at:]
    elif kind == 4:
        line += b"\n"
    elif kind == 5:
        line = line.replace(b"star", "Stärn".encode(_choice(rng, ["latin-1", "utf-8"])))
    elif kind == 6:
        fields = line.split(b",")
        fields[int(rng.integers(len(fields)))] = _choice(
            rng, [b"null", b"", b" NaN ", b"-9999", b"1e20", b"?", b"1 2", b"\0"]
        )
        line = b",".join(fields)
    elif kind == 7:
        return _choice(rng, [b"\r", b"\r\n", b"\n\n"]).join([*lines, b""])
    elif kind == 8:
        encoding = _choice(rng, ["utf-16", "utf-32", "utf-8-sig", "utf-16-be", "utf-7"])
        return content.decode().encode(encoding)
    else:
        line = b"# " + line
    return b"\n".join([*lines[:place], line, *lines[place + 1 :], b""])


# --- Parquet ----------------------------------------------------------------------------------------------------------


def _arrow(table: Table) -> pa.Table:
    columns = {}
    for name in table.colnames:
        values = np.asarray(table[name])
        columns[name] = values.real if values.dtype.kind == "c" else values.astype(values.dtype.newbyteorder("="))
    return pa.table(columns)


def _parquet(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, row_group_size=7, write_page_checksum=True)
    return file.getvalue()


def _parquet_shapes(rng: np.random.Generator, _: bytes) -> bytes:
    table, name = _arrow(sources()), _choice(rng, NEEDED)
    place, column = table.column_names.index(name), table[name].combine_chunks()
    kind = rng.integers(8)
    if kind == 0:
        column = pa.array([[x.as_py()] for x in column])
    elif kind == 1:
        column = pa.StructArray.from_arrays([column], [name])
    elif kind == 2:
        column = column.dictionary_encode()
    elif kind == 3:
        column = pa.array(column.to_pylist(), mask=np.arange(N) % 3 == 0)
    elif kind == 4:
        column = pa.array(np.arange(N), pa.timestamp("us"))
    elif kind == 5:
        column = pa.nulls(N)
    elif kind == 6:
        column = column.cast(pa.string()).cast(_choice(rng, [pa.string(), pa.large_string(), pa.binary()]))
    else:
        return _parquet(table.append_column(_choice(rng, [name, name.upper()]), column))
    return _parquet(table.set_column(place, name, column))


def _bytes(rng: np.random.Generator, content: bytes) -> bytes:
    """A few bytes are others; those of the numbers bear a check sum."""
    changed = bytearray(content)
    for place in rng.integers(len(content), size=int(rng.integers(1, 4))):
        changed[place] = int(rng.integers(256))
    return bytes(changed)


CHANGES: dict[str, tuple[Callable[[Table], bytes], Callable[[np.random.Generator], bytes], tuple[Change, ...]]] = {
    "fits": (_fits, _fits_base, (_cards, _cards, _fits_shapes, _packed, _cut)),
    "csv": (_text, lambda rng: _text(sources()), (_lines, _lines, _packed, _cut)),
    "ecsv": (
        lambda table: _text(table, "ecsv", " "),
        lambda rng: _text(sources(), "ecsv", _choice(rng, " ,")),
        (_lines, _lines, _packed, _cut),
    ),
    "parquet": (
        lambda table: _parquet(_arrow(table)),
        lambda rng: _parquet(_arrow(sources())),
        (_bytes, _parquet_shapes, _packed, _cut),
    ),
}


def write_mutated(kind: str, number: int, path: Path) -> str:
    """Write the table with damage of this number; return what was done."""
    rng = np.random.default_rng([number, sum(map(ord, kind))])
    of_table, base, changes = CHANGES[kind]
    change = _choice(rng, (_columns, *changes))
    if change is _columns:
        path.write_bytes(of_table(_columns(rng)))
    else:
        path.write_bytes(change(rng, base(rng)))
    return change.__name__
