"""Kinds of damage to a row or to the whole of a raw table, and what must become of the survey."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tiny_survey as tiny
from astropy.io import fits
from astropy.table import Table, vstack

from apogaia.distances.catalogue import Flags

STAR = 2  # trains in the tiny survey; no fault
SOURCE = 10**17 + STAR  # its Gaia source
NAN = np.nan
NONE = Flags(0)


@dataclass(frozen=True)
class Row:
    """`change(table, row)` damages the star's row in `table` ("allstar", "gaia", "stellar_parameters").

    Then the star's row of stars.h5 has the values in `becomes`, and flags beside those of the undamaged survey; it
    trains or not. Columns of `touches` may be another, too. All other rows are as in the undamaged survey.
    """

    name: str
    table: str
    change: Callable[[Table, int], Table | None]
    becomes: dict = field(default_factory=dict)
    flags: Flags = NONE
    trains: bool = False
    says: str = ""
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class Whole:
    """`change(path)` damages a table's file; then the product is as it was but for `columns`, or `error` is raised."""

    name: str
    table: str
    change: Callable[[Path], None]
    error: str = ""
    columns: tuple[str, ...] = ()


def put(**values) -> Callable[[Table, int], None]:
    """Set fields of the row."""

    def change(table, row):
        for name, value in values.items():
            table[name][row] = value

    return change


def mask(name: str, null: int) -> Callable[[Table, int], None]:
    """Mask a whole number: TNULL in the file."""

    def change(table, row):
        table[name] = np.ma.masked_array(table[name], np.arange(len(table)) == row, fill_value=null)

    return change


def retype(name: str, kind: str, value=None) -> Callable[[Table, int], None]:
    """Another type of column; then perhaps another value in the row."""

    def change(table, row):
        table[name] = np.asarray(table[name]).astype(kind)
        if value is not None:
            table[name][row] = value

    return change


NO_GAIA = {"gaia_source_id": 0, "ra": NAN, "parallax": NAN, "n_gaia_matches": 0, "fakemag": NAN, "match_distance": NAN}
NO_MATCH = Flags.NO_GAIA_MATCH | Flags.NO_GAIA_PARALLAX
# all that comes from Gaia or from the apStar file
GAIA_COLUMNS = (
    *("gaia_source_id", "ra", "dec", "pmra", "pmdec", "pmra_error", "pmdec_error", "parallax", "parallax_error"),
    *("g_mag", "bp_rp", "visibility_periods_used", "astrometric_chi2_al", "astrometric_n_good_obs_al"),
    *("match_distance", "n_gaia_matches", "fakemag", "fakemag_error", "log_luminosity"),
)
K_COLUMNS = ("k0_mag", "fakemag", "fakemag_error", "log_luminosity")
NO_SPECTRUM = ("status", "reason")

ROWS: list[Row] = []


def allstar(name, change, becomes=None, flags=NONE, **more):
    ROWS.append(Row(f"allStar: {name}", "allstar", change, becomes or {}, flags, **more))


def gaia(name, change, becomes=None, flags=NONE, **more):
    ROWS.append(Row(f"Gaia: {name}", "gaia", change, becomes or {}, flags, **more))


def parameters(name, change, becomes=None, **more):
    ROWS.append(Row(f"parameters: {name}", "stellar_parameters", change, becomes or {}, **more))


# --- rows of allStar --------------------------------------------------------------------------------------------------

for _value in (NAN, 99.999, -9999.99, np.inf, -np.inf, 1e20):
    allstar(f"K {_value}", put(K=_value), {"k_mag": NAN, "k0_mag": NAN}, Flags.MISSING_PHOTOMETRY, columns=K_COLUMNS)
allstar("J 99.999", put(J=99.999), {"j_mag": NAN}, trains=True)
for _value in (NAN, -9999.99, 99.0, np.inf, -2.0):
    allstar(
        f"AK_TARG {_value}",
        put(AK_TARG=_value),
        {"a_k_mag": NAN},
        Flags.MISSING_EXTINCTION,
        columns=K_COLUMNS,
        trains=True,
    )
for _name, _value in (("RA", NAN), ("RA", 400.0), ("RA", -9999.0), ("DEC", NAN), ("DEC", 95.0), ("DEC", -1e300)):
    allstar(
        f"{_name} {_value}",
        put(**{_name: _value}),
        {"ra_apogee": NAN, "dec_apogee": NAN} | NO_GAIA,
        NO_MATCH,
        columns=GAIA_COLUMNS,
    )
for _value in (NAN, np.inf, -5.0, -9999.0):
    allstar(f"SNR {_value}", put(SNR=_value), {"snr": NAN})
for _value in (NAN, np.inf, -9999.0):
    allstar(f"VSCATTER {_value}", put(VSCATTER=_value), {"v_scatter": NAN})
