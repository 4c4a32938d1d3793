"""Tables too large for memory, in Parquet, FITS and CSV: read some numbers of them, write them with columns added.

Everything that a table holds already is copied as it is: in FITS and CSV byte by byte, in Parquet with the types and
the metadata of the schema. Rows come in pieces of `chunk`, in the order of the file.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from astropy.io import fits

from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.formats.fits_columns import MISSING

__all__ = ["NewColumn", "TableFormatError", "open_table"]

UNKNOWN_TEXTS = ["", "null", "NULL", "nan", "NaN", "NAN", "None", "--"]  # of a number in CSV
FITS_LETTERS = {"f4": "E", "f8": "D", "u1": "B"}


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
    """Open a table by its suffix: .parquet or .pq, .fits or .fit (first binary table), .csv (one header line).

    All three have `column_names`, `n_rows` (None if it is not known before reading), ``numbers(names, chunk)`` and
    ``write(path, additions, columns, history, chunk)``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    TableFormatError
        If it is none of these formats, or damaged.
    """
    path = Path(path)
    kinds: dict[str, type[ParquetTable] | type[FitsTable] | type[CsvTable]] = {
        ".parquet": ParquetTable,
        ".pq": ParquetTable,
        ".fits": FitsTable,
        ".fit": FitsTable,
        ".csv": CsvTable,
    }
    if path.suffix.lower() not in kinds:
        raise TableFormatError(f"{path}: must be a .parquet, .fits or .csv file (unpack .gz, convert the rest)")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such table")
    return kinds[path.suffix.lower()](path)


class ParquetTable:
    """A Parquet file; output has one row group per chunk."""

    def __init__(self, path: Path):
        self.path = path
        with self._open() as file:
            self.column_names = list(file.schema_arrow.names)
            self.n_rows = file.metadata.num_rows

    def _open(self) -> pq.ParquetFile:
        try:
            # pyarrow would otherwise hold all bytes that it has read, and those of a row group at once
            return pq.ParquetFile(self.path, pre_buffer=False, buffer_size=1 << 20)
        except (pa.ArrowInvalid, OSError) as error:
            raise TableFormatError(f"{self.path}: not a whole Parquet file: {error}") from error

    def numbers(self, names: Sequence[str], chunk: int) -> Iterator[list[np.ndarray]]:
        """Yield these columns as float64, NaN where unknown."""
        with self._open() as file:
            for piece in _pieces(file.iter_batches(batch_size=chunk, columns=list(dict.fromkeys(names))), chunk):
                yield [_floats(piece[name], self.path, name) for name in names]

    def write(
        self, path: Path, additions: Iterable[np.ndarray], columns: Sequence[NewColumn], history: Mapping, chunk: int
    ) -> None:
        """Write the table with the columns added; `additions` are structured arrays, one per chunk."""
        with self._open() as file:
            schema = file.schema_arrow
            for column in columns:
                about = {"description": column.description} | ({"unit": column.unit} if column.unit else {})
                kind = pa.from_numpy_dtype(np.dtype(column.dtype))
                schema = schema.append(pa.field(column.name, kind, metadata=about))
            schema = schema.with_metadata({**(schema.metadata or {}), b"apogaia": json.dumps(history).encode()})
            # measured numbers hardly repeat: trying a dictionary on them costs most of the writing time
            leaves = [file.schema.column(i) for i in range(len(file.schema))]
            repeating = [leaf.path for leaf in leaves if leaf.physical_type not in ("FLOAT", "DOUBLE", "INT64")]
            repeating += [column.name for column in columns if column.dtype == "u1"]
            codec = file.metadata.row_group(0).column(0).compression if file.metadata.num_row_groups else "SNAPPY"
            codec = {"UNCOMPRESSED": "NONE"}.get(codec, codec)
            with pq.ParquetWriter(path, schema, compression=codec, use_dictionary=repeating) as writer:
                pieces = _pieces(file.iter_batches(batch_size=chunk), chunk)
                for piece, addition in _ahead(zip(pieces, additions, strict=True)):
                    new = [pa.array(np.ascontiguousarray(addition[column.name])) for column in columns]
                    whole = pa.Table.from_arrays([*piece.columns, *new], schema=schema)
                    writer.write_table(whole, row_group_size=chunk)


class FitsTable:
    """The first binary table of a FITS file; its rows, heap and the other HDUs are copied as bytes."""

    def __init__(self, path: Path):
        self.path = path
        try:
            with fits.open(path, memmap=True) as hdus:
                tables = [i for i, hdu in enumerate(hdus) if isinstance(hdu, fits.BinTableHDU)]
                if not tables:
                    raise TableFormatError(f"{path}: has no binary table")
                self.index = tables[0]
                header, where = hdus[self.index].header, hdus[self.index].fileinfo()
        except OSError as error:
            raise TableFormatError(f"{path}: not a FITS file: {error}") from error
        self.header = header
        self.start, self.data, self.end = where["hdrLoc"], where["datLoc"], where["datLoc"] + where["datSpan"]
        self.row_bytes, self.n_rows = header["NAXIS1"], header["NAXIS2"]
        self.column_names = [header[f"TTYPE{i}"] for i in range(1, header["TFIELDS"] + 1)]
        if path.stat().st_size < self.end:
            raise TableFormatError(f"{path}: cut short: fetch it again")

    def numbers(self, names: Sequence[str], chunk: int) -> Iterator[list[np.ndarray]]:
        """Yield these columns as float64, NaN where unknown (NaN or -9999)."""
        with fits.open(self.path, memmap=True) as hdus:
            for start in range(0, self.n_rows, chunk):
                rows = hdus[self.index].data[start : start + chunk]
                columns = [np.array(rows.field(name), float) for name in names]
                yield [np.where(column == MISSING, np.nan, column) for column in columns]

    def write(
        self, path: Path, additions: Iterable[np.ndarray], columns: Sequence[NewColumn], history: Mapping, chunk: int
    ) -> None:
        """Write the table with the columns added; `additions` are structured arrays, one per chunk."""
        record = np.dtype([(column.name, ">" + column.dtype) for column in columns])
        header = self._header(columns, record.itemsize, history)
        shape = (self.n_rows, self.row_bytes)
        # nothing can be mapped of a table without rows
        old = np.memmap(self.path, np.uint8, "r", self.data, shape) if self.n_rows else np.empty(shape, np.uint8)
        with open(self.path, "rb") as source, open(path, "wb") as target:
            _copy(source, target, 0, self.start)
            target.write(header.tostring().encode("ascii"))
            rows = range(0, self.n_rows, chunk)
            for start, addition in zip(rows, additions, strict=True):
                new = addition.astype(record).view(np.uint8).reshape(len(addition), record.itemsize)
                target.write(np.concatenate([old[start : start + chunk], new], axis=1).tobytes())
            heap = self.data + self.n_rows * self.row_bytes
            _copy(source, target, heap, heap + self.header["PCOUNT"])
            target.write(bytes(-target.tell() % 2880))
            _copy(source, target, self.end, self.path.stat().st_size)

    def _header(self, columns: Sequence[NewColumn], extra_bytes: int, history: Mapping) -> fits.Header:
        header = self.header.copy()
        for stale in ("CHECKSUM", "DATASUM"):
            header.remove(stale, ignore_missing=True)
        header["NAXIS1"] = self.row_bytes + extra_bytes
        if "THEAP" in header:  # bytes from the start of the table to its heap
            header["THEAP"] += extra_bytes * self.n_rows
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
    """A CSV file with one header line; its lines are kept as they are, with the new values behind them."""

    n_rows = None

    def __init__(self, path: Path):
        self.path = path
        with open(path, "rb") as file:
            line = file.readline()
        if line.startswith(b"#"):
            raise TableFormatError(
                f"{path}: begins with a comment (ECSV?): convert it first, for instance with"
                f" astropy.table.Table.read('{path.name}', format='ascii.ecsv').write('{path.stem}.fits')"
            )
        if not line.strip():
            raise TableFormatError(f"{path}: empty; a CSV table begins with a line of column names")
        self.header = line.rstrip(b"\r\n")
        self.line_end = b"\r\n" if line.endswith(b"\r\n") else b"\n"
        self.column_names = next(csv.reader([self.header.decode("utf-8-sig")], skipinitialspace=True))

    def numbers(self, names: Sequence[str], chunk: int) -> Iterator[list[np.ndarray]]:
        """Yield these columns as float64, NaN where unknown (blank, null, NaN, None, --)."""
        wanted = list(dict.fromkeys(names))
        options = pa.csv.ConvertOptions(
            include_columns=wanted,
            column_types=dict.fromkeys(self.column_names, pa.string()),
            strings_can_be_null=False,
        )
        reading = pa.csv.ReadOptions(column_names=self.column_names, block_size=1 << 24)
        parsing = pa.csv.ParseOptions(newlines_in_values=True)
        for first, records in self._records(chunk):
            content = pa.BufferReader(b"\n".join(records) + b"\n")
            try:
                table = pa.csv.read_csv(content, reading, parsing, options)
            except pa.ArrowInvalid as error:
                last = first + len(records) - 1
                raise TableFormatError(f"{self.path}: between rows {first} and {last}: {error}") from error
            if table.num_rows != len(records):
                raise TableFormatError(f"{self.path}: quotation marks do not match after row {first}")
            yield [_floats(_blank_to_null(table[name]), self.path, name) for name in names]

    def write(
        self, path: Path, additions: Iterable[np.ndarray], columns: Sequence[NewColumn], history: Mapping, chunk: int
    ) -> None:
        """Write the table with the columns added, unknown values blank; CSV has no place for the history."""
        with open(path, "wb") as target:
            target.write(b",".join([self.header, *(column.name.encode() for column in columns)]) + self.line_end)
            for (_, records), addition in zip(self._records(chunk), additions, strict=True):
                new = [_texts(addition[column.name]) for column in columns]
                parts = [pa.array(records, pa.binary()), *new, pa.scalar(b",", pa.binary())]
                lines = pc.binary_join_element_wise(*parts, null_handling="replace", null_replacement="")
                target.write(self.line_end.join(lines.to_pylist()) + self.line_end)

    def _records(self, chunk: int) -> Iterator[tuple[int, list[bytes]]]:
        """Yield the number of the first record, counted from 1, and `chunk` records without their line ends."""
        with open(self.path, "rb") as file:
            file.readline()
            records = _whole_records(file)
            first = 1
            while piece := list(itertools.islice(records, chunk)):
                yield first, piece
                first += len(piece)


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


def _blank_to_null(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    texts = pc.utf8_trim_whitespace(texts)
    return pc.if_else(pc.is_in(texts, pa.array(UNKNOWN_TEXTS)), None, texts)


def _floats(column, path: Path, name: str) -> np.ndarray:
    try:
        return pc.fill_null(pc.cast(column, pa.float64()), np.nan).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise TableFormatError(f"{path}: column {name!r} is not a number everywhere: {error}") from error


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


def _copy(source: io.BufferedIOBase, target: io.BufferedIOBase, start: int, end: int) -> None:
    source.seek(start)
    while start < end:
        piece = source.read(min(1 << 24, end - start))
        target.write(piece)
        start += len(piece)
