"""Tables too large for memory, in Parquet, FITS, CSV and ECSV: read some numbers, write them with columns added.

Everything that a table holds already is copied as it is: in FITS, CSV and ECSV byte by byte, in Parquet with the types
and the metadata of the schema. Rows come in pieces of `chunk`, in the order of the file. FITS, CSV and ECSV may be
packed with gzip, whatever the file is called. A folder of Parquet files is one table.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import json
import os
import re
import shlex
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.formats.fits_columns import foreign_format, native

__all__ = ["UNKNOWN_TEXTS", "NewColumn", "TableFormatError", "open_table", "table_suffix"]

UNKNOWN_TEXTS = ["", "null", "nan", "none", "na", "n/a", "<na>", "--"]  # of a number, in lower case
FITS_LETTERS = {"f4": "E", "f8": "D", "u1": "B"}
FITS_NUMBERS = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
SCALING = {"TNULL": 0.5, "TSCAL": 1, "TZERO": 0}  # where a header does not say; no whole number is one half
FITS_BYTES = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
HATS_THUMBNAIL = "data_thumbnail.parquet"  # a few rows of each partition once more
LONGEST_LINE = 1 << 20  # [bytes] of the line of column names
GZIP = b"\x1f\x8b"
PACKED_BY = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\3\4": "zip", b"\x28\xb5\x2f\xfd": "zstd"}
ACCEPTED = "must be a .parquet, .fits, .csv or .ecsv file (the last three also with .gz), or a folder of Parquet files"


class TableFormatError(ValueError):
    """A table that cannot be read; the message names the file and the remedy."""


@dataclass(frozen=True)
class NewColumn:
    """A column to add; `unit` is "" where there is none."""

    name: str
    dtype: str  # of numpy: f4, f8 or u1
    unit: str
    description: str


@takes(path=file_path)
def open_table(path: str | Path) -> ParquetTable | FitsTable | CsvTable:
    """Open a table: .parquet or .pq, .fits or .fit (first binary table), .csv or .ecsv, or a folder of Parquet files.

    FITS, CSV and ECSV may be packed with gzip, with or without .gz in the name. All kinds of tables have `files` (all
    that are read), `column_names` ("" where a column has none), `n_rows` (None if it is not known before reading),
    ``numbers(names, chunk)`` and ``write(path, additions, columns, history, chunk)``; `numbers` needs names that only
    one column has.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder.
    TableFormatError
        If it is none of these formats, has the name of another one, or is damaged.
    """
    path = Path(path)
    if path.is_dir():
        return ParquetTable(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such table")
    with _unpacked(path) as source:
        start = source.read(2880)
    kind = _kind(start)
    if kind is None:
        raise TableFormatError(f"{path}: {_foreign(path, start)}; a table {ACCEPTED}")
    if kind is ParquetTable and _is_packed(path):
        whole = _sibling(path, "_unpacked.parquet")
        raise TableFormatError(f"{path}: Parquet inside gzip: unpack it with `gunzip < {_quoted(path)} > {whole}`")
    if not table_suffix(path).lower().removesuffix(".gz").endswith(kind.suffixes):
        named = _sibling(path, kind.suffixes[0] + (".gz" if _is_packed(path) else ""))
        raise TableFormatError(
            f"{path}: holds {kind.format}, which its name does not say: rename it with `mv -n {_quoted(path)} {named}`"
        )
    return kind(path)


@takes(path=file_path)
def table_suffix(path: str | Path) -> str:
    """The end of a table's name that says its format, such as ".csv.gz"; ".parquet" for a folder."""
    path = Path(path)
    if path.is_dir():
        return ".parquet"
    return Path(path.stem).suffix + path.suffix if path.suffix.lower() == ".gz" else path.suffix