allstar("STARFLAG -9999", put(STARFLAG=-9999), {"starflag": -1}, Flags.SPECTRUM_FLAGGED)
allstar("STARFLAG masked", mask("STARFLAG", 999999), {"starflag": -1}, Flags.SPECTRUM_FLAGGED)
allstar("STARFLAG with its sign bit", put(STARFLAG=-(2**31)), {"starflag": -(2**31)}, Flags.SPECTRUM_FLAGGED)
allstar("STARFLAG NaN", retype("STARFLAG", ">f8", NAN), {"starflag": -1}, Flags.SPECTRUM_FLAGGED)
allstar("NVISITS masked", mask("NVISITS", 999999), {"n_visits": 0}, trains=True)
_LOST = {"becomes": {"location_id": 0, "status": 1}, "flags": Flags.NO_RESULT, "columns": NO_SPECTRUM}
for _name, _change in (
    ("masked", mask("LOCATION_ID", 16959)),
    ("-9999", put(LOCATION_ID=-9999)),
    ("NaN", retype("LOCATION_ID", ">f4", NAN)),
    ("a fraction", retype("LOCATION_ID", ">f4", 4400.5)),
    ("no number", retype("LOCATION_ID", "U8", "M13")),
    ("too large", retype("LOCATION_ID", ">i8", 2**40)),
):
    allstar(f"LOCATION_ID {_name}", _change, says="LOCATION_ID is unknown", **_LOST)
allstar("APOGEE_ID with blanks around", lambda t, r: pad(t, r), trains=True)
allstar(
    "RA a text",
    retype("RA", "U24", "12h"),
    {"ra_apogee": NAN} | NO_GAIA,
    NO_MATCH,
    columns=("dec_apogee", *GAIA_COLUMNS),
)


def pad(table: Table, row: int) -> None:
    ids = np.asarray(table["APOGEE_ID"]).astype("U24")
    ids[row] = f"  {ids[row]}  "
    table["APOGEE_ID"] = ids


# --- rows of Gaia -----------------------------------------------------------------------------------------------------

_PARALLAX = {"parallax": NAN, "fakemag": NAN, "log_luminosity": NAN, "gaia_source_id": SOURCE}
for _value in (NAN, np.inf, -9999.0, 1e20):
    gaia(
        f"parallax {_value}",
        put(parallax=_value),
        _PARALLAX,
        Flags.NO_GAIA_PARALLAX,
        columns=("fakemag_error",),
    )
gaia(
    "parallax masked",
    lambda t, r: t.replace_column("parallax", np.ma.masked_array(t["parallax"], np.arange(len(t)) == r)),
    _PARALLAX,
    Flags.NO_GAIA_PARALLAX,
    columns=("fakemag_error",),
)
for _value in (0.0, -0.03, NAN):
    gaia(
        f"parallax_error {_value}",
        put(parallax_error=_value),
        {"parallax_error": NAN, "fakemag_error": NAN},
        Flags.NO_GAIA_PARALLAX,
    )
gaia("a star that stands still, without proper motion", lambda t, r: stand_still(t, r), {"pmra": NAN}, trains=True,
     columns=("ra", "dec", "pmdec", "match_distance"))  # fmt: skip
gaia("no proper motion of a star that moved", put(pmra=NAN, pmdec=NAN), NO_GAIA, NO_MATCH, columns=GAIA_COLUMNS)
gaia("far away", lambda t, r: put(dec=t["dec"][r] + 1)(t, r), NO_GAIA, NO_MATCH, columns=GAIA_COLUMNS)
gaia("ra beyond 360", lambda t, r: put(ra=t["ra"][r] + 360)(t, r), NO_GAIA, NO_MATCH, columns=GAIA_COLUMNS)
gaia("dec beyond the pole", put(dec=91.0), NO_GAIA, NO_MATCH, columns=GAIA_COLUMNS)
gaia("the same source twice", lambda t, r: vstack([t, t[r : r + 1]]), trains=True)
gaia("another source at the same place", lambda t, r: twin(t, r), {"n_gaia_matches": 2, "parallax": "same"},
     Flags.AMBIGUOUS_GAIA_MATCH, trains=True, columns=("gaia_source_id",))  # fmt: skip
gaia("no number of the source", put(source_id=0), {"gaia_source_id": 0, "parallax": "same"}, trains=True)
gaia("visibility_periods_used NaN", retype("visibility_periods_used", ">f4", NAN), {"visibility_periods_used": 0})


def stand_still(table: Table, row: int) -> None:
    ra, dec = (np.linspace(*edges, tiny.N_STARS)[STAR] for edges in ((1, 359), (-80, 80)))
    put(ra=ra, dec=dec, pmra=NAN, pmdec=NAN)(table, row)


