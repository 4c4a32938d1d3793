"""The zero point for any table of Gaia sources: files of any length, data frames, partitions of a catalogue.

Four columns are added: `zero_point` and `zero_point_error` [mas], `zero_point_domain` (bits of `ZeroPointFlags`, 0
where the star lies inside the range of the training set) and `parallax_corrected` = parallax - zero_point [mas].
Nothing is calibrated outside that range: there, and where an input is unknown, the numbers are NaN and the bits say
why.
"""

from __future__ import annotations

import enum
import hashlib
import itertools
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm.auto import tqdm

from apogaia import __version__, files
from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.formats.fits_columns import native
from apogaia.formats.streamed_tables import (
    UNKNOWN_TEXTS,
    NewColumn,
    ParquetTable,
    TableFormatError,
    open_table,
    table_suffix,
)
from apogaia.model.model_origin import read_provenance
from apogaia.zero_point.offset_posterior import OffsetPosterior, ZeroPoint, constant_zero_point
from apogaia.zero_point.surface import ZeroPointSurface, tabulate

if TYPE_CHECKING:
    import pandas

__all__ = [
    "ColumnNames",
    "ZeroPointFlags",
    "add_zero_point",
    "add_zero_point_to_file",
    "default_output",
    "load_zero_point",
]

CHUNK = 1 << 18  # rows
TOLERANCE_MAS = 1e-4  # of the grid against the network: a tenth of a uas, far below any error
NODES = (33, 65, 129)  # per axis, more until the tolerance is met
TEFF_NAMES = ("teff_gspphot", "teff_val")  # Gaia DR3, DR2


class ZeroPointFlags(enum.IntFlag):
    """Why a star has no zero point; 0: it has one."""

    MISSING_G = 1
    MISSING_BP_RP = 2
    MISSING_TEFF = 4
    OUTSIDE_G = 8
    OUTSIDE_BP_RP = 16
    OUTSIDE_TEFF = 32

    @property
    def reason(self) -> str:
        """Reason in words, of a single bit."""
        state, _, name = str(self.name).partition("_")
        quantity = {"G": "G", "BP_RP": "BP-RP", "TEFF": "Teff"}[name]
        return f"{quantity} unknown" if state == "MISSING" else f"{quantity} outside the range of the training set"


NEW_COLUMNS = (
    NewColumn("zero_point", "f4", "mas", "parallax zero point, Gaia minus true; NaN: see zero_point_domain"),
    NewColumn("zero_point_error", "f4", "mas", "standard deviation of the zero point's posterior"),
    NewColumn(
        "zero_point_domain", "u1", "", "bits: 1 2 4 G BP-RP Teff unknown, 8 16 32 outside the training range; 0: valid"
    ),
    NewColumn("parallax_corrected", "f8", "mas", "parallax - zero_point"),
)
RECORD = np.dtype([(column.name, column.dtype) for column in NEW_COLUMNS])


@dataclass(frozen=True)
class ColumnNames:
    """The columns that are read, by default as Gaia names them."""

    g_mag: str = "phot_g_mean_mag"
    bp_rp: str = "bp_rp"
    teff: str | None = None  # None: whichever of teff_gspphot (DR3) and teff_val (DR2) is there
    parallax: str = "parallax"

    def among(self, present: Iterable[str], *, constant: bool) -> list[str]:
        """Find the columns to read: parallax and, unless the zero point is constant, G, BP-RP and Teff, in any case.

        Raises
        ------
        ValueError
            If a column is missing, ambiguous or there twice, or the table has a column that would be added.
        """
        present = [str(name) for name in present]
        for column in NEW_COLUMNS:
            if _places(present, column.name):
                raise ValueError(f"the table has a column {column.name!r} already: rename or drop it first")
        wanted = [(self.parallax, "parallax", "parallax")]
        if not constant:
            teff = self.teff or _teff_among(present)
            wanted += [(self.g_mag, "G", "g-mag"), (self.bp_rp, "BP-RP", "bp-rp"), (teff, "Teff", "teff")]
        return [_only_one(present, *column) for column in wanted]


def _places(present: Sequence[str], name: str) -> list[int]:
    """Indices of the columns with this name in whichever case."""
    return [i for i, other in enumerate(present) if other.casefold() == name.casefold()]


def _only_one(present: Sequence[str], name: str, quantity: str, option: str) -> str:
    """The column's name as the table spells it; an error if there is none, or more than one."""
    places = _places(present, name)
    if len(places) > 1:
        spelled = " and ".join(f"{i + 1} ({present[i]!r})" for i in places)
        raise ValueError(f"columns {spelled} are both {name!r} ({quantity}): rename or drop one of them")
    if not places:
        nameless = [i for i, other in enumerate(present, start=1) if not other]
        shown = ", ".join(other or "(no name)" for other in present[:12]) + (", ..." if len(present) > 12 else "")
        hint = f", or give column {nameless[0]} its name (in FITS: TTYPE{nameless[0]})" if nameless else ""
        raise ValueError(f"no column {name!r} ({quantity}) among {shown}: name yours with --{option}{hint}")
    return present[places[0]]


