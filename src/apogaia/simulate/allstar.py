"""The allStar table with DR14's column names, types and placeholders for unknown values.

Bulky columns that nothing reads are left out: covariances and per-class fits of ASPCAP (PARAM_COV, FPARAM_COV,
FPARAM_CLASS, CHI2_CLASS) and the keys of the visit table (ALL_VISITS, ALL_VISIT_PK, VISIT_PK).
"""

from __future__ import annotations

import numpy as np

from apogaia.simulate.imperfections import STARFLAG_BITS

__all__ = ["ASPCAP_ELEMENTS", "CATALOGUE_ELEMENTS", "allstar_columns", "stellar_parameter_columns"]

Stars = dict[str, np.ndarray]  # columns by name

UNKNOWN, UNKNOWN_MAG = -9999.0, -9999.99

# Order of ASPCAP's 26 elements, and of the 22 values of the stellar-parameter catalogue.
ASPCAP_ELEMENTS = (
    "C CI N O NA MG AL SI P S K CA TI TIII V CR MN FE CO NI CU GE RB Y ND".split()
)  # 25 named columns; the arrays have a 26th element that no column names
CATALOGUE_ELEMENTS = "C CI N O NA MG AL SI P S K CA TI TIII V CR MN FE CO NI".split()
SAME_ELEMENT = {"CI": "C", "TIII": "TI"}
N_ARRAY = 26

# Typical abundance errors [dex] at SNR 100: sharp for the strong and the many lines, poor for the weak.
ERROR_AT_100 = dict(
    zip(
        CATALOGUE_ELEMENTS,
        (.025, .04, .035, .03, .09, .02, .04, .022, .09, .04, .04, .025, .035, .09, .06, .05, .03, .015, .07, .02),
        strict=True,
    )
)  # fmt: skip


def _errors(snr: np.ndarray, at_100: float, floor: float) -> np.ndarray:
    """Return errors that fall as 1 / SNR to a floor."""
    return np.hypot(floor, at_100 * 100.0 / np.clip(snr, 10, 400) * 0.7)


def allstar_columns(rng: np.random.Generator, stars: Stars) -> Stars:
    """Return the columns of allStar, one row per star, in the table's order.

    Parameters
    ----------
    rng
        For ASPCAP's measurement errors.
    stars
        The designed survey, `design.Design.stars`.
    """
    n = len(stars["apogee_id"])
    unused = np.full(n, UNKNOWN_MAG, np.float32)
    return {
        **_identity(stars),
        **_two_mass(stars),
        "RA": stars["ra"],
        "DEC": stars["dec"],
        "GLON": stars["glon"],
        "GLAT": stars["glat"],
        **_observation(stars),
        **_velocities(stars),
        "APOGEE2_TARGET1": np.zeros(n, np.int32),
        "APOGEE2_TARGET2": np.zeros(n, np.int32),
        "APOGEE2_TARGET3": np.zeros(n, np.int32),
        "MEANFIB": stars["visit_fibre"][:, 0].astype(np.float32),
        "SIGFIB": np.zeros(n, np.float32),
        "SNREV": (stars["snr"] * 0.95).astype(np.float32),
        "APSTAR_VERSION": np.full(n, "stars"),
        "ASPCAP_VERSION": np.full(n, "l31c"),
        "RESULTS_VERSION": np.full(n, "l31c.2"),
        "EXTRATARG": (np.where(stars["is_repeat"], 16, 0) | np.where(_is_commissioning(stars), 2, 0)).astype(np.int16),
        "MIN_H": stars["cohort_min_h_mag"].astype(np.float32),
        "MAX_H": stars["cohort_max_h_mag"].astype(np.float32),
        "MIN_JK": stars["min_j_k_mag"].astype(np.float32),
        "MAX_JK": np.full(n, 9999.0, np.float32),
        **_aspcap(rng, stars),
        "REDUCTION_ID": stars["apogee_id"],
        "SRC_H": np.full(n, "2MASS"),
        **{f"{band}{e}": unused for band in ("WASH_M", "WASH_T2", "DDO51") for e in ("", "_ERR")},
        **{f"IRAC_{band}{e}": unused for band in ("3_6", "4_5", "5_8", "8_0") for e in ("", "_ERR")},
        **_extinction(stars),
        "WASH_DDO51_GIANT_FLAG": np.full(n, -1, np.int16),
        "WASH_DDO51_STAR_FLAG": np.full(n, 1, np.int16),
        "PMRA": np.zeros(n, np.float32),
        "PMDEC": np.zeros(n, np.float32),
        "PM_SRC": np.full(n, "none"),
        "VISITS": _visit_names(stars),
    }


