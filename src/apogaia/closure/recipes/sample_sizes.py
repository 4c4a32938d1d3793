"""How the error of the refit depends on the number of stars and on the range of their distances.

Many small samples of one simulated survey, and samples of stars at much the same distance.
"""

from __future__ import annotations

import numpy as np

from apogaia.closure.trials import Sample, Trial, simulated, training_rows
from apogaia.workspace import Workspace
from apogaia.zero_point import refit_zero_point
from apogaia.zero_point.sample_checks import parallax_spread

__all__ = ["RANGES", "SIZES", "recover_ranges", "recover_sizes"]

SIZES = (50, 100, 200, 400, 800, 1600, 3200)  # usable stars
DRAWS = 16  # samples of each size, without a star in common; fewer where the survey has not enough stars
RANGES = (1.05, 1.2, 1.5, 2.0, 3.0, 5.0)  # stars from 2 kpc / range to 2 kpc * range
RANGE_STARS = 1600  # at most


def _usable(trial: Trial, workspace: Workspace) -> tuple[Sample, np.ndarray]:
    sample = simulated(trial, workspace)
    usable = refit_zero_point.usable(sample.survey, sample.table)
    return sample, training_rows(trial, sample.table, sample.truth, sample.survey, usable)


def recover_ranges(trial: Trial, workspace: Workspace, *, verbose: bool = True) -> dict:
    """Results of the trial [uas]: "ranges", one entry for each range of true distances."""
    sample, rows = _usable(trial, workspace)
    distance = np.asarray(sample.truth["distance_kpc"], float)[rows]
    found = []
    for reach in RANGES:
        near, far = 2.0 / reach, 2.0 * reach
        inside = rows[(distance > near) & (distance < far)]
        drawn = np.sort(np.random.default_rng(33).permutation(inside)[:RANGE_STARS])
        table = sample.table[drawn]
        entry: dict[str, float | str] = {
            "near_kpc": near,
            "far_kpc": far,
            "stars": len(drawn),
            "parallax_spread": parallax_spread(table),
        }
        try:
            fitted = refit_zero_point.calibrate(sample.survey, table, sample.spectra_of(drawn))
            entry |= {"value_uas": fitted.zero_point_uas, "error_uas": fitted.error_uas}
        except (ValueError, np.linalg.LinAlgError) as fault:
            entry["failed"] = str(fault)
        found.append(entry)
        if verbose:
            print(entry, flush=True)
    return {"ranges": found}


def recover_sizes(trial: Trial, workspace: Workspace, *, verbose: bool = True) -> dict:
    """Results of the trial [uas]: "sizes", one entry for each number of stars."""
    sample, rows = _usable(trial, workspace)
    found = []
    for size in SIZES:
        found.append(_refits(sample, rows, size, float(trial.zero_point or 0.0)))
        if verbose:
            print({name: value for name, value in found[-1].items() if not name.endswith("s_uas")}, flush=True)
    return {"sizes": found}


def _refits(sample: Sample, rows: np.ndarray, size: int, injected: float) -> dict:
    """Refits of disjoint samples of `size` stars, and how far they miss the injected zero point."""
    order = np.random.default_rng([size, 32]).permutation(rows)
    draws = min(DRAWS, len(order) // size)
    values, errors, failed = [], [], 0
    for drawn in order[: draws * size].reshape(draws, size):
        drawn.sort()
        try:
            fitted = refit_zero_point.calibrate(sample.survey, sample.table[drawn], sample.spectra_of(drawn))
        except (ValueError, np.linalg.LinAlgError):  # it does not converge; counted
            failed += 1
            continue
        values.append(fitted.zero_point_uas)
        errors.append(fitted.error_uas)
    difference = np.array(values) - injected
    return {
        "stars": size,
        "draws": draws,
        "failed": failed,
        "mean_difference_uas": float(difference.mean()),
        "rms_difference_uas": float(np.sqrt(np.mean(difference**2))),
        "largest_difference_uas": float(np.abs(difference).max()),
        "mean_error_uas": float(np.mean(errors)),
        "within_2_errors": float(np.mean(np.abs(difference) < 2 * np.array(errors))),
        "values_uas": values,
        "errors_uas": errors,
    }