class ParquetTable:
    """A Parquet file, or all of a folder in the order of their paths as one table; output has a row group per chunk."""

    format, suffixes = "Parquet", (".parquet", ".pq")

    def __init__(self, path: Path):
        self.path = path
        self.files = _parquet_files(path) if path.is_dir() else [path]
        with _parquet(self.files[0]) as file:
            schema = file.schema_arrow
        self.n_rows = 0
        for part in self.files:
            with _parquet(part) as file:
                self.n_rows += file.metadata.num_rows
                if not file.schema_arrow.equals(schema):
                    raise TableFormatError(f"{part}: {_difference(file.schema_arrow, schema)} in {self.files[0]}")
        keys = _partition_keys(path, self.files) if path.is_dir() else {}
        self.keys = {name: values for name, values in keys.items() if name not in schema.names}
        for name, values in self.keys.items():
            schema = schema.append(pa.field(name, values.type))
        self.schema = schema
        self.column_names = list(schema.names)

    def _batches(self, names: Sequence[str] | None, chunk: int) -> Iterator[pa.RecordBatch]:
        for i, part in enumerate(self.files):
            with _parquet(part) as file:
                for batch in file.iter_batches(batch_size=chunk, columns=names):
                    for name, values in self.keys.items():
                        batch = batch.append_column(name, pa.repeat(values[i], len(batch)))
                    yield batch.replace_schema_metadata(None)

    def numbers(self, names: Sequence[str], chunk: int) -> Iterator[list[np.ndarray]]:
        """Yield these columns as float64, NaN where unknown (null, NaN, -9999, 1e20 and the like)."""
        for piece in _pieces(self._batches(list(dict.fromkeys(names)), chunk), chunk):
            yield [_floats(piece[name], self.path, name) for name in names]

    def write(
        self, path: Path, additions: Iterable[np.ndarray], columns: Sequence[NewColumn], history: Mapping, chunk: int
    ) -> None:
        """Write the table with the columns added; `additions` are structured arrays, one per chunk."""
        schema = self.schema
        for column in columns:
            about = {"description": column.description} | ({"unit": column.unit} if column.unit else {})
            schema = schema.append(pa.field(column.name, pa.from_numpy_dtype(np.dtype(column.dtype)), metadata=about))
        schema = schema.with_metadata({**(schema.metadata or {}), b"apogaia": json.dumps(history).encode()})
        with _parquet(self.files[0]) as file:
            # measured numbers hardly repeat: trying a dictionary on them costs most of the writing time
            leaves = [file.schema.column(i) for i in range(len(file.schema))]
            repeating = [leaf.path for leaf in leaves if leaf.physical_type not in ("FLOAT", "DOUBLE", "INT64")]
            codec = file.metadata.row_group(0).column(0).compression if file.metadata.num_row_groups else "SNAPPY"
        repeating += [*self.keys, *(column.name for column in columns if column.dtype == "u1")]
        codec = {"UNCOMPRESSED": "NONE"}.get(codec, codec)
        with pq.ParquetWriter(path, schema, compression=codec, use_dictionary=repeating) as writer:
            pieces = _pieces(self._batches(None, chunk), chunk)
            for piece, addition in _ahead(zip(pieces, additions, strict=True)):
                new = [pa.array(np.ascontiguousarray(addition[column.name])) for column in columns]
                whole = pa.Table.from_arrays([*piece.columns, *new], schema=schema)
                writer.write_table(whole, row_group_size=chunk)


@contextmanager
def _parquet(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        # pyarrow would otherwise hold all bytes that it has read, and those of a row group at once
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True) as file:
            yield file
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise TableFormatError(f"{path}: not a whole Parquet file: {_one_line(error)}: get it again") from error


def _parquet_files(folder: Path) -> list[Path]:
    """The Parquet files below a folder as Spark, Dask and LSDB write them; names that begin with _ or . are hidden."""
    if (folder / "collection.properties").is_file():
        raise TableFormatError(f"{folder}: a HATS collection: name the folder of its main catalogue instead")
    found = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name[0] not in "._"]
        found += [Path(place, name) for name in names if name[0] not in "._" and name != HATS_THUMBNAIL]
    parts = [path for path in found if path.is_file() and _is_parquet(path)]
    if not parts:
        raise TableFormatError(f"{folder}: a folder without Parquet files; a table {ACCEPTED}")
    if len({path.resolve() for path in parts}) < len(parts):
        raise TableFormatError(f"{folder}: holds a Parquet file twice, by a link: remove the link")
    return sorted(parts, key=lambda path: re.sub("[0-9]+", lambda digits: digits[0].zfill(20), str(path)))


def _is_parquet(path: Path) -> bool:
    if {".parquet", ".pq"} & set(path.suffixes):
        return True
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1"


