"""The observing log of the stars, and everything that goes wrong in a real catalogue, at low rates."""

from __future__ import annotations

import numpy as np
from astropy.coordinates import angular_separation
from scipy.stats import t as student_t

from apogaia.simulate.binaries import orbital_velocity

__all__ = ["SPECTRUM_STATES", "STARFLAG_BITS", "contaminate", "observing_log", "repeat_stars", "spoil_catalogue"]

# Bits of APOGEE_STARFLAG that occur here.
STARFLAG_BITS = {
    "COMMISSIONING": 1,
    "BRIGHT_NEIGHBOR": 2,
    "VERY_BRIGHT_NEIGHBOR": 3,
    "LOW_SNR": 4,
    "PERSIST_HIGH": 9,
    "PERSIST_MED": 10,
    "PERSIST_LOW": 11,
    "SUSPECT_RV_COMBINATION": 16,
    "SUSPECT_BROAD_LINES": 17,
}

# What became of a star's file: share of the stars, at least one in every survey.
SPECTRUM_STATES = {"missing": 0.003, "cut": 0.002, "blank": 0.002, "NaN errors": 0.001}

PERSISTENT_SHARE = 0.22  # of the stars, half of them in the lowest degree: 60 real rows of allStar with up to 3 visits

CONTAMINATIONS = ("wrong match", "blend", "wrong parallax")


