"""Pointings of the simulated survey and its selection in H: the cohorts."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COHORTS", "LAYOUTS", "Field", "survey_fields"]

# APOGEE's cohorts end at H = 12.2, 12.8 and 13.3. Each bin of H gets a share of a field's fibres.
COHORTS = {
    "short": ((7.0, 10.2, 0.52), (10.2, 11.3, 0.25), (11.3, 12.2, 0.23)),
    "medium": ((7.0, 10.2, 0.48), (10.2, 11.3, 0.22), (11.3, 12.2, 0.19), (12.2, 12.8, 0.11)),
    "long": ((7.0, 10.2, 0.46), (10.2, 11.3, 0.21), (11.3, 12.2, 0.17), (12.2, 12.8, 0.09), (12.8, 13.3, 0.07)),
}


@dataclass(frozen=True)
class Field:
    """One plate's worth of sky, 1.4 deg in radius."""

    name: str
    location_id: int
    glon: float  # deg
    glat: float  # deg
    cohorts: str  # key of `COHORTS`
    min_j_k: float  # targets have (J - Ks)_0 above
    weight: float  # share of the survey's stars, relative


LAYOUTS = ("apogee", "kepler")


def survey_fields(layout: str = "apogee", southern: bool = False) -> tuple[Field, ...]:
    """The pointings, named and numbered as APOGEE does.

    Parameters
    ----------
    layout
        "apogee": bulge, disc in and near the plane, and the northern halo. "kepler": the 21 adjacent pointings of one
        compact field, about where the Kepler satellite looked.
    southern
        With the fields that the second telescope, at Las Campanas, added to "apogee": the fourth quadrant of disc and
        bulge, and the southern halo.
    """
    places = []
    if layout == "kepler":
        for k, glat in enumerate((7.0, 10.2, 13.4, 16.6, 19.8)):
            for glon in (70.0, 73.4, 76.8, 80.2) if k % 2 else (68.3, 71.7, 75.1, 78.5, 81.9)[: 4 + (k == 2)]:
                places.append((glon, glat, "short", 0.5, 1.0))
        return _fields(places, 4401)
    for glat in (-8, -4, 0, 4, 8):
        for glon in (0, 3, 6, 9, 12):
            places.append((glon, glat, "short", 0.5, 0.55))
    for glat in (-8, -4, 0, 4, 8):
        for glon in (16, 21, 26, 30, 34, 40, 46, 52, 60, 70, 80, 90, 105, 120, 135, 150, 165, 180, 195, 210, 225):
            places.append(
                (glon, glat, "medium" if glat else "long", 0.5, 1.0 if abs(glat) == 4 else 1.3 - abs(glat) / 16)
            )
    for glat in (-45, -20, 20, 45, 60, 75):
        for glon in (30, 75, 120, 170):
            places.append((glon, glat, "long", 0.3, 0.7))
    if southern:
        for glat in (-8, -4, 0, 4, 8):
            for glon in (348, 354):
                places.append((glon, glat, "short", 0.5, 0.55))
            for glon in (250, 270, 290, 305, 320, 335):
                places.append(
                    (glon, glat, "medium" if glat else "long", 0.5, 1.0 if abs(glat) == 4 else 1.3 - abs(glat) / 16)
                )
        for glat in (-60, -45, -20):
            for glon in (250, 300):
                places.append((glon, glat, "long", 0.3, 0.7))
    return _fields(places, 4101)


def _fields(places, first_id: int) -> tuple[Field, ...]:
    return tuple(
        Field(f"{glon:03.0f}{glat:+03.0f}", first_id + i, float(glon), float(glat), cohorts, min_j_k, weight)
        for i, (glon, glat, cohorts, min_j_k, weight) in enumerate(places)
    )
