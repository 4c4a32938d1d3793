"""Catalogues of distances, ours and others', recognised by their columns.

All are read into the same columns, NaN for unknown: distances in pc, whatever the file has (kpc, parallaxes,
percentiles of a posterior). FITS files, compressed or not, and tables that astropy reads (.ecsv, .csv).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Table

from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.formats.fits_columns import ReductionError, find_column, native, open_table, raw_values

__all__ = ["FORMS", "CatalogueForm", "DistanceCatalogue", "catalogues_in", "read_distance_catalogue", "recognised"]

_NAMES = {
    "apogee_id": ("apogee_id", "sdss4_apogee_id", "2mass_id", "tmass_id", "obj"),
    "ra": ("ra_apogee", "ra", "ra_icrs", "raj2000", "radeg"),
    "dec": ("dec_apogee", "dec", "de_icrs", "dej2000", "dedeg"),
    "pmra": ("pmra", "pmra*"),
    "pmdec": ("pmdec", "pmde"),
    "teff": ("teff",),
    "logg": ("logg",),
    "snr": ("snr",),
    "k_mag": ("k_mag", "k"),
    "a_k_mag": ("a_k_mag", "ak_targ"),
    "flags": ("flags", "result_flags"),
}
_INTEGERS = ("flags",)
_NO_DISTANCE = 1 << 1 | 1 << 11  # no photometry, no result: ours and AstroNNDist's; large errors are a cut of their own
_FLAGGED = ("apogaia", "astronndist")
_TEXT_FILES = (".ecsv", ".csv")


@dataclass(frozen=True)
class CatalogueForm:
    """What a kind of catalogue looks like."""

    kind: str
    title: str
    marks: tuple[str, ...]  # columns that all must be there, and that tell it
    quantity: str  # what is in `value`: "dist", "parallax" or "radius"
    value: tuple[str, ...]
    error: tuple[str, ...] = ()
    percentiles: tuple[str, str] | None = None  # columns of the 16th and 84th
    unit: str = "kpc"  # of both, where the file states none
    quoted_error: float = np.nan  # relative, where the file has none
    epoch: float = 2000.0  # of the positions
    remedy: str = "fetch it again from where it is published"


# The first whose marks are all there is taken: those with more columns come before those that share some with them.
FORMS = (
    CatalogueForm("apogaia", "this work", ("dist", "dist_error", "fakemag", "flags"), "dist", ("dist",),
                  ("dist_error",), unit="pc", remedy="run notebook 04, or `apogaia distance --output`"),
    CatalogueForm("astronndist", "Astra's AstroNNDist", ("l_fakemag", "dist"), "dist", ("dist",),
                  ("dist_err", "e_dist"), unit="pc"),
    CatalogueForm("astronn", "astroNN", ("dist", "dist_error", "nn_parallax", "weighted_dist"), "dist", ("dist",),
                  ("dist_error",), unit="pc"),
    CatalogueForm("apogee_rc", "APOGEE-RC", ("rc_dist",), "dist", ("rc_dist",), quoted_error=0.05),
    CatalogueForm("bpg", "BPG", ("bpg_dist50",), "dist", ("bpg_dist50",), percentiles=("bpg_dist16", "bpg_dist84")),
    CatalogueForm("hogg_eilers_rix", "Hogg, Eilers & Rix", ("spec_parallax",), "parallax", ("spec_parallax",),
                  ("spec_parallax_err",), unit="mas"),
    CatalogueForm("starhorse", "StarHorse", ("dist50",), "dist", ("dist50",), percentiles=("dist16", "dist84")),
    CatalogueForm("apokasc", "APOKASC", ("apokasc2_radius",), "radius", ("apokasc2_radius",),
                  ("apokasc2_radius_ranerr",), unit="solRad"),
    CatalogueForm("apokasc", "APOKASC", ("apokasc3p_radius",), "radius", ("apokasc3p_radius",),
                  ("apokasc3p_radius_err", "apokasc3p_radius_ranerr"), unit="solRad"),
    CatalogueForm("clusters", "clusters", ("cluster", "proba"), "dist", ("distpc",), unit="pc", quoted_error=0.05,
                  epoch=2015.5, remedy="fetch both tables of VizieR J/A+A/640/A1"),
    CatalogueForm("table", "distances", ("dist",), "dist", ("dist",), ("dist_error", "dist_err", "e_dist"), unit="pc"),
)  # fmt: skip
_ORDER = ("apogee_rc", "bpg", "hogg_eilers_rix", "starhorse", "astronn", "astronndist", "apokasc", "clusters")
_CLUSTER_DISTANCE = ("cluster", "distpc")  # columns of the table of clusters, which is beside that of their stars


@dataclass(frozen=True)
class DistanceCatalogue:
    """A catalogue of distances in our columns.

    `table` has apogee_id, ra, dec [deg], pmra, pmdec [mas/yr], teff [K], logg, snr, k_mag, a_k_mag [mag], flags, and
    dist with dist_error [pc], or radius with radius_error [Rsun]. Where stars belong to clusters it has `cluster` and
    `membership`. Unknown are NaN, 0 flags and empty names.
    """

    path: Path
    form: CatalogueForm
    table: Table = field(repr=False)

    @property
    def title(self) -> str:
        """Its name in figures and tables."""
        return self.form.title

    @property
    def quantity(self) -> str:
        """What it is compared in: "dist" or "radius"."""
        return "radius" if self.form.quantity == "radius" else "dist"


@takes(path=file_path)
def recognised(path: str | Path) -> CatalogueForm | None:
    """Recognise the kind of a catalogue by its columns; None if none of `FORMS`.

    A table with a column `dist` and no other mark counts as none, since it may be anything.

    Raises
    ------
    ReductionError
        If the file cannot be read as a table.
    """
    with _opened(Path(path)) as columns:
        form = _form(columns.names)
    return None if form is None or form.kind == "table" else form


@takes(folder=file_path, min_membership=u.dimensionless_unscaled)
def catalogues_in(
    folder: str | Path, min_membership: float, apart_from: Iterable[str] = ()
) -> tuple[list[DistanceCatalogue], dict[str, str]]:
    """Read every catalogue of others' distances that a folder holds, those of the paper's Figure 9 first.

    Parameters
    ----------
    folder
        Its FITS files are looked at, not those in folders below.
    min_membership
        As in `read_distance_catalogue`.
    apart_from
        Names of files that are known to be something else.

    Returns
    -------
    catalogues, not_read
        And, by the name of the file, why a table could not be read.
    """
    found: list[DistanceCatalogue] = []
    not_read: dict[str, str] = {}
    for path in _fits_files(Path(folder)):
        if path.name in apart_from:
            continue
        try:
            form = recognised(path)
            if form is not None and form.kind != "apogaia":
                found.append(read_distance_catalogue(path, min_membership))
        except ReductionError as fault:
            not_read[path.name] = str(fault)
    return sorted(found, key=lambda one: (*_ORDER, one.form.kind).index(one.form.kind)), not_read


@takes(path=file_path, min_membership=u.dimensionless_unscaled)
def read_distance_catalogue(path: str | Path, min_membership: float = 0.7) -> DistanceCatalogue:
    """Read a catalogue of distances of any kind in `FORMS`.

    Parameters
    ----------
    path
        A .fits file (perhaps .gz), .ecsv or .csv.
    min_membership
        Stars of a cluster with a smaller probability are left out.

    Raises
    ------
    ReductionError
        If the file is missing or damaged, is of no known kind, or lacks a column; the message names the remedy.
    """
    path = Path(path)
    with _opened(path) as columns:
        form = _form(columns.names)
        if form is None:
            marks = "; ".join(f"{one.title}: {', '.join(one.marks)}" for one in FORMS)
            raise ReductionError(f"{path} is not a catalogue of distances with known columns ({marks})")
        if not len(columns):
            raise ReductionError(f"{path} has no rows: {form.remedy}")
        table = Table({"apogee_id": _identities(columns)})
        for new in _NAMES.keys() - {"apogee_id"}:
            found = find_column(columns.names, _NAMES[new])
            kind = "i8" if new in _INTEGERS else "f8"
            absent = np.zeros(len(table), "i8") if new in _INTEGERS else np.full(len(table), np.nan)
            table[new] = absent if found is None else columns.numbers(found, kind)
        if form.kind == "clusters":
            table = _with_cluster_distances(columns, form, table, min_membership)
        else:
            _add_distances(columns, form, table)
    if form.kind in _FLAGGED:
        table["dist"][np.asarray(table["flags"]) & _NO_DISTANCE > 0] = np.nan
    if not (table["apogee_id"] != "").any() and not np.isfinite(table["ra"]).any():
        raise ReductionError(
            f"{path} has neither names (APOGEE_ID) nor positions (RA, DEC) of its stars: {form.remedy}"
        )
    return DistanceCatalogue(path, form, table)


class _Columns:
    """Names, values and units of a table's columns, read when they are asked for: allStar has 4 GB."""

    def __init__(self, path: Path, data: fits.FITS_rec | Table):
        self.path, self.data = path, data
        self.names: list[str] = list(data.colnames if isinstance(data, Table) else data.names)

    def __len__(self) -> int:
        return len(self.data)

    def texts(self, name: str) -> np.ndarray:
        """A column as texts, the empty one where masked."""
        is_table = isinstance(self.data, Table)
        values = np.ma.filled(np.ma.asarray(self.data[name]), "") if is_table else raw_values(self.data, name)
        return np.char.strip(np.asarray(values).astype(str))

    def numbers(self, name: str, kind: str = "f8") -> np.ndarray:
        """A column as numbers; NaN where masked, TNULL, -9999, 1e20 or not finite."""
        try:
            if isinstance(self.data, Table):
                values: np.ndarray = np.ma.filled(np.ma.asarray(self.data[name], dtype=float), np.nan)
                null = None
            else:
                values, null = raw_values(self.data, name), self.data.columns[name].null
            if values.ndim > 1:
                raise ValueError(f"{values[0].size} values a row")
            return native(values, kind, null)
        except (TypeError, ValueError) as fault:
            raise ReductionError(f"{self.path}: column {name} holds {fault}; fetch or make it again") from fault

    def in_unit(self, name: str, default: str, wanted: str) -> np.ndarray:
        """A column of numbers in the wanted unit, from the unit that the file states, else from the default."""
        stated = self.data[name].unit if isinstance(self.data, Table) else self.data.columns[name].unit
        unit = u.Unit(str(stated or default), parse_strict="silent")
        return self.numbers(name) * (unit if unit.is_equivalent(wanted) else u.Unit(default)).to(wanted)

    def needed(self, form: CatalogueForm, candidates: Sequence[str]) -> str:
        """The first of the candidates that is there; an error if none is."""
        found = find_column(self.names, candidates)
        if found is None:
            wanted = " or ".join(name.upper() for name in candidates)
            raise ReductionError(f"{self.path} looks like {form.title} but has no column {wanted}: {form.remedy}")
        return found