def _is_commissioning(stars: Stars) -> np.ndarray:
    """Return whose file holds a spectrum from the commissioning of the instrument."""
    return np.char.find(stars["spectrum_file"], "StarC-") >= 0


def _identity(stars: Stars) -> Stars:
    """Return ids, file, telescope and field; ids name telescope, kind of survey ("c": commissioning), field, star."""
    location = stars["location_id"].astype(np.int16)
    target = [f"{where}.{name}" for where, name in zip(location, stars["apogee_id"], strict=True)]
    kind = np.where(_is_commissioning(stars), "c", "s")
    parts = list(zip(stars["telescope"], kind, target, strict=True))
    return {
        "APSTAR_ID": np.array([f"apogee.{t}.{k}.stars.{p}" for t, k, p in parts]),
        "TARGET_ID": np.array(target),
        "ASPCAP_ID": np.array([f"apogee.{t}.{k}.l31c.2.{p}" for t, k, p in parts]),
        "FILE": stars["spectrum_file"],
        "APOGEE_ID": stars["apogee_id"],
        "TELESCOPE": stars["telescope"],
        "LOCATION_ID": location,
        "FIELD": stars["field"],
    }


def _observation(stars: Stars) -> Stars:
    """Return targeting flags, visits, SNR and the flags of the spectra."""
    n = len(stars["apogee_id"])
    return {
        "APOGEE_TARGET1": np.full(n, -2147481584, np.int32),
        "APOGEE_TARGET2": np.where(stars["telluric"], 512, 0).astype(np.int32),
        "APOGEE_TARGET3": np.zeros(n, np.int32),
        "TARGFLAGS": np.where(stars["telluric"], "APOGEE_TELLURIC", "APOGEE_WISE_DERED,APOGEE_SHORT"),
        "SURVEY": np.full(n, "apogee"),
        "NINST": np.stack([np.zeros(n), stars["n_visits"], np.zeros(n)], axis=1).astype(np.int32),
        "NVISITS": stars["n_visits"].astype(np.int32),
        "COMBTYPE": np.zeros(n, np.int32),
        "COMMISS": stars["commissioning"].astype(np.int16),
        "SNR": stars["snr"].astype(np.float32),
        "STARFLAG": stars["starflag"],
        "STARFLAGS": _flag_names(stars["starflag"]),
        "ANDFLAG": stars["andflag"],
        "ANDFLAGS": _flag_names(stars["andflag"]),
    }


def _two_mass(stars: Stars) -> Stars:
    columns = {}
    for band in ("j", "h", "k"):
        magnitude = stars[f"{band}_mag"].copy()
        error = stars[f"{band}_mag_error"].copy()
        if band == "k":
            magnitude[stars["k_is_nan"]] = np.nan
            magnitude[stars["k_is_missing"]] = UNKNOWN_MAG
            error[stars["k_is_nan"] | stars["k_is_missing"]] = UNKNOWN_MAG
        columns[band.upper()] = magnitude.astype(np.float32)
        columns[f"{band.upper()}_ERR"] = error.astype(np.float32)
    return columns


