"""What each cause does to the paper's recipe: the optimum of its likelihood when only that cause is present.

No network is trained: luminosities are a smooth function of the true ones, or of those that the spectra show, and the
zero point is what minimises the expected loss of Eqs. 3 and 4 over Gaia's noise and over the dropout masks.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.optimize import minimize_scalar

from apogaia.closure.trials import PAPER_SLOPE, Sample, Trial, simulated, training_rows, zero_point_mas
from apogaia.physics.luminosity import absmag_to_fakemag, robust_scatter
from apogaia.refit.splines import quantile_knots, spline_basis
from apogaia.workspace import Workspace

__all__ = ["NOISES", "optimum", "recover"]

NOISES = (0.04, 0.08, 0.12)  # relative scatter of a luminosity over the dropout masks
COEFFICIENTS = 12
STEPS = 6  # of fitting luminosities and zero point at given weights, and the variance at given residuals


def recover(trial: Trial, workspace: Workspace, *, verbose: bool = True) -> dict:
    """Of the training stars: the optimum's zero point minus the mean of the injected ones [uas], by cause."""
    sample = simulated(trial, workspace)
    every = _rows(sample, dataclasses.replace(trial, contaminants=True))
    clean = _rows(sample, dataclasses.replace(trial, contaminants=False))
    falling = dataclasses.replace(trial, slope_in_g=PAPER_SLOPE)
    perfect, read = _true_fakemag(sample, clean), _spectral_fakemag(sample, clean)
    true_k0, seen_k0 = (np.asarray(column, float) for column in (sample.truth["k0_true_mag"], sample.table["k0_mag"]))

    def bias(rows, fakemag, k0, *, case: Trial = trial, noise: float = 0.0, parallax=None) -> float:
        injected = zero_point_mas(sample.table[rows], sample.truth[rows], case)
        if parallax is None:
            parallax = np.asarray(sample.truth["parallax_true"], float)[rows] + injected
        error = np.asarray(sample.table["parallax_error"], float)[rows]
        log_fakemag = np.log(fakemag)
        basis = fakemag[:, None] * spline_basis(log_fakemag, quantile_knots(log_fakemag, COEFFICIENTS))
        return 1000 * float(optimum(basis * 10 ** (-0.2 * k0[rows])[:, None], parallax, error, noise) - injected.mean())

    spoilt = np.asarray(sample.truth["contamination"])[every] != "none"
    k0 = np.where(np.asarray(sample.truth["contamination"]) == "none", true_k0, seen_k0)
    seen = np.where(
        spoilt,
        np.asarray(sample.table["parallax"], float)[every],
        np.asarray(sample.truth["parallax_true"], float)[every]
        + zero_point_mas(sample.table[every], sample.truth[every], trial),
    )
    unread = np.log(_true_parallax_fakemag(sample, clean, seen_k0) / read)
    return {
        "stars": len(clean),
        "contaminants": int(spoilt.sum()),
        "scatter_percent": 100 * robust_scatter(unread),
        "nothing_uas": bias(clean, perfect, true_k0),
        "scatter_uas": bias(clean, read, seen_k0),
        "contaminants_uas": bias(every, _true_fakemag(sample, every), k0, parallax=seen),
        "falling_uas": bias(clean, perfect, true_k0, case=falling),
        "dropout": [{"noise": noise, "uas": bias(clean, perfect, true_k0, noise=noise)} for noise in NOISES],
        "together": [
            {
                "noise": noise,
                "constant_uas": bias(clean, read, seen_k0, noise=noise),
                "falling_uas": bias(clean, read, seen_k0, noise=noise, case=falling),
            }
            for noise in (0.0, *NOISES)
        ],
    }


def optimum(columns: np.ndarray, parallax: np.ndarray, error: np.ndarray, noise: float) -> float:
    """The zero point at the minimum of the recipe's expected loss.

    Parameters
    ----------
    columns
        (n, p): the network's parallaxes are linear in these, with coefficients of any value.
    parallax, error
        (n,) expected parallaxes and Gaia's errors, in one unit.
    noise
        Relative scatter of a luminosity over the dropout masks. The masks are drawn anew in each step, so the expected
        squared residual has noise**2 times the squared parallax besides, which draws fakemag towards zero.

    Returns
    -------
    float
        In the unit of the parallaxes. The variance of Eq. 4 has one relative scatter of fakemag, at its best value; it
        follows the luminosities, but does not push them.
    """
    design = np.column_stack([columns, np.ones(len(parallax))])
    shrunk = np.column_stack([columns, np.zeros(len(parallax))])
    relative, model = 0.1, parallax
    for _ in range(STEPS):
        weight = 1.0 / (error**2 + (relative * model) ** 2)
        normal = (design.T * weight) @ design + noise**2 * (shrunk.T * weight) @ shrunk
        solution = np.linalg.solve(normal, (design.T * weight) @ parallax)
        model = columns @ solution[:-1]
        square = error**2 + (parallax - design @ solution) ** 2 + (noise * model) ** 2
        relative = _best_scatter(square, error, model)
    return float(solution[-1])


def _best_scatter(square: np.ndarray, error: np.ndarray, model: np.ndarray) -> float:
    def loss(log_scatter: float) -> float:
        variance = error**2 + (np.exp(log_scatter) * model) ** 2
        return float(np.mean(square / variance + np.log(variance)))

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(1e-4), 0.0), method="bounded").x))


def _rows(sample: Sample, trial: Trial) -> np.ndarray:
    known = np.logical_and.reduce([np.isfinite(np.asarray(sample.table[name], float)) for name in ("g_mag", "k0_mag")])
    return training_rows(trial, sample.table, sample.truth, sample.survey, known)


def _true_fakemag(sample: Sample, rows: np.ndarray) -> np.ndarray:
    return np.asarray(absmag_to_fakemag(np.asarray(sample.truth["k_abs_mag"], float)[rows]))


def _spectral_fakemag(sample: Sample, rows: np.ndarray) -> np.ndarray:
    """Fakemag as a spectrum shows it, without the part of the luminosity that is hidden."""
    abs_mag, hidden = (np.asarray(sample.truth[name], float)[rows] for name in ("k_abs_mag", "hidden_mag"))
    return np.asarray(absmag_to_fakemag(abs_mag - hidden))


def _true_parallax_fakemag(sample: Sample, rows: np.ndarray, k0: np.ndarray) -> np.ndarray:
    return np.asarray(sample.truth["parallax_true"], float)[rows] * 10 ** (0.2 * k0[rows])