@contextmanager
def _opened(path: Path) -> Iterator[_Columns]:
    """The first table of a file that has rows."""
    if not path.is_file():
        raise ReductionError(f"{path} is missing")
    if path.name.endswith(_TEXT_FILES):
        try:
            table = Table.read(path)
        except Exception as fault:  # what astropy's readers raise on damage has no common base
            reason = (str(fault) or type(fault).__name__).splitlines()[0]
            raise ReductionError(f"{path} cannot be read as a table ({reason})") from fault
        yield _Columns(path, table)
        return
    with open_table(path) as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
        yield _Columns(path, next((hdu for hdu in tables if hdu.header["NAXIS2"]), tables[0]).data)


def _form(names: Iterable[str]) -> CatalogueForm | None:
    present = {name.lower() for name in names}
    return next((form for form in FORMS if present >= set(form.marks)), None)


def _identities(columns: _Columns) -> np.ndarray:
    """Names of the stars as APOGEE writes them, 2M00000000+0000000; empty where unknown."""
    names = np.full(len(columns), "", dtype="U18")
    for candidate in _NAMES["apogee_id"]:  # in Astra's tables stars of SDSS-V have no name of SDSS-IV
        found = find_column(columns.names, (candidate,))
        if found is not None:
            names = np.where(names == "", columns.texts(found), names)
    names = np.where(np.char.startswith(names, "J"), np.char.lstrip(names, "J"), names)  # as 2MASS has them
    bare = np.char.isdigit(names.astype("U1")) & ~np.char.startswith(names, "2M")
    return np.where(bare, np.char.add("2M", names), names)


