"""SDSS Astra's products AstroNN and AstroNNDist: their columns, flags and files, made from plain predictions.

The columns stand here once; headers of files and docs/astra_products.md are written from them. Inside a product unknown
is as Astra has it: NaN in numbers, -1 in whole ones, the empty text.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.table import Column, Table

from apogaia import __version__, files
from apogaia.arguments.plain import Columns, any_unit, file_path, texts, whole
from apogaia.arguments.takes import takes
from apogaia.formats.fits_columns import ascii_column, set_text_card
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.formats.survey_tables import A_K_PER_EBV, write_fits
from apogaia.model.error_calibration import PREDICTION, Prediction
from apogaia.parameters.predictions import LABEL_PREDICTION, LabelPrediction
from apogaia.physics import luminosity
from apogaia.survey import Survey

__all__ = [
    "KINDS",
    "LABEL_NAMES",
    "SCHEMAS",
    "SPECTRUM_COLUMNS",
    "AstraColumn",
    "AstroNNDistFlags",
    "AstroNNFlags",
    "astronn_dist_table",
    "astronn_table",
    "bad_rows",
    "columns",
    "describe_flags",
    "provenance",
    "warned_rows",
    "write_astra",
]

KINDS = ("AstroNN", "AstroNNDist")
SCHEMAS = ("dr19", "dev")  # as Data Release 19 has the products; as later versions of Astra name their columns
MAX_DIST = 1e10  # [pc]
UNRELIABLE = 0.2  # L_fakemag_err / L_fakemag from which the luminosity is unreliable
PLACEHOLDERS_ABOVE, PLACEHOLDERS_BELOW = 98.0, -1.0  # of Ks
LABEL_NAMES = {name: {"ci_h": "c_1_h", "tiii_h": "ti_2_h"}.get(name, name) for name in LABELS}  # ours -> Astra's


@dataclass(frozen=True)
class AstraColumn:
    """One column: `kind` is a type of numpy, "U" for text; `dev` its name in the schema "dev" where that differs."""

    name: str
    kind: str
    unit: str
    description: str
    dev: str = ""

    def name_in(self, schema: str) -> str:
        """Its name in a schema."""
        return self.dev if self.dev and schema == "dev" else self.name

    @property
    def unknown(self) -> float | int | str:
        """What stands for unknown."""
        unknown: dict[str, float | int | str] = {"f": np.nan, "i": -1, "U": "", "b": False}
        return unknown[np.dtype(self.kind).kind]


class AstroNNFlags(enum.IntFlag):
    """Bits of result_flags of AstroNN."""

    UNCERTAIN_LOGG = 1 << 0
    UNCERTAIN_TEFF = 1 << 1
    UNCERTAIN_FE_H = 1 << 2
    NO_RESULT = 1 << 11


class AstroNNDistFlags(enum.IntFlag):
    """Bits of result_flags of AstroNNDist."""

    FAKEMAG_UNRELIABLE = 1 << 0
    MISSING_PHOTOMETRY = 1 << 1
    MISSING_EXTINCTION = 1 << 2
    NO_RESULT = 1 << 11


FLAG_MEANINGS: Mapping[str, Mapping[enum.IntFlag, str]] = {
    "AstroNN": {
        AstroNNFlags.UNCERTAIN_LOGG: "raw_e_logg > 0.2 and |raw_e_logg / raw_logg| > 0.075",
        AstroNNFlags.UNCERTAIN_TEFF: "raw_e_teff > 300 K",
        AstroNNFlags.UNCERTAIN_FE_H: "|raw_e_fe_h / raw_fe_h| > 0.12",
        AstroNNFlags.NO_RESULT: "no usable spectrum",
    },
    "AstroNNDist": {
        AstroNNDistFlags.FAKEMAG_UNRELIABLE: "L_fakemag_err / L_fakemag >= 0.2",
        AstroNNDistFlags.MISSING_PHOTOMETRY: "no Ks: no distance",
        AstroNNDistFlags.MISSING_EXTINCTION: "no E(B-V): taken as zero",
        AstroNNDistFlags.NO_RESULT: "no usable spectrum",
    },
}
# Which rows flag_warn and flag_bad mark
WARNED = {"AstroNN": "any bit of result_flags is set", "AstroNNDist": "MISSING_EXTINCTION is set"}
BAD = {
    ("AstroNN", "dr19"): "UNCERTAIN_TEFF is set, or both UNCERTAIN_LOGG and UNCERTAIN_FE_H",
    ("AstroNN", "dev"): "UNCERTAIN_TEFF, UNCERTAIN_LOGG and UNCERTAIN_FE_H are all set",
    ("AstroNNDist", "dr19"): "FAKEMAG_UNRELIABLE, MISSING_PHOTOMETRY or NO_RESULT is set",
    ("AstroNNDist", "dev"): "FAKEMAG_UNRELIABLE, MISSING_PHOTOMETRY or NO_RESULT is set",
}


# --- columns ----------------------------------------------------------------------------------------------------------

SPECTRUM_COLUMNS = (
    AstraColumn("sdss_id", "i8", "", "SDSS-V's number of the star; -1 before SDSS-V"),
    AstraColumn("sdss4_apogee_id", "U", "", "SDSS-IV's name of the star; empty in SDSS-V"),
    AstraColumn("gaia_dr2_source_id", "i8", "", "Gaia DR2 source, of surveys that use DR2"),
    AstraColumn("gaia_dr3_source_id", "i8", "", "Gaia source of EDR3, DR3 or later, of surveys that use them"),
    AstraColumn("ra", "f8", "deg", "right ascension, J2000"),
    AstraColumn("dec", "f8", "deg", "declination, J2000"),
    AstraColumn("release", "U", "", "release of the spectrum: sdss5, dr17 or an earlier one"),
    AstraColumn("filetype", "U", "", "kind of the spectrum's file: apStar"),
    AstraColumn("apred", "U", "", "version of APOGEE's reduction"),
    AstraColumn("apstar", "U", "", "folder of combined spectra: stars"),
    AstraColumn("obj", "U", "", "2MASS name of the star"),
    AstraColumn("telescope", "U", "", "telescope"),
    AstraColumn("healpix", "i4", "", "HEALPix pixel of the file's folder (SDSS-V)"),
    AstraColumn("field", "U", "", "field (SDSS-IV)"),
    AstraColumn("prefix", "U", "", "first letters of the file's name, ap or as (SDSS-IV)"),
)
VISIT_COLUMNS = (
    AstraColumn("plate", "U", "", "plate or field of the visit"),
    AstraColumn("mjd", "i4", "", "Modified Julian Date of the visit's night"),
    AstraColumn("fiber", "i4", "", "fibre of the visit"),
)
MEASURED_COLUMNS = (
    AstraColumn("snr", "f4", "", "signal-to-noise ratio of the spectrum"),
    AstraColumn("spectrum_flags", "i8", "", "APOGEE's STARFLAG of the spectrum; -1: unknown"),
)
TASK_COLUMNS = (
    AstraColumn("source_pk", "i8", "", "always -1: a number of Astra's database"),
    AstraColumn("spectrum_pk", "i8", "", "Astra's number of the combined spectrum (DR19); -1: unknown"),
    AstraColumn("task_pk", "i8", "", "always -1: a number of Astra's database"),
    AstraColumn("v_astra", "U", "", "apogaia and its version, instead of Astra's"),
    AstraColumn("created", "U", "", "always empty: bytes do not depend on time"),
    AstraColumn("t_elapsed", "f4", "s", "always NaN: bytes do not depend on time"),
    AstraColumn("t_overhead", "f4", "s", "always NaN: bytes do not depend on time"),
    AstraColumn("tag", "U", "", "always empty: a label of Astra's runs"),
)
OWN_COLUMNS = (  # Astra has none of these
    AstraColumn("status", "i2", "", "what became of the spectrum; 0: good"),
    AstraColumn("visit", "i4", "", "number of the visit in its file, from 1; 0: combined"),
    AstraColumn("file", "U", "", "file of the spectrum (tables of single files)"),
    AstraColumn("reason", "U", "", "why there is no spectrum (tables of single files)"),
)


def _label_columns() -> tuple[AstraColumn, ...]:
    made = []
    for raw in ("", "raw_"):
        for ours, name in LABEL_NAMES.items():
            unit, what = "dex", f"[{ours.removesuffix('_h').upper()}/H]"
            if ours == "teff":
                unit, what = "K", "effective temperature"
            elif ours == "logg":
                what = "log10 of surface gravity in cm/s2"
            elif name != ours:
                what = {"c_1_h": "[C/H] of atomic lines (C I)", "ti_2_h": "[Ti/H] of ionised lines (Ti II)"}[name]
            how = "as the network predicts" if raw else "calibrated"
            made.append(AstraColumn(f"{raw}{name}", "f4", unit, f"{what}, {how}"))
            error = "as the network states it" if raw else "calibrated"
            made.append(AstraColumn(f"{raw}e_{name}", "f4", unit, f"error of {name}, {error}"))
    return tuple(made)


LABEL_COLUMNS = _label_columns()
DIST_COLUMNS = (
    AstraColumn("k_mag", "f4", "mag", "observed Ks, 2MASS"),
    AstraColumn("ebv", "f4", "mag", "E(B-V)"),
    AstraColumn("a_k_mag", "f4", "mag", "extinction in Ks, 0.3517 E(B-V); 0 where that is unknown", "A_k_mag"),
    AstraColumn("L_fakemag", "f4", "mas", "pseudo-luminosity 10^(0.2 M_Ks + 2)"),
    AstraColumn("L_fakemag_err", "f4", "mas", "error of L_fakemag", "e_L_fakemag"),
    AstraColumn("dist", "f4", "pc", "distance"),
    AstraColumn("dist_err", "f4", "pc", "error of the distance", "e_dist"),
)
FLAG_COLUMNS = (
    AstraColumn("result_flags", "i4", "", "bits: see the FLAGnn cards"),
    AstraColumn("flag_warn", "?", "", "result with a warning: see the card WARNING"),
    AstraColumn("flag_bad", "?", "", "result not to be used: see the card BAD"),
)


def columns(kind: str, *, visits: bool = False) -> tuple[AstraColumn, ...]:
    """The columns of a product in their order, Astra's first, then those that are ours alone.

    Parameters
    ----------
    kind
        "AstroNN" or "AstroNNDist".
    visits
        Whether its rows are visits.

    Raises
    ------
    ValueError
        If there is no such product.
    """
    _check(kind, KINDS, "kind")
    results = LABEL_COLUMNS if kind == "AstroNN" else DIST_COLUMNS
    of_visits = VISIT_COLUMNS if visits else ()
    return (*SPECTRUM_COLUMNS, *of_visits, *MEASURED_COLUMNS, *TASK_COLUMNS, *results, *FLAG_COLUMNS, *OWN_COLUMNS)


def _check(value: str, choices: tuple[str, ...], what: str) -> None:
    if value not in choices:
        raise ValueError(f"{what} must be {' or '.join(choices)}, not {value!r}")


def _rows_kind(column: AstraColumn):
    return texts if column.kind == "U" else whole(-1) if column.kind[0] == "i" else any_unit


_ROWS = Columns(
    {
        column.name: _rows_kind(column)
        for column in (*SPECTRUM_COLUMNS, *VISIT_COLUMNS, *MEASURED_COLUMNS, *TASK_COLUMNS, *OWN_COLUMNS)
    }
    | dict.fromkeys(("k_mag", "ebv"), any_unit)
)


# --- tables -----------------------------------------------------------------------------------------------------------


@takes(spectra_rows=_ROWS, raw=LABEL_PREDICTION, calibrated=LABEL_PREDICTION)
def astronn_table(
    spectra_rows: Table, raw: LabelPrediction, calibrated: LabelPrediction, schema: str = "dr19"
) -> Table:
    """The product AstroNN: 22 labels of each spectrum with errors, flags, and whose spectrum it is.

    Parameters
    ----------
    spectra_rows
        (n,) rows with any of the columns of `columns` that describe spectra; those that are absent are unknown. With a
        column ``mjd``, rows are visits. Where ``status`` is not 0 there is no result, whatever the prediction says.
    raw, calibrated
        Of each spectrum, as the network predicts, and calibrated; NaN: no result.
    schema
        "dr19" or "dev".

    Returns
    -------
    Table
        One row for each of `spectra_rows`.

    Raises
    ------
    ValueError
        If the predictions have not one row for each spectrum, or there is no such schema.
    """
    _check(schema, SCHEMAS, "schema")
    for prediction in (raw, calibrated):
        if np.shape(prediction.label) != (len(spectra_rows), len(LABELS)):
            raise ValueError(f"predictions of shape {np.shape(prediction.label)} for {len(spectra_rows)} spectra")
    none = _no_result(spectra_rows, raw.label)
    made = {}
    for prefix, prediction in (("", calibrated), ("raw_", raw)):
        for i, name in enumerate(LABEL_NAMES.values()):
            made[f"{prefix}{name}"] = np.where(none, np.nan, prediction.label[:, i])
            made[f"{prefix}e_{name}"] = np.where(none, np.nan, prediction.total_error[:, i])
    teff, logg, fe_h = (LABELS.index(name) for name in ("teff", "logg", "fe_h"))
    value, error = (np.where(none[:, None], np.nan, part).astype(np.float32) for part in (raw.label, raw.total_error))
    with np.errstate(divide="ignore", invalid="ignore"):  # [Fe/H] may be zero, and unknown labels set no bit
        relative = np.abs(error / value)
    made["result_flags"] = _bits(
        {
            AstroNNFlags.UNCERTAIN_LOGG: (error[:, logg] > np.float32(0.2)) & (relative[:, logg] > np.float32(0.075)),
            AstroNNFlags.UNCERTAIN_TEFF: error[:, teff] > np.float32(300),
            AstroNNFlags.UNCERTAIN_FE_H: relative[:, fe_h] > np.float32(0.12),
            AstroNNFlags.NO_RESULT: none,
        }
    )
    return _table("AstroNN", spectra_rows, made, schema)


@takes(spectra_rows=_ROWS, prediction=PREDICTION)
def astronn_dist_table(spectra_rows: Table, prediction: Prediction, schema: str = "dr19") -> Table:
    """The product AstroNNDist: luminosity and distance of each spectrum with errors and flags.

    Ks is missing where it is NaN, >= 98 or <= -1: there is no distance. E(B-V) is missing where it is NaN or <= 0: the
    extinction counts as zero.

    Parameters
    ----------
    spectra_rows
        As for `astronn_table`, with the star's own ``k_mag`` and ``ebv`` [mag] in each row; absent: unknown.
    prediction
        Luminosity of each spectrum [mas]; NaN: no result.
    schema
        "dr19" or "dev".

    Raises
    ------
    ValueError
        If the prediction has not one value for each spectrum, or there is no such schema.
    """
    _check(schema, SCHEMAS, "schema")
    n = len(spectra_rows)
    if np.shape(prediction.fakemag) != (n,):
        raise ValueError(f"a prediction of shape {np.shape(prediction.fakemag)} for {n} spectra")
    none = _no_result(spectra_rows, prediction.fakemag)
    # single precision, as the file has it: whoever computes flags or distances from the file gets the same
    k_mag, ebv = (_given(spectra_rows, name).astype(np.float32) for name in ("k_mag", "ebv"))
    no_k = ~((k_mag > PLACEHOLDERS_BELOW) & (k_mag < PLACEHOLDERS_ABOVE))
    no_ebv = ~((ebv > 0) & np.isfinite(ebv))
    k_mag[no_k] = ebv[no_ebv] = np.nan
    a_k = np.where(no_ebv, 0, np.float32(A_K_PER_EBV) * ebv).astype(np.float32)
    fakemag, error = (
        np.where(none, np.nan, part).astype(np.float32) for part in (prediction.fakemag, prediction.total_error)
    )
    dist, dist_error = luminosity.fakemag_to_pc(fakemag, k_mag.astype(float) - a_k, error)
    far = ~(dist <= MAX_DIST)
    made = {
        "k_mag": k_mag,
        "ebv": ebv,
        "a_k_mag": a_k,
        "L_fakemag": fakemag,
        "L_fakemag_err": error,
        "dist": np.where(far, np.nan, dist),
        "dist_err": np.where(far, np.nan, dist_error),
        "result_flags": _bits(
            {
                # written so that an unknown error counts as unreliable too
                AstroNNDistFlags.FAKEMAG_UNRELIABLE: ~none & ~(error < np.float32(UNRELIABLE) * fakemag),
                AstroNNDistFlags.MISSING_PHOTOMETRY: no_k,
                AstroNNDistFlags.MISSING_EXTINCTION: no_ebv,
                AstroNNDistFlags.NO_RESULT: none,
            }
        ),
    }
    return _table("AstroNNDist", spectra_rows, made, schema)


def warned_rows(kind: str, result_flags) -> np.ndarray:
    """Where flag_warn is set, from result_flags of a product."""
    bits = np.asarray(result_flags)
    return bits != 0 if kind == "AstroNN" else bits & AstroNNDistFlags.MISSING_EXTINCTION != 0


def bad_rows(kind: str, result_flags, schema: str = "dr19") -> np.ndarray:
    """Where flag_bad is set, from result_flags of a product."""
    bits = np.asarray(result_flags)
    if kind == "AstroNNDist":
        distance = AstroNNDistFlags
        return bits & (distance.FAKEMAG_UNRELIABLE | distance.MISSING_PHOTOMETRY | distance.NO_RESULT) != 0
    label = AstroNNFlags
    teff, logg, fe_h = (bits & bit != 0 for bit in (label.UNCERTAIN_TEFF, label.UNCERTAIN_LOGG, label.UNCERTAIN_FE_H))
    return teff & logg & fe_h if schema == "dev" else teff | (logg & fe_h)


def describe_flags(kind: str, flags: int) -> list[str]:
    """One line for each bit of result_flags that is set: its value, name and meaning."""
    return [f"{bit:6d} {bit.name}: {meaning}" for bit, meaning in FLAG_MEANINGS[kind].items() if int(flags) & bit]


def _no_result(spectra_rows: Table, predicted) -> np.ndarray:
    predicted = np.asarray(predicted)
    known = np.isfinite(predicted)
    known = known if known.ndim == 1 else known.all(axis=1)
    return ~known | (np.asarray(spectra_rows["status"]) != 0 if "status" in spectra_rows.colnames else False)


def _given(spectra_rows: Table, name: str) -> np.ndarray:
    if name not in spectra_rows.colnames:
        return np.full(len(spectra_rows), np.nan)
    return np.asarray(spectra_rows[name], dtype=float)


def _bits(flags: Mapping[enum.IntFlag, np.ndarray]) -> np.ndarray:
    return np.bitwise_or.reduce([np.where(where, np.int32(flag), np.int32(0)) for flag, where in flags.items()])


def _table(kind: str, spectra_rows: Table, made: dict[str, np.ndarray], schema: str) -> Table:
    """All columns of a product, from what was made and what the rows hold, else unknown."""
    made["flag_warn"] = warned_rows(kind, made["result_flags"])
    made["flag_bad"] = bad_rows(kind, made["result_flags"], schema)
    made["v_astra"] = np.full(len(spectra_rows), f"apogaia {__version__}")
    table = Table()
    for column in columns(kind, visits="mjd" in spectra_rows.colnames):
        if column.name in made:
            values = made[column.name]
        elif column.name in spectra_rows.colnames:
            values = np.asarray(spectra_rows[column.name])
        elif column in OWN_COLUMNS and column.name != "status":
            continue
        elif column.name == "status":
            values = np.zeros(len(spectra_rows))
        else:
            values = np.full(len(spectra_rows), column.unknown)
        values = values.astype(str if column.kind == "U" else column.kind)
        table[column.name_in(schema)] = Column(values, unit=column.unit or None, description=column.description)
    return table


# --- files ------------------------------------------------------------------------------------------------------------

# provenance key: card, comment. A fingerprint leaves no room for one.
PROVENANCE = {
    "survey": ("SURVEY", "survey"),
    "model": ("MODELKEY", ""),
    "passes": ("NPASSES", "dropout passes per spectrum"),
    "seed": ("SEED", "seed of the dropout"),
}


@takes(model=file_path)
def provenance(survey: Survey, model: Path, passes: int, seed: int) -> dict:
    """What `write_astra` states of a product's origin.

    Parameters
    ----------
    survey
        Whose model it is.
    model
        Model file.
    passes, seed
        Of the dropout.
    """
    return {
        "survey": f"{survey.name}: {survey.title}",
        "model": files.file_digest(model).hex(),
        "passes": passes,
        "seed": seed,
    }


@takes(path=file_path)
def write_astra(path: str | Path, table: Table, kind: str, provenance: Mapping, schema: str = "dr19") -> None:
    """Write a product as Astra does: HDU 1 for BOSS, which is empty, HDU 2 for APOGEE; compressed if named ``.gz``.

    The file is whole or absent, and the same table gives the same bytes.

    Parameters
    ----------
    path
        The file.
    table
        Of `astronn_table` or `astronn_dist_table`.
    kind
        "AstroNN" or "AstroNNDist".
    provenance
        From `provenance`: survey, model (fingerprint of the model file), passes and seed.
    schema
        In which the table was made.

    Raises
    ------
    ValueError
        If the columns are not those of the product in this schema, or provenance is missing or unknown.
    """
    _check(schema, SCHEMAS, "schema")
    known = {column.name_in(schema): column for column in columns(kind, visits="mjd" in table.colnames)}
    optional = {column.name for column in OWN_COLUMNS}
    wrong = [name for name in table.colnames if name not in known]
    wrong += [name for name in known if name not in table.colnames and name not in optional]
    if wrong:
        raise ValueError(f"{path}: not the columns of {kind} ({schema}): {', '.join(wrong)} missing or unknown")
    if set(provenance) != set(PROVENANCE):
        differing = ", ".join(sorted(set(provenance) ^ set(PROVENANCE)))
        raise ValueError(f"{path}: provenance missing or unknown: {differing}")
    made = [_fits_column(known[name], np.asarray(table[name]), name) for name in table.colnames]
    empty = [fits.Column(name=column.name, format=column.format, unit=column.unit) for column in made]
    boss, apogee = fits.BinTableHDU.from_columns(empty, name="BOSS"), fits.BinTableHDU.from_columns(made, name="APOGEE")
    for hdu in (boss, apogee):
        for i, name in enumerate(table.colnames, start=1):
            set_text_card(hdu.header, f"TTYPE{i}", name, known[name].description)
            set_text_card(hdu.header, f"TCOMM{i}", known[name].description)
        _describe(hdu.header, kind, provenance, schema)
        hdu.add_checksum(when="of this HDU")  # by default the comment is the time of writing
    primary = fits.PrimaryHDU()
    primary.add_checksum(when="of this HDU")
    write_fits(path, [primary, boss, apogee])


def _fits_column(column: AstraColumn, values: np.ndarray, name: str) -> fits.Column:
    if column.kind == "U":
        encoded = ascii_column(values)
        width = max(1, int(np.char.str_len(encoded).max(initial=1)))  # a column of empty texts still needs a width
        return fits.Column(name=name, format=f"{width}A", array=encoded)
    code = {"f4": "E", "f8": "D", "i2": "I", "i4": "J", "i8": "K", "?": "L"}[column.kind]
    unit = None if column.unit in ("", "dex") else column.unit  # the FITS standard has no unit of logarithms
    return fits.Column(name=name, format=code, array=values.astype(column.kind), unit=unit)


def _describe(header: fits.Header, kind: str, provenance: Mapping, schema: str) -> None:
    set_text_card(header, "PIPELINE", kind, "SDSS Astra's pipeline of this name")
    set_text_card(header, "SCHEMA", schema, "whose names of columns")
    for bit, meaning in FLAG_MEANINGS[kind].items():
        set_text_card(header, f"FLAG{bit.bit_length() - 1:02d}", str(bit.name), meaning)
    set_text_card(header, "WARNING", f"flag_warn where {WARNED[kind]}")
    set_text_card(header, "BAD", f"flag_bad where {BAD[kind, schema]}")
    for key, (card, comment) in PROVENANCE.items():
        value = provenance[key]
        if isinstance(value, str):
            set_text_card(header, card, value, comment)
        else:
            header[card] = (int(value), comment)
