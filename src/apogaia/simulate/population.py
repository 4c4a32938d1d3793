"""The stars that the simulated survey observes: drawn from a Galaxy, seen through dust, selected in H."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.coordinates import Galactic, SkyCoord
from astropy.utils import iers

from apogaia.physics.luminosity import rjce_a_k
from apogaia.physics.sun import SUN_DISTANCE_KPC, SUN_HEIGHT_KPC, SUN_VELOCITY_KM_S
from apogaia.simulate import chemistry, evolution, photometry
from apogaia.simulate.binaries import draw_binaries
from apogaia.simulate.fields import COHORTS, Field, survey_fields

__all__ = ["COMPONENTS", "draw_population", "galactic_space_density", "in_bin"]

Stars = dict[str, np.ndarray]  # columns by name

COMPONENTS = ("thin disc", "thick disc", "bar", "halo")
# km/s, Galactocentric, towards (centre, rotation, north). The second is the proper motion of Sgr A* at 8.122 kpc; at
# the 8.125 kpc used elsewhere it would be 245.7. Kept, because the motion of every simulated star follows from it.
SUN_VELOCITY = np.array([SUN_VELOCITY_KM_S[0], 245.6, SUN_VELOCITY_KM_S[2]])
CIRCULAR_VELOCITY = 230.0  # km/s

# Per component: velocity dispersions in R, phi, z and the lag behind circular rotation, all in km/s.
DISPERSION = np.array([[34.0, 24.0, 18.0], [62.0, 48.0, 38.0], [105.0, 95.0, 85.0], [150.0, 120.0, 110.0]])
LAG = np.array([12.0, 48.0, 130.0, 225.0])

# Relative numbers per volume of the stages (`evolution.STAGES`): dwarfs down to 0.2 Msun, and far fewer giants.
STAGE_NUMBERS = np.array([0.20, 3.5e-3, 7.0e-4, 3.0e-4, 1.5e-5])

# Luminosity scatter at given Teff, log g and abundances, and scatter of [C/N] about its relation with mass. Together
# with the clump's own width and the uncertainty of mass at given [C/N], they limit distances from spectra to some 8 %.
# Giants above log g 2 scatter more: they lose mass, and pulsate. Of the giants about the clump some have a spectrum
# that fits a star of the clump and one of the branch, which is the fainter of the two.
HIDDEN_SCATTER_MAG, HIDDEN_PER_DEX_MAG = 0.08, 0.05
CONFUSED_LOGG, CONFUSED_SHARE, CONFUSED_BRANCH_MAG, CONFUSED_CLUMP_MAG = (2.3, 2.6), 0.5, 0.25, -0.08
C_N_SCATTER_DEX = 0.05

# Telluric standards: 35 of some 300 fibres go to the bluest bright stars of a field (Zasowski et al. 2013).
TELLURIC_SHARE = 0.07
TELLURIC_H_MAG = (5.5, 11.0)
TELLURIC_MAX_J_K = 0.35
SPECIAL_SHARE = 0.05  # targets of other programmes, of any colour

LIBRARY_SIZE = 60_000  # stars per component
FIELD_RADIUS_DEG = 1.4


def galactic_space_density(
    x_kpc: float | np.ndarray, y_kpc: float | np.ndarray, z_kpc: float | np.ndarray
) -> np.ndarray:
    """Return the number density of each component relative to the thin disc at the Sun, shape (4, ...)."""
    big_r = np.hypot(x_kpc, y_kpc)
    z = np.abs(z_kpc)
    thin = np.exp((SUN_DISTANCE_KPC - big_r) / 2.6 - z / 0.30) * (1 - np.exp(-((big_r / 2.5) ** 3)))
    thick = 0.09 * np.exp((SUN_DISTANCE_KPC - big_r) / 2.2 - z / 0.9)
    along = chemistry.bar_radius(x_kpc, y_kpc)
    bar = 60.0 * np.exp(-np.hypot(along, z / 0.30) / 1.3) * np.exp(-(np.maximum(along - 4.5, 0) ** 2) / 0.5)
    halo = 0.003 * ((big_r**2 + (z / 0.7) ** 2 + 1) / SUN_DISTANCE_KPC**2) ** -1.5
    return np.stack([thin, thick, bar, halo])


def draw_population(n_stars: int, seed: int, layout: str = "apogee", southern: bool = False) -> Stars:
    """Draw the survey's stars field by field of `fields.survey_fields`; every array has one entry per star.

    Returns
    -------
    dict
        Truth (mass, age, composition, Teff, log g, radius, luminosity, position, velocity, absolute and apparent
        magnitudes, extinction) and the 2MASS and WISE measurements by which stars are selected.

    Notes
    -----
    Every field has its own random stream and so does not depend on the others.
    """
    fields = survey_fields(layout, southern)
    weights = np.array([field.weight for field in fields])
    counts = np.random.default_rng([seed, 0]).multinomial(n_stars, weights / weights.sum())
    library = _stellar_library(np.random.default_rng([seed, 1]))
    parts = [
        _draw_field(np.random.default_rng([seed, 2, k]), field, count, library)
        for k, (field, count) in enumerate(zip(fields, counts, strict=True))
        if count
    ]
    stars = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return stars | _sky_motion(np.random.default_rng([seed, 3]), stars)


def _stellar_library(rng: np.random.Generator) -> list[Stars]:
    """Return stars of each component (age, stage, phase, mass) sorted by absolute H, with cumulative numbers."""
    library = []
    for typical_m_h, (young, old) in zip((0.0, -0.3, -0.1, -1.1), ((0.8, 10), (8, 12), (5, 11), (11, 13)), strict=True):
        # As many of each stage, weighted by its number per volume, so that giants are not drowned by dwarfs.
        stage = np.arange(LIBRARY_SIZE) % len(evolution.STAGES)
        number = (STAGE_NUMBERS * len(evolution.STAGES) / LIBRARY_SIZE)[stage]
        age = rng.uniform(young, old, LIBRARY_SIZE)
        phase = rng.random(LIBRARY_SIZE)
        turnoff = evolution.turnoff_mass(age)
        mass = np.where(stage == 0, evolution.main_sequence_mass(rng.random(LIBRARY_SIZE), turnoff), turnoff)
        teff, logg = evolution.track(stage, phase, mass, age, typical_m_h)
        bright = evolution.luminosity(evolution.radius(mass, logg), teff)
        h = photometry.absolute_magnitudes(teff, logg, typical_m_h, bright)["h"]
        order = np.argsort(h, kind="stable")
        columns = {"age": age, "stage": stage, "phase": phase, "mass": mass, "h": h}
        library.append(
            {k: v[order] for k, v in columns.items()} | {"cumulative": np.append(0, np.cumsum(number[order]))}
        )
    return library


@dataclass(frozen=True)
class Sightline:
    """The Galaxy along a field's line of sight, in m shells of distance.

    Attributes
    ----------
    edges : (m + 1,) distances [kpc]
    density : (4, m) relative number of stars of each component in each shell
    a_k : (m,) extinction in Ks to the far edge of each shell [mag]
    """

    edges: np.ndarray
    density: np.ndarray
    a_k: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        """Geometric mean distance of each shell [kpc]."""
        return np.sqrt(self.edges[1:] * self.edges[:-1])


def _sightline(rng: np.random.Generator, field: Field) -> Sightline:
    edges = np.geomspace(0.02, 18.0, 220)
    x, y, z = _galactocentric(field.glon, field.glat, np.sqrt(edges[1:] * edges[:-1]))
    # Clouds differ from one line of sight to the next.
    clumpiness = np.exp(rng.normal(0, 0.50))
    a_k = np.cumsum(photometry.dust_density(x, y, z) * np.diff(edges)) * clumpiness
    return Sightline(edges, galactic_space_density(x, y, z) * (edges[1:] ** 3 - edges[:-1] ** 3), a_k)


def _draw_field(rng: np.random.Generator, field: Field, count: int, library: list[Stars]) -> Stars:
    """Draw the stars of one field: in each cohort, candidates until enough of them are selected."""
    sightline = _sightline(rng, field)
    cohorts = COHORTS[field.cohorts]
    standards = rng.binomial(count, TELLURIC_SHARE)
    wanted = [standards, *rng.multinomial(count - standards, [share for *_, share in cohorts]).tolist()]
    limits = [(*TELLURIC_H_MAG, cohorts[0][2]), *(cohort[:3] for cohort in cohorts)]
    parts = []
    for k, (bright, faint, visits) in enumerate(limits):
        found = 0
        while found < wanted[k]:
            n = 4 * wanted[k] + 40
            drawn = _candidates(rng, field, (bright, faint), n, library, sightline)
            drawn |= {"telluric": np.full(n, k == 0), "planned_visits": np.full(n, visits)}
            keep = np.flatnonzero(in_bin(drawn, field, bright, faint))[: wanted[k] - found]
            parts.append({name: values[keep] for name, values in drawn.items()})
            found += len(keep)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def in_bin(stars: Stars, field: Field, bright: float, faint: float) -> np.ndarray:
    """Apply APOGEE's selection: measured H within the bin, red dereddened J - Ks, or blue J - Ks of the standards."""
    j_k = stars["j_mag"] - stars["k_mag"]
    red = j_k - 1.5 * np.maximum(stars["a_k_rjce"], 0) >= field.min_j_k
    colour = np.where(stars["telluric"], j_k < TELLURIC_MAX_J_K, red | stars["any_colour"])
    return (stars["h_mag"] >= bright) & (stars["h_mag"] < faint) & colour


