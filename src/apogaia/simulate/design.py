"""The simulated survey before any spectrum is made: a table of stars, and Gaia's sources around them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.coordinates import Galactic, SkyCoord

from apogaia.formats.releases import RELEASES, Release
from apogaia.formats.survey_tables import SPECTRUM_PLACE
from apogaia.physics.luminosity import rjce_a_k
from apogaia.simulate.gaia import observe_with_gaia
from apogaia.simulate.healpix import healpix
from apogaia.simulate.imperfections import contaminate, observing_log, repeat_stars, spoil_catalogue
from apogaia.simulate.population import draw_population
from apogaia.simulate.sky_error import sky_error
from apogaia.survey import Survey

__all__ = ["Design", "design_survey"]

EPOCH_J2000 = 2000.0
RESERVED_SHARE = 0.5  # of DR19's spectra that are DR17's
SOUTHERN_LIMIT = -30.0  # deg, declination of a field's centre: Las Campanas observes what lies south of it


@dataclass(frozen=True)
class Design:
    """Everything except the spectra.

    Attributes
    ----------
    stars
        Arrays with one entry per row of allStar, by name: truth and 2MASS photometry (`population.draw_population`),
        the observing log (`imperfections.observing_log`), what is wrong with a row (`imperfections.spoil_catalogue`),
        and identity (``apogee_id``, ``telescope``, ``location_id``, ``spectrum_file``, ``apstar_layout``, and in SDSS-V
        ``sdss_id``, ``spectrum_pk``, ``healpix``, ``reduction``). Units are in the names (``_kpc``, ``_mag``,
        ``_msun``); Teff in K, abundances in dex, velocities in km/s, angles in deg.
    sources
        Gaia's table, column by column, sorted by source id.
    seed
        The survey's seed; star i's spectrum uses the random stream ``[seed, 10, i]``.
    """

    stars: dict[str, np.ndarray]
    sources: dict[str, np.ndarray]
    seed: int

    def row(self, i: int) -> dict:
        """Return all values of star `i`."""
        return {name: values[i] for name, values in self.stars.items()}


def design_survey(survey: Survey) -> Design:
    """Draw the stars of a simulated survey, observe them with 2MASS and Gaia, and corrupt a few.

    DR14 was observed from Apache Point alone. DR17 has a southern part: fields south of `SOUTHERN_LIMIT` belong to the
    telescope at Las Campanas.

    Raises
    ------
    ValueError
        If the survey is not simulated.
    """
    simulation = survey.simulation
    if simulation is None:
        raise ValueError(f"survey {survey.name!r} has no [simulation] section: it is fetched, not simulated")
    two_telescopes = survey.sources.apogee_release != "dr14"
    seed, n = simulation.seed, simulation.n_stars
    rng = [np.random.default_rng([seed, 4, k]) for k in range(5)]
    stars = draw_population(n, seed, simulation.fields, southern=two_telescopes)
    stars |= _positions(rng[0], stars)
    stars, star_of_row = repeat_stars(rng[1], stars)
    stars["is_repeat"] = star_of_row != np.arange(n)
    stars |= observing_log(rng[2], stars, simulation.max_visits, simulation.flag_rate)

    first = np.flatnonzero(~stars["is_repeat"])
    once = {name: values[first] for name, values in stars.items()}
    # About its mean, so that the survey's stars have on average the zero point that the file states
    shared = sky_error(seed, once["ra_true"], once["dec_true"])
    once["sky_error"] = simulation.sky_error / 1000 * (shared - shared.mean())
    years = survey.sources.gaia_epoch - EPOCH_J2000
    sources, own, offset = observe_with_gaia(rng[3], once, simulation, years, survey.sources.gaia_release)
    back = np.searchsorted(first, star_of_row)
    own, stars["zero_point"], stars["sky_error"] = own[back], offset[back], once["sky_error"][back]
    stars["contamination"] = contaminate(rng[4], stars, sources, own, simulation.contaminant_fraction)
    stars |= spoil_catalogue(rng[4], n)
    stars |= _extinction(rng[4], stars)
    stars["telescope"] = _telescope(stars, two_telescopes)
    stars["location_id"] = np.where(stars["one_metre"], 1, stars["location_id"]).astype(np.int16)
    release = RELEASES[survey.sources.apogee_release]
    stars |= _sdss_v(seed, stars, star_of_row) if release.spectra_by == "healpix" else _before_sdss_v(n, release)
    stars["spectrum_file"] = _spectrum_files(stars, release)

    order = np.argsort(sources["source_id"], kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    stars["gaia_row"] = np.where(own >= 0, rank[own], -1)
    stars["gaia_source_id"] = np.where(own >= 0, sources["source_id"][own], 0)
    return Design(stars, {name: values[order] for name, values in sources.items()}, seed)


def _telescope(stars: dict[str, np.ndarray], two_telescopes: bool) -> np.ndarray:
    """Return which telescope observed each star: a plate, and so a field, belongs to one."""
    if not two_telescopes:
        return np.where(stars["one_metre"], "apo1m", "apo25m")
    names, field = np.unique(stars["field"], return_inverse=True)
    glon, glat = np.array([[float(name[:3]), float(name[3:])] for name in names.tolist()]).T
    centre = SkyCoord(Galactic(l=glon * u.deg, b=glat * u.deg)).icrs
    telescope = np.where(centre.dec.deg < SOUTHERN_LIMIT, "lco25m", "apo25m")[field]
    return np.where(stars["one_metre"], "apo1m", telescope)


def _before_sdss_v(n: int, release: Release) -> dict[str, np.ndarray]:
    return {
        "reduction": np.full(n, ""),
        "healpix": np.zeros(n, np.int32),
        "sdss_id": np.zeros(n, np.int64),
        "spectrum_pk": np.zeros(n, np.int64),
        "apstar_layout": np.full(n, release.apstar_layout),
    }


def _sdss_v(seed: int, stars: dict[str, np.ndarray], star_of_row: np.ndarray) -> dict[str, np.ndarray]:
    """Return what identifies spectra in SDSS-V; `RESERVED_SHARE` of them, and every repeat, are DR17's served again."""
    rng = np.random.default_rng([seed, 4, 5])
    n = len(star_of_row)
    again = stars["is_repeat"] | (rng.random(n) < RESERVED_SHARE)
    again[np.isin(np.arange(n), star_of_row[stars["is_repeat"]])] = False  # one spectrum of each release
    again |= stars["is_repeat"] | stars["one_metre"]
    return {
        "reduction": np.where(again, "dr17", RELEASES["dr19"].reduction),
        "healpix": healpix(stars["ra"], stars["dec"]),
        "sdss_id": 54_000_000 + rng.permutation(n)[star_of_row],
        "spectrum_pk": 2_000_000 + rng.permutation(n),
        "apstar_layout": np.where(again, "dr17", "dr19"),
    }