def _teff_among(present: Sequence[str]) -> str:
    found = [name for name in TEFF_NAMES if _places(present, name)]
    if len(found) > 1:
        raise ValueError(f"both {' and '.join(found)} are there: choose the effective temperature with --teff")
    if not found:
        raise ValueError(
            f"no effective temperature: neither {' nor '.join(TEFF_NAMES)} is among the columns. Join it by source_id"
            " (teff_gspphot of gaiadr3.gaia_source, teff_val of gaiadr2.gaia_source), name another column with --teff,"
            " or take one zero point for all stars with --constant, which needs only the parallax"
        )
    return found[0]


@takes(model_path=file_path)
def load_zero_point(
    model_path: str | Path, *, exact: bool = False, draws: int | None = None, seed: int | None = None
) -> ZeroPoint | ZeroPointSurface | OffsetPosterior:
    """Load the zero point of a model file, over the range of its training set.

    Parameters
    ----------
    model_path
        A trained model with the offset "constant" or "multivariate".
    exact
        Evaluate the network for every star, instead of a grid whose interpolation errs by less than 0.1 uas.
    draws, seed
        Dropout draws of the offset and their seed, if not those of the model's survey.

    Raises
    ------
    FileNotFoundError, ModelFileError
        As `apogaia.model.model_file.load_network`.
    ValueError
        If the model has no offset, has seen parallaxes from which a zero point was subtracted beforehand, does not
        state its training range, or is too steep for a grid.
    """
    from apogaia.model.model_file import load_network  # here, since Keras takes seconds to load

    provenance = read_provenance(model_path)
    if provenance.get("offset", "none") == "none":  # a model of stellar parameters has no such entry
        raise ValueError(f"{model_path}: trained without an offset; give constant.keras or multivariate.keras")
    beforehand = provenance["settings"].get("sources", {}).get("parallax_zero_point", "none")
    if beforehand != "none":
        raise ValueError(
            f"{model_path}: trained on parallaxes corrected for the zero point {beforehand}, so it knows what this "
            "leaves over, not the whole zero point: give a model of a survey with parallax_zero_point = 'none'"
        )
    draws, seed = _draws_and_seed(provenance, draws, seed)
    model = load_network(model_path)
    if provenance["offset"] == "constant":
        return constant_zero_point(model, draws=draws, seed=seed)
    trained = provenance.get("training_range")
    if not trained and provenance["offset"] != "multivariate":
        raise ValueError(
            f"{model_path}: its zero point does not depend on G, BP-RP and Teff: give multivariate.keras, or"
            " constant.keras with --constant"
        )
    if not trained:
        raise ValueError(
            f"{model_path}: does not state the range of its training set: train it again with"
            f" `make all SURVEY={provenance['survey']}`"
        )
    ranges = [trained[name] for name in ("g_mag", "bp_rp", "teff")]
    posterior = OffsetPosterior.from_model(model, draws=draws, seed=seed, ranges=ranges)
    if exact:
        return posterior
    for nodes in NODES:
        tabulated = tabulate(posterior, nodes)
        if tabulated.interpolation_error < TOLERANCE_MAS:
            return tabulated
    raise ValueError(f"{model_path}: the zero point is too steep for a grid of {nodes} nodes per axis: use --exact")


def _draws_and_seed(provenance: Mapping, draws: int | None, seed: int | None) -> tuple[int, int]:
    """Those given, else those of the survey whose settings travel in the model file."""
    stated = provenance["settings"].get("inference", {})
    draws = stated.get("offset_draws") if draws is None else draws
    seed = stated.get("seed") if seed is None else seed
    if draws is None or seed is None:
        raise ValueError("the model file does not state its survey's draws and seed: give --draws and --seed")
    if draws < 2:
        raise ValueError(f"{draws} draws give no standard deviation: use 2 or more")
    return draws, seed


