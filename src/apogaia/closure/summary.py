"""Results of the trials of `apogaia.closure`: numbers for notebook 08 and docs/closure/."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from apogaia import files
from apogaia.closure.coverage import LEVELS
from apogaia.closure.trials import TRIALS
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

__all__ = ["histories", "read_results", "recovered", "report", "seeds", "sentences", "summary"]

MODELS = ("calibrated", "paper", "released")  # whose errors the trial "distances" tests
QUANTITIES = ("fakemag", "parallax", "distance")
VARIABLES = ("k_mag", "snr", "logg", "teff", "distance_kpc")  # in whose bins the coverage is looked at
CALIBRATED = "calibrated_distances"  # the trial of the present calibrated model alone
RECIPE_TRIALS = tuple(trial for trial in TRIALS if trial.recipe in ("paper", "causes"))  # of the paper's recipe
FIGURE_SURVEY = "mock-dr14"  # whose figures/ and results/ hold those of notebook 08


def read_results(root: Path | None = None) -> dict[str, dict]:
    """The results of the trials that are done, by name, in the order of `TRIALS`."""
    workspace = Workspace(load_survey(FIGURE_SURVEY), root)
    paths = {trial.name: workspace.closure_result(trial.name) for trial in TRIALS}
    return {name: files.read_json(path) for name, path in paths.items() if path.is_file()}


def recovered(results: Mapping[str, Mapping]) -> dict[str, dict[str, np.ndarray]]:
    """Constant zero points of the full samples, with contaminants [uas].

    Returns
    -------
    dict
        For "paper", "refit", "fresh" (the refit of another Galaxy) and "kepler paper", "kepler refit", "kepler fresh",
        those that there are: "injected", "value" and "error", ordered by "injected".
    """
    rows: dict[str, list] = {}
    for trial in TRIALS:
        found = _constant(results.get(trial.name))
        if found and trial.recipe in ("paper", "refit") and trial.seed is None and trial.contaminants:
            name = "fresh" if trial.fresh else trial.recipe
            name = f"kepler {name}" if trial.survey == "mock-kepler" else name
            rows.setdefault(name, []).append([found["injected"], found["value"], found["error"]])
    return {
        name: dict(zip(("injected", "value", "error"), np.array(sorted(found)).T, strict=True))
        for name, found in rows.items()
    }


def seeds(results: Mapping[str, Mapping]) -> dict[str, np.ndarray]:
    """The trials with newly drawn Gaia errors: seed, injected, value, error and statistical error [uas]."""
    found = {
        trial.seed: _constant(results.get(trial.name)) for trial in TRIALS if trial.seed is not None and not trial.fresh
    }
    known = {seed: values for seed, values in found.items() if values}
    names = ("injected", "value", "error", "statistical_error")
    return {"seed": np.array(list(known), int)} | {
        name: np.array([values[name] for values in known.values()], float) for name in names
    }


def histories(results: Mapping[str, Mapping]) -> dict[str, tuple[list[float], float]]:
    """Label -> offset after each epoch and injected value [uas] of the joint trainings with a constant one."""
    made = {}
    for trial in TRIALS:
        history = results.get(trial.name, {}).get("offset_history_uas")
        if trial.zero_point is not None and history:
            field = ", Kepler-like field" if trial.survey == "mock-kepler" else ""
            falling = ", falling with G" if trial.slope_in_g else ""
            label = f"{trial.zero_point:g}{field}{falling}{'' if trial.contaminants else ', no contaminants'}"
            made[label.replace("-", "−", 1)] = history, _injected(results[trial.name])
    return made


def _constant(result: Mapping | None) -> dict[str, float] | None:
    """Injected, value and errors [uas] of a trial with a constant zero point; None without a result or a number."""
    if not result or result["trial"]["zero_point"] is None or result.get("value_uas") is None:
        return None
    missing = float("nan")
    error = result.get("error_uas")
    statistical = result.get("statistical_error_uas")
    return {
        "injected": _injected(result),
        "value": float(result["value_uas"]),
        "error": missing if error is None else float(error),
        "statistical_error": missing if statistical is None else float(statistical),
    }


def _injected(result: Mapping) -> float:
    """The injected constant [uas], or the mean over the training stars of a zero point that falls with G."""
    if result["trial"].get("slope_in_g"):
        return float(result["true_mean_uas"])
    return float(result["trial"]["zero_point"])


def summary(results: Mapping[str, Mapping]) -> dict:
    """Results of the trials, in numbers [uas]; those of missing trials are absent.

    Returns
    -------
    dict
        "difference_uas" and "pull" of each constant zero point; "slope" of recovered against injected by recipe;
        "seeds"; "contaminants_shift_uas" (with minus without them) by recipe; "gaussian_shift_uas" (the fit without
        contaminants in its model minus the fit with) and "halves_difference_uas" by trial; "surfaces" by trial;
        "coverage" by model and quantity: the three levels in all, and the least and the greatest share inside the 68 %
        interval of any bin; "scatter_percent" of giants by model.
    """
    constants = {name: found for name, result in results.items() if (found := _constant(result))}
    fits = {name: result for name, result in results.items() if name in constants}
    distances = {name: results.get("distances", {})[name] for name in MODELS if name in results.get("distances", {})}
    made = {
        "difference_uas": {name: found["value"] - found["injected"] for name, found in constants.items()},
        "pull": {name: (found["value"] - found["injected"]) / found["error"] for name, found in constants.items()},
        "slope": _slopes(results),
        "seeds": _seed_summary(results),
        "contaminants_shift_uas": {
            recipe: constants[f"{recipe}_52.3"]["value"] - constants[f"clean_{recipe}"]["value"]
            for recipe in ("refit", "paper")
            if {f"{recipe}_52.3", f"clean_{recipe}"} <= set(constants)
        },
        "gaussian_shift_uas": {
            name: result["gaussian_uas"] - constants[name]["value"]
            for name, result in fits.items()
            if result.get("gaussian_uas") is not None
        },
        "halves_difference_uas": {
            name: result["halves_uas"][0] - result["halves_uas"][1]
            for name, result in fits.items()
            if None not in result.get("halves_uas", [None])
        },
        "surfaces": {
            name: {part: result[part] for part in ("surface", "without_plane") if part in result}
            for name, result in results.items()
            if "surface" in result
        },
        "coverage": {
            model: {quantity: _worst_bins(result[quantity]) for quantity in QUANTITIES}
            for model, result in distances.items()
        },
        "scatter_percent": {model: result["scatter_percent"]["giants"] for model, result in distances.items()},
    }
    return {name: value for name, value in made.items() if value}


def _slopes(results) -> dict:
    """Least squares through recovered against injected, all trials alike."""
    return {
        name: {
            "slope": float(np.polyfit(points["injected"], points["value"], 1)[0]),
            "mean_difference_uas": float(np.mean(points["value"] - points["injected"])),
            "trials": len(points["value"]),
        }
        for name, points in recovered(results).items()
        if len(np.unique(points["injected"])) > 1
    }


def _seed_summary(results) -> dict:
    drawn = seeds(results)
    n = len(drawn["seed"])
    if n < 2:
        return {}
    pull = (drawn["value"] - drawn["injected"]) / drawn["error"]
    return {
        "trials": n,
        "stars": min(results[f"seed_{seed}"]["stars"] for seed in drawn["seed"]),
        "mean_value_uas": float(drawn["value"].mean()),
        "mean_difference_uas": float(np.mean(drawn["value"] - drawn["injected"])),
        "mean_pull": float(pull.mean()),
        "sd_pull": float(pull.std(ddof=1)),
        "sd_value_uas": float(drawn["value"].std(ddof=1)),
        "mean_error_uas": float(drawn["error"].mean()),
        "mean_statistical_error_uas": float(drawn["statistical_error"].mean()),
    }


def _worst_bins(covered: Mapping) -> dict:
    shares = {f"within_{level}": covered["all"][f"within_{level}"] for level in LEVELS}
    worst = {}
    for variable in VARIABLES:
        inside = [each["within_68"] for each in covered[variable]]
        worst[variable] = {"min_68": min(inside), "max_68": max(inside)}
    return shares | worst


def sentences(numbers: Mapping) -> dict[str, str]:
    """One sentence per figure of notebook 08, from `summary`; only those with numbers."""
    made = {}
    if slopes := numbers.get("slope"):
        parts = (
            f"{name} {each['slope']:.2f} (mean difference {each['mean_difference_uas']:+.1f} uas, "
            f"{each['trials']} trials)"
            for name, each in slopes.items()
        )
        made["recovered"] = f"Slope of recovered against injected, 1 for an unbiased recipe: {'; '.join(parts)}."
    if drawn := numbers.get("seeds"):
        made["seeds"] = (
            f"Over {drawn['trials']} seeds the values scatter by {drawn['sd_value_uas']:.1f} uas, beside a quoted "
            f"error of {drawn['mean_error_uas']:.1f} (statistical part {drawn['mean_statistical_error_uas']:.1f}); "
            f"pulls have mean {drawn['mean_pull']:+.2f} and sd {drawn['sd_pull']:.2f}."
        )
    if covered := numbers.get("coverage"):
        parts = (f"{model} {each['distance']['within_68']:.0f} %" for model, each in covered.items())
        made["reliability"] = f"The 68 % interval of the distance holds the truth for: {', '.join(parts)} of the stars."
        variables = {"k_mag": "Ks", "snr": "SNR", "logg": "log g"}
        parts = (
            f"{model} {min(each['distance'][name]['min_68'] for name in variables):.0f} to "
            f"{max(each['distance'][name]['max_68'] for name in variables):.0f} %"
            for model, each in covered.items()
        )
        made["coverage"] = f"In the worst bins of {', '.join(variables.values())} it is: {', '.join(parts)}."
        parts = (f"{model} {each['distance']['within_95']:.0f} %" for model, each in covered.items())
        made["pulls"] = f"Of the pulls, 95 % should be within 1.96: {', '.join(parts)} are."
    if scatter := numbers.get("scatter_percent"):
        parts = (f"{model} {value:.1f} %" for model, value in scatter.items())
        made["scatter"] = f"Distances of giants scatter about the truth by: {', '.join(parts)}."
    missed = {name: value for name, value in numbers.get("difference_uas", {}).items() if name in PAPER_TRIALS}
    if missed:
        parts = (f"{name} {value:+.1f}" for name, value in missed.items())
        made["histories"] = f"The paper's recipe ends beside the injected value by [uas]: {', '.join(parts)}."
    return made


PAPER_TRIALS = tuple(trial.name for trial in TRIALS if trial.recipe == "paper" and trial.zero_point is not None)


def report(root: Path | None = None) -> Path:
    """Write docs/closure/: results by trial, and notebook 08's pictures, small; return the folder.

    The calibrated model's distances go to distances.json, trials of the paper's recipe to recipe.json, and all but the
    distances to numbers.json, if there are others than those of the recipe.
    """
    from PIL import Image

    workspace = Workspace(load_survey(FIGURE_SURVEY), root)
    folder = workspace.root / "docs" / "closure"
    results = read_results(root)
    distances = results.pop(CALIBRATED, None)
    recipe = {trial.name: results[trial.name] for trial in RECIPE_TRIALS if trial.name in results}
    others = results if len(results) > len(recipe) else {}
    for name, found in (("distances", distances), ("recipe", recipe), ("numbers", others)):
        if found:
            files.write_json(folder / f"{name}.json", found)
    for path in sorted(workspace.figure("08").parent.glob("08_*.png")):
        with Image.open(path) as picture, files.atomic(folder / path.name.removeprefix("08_")) as temporary:
            picture.convert("RGB").quantize(64).save(temporary, format="png", optimize=True)
    return folder
