"""Place and motion of the Sun in the Galaxy, the same wherever they are not a setting of the survey."""

from __future__ import annotations

__all__ = ["SUN_DISTANCE_KPC", "SUN_HEIGHT_KPC", "SUN_VELOCITY_KM_S"]

SUN_DISTANCE_KPC = 8.125  # from the Galactic centre: GRAVITY Collaboration (2018)
SUN_HEIGHT_KPC = 0.0208  # above the mid-plane: Bennett & Bovy (2019)
# Galactocentric, towards the centre, along the rotation, northwards: the values released with the paper's catalogue.
SUN_VELOCITY_KM_S = (11.1, 245.7, 7.25)
