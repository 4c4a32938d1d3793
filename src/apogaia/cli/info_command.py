"""``apogaia info``: what a file is, in a few lines."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from apogaia.cli.help_texts import INFO, INFO_EPILOG
from apogaia.cli.options import add_command
from apogaia.survey import load_survey, survey_names

if TYPE_CHECKING:
    from astropy.io import fits

__all__ = ["add"]


def add(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser of all."""
    info = add_command(commands, "info", _info, "what a file is: a model, a catalogue, spectra, a survey")
    info.description, info.epilog = INFO, INFO_EPILOG
    info.add_argument("files", nargs="+", type=Path, metavar="FILE", help="of any kind that apogaia reads or writes")


def _info(options: argparse.Namespace) -> int:
    failed = False
    for path in options.files:
        try:
            lines = _lines(path)
        except (OSError, ValueError) as error:
            print(f"apogaia info: {error}", file=sys.stderr)
            failed = True
            continue
        print("\n    ".join([f"{path}: {lines[0]}", *lines[1:]]))
    return 2 if failed else 0


def _lines(path: Path) -> list[str]:
    """Return what is said of a file, its kind first; raises a ValueError if it is of no known kind."""
    if not path.exists() and str(path) in survey_names():
        return _survey(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    name = path.name.removesuffix(".gz")
    for suffixes, describe in _BY_SUFFIX.items():
        if name.endswith(suffixes):
            return describe(path)
    known = ", ".join(suffix for suffixes in _BY_SUFFIX for suffix in suffixes)
    raise ValueError(f"{path}: apogaia reads files that end in {known} (or these with .gz)")


def _model(path: Path) -> list[str]:
    from apogaia.model.model_origin import read_domain, read_provenance

    origin = read_provenance(path)
    survey, imported = origin["settings"], origin.get("imported")
    simulated = survey["sources"]["kind"] == "simulated"
    labels = "labels" in origin
    what = "Teff, log g and abundances" if labels else f"luminosities, zero point: {origin.get('offset', 'none')}"
    lines = [f"a model of apogaia: {what}"]
    if imported:
        lines.append(f"a published network, {imported['layout']}; spectra as in survey {origin['survey']}")
    else:
        warning = " (simulated stars: not for use on real ones)" if simulated else ""
        lines.append(f"trained on {survey['title']}{warning}")
    if "gradient_stars" in origin:
        epochs = len(origin.get("history", {}).get("loss", ()))
        lines.append(
            f"trained on {origin['gradient_stars']} stars, validated on {origin['validation_stars']}, {epochs} epochs,"
            f" seed {origin['seed']}"
        )
    calibration = origin.get("calibration")
    if calibration:
        how = "stated in the survey file" if calibration["fixed"] else f"refit of {calibration['stars']} stars"
        lines.append(f"zero point {calibration['value_uas']:.1f} +- {calibration['error_uas']:.1f} uas ({how})")
    if not labels and read_domain(path) is None:
        lines.append("has no summary of its training spectra: no star is flagged as outside them")
    if "versions" in origin:
        lines.append(
            "written by " + ", ".join(f"{name} {number}" for name, number in sorted(origin["versions"].items()))
        )
    return lines


def _stars(path: Path) -> list[str]:
    import h5py

    with h5py.File(path) as file:
        if "star" not in file:
            raise ValueError(f"{path}: an HDF5 file without the group `star`: not one that apogaia wrote")
    from apogaia.reduction.stars_h5 import open_stars, status_counts

    with open_stars(path) as stars:
        counts = status_counts(stars.table)
        lines = [f"normalised spectra and labels of {len(stars.table)} stars, {stars.spectra.shape[1]} pixels each"]
    return [*lines, *(f"{row['stars']} {row['status']}: {row['meaning']}" for row in counts)]


def _text_table(path: Path) -> list[str]:
    from astropy.table import Table

    from apogaia.formats.distance_catalogues import recognised

    table = Table.read(path, format="ascii.ecsv" if ".ecsv" in path.name else "ascii.csv")
    lines = [f"a table with {len(table)} rows", f"columns: {', '.join(table.colnames[:12])}"]
    form = None if path.name.endswith(".gz") else recognised(path)
    return lines if form is None else [f"{form.title}, a catalogue of distances: {len(table)} rows", lines[1]]


def _survey(path: Path) -> list[str]:
    survey = load_survey(str(path))
    sources = survey.sources
    lines = [
        f"a survey file: {survey.title}",
        f"raw files: {sources.kind}, APOGEE {sources.apogee_release} + Gaia {sources.gaia_release}",
    ]
    if survey.simulation is not None:
        lines.append(f"{survey.simulation.n_stars} simulated stars, seed {survey.simulation.seed}")
    return lines


def _fits(path: Path) -> list[str]:
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fits.verify.VerifyWarning)  # others' names of columns are theirs
        return _of_fits(path)


