"""Gaia's measurements of the simulated stars: errors by magnitude, a zero point, neighbours, gaps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from apogaia.physics import lindegren
from apogaia.simulate.binaries import parallax_excess
from apogaia.survey import SimulationSettings

__all__ = ["effective_wavenumber", "injected_surface", "observe_with_gaia", "parallax_error_by_magnitude"]

MAS_PER_DEG = 3.6e6
G_LIMIT = 20.9  # fainter stars are not in the catalogue; beyond 20.5 there are positions only
OBLIQUITY = np.deg2rad(84381.411 / 3600)  # of the ecliptic, J2000


@dataclass(frozen=True)
class Precision:
    """What changes from one release to the next as the mission grows longer."""

    error: float  # of the parallax, relative to DR2's
    proper_motion: tuple[float, float]  # errors in RA and Dec [mas/yr] per error of the parallax [mas]
    periods: tuple[float, float, int]  # visibility periods: mean, standard deviation, most
    days: float  # of observations


# EDR3 has 34 months of data for DR2's 22: parallaxes 20 % more precise, proper motions twice (Gaia EDR3 documentation).
PRECISION_DR2 = Precision(1.0, (1.75, 1.65), (13.8, 2.4, 22), 668.0)
PRECISION_EDR3 = Precision(0.8, (1.1, 1.0), (21.3, 3.7, 34), 1038.0)


def _precision(release: str) -> Precision:
    return PRECISION_DR2 if release == "dr2" else PRECISION_EDR3


def parallax_error_by_magnitude(g_mag: float | np.ndarray) -> np.ndarray:
    """Return the typical parallax error [mas] of Gaia DR2 at magnitude G (after Lindegren et al. 2018, Figure B.2).

    A floor of 0.025 mas, which rises again for stars brighter than G = 13, and photon noise beyond 15.
    """
    z = 10 ** (0.4 * (np.maximum(g_mag, 13.0) - 15.0))
    photons = 1.05e-3 * np.sqrt(np.maximum(680.8 * z + 32.7 * z**2 - 1.6, 0))
    bright = 0.012 * np.clip(13.0 - np.asarray(g_mag), 0, 3) ** 0.5
    return np.sqrt(0.022**2 + photons**2 + bright**2)


def injected_surface(g_mag: float | np.ndarray, bp_rp: float | np.ndarray, teff: float | np.ndarray) -> np.ndarray:
    """Return a zero point [mas] that depends on G, BP - RP and Teff [K]: the mean of the paper's Eqs. 7 to 9.

    The linear term of Eq. 7 is read as -9.2 (G - 16), as Figure 4 shows it. Beyond the ranges that the paper gives for
    them, the quadratics keep their edge values.
    """
    g = np.clip(g_mag, 11.0, 17.0) - 16.0
    c = np.clip(bp_rp, 0.8, 3.0)
    t = np.clip(teff, 4000.0, 5750.0) - 4500.0
    by_magnitude = 1.18 * g**2 - 9.2 * g - 55.49
    by_colour = 6.90 * c**2 - 34.63 * c - 11.67
    by_teff = 6e-6 * t**2 + 0.0348 * t - 53.17
    return (by_magnitude + by_colour + by_teff) / 3e3


def effective_wavenumber(bp_rp: float | np.ndarray) -> np.ndarray:
    """Return the effective wavenumber [1/um] at a BP - RP colour (Lindegren et al. 2021, A&A 649, A2, Eq. 3)."""
    return 1.76 - 1.61 / np.pi * np.arctan(0.531 * np.asarray(bp_rp))


def ecliptic_latitude(ra: float | np.ndarray, dec: float | np.ndarray) -> np.ndarray:
    """Return the ecliptic latitude [deg] of a position in ICRS [deg]."""
    ra, dec = np.deg2rad(ra), np.deg2rad(dec)
    sine = np.sin(dec) * np.cos(OBLIQUITY) - np.cos(dec) * np.sin(OBLIQUITY) * np.sin(ra)
    return np.rad2deg(np.arcsin(np.clip(sine, -1, 1)))


def scan_density(ecl_lat: float | np.ndarray) -> np.ndarray:
    """Return how often Gaia scans an ecliptic latitude [deg], relative to the mean over the sky.

    Its axis is held 45 deg from the Sun, so that scans crowd at latitudes about 45 deg and are few near the ecliptic.
    """
    return 0.74 + 0.66 * np.exp(-0.5 * ((np.abs(ecl_lat) - 50) / 14) ** 2)


def zero_point(
    simulation: SimulationSettings, stars: dict[str, np.ndarray], published: dict[str, np.ndarray]
) -> np.ndarray:
    """Return the zero point [mas], Gaia minus true parallax, that the survey file asks for.

    "constant": one number. "surface": `injected_surface` of the true G, BP - RP and Teff. "lindegren2021": that of
    Lindegren et al. (2021) for the `published` columns of Gaia, beyond its validity too, plus the constant.
    """
    constant = simulation.constant_zero_point / 1000.0
    if simulation.zero_point == "constant":
        return np.full(np.shape(stars["g_true_mag"]), constant)
    if simulation.zero_point == "surface":
        return injected_surface(stars["g_true_mag"], stars["bp_rp_true_mag"], stars["teff"])
    columns = (published[name] for name in ("phot_g_mean_mag", *lindegren.ONLY_EDR3))
    return lindegren.zero_point(*columns, extrapolate=True) + constant


def observe_with_gaia(
    rng: np.random.Generator,
    stars: dict[str, np.ndarray],
    simulation: SimulationSettings,
    epoch_years: float,
    release: str,
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Return Gaia's sources around the stars.

    Parameters
    ----------
    stars
        Truth from `population.draw_population`, and ``sky_error`` [mas]; one entry per star.
    simulation
        For the zero point.
    epoch_years
        Years from J2000 to Gaia's reference epoch.
    release
        "dr2", or a later one with EDR3's columns and precision.

    Returns
    -------
    sources : dict of arrays
        Gaia's columns, with NaN where unknown; the first rows are those of the stars, then neighbours and duplicates.
    own : (n_stars,) int array
        Row of each star's own source, -1 where Gaia misses it.
    offset : (n_stars,) array
        The zero point of each star [mas], its share of the errors that neighbours have in common included.
    """
    n = len(stars["ra_true"])
    # DR2 loses very bright and high-proper-motion stars, and a few at random.
    fast = np.hypot(stars["pmra_true"], stars["pmdec_true"]) > 400
    detected = (stars["g_true_mag"] < G_LIMIT) & (rng.random(n) > np.where(fast, 0.2, 0.006))
    seen, offset = _sources(rng, stars, simulation, epoch_years, release)
    own = np.where(detected, np.cumsum(detected) - 1, -1)
    matched = {name: values[detected] for name, values in seen.items()}
    sources = [matched, _neighbours(rng, matched, _precision(release)), _duplicates(rng, matched)]
    joined = {name: np.concatenate([part[name] for part in sources]) for name in matched}
    joined["source_id"] = _source_ids(rng, joined["ra"], joined["dec"])
    return joined, own, offset


