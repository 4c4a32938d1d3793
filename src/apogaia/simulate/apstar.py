"""Fast writing of apStar files: the pipeline's ten HDUs, without dates, so that the bytes are reproducible.

HDUs 1 to 3 (flux, error, mask) are complete. HDUs 4 to 7 (sky, telluric, and their errors) are images of the real
type and unit with a single pixel, since nothing reads them and they would more than double the size of the tree.
HDU 8 holds LSF coefficients, HDU 9 the table of radial velocities. Headers are DR14's for either release, except for
the names of telescope and files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from functools import cache
from pathlib import Path

import numpy as np
from astropy.io import fits

from apogaia.formats.pixel_grid import N_PIXELS_APSTAR
from apogaia.simulate.spectrograph import ILLUMINATED, Observation

__all__ = ["apstar_bytes", "smallest_size", "write_whole"]

BLOCK = 2880
MJD_EPOCH = date(1858, 11, 17)
# As real files have them, digit for digit. Not taken from `pixel_grid`, with which the reader compares the headers.
CRVAL1, CDELT1 = 4.179, "6.00000000000E-06"
IMAGES = (
    "Flux (10^-17 erg/s/cm^2/Ang)",
    "Error (10^-17 erg/s/cm^2/Ang)",
    "Flag Mask (bitwise)",
    "Sky (10^-17 erg/s/cm^2/Ang)",
    "Sky error (10^-17 erg/s/cm^2/Ang)",
    "Telluric",
    "Telluric error",
)
HISTORY = (
    "APSTAR: The data are in separate extensions:",
    "APSTAR:  HDU0 = Header only",
    "APSTAR:  All image extensions have:",
    "APSTAR:    row 1: combined spectrum with individual pixel weighting",
    "APSTAR:    row 2: combined spectrum with global weighting",
    "APSTAR:    row 3-nvisits+2: individual resampled visit spectra",
    "APSTAR:   unless nvisits=1, which only have a single row",
    "APSTAR:  All spectra shifted to rest (vacuum) wavelength scale",
    "APSTAR:  HDU1 - Flux (10^-17 ergs/s/cm^2/Ang)",
    "APSTAR:  HDU2 - Error (10^-17 ergs/s/cm^2/Ang)",
    "APSTAR:  HDU3 - Flag mask:",
    "APSTAR:    row 1: bitwise OR of all visits",
    "APSTAR:    row 2: bitwise AND of all visits",
    "APSTAR:    row 3-nvisits+2: individual visit masks",
    "APSTAR:  HDU4 - Sky (10^-17 ergs/s/cm^2/Ang): one pixel",
    "APSTAR:  HDU5 - Sky Error (10^-17 ergs/s/cm^2/Ang): one pixel",
    "APSTAR:  HDU6 - Telluric: one pixel",
    "APSTAR:  HDU7 - Telluric Error: one pixel",
    "APSTAR:  HDU8 - LSF coefficients",
    "APSTAR:  HDU9 - RV and CCF structure",
)
# Gauss-Hermite line spread of a typical fibre: 26 numbers in the order that the pipeline's LSF reader expects.
LSF = np.array(
    [1, 4287, 5, *[1] * 5, 0, 1.97, *[0.0] * 3, -0.26, 0, 0.072, 0, 0.398, 0, -0.06, 1, 2, 0, 0, 0.01, 0.104]
)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it, so that it is complete or absent.

    Files are not synced to disk one by one, which would take minutes for thousands of small ones. A power failure may
    therefore leave an empty file under the final name: a run that resumes checks sizes (`smallest_size`).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def apstar_bytes(observation: Observation, star: Mapping) -> bytes:
    """Return the content of one apStar file.

    Parameters
    ----------
    observation
        Flux, error and mask.
    star
        One star's values by name: identity, position, magnitudes and the observing log.
    """
    n_visits = int(star["n_visits"])
    rows = observation.flux.shape[0] if observation.flux.ndim == 2 else 0
    parts = [_primary(star, n_visits)]
    for number, values in ((1, observation.flux), (2, observation.error), (3, observation.mask)):
        kind = ">i2" if number == 3 else ">f4"
        parts += [_image_header(number, rows), _padded(np.ascontiguousarray(values, kind).tobytes())]
    for number in range(4, 8):
        parts += [_image_header(number, -1), _padded(np.ones(1, ">f4").tobytes())]
    parts += [_lsf_hdu(), *_velocity_table(star, n_visits)]
    return b"".join(parts)


def smallest_size(n_visits: int, layout: str) -> int:
    """Return the bytes of flux, error and mask in a complete file: any complete apStar file is larger."""
    of_one_visit = 2 if layout == "dr17" else 1
    return 10 * N_PIXELS_APSTAR * (of_one_visit if n_visits == 1 else n_visits + 2)


def _padded(content: bytes, fill: bytes = b"\0") -> bytes:
    return content + fill * (-len(content) % BLOCK)


def _card(keyword: str, value: str | float | np.generic, comment: str = "") -> str:
    if isinstance(value, (bool, np.bool_)):
        text = f"{'T' if value else 'F':>20}"
    elif isinstance(value, (int, np.integer)):
        text = f"{int(value):>20d}"
    elif isinstance(value, (float, np.floating)):
        value = float(value) if np.isfinite(value) else -9999.99  # FITS headers know no NaN
        text = f"{value:>20.9f}" if abs(value) < 1e8 else f"{value:>20.9E}"
    else:
        quoted = str(value).replace("'", "''")
        text = f"'{quoted:<8}'".ljust(20)
    return f"{keyword:<8}= {text} / {comment}"[:80].ljust(80)


def _remark(keyword: str, text: str) -> str:
    return f"{keyword:<8}{text}"[:80].ljust(80)


def _header(cards: Iterable[str]) -> bytes:
    return _padded("".join([*cards, "END".ljust(80)]).encode("ascii"), b" ")


@cache
def _image_header(number: int, rows: int) -> bytes:
    """Return the header of an image HDU with `rows` rows of 8575 pixels; 0: a 1-D image, -1: a single pixel."""
    cards = [
        "XTENSION= 'IMAGE   '           / IMAGE extension".ljust(80),
        _card("BITPIX", 16 if number == 3 else -32, "Number of bits per data pixel"),
        _card("NAXIS", 2 if rows > 0 else 1, "Number of data axes"),
        _card("NAXIS1", 1 if rows < 0 else N_PIXELS_APSTAR),
        *([_card("NAXIS2", rows)] if rows > 0 else []),
        _card("PCOUNT", 0, "No Group Parameters"),
        _card("GCOUNT", 1, "One Data Group"),
        _card("CRVAL1", CRVAL1),
        f"{'CDELT1':<8}= {CDELT1:>20} /".ljust(80),
        _card("CRPIX1", 1),
        _card("CTYPE1", "LOG-LINEAR"),
        _card("DC-FLAG", 1),
        _card("BUNIT", IMAGES[number - 1]),
    ]
    return _header(cards)


@cache
def _lsf_hdu() -> bytes:
    cards = [
        "XTENSION= 'IMAGE   '           / IMAGE extension".ljust(80),
        _card("BITPIX", -64, "Number of bits per data pixel"),
        _card("NAXIS", 1, "Number of data axes"),
        _card("NAXIS1", len(LSF)),
        _card("PCOUNT", 0, "No Group Parameters"),
        _card("GCOUNT", 1, "One Data Group"),
        _card("CTYPE1", "Parameters"),
        _card("BUNIT", "LSF Coefficients"),
        _remark("HISTORY", " LSF Coefficients to be used with LSF_GH.PRO"),
    ]
    return _header(cards) + _padded(LSF.astype(">f8").tobytes())


def _primary(star: Mapping, n_visits: int) -> bytes:
    """Return the primary HDU: the star, the mean of its visits, each visit, and the wavelength grid."""
    visits = [card for i in range(n_visits) for card in _visit_cards(star, i)]
    cards = [
        _card("SIMPLE", True, "image conforms to FITS standard"),
        _card("BITPIX", 16, "bits per data value"),
        _card("NAXIS", 0, "number of axes"),
        _card("EXTEND", True, "file may contain extensions"),
        *_STAR_CARDS[star["apstar_layout"]](star),
        *_mean_cards(star, n_visits),
        *visits,
        *_grid_cards(star["apstar_layout"]),
    ]
    return _header(cards)


def _k_mag(star: Mapping) -> float:
    """Return the star's Ks, NaN where allStar has none."""
    return np.nan if star["k_is_nan"] or star["k_is_missing"] else star["k_mag"]