def _candidates(
    rng: np.random.Generator,
    field: Field,
    h_bin: tuple[float, float],
    n: int,
    library: list[Stars],
    sightline: Sightline,
) -> Stars:
    """Draw n stars of a field with H near `h_bin`: distance, age and mass first, and what follows from them."""
    component, distance, drawn = _draw_near_bin(rng, h_bin, n, library, sightline)
    age, stage = drawn["age"], drawn["stage"]
    glon, glat = _within_field(rng, field, n)
    x, y, z = _galactocentric(glon, glat, distance)
    birth, alpha_fe = chemistry.abundances(rng, component, age, x, y, z)
    mass = drawn["mass"] * np.where(stage >= 3, 0.97, 1.0)  # lost on the way to the clump
    teff, logg = evolution.track(stage, drawn["phase"], mass, age, birth["Fe"] + 0.7 * alpha_fe)
    radius = evolution.radius(mass, logg)
    luminosity = evolution.luminosity(radius, teff)
    light = _true_photometry(rng, (teff, logg, birth["Fe"], luminosity), (stage, mass, radius), distance, sightline)
    surface_c, surface_n = chemistry.dredged_up(
        birth["C"], birth["N"], mass, logg, stage > 0, C_N_SCATTER_DEX * rng.normal(size=n)
    )
    surface = birth | {"C": surface_c, "N": surface_n}
    v_micro, v_broad = _broadening(rng, teff, logg, birth["Fe"], stage)
    stars = {
        "field": np.full(n, field.name, "U16"),
        "location_id": np.full(n, field.location_id, np.int16),
        "cohort_min_h_mag": np.full(n, h_bin[0]),
        "cohort_max_h_mag": np.full(n, h_bin[1]),
        "min_j_k_mag": np.full(n, field.min_j_k),
        "component": component,
        "stage": stage,
        "any_colour": rng.random(n) < SPECIAL_SHARE,
        "age_gyr": age,
        "mass_msun": mass,
        "alpha_fe": alpha_fe,
        "teff": teff,
        "logg": logg,
        **{f"{element.lower()}_h": surface[element] for element in chemistry.ELEMENTS},
        "v_micro": v_micro,
        "v_broad": v_broad,
        "radius_rsun": radius,
        "luminosity_lsun": luminosity,
        "distance_kpc": distance,
        "glon": glon,
        "glat": glat,
        "x_kpc": x,
        "y_kpc": y,
        "z_kpc": z,
    }
    return stars | light | _selection_photometry(rng, light)


