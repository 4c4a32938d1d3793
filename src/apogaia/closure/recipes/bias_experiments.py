"""Experiments of docs/closure_trials.md on one simulated sample: what biases the fit, shown with the truth."""

from __future__ import annotations

import numpy as np
from astropy.table import Table
from scipy.optimize import minimize_scalar

from apogaia.closure.trials import Sample, Trial, simulated, training_rows
from apogaia.refit import least_squares
from apogaia.refit.least_squares import log_fakemag_to_abs_mag, luminosity_spline
from apogaia.refit.stellar_density import DensityModel
from apogaia.survey import Survey
from apogaia.workspace import Workspace
from apogaia.zero_point import refit_zero_point

__all__ = ["decomposition", "naive_selections", "recover_decomposition", "recover_selections"]

LN10 = np.log(10.0)


def recover_selections(trial: Trial, workspace: Workspace, *, verbose: bool = True) -> dict:
    """Results of the trial "selections" [uas]."""
    sample, rows = _usable(trial, workspace)
    return {"stars": len(rows)} | naive_selections(sample.survey, sample.table[rows], sample.spectra_of(rows))


def recover_decomposition(trial: Trial, workspace: Workspace, *, verbose: bool = True) -> dict:
    """Results of the trial "decomposition" [uas]."""
    sample, rows = _usable(trial, workspace)
    table, truth = sample.table[rows], sample.truth[rows]
    return {"stars": len(rows)} | decomposition(sample.survey, table, truth, sample.spectra_of(rows))


def _usable(trial: Trial, workspace: Workspace) -> tuple[Sample, np.ndarray]:
    sample = simulated(trial, workspace)
    usable = refit_zero_point.usable(sample.survey, sample.table)
    return sample, training_rows(trial, sample.table, sample.truth, sample.survey, usable)


def naive_selections(survey: Survey, table: Table, spectrum: np.ndarray) -> dict:
    """Zero points [uas] for samples and targets that a user might try, compared with that of all stars.

    Positive parallaxes only, relative errors below a fifth only, and 1 / parallax as a distance to be matched.
    """
    everything = refit_zero_point.calibrate(survey, table, spectrum)
    parallax, error = (np.asarray(table[name], float) for name in ("parallax", "parallax_error"))
    result = {"all_stars_uas": everything.zero_point_uas, "stars": len(table)}
    for name, keep in {"positive": parallax > 0, "relative_error_below_20_percent": error < 0.2 * parallax}.items():
        result[f"{name}_uas"] = refit_zero_point.calibrate(survey, table[keep], spectrum[keep]).zero_point_uas
        result[f"{name}_stars"] = int(keep.sum())
    positive = parallax > 0
    true = np.exp(everything.fit.log_fakemag - 0.2 * LN10 * np.asarray(table["k0_mag"], float))[positive]
    seen, sigma = parallax[positive], error[positive]
    distance_error = np.hypot(sigma / seen**2, np.median(everything.fit.scatter) / true)

    def misfit(zero_point: float, in_distance: bool) -> float:
        expected = np.maximum(true + zero_point, 0.02)
        if in_distance:
            return float(np.sum(((1 / seen - 1 / expected) / distance_error) ** 2))
        total = np.hypot(sigma, np.median(everything.fit.scatter) * true)
        return float(np.sum(((seen - expected) / total) ** 2))

    for name, in_distance in (("inverse_parallax", True), ("same_stars_in_parallax", False)):
        best = minimize_scalar(misfit, bounds=(-0.3, 0.3), args=(in_distance,), method="bounded")
        result[f"{name}_uas"] = 1000 * float(best.x)
    return result


def decomposition(survey: Survey, table: Table, truth: Table, spectrum: np.ndarray) -> dict:
    """Separate the parts of the bias: zero points [uas] with each mean shift known from the truth.

    The true mean shift of ln fakemag, smooth in luminosity and magnitude, is split into the scatter that no spectrum
    tells ("hidden"), what this fit reads wrongly ("reading"), and the error of K0.
    """
    parallax, error, k0_mag = (np.asarray(table[name], float) for name in ("parallax", "parallax_error", "k0_mag"))
    place = [np.asarray(table[name], float) for name in ("glon", "glat")]
    fe_h = np.asarray(table["fe_h"], float)
    chemistry = (fe_h, np.asarray(table["mg_h"], float) - fe_h)
    fitted = refit_zero_point.calibrate(survey, table, spectrum)
    start = fitted.fit.log_fakemag
    features = np.column_stack(
        [
            luminosity_spline(start, refit_zero_point.SPLINE_COEFFICIENTS),
            refit_zero_point.spectral_features(survey, spectrum),
        ]
    )
    ridge = np.full(features.shape[1], survey.calibration.ridge)
    plain = least_squares.fit(parallax, error, k0_mag, start, features, ridge=ridge)
    abs_mag = log_fakemag_to_abs_mag(plain.log_fakemag)

    def zero_point(shift=None, magnitudes=k0_mag) -> float:
        return float(
            least_squares.fit(parallax, error, magnitudes, start, features, ridge=ridge, shift=shift).zero_point_uas[0]
        )

    true_abs_mag, hidden = (np.asarray(truth[name], float) for name in ("k_abs_mag", "hidden_mag"))
    k0_error = k0_mag - np.asarray(truth["k0_true_mag"], float)
    bright, faint = luminosity_spline(start, 9), luminosity_spline(k0_mag, 7)
    smooth = np.column_stack([(bright[:, :, None] * faint[:, None, :]).reshape(len(start), -1), features])
    gram = smooth.T @ smooth + 0.1 * np.eye(smooth.shape[1])

    def mean_shift(magnitudes) -> np.ndarray:
        """Mean of the magnitudes at a luminosity and K0, in ln fakemag."""
        return 0.2 * LN10 * smooth @ np.linalg.solve(gram, smooth.T @ np.clip(magnitudes, -0.8, 0.8))

    parts = {"hidden": hidden, "reading": true_abs_mag - hidden - abs_mag, "k0_error": k0_error}
    shifts = {name: mean_shift(values) for name, values in parts.items()}
    result: dict = {f"true_{name}_uas": zero_point(shift) for name, shift in shifts.items()}
    result |= {
        "no_shift_uas": zero_point(),
        "true_shift_uas": zero_point(sum(shifts.values())),
        "true_k0_uas": zero_point(magnitudes=k0_mag - k0_error),
    }
    for name, composition in {"density": (), "density_and_chemistry": chemistry}.items():
        model = DensityModel.fit(abs_mag, k0_mag, *place, *composition)
        slope = model.slope(abs_mag, k0_mag, *place, *composition)
        result[f"{name}_uas"] = zero_point(least_squares.density_shift(plain.scatter, slope))
        # the theory says E[hidden | K] = -variance slope: what variance do the stars' own hidden parts say?
        expected = slope - smooth[:, -features.shape[1] :] @ np.linalg.lstsq(features, slope, rcond=None)[0]
        result[f"{name}_hidden_variance_ratio"] = float(-(expected @ hidden) / (expected @ expected) / hidden.var())
    component = np.asarray(truth["component"])
    result["stars"] = {str(name): int(np.sum(component == name)) for name in np.unique(component)}
    return result