def _add_distances(columns: _Columns, form: CatalogueForm, table: Table) -> None:
    """Distances or radii with their errors, in pc or Rsun."""
    wanted = {"dist": "pc", "parallax": "mas", "radius": "solRad"}[form.quantity]

    def column(candidates: Sequence[str]) -> np.ndarray:
        return columns.in_unit(columns.needed(form, candidates), form.unit, wanted)

    value = column(form.value)
    value[~(value > 0)] = np.nan
    if form.percentiles is not None:
        low, high = (column((name,)) for name in form.percentiles)
        error = 0.5 * (high - low)
    elif form.error and (form.kind != "table" or find_column(columns.names, form.error)):
        error = column(form.error)
    else:
        error = form.quoted_error * value
    error = np.where(np.isfinite(value) & (error > 0), error, np.nan)
    if form.quantity == "parallax":
        value, error = 1000 / value, 1000 * error / value**2
    name = "radius" if form.quantity == "radius" else "dist"
    table[name], table[f"{name}_error"] = value, error


def _with_cluster_distances(columns: _Columns, form: CatalogueForm, table: Table, min_membership: float) -> Table:
    """The members, each with the distance of its cluster, from the table of clusters in the same folder."""
    folder = columns.path.parent
    beside = next((other for other in _fits_files(folder) if _is_of_clusters(other)), None)
    if beside is None:
        raise ReductionError(
            f"{columns.path} has stars of clusters, but no table beside it has their distances (column DistPc):"
            f" {form.remedy}"
        )
    with _opened(beside) as clusters:
        name, dist = (clusters.needed(form, (mark,)) for mark in _CLUSTER_DISTANCE)
        known = dict(zip(clusters.texts(name).tolist(), clusters.in_unit(dist, "pc", "pc").tolist(), strict=True))
    table["cluster"] = columns.texts(columns.needed(form, ("cluster",)))
    table["membership"] = columns.numbers(columns.needed(form, ("proba",)))
    table["dist"] = np.array([known.get(one, np.nan) for one in table["cluster"].tolist()], dtype=float)
    table["dist"][~(table["dist"] > 0)] = np.nan
    table["dist_error"] = form.quoted_error * table["dist"]
    return table[np.asarray(table["membership"]) >= min_membership]


def _fits_files(folder: Path) -> list[Path]:
    names = (path for path in sorted(folder.iterdir()) if not path.name.startswith("."))
    return [path for path in names if path.name.endswith((".fits", ".fit", ".fits.gz"))]


def _is_of_clusters(path: Path) -> bool:
    try:
        with _opened(path) as columns:
            present = {name.lower() for name in columns.names}
    except ReductionError:  # of another table, which `catalogues_in` tells of
        return False
    return present >= set(_CLUSTER_DISTANCE) and "proba" not in present