def _draw_near_bin(
    rng: np.random.Generator, h_bin: tuple[float, float], n: int, library: list[Stars], sightline: Sightline
) -> tuple[np.ndarray, np.ndarray, Stars]:
    """Draw component, distance [kpc] and library entry (age, stage, phase, mass) of n stars with H near a bin.

    A shell and a component are drawn by the number of their stars with an absolute magnitude that puts H into the bin,
    then one of these stars.
    """
    margin = 0.6  # mag; composition, dust and errors move a star's H by less than this
    reach = 5 * np.log10(sightline.middle * 100) + photometry.ABSORPTION["h"] * sightline.a_k
    low = np.stack([np.searchsorted(part["h"], h_bin[0] - margin - reach) for part in library])
    high = np.stack([np.searchsorted(part["h"], h_bin[1] + margin - reach) for part in library])
    numbers = np.stack([part["cumulative"] for part in library])
    rows = np.arange(len(library))[:, None]
    expected = sightline.density * (numbers[rows, high] - numbers[rows, low])
    cell = rng.choice(expected.size, n, p=expected.ravel() / expected.sum())
    component, shell = np.unravel_index(cell, expected.shape)
    near, far = sightline.edges[shell], sightline.edges[shell + 1]
    distance = near + rng.random(n) * (far - near)
    first, last = numbers[component, low[component, shell]], numbers[component, high[component, shell]]
    aim = first + rng.random(n) * (last - first)
    pick = np.empty(n, int)
    for c, part in enumerate(library):
        chosen = component == c
        pick[chosen] = np.clip(np.searchsorted(part["cumulative"], aim[chosen], side="right") - 1, 0, LIBRARY_SIZE - 1)
    names = ("age", "stage", "phase", "mass")
    return component, distance, {name: np.choose(component, [part[name][pick] for part in library]) for name in names}


