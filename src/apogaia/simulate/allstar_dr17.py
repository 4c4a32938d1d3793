"""The tables of DR17: allStar with its names, order and placeholders, and stellar parameters with a column per label.

Columns that DR14's table also has come from `allstar`. Columns that nothing reads are left out: the arrays of ASPCAP
(FPARAM_GRID to ELEMFLAG, X_H_SPEC, X_M_SPEC), whose widths differ from DR14's, and VISIT_PK.
"""

from __future__ import annotations

import numpy as np

from apogaia.simulate.allstar import CATALOGUE_ELEMENTS, UNKNOWN_MAG, allstar_columns, stellar_parameter_columns

__all__ = ["allstar_dr17_columns", "stellar_parameter_dr17_columns"]

BAD_MAG = 99.999  # an unknown 2MASS magnitude
ELEMENTS = (*CATALOGUE_ELEMENTS, "CU", "CE", "YB")

GAIA = {  # column of allStar without GAIAEDR3_, and of Gaia
    "PARALLAX": "parallax",
    "PARALLAX_ERROR": "parallax_error",
    "PMRA": "pmra",
    "PMRA_ERROR": "pmra_error",
    "PMDEC": "pmdec",
    "PMDEC_ERROR": "pmdec_error",
    "PHOT_G_MEAN_MAG": "phot_g_mean_mag",
}

# In the order of allStar-dr17-synspec_rev1.fits.
ORDER = """
FILE APOGEE_ID TARGET_ID APSTAR_ID ASPCAP_ID TELESCOPE LOCATION_ID FIELD ALT_ID RA DEC GLON GLAT
J J_ERR H H_ERR K K_ERR SRC_H WASH_M WASH_M_ERR WASH_T2 WASH_T2_ERR DDO51 DDO51_ERR
IRAC_3_6 IRAC_3_6_ERR IRAC_4_5 IRAC_4_5_ERR IRAC_5_8 IRAC_5_8_ERR IRAC_8_0 IRAC_8_0_ERR WISE_4_5 WISE_4_5_ERR
TARG_4_5 TARG_4_5_ERR WASH_DDO51_GIANT_FLAG WASH_DDO51_STAR_FLAG TARG_PMRA TARG_PMDEC TARG_PM_SRC
AK_TARG AK_TARG_METHOD AK_WISE SFD_EBV APOGEE_TARGET1 APOGEE_TARGET2
APOGEE2_TARGET1 APOGEE2_TARGET2 APOGEE2_TARGET3 APOGEE2_TARGET4 TARGFLAGS SURVEY PROGRAMNAME
NVISITS SNR SNREV STARFLAG STARFLAGS ANDFLAG ANDFLAGS VHELIO_AVG VSCATTER VERR
RV_TEFF RV_LOGG RV_FEH RV_ALPHA RV_CARB RV_CHI2 RV_CCFWHM RV_AUTOFWHM RV_FLAG N_COMPONENTS MEANFIB SIGFIB
MIN_H MAX_H MIN_JK MAX_JK GAIAEDR3_SOURCE_ID GAIAEDR3_PARALLAX GAIAEDR3_PARALLAX_ERROR GAIAEDR3_PMRA
GAIAEDR3_PMRA_ERROR GAIAEDR3_PMDEC GAIAEDR3_PMDEC_ERROR GAIAEDR3_PHOT_G_MEAN_MAG GAIAEDR3_PHOT_BP_MEAN_MAG
GAIAEDR3_PHOT_RP_MEAN_MAG GAIAEDR3_DR2_RADIAL_VELOCITY GAIAEDR3_DR2_RADIAL_VELOCITY_ERROR
GAIAEDR3_R_MED_GEO GAIAEDR3_R_LO_GEO GAIAEDR3_R_HI_GEO GAIAEDR3_R_MED_PHOTOGEO GAIAEDR3_R_LO_PHOTOGEO
GAIAEDR3_R_HI_PHOTOGEO ASPCAP_GRID ASPCAP_CHI2 ASPCAPFLAG ASPCAPFLAGS FRAC_BADPIX FRAC_LOWSNR FRAC_SIGSKY
EXTRATARG MEMBERFLAG MEMBER TEFF TEFF_ERR LOGG LOGG_ERR M_H M_H_ERR ALPHA_M ALPHA_M_ERR VMICRO VMACRO VSINI
TEFF_SPEC LOGG_SPEC
""".split()


