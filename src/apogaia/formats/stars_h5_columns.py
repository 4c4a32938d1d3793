"""The columns of stars.h5: names, types, units and descriptions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy import units as u

from apogaia.arguments.plain import Columns, Kind, any_unit, texts, whole

__all__ = ["COLUMNS", "ELEMENTS", "LABELS", "OFFSET_INPUTS", "StarColumn", "star_columns"]


OFFSET_INPUTS = ("g_mag", "bp_rp", "teff")  # what a zero point may depend on: G, BP-RP [mag] and Teff [K]


@dataclass(frozen=True)
class StarColumn:
    """One column: `kind` is "f8", "f4", an integer type or "U" for text; unknown is NaN, 0 or the empty text."""

    name: str
    kind: str
    unit: str
    description: str

    @property
    def unknown(self) -> float | int | str:
        """Value that stands for an unknown entry."""
        unknown: dict[str, float | int | str] = {"f": np.nan, "i": 0, "U": ""}
        return unknown[self.kind[0]]


# [X/H] in the order of the stellar-parameter catalogue, after Teff and log g
ELEMENTS = (
    *("C", "CI", "N", "O", "Na", "Mg", "Al", "Si", "P", "S"),
    *("K", "Ca", "Ti", "TiII", "V", "Cr", "Mn", "Fe", "Co", "Ni"),
)

_LABELS = [("teff", "K", "effective temperature"), ("logg", "dex", "log10 of surface gravity in cm/s2")]
_LABELS += [(f"{element.lower()}_h", "dex", f"[{element}/H]") for element in ELEMENTS]
LABELS = tuple(name for name, _, _ in _LABELS)

COLUMNS = tuple(
    StarColumn(*column)
    for column in [
        ("apogee_id", "U", "", "2MASS-style name"),
        ("telescope", "U", "", "telescope"),
        ("location_id", "i4", "", "APOGEE's number of the field; 1 for stars outside the survey's fields"),
        ("field", "U", "", "name of the field"),
        ("spectrum_file", "U", "", "name of the file of the star's combined spectrum"),
        ("reduction", "U", "", "version of the reduction where allStar mixes several (DR19: apred); else empty"),
        ("healpix", "i4", "", "HEALPix pixel of the spectrum's folder (DR19); else 0"),
        ("sdss_id", "i8", "", "SDSS-V's number of the star (DR19); else 0"),
        ("spectrum_pk", "i8", "", "Astra's number of the spectrum (DR19); else 0"),
        ("ra_apogee", "f8", "deg", "right ascension, J2000"),
        ("dec_apogee", "f8", "deg", "declination, J2000"),
        ("glon", "f8", "deg", "Galactic longitude"),
        ("glat", "f8", "deg", "Galactic latitude"),
        ("snr", "f4", "", "median signal-to-noise ratio per pixel of the combined spectrum"),
        ("n_visits", "i4", "", "number of visits"),
        ("v_helio", "f4", "km/s", "heliocentric radial velocity"),
        ("v_scatter", "f4", "km/s", "scatter of the visits' radial velocities"),
        ("starflag", "i8", "", "APOGEE_STARFLAG bits"),
        ("j_mag", "f4", "mag", "2MASS J"),
        ("h_mag", "f4", "mag", "2MASS H"),
        ("k_mag", "f4", "mag", "2MASS Ks, observed"),
        ("k_mag_error", "f4", "mag", "error of 2MASS Ks"),
        ("a_k_mag", "f4", "mag", "extinction in Ks used for target selection; NaN if missing"),
        ("aspcap_teff", "f4", "K", "effective temperature of the APOGEE pipeline"),
        ("aspcap_logg", "f4", "dex", "log10 of surface gravity in cm/s2 of the APOGEE pipeline"),
        ("gaia_source_id", "i8", "", "Gaia source; 0 if none within the match radius"),
        ("ra", "f8", "deg", "Gaia right ascension at Gaia's epoch"),
        ("dec", "f8", "deg", "Gaia declination at Gaia's epoch"),
        ("pmra", "f8", "mas/yr", "proper motion in right ascension times cos(dec)"),
        ("pmdec", "f8", "mas/yr", "proper motion in declination"),
        ("pmra_error", "f8", "mas/yr", "error of pmra"),
        ("pmdec_error", "f8", "mas/yr", "error of pmdec"),
        ("parallax", "f8", "mas", "Gaia parallax as published, less parallax_zero_point"),
        ("parallax_error", "f8", "mas", "error of the Gaia parallax"),
        ("parallax_zero_point", "f8", "mas", "zero point subtracted from parallax; 0: none wanted; NaN: none known"),
        ("g_mag", "f8", "mag", "Gaia G"),
        ("bp_rp", "f8", "mag", "Gaia colour BP-RP"),
        ("visibility_periods_used", "i4", "", "Gaia visibility periods"),
        ("astrometric_chi2_al", "f8", "", "chi-square of Gaia's astrometric fit"),
        ("astrometric_n_good_obs_al", "i4", "", "good observations in Gaia's astrometric fit"),
        ("ruwe", "f8", "", "Gaia renormalised unit weight error; NaN before EDR3"),
        ("ipd_frac_multi_peak", "f8", "%", "Gaia windows with more than one peak; NaN before EDR3"),
        ("ipd_gof_harmonic_amplitude", "f8", "", "Gaia image asymmetry; NaN before EDR3"),
        ("nu_eff_used_in_astrometry", "f8", "1/um", "effective wavenumber used by Gaia; NaN before EDR3"),
        ("pseudocolour", "f8", "1/um", "effective wavenumber found by Gaia, 6-parameter solutions; NaN before EDR3"),
        ("ecl_lat", "f8", "deg", "ecliptic latitude of the Gaia source; NaN before EDR3"),
        ("astrometric_params_solved", "i4", "", "31, 95 or 3: Gaia solved for 5, 6 or 2 parameters; 0 before EDR3"),
        ("match_distance", "f8", "arcsec", "distance to the matched Gaia source at APOGEE's epoch"),
        ("n_gaia_matches", "i4", "", "Gaia sources within the match radius"),
        *((name, "f4", unit, text) for name, unit, text in _LABELS),
        *((f"{name}_error", "f4", unit, f"error of {text}") for name, unit, text in _LABELS),
        ("k0_mag", "f8", "mag", "Ks corrected for extinction; missing extinction counts as zero"),
        ("fakemag", "f8", "mas", "parallax 10^(0.2 K0) of the Gaia parallax as it is here (Eq. 1)"),
        ("fakemag_error", "f8", "mas", "error of fakemag"),
        ("log_luminosity", "f8", "dex", "log10 of the Ks luminosity in solar ones; NaN if parallax <= 0"),
        ("status", "i1", "", "what became of the spectrum: apogaia.formats.apstar.Status, 0 is good"),
        ("reason", "U", "", "why there is no spectrum; empty if there is one"),
    ]
)

# A star without APOGEE's flags counts as flagged, one without a status as one without a spectrum
_UNKNOWN_INTEGER = {"starflag": -1, "status": 1}


def star_columns() -> Columns:
    """Columns of stars.h5 as an argument of a function: whichever of them a table has."""
    return Columns({column.name: _kind(column) for column in COLUMNS})


def _kind(column: StarColumn) -> Kind:
    if column.kind == "U":
        return texts
    if column.kind[0] == "i":
        return whole(_UNKNOWN_INTEGER.get(column.name, 0))
    # log g comes without a unit, in dex, and in dex(cm / s2)
    return any_unit if column.name.endswith("logg") else u.Unit(column.unit)