def _star_cards(star: Mapping) -> list[str]:
    """Return the star's cards in DR14: identity, photometry, targeting and position."""
    return [
        _card("OBJID", star["apogee_id"], "Object ID"),
        _card("J", star["j_mag"], "2MASS J magnitude"),
        _card("H", star["h_mag"], "2MASS H magnitude"),
        _card("K", _k_mag(star), "2MASS Ks magnitude"),
        _card("AKTARG", star["a_k_targ"], "Extinction used for targeting"),
        _card("AKMETHOD", star["a_k_targ_method"], "Extinction method using for targeting"),
        _card("AKWISE", star["a_k_wise"], "Extinction from WISE"),
        _card("SFD_EBV", star["sfd_ebv"], "E(B-V) from SFD"),
        _card("TARG1", -2147481584, "First APOGEE targeting flag (bitwise, see docs)"),
        _card("TARG2", 0, "Second APOGEE targeting flag (bitwise, see docs"),
        _card("TARG3", 0, "Third APOGEE targeting flag (bitwise, see docs)"),
        _card("SURVEY", "apogee", "Survey name (for targeting flags)"),
        _card("TELESCOP", star["telescope"], "Telescope"),
        _card("LOCID", star["location_id"], "LocationID"),
        _card("FIELD", star["field"], "Field name"),
        _card("RA", star["ra"], "right ascension, deg, J2000"),
        _card("DEC", star["dec"], "declination, deg, J2000"),
        _card("GLON", star["glon"], "galactic longitude, deg, J2000"),
        _card("GLAT", star["glat"], "galactic latitude, deg, J2000"),
    ]