def _velocities(stars: Stars) -> Stars:
    """Return radial velocities, the templates they were measured with, and tests of their constancy."""
    single = {}
    scatter = stars["v_scatter"]
    for prefix in ("", "OBS", "SYNTH"):
        single[f"{prefix}VHELIO_AVG"] = stars["v_helio"]
        single[f"{prefix}VSCATTER"] = scatter
        single[f"{prefix}VERR"] = stars["v_error"]
        single[f"{prefix}VERR_MED"] = np.nanmedian(
            np.where(stars["visit_mjd"] > 0, stars["visit_v_error"], np.nan), axis=1
        )
    single |= {
        "RV_TEFF": np.round(stars["teff"] / 250) * 250,
        "RV_LOGG": np.round(stars["logg"]),
        "RV_FEH": np.round(stars["fe_h"] * 2) / 2,
        "RV_ALPHA": np.zeros(len(scatter)),
        "RV_CARB": np.zeros(len(scatter)),
        "RV_CCFWHM": np.hypot(19.0, 2.35 * stars["v_broad"]),
        "RV_AUTOFWHM": np.full(len(scatter), 19.0),
        "SYNTHSCATTER": np.full(len(scatter), 0.05),
    }
    chi2 = np.where(stars["n_visits"] > 1, (scatter / stars["v_error"]) ** 2, -1.0)
    pairs = {
        "STABLERV_CHI2": chi2,
        "STABLERV_RCHI2": np.where(chi2 >= 0, chi2 / np.maximum(stars["n_visits"] - 1, 1), -1.0),
        "CHI2_THRESHOLD": np.where(chi2 >= 0, 13.8, -1.0),
        "STABLERV_CHI2_PROB": np.where(chi2 >= 0, np.exp(-chi2 / 2), -1.0),
    }
    columns = {name: values.astype(np.float32) for name, values in single.items()}
    return columns | {name: np.stack([values, values], axis=1).astype(np.float32) for name, values in pairs.items()}


def _flag_names(flags: np.ndarray) -> np.ndarray:
    return np.array(
        [",".join(name for name, bit in STARFLAG_BITS.items() if flag >> bit & 1) for flag in flags.tolist()]
    )


def _visit_names(stars: Stars) -> np.ndarray:
    return np.array(
        [
            ",".join(f"r8-{where}-{mjd}-{fibre:03d}" for mjd, fibre in zip(mjds, fibres, strict=True) if mjd)
            for where, mjds, fibres in zip(
                stars["location_id"].tolist(), stars["visit_mjd"].tolist(), stars["visit_fibre"].tolist(), strict=True
            )
        ]
    )


def _extinction(stars: Stars) -> Stars:
    w2 = np.where(stars["no_w2"], UNKNOWN_MAG, stars["w2_mag"]).astype(np.float32)
    w2_error = np.where(stars["no_w2"], UNKNOWN_MAG, stars["w2_mag_error"]).astype(np.float32)
    return {
        "WISE_4_5": w2,
        "WISE_4_5_ERR": w2_error,
        "TARG_4_5": w2,
        "TARG_4_5_ERR": w2_error,
        "AK_TARG": np.where(np.isnan(stars["a_k_targ"]), UNKNOWN_MAG, stars["a_k_targ"]).astype(np.float32),
        "AK_TARG_METHOD": stars["a_k_targ_method"],
        "AK_WISE": np.where(np.isnan(stars["a_k_wise"]), UNKNOWN_MAG, stars["a_k_wise"]).astype(np.float32),
        "SFD_EBV": stars["sfd_ebv"].astype(np.float32),
    }


def _truth_of(stars: Stars, element: str) -> np.ndarray:
    name = SAME_ELEMENT.get(element, element)
    return stars[f"{name.lower()}_h"]


def _aspcap(rng: np.random.Generator, stars: Stars) -> Stars:
    """Return ASPCAP's results: calibrated for giants, log g unknown for dwarfs, nothing at all for a few stars."""
    n = len(stars["teff"])
    snr = stars["snr"]
    failed = stars["no_parameters"]
    dwarf = stars["logg"] > 3.9
    teff_error = _errors(snr, 45.0, 50.0)
    logg_error = _errors(snr, 0.05, 0.06)
    teff = stars["teff"] + teff_error * rng.normal(size=n)
    logg = stars["logg"] + logg_error * rng.normal(size=n)
    x_h, x_h_error = _aspcap_abundances(rng, stars)
    iron = ASPCAP_ELEMENTS.index("FE")
    alpha_error = _errors(snr, 0.02, 0.012)

    def value(numbers: np.ndarray, unknown: np.ndarray = failed) -> np.ndarray:
        return np.where(unknown, UNKNOWN, numbers).astype(np.float32)

    parameters = {
        "TEFF": value(teff),
        "TEFF_ERR": value(teff_error),
        "LOGG": value(logg, failed | dwarf),
        "LOGG_ERR": value(logg_error, failed | dwarf),
        "VMICRO": value(stars["v_micro"]),
        "VMACRO": value(stars["v_broad"], failed | dwarf),
        "VSINI": value(stars["v_broad"], failed | ~dwarf),
        "M_H": value(x_h[:, iron]),
        "M_H_ERR": x_h_error[:, iron],
        "ALPHA_M": value(stars["alpha_fe"] + alpha_error * rng.normal(size=n)),
        "ALPHA_M_ERR": value(alpha_error),
        "ASPCAP_CHI2": value(1.5 + (snr / 200) ** 2),
    }
    order = ("TEFF", "LOGG", "VMICRO", "M_H", None, None, "ALPHA_M", "VMACRO", None)
    blank = np.full(n, UNKNOWN, np.float32)
    array = np.stack([parameters[name] if name else blank for name in order], axis=1)
    classes = np.where(failed, "", np.where(dwarf, "GKd_c", np.where(stars["teff"] < 3700, "Mg_c", "GKg_c")))
    columns = {"PARAM": array, "FPARAM": array} | parameters
    columns |= {
        "ASPCAP_CLASS": classes,
        "ASPCAPFLAG": np.where(failed, 1 << 23, 0).astype(np.int32),
        "ASPCAPFLAGS": np.where(failed, "STAR_BAD", ""),
        "PARAMFLAG": np.zeros((n, 9), np.int32),
    }
    return columns | _abundance_columns(x_h, x_h_error)


