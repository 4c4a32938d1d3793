"""Where the stars are in the Galaxy: Galactocentric positions, binned maps, orbits.

Galactocentric axes are astropy's: right-handed, the Sun at negative x, y in the direction of rotation, z northwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from astropy import units as u
from astropy.coordinates import CartesianDifferential, Galactocentric, SkyCoord
from astropy.table import Table
from scipy.stats import binned_statistic_2d

from apogaia.arguments.plain import Columns, any_unit
from apogaia.arguments.takes import takes
from apogaia.physics.luminosity import robust_scatter
from apogaia.physics.sun import SUN_DISTANCE_KPC, SUN_HEIGHT_KPC, SUN_VELOCITY_KM_S
from apogaia.survey import MapsSettings

if TYPE_CHECKING:
    from galpy.orbit import Orbit

__all__ = [
    "MAP_ELEMENTS",
    "abundance_ratio",
    "binned_median",
    "galactocentric",
    "galactocentric_from_galactic",
    "map_against_truth",
    "map_edges",
    "map_sample",
    "median_by_radius",
    "orbits",
    "true_galactocentric",
]

# The 15 elements of Figure 11, as in the column names of stars.h5.
MAP_ELEMENTS = ("c", "n", "o", "na", "mg", "al", "si", "s", "k", "ca", "tiii", "v", "mn", "co", "ni")

RING_WIDTH_KPC, RINGS, MIN_STARS_IN_RING = 2, 8, 5

_POSITIONS = Columns(ra=u.deg, dec=u.deg)
_TRUE_DISTANCES = Columns(distance_kpc=u.kpc)
_DISTANCES = Columns(dist=u.pc, dist_model_error=u.pc)
_PARAMETERS = Columns(
    dict.fromkeys(("logg_error", "fe_h", "fe_h_error"), u.dex),
    **{f"{element}_h{end}": u.dex for element in MAP_ELEMENTS for end in ("", "_error")},
)
_PHASE_SPACE = Columns(ra=u.deg, dec=u.deg, dist=u.pc, pmra=u.mas / u.yr, pmdec=u.mas / u.yr)


def _frame(maps: MapsSettings) -> dict:
    return {
        "galcen_distance": maps.sun_distance * u.kpc,
        "z_sun": maps.sun_height * u.pc,
        "galcen_v_sun": CartesianDifferential(SUN_VELOCITY_KM_S * u.km / u.s),
    }


@takes(ra=u.deg, dec=u.deg, dist=u.pc)
def galactocentric(ra, dec, dist, maps: MapsSettings):
    """Galactocentric x, y, z [kpc] of stars at ra, dec [deg, ICRS] and dist [pc].

    NaN where one is unknown; so is a negative distance.
    """
    ra, dec, dist = (np.asarray(values, dtype=float) for values in np.broadcast_arrays(ra, dec, dist))
    known = np.isfinite(ra) & np.isfinite(dec) & np.isfinite(dist) & (dist >= 0)
    xyz = np.full((3, *ra.shape), np.nan)
    stars = SkyCoord(ra=ra[known] * u.deg, dec=dec[known] * u.deg, distance=dist[known] * u.pc)
    xyz[:, known] = stars.transform_to(Galactocentric(**_frame(maps))).cartesian.xyz.to_value(u.kpc)
    return xyz[0], xyz[1], xyz[2]


@takes(glon=u.deg, glat=u.deg, distance_kpc=u.kpc)
def galactocentric_from_galactic(glon, glat, distance_kpc):
    """Galactocentric x, y, z [kpc] of stars at Galactic longitude and latitude [deg] and distance [kpc].

    Plain trigonometry, fast enough for millions of positions. The plane z = 0 is parallel to b = 0: unlike
    `galactocentric`, it neglects the tilt of 0.15 deg between the two that the Sun's height causes.
    """
    glon, glat = np.deg2rad(glon), np.deg2rad(glat)
    x = distance_kpc * np.cos(glat) * np.cos(glon) - SUN_DISTANCE_KPC
    y = distance_kpc * np.cos(glat) * np.sin(glon)
    return x, y, distance_kpc * np.sin(glat) + SUN_HEIGHT_KPC


@takes(catalogue=_POSITIONS, truth=_TRUE_DISTANCES)
def true_galactocentric(catalogue: Table, truth: Table, maps: MapsSettings):
    """Galactocentric x, y, z [kpc] at which stars of a simulated survey really are.

    ra, dec [deg, ICRS] from its catalogue, ``distance_kpc`` [kpc] from its truth, row by row; NaN where one is unknown.
    """
    distance_pc = 1000.0 * np.asarray(truth["distance_kpc"], float)
    return galactocentric(np.asarray(catalogue["ra"]), np.asarray(catalogue["dec"]), distance_pc, maps)


def map_edges(maps: MapsSettings) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the map's bins in x and in y [kpc], each (bins + 1,)."""
    y_edges = np.linspace(-maps.half_width, maps.half_width, maps.bins + 1)
    return maps.centre_x + y_edges, y_edges


