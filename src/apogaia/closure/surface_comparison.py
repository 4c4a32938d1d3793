"""A recovered zero-point surface compared with the injected one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from apogaia.closure.trials import Sample
from apogaia.reduction import quality_cuts, stars_h5
from apogaia.simulate.gaia import injected_surface
from apogaia.zero_point.quadratic_summaries import summaries

__all__ = ["surface_against_truth"]


def surface_against_truth(sample: Sample, at_uas: Callable[..., np.ndarray]) -> dict:
    """A recovered surface against the injected one, over the test stars.

    Parameters
    ----------
    sample
        The trial's stars.
    at_uas
        The recovered zero point [uas] of stars of G, BP-RP [mag] and Teff [K], each (n,).
    """
    with stars_h5.open_stars(sample.workspace.stars) as opened:
        rows = quality_cuts.select(opened.table, sample.survey).test
        table = opened.table[rows]
    inputs = {name: np.asarray(table[name], float) for name in ("g_mag", "bp_rp", "teff")}
    injected = 1000 * injected_surface(inputs["g_mag"], inputs["bp_rp"], np.asarray(sample.truth["teff"], float)[rows])
    recovered = at_uas(*inputs.values())
    known = np.isfinite(np.column_stack([injected, recovered, *inputs.values()])).all(axis=1)
    difference = (recovered - injected)[known]
    slopes = {
        name: [
            float(np.polyfit((x[known] - x[known].mean()) / x[known].std(), y[known], 1)[0])
            for y in (recovered, injected)
        ]
        for name, x in inputs.items()
    }
    return {
        "mean_difference_uas": float(difference.mean()),
        "rms_difference_uas": float(np.sqrt(np.mean(difference**2))),
        "trend_recovered_and_injected_uas_per_sd": slopes,
        "summaries_recovered": {name: made.coefficients for name, made in summaries(inputs, recovered).items()},
        "summaries_injected": {name: made.coefficients for name, made in summaries(inputs, injected).items()},
    }
