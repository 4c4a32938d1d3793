"""How the number of stars falls off along each line of sight, fitted to the survey's own magnitudes.

Stars of one spectrum scatter in luminosity. Among those seen at one magnitude, the more luminous ones are farther away,
so their share depends on the number of stars there (Malmquist 1922; docs/closure.md):

    E[M | K, spectrum] = M0(spectrum) - sigma_M^2 d ln A / dK

A counts the stars of that spectrum per magnitude of distance modulus, before any selection by magnitude. Which of the
luminosities that a magnitude and a line of sight allow does a star have? That conditional probability,

    P(M | K, l, b) ~ a(M) d^3 rho(R, z),   d = 10^(0.2 (K - M) - 2) kpc,

holds the density rho but no selection by magnitude or field, which is common to all luminosities and cancels. rho is a
smooth function of position in the Galaxy whose logarithm changes linearly with the stars' chemistry: populations of one
composition have scale lengths and heights of their own (Bovy et al. 2012).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp

from apogaia.physics.galaxy import galactocentric_from_galactic
from apogaia.refit.splines import quantile_knots, spline_basis

__all__ = ["DensityModel"]

SHELL_SLOPE = 0.6 * np.log(10.0)  # d ln d^3 / d(distance modulus)

LUMINOSITY_BINS = 36  # fine enough to follow the red clump; time and memory grow with their number
LUMINOSITY_PERCENTILES = (0.3, 99.7)  # stars beyond do not count: few luminosities would stretch all bins
RADIAL, VERTICAL, LUMINOSITY = 6, 5, 12  # spline coefficients: discs and haloes are smooth, the clump is narrow
MAX_STARS = 15_000  # in the fit, evenly from all: more cost memory and time, and the density is smooth
MAX_ITERATIONS = 300  # of the minimiser, which converges before
STEP = 0.05  # mag, of the numerical derivative: small beside the distance between knots

# Penalties: on second differences of neighbouring coefficients, and on the coefficients' squares, weak but for what the
# counts do not determine
SMOOTHNESS = 3.0  # of ln rho in radius and height
LUMINOSITY_SMOOTHNESS = 0.1  # of the numbers by luminosity, which have a narrow peak
PULL_OF_PLACE, PULL_OF_TAILS, PULL_OF_CHEMISTRY, PULL_OF_LUMINOSITY = 1e-3, 0.1, 0.05, 1e-2

# Usual [Fe/H] and [Mg/Fe] of the stars and their usual spread [dex]; farther out stars are too few for a slope
USUAL_FE_H, SPREAD_FE_H, FE_H_LIMITS = -0.1, 0.3, (-3.0, 2.5)
USUAL_MG_FE, SPREAD_MG_FE, MG_FE_LIMITS = 0.08, 0.1, (-2.0, 3.0)
TAIL_RADIUS_KPC = 5.0  # unit of the linear term in radius


@dataclass(frozen=True)
class DensityModel:
    """The fitted density of stars, ln rho; `slope` gives d ln A / dK of any star."""

    radial_knots: np.ndarray  # kpc
    vertical_knots: np.ndarray  # of sqrt(|z| / kpc)
    coefficients: np.ndarray
    chemistry: bool

    @classmethod
    def fit(cls, abs_mag, k0_mag, glon, glat, fe_h=None, mg_fe=None) -> DensityModel:
        """Fit the density by maximum likelihood of each star's luminosity, given its magnitude and line of sight.

        Parameters
        ----------
        abs_mag
            (n,) absolute Ks magnitude according to the spectrum [mag].
        k0_mag
            (n,) apparent Ks without extinction [mag].
        glon, glat
            (n,) Galactic coordinates [deg].
        fe_h, mg_fe
            (n,) [Fe/H] and [Mg/Fe]; NaN counts as average. None: one density for all compositions.
        """
        abs_mag, k0_mag = np.asarray(abs_mag, float), np.asarray(k0_mag, float)
        chemistry = _chemistry(fe_h, mg_fe, len(abs_mag))
        low, high = np.percentile(abs_mag, LUMINOSITY_PERCENTILES)
        edges = np.linspace(low, high, LUMINOSITY_BINS + 1)
        middle = 0.5 * (edges[1:] + edges[:-1])
        use = np.flatnonzero((abs_mag >= low) & (abs_mag <= high))
        use = use[:: ceil(len(use) / MAX_STARS)]
        own = np.clip(np.digitize(abs_mag[use], edges) - 1, 0, LUMINOSITY_BINS - 1)
        radius, height = _radius_and_height(k0_mag - abs_mag, glon, glat)
        knots = (
            quantile_knots(radius, RADIAL),
            quantile_knots(np.sqrt(height), VERTICAL),
        )
        modulus = k0_mag[use, None] - middle
        direction = (np.asarray(glon)[use, None], np.asarray(glat)[use, None])
        features = _features(modulus, *direction, chemistry[use], knots).astype(np.float32)
        shell = (SHELL_SLOPE * modulus).astype(np.float32)
        of_luminosity = spline_basis(middle, np.linspace(low, high, LUMINOSITY - 2)).astype(np.float32)
        weights = np.column_stack([np.ones(len(use)), chemistry[use]]).astype(np.float32)
        penalty = _penalty(chemistry.shape[1])
        n_density, rows = features.shape[2], np.arange(len(use))

        def objective(parameters):
            theta = parameters[:n_density].astype(np.float32)
            number = parameters[n_density:].reshape(-1, LUMINOSITY).astype(np.float32)
            logits = features @ theta + shell + weights @ (number @ of_luminosity.T)
            log_p = logits - logsumexp(logits, axis=1, keepdims=True)
            residual = -np.exp(log_p)
            residual[rows, own] += 1.0
            gradient = np.concatenate(
                [
                    np.tensordot(residual, features, axes=([0, 1], [0, 1])),
                    (weights.T @ (residual @ of_luminosity)).ravel(),
                ]
            )
            pull = penalty @ parameters
            value = -float(log_p[rows, own].sum(dtype=float)) + 0.5 * parameters @ pull
            return value / len(use), (pull - gradient) / len(use)

        start = np.zeros(n_density + LUMINOSITY * weights.shape[1])
        best = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": MAX_ITERATIONS})
        return cls(*knots, best.x[:n_density], chemistry.shape[1] > 0)

    def slope(self, abs_mag, k0_mag, glon, glat, fe_h=None, mg_fe=None) -> np.ndarray:
        """Return d ln A / dK of each star [1 / mag], (n,); the arguments are those of `fit`.

        Raises
        ------
        ValueError
            If chemistry is given to a model without it, or the other way round.
        """
        modulus = np.asarray(k0_mag, float) - np.asarray(abs_mag, float)
        chemistry = _chemistry(fe_h, mg_fe, len(modulus))
        if self.chemistry != (chemistry.shape[1] > 0):
            raise ValueError("give [Fe/H] and [Mg/Fe] where the density was fitted with them, and only there")
        knots = (self.radial_knots, self.vertical_knots)
        direction = (np.asarray(glon)[:, None], np.asarray(glat)[:, None])
        above, below = (
            _features(modulus[:, None] + step, *direction, chemistry, knots)[:, 0] @ self.coefficients
            for step in (STEP, -STEP)
        )
        return SHELL_SLOPE + (above - below) / (2 * STEP)


def _radius_and_height(modulus, glon, glat):
    """Galactocentric radius and distance from the plane [kpc] at a distance modulus."""
    distance = 10 ** (0.2 * np.asarray(modulus) - 2)
    x, y, z = galactocentric_from_galactic(glon, glat, distance)
    return np.hypot(x, y), np.abs(z)


def _chemistry(fe_h, mg_fe, n: int) -> np.ndarray:
    """(n, 3): [Fe/H], its square and [Mg/Fe], each about its usual value and in units of its usual spread."""
    if fe_h is None:
        return np.zeros((n, 0))
    fe_h, mg_fe = (np.asarray(values, float) for values in (fe_h, mg_fe))
    iron = np.clip((np.nan_to_num(fe_h, nan=USUAL_FE_H) - USUAL_FE_H) / SPREAD_FE_H, *FE_H_LIMITS)
    alpha = np.clip((np.nan_to_num(mg_fe, nan=USUAL_MG_FE) - USUAL_MG_FE) / SPREAD_MG_FE, *MG_FE_LIMITS)
    return np.column_stack([iron, iron**2 - 1.0, alpha])


def _features(modulus, glon, glat, chemistry, knots) -> np.ndarray:
    """(n, m) distance moduli -> (n, m, features) of ln rho."""
    radius, height = _radius_and_height(modulus, glon, glat)
    radial, vertical = spline_basis(radius, knots[0]), spline_basis(np.sqrt(height), knots[1])
    both = (radial[..., :, None] * vertical[..., None, :]).reshape(*radius.shape, -1)
    tails = np.stack([radius / TAIL_RADIUS_KPC, height], axis=-1)  # splines are constant beyond the last star
    separate = np.concatenate([radial, vertical], axis=-1)
    return np.concatenate([both, tails, *(separate * c[:, None, None] for c in chemistry.T)], axis=-1)


def _penalty(n_chemistry: int) -> np.ndarray:
    """Smoothness of the splines, and a weak pull of everything to zero, which the counts do not determine."""

    def rough(n: int) -> np.ndarray:
        second = np.diff(np.eye(n), 2, axis=0)
        return second.T @ second

    both = SMOOTHNESS * (np.kron(rough(RADIAL), np.eye(VERTICAL)) + np.kron(np.eye(RADIAL), rough(VERTICAL)))
    blocks = [both + PULL_OF_PLACE * np.eye(len(both)), PULL_OF_TAILS * np.eye(2)]
    blocks += [SMOOTHNESS * rough(n) + PULL_OF_CHEMISTRY * np.eye(n) for n in (RADIAL, VERTICAL)] * n_chemistry
    by_luminosity = LUMINOSITY_SMOOTHNESS * rough(LUMINOSITY) + PULL_OF_LUMINOSITY * np.eye(LUMINOSITY)
    blocks += [by_luminosity] * (1 + n_chemistry)
    size = sum(len(block) for block in blocks)
    penalty, start = np.zeros((size, size)), 0
    for block in blocks:
        penalty[start : start + len(block), start : start + len(block)] = block
        start += len(block)
    return penalty