def _partition_keys(folder: Path, parts: Sequence[Path]) -> dict[str, pa.Array]:
    """Columns that the names of folders stand for, as in Norder=3/Dir=0/: one value per part."""
    keys = []
    for part in parts:
        steps = [step.partition("=") for step in part.relative_to(folder).parent.parts if "=" in step]
        keys.append({unquote(name): unquote(value) for name, _, value in steps})
        if list(keys[-1]) != list(keys[0]):
            raise TableFormatError(f"{part}: lies in other folders name=value than {parts[0]}: give one table's folder")
    columns = {}
    for name in keys[0]:
        values = [None if key[name] == "__HIVE_DEFAULT_PARTITION__" else key[name] for key in keys]
        whole = all(value is None or re.fullmatch("-?[0-9]{1,18}", value) for value in values)
        columns[name] = pc.cast(pa.array(values, pa.string()), pa.int64() if whole else pa.string())
    return columns


def _difference(schema: pa.Schema, first: pa.Schema) -> str:
    for field, other in itertools.zip_longest(schema, first):
        if field is None or other is None or not field.equals(other):
            return f"column {(field or other).name!r} is not as"
    return "has not the same columns as"


@dataclass(frozen=True)
class FitsColumn:
    """Where a column lies in the rows of a FITS table, and what it holds."""

    number: int  # from 1
    name: str
    form: str  # TFORM
    letter: str  # of its type
    repeat: int  # values a row
    offset: int  # [bytes]
    width: int  # [bytes]


