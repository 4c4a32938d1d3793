"""Luminosities and zero point fitted together until they converge: weighted least squares with contaminants.

Luminosities that are linear in features of the spectra are fitted together with the zero point:

    parallax_i = exp(ln L_i + w . features_i + shift_i - 0.2 ln(10) K0_i) + zero point . offset_basis_i

by iterated, weighted least squares. The scatter of ln luminosity, which sets the weights of the stars, is fitted too.
The shift follows from the density of stars (`stellar_density`, `density_shift`) and is known beforehand. A star may be
a contaminant, as in `apogaia.model.likelihood.robust_parallax_loss`; the fraction of contaminants is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from apogaia.refit.splines import quantile_knots, spline_basis

__all__ = [
    "Refit",
    "density_shift",
    "fit",
    "log_fakemag_to_abs_mag",
    "luminosity_spline",
]

LN10 = np.log(10.0)
MAG_PER_LN = 5.0 / LN10  # absolute magnitudes per unit of ln fakemag
CONTAMINANT_WIDTH = 15.0
"""Standard deviation of contaminants in units of an ordinary star's, unless a survey says otherwise: their parallaxes
are off by 20 errors and more. The shipped surveys have the same in [calibration]."""

MIN_ITERATIONS, MAX_ITERATIONS = 5, 150
UNDAMPED_ITERATIONS = (
    15  # of small samples the scatter and the contaminants swing with each step: later ones are damped
)
DAMPING = 0.3  # share of a later step that is taken
TOLERANCE_UAS = 0.01  # a last step of the zero point below this has converged: far below any statistical error
LARGEST_LAST_STEP_UAS = 0.5  # beyond it a fit that has used up its iterations has failed; its error is a few uas
SCATTER_TOLERANCE = 0.02  # of ln scatter; weights hardly depend on it
FRACTION_LIMITS = (1e-4, 0.03)  # of contaminants: more would be ordinary stars with a wrong scatter
LOG_SCATTER_LIMITS = (-4.0, -0.7)  # of ln luminosity: 2 to 50 per cent
LOG_PARALLAX_LIMITS = (
    -7.0,
    4.0,
)  # ln of mas: 0.001 to 55 mas, wider than any star of the surveys; guards the first steps


def log_fakemag_to_abs_mag(log_fakemag):
    """Absolute Ks magnitude [mag] from ln of fakemag, L = 10^(0.2 M + 2)."""
    return MAG_PER_LN * (np.asarray(log_fakemag) - 2.0 * LN10)


def density_shift(scatter, slope) -> np.ndarray:
    """Mean shift of ln fakemag, -sigma_M^2 d ln A / dK in magnitudes (see `stellar_density`), at a given scatter.

    The scatter is that of a fit without shift: fitted together, each would feed the other.

    Parameters
    ----------
    scatter
        Of ln fakemag.
    slope
        d ln A / dK [1 / mag].
    """
    return -MAG_PER_LN * np.asarray(scatter) ** 2 * np.asarray(slope)


@dataclass(frozen=True)
class Refit:
    """A fitted zero point with the luminosities that belong to it."""

    zero_point_uas: np.ndarray  # one per column of the offset basis
    covariance_uas2: np.ndarray  # from the residuals themselves (sandwich)
    weights: np.ndarray  # of the features, in ln fakemag
    log_fakemag: np.ndarray  # (n,) refitted, without the shift of the density
    scatter: np.ndarray  # (n,) of ln fakemag
    scatter_weights: np.ndarray  # of the scatter's basis: ln of the scatter, or of its ratio to the one expected
    contaminant_fraction: float
    contaminant_width: float  # in units of an ordinary star's standard deviation

    def weight(self, parallax, parallax_error, true_parallax, scatter) -> np.ndarray:
        """Weight of each star in the last iteration [mas^-2], from its residual, its errors and whether it is good."""
        total = np.asarray(parallax_error) ** 2 + (scatter * true_parallax) ** 2
        residual = parallax - true_parallax - 1e-3 * self.zero_point_uas[0]
        if self.contaminant_fraction == 0:
            return 1.0 / total
        good = _good(residual**2 / total, self.contaminant_fraction, self.contaminant_width)
        return (good + (1.0 - good) / self.contaminant_width**2) / total

    @property
    def error_uas(self) -> np.ndarray:
        """Standard errors of the zero point."""
        return np.sqrt(np.diag(self.covariance_uas2))


def fit(
    parallax,
    parallax_error,
    k0_mag,
    log_fakemag,
    features,
    *,
    shift=None,
    offset_basis=None,
    scatter_basis=None,
    expected_scatter=None,
    scatter_ridge=0.0,
    ridge=0.0,
    offset_prior_uas=None,
    robust: bool = True,
    contaminant_width: float = CONTAMINANT_WIDTH,
) -> Refit:
    """Fit luminosities and zero point together.

    Parameters
    ----------
    parallax, parallax_error
        (n,) Gaia's, uncorrected [mas].
    k0_mag
        (n,) Ks without extinction.
    log_fakemag
        (n,) ln of fakemag from which the fit starts; its scatter depends on it.
    features
        (n, p) features of the stars; a correction of ln fakemag is linear in them.
    shift
        (n,) of `density_shift`, in ln fakemag; None: 0, as if the spectrum said nothing about distance.
    offset_basis
        (n, q) in which the zero point is linear; None: a constant.
    scatter_basis
        (n, r) in which ln of the scatter is linear; None: a spline of the luminosity.
    expected_scatter
        (n,) of ln fakemag; the basis then makes ln of the ratio to it. None: the basis makes the whole scatter.
    scatter_ridge
        (r,) or a number: penalty on the squares of the basis' weights. It pulls the scatter towards the expected one
        where the stars tell little of it.
    ridge
        (p,) or a number: penalty on the squares of the features' weights.
    offset_prior_uas
        (q,) standard deviations of a Gaussian prior about zero; inf: none. None: no prior.
    robust
        Whether there may be contaminants.
    contaminant_width
        Their standard deviation, in units of an ordinary star's.

    Returns
    -------
    Refit
        Arrays of length n, q or p as its attributes say; the errors are those of the residuals themselves (sandwich),
        or with a prior the posterior's.

    Raises
    ------
    ValueError
        If a value is not finite, or the fit does not converge.

    Notes
    -----
    Contaminants as in Hogg, Bovy & Lang (2010), section 3, by expectation and maximisation. The luminosities follow
    from the mean alone (quasi-likelihood): a wrong scatter costs precision, and does not bias them.
    """
    parallax, error, k0, start = (np.asarray(v, float) for v in (parallax, parallax_error, k0_mag, log_fakemag))
    n = len(parallax)
    basis = np.ones((n, 1)) if offset_basis is None else np.asarray(offset_basis, float)
    shift = np.zeros(n) if shift is None else np.asarray(shift, float)
    given = {"parallax": parallax, "parallax error": error, "K0": k0, "ln fakemag": start, "features": features}
    expected = np.zeros(n) if expected_scatter is None else np.log(np.asarray(expected_scatter, float))
    _check_finite(given | {"shift": shift, "offset basis": basis, "ln expected scatter": expected})
    spread = (
        luminosity_spline(start, scatter_coefficients(n)) if scatter_basis is None else np.asarray(scatter_basis, float)
    )
    p, q, r = features.shape[1], basis.shape[1], spread.shape[1]
    pull = _pull(p, q, ridge, offset_prior_uas)
    scatter_pull = np.broadcast_to(np.asarray(scatter_ridge, float), r)
    centre = start - 0.2 * LN10 * k0 + shift
    weights, offset_uas, fraction = np.zeros(p), np.zeros(q), 0.01
    log_scatter = (
        np.linalg.lstsq(spread, np.full(n, np.log(0.1)), rcond=None)[0] if expected_scatter is None else np.zeros(r)
    )

    def predicted() -> tuple[np.ndarray, np.ndarray]:
        variance = np.exp(2.0 * np.clip(expected + spread @ log_scatter, *LOG_SCATTER_LIMITS))
        return np.exp(np.clip(centre + features @ weights, *LOG_PARALLAX_LIMITS)), variance

    for iteration in range(1, MAX_ITERATIONS + 1):
        true, variance = predicted()
        total = error**2 + variance * true**2
        residual = parallax - true - 1e-3 * (basis @ offset_uas)
        good = _good(residual**2 / total, fraction, contaminant_width) if robust else np.ones(n)
        weight = (good + (1.0 - good) / contaminant_width**2) / total
        jacobian = np.column_stack([true[:, None] * features, 1e-3 * basis])
        step, matrix = _step(jacobian, weight, residual, pull, np.concatenate([weights, offset_uas]))
        if iteration > UNDAMPED_ITERATIONS:
            step = DAMPING * step
        weights, offset_uas = weights + step[:p], offset_uas + step[p:]
        true, variance = predicted()
        total, slope_of_total = error**2 + variance * true**2, 2.0 * variance * true**2
        residual = parallax - true - 1e-3 * (basis @ offset_uas)
        scatter_step = _scatter_step(spread, good, residual, total, slope_of_total, scatter_pull, log_scatter)
        log_scatter = log_scatter + scatter_step
        if robust:
            fraction = float(np.clip(np.mean(1.0 - good), *FRACTION_LIMITS))
        settled = np.abs(spread @ scatter_step).max() < SCATTER_TOLERANCE
        if iteration > MIN_ITERATIONS and settled and np.abs(step[p:]).max() < TOLERANCE_UAS:
            break
    largest = np.abs(step[p:]).max()
    if largest > LARGEST_LAST_STEP_UAS:
        raise ValueError(
            f"the fit does not converge: the zero point still moves by {largest:.2g} uas after {iteration} iterations."
            " There may be too few stars for so many features, or stars that should be cut"
        )
    inverse = np.linalg.inv(matrix)
    scores = jacobian * (weight * residual)[:, None]
    # with a prior the residuals would understate what is unknown: then it is the posterior's covariance
    covariance = inverse @ (scores.T @ scores) @ inverse if offset_prior_uas is None else inverse
    return Refit(
        zero_point_uas=offset_uas,
        covariance_uas2=covariance[p:, p:],
        weights=weights,
        log_fakemag=start + features @ weights,
        scatter=np.sqrt(variance),
        scatter_weights=log_scatter,
        contaminant_fraction=fraction if robust else 0.0,
        contaminant_width=contaminant_width,
    )


def _check_finite(given: dict[str, np.ndarray]) -> None:
    for name, values in given.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has values that are not finite: leave those stars out")


def _pull(p: int, q: int, ridge, offset_prior_uas) -> np.ndarray:
    """Pull (p + q,) of the features' weights and of the zero point towards zero."""
    prior = np.zeros(q) if offset_prior_uas is None else 1.0 / np.asarray(offset_prior_uas, float) ** 2
    return np.concatenate([np.broadcast_to(np.asarray(ridge, float), p), prior])