def repeat_stars(
    rng: np.random.Generator, stars: dict[str, np.ndarray], share: float = 0.01
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Replace some rows by stars that the field next to theirs has observed already, with the same photometry.

    The star suits the cohort for which the row stands.

    Returns
    -------
    stars : dict of (n,) arrays
    star_of_row : (n,) row in which each row's star was observed first
    """
    n = len(stars["ra_true"])
    own = {"field", "location_id", "cohort_min_h_mag", "cohort_max_h_mag", "min_j_k_mag", "planned_visits"}
    _, number = np.unique(stars["location_id"], return_inverse=True)
    rows_of = np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1])
    glon, glat = (np.deg2rad(stars[name][[rows[0] for rows in rows_of]]) for name in ("glon", "glat"))
    star_of_row, free = np.arange(n), np.ones(n, bool)
    for row in rng.permutation(n)[: max(1, round(share * n))].tolist():
        away = angular_separation(glon[number[row]], glat[number[row]], glon, glat)
        near = np.argsort(away, kind="stable")[1:4]
        first = rng.permutation(np.concatenate([rows_of[k] for k in near])) if len(near) else np.array([], int)
        low, high = stars["cohort_min_h_mag"][row], stars["cohort_max_h_mag"][row]
        first = first[free[first] & (stars["h_mag"][first] >= low) & (stars["h_mag"][first] < high)]
        if free[row] and len(first):
            star_of_row[row] = first[0]
            free[[row, first[0]]] = False
    repeated = {name: values if name in own else values[star_of_row] for name, values in stars.items()}
    return repeated, star_of_row


def observing_log(
    rng: np.random.Generator, stars: dict[str, np.ndarray], max_visits: int, flag_rate: float
) -> dict[str, np.ndarray]:
    """Draw visits, signal-to-noise ratios, velocities and flags of every star.

    Parameters
    ----------
    stars
        Truth and photometry from `population.draw_population`.
    max_visits
        Most visits of one star.
    flag_rate
        Rate of persistence and of bright neighbours relative to DR14's, from 0 to 1.

    Returns
    -------
    dict
        ``n_visits``; ``visit_snr``, ``visit_v_helio``, ``visit_v_error``, ``visit_bc`` [km/s], ``visit_mjd`` and
        ``visit_fibre``, each (n, max_visits) with NaN or 0 beyond the last visit; ``snr`` per pixel of the combination;
        ``v_helio``, ``v_scatter``, ``v_error`` [km/s]; ``starflag``, ``andflag``, ``persistence`` (0 none to 3 high)
        and ``commissioning``.
    """
    n = len(stars["h_mag"])
    h = stars["h_true_mag"]
    # Programmes of several visits are under way when data are released: some stars still lack visits. What is more than
    # `max_visits` is folded into them.
    planned = stars["planned_visits"]
    complete = rng.random(n) < 0.9
    made = np.where(complete, planned, 1 + np.floor(planned * rng.random(n))).astype(int)
    n_visits = np.minimum(made, max_visits)
    # As real rows of allStar have it: 190 per visit at H = 9.5, 46 at 12.2; sky and detector take over beyond.
    signal = 2900.0 * 10 ** (-0.4 * (h - 12.2)) * (made / n_visits)
    quality = np.exp(0.20 * rng.normal(size=(n, max_visits))) * np.exp(0.12 * rng.normal(size=n))[:, None]
    # Clouds dim a visit, and a fibre that is badly plugged dims a star.
    quality *= np.where(rng.random((n, max_visits)) < 0.05, rng.uniform(0.02, 0.5, (n, max_visits)), 1.0)
    quality *= np.where(rng.random(n) < 0.05, rng.uniform(0.01, 0.25, n), 1.0)[:, None]
    photons = signal[:, None] * quality
    visit_snr = photons / np.sqrt(photons + 700.0 + (6e-4 * photons) ** 2)
    used = np.arange(max_visits) < n_visits[:, None]
    visit_snr = np.where(used, visit_snr, np.nan)
    snr = np.sqrt(np.nansum(visit_snr**2, axis=1))

    # The lines of hot stars are few, weak and broad.
    hot = 1 + (np.maximum(stars["teff"] - 5700, 0) / 400) ** 2
    error = np.hypot(0.02, 4.0 * hot[:, None] / visit_snr)
    mjd = rng.integers(55_800, 57_500, n)[:, None] + np.cumsum(rng.integers(1, 30, (n, max_visits)), axis=1)
    orbit = orbital_velocity(rng, stars, mjd) + 0.05 * rng.normal(size=mjd.shape)
    visit_v = np.where(used, stars["v_helio_true"][:, None] + orbit + error * rng.normal(size=error.shape), np.nan)
    v_scatter = np.zeros(n)
    several = n_visits > 1
    v_scatter[several] = np.nanstd(visit_v[several], axis=1, ddof=1)
    log = {
        "pluggings": -(-made // 6),
        "n_visits": n_visits.astype(np.int32),
        "visit_snr": visit_snr,
        "visit_v_helio": visit_v,
        "visit_v_error": error,
        "visit_bc": np.where(used, rng.uniform(-28, 28, (n, max_visits)), np.nan),
        "visit_mjd": np.where(used, mjd, 0),
        "visit_fibre": np.where(used, rng.integers(1, 301, n)[:, None], 0),
        "snr": snr,
        "v_helio": np.nansum(visit_v * visit_snr**2, axis=1) / snr**2,
        "v_scatter": v_scatter,
        "v_error": 1 / np.sqrt(np.nansum(error**-2.0, axis=1)),
    }
    return log | _starflags(rng, stars, log, flag_rate)


def _starflags(
    rng: np.random.Generator, stars: dict[str, np.ndarray], log: dict[str, np.ndarray], flag_rate: float
) -> dict[str, np.ndarray]:
    n = len(log["snr"])
    # Persistence affects the blue detector of some fibres. A plate is plugged anew after some three visits, and a star
    # then gets another fibre and other neighbours: STARFLAG gathers what befell it in any of them.
    pluggings = log.pop("pluggings")
    degree = rng.random(n) / (flag_rate * (1 - (1 - PERSISTENT_SHARE) ** pluggings) + 1e-12)
    persistence = np.select([degree < 0.25, degree < 0.5, degree < 1.0], [3, 2, 1], 0)
    commissioning = rng.random(n) < 0.01
    neighbour = rng.random(n)
    h = stars["h_true_mag"]
    set_bits = {
        "COMMISSIONING": commissioning,
        "BRIGHT_NEIGHBOR": neighbour < flag_rate * _brighter_neighbours(h, 2.5, pluggings),
        "VERY_BRIGHT_NEIGHBOR": neighbour < flag_rate * _brighter_neighbours(h, 5.0, pluggings),
        "LOW_SNR": log["snr"] < 20,
        "PERSIST_HIGH": persistence == 3,
        "PERSIST_MED": persistence == 2,
        "PERSIST_LOW": persistence == 1,
        "SUSPECT_RV_COMBINATION": log["v_scatter"] > 8,
        "SUSPECT_BROAD_LINES": stars["v_broad"] > 11,
    }
    starflag = np.zeros(n, np.int32)
    for name, rows in set_bits.items():
        starflag[rows] |= 1 << STARFLAG_BITS[name]
    every_visit = np.int32((1 << 9) | (1 << 10) | (1 << 11) | 2)
    return {
        "starflag": starflag,
        "andflag": np.where(log["n_visits"] == 1, starflag, starflag & every_visit).astype(np.int32),
        "persistence": persistence.astype(np.int8),
        "commissioning": commissioning.astype(np.int16),
    }


def _brighter_neighbours(h_mag: np.ndarray, by_mag: float, pluggings: np.ndarray) -> np.ndarray:
    """Return how probable it is that a fibre next to a star's has one brighter by `by_mag`, in any of its pluggings."""
    brighter = np.searchsorted(np.sort(h_mag), h_mag - by_mag) / len(h_mag)
    return 1 - (1 - brighter) ** (2 * pluggings)


def contaminate(
    rng: np.random.Generator,
    stars: dict[str, np.ndarray],
    sources: dict[str, np.ndarray],
    own: np.ndarray,
    fraction: float,
) -> np.ndarray:
    """Turn a small fraction of the stars into outliers that a Gaussian likelihood does not expect.

    One in ten: Gaia's source is another star's. Half: a blend, whose J, H, Ks and 4.5 um are too bright, by 0.2 mag in
    the median and up to 2 mag, while the spectrum is the star's own. The rest: the parallax is off by more than 3 of
    its errors either way, with the tail of Student's t of two degrees of freedom: 4 in the median, 10 for one in ten.
    `stars` and `sources` are changed in place.

    Returns
    -------
    (n_stars,) array of str
        What is wrong with each star, "" for nothing.
    """
    n = len(own)
    kind = np.full(n, "", "U16")
    chosen = rng.permutation(np.flatnonzero(own >= 0))[: max(3, round(fraction * n))]
    first = max(1, len(chosen) // 10)
    for name, rows in zip(CONTAMINATIONS, np.split(chosen, [first, (len(chosen) + first) // 2]), strict=True):
        kind[rows] = name
        mine = own[rows]
        if name == "wrong match":
            names = ["parallax", "parallax_error", "phot_g_mean_mag", "bp_rp"]
            names += {"nu_eff_used_in_astrometry", "pseudocolour", "astrometric_params_solved"} & set(sources)
            others = rng.choice(own[own >= 0], len(rows))
            for column in names:
                sources[column][mine] = sources[column][others]
        elif name == "blend":
            brighter = np.minimum(0.25 * np.abs(rng.standard_t(2, len(rows))), 2.0)
            for band in ("j", "h", "k", "w2"):
                stars[f"{band}_mag"][rows] -= brighter
        else:
            by = student_t.isf(student_t.sf(3.0, 2) * rng.random(len(rows)), 2)
            sources["parallax"][mine] += rng.choice([-1, 1], len(rows)) * by * sources["parallax_error"][mine]
    # The other row of a star observed twice shares its Gaia source.
    shared = (kind == "wrong match") | (kind == "wrong parallax")
    of_source = dict(zip(own[shared].tolist(), kind[shared].tolist(), strict=True))
    return np.array(
        [of_source.get(source, own_kind) for source, own_kind in zip(own.tolist(), kind.tolist(), strict=True)]
    )


def spoil_catalogue(rng: np.random.Generator, n: int) -> dict[str, np.ndarray]:
    """Choose rows that lack a magnitude, extinction or file: at least one row of each kind in every survey.

    Returns
    -------
    dict
        Boolean arrays ``k_is_nan``, ``k_is_missing`` (-9999.99), ``no_w2`` (so no RJCE extinction), ``no_extinction``,
        ``one_metre`` (LOCATION_ID 1, no apStar file), ``no_parameters``; and ``spectrum_state``, "" or a key of
        `SPECTRUM_STATES`.
    """
    order = rng.permutation(n)
    shares = {
        "k_is_nan": 0.001,
        "k_is_missing": 0.002,
        "no_w2": 0.03,
        "no_extinction": 0.01,
        "one_metre": 0.004,
        "no_parameters": 0.02,
    }
    spoiled = {}
    used = 0
    for name, share in shares.items():
        count = max(1, round(share * n))
        spoiled[name] = np.zeros(n, bool)
        spoiled[name][order[used : used + count]] = True
        used += count
    state = np.full(n, "", "U10")
    for name, share in SPECTRUM_STATES.items():
        count = max(1, round(share * n))
        state[order[used : used + count]] = name
        used += count
    return spoiled | {"spectrum_state": state}
