"""Reading and writing stars.h5, the table of stars with their normalised spectra."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from astropy.table import Table

from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.formats.apstar import Status
from apogaia.formats.pixel_grid import N_PIXELS
from apogaia.formats.stars_h5_columns import COLUMNS, star_columns

__all__ = ["Stars", "open_stars", "status_counts", "write_star_table", "write_stars"]


@dataclass(frozen=True)
class Stars:
    """An open stars.h5: `table` has one row per allStar row, `spectra` (n, 7514) is read from disk when sliced."""

    table: Table
    spectra: h5py.Dataset

    def spectra_of(self, rows: np.ndarray) -> np.ndarray:
        """Spectra of ascending `rows`, (len(rows), 7514) float32, read in blocks: HDF5 reads single rows slowly.

        Raises
        ------
        ValueError
            If the rows do not ascend.
        """
        rows = np.asarray(rows)
        if np.any(np.diff(rows) <= 0):
            raise ValueError("rows must ascend")
        chosen = np.empty((len(rows), self.spectra.shape[1]), np.float32)
        block = 4096
        for start in range(0, self.spectra.shape[0], block):
            first, last = np.searchsorted(rows, (start, start + block))
            if last > first:
                chosen[first:last] = self.spectra[start : start + block][rows[first:last] - start]
        return chosen


@takes(path=file_path)
def write_stars(path: str | Path, table: Table, spectra: Iterable[np.ndarray]) -> None:
    """Write stars.h5 from a table with the columns of `COLUMNS` and successive blocks (m, 7514) of its spectra.

    The same content gives the same bytes: HDF5 must neither note times nor the order of creation, which brings times.
    """
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("spectrum", (len(table), N_PIXELS), np.float32, track_times=False)
        dataset.attrs["description"] = "continuum-normalised flux on the pixels of the three detectors; NaN: none"
        _write_columns(file, table)
        start = 0
        for block in spectra:
            dataset[start : start + len(block)] = block
            start += len(block)
    if start != len(table):
        raise ValueError(f"{start} spectra for {len(table)} stars")


@takes(path=file_path)
def write_star_table(path: str | Path, table: Table, spectra: h5py.ExternalLink) -> None:
    """Write a table with the columns of `COLUMNS`, and a link to the spectra of another file."""
    with h5py.File(path, "w") as file:
        file["spectrum"] = spectra
        _write_columns(file, table)


def _write_columns(file: h5py.File, table: Table) -> None:
    group = file.create_group("star")
    for column in COLUMNS:
        values = np.asarray(table[column.name])
        if column.kind == "U":  # str or object: long texts that few stars have would fill arrays of str
            values = np.array([text.encode() for text in values.tolist()], dtype=bytes)
            values = values.astype(h5py.string_dtype("utf-8", max(1, values.dtype.itemsize)))
        stored = group.create_dataset(column.name, data=values, track_times=False)
        stored.attrs["unit"] = column.unit
        stored.attrs["description"] = column.description


@contextmanager
@takes(path=file_path)
def open_stars(path: str | Path) -> Iterator[Stars]:
    """Open stars.h5 for reading.

    Raises
    ------
    FileNotFoundError
        If it is not there yet.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there yet: run notebook 01_data_reduction or `apogaia reduce`")
    with h5py.File(path, "r") as file:
        table = Table()
        for name in (column.name for column in COLUMNS):
            stored = file["star"][name]
            values = np.char.decode(stored[()], "utf-8") if h5py.check_string_dtype(stored.dtype) else stored[()]
            table[name] = values
            table[name].unit = stored.attrs["unit"] or None
            table[name].description = stored.attrs["description"]
        try:
            spectra = file["spectrum"]
        except KeyError as fault:  # a link to the spectra of a file that has gone
            spectra_file = file.get("spectrum", getlink=True).filename
            raise FileNotFoundError(f"{path}: {spectra_file}, which has its spectra, is missing: make it") from fault
        yield Stars(table, spectra)


@takes(table=star_columns())
def status_counts(table: Table) -> Table:
    """How many stars have each status: columns status, stars, meaning."""
    values, counts = np.unique(np.asarray(table["status"]), return_counts=True)
    names = [Status(value) for value in values.tolist()]
    return Table({"status": [s.name for s in names], "stars": counts, "meaning": [s.reason for s in names]})