def _within_field(rng: np.random.Generator, field: Field, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw Galactic longitude and latitude [deg], uniform over the plate."""
    radius_deg = FIELD_RADIUS_DEG * np.sqrt(rng.random(n))
    around = 2 * np.pi * rng.random(n)
    glat = field.glat + radius_deg * np.sin(around)
    return (field.glon + radius_deg * np.cos(around) / np.cos(np.deg2rad(field.glat))) % 360, glat


def hidden_scatter(rng: np.random.Generator, logg: np.ndarray, stage: np.ndarray) -> np.ndarray:
    """Draw by how much [mag] stars are fainter than their spectra say."""
    hidden = (HIDDEN_SCATTER_MAG + HIDDEN_PER_DEX_MAG * np.clip(2 - logg, 0, 2)) * rng.normal(size=len(logg))
    low, high = CONFUSED_LOGG
    confused = (logg > low) & (logg < high) & (rng.random(len(logg)) < CONFUSED_SHARE)
    shift = np.select([stage == 2, stage == 3], [CONFUSED_BRANCH_MAG, CONFUSED_CLUMP_MAG], 0.0)
    return hidden + np.where(confused, shift, 0.0)


def _true_photometry(rng: np.random.Generator, labels: tuple, star: tuple, distance, sightline: Sightline) -> Stars:
    """Return scatter, companion, extinction, absolute Ks and true magnitudes.

    `labels` are Teff, log g, [Fe/H] and luminosity, `star` stage, mass and radius.
    """
    n = len(distance)
    (teff, logg, fe_h, luminosity), (stage, mass, radius) = labels, star
    hidden = hidden_scatter(rng, logg, stage)
    alone = photometry.absolute_magnitudes(teff, logg, fe_h, luminosity)["k"]
    pair = draw_binaries(rng, mass, radius, stage > 0, alone, distance)
    absolute = photometry.absolute_magnitudes(teff, logg, fe_h, luminosity, hidden - pair["companion_mag"])
    extinction = np.interp(distance, sightline.edges[1:], sightline.a_k) * np.exp(0.10 * rng.normal(size=n))
    modulus = 5 * np.log10(distance * 100)
    true = {b: absolute[b] + modulus + photometry.ABSORPTION[b] * extinction for b in ("j", "h", "k", "w2", "g")}
    true["bp_rp"] = absolute["bp_rp"] + photometry.ABSORPTION["bp_rp"] * extinction
    return {
        "hidden_mag": hidden,
        **pair,
        "a_k_true_mag": extinction,
        "k_abs_mag": absolute["k"],
        **{f"{band}_true_mag": values for band, values in true.items()},
    }


def _selection_photometry(rng: np.random.Generator, stars: Stars) -> Stars:
    """Return what 2MASS and WISE measured, before any value goes missing."""
    measured = {}
    for band, floor, faint in (("j", 0.023, 16.6), ("h", 0.026, 15.9), ("k", 0.022, 15.4), ("w2", 0.021, 14.6)):
        measured[f"{band}_mag"], measured[f"{band}_mag_error"] = photometry.measured_magnitude(
            rng, stars[f"{band}_true_mag"], floor, faint
        )
    measured["a_k_rjce"] = rjce_a_k(measured["h_mag"], measured["w2_mag"])
    return measured


def _broadening(rng: np.random.Generator, teff, logg, fe_h, stage) -> tuple[np.ndarray, np.ndarray]:
    """Return microturbulence and the width of macroturbulence and rotation [km/s], after Holtzman et al. (2018)."""
    giant = stage > 0
    g = np.clip(logg, 0.0, 4.5)
    v_micro = np.where(giant, 10 ** (0.226 - 0.0228 * g + 0.0297 * g**2 - 0.0113 * g**3), 0.9 + 0.3 * (teff > 5500))
    macro = 10 ** (0.471 - 0.254 * np.clip(fe_h, -1.5, 0.4)) * np.exp(0.08 * rng.normal(size=len(teff)))
    rotation = 2.5 * np.exp(0.5 * rng.normal(size=len(teff))) + 0.012 * np.maximum(teff - 5700, 0)
    return v_micro, np.where(giant & (teff < 5700), macro, np.hypot(2.0, np.minimum(rotation, 40.0)))


def _galactocentric(glon, glat, distance_kpc):
    """Return Galactocentric x, y, z [kpc] with axes parallel to the Galactic coordinates'.

    Not `physics.galaxy.galactocentric`: astropy's frame is tilted by the Sun's height over its distance (0.15 deg), and
    the simulated Galaxy stays independent of the frame in which it is analysed.
    """
    glon, glat = np.deg2rad(glon), np.deg2rad(glat)
    x = -SUN_DISTANCE_KPC + distance_kpc * np.cos(glat) * np.cos(glon)
    y = distance_kpc * np.cos(glat) * np.sin(glon)
    return x, y, distance_kpc * np.sin(glat) + SUN_HEIGHT_KPC


def _sky_motion(rng: np.random.Generator, stars: Stars) -> Stars:
    """Return equatorial position, proper motion and radial velocity, from velocities drawn in the Galaxy's frame."""
    n = len(stars["glon"])
    component = stars["component"]
    v_r, v_phi, v_z = (DISPERSION[component] * rng.normal(size=(n, 3))).T
    big_r = np.hypot(stars["x_kpc"], stars["y_kpc"])
    rotation = CIRCULAR_VELOCITY * np.minimum(big_r / 1.0, 1) - LAG[component] * np.minimum(big_r / 1.0, 1)
    cos, sin = stars["x_kpc"] / big_r, stars["y_kpc"] / big_r
    v_phi = v_phi + rotation
    velocity = np.stack([v_r * cos + v_phi * sin, v_r * sin - v_phi * cos, v_z], axis=1) - SUN_VELOCITY
    glon, glat = np.deg2rad(stars["glon"]), np.deg2rad(stars["glat"])
    radial = np.stack([np.cos(glat) * np.cos(glon), np.cos(glat) * np.sin(glon), np.sin(glat)], axis=1)
    east = np.stack([-np.sin(glon), np.cos(glon), np.zeros(n)], axis=1)
    north = np.stack([-np.sin(glat) * np.cos(glon), -np.sin(glat) * np.sin(glon), np.cos(glat)], axis=1)
    pm_l, pm_b = (np.sum(velocity * base, axis=1) / (4.740470 * stars["distance_kpc"]) for base in (east, north))
    with iers.conf.set_temp("auto_download", False):
        sky = SkyCoord(
            Galactic(
                l=stars["glon"] * u.deg,
                b=stars["glat"] * u.deg,
                pm_l_cosb=pm_l * u.mas / u.yr,
                pm_b=pm_b * u.mas / u.yr,
            )
        ).icrs
    return {
        "v_helio_true": np.sum(velocity * radial, axis=1),
        "ra_true": sky.ra.deg,
        "dec_true": sky.dec.deg,
        "pmra_true": sky.pm_ra_cosdec.to_value(u.mas / u.yr),
        "pmdec_true": sky.pm_dec.to_value(u.mas / u.yr),
    }
