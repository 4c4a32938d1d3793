"""Luminosities and zero point fitted together until they converge: weighted least squares with contaminants.

Luminosities that are linear in features of the spectra are fitted together with the zero point:

    parallax_i = exp(ln L_i + w . features_i + shift_i - 0.2 ln(10) K0_i) + zero point . offset_basis_i

by iterated, weighted least squares. Stars of one group, a part of the sky, may share an error of their parallaxes. The
scatter of ln luminosity, which sets the weights of the stars, is fitted too.
The shift follows from the density of stars (`stellar_density`, `density_shift`) and is known beforehand. A star may be
a contaminant, as in `apogaia.model.likelihood.robust_parallax_loss`; the fraction of contaminants is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from apogaia.refit.splines import quantile_knots, spline_basis

__all__ = [
    "MeanVariance",
    "Refit",
    "density_shift",
    "fit",
    "log_fakemag_to_abs_mag",
    "luminosity_spline",
    "scatter_coefficients",
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
TOLERANCE_UAS = 0.05  # a last step below this, of the zero point in any part of the sky, has converged: errors are uas
LARGEST_LAST_STEP_UAS = 0.5  # beyond it a fit that has used up its iterations has failed; its error is a few uas
SCATTER_TOLERANCE = 0.02  # of ln scatter; weights hardly depend on it
FRACTION_LIMITS = (1e-4, 0.03)  # of contaminants: more would be ordinary stars with a wrong scatter
LOG_SCATTER_LIMITS = (-4.0, -0.7)  # of ln luminosity: 2 to 50 per cent
LEVERAGE_EVERY = 4  # iterations
LARGEST_LEVERAGE = 0.9  # a star that alone determines a feature tells nothing of the scatter
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
class MeanVariance:
    """What makes the variance of a mean zero point [uas^2]: the sum is that of the mean."""

    residuals: float  # of the stars: Gaia's errors and the scatter of luminosities
    held: np.ndarray  # (p + q,) of each feature's weight and each column of the offset basis, as far as priors hold it
    groups: float  # what the parallaxes of a group share

    @property
    def total(self) -> float:
        """Their sum."""
        return float(self.residuals + self.held.sum() + self.groups)


@dataclass(frozen=True)
class Refit:
    """A fitted zero point and the luminosities fitted with it."""

    zero_point_uas: np.ndarray  # one per column of the offset basis
    covariance_uas2: np.ndarray  # from the residuals themselves (sandwich)
    mean_uas: float  # of the zero point over the stars, what groups share included
    mean_error_uas: float
    mean_variance_uas2: MeanVariance  # the parts of its square
    group_uas: np.ndarray  # what the parallaxes of a group share; empty without groups
    weights: np.ndarray  # of the features, in ln fakemag
    weight_errors: np.ndarray  # standard errors of the same
    log_fakemag: np.ndarray  # (n,) refitted, without the shift of the density
    scatter: np.ndarray  # (n,) of ln fakemag
    residual_uas: np.ndarray  # (n,) parallax less the fitted one
    residual_error_uas: np.ndarray  # (n,) what is expected of it: Gaia's error, scatter, the chance of a contaminant
    scatter_weights: np.ndarray  # of the scatter's basis: ln of the scatter, or of its ratio to the one expected
    contaminant_fraction: float
    contaminant_width: float  # in units of an ordinary star's standard deviation

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
    groups=None,
    group_prior_uas: float = 0.0,
    robust: bool = True,
    contaminant_width: float = CONTAMINANT_WIDTH,
    begin: Refit | None = None,
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
    groups
        (n,) whole numbers from 0: the group of each star. None: none.
    group_prior_uas
        Standard deviation, about zero, of what the parallaxes of a group share.
    robust
        Whether there may be contaminants.
    contaminant_width
        Their standard deviation, in units of an ordinary star's.
    begin
        A fit of the same stars, features, bases and groups near which this one lies: it converges in fewer iterations.

    Returns
    -------
    Refit
        Arrays of length n, q or p as its attributes say; the errors are those of the residuals themselves (sandwich),
        with a prior also of what it holds.

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
    shared = _Groups(groups, group_prior_uas, n)
    scatter_pull = np.broadcast_to(np.asarray(scatter_ridge, float), r)
    centre = start - 0.2 * LN10 * k0 + shift
    weights, offset_uas, fraction = np.zeros(p), np.zeros(q), 0.01
    log_scatter = (
        np.linalg.lstsq(spread, np.full(n, np.log(0.1)), rcond=None)[0] if expected_scatter is None else np.zeros(r)
    )
    if begin is not None:
        weights, offset_uas, log_scatter = begin.weights, begin.zero_point_uas, begin.scatter_weights
        fraction = float(np.clip(begin.contaminant_fraction, *FRACTION_LIMITS))
        if len(begin.group_uas):
            shared.effect_uas = begin.group_uas

    def predicted() -> tuple[np.ndarray, np.ndarray]:
        variance = np.exp(2.0 * np.clip(expected + spread @ log_scatter, *LOG_SCATTER_LIMITS))
        return np.exp(np.clip(centre + features @ weights, *LOG_PARALLAX_LIMITS)), variance

    for iteration in range(1, MAX_ITERATIONS + 1):
        true, variance = predicted()
        total = error**2 + variance * true**2
        residual = parallax - true - 1e-3 * (basis @ offset_uas) - shared.of_stars()
        good = _good(residual**2 / total, fraction, contaminant_width) if robust else np.ones(n)
        weight = (good + (1.0 - good) / contaminant_width**2) / total
        jacobian = np.column_stack([true[:, None] * features, 1e-3 * basis])
        solved = shared.solve(jacobian, weight, residual, pull, np.concatenate([weights, offset_uas]))
        share = DAMPING if iteration > UNDAMPED_ITERATIONS else 1.0
        step = share * solved.step
        shared.effect_uas = shared.effect_uas + share * solved.group_step
        weights, offset_uas = weights + step[:p], offset_uas + step[p:]
        if iteration <= LEVERAGE_EVERY or iteration % LEVERAGE_EVERY == 0:  # it hardly changes later, and costs half
            # a star pulls the fit towards itself: its residual is smaller than its error by its leverage
            left = 1.0 - np.minimum(shared.leverage(solved, jacobian, weight), LARGEST_LEVERAGE)
        true, variance = predicted()
        total, slope_of_total = error**2 + variance * true**2, 2.0 * variance * true**2
        residual = parallax - true - 1e-3 * (basis @ offset_uas) - shared.of_stars()
        scatter_step = _scatter_step(
            spread, good, residual / np.sqrt(left), total, slope_of_total, scatter_pull, log_scatter
        )
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
            " There may be too few stars for so many features, or outliers that should be cut"
        )
    score = weight * residual
    held = pull if offset_prior_uas is not None else np.zeros(p + q)  # what the priors hold scatters as they say
    covariance = shared.covariance(solved, jacobian, score, held)
    mean_of = np.concatenate([np.zeros(p), basis.mean(axis=0)])
    variance_of_mean = shared.variance_of_mean(solved, jacobian, score, held, mean_of)
    return Refit(
        zero_point_uas=offset_uas,
        covariance_uas2=covariance[p:, p:],
        mean_uas=float(basis.mean(axis=0) @ offset_uas + shared.mean_uas()),
        mean_error_uas=float(np.sqrt(variance_of_mean.total)),
        mean_variance_uas2=variance_of_mean,
        group_uas=shared.effect_uas if groups is not None else np.zeros(0),
        weights=weights,
        weight_errors=np.sqrt(np.diag(covariance)[:p]),
        log_fakemag=start + features @ weights,
        scatter=np.sqrt(variance),
        residual_uas=1e3 * residual,
        residual_error_uas=1e3 / np.sqrt(weight),
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


@dataclass(frozen=True)
class _Solved:
    """One Gauss-Newton step of k coefficients and m groups; the groups, one a star, are eliminated first."""

    step: np.ndarray  # (k,)
    group_step: np.ndarray  # (m,)
    inverse: np.ndarray  # (k, k), of the coefficients' normal equations without the groups
    crossed: np.ndarray  # (m, k), between groups and coefficients
    group_inverse: np.ndarray  # (m,), of the groups' own


class _Groups:
    """What the parallaxes of one group share [uas], Gaussian about zero; without groups it stays zero."""

    def __init__(self, groups, prior_uas: float, n: int):
        self.index = np.zeros(n, int) if groups is None else np.asarray(groups, int)
        size = int(self.index.max(initial=0)) + 1
        self.any = groups is not None and prior_uas > 0
        self.pull = prior_uas**-2.0 if self.any else 0.0
        self.members = csr_matrix((np.ones(n), (self.index, np.arange(n))), shape=(size, n))
        self.effect_uas = np.zeros(size)

    def of_stars(self) -> np.ndarray:
        """(n,) what each star's parallax shares [mas]."""
        return 1e-3 * self.effect_uas[self.index]

    def mean_uas(self) -> float:
        """Mean over the stars."""
        return float(self.effect_uas[self.index].mean())

    def solve(self, jacobian, weight, residual, pull, coefficients) -> _Solved:
        matrix = jacobian.T @ (jacobian * weight[:, None]) + np.diag(pull)
        matrix[np.diag_indices(len(pull))] *= 1.0 + 1e-9  # so that features without variance do not make it singular
        gradient = jacobian.T @ (weight * residual) - pull * coefficients
        crossed = 1e-3 * (self.members @ (jacobian * weight[:, None]))
        own = 1e-6 * (self.members @ weight) + self.pull
        group_inverse = np.divide(1.0, own, out=np.zeros_like(own), where=own > 0) * self.any
        group_gradient = 1e-3 * (self.members @ (weight * residual)) - self.pull * self.effect_uas
        inverse = np.linalg.inv(matrix - crossed.T @ (group_inverse[:, None] * crossed))
        step = inverse @ (gradient - crossed.T @ (group_inverse * group_gradient))
        return _Solved(step, group_inverse * (group_gradient - crossed @ step), inverse, crossed, group_inverse)

    def _reduced(self, solved: _Solved, jacobian) -> np.ndarray:
        """(n, k) the jacobian without what the groups take of it."""
        if not self.any:
            return jacobian
        return jacobian - (1e-3 * solved.group_inverse[:, None] * solved.crossed)[self.index]

    def leverage(self, solved: _Solved, jacobian, weight) -> np.ndarray:
        """(n,) how far a star pulls the fit towards itself."""
        reduced = self._reduced(solved, jacobian)
        own = 1e-6 * solved.group_inverse[self.index]
        return weight * (np.einsum("ij,ij->i", reduced @ solved.inverse, reduced) + own)

    def covariance(self, solved: _Solved, jacobian, score, held) -> np.ndarray:
        """(k, k) of the coefficients, from the residuals themselves (sandwich) and from what the priors hold."""
        scores = self._reduced(solved, jacobian) * score[:, None]
        taken = solved.group_inverse[:, None] * solved.crossed
        inner = scores.T @ scores + np.diag(held) + self.pull * taken.T @ taken
        return solved.inverse @ inner @ solved.inverse

    def variance_of_mean(self, solved: _Solved, jacobian, score, held, mean_of) -> MeanVariance:
        """Variance [uas^2] of `mean_of` times the coefficients and the groups' mean over the stars."""
        of_groups = np.bincount(self.index, minlength=len(self.effect_uas)) / len(self.index) * self.any
        own = solved.inverse @ (mean_of - solved.crossed.T @ (solved.group_inverse * of_groups))
        groups = solved.group_inverse * (of_groups - solved.crossed @ own)
        influence = score * (jacobian @ own + 1e-3 * groups[self.index])
        return MeanVariance(float(influence @ influence), held * own**2, float(self.pull * groups @ groups))


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