class FitsTable:
    """The first binary table of a FITS file; its rows, heap and the other HDUs are copied as bytes."""

    format, suffixes = "FITS", (".fits", ".fit")

    def __init__(self, path: Path):
        self.path, self.files = path, [path]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", AstropyUserWarning)  # of truncation: an error below
                self._find_table()
                self.columns = self._columns()
        except TableFormatError:
            raise
        except Exception as fault:  # what astropy raises on damage has no common base
            raise TableFormatError(f"{path}: not a FITS file, or damaged: {_one_line(fault)}: get it again") from fault
        self.column_names = [column.name for column in self.columns]

    def _find_table(self) -> None:
        with fits.open(self.path, memmap=True) as hdus:
            tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
            if not tables:
                in_text = [f"hdu={i}" for i, hdu in enumerate(hdus) if isinstance(hdu, fits.TableHDU)]
                found = f"only an ASCII table: convert it with {_converted(self.path, 'fits', *in_text[:1])}"
                raise TableFormatError(f"{self.path}: has {found if in_text else 'no table: give another file'}")
            self.header, where = tables[0].header, tables[0].fileinfo()
            needed = max(hdu.fileinfo()["datLoc"] + hdu.size for hdu in hdus)
        if not _is_packed(self.path) and self.path.stat().st_size < needed:
            raise self._cut_short()
        self.start, self.data, self.end = where["hdrLoc"], where["datLoc"], where["datLoc"] + where["datSpan"]
        self.row_bytes, self.n_rows = self._card("NAXIS1"), self._card("NAXIS2")
        self.heap_bytes = self._card("PCOUNT", 0)

    def _card(self, key: str, default: int | None = None) -> int:
        value = self.header.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise TableFormatError(
                f"{self.path}: {key} = {value!r} in the header of the table: mend it or get it again"
            )
        return value

    def _columns(self) -> list[FitsColumn]:
        columns, offset = [], 0
        for i in range(1, self._card("TFIELDS") + 1):
            form = str(self.header.get(f"TFORM{i}", "")).strip().upper()
            parsed = re.match("([0-9]*)([LXBIJKAEDCMPQ])", form)
            if parsed is None:
                raise TableFormatError(f"{self.path}: column {i} has TFORM{i} = {form!r}, no format of FITS: mend it")
            repeat, letter = int(parsed[1] or 1), parsed[2]
            width = -(-repeat // 8) if letter == "X" else repeat * FITS_BYTES[letter]
            name = str(self.header.get(f"TTYPE{i}", "")).strip()
            columns.append(FitsColumn(i, name, form, letter, repeat, offset, width))
            offset += width
        if offset != self.row_bytes:
            raise TableFormatError(
                f"{self.path}: columns take {offset} bytes a row by TFORM, {self.row_bytes} by NAXIS1: get it again"
            )
        return columns

    def numbers(self, names: Sequence[str], chunk: int) -> Iterator[list[np.ndarray]]:
        """Yield these columns as float64, NaN where unknown (TNULL, NaN, -9999, 1e20 and the like)."""
        columns = [self.columns[self.column_names.index(name)] for name in names]
        readers = [self._reader(column) for column in columns]
        with _unpacked(self.path) as source:
            source.seek(self.data)
            for start in range(0, self.n_rows, chunk):
                blocks = self._blocks(source, min(chunk, self.n_rows - start))
                parts = [[read(rows) for read in readers] for rows in blocks]
                yield [np.concatenate(column) for column in zip(*parts, strict=True)]

    def _reader(self, column: FitsColumn) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function that takes rows of bytes to numbers."""
        where = f"{self.path}: column {column.number} ({column.name!r}, TFORM{column.number} = {column.form!r})"
        if column.letter not in FITS_NUMBERS and column.letter != "A":
            raise TableFormatError(f"{where} holds no numbers: name another column")
        if (column.repeat != 1 and column.letter != "A") or not column.width:
            raise TableFormatError(f"{where} holds {column.repeat} values a row, not one: name another column")
        try:
            cards = [self.header.get(f"{key}{column.number}", none) for key, none in SCALING.items()]
        except fits.VerifyError as error:
            raise TableFormatError(f"{where}: {_one_line(error)}: mend the header") from error
        null, scale, zero = cards
        if not all(type(card) in (int, float) and abs(card) < np.inf for card in cards) or scale == 0:
            raise TableFormatError(f"{where} has TNULL, TSCAL, TZERO = {null!r}, {scale!r}, {zero!r}: mend the header")

        def read(rows: np.ndarray) -> np.ndarray:
            cells = np.ascontiguousarray(rows[:, column.offset : column.offset + column.width])
            if column.letter == "A":
                texts = np.char.decode(cells.view(f"S{column.width}")[:, 0], "ascii", "replace")
                return _floats(pa.array(texts.tolist(), pa.string()), self.path, column.name)
            stored = cells.view(FITS_NUMBERS[column.letter])[:, 0]
            with np.errstate(all="ignore"):  # what overflows is unknown
                values = stored.astype(float) * scale + zero
            if null != SCALING["TNULL"]:
                # for unsigned integers some writers, astropy among them, state the value itself, not what is stored
                values[(stored == null) | ((scale == 1) & (values == null))] = np.nan
            return native(values, "f8")

        return read

    def _blocks(self, source: io.BufferedIOBase, n_rows: int) -> Iterator[np.ndarray]:
        """Yield the next rows as bytes, (n, row_bytes), in blocks of some 16 MB."""
        block = max(1, (1 << 24) // max(1, self.row_bytes))
        for start in range(0, n_rows, block):
            n = min(block, n_rows - start)
            content = source.read(n * self.row_bytes)
            if len(content) < n * self.row_bytes:
                raise self._cut_short()
            yield np.frombuffer(content, np.uint8).reshape(n, self.row_bytes)

    def _cut_short(self) -> TableFormatError:
        return TableFormatError(f"{self.path}: cut short: get it again")

    def write(
        self, path: Path, additions: Iterable[np.ndarray], columns: Sequence[NewColumn], history: Mapping, chunk: int
    ) -> None:
        """Write the table with the columns added; `additions` are structured arrays, one per chunk."""
        record = np.dtype([(column.name, ">" + column.dtype) for column in columns])
        header = self._header(columns, record.itemsize, history)
        with _unpacked(self.path) as source, _created(path) as target:
            if _copy(source, target, self.start) < self.start:
                raise self._cut_short()
            target.write(header.tostring().encode("ascii"))
            source.seek(self.data)
            rows = range(0, self.n_rows, chunk)
            for start, addition in zip(rows, additions, strict=True):
                new = addition.astype(record).view(np.uint8).reshape(len(addition), record.itemsize)
                done = 0
                for old in self._blocks(source, min(chunk, self.n_rows - start)):
                    target.write(np.concatenate([old, new[done : done + len(old)]], axis=1).tobytes())
                    done += len(old)
            if _copy(source, target, self.heap_bytes) < self.heap_bytes:
                raise self._cut_short()
            target.write(bytes(-target.tell() % 2880))
            source.seek(self.end)
            _copy(source, target)

    def _header(self, columns: Sequence[NewColumn], extra_bytes: int, history: Mapping) -> fits.Header:
        header = self.header.copy()
        for stale in ("CHECKSUM", "DATASUM"):
            header.remove(stale, ignore_missing=True)
        header["NAXIS1"] = self.row_bytes + extra_bytes
        if "THEAP" in header:  # bytes from the start of the table to its heap
            header["THEAP"] = self._card("THEAP") + extra_bytes * self.n_rows
        for number, column in enumerate(columns, start=len(self.column_names) + 1):
            header[f"TTYPE{number}"] = column.name
            header[f"TFORM{number}"] = FITS_LETTERS[column.dtype]
            if column.unit:
                header[f"TUNIT{number}"] = column.unit
            header[f"TCOMM{number}"] = column.description
        header["TFIELDS"] = len(self.column_names) + len(columns)
        for key, value in history.items():
            header.add_history(f"apogaia zeropoint, {key}: {json.dumps(value)}")
        return header


class CsvTable:
    """CSV or ECSV; its lines are kept as they are, with the new values behind them.

    Lines that begin with # are allowed before the line of column names. In ECSV they say the types of all columns, and
    those of the new columns are added.
    """

    format, suffixes = "CSV or ECSV", (".csv", ".ecsv")
    n_rows = None

    def __init__(self, path: Path):
        self.path, self.files = path, [path]
        self.comments = b""
        with _unpacked(path) as source:
            line = source.readline(LONGEST_LINE)
            while line.removeprefix(codecs.BOM_UTF8).startswith(b"#"):
                self.comments += line
                line = source.readline(LONGEST_LINE)
            self.start = source.tell()
        self.line_end = b"\r\n" if line.endswith(b"\r\n") else b"\n"
        self.header = line.rstrip(b"\r\n")
        self.delimiter = self._delimiter()
        if not self.header.strip():
            raise TableFormatError(f"{path}: empty; a CSV table begins with a line of column names")
        if b"\r" in self.header:
            whole = _sibling(path, f"_lines{table_suffix(path)}".removesuffix(".gz"))
            raise TableFormatError(
                f"{path}: lines end as on old Macs: convert it with `tr '\\r' '\\n' < {_quoted(path)} > {whole}`"
            )
        if len(line) == LONGEST_LINE or self.header.count(b'"') % 2:
            raise TableFormatError(f"{path}: the line of column names does not end: get it again")
        text = self.header.decode("utf-8-sig", "replace")
        names = next(csv.reader([text], delimiter=self.delimiter, skipinitialspace=True))
        self.column_names = [name.strip() for name in names]

    def _delimiter(self) -> str:
        if not self._is_ecsv():
            return ","
        stated = re.search(rb"^#\s*delimiter:\s*(.*?)\s*$", self.comments, re.MULTILINE)
        delimiter = stated[1].decode("ascii", "replace").strip("'\"") if stated else " "
        if delimiter not in (" ", ","):
            raise TableFormatError(f"{self.path}: delimiter {delimiter!r} is none of ECSV: get it again")
        return delimiter

    def _is_ecsv(self) -> bool:
        return re.match(rb"#\s*%ECSV", self.comments.removeprefix(codecs.BOM_UTF8)) is not None

    def numbers(self, names: Sequence[str], chunk: int) -> Iterator[list[np.ndarray]]:
        """Yield these columns as float64, NaN where unknown (blank, null, NaN, None, --, -9999, 1e20 and the like)."""
        places = [str(self.column_names.index(name)) for name in names]
        options = pa.csv.ConvertOptions(
            include_columns=list(dict.fromkeys(places)),
            column_types=dict.fromkeys(places, pa.binary()),
            strings_can_be_null=False,
        )
        reading = pa.csv.ReadOptions(column_names=[str(i) for i in range(len(self.column_names))], block_size=1 << 24)
        parsing = pa.csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=True)
        may_be_cut = str(len(self.column_names) - 1) in places
        for first, records in self._records(chunk, to_the_end=may_be_cut):
            content = pa.BufferReader(b"\n".join(records) + b"\n")
            last = first + len(records) - 1
            try:
                table = pa.csv.read_csv(content, reading, parsing, options)
            except pa.ArrowInvalid as error:
                raise TableFormatError(
                    f"{self.path}: between rows {first} and {last}: {_one_line(error)}: mend it"
                ) from error
            if table.num_rows != len(records):
                raise TableFormatError(f"{self.path}: quotation marks do not match in rows {first} to {last}: mend it")
            yield [_floats(table[place], self.path, name) for place, name in zip(places, names, strict=True)]

    def write(
        self, path: Path, additions: Iterable[np.ndarray], columns: Sequence[NewColumn], history: Mapping, chunk: int
    ) -> None:
        """Write the table with the columns added, unknown values blank; CSV has no place for the history, ECSV has."""
        delimiter = self.delimiter.encode()
        blank = b'""' if delimiter == b" " else b""
        with _created(path) as target:
            target.write(self._commented(columns, history) if self._is_ecsv() else self.comments)
            target.write(delimiter.join([self.header, *(column.name.encode() for column in columns)]) + self.line_end)
            for (_, records), addition in zip(self._records(chunk), additions, strict=True):
                new = [_texts(addition[column.name]) for column in columns]
                parts = [pa.array(records, pa.binary()), *new, pa.scalar(delimiter, pa.binary())]
                lines = pc.binary_join_element_wise(*parts, null_handling="replace", null_replacement=blank)
                target.write(self.line_end.join(lines.to_pylist()) + self.line_end)

    def _commented(self, columns: Sequence[NewColumn], history: Mapping) -> bytes:
        """ECSV's header with the new columns behind the others, in whichever style of YAML these are."""
        entries: list[dict[str, Any]] = []
        for column in columns:
            about = {"unit": column.unit} if column.unit else {}
            kind = np.dtype(column.dtype).name
            entries.append({"name": column.name, **about, "datatype": kind, "description": column.description})
        entries[0]["meta"] = {"apogaia": history}
        new = [json.dumps(entry).encode() for entry in entries]
        found = re.search(rb"^(# *)datatype: *(\[?).*\r?\n(?:# *[^\w# ].*\n|#  .*\n)*", self.comments, re.MULTILINE)
        if found is None:
            raise TableFormatError(f"{self.path}: no datatype in the ECSV header: get it again")
        block, end = found[0].rstrip(), self.line_end
        if found[2]:
            block = block.removesuffix(b"]").rstrip(b"# \r\n").removesuffix(b",")
            block += b"".join(b"," + end + found[1] + entry for entry in new) + b"]"
        else:
            item = re.search(rb"^# *(?=-)", block, re.MULTILINE)
            block += b"".join(end + (item[0] if item else b"# ") + b"- " + entry for entry in new)
        return self.comments[: found.start()] + block + end + self.comments[found.end() :]

    def _records(self, chunk: int, *, to_the_end: bool = False) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the number of the first record, counted from 1, and `chunk` records without their line ends.

        With `to_the_end` the last line must have its end: without, its last number may be half of one.
        """
        with _unpacked(self.path) as file:
            file.seek(self.start)
            records = _whole_records(self._ended(file) if to_the_end else file)
            first = 1
            while piece := list(itertools.islice(records, chunk)):
                if piece[-1].count(b'"') % 2:  # only the last one of all can be left open
                    raise TableFormatError(
                        f"{self.path}: a quotation mark in row {first + len(piece) - 1} has no end: mend it"
                    )
                yield first, piece
                first += len(piece)

    def _ended(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        for line in lines:
            if not line.endswith(b"\n"):
                raise TableFormatError(
                    f"{self.path}: the last line has no end, so that its last number may be cut short: get it again,"
                    f" or if it is whole end it with `echo >> {_quoted(self.path)}`"
                )
            yield line


# --- what a file is ---------------------------------------------------------------------------------------------------


def _kind(start: bytes) -> type[ParquetTable] | type[FitsTable] | type[CsvTable] | None:
    """What begins like this; None if it is none of our formats."""
    if start.startswith(b"SIMPLE"):
        return FitsTable
    if start.startswith(b"PAR1"):
        return ParquetTable
    first = start.removeprefix(codecs.BOM_UTF8).lstrip()
    is_text = start and b"\0" not in start and not first.startswith((b"<", GZIP, *PACKED_BY))
    return CsvTable if is_text else None


def _foreign(path: Path, start: bytes) -> str:
    """Say what a file of no known format is, and how it becomes one of ours."""
    if b"<VOTABLE" in start.upper():
        return f"a VOTable: convert it with {_converted(path, 'votable')}"
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        whole = _sibling(path, "_utf8.csv")
        return f"text in UTF-16: convert it with `iconv -f UTF-16 -t UTF-8 < {_quoted(path)} > {whole}`"
    if start.startswith(GZIP):
        whole = _sibling(path, f"_unpacked{table_suffix(path)}")
        return f"packed with gzip twice: unpack it once with `gunzip < {_quoted(path)} > {whole}`"
    for first, packer in PACKED_BY.items():
        if start.startswith(first):
            return f"compressed with {packer}: unpack it"
    return foreign_format(start).replace("it does not begin as FITS does", "of an unknown format")


def _converted(path: Path, *options: str) -> str:
    kind, *rest = options
    reading = ", ".join([json.dumps(str(path)), f'format="{kind}"', *rest])
    target = json.dumps(str(path.with_name(f"{_stem(path)}_converted.fits")))
    return f"`python -c {shlex.quote(f'from astropy.table import Table; Table.read({reading}).write({target})')}`"


def _sibling(path: Path, end: str) -> str:
    """The quoted path of a file beside another one, with another end of its name."""
    return _quoted(path.with_name(_stem(path) + end))


def _stem(path: Path) -> str:
    return path.name.removesuffix(table_suffix(path))


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))


def _is_packed(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == GZIP


@contextmanager
def _unpacked(path: Path) -> Iterator[io.BufferedIOBase]:
    """The bytes of a file; those inside if it is packed with gzip, whatever its name."""
    with open(path, "rb") as file:
        if not _is_packed(path):
            yield file
            return
        try:
            with io.BufferedReader(gzip.GzipFile(fileobj=file), 1 << 20) as source:
                yield source
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise TableFormatError(f"{path}: gzip, cut short or damaged: {_one_line(error)}: get it again") from error


@contextmanager
def _created(path: Path) -> Iterator[Any]:
    """A file to write to, packed with gzip if its name ends in .gz; the same content gives the same bytes."""
    with open(path, "wb") as file:
        if path.suffix.lower() != ".gz":
            yield file
            return
        with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
            yield packed


# --- rows and numbers -------------------------------------------------------------------------------------------------


def _pieces(batches: Iterable[pa.RecordBatch], chunk: int) -> Iterator[pa.Table]:
    """Tables of `chunk` rows: batches may be shorter, and end elsewhere for other columns of the same file."""
    held, rows = [], 0
    for batch in batches:
        held.append(batch)
        rows += len(batch)
        while rows >= chunk:
            table = pa.Table.from_batches(held)
            yield table[:chunk]
            held, rows = table[chunk:].to_batches(), rows - chunk
    if rows:
        yield pa.Table.from_batches(held)


def _whole_records(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines that are not blank; a quoted line end does not end a record."""
    open_record = b""
    for line in lines:
        if open_record or line.count(b'"') % 2:
            open_record += line
            if open_record.count(b'"') % 2:
                continue
            line, open_record = open_record, b""
        line = line.rstrip(b"\r\n")
        if line:
            yield line
    if open_record:
        yield open_record.rstrip(b"\r\n")


def _blank_to_null(texts):
    texts = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.is_in(pc.utf8_lower(texts), pa.array(UNKNOWN_TEXTS, texts.type)), None, texts)