def _position_cards(star: Mapping) -> list[str]:
    return [
        _card("RA", star["ra"], "right ascension, deg, J2000"),
        _card("DEC", star["dec"], "declination, deg, J2000"),
        _card("GLON", star["glon"], "Galactic longitude"),
        _card("GLAT", star["glat"], "Galactic latitude"),
    ]


def _star_cards_dr17(star: Mapping) -> list[str]:
    """Return the star's cards in DR17, which has none of the telescope."""
    return [
        _card("FIELD", star["field"], "APOGEE field name"),
        _card("OBJID", star["apogee_id"], "APOGEE object name"),
        *_position_cards(star),
        _card("J", star["j_mag"], "2MASS J magnitude"),
        _card("H", star["h_mag"], "2MASS H magnitude"),
        _card("K", _k_mag(star), "2MASS K magnitude"),
        _card("AKTARG", star["a_k_targ"], "Extinction used for targeting"),
        _card("AKMETHOD", star["a_k_targ_method"], "Extinction method using for targeting"),
        _card("AKWISE", star["a_k_wise"], "WISE all-sky extinction"),
        _card("SFD_EBV", star["sfd_ebv"], "SFD E(B-V)"),
    ]


def _star_cards_dr19(star: Mapping) -> list[str]:
    """Return the star's cards in DR19, which has no extinction, other names of magnitudes, and NaN as a text."""
    magnitudes = {"J": star["j_mag"], "H": star["h_mag"], "K": _k_mag(star)}
    return [
        _card("OBJID", star["apogee_id"], "APOGEE object name"),
        _card("APRED", star["spectrum_file"].split("-")[1], "APOGEE reduction version"),
        _card("HEALPIX", star["healpix"], "HEALPix location"),
        *_position_cards(star),
        *(
            _card(f"{band}MAG", value if np.isfinite(value) else "NaN", f"2MASS {band} magnitude")
            for band, value in magnitudes.items()
        ),
        _card("CATID", star["sdss_id"] + 27_021_597_000_000_000, "SDSS-V catalog ID"),
    ]


_STAR_CARDS = {"dr14": _star_cards, "dr17": _star_cards_dr17, "dr19": _star_cards_dr19}


def _mean_cards(star: Mapping, n_visits: int) -> list[str]:
    """Return the cards of the combined spectrum: velocities, SNR, flags and fibres."""
    visits = slice(0, n_visits)
    v_error_median = float(np.median(star["visit_v_error"][visits]))
    fibres = star["visit_fibre"][visits]
    velocity = "VHBARY" if star["apstar_layout"] == "dr19" else "VHELIO"
    return [
        _card("NVISITS", n_visits, "number of visit spectra combined"),
        _remark("COMMENT", " MEAN VALUES:"),
        _card("VRAD", 0.0, "Doppler shift (km/s) of this spectrum"),
        _card(velocity, star["v_helio"], "mean heliocentric velocity (km/s)"),
        _card("VSCATTER", star["v_scatter"], "STDEV of VHELIO (km/s)"),
        _card("VERR", star["v_error"], "weighted error in VHELIO (km/s)"),
        _card("VERR_MED", v_error_median, "median error in VHELIO (km/s)"),
        _card("SVHELIO", star["v_helio"], "mean heliocentric velocity (km/s) from SYNTHVHELIO"),
        _card("SVERR", star["v_error"], "weighted error in SYNTHVHELIO"),
        _card("SVERR_ME", v_error_median, "median error of SYNTHVHELIO velocity (km/s)"),
        _card("SVSCAT", star["v_scatter"], "STDEV of SYNTHVHELIO (km/s)"),
        _card("SYNTHSCA", 0.05 * (n_visits > 1), "STDEV of VHELIO-SYNTHVHELIO (km/s)"),
        _card("SNR", star["snr"], "final median Signal/Noise ratio"),
        _card("STARFLAG", star["starflag"], "bitwise OR of individual visit starflags"),
        _card("ANDFLAG", star["andflag"], "bitwise AND of individual visit starflags"),
        _card("MEANFIB", float(np.mean(fibres)), "S/N weighted mean fiber number"),
        _card("SIGFIB", float(np.std(fibres)), "standard deviation (unweighted) of fiber number"),
        *_template_cards("", star),
        _card("CCPFWHM", 20.5, "FWHM of RV CCF of star with template (km/s)"),
        _card("AUTOFWHM", 19.5, "FWHM of RV CCF of template with template (km/s)"),
    ]