def allstar_dr17_columns(
    rng: np.random.Generator, stars: dict[str, np.ndarray], sources: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the columns of allStar, one row per star.

    Unknown values are NaN in results of ASPCAP and Gaia, 99.999 in 2MASS magnitudes, -9999.99 in targeting columns.

    Parameters
    ----------
    rng
        For ASPCAP's measurement errors.
    stars, sources
        The designed survey, `design.Design`.
    """
    n = len(stars["apogee_id"])
    dr14 = allstar_columns(rng, stars)
    target = [".".join(parts) for parts in zip(stars["telescope"], stars["field"], stars["apogee_id"], strict=True)]
    nothing = np.full(n, np.nan, np.float32)
    k_unknown = stars["k_is_nan"] | stars["k_is_missing"]
    columns = dr14 | {
        "TARGET_ID": np.array(target),
        "APSTAR_ID": np.array([f"apogee.{where.replace('.', '.stars.', 1)}" for where in target]),
        "ASPCAP_ID": np.array([f"apogee.{where.replace('.', '.synspec_rev1.', 1)}" for where in target]),
        "LOCATION_ID": stars["location_id"].astype(np.int32),
        "ALT_ID": np.full(n, ""),
        "K": np.where(k_unknown, BAD_MAG, stars["k_mag"]).astype(np.float32),
        "K_ERR": np.where(k_unknown, BAD_MAG, stars["k_mag_error"]).astype(np.float32),
        "TARG_PMRA": dr14["PMRA"],
        "TARG_PMDEC": dr14["PMDEC"],
        "TARG_PM_SRC": dr14["PM_SRC"],
        "APOGEE2_TARGET4": np.zeros(n, np.int32),
        "PROGRAMNAME": np.where(stars["any_colour"] | stars["telluric"], "", "disk"),
        "STARFLAG": stars["starflag"].astype(np.int64),
        "ANDFLAG": stars["andflag"].astype(np.int64),
        "RV_CHI2": nothing,
        "RV_FLAG": np.zeros(n, np.int32),
        "N_COMPONENTS": np.ones(n, np.int32),
        **_gaia(stars, sources),
        "ASPCAP_GRID": dr14["ASPCAP_CLASS"],
        "ASPCAPFLAG": dr14["ASPCAPFLAG"].astype(np.int64),
        **{f"FRAC_{what}": np.zeros(n, np.float32) for what in ("BADPIX", "LOWSNR", "SIGSKY")},
        "MEMBERFLAG": np.zeros(n, np.int64),
        "MEMBER": np.full(n, ""),
        "TEFF_SPEC": dr14["TEFF"],
        "LOGG_SPEC": np.where(stars["no_parameters"], UNKNOWN_MAG, stars["logg"]).astype(np.float32),
    }
    order = list(ORDER)
    for element in ELEMENTS:
        name = "FE_H" if element == "FE" else f"{element}_FE"
        columns[f"{name}_SPEC"] = columns.get(name, nothing)
        order += [name, f"{name}_SPEC", f"{name}_ERR", f"{name}_FLAG"]
    columns = {"CE_FE_FLAG": dr14["CU_FE_FLAG"], "YB_FE_FLAG": dr14["CU_FE_FLAG"]} | columns
    columns = {name: columns.get(name, nothing) for name in order}
    aspcap = order[order.index("ASPCAP_CHI2") :]
    return columns | {name: _nan_if_unknown(columns[name]) for name in ("RV_TEFF", "RV_LOGG", "RV_FEH", *aspcap)}


def _nan_if_unknown(values: np.ndarray) -> np.ndarray:
    return np.where(values < -9000, np.nan, values).astype(values.dtype) if values.dtype.kind == "f" else values


def _gaia(stars: dict[str, np.ndarray], sources: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return Gaia's source of each star, as the release matched it."""
    row, known = stars["gaia_row"], stars["gaia_row"] >= 0
    columns = {"GAIAEDR3_SOURCE_ID": stars["gaia_source_id"]}
    for ours, theirs in GAIA.items():
        columns[f"GAIAEDR3_{ours}"] = np.where(known, sources[theirs][row], np.nan).astype(np.float32)
    return columns


def stellar_parameter_dr17_columns(rng: np.random.Generator, stars: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the neural network's stellar parameters, each with its error, NaN where there is no spectrum."""
    dr14 = stellar_parameter_columns(rng, stars)
    columns = {
        "APOGEE_ID": stars["apogee_id"],
        "LOCATION_ID": stars["location_id"].astype(np.int32),
        "TELESCOPE": stars["telescope"],
        "RA_APOGEE": stars["ra"],
        "DEC_APOGEE": stars["dec"],
    }
    for k, label in enumerate(("TEFF", "LOGG", *(f"{element}_H" for element in CATALOGUE_ELEMENTS))):
        columns[label] = _nan_if_unknown(dr14["astroNN"][:, k])
        columns[f"{label}_ERR"] = _nan_if_unknown(dr14["astroNN_error"][:, k])
    return columns
