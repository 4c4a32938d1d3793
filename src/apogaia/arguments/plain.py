"""Conversion of arguments: numbers in the documented unit with NaN for unknown, integers, strings, tables, paths.

Masked entries, None and pandas' NA are unknown. What is read or computed on demand (HDF5 datasets, tensors) passes
as it is. A `Kind` is what an argument may be: a unit, or one of the functions and `Columns` here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from astropy import units as u
from astropy.table import Column, Table

__all__ = [
    "Columns",
    "Kind",
    "any_unit",
    "bit_mask",
    "each",
    "file_path",
    "file_paths",
    "made_plain",
    "numbers",
    "texts",
    "unit_of",
    "whole",
]

Kind: TypeAlias = "u.UnitBase | Callable[[Any, str], Any]"

_NUMBERS = "fiub"  # kinds of numpy's types


def made_plain(kind: Kind, value, label: str):
    """Convert `value` to an argument of this kind; errors begin with the label."""
    return numbers(value, kind, label) if isinstance(kind, u.UnitBase) else kind(value, label)


def unit_of(values) -> u.UnitBase | None:
    """The unit of values; for a list that of the first item with a unit; None if there is none."""
    if isinstance(values, (list, tuple)):
        return next((unit for unit in map(unit_of, values) if unit is not None), None)
    unit = getattr(values, "unit", None)
    return unit if isinstance(unit, (u.UnitBase, u.function.FunctionUnitBase)) else None


# --- numbers ----------------------------------------------------------------------------------------------------------


def numbers(values, unit: u.UnitBase | None, label: str):
    """Numbers in a unit: a number or a native array, NaN where unknown. Plain numbers and arrays stay as they are.

    Parameters
    ----------
    values
        A number, or an array, column, quantity, pandas object or nested list of numbers; in `unit` unless they have a
        unit of their own.
    unit
        The documented unit; None: any, and the values stay in theirs.
    label
        What an error message begins with.

    Raises
    ------
    astropy.units.UnitConversionError
        If the values have a unit that cannot be converted.
    ValueError, TypeError
        If something is no number.
    """
    if _is_plain(values):
        return values
    found = unit_of(values)
    unit = found if unit is None else unit
    if isinstance(values, (list, tuple)):
        if all(issubclass(kind, (float, int, np.number)) for kind in set(map(type, values))):
            return np.array(values, dtype=None if values else float)
        return _stacked([numbers(item, unit, label) for item in values], label)
    if _is_on_demand(values):
        return values
    data, unknown = _split(values)
    if data.dtype.kind == "O":
        flat = [np.nan if gone else _item(item, unit, label) for item, gone in _items(data, unknown)]
        data, unknown = np.reshape(_stacked(flat, label), data.shape), np.array(False)
    elif data.dtype.kind in "SU":
        data = np.reshape(
            [np.nan if gone else _of_text(item, label) for item, gone in _items(data, unknown)], data.shape
        )
    elif data.dtype.kind not in _NUMBERS:
        raise TypeError(f"{label} must be numbers, not {data.dtype}")
    data = _with(np.nan, data.astype(float) if unknown.any() and data.dtype.kind != "f" else data, unknown)
    return (data if found is None or unit is None else _converted(data, found, unit, label))[()]


def any_unit(values, label: str):
    """Numbers in any unit, which they keep."""
    return numbers(values, None, label)


def each(kind: Kind) -> Kind:
    """Several arguments of a kind, such as one array for each axis."""
    return lambda values, label: [made_plain(kind, item, f"{label}[{i}]") for i, item in enumerate(values)]


def _is_plain(values) -> bool:
    if type(values) is np.ndarray:
        return values.dtype.kind in _NUMBERS and values.dtype.isnative
    return isinstance(values, (float, int, np.number, np.bool_)) and unit_of(values) is None


def _is_on_demand(values) -> bool:
    if isinstance(values, (np.ndarray, np.generic)) or hasattr(values, "isna") or hasattr(values, "unmasked"):
        return False
    return hasattr(values, "shape") and hasattr(values, "dtype")


def _split(values) -> tuple[np.ndarray, np.ndarray]:
    """An array of any type, and where its entries are unknown beside those that are NaN or None."""
    nowhere = np.array(False)
    if hasattr(values, "to_numpy") and hasattr(values, "isna"):  # pandas
        kind, unknown = getattr(getattr(values, "dtype", None), "kind", ""), np.asarray(values.isna(), dtype=bool)
        whole = {"i": np.int64, "u": np.uint64, "b": bool}
        if kind in whole:
            return values.to_numpy(dtype=whole[kind], na_value=0), unknown
        return (values.to_numpy(dtype=float, na_value=np.nan) if kind == "f" else values.to_numpy()), unknown
    if hasattr(values, "unmasked"):  # astropy's Masked
        return np.asarray(getattr(values.unmasked, "value", values.unmasked)), np.asarray(values.mask)
    if isinstance(values, np.ma.MaskedArray):
        return np.asarray(values.data), np.ma.getmaskarray(values)
    return np.asarray(getattr(values, "value", values) if isinstance(values, u.Quantity) else values), nowhere


def _items(data: np.ndarray, unknown: np.ndarray) -> Iterable[tuple[Any, bool]]:
    return zip(data.ravel().tolist(), np.broadcast_to(unknown, data.shape).ravel().tolist(), strict=True)


def _is_missing(item) -> bool:
    return item is None or item is np.ma.masked or type(item).__name__ == "NAType"


def _item(item, unit: u.UnitBase | None, label: str):
    """An entry of an array of objects."""
    if _is_missing(item):
        return np.nan
    if hasattr(item, "dtype") or _is_plain(item):
        return numbers(item, unit, label)
    return _of_text(item, label)


def _of_text(item, label: str) -> float:
    try:
        return float(item)
    except (TypeError, ValueError):
        raise ValueError(f"{label} must be numbers, not {item!r}") from None


def _stacked(items: list, label: str) -> np.ndarray:
    try:
        return np.array(items, dtype=float)
    except ValueError:
        raise ValueError(f"{label}: lists of different lengths do not make an array") from None


def _with(value, data: np.ndarray, unknown: np.ndarray) -> np.ndarray:
    """In native byte order, with `value` where unknown."""
    native = data.astype(data.dtype.newbyteorder("="), copy=False)
    return np.where(unknown, np.array(value).astype(native.dtype), native) if unknown.any() else native


def _converted(values: np.ndarray, found: u.UnitBase, unit: u.UnitBase, label: str) -> np.ndarray:
    if found == unit or (unit == u.dex and found == u.dimensionless_unscaled):  # [Fe/H] often has no unit
        return values
    try:
        return np.asarray(found.to(unit, values))
    except (u.UnitsError, ValueError):
        ours = f"in {unit}" if unit.to_string() else "without a unit"
        raise u.UnitConversionError(
            f"{label} is in {found.to_string() or 'no unit'} and must be {ours}, or plain numbers"
        ) from None


# --- whole numbers, texts, tables, paths ------------------------------------------------------------------------------


def whole(unknown: int) -> Kind:
    """Whole numbers, with `unknown` for unknown entries."""

    def kind(values, label: str):
        if _is_plain(values) and np.asarray(values).dtype.kind in "iu":
            return values
        if unit_of(values) is not None:
            values = numbers(values, u.dimensionless_unscaled, label)
        if isinstance(values, (list, tuple)):
            values = [None if _is_missing(item) else item for item in values]
        data, gone = _split(values)
        if data.dtype.kind == "O":
            gone = gone | np.reshape([_is_missing(item) for item in data.ravel().tolist()], data.shape)
            data = np.reshape([0 if lost else item for item, lost in _items(data, gone)], data.shape)
        if data.dtype.kind == "f":
            gone = gone | np.isnan(data)
            data = np.where(gone, 0, data)
        if data.dtype.kind not in _NUMBERS or (data.dtype.kind == "f" and np.any(data != np.rint(data))):
            raise ValueError(f"{label} must be whole numbers")
        return _with(unknown, data.astype(np.int64) if data.dtype.kind in "fb" else data, gone)[()]

    return kind


bit_mask = whole(-1)  # of an unknown bit mask every bit is set


def texts(values, label: str) -> np.ndarray:
    """Strings, empty if unknown; a whole number may also be a name."""
    data, gone = _split(values)
    if data.dtype.kind == "O":
        items = ["" if lost or _is_missing(item) else item for item, lost in _items(data, gone)]
        if not all(isinstance(item, (str, bytes)) for item in items):
            raise TypeError(f"{label} must be strings")
        data = np.array([item.decode() if isinstance(item, bytes) else item for item in items], dtype=str)
    elif data.size and data.dtype.kind not in "SUiu":
        raise TypeError(f"{label} must be strings, not {data.dtype}")
    data = np.char.decode(data, "utf-8") if data.dtype.kind == "S" else data.astype(str, copy=False)
    return _with("", data, gone)


class Columns:
    """A table or mapping whose columns, if present, are of certain kinds.

    A mapping stays one, a named tuple too; all else becomes an astropy Table. What is plain already is not copied.
    """

    def __init__(self, kinds: Mapping[str, Kind] | None = None, **more: Kind):
        self.kinds = {**(kinds or {}), **more}

    def __call__(self, table, label: str):
        """The table with these columns made plain; None stays None."""
        if table is None:
            return None
        if hasattr(table, "_fields"):
            present = table._fields
        elif isinstance(table, np.ndarray):
            present = table.dtype.names or ()
        else:
            present = list(getattr(table, "columns", table))
        changed = {}
        for name, kind in self.kinds.items():
            if name in present:
                column = getattr(table, name) if hasattr(table, "_fields") else table[name]
                if not _is_plain_column(column, kind):
                    changed[name] = made_plain(kind, column, f"{label}[{name!r}]")
        return self._changed(table, changed)

    def _changed(self, table, columns: dict):
        """A copy of the table with these columns in place of its own; the table itself if there are none."""
        if not columns:
            return table
        if hasattr(table, "_fields"):
            return table._replace(**columns)
        if isinstance(table, Mapping):
            return {**table, **columns}
        if hasattr(table, "isna"):  # a data frame
            return Table({name: columns.get(name, table[name].to_numpy()) for name in table.columns})
        copy = Table(table, copy=False)
        for name, values in columns.items():
            kind, before = self.kinds[name], copy[name]
            unit = kind if isinstance(kind, u.UnitBase) else before.unit
            copy[name] = Column(values, unit=unit, description=before.description)
        return copy


def _is_plain_column(column, kind: Kind) -> bool:
    if type(column) not in (np.ndarray, Column) or not column.dtype.isnative:
        return False
    if kind is texts:
        return column.dtype.kind == "U"
    unit = unit_of(column)
    if isinstance(kind, u.UnitBase) or kind is any_unit:
        return column.dtype.kind in _NUMBERS and (unit is None or kind is any_unit or unit == kind)
    return column.dtype.kind in "iu" and unit is None


def file_path(value, label: str) -> Path:
    """The path of a file."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{label} must be a path, as a string or Path, not {type(value).__name__}: {value!r:.60}")
    return Path(value)


def file_paths(value, label: str) -> list[Path]:
    """The paths of several files, or of a single one."""
    if isinstance(value, (str, os.PathLike)):
        return [Path(value)]
    if isinstance(value, bytes) or not isinstance(value, Iterable):
        raise TypeError(f"{label} must be a path or a list of paths, not {type(value).__name__}: {value!r:.60}")
    return [file_path(item, f"{label}[{i}]") for i, item in enumerate(value)]