def _visit_cards(star: Mapping, i: int) -> list[str]:
    """Return the cards of the visit with index `i`; FITS counts from 1."""
    k = i + 1
    night = MJD_EPOCH + timedelta(days=int(star["visit_mjd"][i]))
    jd, v_rad = _visit_times(star)[i], _doppler_shifts(star)[i]
    return [
        _remark("COMMENT", f" VISIT {k} INFORMATION:"),
        _card(f"SFILE{k}", _visit_file(star, i), f"Visit #{k} spectrum file"),
        _card(f"DATE{k}", f"{night.isoformat()}T08:52:48.000", f"DATE-OBS of visit {k}"),
        _card(f"JD{k}", jd, f"Julian date of visit {k}"),
        _card(f"HJD{k}", jd - 2_400_000, f"Reduced Heliocentric JD of visit {k}"),
        _card(f"FIBER{k}", star["visit_fibre"][i], f"Fiber, visit {k}"),
        _card(f"BC{k}", star["visit_bc"][i], f"Barycentric correction (km/s),visit {k}"),
        _card(f"VTYPE{k}", 3, f"RV type (1=chisq, 2=xcorr) from visit {k}"),
        _card(f"VRAD{k}", v_rad, f"Doppler shift (km/s) of visit {k}"),
        _card(f"VERR{k}", star["visit_v_error"][i], "error in VRAD (km/s)"),
        _card(f"VHELIO{k}", star["visit_v_helio"][i], f"Heliocentric velocity (km/s), visit {k}"),
        *_template_cards(str(k), star),
        _card(f"SNRVIS{k}", star["visit_snr"][i], f"Signal/Noise ratio, visit {k}"),
        _card(f"FLAG{k}", star["starflag"], f"STARFLAG for visit {k}"),
    ]


def _grid_cards(layout: str) -> list[str]:
    """Return the cards of the wavelength grid; in DR14 also those of the detectors' edges, and remarks on the rows."""
    edges = [
        _card(detector + name, value, "pixel of chip contribution")
        for detector, (first, last) in reversed(list(zip("BGR", ILLUMINATED, strict=True)))
        for name, value in (("MIN", first - 6), ("MAX", last + 6), ("OVERMIN", first + 6), ("OVERMAX", last - 6))
    ]
    return [
        *(edges if layout == "dr14" else []),
        _remark("COMMENT", " Wavelength polynomial coefficients (Ang):"),
        _card("NWAVE", N_PIXELS_APSTAR, "Number of wavelengths in subsequent HDUs"),
        _card("CRVAL1", CRVAL1, "Start log10(wavelength) in subsequent HDUs"),
        f"{'CDELT1':<8}= {CDELT1:>20} / Dispersion in log10(wavelength) in HDUs".ljust(80),
        _card("CRPIX1", 1, "Pixel of starting wavelength in subsequent HDUs"),
        _card("CTYPE1", "LOG-LINEAR", "Logarithmic wavelength scale in subsequent HDUs"),
        _card("DC-FLAG", 1, "Logarithmic wavelength scale in subsequent HDUs"),
        *(_remark("HISTORY", f" {line}") for line in HISTORY if layout == "dr14"),
    ]


def _visit_times(star: Mapping) -> np.ndarray:
    """Return the Julian dates of all visits: mid-exposure at 8:52:48 UT."""
    return 2_400_000.5 + np.asarray(star["visit_mjd"]) + 0.37


def _doppler_shifts(star: Mapping) -> np.ndarray:
    """Return the observed radial velocities of all visits [km/s], before the barycentric correction."""
    return np.asarray(star["visit_v_helio"]) - np.asarray(star["visit_bc"])


