"""Made-up results of closure trials, of the structure that `apogaia.closure.run` writes."""

import dataclasses
from types import SimpleNamespace

import numpy as np
from astropy.table import Table

from apogaia.closure.coverage import coverage
from apogaia.closure.summary import MODELS
from apogaia.closure.trials import TRIALS

LOST = 0.4  # share of an injected zero point that the made-up recipe of the paper does not find


def made_up_results(stars: int = 6000, seed: int = 1) -> dict[str, dict]:
    """Make up trials: a refit with errors of 2 uas, a paper's recipe with slope 0.6, three kinds of distances.

    Errors of the distances are true ("calibrated"), of half the size ("paper") and of twice the size ("released").
    """
    rng = np.random.default_rng(seed)
    results = {}
    for trial in TRIALS:
        result = {"trial": dataclasses.asdict(trial), "stars": 9000, "seconds": 60.0}
        if trial.recipe == "distances":
            result |= made_up_coverage(stars, rng)
        elif trial.recipe == "calibrated":
            result |= {name: made_up_coverage(stars, rng)[name] for name in ("test_stars", "calibrated")}
            result |= {"value_uas": trial.zero_point + 1.0, "error_uas": 2.5, "stars": stars}
        elif trial.recipe not in ("paper", "refit"):
            result["all_stars_uas"] = -52.0  # an experiment: numbers of its own
        elif trial.zero_point is None:
            surface = {"mean_difference_uas": 1.0, "rms_difference_uas": 4.0}
            result["surface"] = surface
            if trial.recipe == "refit":
                result |= {"value_uas": -50.0, "error_uas": 2.0, "without_plane": surface}
        elif trial.recipe == "refit":
            value = trial.zero_point + rng.normal(0, 2.0)
            result |= {"value_uas": value, "error_uas": 2.5, "statistical_error_uas": 2.0}
            if trial.name in ("refit_52.3", "clean_refit"):
                result |= {"halves_uas": [value - 1.0, value + 2.0], "gaussian_uas": value - 6.0}
        else:
            result["true_mean_uas"] = trial.zero_point + 0.5 * trial.slope_in_g
            value = (1 - LOST) * trial.zero_point + (0.0 if trial.contaminants else -5.0)
            history = value * (1 - np.exp(-np.arange(1, 41) / 8))
            result |= {"value_uas": value, "error_uas": 1.5, "offset_history_uas": history.tolist()}
        results[trial.name] = result
    return results


def made_up_coverage(n: int, rng: np.random.Generator) -> dict:
    distance = rng.gamma(3.0, 0.9, n) + 0.1
    k0_mag = rng.normal(10.5, 1.0, n)
    fakemag = 10 ** (0.2 * k0_mag) / distance
    table = Table({"k0_mag": k0_mag, "k_mag": k0_mag + 0.05, "snr": rng.lognormal(4.8, 0.6, n)})
    truth = Table(
        {
            "parallax_true": 1 / distance,
            "distance_kpc": distance,
            "fakemag_true": fakemag,
            "logg": rng.normal(2.5, 0.8, n),
            "teff": rng.normal(4800, 350, n),
        }
    )
    stated = dict(zip(MODELS, (1.0, 0.5, 2.0), strict=True))
    result: dict = {"test_stars": n}
    for model, factor in stated.items():
        relative = 0.08 * np.exp(rng.normal(0, 0.2, n))
        found = fakemag * (1 + relative * rng.standard_normal(n))
        result[model] = coverage(SimpleNamespace(fakemag=found, total_error=factor * relative * fakemag), table, truth)
    return result
