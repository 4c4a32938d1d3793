"""Luminosities and zero point fitted together, to the end: weighted least squares with contaminants.

Luminosities that are linear in features of the spectra are fitted together with the zero point:

    parallax_i = exp(ln L_i + w . features_i + shift_i - 0.2 ln(10) K0_i) + zero point . offset_basis_i

by iterated, weighted least squares until it stands still. The scatter of ln luminosity, which weighs the stars, is
fitted too; the shift is that of `apogaia.refit.stellar_density`, known beforehand (`density_shift`). A star may be a
contaminant, as
in `networks.robust_parallax_loss`, with a fraction that is fitted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from apogaia.refit.splines import quantile_knots, spline_basis

__all__ = [
    "Refit",
    "SpectralFeatures",
    "density_shift",
    "fit",
    "log_fakemag_to_abs_mag",
    "luminosity_spline",
]

LN10 = np.log(10.0)
MAG_PER_LN = 5.0 / LN10  # absolute magnitudes per unit of ln fakemag
MAX_ITERATIONS, UNDAMPED_ITERATIONS = 150, 15
TOLERANCE_UAS, MOVES_UAS = 0.01, 0.5  # good enough; not good at all
SCATTER_TOLERANCE = 0.02  # of ln scatter
BLOCK = 4096  # spectra at a time: memory
MAX_SPECTRA = 12_000  # from which the components are made, evenly from all
CONTAMINANT_WIDTH = 15.0  # their standard deviation in units of an ordinary star's


def log_fakemag_to_abs_mag(log_fakemag):
    """Absolute Ks magnitude [mag] from ln of fakemag, L = 10^(0.2 M + 2)."""
    return MAG_PER_LN * (np.asarray(log_fakemag) - 2.0 * LN10)


def density_shift(scatter, slope) -> np.ndarray:
    """Mean shift of ln fakemag of stars of that scatter, -sigma_M^2 d ln A / dK in magnitudes (see `stellar_density`).

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

    zero_point: np.ndarray  # uas, one per column of the offset basis
    covariance: np.ndarray  # uas^2, from the residuals themselves (sandwich)
    weights: np.ndarray  # of the features, in ln fakemag
    log_fakemag: np.ndarray  # (n,) refitted, without the shift of the density
    scatter: np.ndarray  # (n,) of ln fakemag
    contaminant_fraction: float
    log_likelihood: float
    iterations: int

    def weight(self, parallax, parallax_error, true_parallax, scatter) -> np.ndarray:
        """Weight of each star in the last iteration [mas^-2], from its residual, errors and probability to be good."""
        total = np.asarray(parallax_error) ** 2 + (scatter * true_parallax) ** 2
        residual = parallax - true_parallax - 1e-3 * self.zero_point[0]
        if self.contaminant_fraction == 0:
            return 1.0 / total
        good = _good(residual**2 / total, self.contaminant_fraction)
        return (good + (1.0 - good) / CONTAMINANT_WIDTH**2) / total

    @property
    def error(self) -> np.ndarray:
        """Standard errors of the zero point [uas]."""
        return np.sqrt(np.diag(self.covariance))


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
    ridge=0.0,
    offset_prior=None,
    robust: bool = True,
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
        (n, p) in which a correction of ln fakemag is linear.
    shift
        (n,) of `density_shift`, in ln fakemag; None: 0, as if the spectrum told nothing about distance.
    offset_basis
        (n, q) in which the zero point is linear; None: a constant.
    scatter_basis
        (n, r) in which ln of the scatter is linear; None: a spline of the luminosity.
    ridge
        (p,) or a number: penalty on the squares of the features' weights.
    offset_prior
        (q,) standard deviations [uas] of a Gaussian prior about zero; inf: none. None: no prior.
    robust
        Whether there may be contaminants.

    Returns
    -------
    Refit
        Arrays of length n, q or p as its attributes say; the errors are those of the residuals themselves (sandwich),
        or with a prior the posterior's.

    Raises
    ------
    ValueError
        If a value is not finite, or the fit does not come to rest.

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
    for name, values in (given | {"shift": shift, "offset basis": basis}).items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has values that are not finite: leave those stars out")
    spread = (
        luminosity_spline(start, scatter_coefficients(n)) if scatter_basis is None else np.asarray(scatter_basis, float)
    )
    p, q = features.shape[1], basis.shape[1]
    # the prior acts on the features' weights and on the zero point alike, as a pull towards zero
    prior = np.zeros(q) if offset_prior is None else 1.0 / np.asarray(offset_prior, float) ** 2
    pull = np.concatenate([np.broadcast_to(np.asarray(ridge, float), p), prior])
    centre = start - 0.2 * LN10 * k0 + shift
    weights, offset, fraction = np.zeros(p), np.zeros(q), 0.01
    log_scatter = np.linalg.lstsq(spread, np.full(n, np.log(0.1)), rcond=None)[0]

    def predicted() -> tuple[np.ndarray, np.ndarray]:
        variance = np.exp(2.0 * np.clip(spread @ log_scatter, -4.0, -0.7))
        return np.exp(np.clip(centre + features @ weights, -7.0, 4.0)), variance

    for iteration in range(1, MAX_ITERATIONS + 1):
        true, variance = predicted()
        total = error**2 + variance * true**2
        residual = parallax - true - 1e-3 * (basis @ offset)
        good = _good(residual**2 / total, fraction) if robust else np.ones(n)
        weight = (good + (1.0 - good) / CONTAMINANT_WIDTH**2) / total
        jacobian = np.column_stack([true[:, None] * features, 1e-3 * basis])
        information = jacobian.T @ (jacobian * weight[:, None])
        matrix = information + np.diag(pull)
        matrix[np.diag_indices(p + q)] *= 1.0 + 1e-9
        step = np.linalg.solve(matrix, jacobian.T @ (weight * residual) - pull * np.concatenate([weights, offset]))
        if iteration > UNDAMPED_ITERATIONS:  # of small samples, whose scatter and contaminants swing with each step
            step = 0.3 * step
        weights, offset = weights + step[:p], offset + step[p:]
        true, variance = predicted()
        total, slope_of_total = error**2 + variance * true**2, 2.0 * variance * true**2
        residual = parallax - true - 1e-3 * (basis @ offset)
        scatter_step = _scatter_step(spread, good, residual, total, slope_of_total)
        log_scatter = log_scatter + scatter_step
        if robust:
            fraction = float(np.clip(np.mean(1.0 - good), 1e-4, 0.03))
        settled = np.abs(spread @ scatter_step).max() < SCATTER_TOLERANCE
        if iteration > 5 and settled and np.abs(step[p:]).max() < TOLERANCE_UAS:
            break
    if np.abs(step[p:]).max() > MOVES_UAS:
        raise ValueError(f"the zero point still moves by {np.abs(step[p:]).max():.2g} uas after {iteration} iterations")
    inverse = np.linalg.inv(matrix)
    scores = jacobian * (weight * residual)[:, None]
    covariance = (inverse @ (scores.T @ scores) @ inverse)[p:, p:]
    if offset_prior is not None:  # a prior narrows the estimate, not what we know: the posterior's width
        covariance = inverse[p:, p:]
    return Refit(
        offset,
        covariance,
        weights,
        start + features @ weights,
        np.sqrt(variance),
        fraction if robust else 0.0,
        float(np.sum(_log_density(residual, total, fraction if robust else 0.0))),
        iteration,
    )