def _aspcap_abundances(rng: np.random.Generator, stars: Stars) -> tuple[np.ndarray, np.ndarray]:
    """Return measured [X/H] and their errors [dex], (n, 26) each, in ASPCAP's order of elements."""
    n, failed = len(stars["teff"]), stars["no_parameters"]
    x_h = np.full((n, N_ARRAY), UNKNOWN, np.float32)
    x_h_error = np.full((n, N_ARRAY), UNKNOWN, np.float32)
    for k, element in enumerate(ASPCAP_ELEMENTS):
        if element in CATALOGUE_ELEMENTS:
            error = _errors(stars["snr"], ERROR_AT_100[element], 0.01)
            x_h[:, k] = np.where(failed, UNKNOWN, _truth_of(stars, element) + error * rng.normal(size=n))
            x_h_error[:, k] = np.where(failed, UNKNOWN, error)
    return x_h, x_h_error


def _abundance_columns(x_h: np.ndarray, x_h_error: np.ndarray) -> Stars:
    """Return the arrays of abundances and one named column per element, with errors and flags."""
    known = x_h > UNKNOWN
    x_m = np.where(known, x_h - x_h[:, ASPCAP_ELEMENTS.index("FE")][:, None], UNKNOWN).astype(np.float32)
    columns = {"FELEM": x_m, "FELEM_ERR": x_h_error, "X_H": x_h, "X_H_ERR": x_h_error, "X_M": x_m, "X_M_ERR": x_h_error}
    named = [(k, element, "FE_H" if element == "FE" else f"{element}_FE") for k, element in enumerate(ASPCAP_ELEMENTS)]
    columns |= {name: (x_h if element == "FE" else x_m)[:, k].copy() for k, element, name in named}
    columns |= {f"{name}_ERR": x_h_error[:, k].copy() for k, _, name in named}
    columns |= {f"{name}_FLAG": np.where(known[:, k], 0, 2).astype(np.int32) for k, _, name in named}
    return columns | {
        "ELEM_CHI2": np.where(known, 2.0, UNKNOWN).astype(np.float32),
        "ELEMFLAG": np.where(known, 0, 2).astype(np.int32),
    }


def stellar_parameter_columns(rng: np.random.Generator, stars: Stars) -> Stars:
    """Return the neural network's 22 stellar parameters and their errors, -9999 where there is no spectrum."""
    n = len(stars["teff"])
    snr = stars["snr"]
    unknown = stars["no_parameters"] | stars["one_metre"] | (stars["spectrum_state"] != "")
    errors = {"teff": _errors(snr, 30.0, 25.0), "logg": _errors(snr, 0.05, 0.045)}
    truth = {"teff": stars["teff"], "logg": stars["logg"]}
    for element in CATALOGUE_ELEMENTS:
        errors[element] = _errors(snr, 0.7 * ERROR_AT_100[element], 0.012)
        truth[element] = _truth_of(stars, element)
    values = np.stack([truth[name] + errors[name] * rng.normal(size=n) for name in truth], axis=1)
    spread = np.stack([errors[name] for name in truth], axis=1)
    values[unknown], spread[unknown] = UNKNOWN, UNKNOWN
    return {"astroNN": values.astype(np.float32), "astroNN_error": spread.astype(np.float32)}
