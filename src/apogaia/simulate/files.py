"""Writing the simulated survey in the real formats: tables, and one apStar file per star."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from apogaia.formats.survey_tables import write_gaia, write_table
from apogaia.physics.luminosity import SUN_ABSMAG
from apogaia.simulate import evolution, population
from apogaia.simulate.allstar import allstar_columns, stellar_parameter_columns
from apogaia.simulate.allstar_dr17 import allstar_dr17_columns, stellar_parameter_dr17_columns
from apogaia.simulate.apstar import apstar_bytes, smallest_size, write_whole
from apogaia.simulate.chemistry import ELEMENTS
from apogaia.simulate.design import Design
from apogaia.simulate.mwm_tables import mwm_allstar_columns, stellar_parameter_mwm_columns
from apogaia.simulate.spectrograph import BAD_ERROR, Observation
from apogaia.workspace import Workspace

__all__ = ["is_written", "write_apstar", "write_tables"]

MWM_UNITS = {
    **dict.fromkeys(("ra", "dec", "l", "b"), "deg"),
    **dict.fromkeys(("plx", "e_plx"), "mas"),
    **dict.fromkeys(("pmra", "e_pmra", "pmde", "e_pmde"), "mas / yr"),
    **dict.fromkeys(("g_mag", "bp_mag", "rp_mag", "j_mag", "h_mag", "k_mag", "e_k_mag", "ebv"), "mag"),
    **dict.fromkeys(("v_rad", "std_v_rad"), "km / s"),
}


def write_tables(design: Design, workspace: Workspace) -> None:
    """Write allStar, the Gaia sources, the stellar parameters and the truth."""
    rng = np.random.default_rng([design.seed, 5])
    release = workspace.release
    if release.name == "dr19":
        write_table(
            workspace.allstar, mwm_allstar_columns(design.stars, design.sources), MWM_UNITS, release.allstar.hdu
        )
        parameters = stellar_parameter_mwm_columns(rng, design.stars)
        write_table(workspace.stellar_parameters, parameters, hdu=release.stellar_parameters.hdu)
    elif release.name == "dr17":
        write_table(workspace.allstar, allstar_dr17_columns(rng, design.stars, design.sources))
        write_table(workspace.stellar_parameters, stellar_parameter_dr17_columns(rng, design.stars))
    else:
        write_table(workspace.allstar, allstar_columns(rng, design.stars))
        write_table(workspace.stellar_parameters, stellar_parameter_columns(rng, design.stars))
    if not release.gaia_in_allstar:
        write_gaia(workspace.gaia, design.sources)
    truth, units = truth_columns(design.stars)
    write_table(workspace.truth, truth, units)


def truth_columns(stars: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the truth of every row of allStar, column by column, and the columns' units."""
    k_abs = stars["k_abs_mag"]
    parallax = 1.0 / stars["distance_kpc"]
    described = {
        "teff": "K",
        "logg": "dex",
        "mass_msun": "solMass",
        "radius_rsun": "solRad",
        "luminosity_lsun": "solLum",
        "age_gyr": "Gyr",
        "alpha_fe": "dex",
        **{f"{element.lower()}_h": "dex" for element in ELEMENTS},
        "v_micro": "km / s",
        "v_broad": "km / s",
        "distance_kpc": "kpc",
        "x_kpc": "kpc",
        "y_kpc": "kpc",
        "z_kpc": "kpc",
        "a_k_true_mag": "mag",
        "k_abs_mag": "mag",
        "hidden_mag": "mag",
        "companion_mag": "mag",
        "orbit_days": "d",
        "orbit_km_s": "km / s",
        "orbit_au": "AU",
        **{f"{band}_true_mag": "mag" for band in ("j", "h", "k", "w2", "g", "bp_rp")},
        "ra_true": "deg",
        "dec_true": "deg",
        "pmra_true": "mas / yr",
        "pmdec_true": "mas / yr",
        "v_helio_true": "km / s",
        "zero_point": "mas",
        "sky_error": "mas",
    }
    columns = {
        "apogee_id": stars["apogee_id"],
        "location_id": stars["location_id"],
        "gaia_source_id": stars["gaia_source_id"],
        "component": np.array(population.COMPONENTS)[stars["component"]],
        "stage": np.array(evolution.STAGES)[stars["stage"]],
        **{name: stars[name] for name in described},
        "parallax_true": parallax,
        "fakemag_true": 10 ** (0.2 * k_abs + 2),
        "log_luminosity_k": 0.4 * (SUN_ABSMAG["Ks"] - k_abs),
        "k0_true_mag": k_abs - 5 * np.log10(parallax) + 10,
        "cohort_min_h_mag": stars["cohort_min_h_mag"],
        "cohort_max_h_mag": stars["cohort_max_h_mag"],
        "any_colour": stars["any_colour"],
        "telluric": stars["telluric"],
        "binary": stars["binary"],
        "is_repeat": stars["is_repeat"],
        # Words, since readers take an empty string for a missing value.
        "contamination": np.where(stars["contamination"] == "", "none", stars["contamination"]),
        "spectrum_state": np.where(stars["spectrum_state"] == "", "whole", stars["spectrum_state"]),
    }
    units = described | {"parallax_true": "mas", "fakemag_true": "mas", "k0_true_mag": "mag"}
    # Logarithms (dex) bear no unit in the file: the FITS standard has none for them.
    return columns, {name: unit for name, unit in units.items() if unit != "dex"}


def write_apstar(path: Path, rng: np.random.Generator, observation: Observation, star: Mapping) -> None:
    """Write one star's apStar file in the state that the design asks for: complete, cut, blank, or with NaN errors."""
    state = star["spectrum_state"]
    if state == "blank":
        observation = replace(
            observation,
            flux=np.zeros_like(observation.flux),
            error=np.full_like(observation.error, BAD_ERROR),
            mask=np.ones_like(observation.mask),
        )
    elif state == "NaN errors":
        observation = replace(observation, error=np.full_like(observation.error, np.nan))
    content = apstar_bytes(observation, star)
    if state == "cut":
        content = content[: int(len(content) * rng.uniform(0.05, 0.55))]
    write_whole(path, content)


def is_written(path: Path, star: Mapping) -> bool:
    """Return whether an earlier run completed this file; a file to be cut counts if it is not empty."""
    if not path.is_file():
        return False
    return path.stat().st_size >= (
        1 if star["spectrum_state"] == "cut" else smallest_size(int(star["n_visits"]), star["apstar_layout"])
    )