def _floats(column, path: Path, name: str) -> np.ndarray:
    """Numbers, or texts of numbers, as float64; NaN where unknown."""
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    kind, types = column.type, pa.types
    is_text = (
        types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind) or types.is_binary(kind)
    )
    if not (
        is_text or types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind)
    ):
        raise TableFormatError(f"{path}: column {name!r} holds {kind}, not one number a row: name another column")
    try:
        if is_text:
            column = _blank_to_null(pc.cast(column, pa.large_string()))
        # not safe: whole numbers beyond 2**53, which are placeholders, may be rounded
        numbers = pc.fill_null(pc.cast(column, pa.float64(), safe=False), np.nan)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TableFormatError(
            f"{path}: column {name!r} is not a number everywhere: {_one_line(error)}: mend it, or name another column"
        ) from error
    return native(numbers.to_numpy(zero_copy_only=False), "f8")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _texts(values: np.ndarray) -> pa.Array:
    """Shortest texts that give the same numbers; null for NaN."""
    numbers = pa.array(np.ascontiguousarray(values), from_pandas=True)
    return pc.cast(pc.cast(numbers, pa.string()), pa.binary())


def _ahead(items: Iterable) -> Iterator:
    """Yield the items, each fetched while the one before is in use."""
    end = object()
    iterator = iter(items)
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, iterator, end)
        while (item := following.result()) is not end:
            following = thread.submit(next, iterator, end)
            yield item


def _copy(source: io.BufferedIOBase, target: io.BufferedIOBase, n: int | None = None) -> int:
    """Copy the next n bytes, or all that are left; return their number."""
    done = 0
    while piece := source.read(1 << 24 if n is None else min(1 << 24, n - done)):
        target.write(piece)
        done += len(piece)
    return done
