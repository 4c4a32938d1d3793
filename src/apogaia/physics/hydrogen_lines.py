"""Wavelengths of hydrogen's lines in the H band."""

from __future__ import annotations

import numpy as np
from astropy import units as u

from apogaia.arguments.takes import takes

__all__ = ["RYDBERG_HYDROGEN", "brackett_wavelength"]

RYDBERG_HYDROGEN = 109677.583  # cm^-1, with the proton's finite mass (CODATA 2018)


@takes(upper=u.dimensionless_unscaled)
def brackett_wavelength(upper: int | np.ndarray) -> np.ndarray:
    """Vacuum wavelength [Angstrom] of the Brackett line from level `upper` to level 4."""
    return 1e8 / (RYDBERG_HYDROGEN * (1 / 16 - 1 / np.asarray(upper, dtype=float) ** 2))
