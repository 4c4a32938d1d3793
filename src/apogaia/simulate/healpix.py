"""The HEALPix pixel of a position, after which SDSS-V names folders."""

from __future__ import annotations

import numpy as np

__all__ = ["healpix"]

N_SIDE = 128


def healpix(ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
    """Return the pixel of positions [deg], in the ring scheme with 128 pixels a side (Gorski et al. 2005, section 5).

    Parameters
    ----------
    ra, dec
        (n,) right ascension and declination [deg].

    Returns
    -------
    (n,) int32
        Numbers from 0, at the north pole, to 196,607.
    """
    z = np.sin(np.deg2rad(dec))
    quarter = (np.asarray(ra) % 360) / 90
    belt = _belt(z, quarter)
    return np.where(np.abs(z) <= 2 / 3, belt, _cap(z, quarter)).astype(np.int32)


def _belt(z: np.ndarray, quarter: np.ndarray) -> np.ndarray:
    """Pixels around the equator: rings of 4 N_SIDE, every other one shifted by half a pixel."""
    up, down = N_SIDE * (0.5 + quarter - 0.75 * z), N_SIDE * (0.5 + quarter + 0.75 * z)
    up, down = np.floor(up).astype(int), np.floor(down).astype(int)
    ring = N_SIDE + 1 + up - down  # from 1 where the northern cap ends
    place = ((up + down - N_SIDE + 1 + (ring % 2 == 0)) // 2) % (4 * N_SIDE)
    return 2 * N_SIDE * (N_SIDE - 1) + (ring - 1) * 4 * N_SIDE + place


def _cap(z: np.ndarray, quarter: np.ndarray) -> np.ndarray:
    """Pixels around a pole: ring i has 4 i."""
    within = quarter % 1
    width = N_SIDE * np.sqrt(3 * (1 - np.abs(z)))
    east, west = np.floor(within * width).astype(int), np.floor((1 - within) * width).astype(int)
    ring = np.minimum(east + west + 1, N_SIDE)
    place = np.floor(quarter * ring).astype(int) % (4 * ring)
    north = 2 * ring * (ring - 1) + place
    return np.where(z > 0, north, 12 * N_SIDE**2 - 2 * ring * (ring + 1) + place)
