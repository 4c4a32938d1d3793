"""The distance catalogue: Table 1 of the paper, flags, and its FITS file.

Inside the package unknown is NaN; in the file it is -9999, which `write_catalogue` and `read_catalogue` alone know of.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Column, Table

from apogaia import files
from apogaia.arguments.plain import Columns, any_unit, file_path, texts, whole
from apogaia.arguments.takes import takes
from apogaia.formats.fits_columns import MISSING, ascii_column, ascii_text, raw_values, set_text_card
from apogaia.formats.stars_h5_columns import star_columns
from apogaia.model.error_calibration import PREDICTION, Prediction
from apogaia.model.training_domain import Placement
from apogaia.physics import luminosity
from apogaia.survey import InferenceSettings, Survey

__all__ = [
    "BAD",
    "COLUMNS",
    "TABLE_1",
    "CatalogueError",
    "Flags",
    "build_catalogue",
    "describe_flags",
    "distance_table",
    "provenance",
    "read_catalogue",
    "write_catalogue",
    "write_table",
]

UNKNOWN = MISSING  # in the FITS file, for numbers of any kind
MAX_DIST = 1e10  # pc; a larger distance is a fakemag of practically zero, as SDSS Astra
DISAGREEMENT = 5  # network and Gaia further apart than this many standard errors: a wrong match or a binary


class CatalogueError(ValueError):
    """A catalogue that cannot be built, written or read; the message says why."""


class Flags(enum.IntFlag):
    """Why a star's values are unknown or doubtful; bits 0, 1, 2 and 11 as in SDSS Astra's AstroNNDist."""

    FAKEMAG_UNRELIABLE = 1 << 0
    MISSING_PHOTOMETRY = 1 << 1
    MISSING_EXTINCTION = 1 << 2
    NO_GAIA_MATCH = 1 << 3
    NO_GAIA_PARALLAX = 1 << 4
    NO_ZERO_POINT = 1 << 5
    AMBIGUOUS_GAIA_MATCH = 1 << 6
    NO_POSITIVE_PARALLAX = 1 << 7
    DIST_OUT_OF_RANGE = 1 << 8
    REPEATED_STAR = 1 << 9
    SPECTRUM_FLAGGED = 1 << 10
    NO_RESULT = 1 << 11
    PARALLAXES_DISAGREE = 1 << 12
    OUTSIDE_TRAINING_SET = 1 << 13


FLAG_MEANINGS = {
    Flags.FAKEMAG_UNRELIABLE: "fakemag_error / fakemag at or above the limit",
    Flags.MISSING_PHOTOMETRY: "no Ks: fakemag only, no parallax or distance",
    Flags.MISSING_EXTINCTION: "no extinction: taken as zero",
    Flags.NO_GAIA_MATCH: "no Gaia source within the match radius",
    Flags.NO_GAIA_PARALLAX: "no Gaia parallax: weighted_dist is dist",
    Flags.NO_ZERO_POINT: "no zero point for the star: Gaia left out",
    Flags.AMBIGUOUS_GAIA_MATCH: "several Gaia sources; the nearest is taken",
    Flags.NO_POSITIVE_PARALLAX: "weighted parallax <= 0: no weighted_dist",
    Flags.DIST_OUT_OF_RANGE: "fakemag practically zero: no distance",
    Flags.REPEATED_STAR: "another row of the star has the higher SNR",
    Flags.SPECTRUM_FLAGGED: "APOGEE's STARFLAG is not zero",
    Flags.NO_RESULT: "no usable spectrum: see reason",
    Flags.PARALLAXES_DISAGREE: "network and Gaia differ by > 5 sigma",
    Flags.OUTSIDE_TRAINING_SET: "unlike training stars; errors inflated",
}

BAD = Flags.FAKEMAG_UNRELIABLE | Flags.MISSING_PHOTOMETRY | Flags.DIST_OUT_OF_RANGE | Flags.NO_RESULT
"""The spectro-photometric distance is absent or unreliable where ``flags & BAD``."""

# Table 1 of the paper: name, unit, description. The table gives fakemag in mag; Eq. 1 makes it a parallax.
TABLE_1 = (
    ("apogee_id", "", "APOGEE ID"),
    ("location_id", "", "APOGEE location ID"),
    ("ra_apogee", "deg", "right ascension (J2000), APOGEE"),
    ("dec_apogee", "deg", "declination (J2000), APOGEE"),
    ("ra", "deg", "right ascension (ICRS, Gaia's epoch), Gaia"),
    ("dec", "deg", "declination (ICRS, Gaia's epoch), Gaia"),
    ("pmra", "mas / yr", "proper motion in RA times cos(dec), Gaia"),
    ("pmdec", "mas / yr", "proper motion in dec, Gaia"),
    ("pmra_error", "mas / yr", "error of pmra, Gaia"),
    ("pmdec_error", "mas / yr", "error of pmdec, Gaia"),
    ("phot_g_mean_mag", "mag", "G magnitude, Gaia"),
    ("bp_rp", "mag", "BP - RP colour, Gaia"),
    ("fakemag", "mas", "pseudo-luminosity: parallax at Ks = 0 (Eq. 1)"),
    ("fakemag_error", "mas", "total error of fakemag"),
    ("nn_parallax", "mas", "parallax from fakemag, Ks and extinction"),
    ("nn_parallax_model_error", "mas", "model error of nn_parallax"),
    ("nn_parallax_error", "mas", "total error of nn_parallax"),
    ("dist", "pc", "distance, 1 / nn_parallax"),
    ("dist_model_error", "pc", "model error of dist"),
    ("dist_error", "pc", "total error of dist"),
    ("weighted_dist", "pc", "inverse-variance mean of network and Gaia"),
    ("weighted_dist_error", "pc", "error of weighted_dist (NN: see WGTERR)"),
)

# What a user needs beyond Table 1: why a value is missing or doubtful; the two parts of the error, which behave
# differently (only the model error shrinks with training); what goes into parallax and distance, so that either can be
# recomputed with another extinction or zero point; what selects samples and starts an orbit; whose row it is.
EXTRA = (
    ("flags", "", "bits: see the FLAGnn cards"),
    ("status", "", "status of the spectrum; 0 is good"),
    ("reason", "", "why there is no spectrum"),
    ("fakemag_model_error", "mas", "model error of fakemag (dropout)"),
    ("fakemag_predictive_error", "mas", "predictive error of fakemag"),
    ("k_mag", "mag", "observed Ks magnitude, 2MASS"),
    ("a_k_mag", "mag", "Ks extinction, APOGEE targeting"),
    ("gaia_source_id", "", "Gaia source ID"),
    ("parallax", "mas", "parallax as Gaia gives it, uncorrected"),
    ("parallax_error", "mas", "error of parallax, Gaia"),
    ("zero_point", "mas", "Gaia minus true parallax, to be subtracted"),
    ("zero_point_error", "mas", "error of zero_point for a single star"),
    ("snr", "", "signal-to-noise ratio of the spectrum"),
    ("v_helio", "km / s", "heliocentric radial velocity, APOGEE"),
    ("teff", "K", "effective temperature"),
    ("logg", "", "log10 of surface gravity in cm/s2"),
    ("telescope", "", "telescope"),
    ("field", "", "APOGEE field"),
    ("sdss_id", "", "SDSS-V's number of the star (DR19)"),
    ("spectrum_pk", "", "Astra's number of the spectrum (DR19)"),
    ("training_distance", "", "of the spectrum from training set; 1: its edge"),
)

COLUMNS = TABLE_1 + EXTRA

_TEXT = ("apogee_id", "reason", "telescope", "field")
_NUMBERS = ("gaia_source_id", "sdss_id", "spectrum_pk")
_INTEGER = {"location_id": np.int32, "flags": np.int32, "status": np.int16, **dict.fromkeys(_NUMBERS, np.int64)}
_ZERO_IS_UNKNOWN = ("location_id", *_NUMBERS)  # no row, source, star or spectrum bears the number 0
_COLUMNS = Columns(
    {
        name: texts if name in _TEXT else whole(0) if name in _INTEGER else u.Unit(unit) if unit else any_unit
        for name, unit, _ in COLUMNS
    }
)
_RENAMED = {"phot_g_mean_mag": "g_mag"}  # column here: column of stars.h5

# provenance key: card, comment. A fingerprint leaves no room for one.
_PROVENANCE = {
    "survey": ("SURVEY", "survey"),
    "model": ("MODELKEY", ""),
    "zero_point": ("ZEROPT", "Gaia parallax zero point [mas], or its model"),
    "weighted_error": ("WGTERR", "NN's error in weighted_dist: total or model"),
    "passes": ("NPASSES", "dropout passes per spectrum"),
    "seed": ("SEED", "seed of the dropout"),
    "versions": ("VERSIONS", "of the packages"),
}


def describe_flags(flags: int) -> list[str]:
    """One line for each bit that is set: its value, name and meaning.

    Examples
    --------
    >>> describe_flags(4)
    ['     4 MISSING_EXTINCTION: no extinction: taken as zero']
    """
    return [f"{flag:6d} {flag.name}: {meaning}" for flag, meaning in FLAG_MEANINGS.items() if int(flags) & flag]


@takes(prediction=PREDICTION, k_mag=u.mag, a_k_mag=u.mag)
def distance_table(
    prediction: Prediction, k_mag, a_k_mag, inference: InferenceSettings, placement: Placement | None = None
) -> Table:
    """Parallax and distance of any stars, from their luminosity, Ks and extinction.

    Parameters
    ----------
    prediction
        Luminosity and the two parts of its error [mas]; each (n,), NaN where there is no spectrum.
    k_mag, a_k_mag
        Observed Ks and its extinction [mag]; (n,), NaN where unknown. Unknown extinction counts as zero.
    inference
        For the relative total error from which a star is flagged as unreliable.
    placement
        Where the stars lie with respect to the training set, from
        `apogaia.model.training_domain.TrainingDomain.place`: outside, both
        parts of the error grow by ``placement.inflation``. None: the model does not know, and no star is flagged.

    Returns
    -------
    Table
        fakemag, nn_parallax [mas] and dist [pc], each with ``_model_error``, ``_predictive_error`` and the total
        ``_error``, then training_distance and flags. NaN where unknown.
    """
    fakemag, model_error, predictive_error, k_mag, a_k_mag = (
        np.atleast_1d(np.asarray(column, dtype=float))
        for column in (prediction.fakemag, prediction.model_error, prediction.predictive_error, k_mag, a_k_mag)
    )
    if placement is None:
        placement = Placement.unknown(len(fakemag))
    model_error, predictive_error = placement.inflation * model_error, placement.inflation * predictive_error
    k0_mag = luminosity.extinction_correction(k_mag, a_k_mag)
    dist = luminosity.fakemag_to_pc(fakemag, k0_mag)
    in_range = dist <= MAX_DIST
    values = {
        "fakemag": fakemag,
        "nn_parallax": luminosity.fakemag_to_parallax(fakemag, k0_mag),
        "dist": np.where(in_range, dist, np.nan),
    }
    errors = {
        "_model_error": model_error,
        "_predictive_error": predictive_error,
        "_error": np.hypot(model_error, predictive_error),
    }
    table = Table()
    for name, value in values.items():
        unit = "pc" if name == "dist" else "mas"
        table[name] = Column(value, unit=unit)
        for kind, error in errors.items():
            if name == "nn_parallax":
                _, error = luminosity.fakemag_to_parallax(fakemag, k0_mag, error)
            elif name == "dist":
                _, error = luminosity.fakemag_to_pc(fakemag, k0_mag, error)
            table[name + kind] = Column(np.where(np.isfinite(value), error, np.nan), unit=unit)

    table["training_distance"] = placement.spectrum
    has_result, has_k = np.isfinite(fakemag), np.isfinite(k_mag)
    table["flags"] = _bits(
        {
            Flags.NO_RESULT: ~has_result,
            # written so that an unknown error counts as unreliable too
            Flags.FAKEMAG_UNRELIABLE: has_result
            & ~(table["fakemag_error"] < inference.max_relative_dist_error * fakemag),
            Flags.MISSING_PHOTOMETRY: ~has_k,
            Flags.MISSING_EXTINCTION: ~luminosity.has_extinction(a_k_mag),
            Flags.DIST_OUT_OF_RANGE: has_result & has_k & ~in_range,
            Flags.OUTSIDE_TRAINING_SET: placement.outside,
        }
    )
    return table


@takes(stars=star_columns(), prediction=PREDICTION, zero_point=u.mas, zero_point_error=u.mas)
def build_catalogue(
    stars: Table,
    prediction: Prediction,
    zero_point,
    inference: InferenceSettings,
    placement: Placement | None = None,
    zero_point_error: float = 0.0,
) -> Table:
    """The catalogue: Table 1's columns in its order, then flags and other columns that users need (`COLUMNS`).

    Row i is row i of `stars`, and of allStar. A star whose spectrum has not passed reduction has no result, whatever
    the prediction says.

    Parameters
    ----------
    stars
        The columns of stars.h5.
    prediction
        Luminosity of every row and its errors.
    zero_point
        Zero point of the parallaxes in `stars` [mas]: a number, or one per star. The catalogue's parallax is as Gaia
        gives it, and its zero point is the whole one: that which the reduction has subtracted already added.
    inference
        For the limit of the relative error, and for which error of the network enters the weighted distance.
    placement
        Of every row with respect to the training set, as for `distance_table`.
    zero_point_error
        Standard deviation [mas] of a single star's zero point: that of the mean, and what neighbours on the sky share,
        in quadrature. Gaia's stated error holds neither; both enter weighted_dist beside it, unless the error of the
        network is the model error, as in the paper.

    Raises
    ------
    CatalogueError
        If the prediction, the zero point or the placement does not have one value per star.
    """
    zero_point = np.asarray(zero_point, dtype=float)
    shapes = {"prediction": np.shape(prediction.fakemag), "zero point": zero_point.shape or None}
    shapes["placement"] = None if placement is None else placement.spectrum.shape
    for name, shape in shapes.items():
        if shape not in (None, (len(stars),)):
            raise CatalogueError(f"the {name} has shape {shape}, but there are {len(stars)} stars")
    good = np.asarray(stars["status"]) == 0
    prediction = prediction._replace(fakemag=np.where(good, prediction.fakemag, np.nan))
    distances = distance_table(prediction, stars["k_mag"], stars["a_k_mag"], inference, placement)
    beforehand = np.asarray(stars["parallax_zero_point"], dtype=float)  # NaN: was wanted, and is not known
    gaia = np.asarray(stars["parallax"], dtype=float) + np.where(np.isfinite(beforehand), beforehand, 0.0)
    zero_point = zero_point + beforehand
    gaia_error = np.asarray(stars["parallax_error"], float)
    if inference.weighted_error == "total":
        gaia_error = np.hypot(gaia_error, zero_point_error)
    weighted, gaia_flags = _weighted_distance(stars, distances, (gaia, gaia_error), zero_point, inference)
    catalogue = Table()
    made = {
        **{name: distances[name] for name in distances.colnames},
        **weighted,
        "a_k_mag": np.where(luminosity.has_extinction(stars["a_k_mag"]), stars["a_k_mag"], np.nan),
        "parallax": gaia,
        "zero_point": zero_point,
        "zero_point_error": np.where(np.isfinite(zero_point), zero_point_error, np.nan),
        "flags": distances["flags"] | gaia_flags | _row_flags(stars),
    }
    for name, unit, description in COLUMNS:
        values = np.asarray(made[name] if name in made else stars[_RENAMED.get(name, name)])
        if name in _TEXT or name in _INTEGER:
            values = values.astype(_INTEGER.get(name, str))
        catalogue[name] = Column(values, unit=unit or None, description=description)
    return catalogue


def _weighted_distance(
    stars: Table,
    distances: Table,
    parallax_and_error: tuple[np.ndarray, np.ndarray],
    zero_point: np.ndarray,
    inference: InferenceSettings,
) -> tuple[dict, np.ndarray]:
    gaia, gaia_error = parallax_and_error
    nn = np.where(np.isfinite(distances["dist"]), distances["nn_parallax"], np.nan)  # a vanishing one says nothing
    nn_error = distances[{"total": "nn_parallax_error", "model": "nn_parallax_model_error"}[inference.weighted_error]]
    parallax, error = luminosity.weighted_parallax(nn, nn_error, gaia, gaia_error, zero_point)
    dist, dist_error = luminosity.parallax_to_pc(parallax, error)
    in_range = dist <= MAX_DIST
    has_gaia = np.isfinite(gaia) & np.isfinite(gaia_error)
    difference = nn - luminosity.corrected_parallax(gaia, zero_point)
    flags = {
        Flags.NO_GAIA_MATCH: ~np.isfinite(np.asarray(stars["ra"], float)),
        Flags.NO_GAIA_PARALLAX: ~has_gaia,
        Flags.NO_ZERO_POINT: has_gaia & ~np.isfinite(zero_point),
        Flags.NO_POSITIVE_PARALLAX: np.isfinite(parallax) & ~in_range,
        Flags.PARALLAXES_DISAGREE: np.abs(difference)
        > DISAGREEMENT * np.hypot(distances["nn_parallax_error"], gaia_error),
    }
    return {
        "weighted_dist": np.where(in_range, dist, np.nan),
        "weighted_dist_error": np.where(in_range, dist_error, np.nan),
    }, _bits(flags)


def _row_flags(stars: Table) -> np.ndarray:
    # the best row of each star: highest SNR, the first of equals; rows without a name are stars of their own
    ids, snr = np.asarray(stars["apogee_id"]).astype(str), np.nan_to_num(np.asarray(stars["snr"], float), nan=-np.inf)
    order = np.lexsort((np.arange(len(ids)), -snr, ids))
    repeated = np.zeros(len(ids), dtype=bool)
    repeated[order[1:]] = (ids[order[1:]] == ids[order[:-1]]) & (ids[order[1:]] != "")
    return _bits(
        {
            Flags.REPEATED_STAR: repeated,
            Flags.SPECTRUM_FLAGGED: np.asarray(stars["starflag"]) != 0,
            Flags.AMBIGUOUS_GAIA_MATCH: np.asarray(stars["n_gaia_matches"]) > 1,
        }
    )


def _bits(flags: Mapping[Flags, np.ndarray]) -> np.ndarray:
    bits = [np.where(where, np.int32(flag), np.int32(0)) for flag, where in flags.items()]
    return np.bitwise_or.reduce(bits)


@takes(model_path=file_path)
def provenance(survey: Survey, model_path: Path, zero_point) -> dict:
    """Where a catalogue of `survey` comes from, as `write_catalogue` takes it.

    `zero_point` [mas, or the name of its model] is that of `build_catalogue`.
    """
    if survey.sources.parallax_zero_point != "none":
        zero_point = f"{survey.sources.parallax_zero_point} {zero_point:+.5f}"
    return {
        "survey": f"{survey.name}: {survey.title}",
        "model": hashlib.sha256(Path(model_path).read_bytes()).hexdigest(),
        "zero_point": zero_point,
        "weighted_error": survey.inference.weighted_error,
        "passes": survey.inference.passes,
        "seed": survey.inference.seed,
        "versions": {name: version(name) for name in ("apogaia", "keras", "numpy", "astropy")},
    }


@takes(catalogue=_COLUMNS, path=file_path)
def write_catalogue(catalogue: Table, path: str | Path, provenance: Mapping) -> None:
    """Write the catalogue as FITS, atomically, the same bytes for the same content.

    Parameters
    ----------
    catalogue
        From `build_catalogue`.
    path
        The file.
    provenance
        survey, model (fingerprint of the model file), zero_point [mas, or the name of its model], weighted_error,
        passes, seed, and versions (a mapping from package to version).

    Raises
    ------
    CatalogueError
        If columns are not those of `COLUMNS`, or provenance is missing or unknown.
    """
    if catalogue.colnames != [name for name, _, _ in COLUMNS]:
        raise CatalogueError(f"{path}: not the columns of a catalogue: {', '.join(catalogue.colnames)}")
    if set(provenance) != set(_PROVENANCE):
        wrong = sorted(set(provenance) ^ set(_PROVENANCE))
        raise CatalogueError(f"{path}: provenance missing or unknown: {', '.join(wrong)}")
    hdu = _table_hdu(catalogue)
    for key, (card, comment) in _PROVENANCE.items():
        value = provenance[key]
        if key == "versions":
            value = ", ".join(f"{package} {version}" for package, version in sorted(value.items()))
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, str):
            set_text_card(hdu.header, card, value, comment)
        else:
            hdu.header[card] = (value, comment)
    _write_fits(hdu, path)


@takes(path=file_path)
def write_table(table: Table, path: str | Path) -> None:
    """Write a table of distances, as `distance_table` gives, atomically.

    The suffix tells the format: .fits (-9999 for unknown), .ecsv, or .csv, which keeps neither units nor meanings.

    Raises
    ------
    CatalogueError
        If the suffix is another.
    """
    path = Path(path)
    if path.suffix == ".fits":
        _write_fits(_table_hdu(table), path)
    elif path.suffix in (".ecsv", ".csv"):
        # paths that are not UTF-8 keep their bytes
        with files.atomic(path) as temporary, open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file:
            table.write(file, format=f"ascii{path.suffix}")
    else:
        raise CatalogueError(f"{path}: a table is written to .fits, .ecsv or .csv")


def _table_hdu(table: Table) -> fits.BinTableHDU:
    table = Table(table, copy=False)  # quantities are columns, too
    hdu = fits.table_to_hdu(Table([_to_file(table[name]) for name in table.colnames], names=table.colnames))
    for index, column in enumerate(table.itercols(), start=1):
        if column.unit:
            hdu.header[f"TUNIT{index}"] = column.unit.to_string("fits")
        if column.description:
            hdu.header.comments[f"TTYPE{index}"] = ascii_text(column.description)
            set_text_card(hdu.header, f"TCOMM{index}", column.description)
    hdu.header["UNKNOWN"] = (UNKNOWN, "stands for unknown in every column of numbers")
    for flag, meaning in FLAG_MEANINGS.items():
        hdu.header[f"FLAG{flag.bit_length() - 1:02d}"] = (flag.name, meaning)
    return hdu


def _write_fits(hdu: fits.BinTableHDU, path: str | Path) -> None:
    hdus = fits.HDUList([fits.PrimaryHDU(), hdu])
    for part in hdus:
        part.add_checksum(when="of this HDU")  # by default the comment is the time of writing
    with files.atomic(path) as temporary:
        hdus.writeto(temporary)


def _to_file(column) -> np.ndarray:
    label = f"column {column.name!r}"
    if column.dtype.kind in "SUO":
        return ascii_column(texts(column, label))
    values = (whole(0) if column.dtype.kind in "iu" else any_unit)(column, label)
    if values.dtype.kind == "f":
        return np.where(np.isfinite(values), values, float(UNKNOWN))
    if column.name in _ZERO_IS_UNKNOWN:
        return np.where(values == 0, values.dtype.type(UNKNOWN), values)
    return values


@takes(path=file_path)
def read_catalogue(path: str | Path) -> Table:
    """Read a catalogue: NaN for unknown (0 in columns of integers), texts as str, provenance in ``.meta``.

    Reads the paper's ``apogee_dr14_nn_dist.fits`` too, which has the columns of Table 1 alone.

    Raises
    ------
    CatalogueError
        If the file is missing, not FITS, damaged, or lacks a column of Table 1.
    """
    if not Path(path).is_file():
        raise CatalogueError(f"{path} is not there: `make all` writes it, or run notebook 04")
    try:
        with fits.open(path, memmap=False, checksum=False) as hdus:
            if len(hdus) < 2 or hdus[1].columns is None:
                raise CatalogueError(f"{path} has no table: not a distance catalogue")
            if not hdus[1].verify_datasum():
                raise CatalogueError(f"{path} is damaged: its checksum does not agree; make or fetch it again")
            header, data = hdus[1].header, hdus[1].data
            table = Table({name: _from_file(name, raw_values(data, name)) for name in data.names})
            units = {name: hdus[1].columns[name].unit for name in data.names}
    except (OSError, AttributeError, TypeError, ValueError) as error:
        if isinstance(error, CatalogueError):
            raise
        raise CatalogueError(f"{path} cannot be read as a distance catalogue: {error}") from error
    missing = [name for name, _, _ in TABLE_1 if name not in table.colnames]
    if missing:
        raise CatalogueError(f"{path} is not a distance catalogue: no column {missing[0]}")
    for index, name in enumerate(table.colnames, start=1):
        table[name].unit = units[name] or None
        table[name].description = header.get(f"TCOMM{index}")
    table.meta.update({key: header[card] for key, (card, _) in _PROVENANCE.items() if card in header})
    return table


def _from_file(name: str, values) -> np.ndarray:
    if values.dtype.kind == "U":
        return values
    values = values.astype(values.dtype.newbyteorder("="))
    if values.dtype.kind == "f":
        return np.where(values == UNKNOWN, np.nan, values)
    return np.where(values == UNKNOWN, values.dtype.type(0), values) if name in _ZERO_IS_UNKNOWN else values