def add_zero_point(
    frame: pandas.DataFrame,
    zero_point: ZeroPoint | ZeroPointSurface | OffsetPosterior,
    columns: ColumnNames = ColumnNames(),
) -> pandas.DataFrame:
    """Add the four columns to a data frame; rows, order and index stay.

    Each row stands for itself, so that Dask and LSDB can map it over a catalogue of any size::

        from apogaia.zero_point.gaia_tables import add_zero_point, load_zero_point

        zero_point = load_zero_point("data/mock/models/multivariate.keras")  # once; workers need no Keras

        catalogue = lsdb.open_catalog("gaia_dr3", columns=["parallax", "phot_g_mean_mag", "bp_rp", "teff_gspphot"])
        catalogue.map_partitions(add_zero_point, zero_point).write_catalog("gaia_dr3_zero_point")

        dask.dataframe.read_parquet("gaia/*.parquet").map_partitions(add_zero_point, zero_point)

    Parameters
    ----------
    frame
        Gaia sources.
    zero_point
        From `load_zero_point`.
    columns
        Names of the columns to read.

    Raises
    ------
    ValueError
        If a column is missing or ambiguous, or one to add is there already.
    """
    names = columns.among(frame.columns, constant=isinstance(zero_point, ZeroPoint))
    numbers = [_frame_numbers(frame[name]) for name in names]
    added = _records(zero_point, *numbers)
    return frame.assign(**{column.name: np.ascontiguousarray(added[column.name]) for column in NEW_COLUMNS})


def _frame_numbers(column: pandas.Series) -> np.ndarray:
    """A data frame's column as float64, NaN where unknown as in files."""
    if column.dtype.kind == "O":  # texts, or numbers beside texts
        column = column.where(~column.astype(str).str.strip().str.lower().isin(UNKNOWN_TEXTS))
    try:
        return native(column.to_numpy(dtype=float, na_value=np.nan), "f8")
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {column.name!r} is not a number everywhere: {error}") from error


def _records(zero_point, parallax: np.ndarray, *inputs: np.ndarray) -> np.ndarray:
    """Compute the four columns of n stars, as a structured array."""
    added = np.zeros(len(parallax), RECORD)
    if isinstance(zero_point, ZeroPoint):
        added["zero_point"], added["zero_point_error"] = zero_point.value, zero_point.error
    else:
        added["zero_point"], added["zero_point_error"] = zero_point.at(*inputs)
        for i, (values, (low, high)) in enumerate(zip(inputs, zero_point.ranges, strict=True)):
            missing = ~np.isfinite(values)
            added["zero_point_domain"] |= missing * np.uint8(ZeroPointFlags.MISSING_G << i)
            outside = ~missing & ~((low <= values) & (values <= high))
            added["zero_point_domain"] |= outside * np.uint8(ZeroPointFlags.OUTSIDE_G << i)
    # minus the column as it is written, so that the three columns agree to the last digit
    added["parallax_corrected"] = parallax - added["zero_point"]
    return added


@takes(table=file_path)
def default_output(table: str | Path) -> Path:
    """``gaia.csv.gz`` -> ``gaia_zero_point.csv.gz``, in the same folder; for a folder a Parquet file beside it."""
    table = Path(table)
    table = Path(os.path.abspath(table)) if table.is_dir() else table  # "." has no name
    suffix = table_suffix(table)
    return table.with_name(f"{table.name.removesuffix(suffix)}_zero_point{suffix}")


@takes(table=file_path, output=file_path, model_path=file_path)
def add_zero_point_to_file(
    table: str | Path,
    output: str | Path,
    model_path: str | Path,
    *,
    exact: bool = False,
    columns: ColumnNames = ColumnNames(),
    chunk: int = CHUNK,
    draws: int | None = None,
    seed: int | None = None,
    progress: bool = True,
) -> dict[str, int]:
    """Write a table of Gaia sources with the four columns added, in the same format, in bounded memory.

    A folder of Parquet files is one table, and gives one file.

    The zero points are computed in pieces of `chunk` rows, which are kept in a folder beside the output until
    it is complete. A run that was killed resumes from there and gives the same bytes.

    Parameters
    ----------
    table, output
        .parquet, .fits, .csv or .ecsv files, both of one kind; all but Parquet perhaps with .gz. `table` may be a
        folder of Parquet files, `output` is a .parquet file then.
    model_path, exact, draws, seed
        As for `load_zero_point`.
    columns
        Names of the columns to read.
    chunk
        Rows in memory at a time; row groups of a Parquet output have this length.
    progress
        Show progress bars.

    Returns
    -------
    dict
        Number of "rows", of "valid" ones (with a zero point), and of rows with each bit of `ZeroPointFlags`.

    Raises
    ------
    FileNotFoundError, ValueError
        If table or model cannot be read, a column is missing, or the output is the table, or of another format.
    """
    table, output = Path(table), Path(output)
    _check_output(table, output)
    if chunk < 1:
        raise ValueError(f"a chunk of {chunk} rows: use 1 or more")
    source = open_table(table)
    zero_point = load_zero_point(model_path, exact=exact, draws=draws, seed=seed)
    try:
        names = columns.among(source.column_names, constant=isinstance(zero_point, ZeroPoint))
    except ValueError as error:
        raise ValueError(f"{table}: {error}") from error
    history = _history(model_path, zero_point, draws, seed)
    settings = {"names": names, "exact": exact, "chunk": chunk, "history": history}
    parts = _parts_folder(source.files, output, model_path, settings)
    bars = {"unit": "star", "unit_scale": True, "disable": not progress}
    whole = parts / f"whole{output.suffix}"
    try:
        with tqdm(total=source.n_rows, desc="zero point", **bars) as bar:
            counts = _make_parts(parts, zero_point, source.numbers(names, chunk), bar)
        with tqdm(total=counts["rows"], desc="writing", **bars) as bar, files.atomic(whole) as temporary:
            source.write(temporary, _read_parts(parts, bar), NEW_COLUMNS, history, chunk)
    except TableFormatError:  # there is nothing to resume
        shutil.rmtree(parts)
        raise
    os.replace(whole, output)
    shutil.rmtree(parts)
    return counts


