"""Pointings of the simulated survey and its selection in H: the cohorts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["COHORTS", "Field", "survey_fields"]

# APOGEE's cohorts end at H = 12.2, 12.8 and 13.3. Each bin of H gets a share of a field's fibres.
COHORTS = {
    "short": ((7.0, 10.2, 0.52), (10.2, 11.3, 0.25), (11.3, 12.2, 0.23)),
    "medium": ((7.0, 10.2, 0.48), (10.2, 11.3, 0.22), (11.3, 12.2, 0.19), (12.2, 12.8, 0.11)),
    "long": ((7.0, 10.2, 0.46), (10.2, 11.3, 0.21), (11.3, 12.2, 0.17), (12.2, 12.8, 0.09), (12.8, 13.3, 0.07)),
}


@dataclass(frozen=True)
class Field:
    """One plate: a field of 1.4 deg radius."""

    name: str
    location_id: int
    glon: float  # deg
    glat: float  # deg
    cohorts: str  # key of `COHORTS`
    min_j_k: float  # targets have (J - Ks)_0 above
    weight: float  # share of the survey's stars, relative


# (glon, glat [deg], cohorts, least (J - Ks)_0, weight)
Pointing = tuple[float, float, str, float, float]

LATITUDES = (-8, -4, 0, 4, 8)  # of the fields in the disc and towards the bulge
KEPLER_ROWS = {  # glat: glon of a row's fields; each row is shifted by half a field from the next
    7.0: (68.3, 71.7, 75.1, 78.5),
    10.2: (70.0, 73.4, 76.8, 80.2),
    13.4: (68.3, 71.7, 75.1, 78.5, 81.9),
    16.6: (70.0, 73.4, 76.8, 80.2),
    19.8: (68.3, 71.7, 75.1, 78.5),
}


def survey_fields(layout: str = "apogee", southern: bool = False) -> tuple[Field, ...]:
    """Return the pointings, named and numbered as APOGEE does.

    Parameters
    ----------
    layout
        "apogee": bulge, disc in and near the plane, and the northern halo. "kepler": the 21 adjacent pointings of one
        compact field, about where the Kepler satellite looked.
    southern
        Whether to add the fields of the second telescope, at Las Campanas, to "apogee": the fourth quadrant of disc and
        bulge, and the southern halo.

    Raises
    ------
    ValueError
        If there is no such layout.
    """
    if layout not in ("apogee", "kepler"):
        raise ValueError(f"layout must be one of apogee, kepler, not {layout!r}")
    if layout == "kepler":
        return _fields([(glon, glat, "short", 0.5, 1.0) for glat, row in KEPLER_ROWS.items() for glon in row], 4401)
    north = (16, 21, 26, 30, 34, 40, 46, 52, 60, 70, 80, 90, 105, 120, 135, 150, 165, 180, 195, 210, 225)
    pointings = [_bulge(glon, glat) for glat in LATITUDES for glon in (0, 3, 6, 9, 12)]
    pointings += [_disc(glon, glat) for glat in LATITUDES for glon in north]
    pointings += [_halo(glon, glat) for glat in (-45, -20, 20, 45, 60, 75) for glon in (30, 75, 120, 170)]
    if southern:
        for glat in LATITUDES:
            pointings += [_bulge(glon, glat) for glon in (348, 354)]
            pointings += [_disc(glon, glat) for glon in (250, 270, 290, 305, 320, 335)]
        pointings += [_halo(glon, glat) for glat in (-60, -45, -20) for glon in (250, 300)]
    return _fields(pointings, 4101)


def _bulge(glon: float, glat: float) -> Pointing:
    return glon, glat, "short", 0.5, 0.55


def _disc(glon: float, glat: float) -> Pointing:
    """Return a pointing of the disc, with more stars in the plane and observed there for longer."""
    weight = 1.0 if abs(glat) == 4 else 1.3 - abs(glat) / 16
    return glon, glat, "medium" if glat else "long", 0.5, weight


def _halo(glon: float, glat: float) -> Pointing:
    return glon, glat, "long", 0.3, 0.7


def _fields(pointings: Iterable[Pointing], first_id: int) -> tuple[Field, ...]:
    return tuple(
        Field(f"{glon:03.0f}{glat:+03.0f}", first_id + i, float(glon), float(glat), cohorts, min_j_k, weight)
        for i, (glon, glat, cohorts, min_j_k, weight) in enumerate(pointings)
    )
