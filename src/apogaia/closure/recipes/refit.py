"""Recover the zero point by the refit of `apogaia.zero_point.refit_zero_point`."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from apogaia.closure.surface_comparison import surface_against_truth
from apogaia.closure.trials import Trial, simulated, training_rows
from apogaia.physics.luminosity import robust_scatter
from apogaia.survey import Survey
from apogaia.workspace import Workspace
from apogaia.zero_point import refit_zero_point

__all__ = ["recover"]

SPLIT_TRIALS = ("refit_52.3", "clean_refit")  # fitted in halves and without contaminants in the model, too


def recover(trial: Trial, workspace: Workspace, *, verbose: bool = True) -> dict:
    """Results of the trial [uas]."""
    sample = simulated(trial, workspace)
    survey = sample.survey
    rows = training_rows(trial, sample.table, sample.truth, survey, refit_zero_point.usable(survey, sample.table))
    table, truth, spectrum = sample.table[rows], sample.truth[rows], sample.spectra_of(rows)
    fitted = refit_zero_point.calibrate(survey, table, spectrum)
    giants = np.asarray(truth["logg"]) < 3.6
    true = np.log(np.asarray(truth["fakemag_true"], float))
    result = {"stars": len(rows)} | fitted.in_uas()
    result["scatter_giants"] = robust_scatter((true - fitted.fit.log_fakemag)[giants])
    if trial.zero_point is None:
        plane = fitted.plane
        if plane is None:
            raise ValueError(f"{trial.name}: G, BP-RP or Teff are missing for most stars, so there is no plane")
        result["surface"] = surface_against_truth(sample, lambda *inputs: plane.at_uas(*inputs)[0])
        result["without_plane"] = surface_against_truth(
            sample, lambda g_mag, *_: np.full(len(g_mag), fitted.zero_point_uas)
        )
    elif trial.name in SPLIT_TRIALS:
        half = [_half(survey, table, spectrum, k) for k in range(2)]
        gaussian = refit_zero_point.calibrate(survey, table, spectrum, robust=False)
        result |= {"halves_uas": half, "gaussian_uas": gaussian.zero_point_uas}
    return result


def _half(survey: Survey, table: Table, spectrum: np.ndarray, k: int) -> float:
    """The zero point [uas] of every other star."""
    rows = np.random.default_rng(survey.calibration.seed).permutation(len(table))[k::2]
    rows.sort()
    return refit_zero_point.calibrate(survey, table[rows], spectrum[rows]).zero_point_uas