def _sources(
    rng: np.random.Generator,
    stars: dict[str, np.ndarray],
    simulation: SimulationSettings,
    epoch_years: float,
    release: str,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return the measurements of every star, detected or not, and its zero point [mas]."""
    n = len(stars["ra_true"])
    precision = _precision(release)
    mean_periods, sd_periods, most_periods = precision.periods
    g = np.round(stars["g_true_mag"] + 0.002 * rng.normal(size=n), 4)
    colour_error = 0.004 + 0.1 * 10 ** (0.3 * (g - 19.5))
    bp_rp = np.where(rng.random(n) < 0.004, np.nan, stars["bp_rp_true_mag"] + colour_error * rng.normal(size=n))
    scans = scan_density(ecliptic_latitude(stars["ra_true"], stars["dec_true"]))
    periods = np.clip(np.round(rng.normal(mean_periods * scans, sd_periods)), 3, most_periods).astype(np.int32)
    # Fewer visibility periods, larger errors.
    scale = np.exp(0.10 * rng.normal(size=n)) * np.sqrt(mean_periods / np.maximum(periods, 6))
    parallax_error = precision.error * parallax_error_by_magnitude(stars["g_true_mag"]) * scale
    only_edr3 = _solutions(rng, stars, bp_rp) if release != "dr2" else {}
    offset = zero_point(simulation, stars, {"phot_g_mean_mag": g} | only_edr3) + stars["sky_error"]
    true_parallax = 1.0 / stars["distance_kpc"]
    # Orbits disturb a parallax by more than its error says, which grows by half as much.
    orbit = parallax_excess(stars, precision.days)
    parallax = true_parallax + offset + np.hypot(parallax_error, orbit) * rng.normal(size=n)
    parallax_error = np.hypot(parallax_error, 0.5 * orbit)
    pmra_error, pmdec_error = (factor * parallax_error for factor in precision.proper_motion)
    declination = np.deg2rad(stars["dec_true"])
    ra = stars["ra_true"] + (stars["pmra_true"] * epoch_years / np.cos(declination)) / MAS_PER_DEG
    dec = stars["dec_true"] + stars["pmdec_true"] * epoch_years / MAS_PER_DEG
    good = np.maximum(np.round(periods * 13.5 * np.exp(0.12 * rng.normal(size=n))), 20).astype(np.int32)
    badness = np.exp(np.abs(0.25 * rng.normal(size=n))) * (1 + 8 * (rng.random(n) < 0.02) * rng.random(n))
    sources = {
        "ra": (ra + 0.7 * parallax_error * rng.normal(size=n) / MAS_PER_DEG) % 360,
        "dec": dec + 0.7 * parallax_error * rng.normal(size=n) / MAS_PER_DEG,
        "ra_error": 0.8 * parallax_error,
        "dec_error": 0.8 * parallax_error,
        "pmra": stars["pmra_true"] + pmra_error * rng.normal(size=n),
        "pmdec": stars["pmdec_true"] + pmdec_error * rng.normal(size=n),
        "pmra_error": pmra_error,
        "pmdec_error": pmdec_error,
        "parallax": parallax,
        "parallax_error": parallax_error,
        "phot_g_mean_mag": g,
        "bp_rp": bp_rp,
        "visibility_periods_used": periods,
        "astrometric_chi2_al": good * badness * np.maximum(1.0, 3.0 * 10 ** (-0.2 * (g - 11))),
        "astrometric_n_good_obs_al": good,
    }
    if release != "dr2":
        sources |= _image_quality(rng, orbit, badness) | only_edr3
    two_parameters = (rng.random(n) < 0.007) | (g > 20.5)
    return _without_parallax(sources, two_parameters), offset


def _solutions(rng: np.random.Generator, stars: dict[str, np.ndarray], bp_rp: np.ndarray) -> dict[str, np.ndarray]:
    """Draw EDR3's kinds of solution: without a good colour in DR2, the astrometry finds the wavenumber itself."""
    n = len(bp_rp)
    six = np.isnan(bp_rp) | (rng.random(n) < 0.03)
    wavenumber = effective_wavenumber(np.where(np.isnan(bp_rp), stars["bp_rp_true_mag"], bp_rp))
    return {
        "nu_eff_used_in_astrometry": np.where(six, np.nan, wavenumber + 0.004 * rng.normal(size=n)),
        "pseudocolour": np.where(six, wavenumber + 0.015 * rng.normal(size=n), np.nan),
        "ecl_lat": ecliptic_latitude(stars["ra_true"], stars["dec_true"]),
        "astrometric_params_solved": np.where(six, 95, 31).astype(np.int32),
    }


def _image_quality(rng: np.random.Generator, orbit_mas: np.ndarray, badness: np.ndarray) -> dict[str, np.ndarray]:
    """Draw EDR3's signs that a source is not a single star.

    RUWE is near 1 for single stars, and larger where an orbit disturbs the fit by `orbit_mas`, a fifth of its size.
    Images of a few stars are resolved in part of the windows, which spoils the fit too (Fabricius et al. 2021).
    """
    n = len(badness)
    double = (rng.random(n) < 0.02) | (badness > 2)
    wobble = 5 * orbit_mas / 0.2  # in errors of 0.2 mas of single transits
    spoilt = np.where(double, np.sqrt(np.maximum(badness, 1 + 1.5 * rng.random(n))), 1.0)
    return {
        "ruwe": (1.01 + 0.05 * rng.normal(size=n)) * np.hypot(1.0, wobble) * spoilt,
        "ipd_frac_multi_peak": np.where(double, rng.integers(3, 60, n), rng.integers(0, 10, n) // 9).astype(np.int32),
        "ipd_gof_harmonic_amplitude": np.where(double, 0.05 + 0.3 * rng.random(n), 0.01 + 0.04 * rng.random(n)),
    }


def _without_parallax(sources: dict[str, np.ndarray], rows: np.ndarray) -> dict[str, np.ndarray]:
    """Make some sources two-parameter solutions: a position without proper motion and parallax."""
    unknown = ("pmra", "pmdec", "pmra_error", "pmdec_error", "parallax", "parallax_error")
    fewer = {name: np.where(rows, np.nan, sources[name]) for name in unknown}
    if "astrometric_params_solved" in sources:
        fewer |= {name: np.where(rows, np.nan, sources[name]) for name in ("nu_eff_used_in_astrometry", "pseudocolour")}
        fewer["astrometric_params_solved"] = np.where(rows, 3, sources["astrometric_params_solved"]).astype(np.int32)
        fewer["ruwe"] = np.where(rows, np.nan, sources["ruwe"])
    return sources | fewer


def _neighbours(
    rng: np.random.Generator, matched: dict[str, np.ndarray], precision: Precision
) -> dict[str, np.ndarray]:
    """Draw other, mostly fainter stars within a few arcseconds of some of the stars."""
    rows = np.flatnonzero(rng.random(len(matched["ra"])) < 0.06)
    n = len(rows)
    neighbours = {name: values[rows].copy() for name, values in matched.items()}
    separation = 0.5 + 5.5 * np.sqrt(rng.random(n))
    angle = 2 * np.pi * rng.random(n)
    cos = np.cos(np.deg2rad(neighbours["dec"]))
    neighbours["ra"] = (neighbours["ra"] + separation * np.cos(angle) / cos / 3600) % 360
    neighbours["dec"] = neighbours["dec"] + separation * np.sin(angle) / 3600
    neighbours["phot_g_mean_mag"] = np.minimum(neighbours["phot_g_mean_mag"] + 0.5 + 4 * rng.random(n), G_LIMIT)
    neighbours["bp_rp"] = 0.8 + 1.5 * rng.random(n)
    error = precision.error * parallax_error_by_magnitude(neighbours["phot_g_mean_mag"]) * 1.3
    neighbours["parallax"] = 1 / rng.uniform(0.3, 6.0, n) + error * rng.normal(size=n)
    neighbours["parallax_error"] = error
    neighbours["ra_error"] = neighbours["dec_error"] = 0.8 * error
    neighbours["pmra"], neighbours["pmdec"] = rng.normal(-1.0, 5.0, n), rng.normal(-3.0, 5.0, n)
    neighbours["pmra_error"], neighbours["pmdec_error"] = (factor * error for factor in precision.proper_motion)
    if "pseudocolour" in neighbours:  # so close to another star, colours are poor
        neighbours["nu_eff_used_in_astrometry"] = np.full(n, np.nan)
        neighbours["pseudocolour"] = effective_wavenumber(neighbours["bp_rp"])
        neighbours["astrometric_params_solved"] = np.full(n, 95, np.int32)
    return _without_parallax(neighbours, rng.random(n) < 0.3)


def _duplicates(rng: np.random.Generator, matched: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Draw DR2's duplicated sources: the same star again, a tenth of an arcsecond away, with two parameters only."""
    rows = np.flatnonzero(rng.random(len(matched["ra"])) < 0.003)
    twins = {name: values[rows].copy() for name, values in matched.items()}
    twins["ra"] = (twins["ra"] + rng.normal(0, 0.2, len(rows)) / 3600) % 360
    twins["dec"] = twins["dec"] + rng.normal(0, 0.2, len(rows)) / 3600
    return _without_parallax(twins, np.ones(len(rows), bool))


def _source_ids(rng: np.random.Generator, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return unique 64-bit ids as large as real ones that rise with declination and right ascension."""
    zone = np.floor((dec + 90) / 180 * 4000).astype(np.int64) * 1000 + np.floor(ra / 360 * 1000).astype(np.int64)
    running = rng.permutation(len(ra)).astype(np.int64)
    return zone * 1_600_000_000_000 + running * 128 + 1_000_000_000_000