def _step(jacobian, weight, residual, pull, coefficients) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Newton step of the coefficients, and the matrix of the normal equations."""
    matrix = jacobian.T @ (jacobian * weight[:, None]) + np.diag(pull)
    matrix[np.diag_indices(len(pull))] *= 1.0 + 1e-9  # so that features without variance do not make it singular
    return np.linalg.solve(matrix, jacobian.T @ (weight * residual) - pull * coefficients), matrix


def _good(square, fraction: float, width: float) -> np.ndarray:
    """Probability of each star not to be a contaminant, from its squared residual over its variance."""
    odds = np.log(fraction / (1 - fraction) / width) + 0.5 * square * (1 - width**-2.0)
    return 1.0 / (1.0 + np.exp(np.clip(odds, -60, 60)))


def _scatter_step(spread, weight, residual, total, slope_of_total, pull, coefficients) -> np.ndarray:
    """One step of Fisher scoring for the coefficients of ln scatter, which moves by at most 0.5 for any star.

    The damping holds back combinations of the basis that the stars do not tell apart; it does not move the optimum.
    """
    score = spread.T @ (0.5 * weight * slope_of_total * (residual**2 - total) / total**2) - pull * coefficients
    information = spread.T @ (spread * (0.5 * weight * (slope_of_total / total) ** 2)[:, None]) + np.diag(pull)
    damping = 1e-3 * np.trace(information) / len(score) + 1e-6
    step = np.linalg.solve(information + damping * np.eye(len(score)), score)
    return step * min(1.0, 0.5 / max(np.abs(spread @ step).max(), 1e-12))


def scatter_coefficients(n_stars: int) -> int:
    """Spline coefficients of ln scatter: six, fewer for a small sample."""
    return int(np.clip(n_stars // 300, 4, 6))


def luminosity_spline(log_fakemag, coefficients: int) -> np.ndarray:
    """Cubic B-splines (n, coefficients) with equal numbers of stars between knots, constant beyond the outer knots."""
    return spline_basis(log_fakemag, quantile_knots(log_fakemag, coefficients))
