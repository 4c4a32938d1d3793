"""The Sun's position and velocity in the Galaxy."""

__all__ = ["SUN_DISTANCE_KPC", "SUN_HEIGHT_KPC", "SUN_VELOCITY_KM_S"]

SUN_DISTANCE_KPC = 8.125
"""Distance from the Galactic centre: GRAVITY Collaboration (2018)."""

SUN_HEIGHT_KPC = 0.0208
"""Height above the Galactic plane: Bennett & Bovy (2019)."""

SUN_VELOCITY_KM_S = (11.1, 245.7, 7.25)
"""Galactocentric velocity towards the centre, in the direction of rotation and northwards, as released with the paper's
catalogue. First and last: Schoenrich, Binney & Dehnen (2010); second: the proper motion of Sgr A*, 6.379 mas/yr (Reid &
Brunthaler 2004), at 8.125 kpc."""