def _of_fits(path: Path) -> list[str]:
    from astropy.io import fits

    try:
        with fits.open(path) as hdus:
            first = hdus[1] if len(hdus) > 1 else None
            tables = [
                _Table(hdu.name or "a table", [name.lower() for name in hdu.columns.names], len(hdu.data))
                for hdu in hdus
                if isinstance(hdu, fits.BinTableHDU)
            ]
            header = hdus[1].header.copy() if isinstance(first, fits.BinTableHDU) else None
            if header is not None and "FLAG00" in header and "fakemag" in tables[0].columns:
                return _catalogue(path, header)
    except OSError as error:
        raise ValueError(f"{path}: not a FITS file that can be read ({error})") from error
    if header is None:  # spectra are images, and some files have tables behind them
        return _spectrum(path)
    found = _comparison(path, tables) or _input_table(tables)
    return found or [
        "a FITS file of no kind known to apogaia",
        *(f"{table.name}: {table.rows} rows, columns {', '.join(table.columns[:12])}" for table in tables),
    ]


class _Table(NamedTuple):
    name: str
    columns: list[str]  # in lower case
    rows: int


def _spectrum(path: Path) -> list[str]:
    from apogaia.formats.apstar import read_apstar
    from apogaia.formats.fits_columns import known_number
    from apogaia.formats.survey_tables import MISSING_MAG_ABOVE

    star = read_apstar(path)
    values = []
    for name, label, form, unit in _CARDS:
        limit = {"below": MISSING_MAG_ABOVE} if unit == " mag" else {}
        number = known_number(star.header[name], **limit)
        values.append(f"{label} unknown" if number != number else f"{label} {number:{form}}{unit}")  # NaN: unknown
    visits = "a single visit" if star.n_visits == 1 else f"{star.n_visits} visits combined"
    return [f"the spectrum of {star.header['apogee_id']}, {visits}", ", ".join(values)]


_CARDS = (
    ("snr", "SNR", ".0f", ""),
    ("k_mag", "Ks", ".3f", " mag"),
    ("a_k_targ", "A(Ks)", ".3f", " mag"),
    ("ra", "RA", ".5f", " deg"),
    ("dec", "dec", ".5f", " deg"),
)


def _catalogue(path: Path, header: fits.Header) -> list[str]:
    import numpy as np

    from apogaia.distances.catalogue import BAD, Flags, read_catalogue

    catalogue = read_catalogue(path)
    flags = np.asarray(catalogue["flags"])
    known = np.isfinite(np.asarray(catalogue["dist"], float))
    zero_point = header["ZEROPT"]  # mas, or the name of a model
    zero_point = zero_point if isinstance(zero_point, str) else f"{1000 * zero_point:.1f} uas"
    lines = [
        f"a catalogue of apogaia: {len(catalogue)} rows, {known.sum()} with a distance,"
        f" {np.sum(known & ((flags & BAD) == 0))} of these without a bad flag",
        f"survey {header['SURVEY']}",
        f"zero point {zero_point}; errors in weighted_dist: {header['WGTERR']}; {header['NPASSES']} passes",
    ]
    lines += [
        f"{np.sum((flags & bit) > 0):>8} {name}: {header.comments[f'FLAG{bit.value.bit_length() - 1:02d}']}"
        for name, bit in Flags.__members__.items()
        if np.any(flags & bit)
    ]
    return [*lines, f"written by {header['VERSIONS']}"]


def _comparison(path: Path, tables: list[_Table]) -> list[str]:
    from apogaia.formats.distance_catalogues import recognised

    form = recognised(path)
    if form is None:
        return []
    of = {"dist": "distances", "parallax": "parallaxes", "radius": "radii"}[form.quantity]
    return [f"{form.title}, a catalogue of {of}: {tables[0].rows} rows, {len(tables[0].columns)} columns"]


def _input_table(tables: list[_Table]) -> list[str]:
    for marks, kind in _INPUT_TABLES.items():
        for table in tables:
            if set(marks) <= set(table.columns):
                return [f"{kind}: {table.rows} rows, {len(table.columns)} columns"]
    return []


# the first whose columns are all there is taken
_INPUT_TABLES = {
    ("astronn", "astronn_error"): "stellar parameters and abundances, in the format of astroNN's catalogue",
    ("raw_teff", "teff", "sdss_id"): "stellar parameters and abundances, in the format of Astra's AstroNN",
    ("apogee_id", "location_id"): "an allStar file",
    ("sdss_id", "spectrum_pk"): "a summary file of SDSS-V",
    ("source_id", "parallax"): "a table of Gaia sources",
    ("cluster", "distpc"): "distances of star clusters",
}
_BY_SUFFIX: dict[tuple[str, ...], Callable[[Path], list[str]]] = {
    (".keras",): _model,
    (".h5",): _stars,
    (".toml",): _survey,
    (".fits",): _fits,
    (".ecsv", ".csv"): _text_table,
}