def _template_cards(visit: str, star: Mapping) -> list[str]:
    """Return the parameters of the template, from a coarse grid, against which radial velocities are measured."""
    values = {
        "RVFEH": ("metallicity [Fe/H]", np.round(star["fe_h"] * 2) / 2),
        "RVTEFF": ("effective temperature (K)", np.round(star["teff"] / 250) * 250),
        "RVLOGG": ("surface gravity (dex)", np.round(star["logg"])),
        "RVALPH": ("alpha abundance", 0.0),
        "RVCARB": ("carbon abundance", 0.0),
    }
    return [_card(name + visit, float(value), f"{text} from RV mini-grid") for name, (text, value) in values.items()]


def _visit_file(star: Mapping, i: int) -> str:
    kind, reduction, _ = star["spectrum_file"].split("-", 2)
    visit = f"{int(star['location_id'])}-{int(star['visit_mjd'][i])}-{int(star['visit_fibre'][i]):03d}"
    return f"{kind.removesuffix('C').replace('Star', 'Visit')}-{reduction}-{visit}.fits"


@cache
def _velocity_template(n_visits: int, name_width: int) -> tuple[bytes, np.dtype]:
    """Return header and record type of HDU 9, whose visit names have `name_width` letters."""
    n, rows = n_visits, n_visits + 2
    two = 1 if n == 1 else rows
    columns = [
        ("FILE", f"{name_width * n}A", f"({name_width},{n})"),
        ("FIBER", f"{n}I", None),
        ("PLATE", f"{4 * n}A", f"(4,{n})"),
    ]
    columns += [("MJD", f"{n}J", None), ("LOCID", f"{n}I", None), ("JD", f"{n}D", None)]
    columns += [(name, f"{n}E", None) for name in ("VREL", "VRELERR", "VHELIO", "BC")]
    columns += [("BINARY", "2I", None)]
    columns += [
        (name, "2E", None) for name in ("STABLERV_CHI2", "STABLERV_RCHI2", "CHI2_THRESHOLD", "STABLERV_CHI2_PROB")
    ]
    columns += [(name, "E", None) for name in ("TEFF", "LOGG", "FEH", "ALPHA", "CARBON")]
    columns += [(name, f"{n}E", None) for name in ("SYNTHVREL", "SYNTHVHELIO", "SYNTHVRELERR")]
    columns += [(name, f"{401 * two}E", f"(401,{two})") for name in ("CCF", "CCFERR")]
    columns += [("CCFLAG", "401E", None), ("CCFW0", "D", None), ("CCFDW", "D", None), ("AUTOCF", "401E", None)]
    table = fits.BinTableHDU.from_columns(
        [fits.Column(name=name, format=kind, dim=shape) for name, kind, shape in columns], nrows=1
    )
    return table.header.tostring(padding=True).encode("ascii"), table.data.dtype


def _velocity_table(star: Mapping, n_visits: int) -> tuple[bytes, bytes]:
    """Return header and data of HDU 9, the table of radial velocities."""
    names = np.array([_visit_file(star, i) for i in range(n_visits)], "S")
    header, kind = _velocity_template(n_visits, names.itemsize)
    row = np.zeros(1, kind)
    visit = slice(0, n_visits)
    v_rad = _doppler_shifts(star)[visit]
    lag = np.arange(-200.0, 201.0)
    peak = np.exp(-0.5 * (lag / 2.2) ** 2)
    values = {
        "FIBER": star["visit_fibre"][visit],
        "MJD": star["visit_mjd"][visit],
        "LOCID": star["location_id"],
        "JD": _visit_times(star)[visit],
        "VREL": v_rad,
        "VRELERR": star["visit_v_error"][visit],
        "VHELIO": star["visit_v_helio"][visit],
        "BC": star["visit_bc"][visit],
        "BINARY": int(star["v_scatter"] > 1),
        "TEFF": round(float(star["teff"]) / 250) * 250,
        "LOGG": round(float(star["logg"])),
        "FEH": round(float(star["fe_h"]) * 2) / 2,
        "SYNTHVREL": v_rad,
        "SYNTHVHELIO": star["visit_v_helio"][visit],
        "SYNTHVRELERR": star["visit_v_error"][visit],
        "CCF": peak,
        "CCFERR": 0.01,
        "CCFLAG": lag,
        "CCFW0": 15100.80154164,
        "CCFDW": 6e-6,
        "AUTOCF": peak,
    }
    for name, value in values.items():
        row[name] = value
    row["FILE"] = names.reshape(row["FILE"].shape)
    row["PLATE"] = np.full(n_visits, str(int(star["location_id"])), "S4").reshape(row["PLATE"].shape)
    return header, _padded(row.tobytes())