def _good(square, fraction: float) -> np.ndarray:
    """Probability of each star not to be a contaminant."""
    odds = np.log(fraction / (1 - fraction) / CONTAMINANT_WIDTH) + 0.5 * square * (1 - CONTAMINANT_WIDTH**-2.0)
    return 1.0 / (1.0 + np.exp(np.clip(odds, -60, 60)))


def _log_density(residual, total, fraction: float) -> np.ndarray:
    good = -0.5 * residual**2 / total - 0.5 * np.log(total)
    if fraction == 0:
        return good
    bad = -0.5 * residual**2 / total / CONTAMINANT_WIDTH**2 - 0.5 * np.log(total) - np.log(CONTAMINANT_WIDTH)
    return np.logaddexp(np.log1p(-fraction) + good, np.log(fraction) + bad)


def _scatter_step(spread, weight, residual, total, slope_of_total) -> np.ndarray:
    """One step of Fisher scoring for the coefficients of ln scatter, which moves by at most 0.5 for any star.

    The damping holds back combinations of the basis that the stars do not tell apart; it does not move the optimum.
    """
    score = spread.T @ (0.5 * weight * slope_of_total * (residual**2 - total) / total**2)
    information = spread.T @ (spread * (0.5 * weight * (slope_of_total / total) ** 2)[:, None])
    damping = 1e-3 * np.trace(information) / len(score) + 1e-6
    step = np.linalg.solve(information + damping * np.eye(len(score)), score)
    return step * min(1.0, 0.5 / max(np.abs(spread @ step).max(), 1e-12))