def _spectrum_files(stars: dict[str, np.ndarray], release: Release) -> np.ndarray:
    """Return the file names of the combined spectra."""
    columns = (stars[name].tolist() if name in stars else [""] * len(stars["field"]) for name in SPECTRUM_PLACE)
    names = np.array([release.spectrum(*star).rsplit("/", 1)[-1] for star in zip(*columns, strict=True)])
    apart = (stars["commissioning"] != 0) & release.commissioning_apart
    return np.where(apart, np.char.replace(names, "Star-", "StarC-"), names)


def _positions(rng: np.random.Generator, stars: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return APOGEE's position, from 2MASS, and the name that follows from it; no two stars share a name."""
    n = len(stars["ra_true"])
    ra = stars["ra_true"] + rng.normal(0, 0.07, n) / 3600 / np.cos(np.deg2rad(stars["dec_true"]))
    dec = stars["dec_true"] + rng.normal(0, 0.07, n) / 3600
    ra, dec = np.round(ra % 360, 6), np.round(dec, 6)
    names = _names(ra, dec)
    while True:
        _, first = np.unique(names, return_index=True)
        twins = np.setdiff1d(np.arange(n), first)
        if not len(twins):
            return {"ra": ra, "dec": dec, "apogee_id": names}
        dec[twins] += 0.2 / 3600
        names[twins] = _names(ra[twins], dec[twins])


def _names(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return 2MASS names: 2MHHMMSSss+DDMMSSs, truncated."""
    centiseconds = np.floor(ra / 15 * 360_000).astype(int)
    decis = np.floor(np.abs(dec) * 36_000).astype(int)
    return np.array(
        [
            f"2M{c // 360_000:02d}{c // 6000 % 60:02d}{c % 6000:04d}{'-' if d < 0 else '+'}"
            f"{s // 36_000:02d}{s // 600 % 60:02d}{s % 600:03d}"
            for c, s, d in zip(centiseconds.tolist(), decis.tolist(), dec.tolist(), strict=True)
        ]
    )


def _extinction(rng: np.random.Generator, stars: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return AK_TARG by RJCE; from the SFD map far from the plane where WISE has no magnitude; else unknown."""
    n = len(stars["a_k_true_mag"])
    rjce = rjce_a_k(stars["h_mag"], stars["w2_mag"])
    sfd_ebv = np.maximum(stars["a_k_true_mag"] / 0.3517 * (1.05 + 0.15 * rng.normal(size=n)), 0.005)
    by_map = stars["no_w2"] & (np.abs(stars["glat"]) >= 16)
    none = (stars["no_w2"] & ~by_map) | stars["no_extinction"]
    return {
        "a_k_targ": np.select([none, by_map], [np.nan, 0.302 * sfd_ebv], rjce),
        "a_k_targ_method": np.select([none, by_map], ["none", "SFD"], "RJCE_WISE"),
        "a_k_wise": np.where(stars["no_w2"], np.nan, rjce),
        "sfd_ebv": sfd_ebv,
    }