@takes(x=u.kpc, y=u.kpc, values=any_unit)
def binned_median(x, y, values, maps: MapsSettings) -> tuple[np.ndarray, np.ndarray]:
    """Median of `values` in square bins of the Galactic plane (Figures 10 and 11).

    Parameters
    ----------
    x, y
        Galactocentric positions [kpc].
    values
        One per star. Stars of which anything is unknown, or outside the map, are left out.
    maps
        For the bins and for the number of stars that a bin needs at least.

    Returns
    -------
    median, counts
        Each (bins, bins), the first index along x, the second along y. The median is NaN in bins of too few stars.
    """
    x, y, values = (np.asarray(column, dtype=float) for column in (x, y, values))
    known = np.isfinite(x) & np.isfinite(y) & np.isfinite(values)
    if not known.any():
        return np.full((maps.bins, maps.bins), np.nan), np.zeros((maps.bins, maps.bins), dtype=int)
    edges = map_edges(maps)
    grids = [
        binned_statistic_2d(x[known], y[known], values[known], statistic, bins=edges).statistic
        for statistic in ("median", "count")
    ]
    counts = grids[1].astype(int)
    return np.where(counts >= maps.min_stars, grids[0], np.nan), counts


def map_against_truth(found: np.ndarray, true: np.ndarray) -> dict[str, float | int | None]:
    """Difference between a map of `binned_median` and that of the true positions and values, in their unit.

    Returns
    -------
    dict
        "bins": number of those that both maps fill; "median_difference" and robust "scatter" of found minus true over
        these, None if there is none.

    Raises
    ------
    ValueError
        If the maps have different bins.
    """
    found, true = np.asarray(found, float), np.asarray(true, float)
    if found.shape != true.shape:
        raise ValueError(f"maps must have the same bins, not {found.shape} and {true.shape}")
    difference = (found - true)[np.isfinite(found) & np.isfinite(true)]
    if not difference.size:
        return {"bins": 0, "median_difference": None, "scatter": None}
    return {
        "bins": int(difference.size),
        "median_difference": float(np.median(difference)),
        "scatter": robust_scatter(difference),
    }


@takes(radius=u.kpc, values=any_unit)
def median_by_radius(radius, values) -> dict[str, float | None]:
    """Median of `values` in rings of 2 kpc about the Galactic centre, out to 16 kpc, from radii [kpc].

    Keys as "4-6 kpc"; None where fewer than five stars are known.
    """
    radius, values = np.asarray(radius, float), np.asarray(values, float)
    known = np.isfinite(radius) & np.isfinite(values)
    rings: dict[str, float | None] = {}
    for low in RING_WIDTH_KPC * np.arange(RINGS):
        rows = known & (radius >= low) & (radius < low + RING_WIDTH_KPC)
        enough = rows.sum() >= MIN_STARS_IN_RING
        rings[f"{low}-{low + RING_WIDTH_KPC} kpc"] = float(np.median(values[rows])) if enough else None
    return rings