def scatter_coefficients(n_stars: int) -> int:
    """Spline coefficients of ln scatter: six, fewer for a small sample."""
    return int(np.clip(n_stars // 300, 4, 6))


def luminosity_spline(log_fakemag, coefficients: int) -> np.ndarray:
    """(n, coefficients) cubic B-splines with as many stars between any two knots, constant beyond the outer ones."""
    return spline_basis(log_fakemag, quantile_knots(log_fakemag, coefficients))


@dataclass(frozen=True)
class SpectralFeatures:
    """Principal components of the training spectra and products of the first ones, each with unit variance."""

    mean: np.ndarray  # (pixels,)
    components: np.ndarray  # (pixels, components), scaled to unit variance
    products: int  # of how many of the first components
    product_mean: np.ndarray
    product_sd: np.ndarray

    @classmethod
    def fit(cls, spectra: np.ndarray, *, components: int, products: int, seed: int) -> SpectralFeatures:
        """Of (n, pixels) spectra, by a randomised decomposition (Halko et al. 2011) in single precision."""
        mean = spectra.mean(axis=0, dtype=np.float64).astype(np.float32)
        rng = np.random.default_rng(seed)
        components = min(components, len(spectra) - 1)
        products = min(products, components)
        basis = rng.standard_normal((spectra.shape[1], components + 20), dtype=np.float32)
        some = spectra[:: -(-len(spectra) // MAX_SPECTRA)]
        for _ in range(3):
            basis = np.linalg.qr(_gram_times(some, mean, basis))[0]
        projected = _project(some, mean, basis)
        _, singular, rotation = np.linalg.svd(projected, full_matrices=False)
        scaled = basis @ rotation[:components].T / (singular[:components] / np.sqrt(len(some)))
        made = cls(mean, scaled.astype(np.float32), products, np.zeros(1), np.ones(1))
        squares = made._products(made._linear(spectra))
        sd = squares.std(axis=0)
        return cls(mean, made.components, products, squares.mean(axis=0), np.where(sd > 0, sd, 1.0))

    def of(self, spectra: np.ndarray) -> np.ndarray:
        """(n, pixels) -> (n, features)."""
        linear = self._linear(spectra)
        return np.column_stack([linear, (self._products(linear) - self.product_mean) / self.product_sd])

    def _linear(self, spectra) -> np.ndarray:
        # beyond five standard deviations a component is a defect: it must not run away with a product
        return np.clip(_project(spectra, self.mean, self.components), -5.0, 5.0).astype(float)

    def _products(self, linear) -> np.ndarray:
        first, second = np.triu_indices(self.products)
        return linear[:, first] * linear[:, second]


def _project(spectra, mean, basis) -> np.ndarray:
    blocks = range(0, len(spectra), BLOCK)
    return np.concatenate([(spectra[start : start + BLOCK] - mean) @ basis for start in blocks])


def _gram_times(spectra, mean, basis) -> np.ndarray:
    total = np.zeros(basis.shape, np.float32)
    for start in range(0, len(spectra), BLOCK):
        block = spectra[start : start + BLOCK] - mean
        total += block.T @ (block @ basis)
    return total
