"""Pointings of the simulated survey and its selection in H: the cohorts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["COHORTS", "Field", "survey_fields"]

# Cohorts: limits in H, visits that are planned for them, and their share of a field's stars. Within a cohort stars are
# drawn at random (Zasowski et al. 2013; Bovy et al. 2014 find no trend with H), so the sky's own counts set their H. A
# field of several cohorts shows its bright stars to several sets of fibres, so these are the most.
COHORTS = {
    "single": ((7.0, 11.0, 1, 1.0),),
    "short": ((7.0, 12.2, 3, 1.0),),
    "medium": ((7.0, 12.2, 3, 0.80), (12.2, 12.8, 6, 0.20)),
    "long": ((7.0, 12.2, 3, 0.74), (12.2, 12.8, 6, 0.17), (12.8, 13.3, 12, 0.09)),
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

BULGE_LATITUDES = (-8, -4, 0, 4, 8)
DISC_LATITUDES = (-16, -8, -4, 0, 4, 8, 16)  # the survey's disc ends at 16 deg (Zasowski et al. 2013)
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
        "apogee": bulge, disc, northern halo and the Kepler satellite's field. "kepler": the latter's 21 adjacent
        pointings alone, one compact field.
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
    kepler = [(glon, glat) for glat, row in KEPLER_ROWS.items() for glon in row]
    if layout == "kepler":
        return _fields([(*place, "short", 0.5, 1.0) for place in kepler], 4401)
    north = (24, 30, 36, 42, 48, 54, 60, 66, 72, 78, 84, 90, 105, 120, 135, 150, 165, 180, 195, 210, 225, 240)
    pointings = [_bulge(glon, glat) for glat in BULGE_LATITUDES for glon in (0, 3, 6, 9, 12, 16)]
    pointings += [_disc(glon, glat) for glat in DISC_LATITUDES for glon in north]
    pointings += [_halo(glon, glat) for glat in (-60, -45, -30, 30, 45, 60, 75) for glon in (30, 75, 120, 170)]
    pointings += [(*place, "single", 0.5, 0.8) for place in kepler]
    if southern:
        pointings += [_bulge(glon, glat) for glat in BULGE_LATITUDES for glon in (348, 354)]
        pointings += [_disc(glon, glat) for glat in DISC_LATITUDES for glon in (250, 270, 290, 305, 320, 335)]
        pointings += [_halo(glon, glat) for glat in (-75, -60, -45, -30) for glon in (250, 300)]
    return _fields(pointings, 4101)


def _bulge(glon: float, glat: float) -> Pointing:
    """Return a pointing of the bulge, low in the sky at Apache Point: one visit."""
    return glon, glat, "single", 0.5, 0.6


def _disc(glon: float, glat: float) -> Pointing:
    """Return a pointing of the disc; those near the plane have the long programmes."""
    return glon, glat, "short" if abs(glat) > 4 else "long", 0.5, 1.0


def _halo(glon: float, glat: float) -> Pointing:
    """Return a pointing of the halo, whose limit in colour is bluer."""
    return glon, glat, "medium", 0.3, 1.5


def _fields(pointings: Iterable[Pointing], first_id: int) -> tuple[Field, ...]:
    return tuple(
        Field(f"{glon:03.0f}{glat:+03.0f}", first_id + i, float(glon), float(glat), cohorts, min_j_k, weight)
        for i, (glon, glat, cohorts, min_j_k, weight) in enumerate(pointings)
    )
