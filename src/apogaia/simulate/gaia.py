"""What Gaia DR2 sees of the simulated stars: errors by magnitude, a zero point, neighbours, gaps."""

from __future__ import annotations

import numpy as np

from apogaia.survey import Simulation

__all__ = ["observe_with_gaia", "parallax_error_by_magnitude", "zero_point_surface"]

MAS_PER_DEG = 3.6e6
G_LIMIT = 20.9  # fainter stars are not in the catalogue; beyond 20.5 there are positions only


def parallax_error_by_magnitude(g_mag):
    """Typical parallax error [mas] of Gaia DR2 at magnitude G (after Lindegren et al. 2018, Figure B.2).

    A floor of 0.025 mas, worse again for stars brighter than G = 13, and photon noise beyond 15.
    """
    z = 10 ** (0.4 * (np.maximum(g_mag, 13.0) - 15.0))
    photons = 1.05e-3 * np.sqrt(np.maximum(680.8 * z + 32.7 * z**2 - 1.6, 0))
    bright = 0.012 * np.clip(13.0 - np.asarray(g_mag), 0, 3) ** 0.5
    return np.sqrt(0.022**2 + photons**2 + bright**2)


def zero_point_surface(g_mag, bp_rp, teff):
    """A zero point [mas] that depends on G, BP - RP and Teff: the mean of the paper's quadratics, Eqs. 7 to 9.

    Eq. 7 with its linear term read as -9.2 (G - 16), as Figure 4 shows it. Beyond the ranges that the paper gives for
    them the quadratics stay at their edge values.
    """
    g = np.clip(g_mag, 11.0, 17.0) - 16.0
    c = np.clip(bp_rp, 0.8, 3.0)
    t = np.clip(teff, 4000.0, 5750.0) - 4500.0
    by_magnitude = 1.18 * g**2 - 9.2 * g - 55.49
    by_colour = 6.90 * c**2 - 34.63 * c - 11.67
    by_teff = 6e-6 * t**2 + 0.0348 * t - 53.17
    return (by_magnitude + by_colour + by_teff) / 3e3


def zero_point(simulation: Simulation, g_mag, bp_rp, teff):
    """The zero point [mas], Gaia minus true parallax, that the survey file asks for."""
    if simulation.zero_point == "constant":
        return np.full(np.shape(g_mag), simulation.constant_zero_point / 1000.0)
    return zero_point_surface(g_mag, bp_rp, teff)


def observe_with_gaia(rng, stars, simulation: Simulation, epoch_years: float, release: str):
    """Gaia's sources around the stars.

    Parameters
    ----------
    stars
        Truth from `population.draw_population`; one entry per star.
    epoch_years
        Years from J2000 to Gaia's reference epoch.

    Returns
    -------
    sources : dict of arrays
        Gaia's columns, with NaN where unknown; the first rows are those of the stars, then neighbours and duplicates.
    own : (n_stars,) int array
        Row of each star's own source, -1 where Gaia misses it.
    offset : (n_stars,) array
        The zero point of each star [mas].
    """
    n = len(stars["ra_true"])
    offset = zero_point(simulation, stars["g_true_mag"], stars["bp_rp_true_mag"], stars["teff"])
    # DR2 loses very bright and high-proper-motion stars, and a few in any place.
    fast = np.hypot(stars["pmra_true"], stars["pmdec_true"]) > 400
    detected = (stars["g_true_mag"] < G_LIMIT) & (rng.random(n) > np.where(fast, 0.2, 0.006))
    seen = _sources(rng, stars, offset, epoch_years, release)
    own = np.where(detected, np.cumsum(detected) - 1, -1)
    matched = {name: values[detected] for name, values in seen.items()}
    sources = [matched, _neighbours(rng, matched), _duplicates(rng, matched)]
    joined = {name: np.concatenate([part[name] for part in sources]) for name in matched}
    joined["source_id"] = _source_ids(rng, joined["ra"], joined["dec"])
    return joined, own, offset


