"""What the explorer shows of a catalogue: its columns with labels and units, flags in words, and positions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Table

from apogaia.distances import catalogue as own
from apogaia.formats.distance_catalogues import read_distance_catalogue
from apogaia.formats.fits_columns import ReductionError
from apogaia.formats.stars_h5_columns import ELEMENTS
from apogaia.formats.survey_tables import read_stellar_parameters
from apogaia.parameters import astra
from apogaia.physics.galaxy import galactocentric
from apogaia.physics.luminosity import corrected_parallax
from apogaia.survey import MapsSettings

__all__ = ["SAMPLE_SEED", "ExplorerColumn", "ExplorerTable", "read_table", "sampled"]

SAMPLE_SEED = 1


@dataclass(frozen=True)
class ExplorerColumn:
    """Numbers of the stars: (n,) values, NaN for unknown, and how they are shown."""

    label: str
    unit: str
    group: str  # of the panel and of the list of colours
    decimals: int
    values: np.ndarray = field(repr=False)
    error: str = ""  # key of the column that holds its error


@dataclass(frozen=True)
class ExplorerTable:
    """The stars of a catalogue as the explorer shows them, one row each."""

    path: Path
    kind: str  # what catalogue it is
    origin: Mapping[str, str]  # survey and fingerprint of the model, as far as the file states them
    ids: np.ndarray  # (n,) names of the stars
    columns: Mapping[str, ExplorerColumn]
    texts: Mapping[str, np.ndarray]  # label -> (n,)
    flags: np.ndarray  # (n,) bits
    meanings: Mapping[int, tuple[str, str]]  # bit -> its name and what it means
    bad: np.ndarray  # (n,) whether the distance is absent or unreliable
    rows: np.ndarray  # (n,) of the catalogue
    n_rows: int  # of the catalogue

    def __len__(self) -> int:
        return len(self.ids)

    def values(self, key: str) -> np.ndarray:
        """(n,) numbers of a column; NaN where the catalogue has none."""
        return self.columns[key].values if key in self.columns else np.full(len(self), np.nan)

    def has(self, *keys: str) -> bool:
        """Whether any star has all of these numbers."""
        return bool(np.all([np.isfinite(self.values(key)) for key in keys], axis=0).any())

    def rows_of(self, star: str) -> np.ndarray:
        """Rows of a star, those that the catalogue itself prefers first."""
        rows = np.flatnonzero(self.ids == star)
        repeated = (self.flags[rows] & own.Flags.REPEATED_STAR) != 0
        return rows[np.argsort(repeated, kind="stable")]


# column of the catalogue: label, unit, group, decimals, column of its error
_COLUMNS: dict[str, tuple[str, str, str, int, str]] = {
    "dist": ("distance (network)", "pc", "Distance", 0, "dist_error"),
    "dist_error": ("distance error", "pc", "Distance", 0, ""),
    "weighted_dist": ("distance (network and Gaia)", "pc", "Distance", 0, "weighted_dist_error"),
    "weighted_dist_error": ("error of distance (network and Gaia)", "pc", "Distance", 0, ""),
    "fakemag": ("fakemag", "mas", "Distance", 2, "fakemag_error"),
    "fakemag_error": ("fakemag error", "mas", "Distance", 2, ""),
    "training_distance": ("distance from training set (1: edge)", "", "Distance", 2, ""),
    "nn_parallax": ("parallax (network)", "mas", "Parallax", 3, "nn_parallax_error"),
    "nn_parallax_error": ("parallax error (network)", "mas", "Parallax", 3, ""),
    "parallax": ("parallax (Gaia, as given)", "mas", "Parallax", 3, "parallax_error"),
    "parallax_error": ("parallax error (Gaia)", "mas", "Parallax", 3, ""),
    "zero_point": ("zero point", "mas", "Parallax", 4, "zero_point_error"),
    "zero_point_error": ("zero point error", "mas", "Parallax", 4, ""),
    "teff": ("Teff", "K", "Star", 0, "teff_error"),
    "logg": ("log g", "dex", "Star", 2, "logg_error"),
    "phot_g_mean_mag": ("G", "mag", "Star", 2, ""),
    "bp_rp": ("BP − RP", "mag", "Star", 2, ""),
    "k_mag": ("Ks", "mag", "Star", 2, ""),
    "a_k_mag": ("extinction in Ks", "mag", "Star", 2, ""),
    "snr": ("SNR", "", "Star", 0, ""),
    "v_helio": ("radial velocity", "km/s", "Position and motion", 1, ""),
    "pmra": ("proper motion in RA", "mas/yr", "Position and motion", 2, "pmra_error"),
    "pmra_error": ("error of proper motion in RA", "mas/yr", "Position and motion", 2, ""),
    "pmdec": ("proper motion in Dec", "mas/yr", "Position and motion", 2, "pmdec_error"),
    "pmdec_error": ("error of proper motion in Dec", "mas/yr", "Position and motion", 2, ""),
}
_CARDS = {"survey": "SURVEY", "model": "MODELKEY"}  # of this project's files
_SPELLED = {"CI": "C I", "TiII": "Ti II"}
_TEXTS = {
    "telescope": "telescope",
    "field": "field",
    "gaia_source_id": "Gaia source",
    "reason": "why there is no spectrum",
}


def read_table(path: Path, maps: MapsSettings, parameters: Path | None = None) -> ExplorerTable:
    """Read a catalogue for the explorer.

    Parameters
    ----------
    path
        Any file that `apogaia.formats.distance_catalogues.read_distance_catalogue` reads. Of this project's catalogue,
        and of the one released with the paper, all columns are shown.
    maps
        For the Sun's place.
    parameters
        Teff, log g and abundances of the same stars, row by row (``apogee_nn_parameters.fits``); None: there are none.

    Raises
    ------
    apogaia.formats.fits_columns.ReductionError, apogaia.distances.catalogue.CatalogueError
        If a file is missing, damaged, of no known kind, or has other stars; the message names the remedy.
    """
    found = read_distance_catalogue(path)
    if found.quantity != "dist":
        raise ReductionError(f"{path} ({found.title}) has radii and no distances: give a catalogue of distances")
    table = found.table
    names, origin = _stated(path)
    if found.form.kind in ("apogaia", "astronn") and names >= {name for name, _, _ in own.TABLE_1}:
        table = own.read_catalogue(path)
    columns = {
        key: ExplorerColumn(label, unit, group, decimals, np.asarray(table[key], float), error)
        for key, (label, unit, group, decimals, error) in _COLUMNS.items()
        if key in table.colnames
    }
    if parameters is not None:
        columns |= _abundances(parameters, table)
    columns |= _positions(table, maps) | _derived(columns, len(table))
    columns = {key: column for key, column in columns.items() if np.isfinite(column.values).any()}
    flags = np.asarray(table["flags"], np.int64) if "flags" in table.colnames else np.zeros(len(table), np.int64)
    meanings, bad_bits = _flags_of(found.form.kind)
    return ExplorerTable(
        path=path,
        kind=found.title,
        origin=origin,
        ids=np.asarray(table["apogee_id"]).astype(str),
        columns=columns,
        texts=_texts(table),
        flags=flags,
        meanings=meanings,
        bad=(flags & bad_bits) != 0,
        rows=np.arange(len(table)),
        n_rows=len(table),
    )


def sampled(table: ExplorerTable, n_stars: int, kept: Iterable[str] = ()) -> ExplorerTable:
    """At most `n_stars` stars, drawn at random with a fixed seed, in their order; stars in `kept` are among them."""
    if len(table) <= n_stars:
        return table
    wanted = np.isin(table.ids, list(kept))
    order = np.random.default_rng(SAMPLE_SEED).permutation(len(table))
    order = order[np.argsort(~wanted[order], kind="stable")]
    rows = np.sort(order[: max(n_stars, int(wanted.sum()))])
    return replace(
        table,
        ids=table.ids[rows],
        columns={key: replace(column, values=column.values[rows]) for key, column in table.columns.items()},
        texts={label: values[rows] for label, values in table.texts.items()},
        flags=table.flags[rows],
        bad=table.bad[rows],
        rows=table.rows[rows],
    )


def _stated(path: Path) -> tuple[set[str], dict[str, str]]:
    """Names of the columns of a FITS file, and what its header says of its survey and model; nothing of other files."""
    if not path.name.endswith((".fits", ".fit", ".fits.gz")):
        return set(), {}
    with fits.open(path) as hdus:
        tables = [hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)]
        filled = next((hdu for hdu in tables if hdu.header["NAXIS2"]), tables[0])  # Astra's first one is empty
        origin = {key: str(filled.header[card]) for key, card in _CARDS.items() if card in filled.header}
        return set(filled.columns.names), origin


def _abundances(path: Path, table: Table) -> dict[str, ExplorerColumn]:
    """Teff, log g and [Fe/H] with errors, and [X/Fe], of the same rows."""
    try:
        labels = read_stellar_parameters(path, table)
    except ReductionError as fault:
        raise ReductionError(f"{fault}; or give another file with --parameters, or --parameters none") from fault
    iron = np.asarray(labels["fe_h"], float)
    columns = {
        "teff": ExplorerColumn("Teff", "K", "Star", 0, np.asarray(labels["teff"], float), "teff_error"),
        "teff_error": ExplorerColumn("Teff error", "K", "Star", 0, np.asarray(labels["teff_error"], float)),
        "logg": ExplorerColumn("log g", "dex", "Star", 2, np.asarray(labels["logg"], float), "logg_error"),
        "logg_error": ExplorerColumn("log g error", "dex", "Star", 2, np.asarray(labels["logg_error"], float)),
        "fe_h": ExplorerColumn("[Fe/H]", "dex", "Star", 2, iron, "fe_h_error"),
        "fe_h_error": ExplorerColumn("[Fe/H] error", "dex", "Star", 2, np.asarray(labels["fe_h_error"], float)),
    }
    for element in ELEMENTS:
        if element != "Fe":
            ratio = np.asarray(labels[f"{element.lower()}_h"], float) - iron
            columns[f"{element.lower()}_fe"] = ExplorerColumn(
                f"[{_SPELLED.get(element, element)}/Fe]", "dex", "Abundances", 2, ratio
            )
    return columns


def _positions(table: Table, maps: MapsSettings) -> dict[str, ExplorerColumn]:
    """Where the stars are on the sky and in the Galaxy."""
    ra, dec = (np.asarray(table[name], float) for name in ("ra", "dec"))
    if "ra_apogee" in table.colnames:
        ra = np.where(np.isfinite(ra), ra, np.asarray(table["ra_apogee"], float))
        dec = np.where(np.isfinite(dec), dec, np.asarray(table["dec_apogee"], float))
    x, y, z = galactocentric(ra, dec, np.asarray(table["dist"], float), maps)
    group = "Position and motion"
    return {
        "ra": ExplorerColumn("right ascension", "deg", group, 4, ra),
        "dec": ExplorerColumn("declination", "deg", group, 4, dec),
        "x": ExplorerColumn("Galactocentric x", "kpc", group, 2, x),
        "y": ExplorerColumn("Galactocentric y", "kpc", group, 2, y),
        "z": ExplorerColumn("Galactocentric z", "kpc", group, 2, z),
        "radius": ExplorerColumn("Galactocentric radius R", "kpc", group, 2, np.hypot(x, y)),
    }


def _derived(columns: Mapping[str, ExplorerColumn], n_stars: int) -> dict[str, ExplorerColumn]:
    """Relative error, the network's parallax where there is only a distance, and the difference from Gaia's."""
    unknown = np.full(n_stars, np.nan)
    known = {key: column.values for key, column in columns.items()}
    with np.errstate(divide="ignore", invalid="ignore"):
        relative = 100 * known.get("dist_error", unknown) / known["dist"]
        network = known.get("nn_parallax", 1000 / known["dist"])
        network_error = known.get("nn_parallax_error", network * relative / 100)
        gaia = corrected_parallax(known.get("parallax", unknown), known.get("zero_point", unknown))
        gaia_error = np.hypot(
            known.get("parallax_error", unknown), np.nan_to_num(known.get("zero_point_error", unknown))
        )
        sigmas = (gaia - network) / np.hypot(gaia_error, network_error)
    group = "Parallax"
    return {
        "relative_error": ExplorerColumn("relative distance error", "%", "Distance", 1, relative),
        "nn_parallax": ExplorerColumn("parallax (network)", "mas", group, 3, network, "nn_parallax_error"),
        "nn_parallax_error": ExplorerColumn("parallax error (network)", "mas", group, 3, network_error),
        "gaia": ExplorerColumn("parallax (Gaia, corrected)", "mas", group, 3, gaia, "gaia_error"),
        "gaia_error": ExplorerColumn("parallax error (Gaia, with the zero point's)", "mas", group, 3, gaia_error),
        "difference": ExplorerColumn("parallax difference, Gaia − network", "mas", group, 3, gaia - network),
        "sigmas": ExplorerColumn("parallax difference / its error", "σ", group, 1, sigmas),
    }


def _flags_of(kind: str) -> tuple[dict[int, tuple[str, str]], int]:
    """Names and meanings of the bits of a kind of catalogue, and the bits that mark an unusable distance."""
    if kind == "apogaia":
        return {int(flag): (str(flag.name), text) for flag, text in own.FLAG_MEANINGS.items()}, int(own.BAD)
    if kind != "astronndist":
        return {}, 0
    bits = astra.AstroNNDistFlags
    bad = bits.FAKEMAG_UNRELIABLE | bits.MISSING_PHOTOMETRY | bits.NO_RESULT
    return {int(flag): (str(flag.name), text) for flag, text in astra.FLAG_MEANINGS["AstroNNDist"].items()}, int(bad)


def _texts(table: Table) -> dict[str, np.ndarray]:
    texts = {}
    for key, label in _TEXTS.items():
        if key in table.colnames:
            values = np.asarray(table[key]).astype(str)
            values = np.where(values == "0", "", values) if key == "gaia_source_id" else values
            if (values != "").any():
                texts[label] = values
    return texts
