"""Which Gaia source is which APOGEE star."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from astropy.table import Table
from scipy.spatial import cKDTree

from apogaia.arguments.plain import Columns
from apogaia.arguments.takes import takes
from apogaia.survey import SourcesSettings

__all__ = ["at_epoch", "cross_match"]

_RADIAN_ARCSEC = np.degrees(1.0) * 3600


@takes(ra=u.deg, dec=u.deg, pmra=u.mas / u.yr, pmdec=u.mas / u.yr, years=u.yr)
def at_epoch(ra, dec, pmra, pmdec, years: float) -> np.ndarray:
    """Carry positions [deg] by `years` with proper motions [mas/yr], pmra times cos(dec); return unit vectors (n, 3).

    A star moves along its great circle; one without a finite proper motion stays.
    """
    ra, dec = np.radians(np.asarray(ra, dtype=float)), np.radians(np.asarray(dec, dtype=float))
    sin_ra, cos_ra, sin_dec, cos_dec = np.sin(ra), np.cos(ra), np.sin(dec), np.cos(dec)
    position = np.stack([cos_dec * cos_ra, cos_dec * sin_ra, sin_dec], axis=-1)
    east = np.stack([-sin_ra, cos_ra, np.zeros_like(ra)], axis=-1)
    north = np.stack([-sin_dec * cos_ra, -sin_dec * sin_ra, cos_dec], axis=-1)
    motion = np.stack([np.asarray(pmra, dtype=float), np.asarray(pmdec, dtype=float)], axis=-1)
    motion = np.where(np.isfinite(motion).all(axis=-1, keepdims=True), motion, 0.0) * years / 1000 / _RADIAN_ARCSEC
    moved = position + motion[..., :1] * east + motion[..., 1:] * north
    return moved / np.linalg.norm(moved, axis=-1, keepdims=True)


@takes(ra=u.deg, dec=u.deg, gaia=Columns(ra=u.deg, dec=u.deg, pmra=u.mas / u.yr, pmdec=u.mas / u.yr))
def cross_match(ra, dec, gaia: Table, sources: SourcesSettings) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Find the nearest Gaia source of each star within `sources.match_radius` at APOGEE's epoch.

    Parameters
    ----------
    ra, dec
        (n,) positions of the stars at `sources.apogee_epoch` [deg].
    gaia
        Columns ra, dec [deg] at `sources.gaia_epoch`, pmra, pmdec [mas/yr]; sources without proper motion have NaN.
    sources
        Epochs and match radius.

    Returns
    -------
    index, separation, count
        Row of `gaia` (-1: none), its distance [arcsec] (NaN: none), number of sources within the radius.
    """
    ra, dec = np.asarray(ra, dtype=float), np.asarray(dec, dtype=float)
    index, separation, count = np.full(len(ra), -1), np.full(len(ra), np.nan), np.zeros(len(ra), dtype=int)
    placed = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    gaia_ra, gaia_dec, pmra, pmdec = (np.asarray(gaia[name], dtype=float) for name in ("ra", "dec", "pmra", "pmdec"))
    known = np.flatnonzero(np.isfinite(gaia_ra) & np.isfinite(gaia_dec))
    if not len(placed) or not len(known):
        return index, separation, count

    years = sources.apogee_epoch - sources.gaia_epoch
    tree = cKDTree(at_epoch(gaia_ra[known], gaia_dec[known], pmra[known], pmdec[known], years))
    stars = at_epoch(ra[placed], dec[placed], np.nan, np.nan, 0.0)
    chord = 2 * np.sin(sources.match_radius / _RADIAN_ARCSEC / 2)
    nearest_chord, nearest = tree.query(stars)
    matched = nearest_chord <= chord
    index[placed[matched]] = known[nearest[matched]]
    separation[placed[matched]] = 2 * np.arcsin(nearest_chord[matched] / 2) * _RADIAN_ARCSEC
    count[placed] = tree.query_ball_point(stars, chord, return_length=True)
    return index, separation, count