def _sources(rng, stars, offset, epoch_years, release):
    n = len(stars["ra_true"])
    g = np.round(stars["g_true_mag"] + 0.002 * rng.normal(size=n), 4)
    colour_error = 0.004 + 0.1 * 10 ** (0.3 * (g - 19.5))
    bp_rp = np.where(rng.random(n) < 0.004, np.nan, stars["bp_rp_true_mag"] + colour_error * rng.normal(size=n))
    periods = np.clip(np.round(rng.normal(13.8, 2.4, n)), 3, 22).astype(np.int32)
    # Fewer visibility periods, larger errors.
    scale = np.exp(0.10 * rng.normal(size=n)) * np.sqrt(13.8 / np.maximum(periods, 6))
    parallax_error = parallax_error_by_magnitude(stars["g_true_mag"]) * scale
    true_parallax = 1.0 / stars["distance_kpc"]
    parallax = true_parallax + offset + parallax_error * rng.normal(size=n)
    pmra_error, pmdec_error = 1.75 * parallax_error, 1.65 * parallax_error
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
    if release == "edr3":
        sources["ruwe"] = 0.95 + 0.1 * np.abs(rng.normal(size=n)) + (badness - 1) * 0.3
        sources["ipd_frac_multi_peak"] = np.where(badness > 2, rng.integers(3, 60, n), rng.integers(0, 2, n)).astype(
            np.int32
        )
        sources["ipd_gof_harmonic_amplitude"] = 0.01 + 0.02 * rng.random(n) + 0.2 * (badness > 2)
    two_parameters = (rng.random(n) < 0.007) | (g > 20.5)
    return _without_parallax(sources, two_parameters)


def _without_parallax(sources, rows):
    """Two-parameter solutions: a position, and nothing of motion or parallax."""
    unknown = ("pmra", "pmdec", "pmra_error", "pmdec_error", "parallax", "parallax_error")
    return sources | {name: np.where(rows, np.nan, sources[name]) for name in unknown}


def _neighbours(rng, matched):
    """Other, mostly fainter stars within a few arcseconds of some of the stars."""
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
    error = parallax_error_by_magnitude(neighbours["phot_g_mean_mag"]) * 1.3
    neighbours["parallax"] = 1 / rng.uniform(0.3, 6.0, n) + error * rng.normal(size=n)
    neighbours["parallax_error"] = error
    neighbours["ra_error"] = neighbours["dec_error"] = 0.8 * error
    neighbours["pmra"], neighbours["pmdec"] = rng.normal(-1.0, 5.0, n), rng.normal(-3.0, 5.0, n)
    neighbours["pmra_error"], neighbours["pmdec_error"] = 1.75 * error, 1.65 * error
    return _without_parallax(neighbours, rng.random(n) < 0.3)


def _duplicates(rng, matched):
    """DR2's duplicated sources: the same star again, a tenth of an arcsecond away, with two parameters only."""
    rows = np.flatnonzero(rng.random(len(matched["ra"])) < 0.003)
    twins = {name: values[rows].copy() for name, values in matched.items()}
    twins["ra"] = (twins["ra"] + rng.normal(0, 0.2, len(rows)) / 3600) % 360
    twins["dec"] = twins["dec"] + rng.normal(0, 0.2, len(rows)) / 3600
    return _without_parallax(twins, np.ones(len(rows), bool))


def _source_ids(rng, ra, dec):
    """Unique ids that rise with declination and right ascension, of the real ones' size, as 64-bit integers."""
    zone = np.floor((dec + 90) / 180 * 4000).astype(np.int64) * 1000 + np.floor(ra / 360 * 1000).astype(np.int64)
    running = rng.permutation(len(ra)).astype(np.int64)
    return zone * 1_600_000_000_000 + running * 128 + 1_000_000_000_000