def twin(table: Table, row: int) -> Table:
    other = Table(table[row : row + 1], copy=True)
    other["source_id"] += 10**6
    return vstack([table, other])


# --- rows of the stellar parameters -----------------------------------------------------------------------------------

_LABELS = ("teff", "logg", "c_h", "ci_h", "n_h", "o_h", "na_h", "mg_h", "al_h", "si_h", "p_h", "s_h", "k_h", "ca_h")
_LABELS += ("ti_h", "tiii_h", "v_h", "cr_h", "mn_h", "fe_h", "co_h", "ni_h")
_ERRORS = tuple(f"{label}_error" for label in _LABELS)
for _value in (-9999.0, NAN, np.inf):
    parameters(f"values {_value}", put(astroNN=_value), {"teff": NAN, "fe_h": NAN}, trains=True, columns=_LABELS)
    parameters(f"errors {_value}", put(astroNN_error=_value), {"teff_error": NAN}, trains=True, columns=_ERRORS)
parameters("no name", put(APOGEE_ID=""), trains=True)


# --- whole tables -----------------------------------------------------------------------------------------------------

WHOLES: list[Whole] = []
TABLES = ("allstar", "gaia", "stellar_parameters")


def whole(tables, name: str, error: str = "", columns: tuple[str, ...] = ()):
    """Add the function below, which changes a file, to `WHOLES`, once for each table."""

    def add(change):
        for table in (tables,) if isinstance(tables, str) else tables:
            WHOLES.append(Whole(f"{table}: {name}", table, change, error, columns))
        return change

    return add


def edited(change: Callable[[Table], Table | None]) -> Callable[[Path], None]:
    """A change of the table as such."""

    def of_file(path: Path) -> None:
        table = Table.read(path)
        changed = change(table)
        (table if changed is None else changed).write(path, overwrite=True)

    return of_file


def in_order(order: str) -> Callable[[Path], None]:
    """Every column in one byte order, through a structured array."""

    def change(table: Table) -> Table:
        array = table.as_array()
        kinds = [(name, array.dtype[name].newbyteorder(order)) for name in array.dtype.names]
        return Table(array.astype(kinds))

    return edited(change)


def rename(how: Callable[[str], str]) -> Callable[[Path], None]:
    def change(table: Table) -> None:
        table.rename_columns(table.colnames, [how(name) for name in table.colnames])

    return edited(change)


def with_both_spellings(table: Table) -> Table:
    """A joined table: each column once as released, and a column of something else in the other case beside it."""
    other = Table({name.swapcase(): table[name][::-1] for name in table.colnames})
    columns = [column for name in table.colnames for column in (other[name.swapcase()], table[name])]
    return Table(columns)


def remove(*names: str) -> Callable[[Path], None]:
    return edited(lambda table: table.remove_columns(list(names)))


def contradict(table: Table) -> Table:
    table = vstack([table, table[:1]])
    table["parallax"][-1] = 9.0
    return table


whole(TABLES, "little-endian arrays")(in_order("<"))
whole(TABLES, "big-endian arrays")(in_order(">"))
whole(TABLES, "names in upper case")(rename(str.upper))
whole(TABLES, "names in lower case")(rename(str.lower))
whole(TABLES, "more columns")(edited(lambda t: t.add_column(np.arange(len(t)), name="EXTRA", index=0)))
whole(TABLES, "gzip under the name .fits")(lambda path: path.write_bytes(gzip.compress(path.read_bytes(), 1)))
whole(("allstar", "gaia"), "columns in both cases")(edited(with_both_spellings))
whole("allstar", "texts as bytes")(edited(lambda t: t.convert_unicode_to_bytestring()))
whole("allstar", "LOCATION_ID as text")(edited(lambda t: retype("LOCATION_ID", "U8")(t, 0)))
whole("allstar", "LOCATION_ID as float")(edited(lambda t: retype("LOCATION_ID", ">f4")(t, 0)))
whole("allstar", "no TELESCOPE")(remove("TELESCOPE"))
whole("gaia", "source_id as text")(edited(lambda t: retype("source_id", "U20")(t, 0)))
_OPTIONAL = {
    "FIELD": "field",
    "J": "j_mag",
    "H": "h_mag",
    "K_ERR": "k_mag_error",
    "TEFF": "aspcap_teff",
    "GLON": "glon",
}
for _old, _new in _OPTIONAL.items():
    whole("allstar", f"no column {_old}", columns=(_new,))(remove(_old))

whole("gaia", "no column bp_rp", columns=("bp_rp",))(remove("bp_rp"))
for _name in ("APOGEE_ID", "LOCATION_ID", "RA", "DEC", "SNR", "VSCATTER", "STARFLAG", "K", "AK_TARG"):
    whole("allstar", f"no column {_name}", f"has no column .*{_name}: ")(remove(_name))
