"""Distances against others: the numbers of the paper's Figures 6 and 8."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import Table

from apogaia.arguments.plain import Columns, any_unit
from apogaia.arguments.takes import takes
from apogaia.physics.luminosity import corrected_parallax, robust_scatter

__all__ = ["MAX_GAIA_ERROR", "MAX_NN_ERROR", "Agreement", "agreement", "sharp_giants", "snr_gain"]

# Of Figure 8, relative: Gaia's from the paper's caption, the network's (total error) from the code released with it.
MAX_GAIA_ERROR = 0.05
MAX_NN_ERROR = 0.2

_GAIA = {"parallax": u.mas, "parallax_error": u.mas, "zero_point": u.mas}


@dataclass(frozen=True)
class Agreement:
    """How distances agree with reference distances, by ``100 (dist - reference) / reference`` [%]."""

    stars: int
    median_offset_percent: float  # positive: the distances are longer than the reference
    robust_scatter_percent: float  # Eq. 10


@takes(dist=u.pc, reference=u.pc)
def agreement(dist, reference) -> Agreement:
    """Agreement of distances with reference distances, both [pc].

    Stars without a finite distance or without a finite, positive reference are left out; NaN where none is left.
    """
    dist, reference = np.broadcast_arrays(np.asarray(dist, float), np.asarray(reference, float))
    known = np.isfinite(dist) & np.isfinite(reference) & (reference > 0)
    percent = 100 * (dist[known] - reference[known]) / reference[known]
    median = float(np.median(percent)) if percent.size else np.nan
    return Agreement(percent.size, median, robust_scatter(percent))


@takes(catalogue=Columns(_GAIA, dist=u.pc, dist_model_error=u.pc))
def snr_gain(catalogue: Table) -> np.ndarray:
    """SNR of the network's distance minus that of Gaia's parallax (Figure 6): positive where the network is better.

    The network's error is the model error, Gaia's parallax is corrected for the zero point. A negative parallax, which
    gives no distance, has a negative SNR. NaN where one of the two is unknown.

    Parameters
    ----------
    catalogue
        With dist and dist_model_error [pc], parallax, parallax_error and zero_point [mas], each (n,).
    """
    return _ratio(catalogue["dist"], catalogue["dist_model_error"]) - _gaia_snr(catalogue)


@takes(catalogue=Columns(_GAIA, dist=u.pc, dist_error=u.pc, teff=u.K, logg=any_unit))
def sharp_giants(catalogue: Table) -> dict[str, np.ndarray]:
    """Giants whose distance is well known from Gaia and from the network: the samples of Figure 8.

    Giants have log g < 3.5 and Teff < 5250 K, the luminous ones also log g < 2.2. The errors are below 5 % of Gaia's
    parallax, corrected for the zero point, and below 20 % of the network's distance (total error).

    Parameters
    ----------
    catalogue
        With dist and dist_error [pc], parallax, parallax_error and zero_point [mas], teff [K] and logg [dex].

    Returns
    -------
    dict
        Boolean masks (n,): "giants" and "luminous giants", which are part of these.
    """
    sharp = (_gaia_snr(catalogue) > 1 / MAX_GAIA_ERROR) & (
        _ratio(catalogue["dist"], catalogue["dist_error"]) > 1 / MAX_NN_ERROR
    )
    logg, teff = np.asarray(catalogue["logg"], float), np.asarray(catalogue["teff"], float)
    giants = sharp & (logg < 3.5) & (teff < 5250)
    return {"giants": giants, "luminous giants": giants & (logg < 2.2)}


def _gaia_snr(catalogue: Table) -> np.ndarray:
    return _ratio(corrected_parallax(catalogue["parallax"], catalogue["zero_point"]), catalogue["parallax_error"])


def _ratio(value, error) -> np.ndarray:
    """Value over its error; NaN where the error is not positive."""
    value, error = np.asarray(value, float), np.asarray(error, float)
    return value / np.where(error > 0, error, np.nan)