@takes(catalogue=_DISTANCES, parameters=_PARAMETERS, z=u.kpc)
def map_sample(catalogue: Table, parameters: Table, z, maps: MapsSettings) -> dict[str, np.ndarray]:
    """Which stars the maps use (section 6).

    Model error of the distance, log g error, [Fe/H] error and height below their limits; for an element also its
    [X/H] error. The paper counts the distance's model error, not the total: its numbers of stars follow from that.

    Parameters
    ----------
    catalogue
        With dist and dist_model_error [pc].
    parameters
        The same stars' logg_error, fe_h and fe_h_error [dex], and ``mg_h``, ``mg_h_error`` and so on for each element.
    z
        Galactocentric height [kpc].
    maps
        For the limits.

    Returns
    -------
    dict
        Boolean masks (n,): "fe" for the [Fe/H] map, and each of `MAP_ELEMENTS` for its [X/Fe] map.
    """
    column = _columns(parameters)
    with np.errstate(divide="ignore", invalid="ignore"):
        relative_error = np.asarray(catalogue["dist_model_error"], float) / np.asarray(catalogue["dist"], float)
    sample = (
        (relative_error < maps.max_relative_dist_error)
        & (column("logg_error") < maps.max_logg_error)
        & np.isfinite(column("fe_h"))
        & (column("fe_h_error") < maps.max_fe_h_error)
        & (1000 * np.abs(np.asarray(z, float)) < maps.max_height)
    )
    elements = {
        element: sample & np.isfinite(column(f"{element}_h")) & (column(f"{element}_h_error") < maps.max_x_h_error)
        for element in MAP_ELEMENTS
    }
    return {"fe": sample, **elements}


@takes(parameters=_PARAMETERS)
def abundance_ratio(parameters: Table, element: str) -> np.ndarray:
    """[X/Fe] of `element` as in `MAP_ELEMENTS`, or [Fe/H] for "fe" [dex].

    Raises
    ------
    ValueError
        If there is no such element.
    """
    if element != "fe" and f"{element}_h" not in parameters.colnames:
        raise ValueError(f"element must be one of fe, {', '.join(MAP_ELEMENTS)}, not {element!r}")
    column = _columns(parameters)
    return column("fe_h") if element == "fe" else column(f"{element}_h") - column("fe_h")


def _columns(table: Table):
    return lambda name: np.asarray(table[name], dtype=float)


@takes(catalogue=_PHASE_SPACE, v_helio=u.km / u.s)
def orbits(catalogue: Table, v_helio, maps: MapsSettings) -> tuple[Orbit, np.ndarray]:
    """Make galpy orbits of the stars whose position, distance and velocity are known; the others have none.

    Parameters
    ----------
    catalogue
        With ra, dec [deg], dist [pc], pmra, pmdec [mas/yr]. A distance that is not positive is unknown.
    v_helio
        Heliocentric radial velocity [km/s] of each row.
    maps
        For the Sun's distance from the centre and height.

    Returns
    -------
    orbits, rows
        One `galpy.orbit.Orbit` of all these stars, and the rows of the catalogue that they are.

    Raises
    ------
    ValueError
        If there is no such star.
    """
    from galpy.orbit import Orbit  # here: it takes seconds to import, and maps do not need it

    columns = [np.asarray(catalogue[name], dtype=float) for name in ("ra", "dec", "dist", "pmra", "pmdec")]
    known = np.all(np.isfinite([*columns, np.asarray(v_helio, dtype=float)]), axis=0)
    rows = np.flatnonzero(known & (columns[2] > 0))
    if not rows.size:
        raise ValueError(
            f"no star has a known position, distance, proper motion and radial velocity ({len(catalogue)} rows given)"
        )
    ra, dec, dist, pmra, pmdec = (column[rows] for column in columns)
    stars = SkyCoord(
        ra=ra * u.deg,
        dec=dec * u.deg,
        distance=dist * u.pc,
        pm_ra_cosdec=pmra * u.mas / u.yr,
        pm_dec=pmdec * u.mas / u.yr,
        radial_velocity=np.asarray(v_helio, dtype=float)[rows] * u.km / u.s,
        **_frame(maps),
    )
    return Orbit(stars), rows