def _check_output(table: Path, output: Path) -> None:
    if output.resolve() == table.resolve():
        raise ValueError(f"{output}: is the table itself; name another file with --output")
    if output.is_dir():
        raise ValueError(f"{output}: is a folder; name a file with --output")
    suffix = table_suffix(table).lower().removesuffix(".gz")
    endings = (suffix,) if table.is_dir() or suffix in ParquetTable.suffixes else (suffix, f"{suffix}.gz")
    if table_suffix(output).lower() not in endings:
        like = "the Parquet files in it do" if table.is_dir() else "the table does"
        raise ValueError(f"{output}: must end in {' or '.join(endings)} as {like}")
    if table.is_dir() and output.resolve().is_relative_to(table.resolve()):
        raise ValueError(f"{output}: is in the folder {table} and would become part of it; name another --output")


def _history(model_path: str | Path, zero_point, draws: int | None, seed: int | None) -> dict:
    """Collect what the output says about its origin."""
    provenance = read_provenance(model_path)
    draws, seed = _draws_and_seed(provenance, draws, seed)
    history = {
        "version": __version__,
        "model": Path(model_path).name,
        "model_sha256": hashlib.sha256(Path(model_path).read_bytes()).hexdigest(),
        "survey": provenance["survey"],
        "offset": provenance["offset"],
        "draws": draws,
        "seed": seed,
    }
    if isinstance(zero_point, ZeroPoint):
        return history
    if isinstance(zero_point, ZeroPointSurface):
        history["grid_nodes"] = list(zero_point.value.shape)
        history["interpolation_error_uas"] = float(f"{1000 * zero_point.interpolation_error:.1e}")
    return history | {"range": dict(zip(("g_mag", "bp_rp", "teff"), zero_point.ranges, strict=True))}


def _parts_folder(table: Sequence[Path], output: Path, model_path: str | Path, settings: Mapping) -> Path:
    """Return the folder of the parts beside the output, emptied if they come from another table, model or setting."""
    folder = output.with_name(f".{output.name}.parts")
    states = [(path, path.stat()) for path in table]
    origin = {"table": [(str(path.resolve()), state.st_size, state.st_mtime_ns) for path, state in states]}
    return files.parts_folder(folder, files.fingerprint({**settings, **origin}, [model_path], [add_zero_point_to_file]))


def _make_parts(parts: Path, zero_point, numbers: Iterable[list[np.ndarray]], bar: tqdm) -> dict[str, int]:
    """One file per chunk with the new columns; those that are there already are not computed again."""
    counts = dict.fromkeys(("rows", "valid", *(str(bit.name) for bit in ZeroPointFlags)), 0)

    def part_of(index: int, chunk: list[np.ndarray]) -> np.ndarray:
        path = _part(parts, index)
        if path.is_file():
            return np.load(path)
        records = _records(zero_point, *chunk)
        with files.atomic(path) as temporary:
            np.save(temporary, records)
        return records

    for records in _in_threads(part_of, numbers):
        counts["rows"] += len(records)
        counts["valid"] += int(np.count_nonzero(records["zero_point_domain"] == 0))
        for bit in ZeroPointFlags:
            counts[str(bit.name)] += int(np.count_nonzero(records["zero_point_domain"] & np.uint8(bit)))
        bar.update(len(records))
    return counts


def _in_threads(function: Callable, items: Iterable) -> Iterator:
    """``function(index, item)`` for each item in order, a few at a time."""
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as threads:
        pending: deque[Future] = deque()
        for index, item in enumerate(items):
            pending.append(threads.submit(function, index, item))
            if len(pending) > workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def _read_parts(parts: Path, bar: tqdm) -> Iterator[np.ndarray]:
    for index in itertools.count():
        if not _part(parts, index).is_file():
            return
        records = np.load(_part(parts, index))
        yield records
        bar.update(len(records))


def _part(parts: Path, index: int) -> Path:
    return parts / f"{index:08d}.npy"
