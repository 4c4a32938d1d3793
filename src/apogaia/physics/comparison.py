"""Distances against others: the numbers of the paper's Figures 6, 8 and 9, with their statistical errors."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from astropy import units as u
from astropy.table import Table
from scipy.optimize import minimize

from apogaia.arguments.plain import Columns, any_unit
from apogaia.arguments.takes import takes
from apogaia.physics.luminosity import corrected_parallax, robust_scatter

__all__ = [
    "MAX_GAIA_ERROR",
    "MAX_NN_ERROR",
    "Agreement",
    "RobustAgreement",
    "agreement",
    "agreement_by",
    "robust_agreement",
    "sharp_giants",
    "snr_gain",
]

# Of Figure 8, relative: Gaia's from the paper's caption, the network's (total error) from the code released with it.
MAX_GAIA_ERROR = 0.05
MAX_NN_ERROR = 0.2

MIXTURE_STARS = 30  # fewer do not tell contaminants from the wings of the errors
BIN_STARS = 10  # a bin with fewer is left out
BINS = 6
# Prior of what contaminants' ln ratios have beside the errors, ln of their spread and their mean: means, then sds.
PRIOR = np.array([[np.log(0.4), 0.0], [0.7, 0.3]])
MAX_SHARE = 0.5

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


@dataclass(frozen=True)
class RobustAgreement:
    """How distances agree with those of another catalogue that has contaminants; all but `stars` in per cent.

    Median and robust scatter are the paper's, of ``100 (dist - reference) / reference``. Contaminants move the one and
    widen the other a little. Offset and share are those of a likelihood in which a contaminant's error is larger, and
    so are free of them; they are unknown (NaN) for few stars. Errors are statistical: one standard deviation.
    """

    stars: int
    median_offset_percent: float  # positive: the distances are longer than the reference
    median_offset_error: float
    robust_scatter_percent: float  # Eq. 10
    robust_scatter_error: float
    offset_percent: float  # of the stars that are no contaminants
    offset_error: float
    contaminants_percent: float
    contaminants_error: float
    error_scale: float  # not in per cent: scatter of these stars in units of the stated errors


@takes(dist=u.pc, reference=u.pc, dist_error=u.pc, reference_error=u.pc)
def robust_agreement(dist, reference, dist_error=None, reference_error=None, groups=None) -> RobustAgreement:
    """Offset, scatter and contaminants of distances against a catalogue, with their errors.

    Stars without a finite, positive distance in both are left out. Any two quantities in proportion to distances, such
    as radii at given Ks and Teff, may stand in their place.

    Parameters
    ----------
    dist, reference
        Distances (n,) [pc].
    dist_error, reference_error
        Their errors (n,) [pc], which give each star its weight in the likelihood: a contaminant is a star whose
        difference they do not explain. NaN, or None: unknown, and the error is that of a typical star.
    groups
        (n,) names: stars of one name, such as a cluster's, share a part of their error.
    """
    dist, reference = np.broadcast_arrays(np.asarray(dist, float), np.asarray(reference, float))
    known = np.isfinite(dist) & np.isfinite(reference) & (reference > 0) & (dist > 0)
    relative = np.hypot(
        *(_relative(error, value) for error, value in ((dist_error, dist), (reference_error, reference)))
    )
    ratio, relative = (dist / np.where(known, reference, 1.0))[known], relative[known]
    sums = _group_sums(None if groups is None else np.asarray(groups)[known])
    percent = 100 * (ratio - 1)
    median, median_error = _median(percent, sums)
    deviation, deviation_error = _median(np.abs(percent - median), sums)
    found = _mixture(np.log(ratio), relative, sums) if ratio.size >= MIXTURE_STARS else [np.nan] * 5
    offset, offset_error, share, share_error, scale = (float(value) for value in found)
    return RobustAgreement(
        ratio.size,
        median,
        median_error,
        1.4826 * deviation,
        1.4826 * deviation_error,
        100 * np.expm1(offset),
        100 * np.exp(offset) * offset_error,
        100 * share,
        100 * share_error,
        scale,
    )


@takes(values=any_unit, dist=u.pc, reference=u.pc)
def agreement_by(values, dist, reference, groups=None) -> list[dict[str, float]]:
    """Median offset and robust scatter in bins with as many stars each.

    Parameters
    ----------
    values
        What the bins are in (n,), for instance log g; stars without it are left out.
    dist, reference, groups
        As in `robust_agreement`.

    Returns
    -------
    list of dict
        Per bin low, high, middle (the median), stars, and median and scatter with their errors under their names in
        `RobustAgreement`. Bins with fewer than 10 stars are left out, and there are fewer bins of few stars.
    """
    values, dist, reference = (np.asarray(column, float) for column in (values, dist, reference))
    known = np.isfinite(values) & np.isfinite(dist) & np.isfinite(reference) & (dist > 0) & (reference > 0)
    bins = min(BINS, int(known.sum()) // BIN_STARS)
    if not bins:
        return []
    edges = np.percentile(values[known], np.linspace(0, 100, bins + 1))
    made = []
    for low, high in itertools.pairwise(edges):
        inside = known & (values >= low) & ((values < high) | (high == edges[-1]))
        if inside.sum() < BIN_STARS:
            continue
        sums = _group_sums(None if groups is None else np.asarray(groups)[inside])
        percent = 100 * (dist[inside] / reference[inside] - 1)
        median, median_error = _median(percent, sums)
        deviation, deviation_error = _median(np.abs(percent - median), sums)
        made.append(
            {
                "low": float(low),
                "high": float(high),
                "middle": float(np.median(values[inside])),
                "stars": int(inside.sum()),
                "median_offset_percent": median,
                "median_offset_error": median_error,
                "robust_scatter_percent": 1.4826 * deviation,
                "robust_scatter_error": 1.4826 * deviation_error,
            }
        )
    return made


def _relative(error, value: np.ndarray) -> np.ndarray:
    """Relative errors; 0 where unknown."""
    if error is None:
        return np.zeros(value.shape)
    relative = np.asarray(error, float) / np.where(value > 0, value, np.nan)
    return np.where(np.isfinite(relative) & (relative > 0), relative, 0.0)


def _group_sums(groups: np.ndarray | None):
    """A function that adds up rows (n,) or (n, k) of each group: stars of one group are not independent."""
    if groups is None:
        return lambda rows: rows
    _, index = np.unique(groups, return_inverse=True)

    def sums(rows: np.ndarray) -> np.ndarray:
        made = np.zeros((index.max() + 1, *rows.shape[1:])) if len(index) else rows
        np.add.at(made, index, rows)
        return made

    return sums


def _median(values: np.ndarray, sums) -> tuple[float, float]:
    """The median and its error, for any distribution: the values so many ranks to either side that the median may have.

    Half of the stars lie below the median, give or take sqrt(n) / 2, or more where groups share an error.
    """
    if not values.size:
        return np.nan, np.nan
    median = float(np.median(values))
    ranks = 0.5 * np.sqrt(np.sum(sums(np.sign(values - median)) ** 2)) / values.size
    low, high = np.percentile(values, 100 * np.clip([0.5 - ranks, 0.5 + ranks], 0, 1))
    return median, float(high - low) / 2


def _mixture(logarithm: np.ndarray, relative: np.ndarray, sums) -> tuple[float, ...]:
    """Offset, its error, share of contaminants, its error and scale of the errors, by maximum likelihood.

    An ordinary star's ln ratio is normal about the offset, with its relative error times the scale. Contaminants have
    a mean and a spread of their own in addition. Errors are from the sandwich of the scores, added up over groups.
    """
    unknown = relative <= 0
    centre = np.median(logarithm)
    typical = np.median(relative[~unknown]) if (~unknown).any() else robust_scatter(logarithm)
    relative = np.where(unknown, typical or 1e-3, relative)

    def scores(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        offset, log_scale, share, log_spread, shift = parameters
        core, extra = np.exp(2 * log_scale) * relative**2, np.exp(2 * log_spread)
        wide, residual = core + extra, logarithm - offset
        log_core = -0.5 * (residual**2 / core + np.log(core))
        log_wide = -0.5 * ((residual - shift) ** 2 / wide + np.log(wide))
        top = np.maximum(log_core, log_wide)
        core_part, wide_part = np.exp(log_core - top), np.exp(log_wide - top)
        total = (1 - share) * core_part + share * wide_part
        bad = share * wide_part / total
        by_shift = bad * (residual - shift) / wide
        beyond = bad * ((residual - shift) ** 2 / wide - 1) / wide
        slopes = (
            (1 - bad) * residual / core + by_shift,
            (1 - bad) * (residual**2 / core - 1) + beyond * core,
            (wide_part - core_part) / total,
            beyond * extra,
            by_shift,
        )
        return top + np.log(total), np.stack(slopes, axis=-1)

    def cost(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        log_likelihood, slopes = scores(parameters)
        off = (parameters[3:] - PRIOR[0]) / PRIOR[1]
        gradient = -slopes.sum(axis=0)
        gradient[3:] += off / PRIOR[1]
        return off @ off / 2 - log_likelihood.sum(), gradient

    scale = np.log(max(robust_scatter((logarithm - centre) / relative), 1e-3))
    narrowest = np.log(3 * np.median(relative)) + scale  # a narrower spread would be the wings of the errors
    bounds = [(None, None), (scale - 1.5, scale + 1.5), (0.0, MAX_SHARE), (min(narrowest, 0.5), 1.0), (-1.5, 1.5)]
    start = [centre, scale, 0.03, np.clip(PRIOR[0, 0], *bounds[3]), 0.0]
    found = minimize(cost, start, jac=True, bounds=bounds, method="L-BFGS-B").x
    slopes = scores(found)[1]
    information = slopes.T @ slopes + np.diag(np.concatenate([np.zeros(3), PRIOR[1] ** -2.0]))
    inverse = np.linalg.pinv(information)
    shared = sums(slopes)
    errors = np.sqrt(np.maximum(np.diag(inverse @ (shared.T @ shared) @ inverse), 0))
    return found[0], errors[0], found[2], errors[2], np.exp(found[1])


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