for _name in ("source_id", "ra", "dec", "pmra", "parallax", "parallax_error", "visibility_periods_used"):
    whole("gaia", f"no column {_name}", f"has no column {_name.upper()}: ")(remove(_name))
for _name in ("astroNN", "astroNN_error"):
    whole("stellar_parameters", f"no column {_name}", f"has no column {_name}")(remove(_name))
whole("gaia", "source_id as float", "column source_id holds numbers with a decimal point.*; fetch or make it again")(
    edited(lambda t: retype("source_id", ">f8")(t, 0))
)
whole("gaia", "source_id no number", "column source_id holds texts that are no whole numbers: '1e17'")(
    edited(lambda t: t.replace_column("source_id", np.full(len(t), "1e17")))
)
whole("gaia", "one source with two parallaxes", "rows 0 and 19 both are source .* different parallax")(
    edited(contradict)
)
whole("allstar", "several K in a row", "column K holds 3 values a row")(
    edited(lambda t: t.replace_column("K", np.ones((len(t), 3))))
)
whole("allstar", "SNR of words", "column SNR holds texts that are no numbers: 'high'")(
    edited(lambda t: t.replace_column("SNR", np.full(len(t), "high")))
)
whole(("allstar", "gaia"), "no rows", "has no rows: fetch or make it again")(edited(lambda t: t[:0]))
whole("stellar_parameters", "no rows", "has 0 rows, allStar 20")(edited(lambda t: t[:0]))
whole("stellar_parameters", "a row less", "has 19 rows, allStar 20")(edited(lambda t: t[1:]))
whole("stellar_parameters", "a row more", "has 21 rows, allStar 20")(edited(lambda t: vstack([t, t[:1]])))
whole("stellar_parameters", "another order", "row 0 is 2M0*19.*, in allStar 2M0*.*row by row")(
    edited(lambda t: t[::-1])
)
for _width in (21, 23):
    whole("stellar_parameters", f"{_width} values", f"astroNN must hold 22 values a row: .*{_width}")(
        edited(lambda t, width=_width: t.replace_column("astroNN", np.ones((len(t), width))))
    )
whole("stellar_parameters", "one value", "astroNN must hold 22 values a row")(
    edited(lambda t: t.replace_column("astroNN", np.ones(len(t))))
)

_AGAIN = ".*: get it again as data/README.md says, or run `apogaia mock`"


@whole(TABLES, "cut in its rows", f"is cut short: \\d+ bytes instead of \\d+ or more{_AGAIN}")
def _(path):
    with fits.open(path) as hdus:
        info = hdus[1].fileinfo()
        end = info["datLoc"] + hdus[1].size // 2
    path.write_bytes(path.read_bytes()[:end])


@whole(TABLES, "cut in its header", f"holds no table in HDU 1{_AGAIN}")
def _(path):
    path.write_bytes(path.read_bytes()[: 2880 + 500])


@whole(TABLES, "gzip cut short", f"(compressed with gzip, and cut short|holds no table in HDU 1){_AGAIN}")
def _(path):
    packed = gzip.compress(path.read_bytes(), 1)
    path.write_bytes(packed[: len(packed) // 2])


@whole(TABLES, "table in HDU 2", f"holds no table in HDU 1, but in HDU 2: it is not as released{_AGAIN}")
def _(path):
    with fits.open(path, memmap=False) as hdus:
        fits.HDUList([hdus[0], fits.ImageHDU(np.ones(3)), hdus[1]]).writeto(path, overwrite=True)


whole(TABLES, "no bytes", f"cannot be read .it is empty{_AGAIN}")(lambda path: path.write_bytes(b""))
whole(TABLES, "zeros", f"it begins with zero bytes{_AGAIN}")(lambda path: path.write_bytes(bytes(50_000)))
whole(TABLES, "an HTML page", f"an HTML or XML page{_AGAIN}")(lambda path: path.write_text("<html>504</html>" * 99))
whole(TABLES, "VOTable", "a VOTable: convert it to FITS with astropy.table.Table.read and write")(
    lambda path: Table({"source_id": [1]}).write(path, format="votable", overwrite=True)
)
whole(TABLES, "CSV", "perhaps CSV: convert it to FITS with astropy.table.Table.read and write")(
    lambda path: Table({"source_id": [1], "parallax": [0.5]}).write(path, format="ascii.csv", overwrite=True)
)
whole(TABLES, "a spectrum", f"holds no table in HDU 1{_AGAIN}")(
    lambda path: fits.HDUList([fits.PrimaryHDU(), tiny.image(np.ones(8575))]).writeto(path, overwrite=True)
)
