"""Closure: does a known zero point come back? `make closure` runs every trial of `TRIALS` and keeps each result.

A trial simulates a sample of the paper's size without files of single spectra, gives its parallaxes a known zero point,
and recovers it by the paper's recipe or by the refit of `apogaia.calibration`. Finished trials are kept: a run that was
stopped goes on. Notebook 08 draws the results; `python -m apogaia.closure --report` puts them beside docs/closure.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table

from apogaia import files, samples, stars
from apogaia.closure_sample import read_sample_truth, simulate_sample
from apogaia.simulate.gaia import zero_point_surface
from apogaia.survey import Survey, load_survey
from apogaia.workspace import Workspace

__all__ = [
    "TRIALS",
    "Trial",
    "histories",
    "read_results",
    "recovered",
    "run",
    "seeds",
    "sentences",
    "simulate_sample",
    "summary",
    "with_zero_point",
]

SAMPLE = {"mock-dr14": (35_112, 24_000), "mock-kepler": (6_500, 3_000)}  # training (the paper's number) and test stars
REDUCED = 9_000  # training stars of the trials with different seeds
RELEASED = 12_000  # training stars of the network with the released code's form of the likelihood
BINS = 10  # of Ks, SNR, log g, Teff and distance, with as many stars each
MODELS = ("calibrated", "paper", "released")  # whose errors the trial "distances" tests
QUANTITIES = ("fakemag", "parallax", "distance")
FIGURE_SURVEY = "mock-dr14"  # whose figures/ and results/ hold those of notebook 08
LEVELS = {50: 0.6745, 68: 0.9945, 95: 1.96}  # per cent: half-width of a Gaussian's interval in standard deviations


@dataclass(frozen=True)
class Trial:
    """One zero point to recover."""

    name: str
    recipe: str  # "paper": the joint network and its dropout draws; "refit": `apogaia.calibration`; else an experiment
    zero_point: float | None = -52.3  # uas; None: the surface of G, BP-RP and Teff
    survey: str = "mock-dr14"
    contaminants: bool = True
    seed: int | None = None  # of a reduced sample with Gaia errors drawn anew; None: all stars as they are
    fresh: bool = False  # another simulated Galaxy, which had no part in any choice of method or setting


TRIALS = (
    *(Trial(f"refit_{abs(value):g}", "refit", value) for value in (-52.3, 0.0, -100.0, -29.0)),
    Trial("kepler_refit", "refit", survey="mock-kepler"),
    *(Trial(f"seed_{seed}", "refit", seed=seed) for seed in range(8)),
    Trial("surface_refit", "refit", None),
    Trial("clean_refit", "refit", contaminants=False),
    *(Trial(f"fresh_{abs(value):g}", "refit", value, fresh=True) for value in (-52.3, 0.0, -100.0, -29.0)),
    Trial("fresh_surface", "refit", None, fresh=True),
    Trial("fresh_kepler", "refit", survey="mock-kepler", fresh=True),
    Trial("kepler_paper", "paper", survey="mock-kepler"),
    *(Trial(f"paper_{abs(value):g}", "paper", value) for value in (-52.3, 0.0)),
    Trial("surface_paper", "paper", None, contaminants=False),
    Trial("clean_paper", "paper", contaminants=False),
    *(Trial(f"paper_{abs(value):g}", "paper", value) for value in (-100.0, -29.0)),
    Trial("distances", "distances"),
    Trial("selections", "selections"),
    Trial("decomposition", "decomposition", contaminants=False),
)
FRESH_SEED = 2026  # added to the simulation's seed


def with_zero_point(table: Table, truth: Table, trial: Trial) -> Table:
    """The stars as Gaia would have seen them with the trial's zero point, and for a seed with other errors.

    The sample stays the one that the survey's own zero point selected: the cuts hardly depend on it.
    """
    table = table.copy()
    if trial.zero_point is None:
        wanted = zero_point_surface(np.asarray(table["g_mag"]), np.asarray(table["bp_rp"]), np.asarray(truth["teff"]))
        wanted = np.where(np.isfinite(wanted), wanted, truth["zero_point"])
    else:
        wanted = np.full(len(table), trial.zero_point / 1000.0)
    parallax = np.asarray(table["parallax"], float)
    if trial.seed is not None:
        error = np.asarray(table["parallax_error"], float)
        drawn = (
            truth["parallax_true"]
            + truth["zero_point"]
            + error * np.random.default_rng([trial.seed, 30]).standard_normal(len(table))
        )
        spoilt = np.isin(np.asarray(truth["contamination"]), ("wrong match", "wrong parallax"))
        parallax = np.where(spoilt, parallax, drawn)
    table["parallax"] = parallax + wanted - np.asarray(truth["zero_point"])
    return table


def training_rows(trial: Trial, table: Table, truth: Table, survey: Survey) -> np.ndarray:
    """Rows of the trial's training sample."""
    from apogaia.calibration import usable

    chosen = np.asarray(table["snr"]) > survey.cuts.snr_split
    if trial.recipe != "paper":
        chosen &= usable(survey, table)
    if not trial.contaminants:
        chosen &= np.asarray(truth["contamination"]) == "none"
    if trial.zero_point is None:
        chosen &= np.logical_and.reduce([np.isfinite(np.asarray(table[name])) for name in ("g_mag", "bp_rp", "teff")])
    rows = np.flatnonzero(chosen)
    if trial.seed is not None:
        rows = np.sort(np.random.default_rng([trial.seed, 31]).permutation(rows)[:REDUCED])
    return rows


def run(trial: Trial, workspace: Workspace, *, verbose: bool = True) -> dict:
    """Recover the trial's zero point; results [uas] and settings, as written to JSON."""
    survey = workspace.survey
    started = time.perf_counter()
    if trial.fresh:
        simulation = survey.simulation
        simulation = dataclasses.replace(simulation, seed=simulation.seed + FRESH_SEED)
        survey = dataclasses.replace(survey, name=f"{survey.name}-fresh", simulation=simulation)
        workspace = Workspace(survey, workspace.root)
    simulate_sample(survey, workspace, n_training=SAMPLE[trial.survey][0], n_test=SAMPLE[trial.survey][1])
    truth = read_sample_truth(workspace)
    with stars.open_stars(workspace.stars) as opened:
        table = with_zero_point(opened.table, truth, trial)
        rows = training_rows(trial, table, truth, survey)
        spectrum = opened.spectra_of(rows)
    if trial.recipe == "distances":
        return {"trial": dataclasses.asdict(trial), **_distances(survey, workspace, table, truth, verbose)}
    recover = {"paper": _paper, "refit": _refit, "selections": _selections, "decomposition": _decomposition}
    result = {
        "trial": dataclasses.asdict(trial),
        "stars": len(rows),
        **recover[trial.recipe](trial, survey, workspace, table[rows], truth[rows], spectrum, verbose),
        "seconds": time.perf_counter() - started,
    }
    return result


def _sample(table: Table, spectrum: np.ndarray):
    from apogaia.training import TrainingSet

    names = [field.name for field in dataclasses.fields(TrainingSet)[1:]]
    return TrainingSet(spectrum, *(np.asarray(table[name], float) for name in names))


def _refit(trial, survey, workspace, table, truth, spectrum, verbose) -> dict:
    from apogaia import calibration

    fitted = calibration.calibrate(survey, table, spectrum)
    giants = np.asarray(truth["logg"]) < 3.6
    true = np.log(np.asarray(truth["fakemag_true"], float))
    result = fitted.in_uas() | {"scatter_giants": _robust((true - fitted.fit.log_fakemag)[giants])}
    if trial.zero_point is None:
        result["surface"] = _surface_against_truth(workspace, survey, lambda *inputs: fitted.plane.at(*inputs)[0])
        result["without_plane"] = _surface_against_truth(
            workspace, survey, lambda g_mag, *_: np.full(len(g_mag), fitted.zero_point)
        )
    elif trial.name in ("refit_52.3", "clean_refit"):
        half = [_half(survey, table, spectrum, k) for k in range(2)]
        gaussian = calibration.calibrate(survey, table, spectrum, robust=False)
        result |= {"halves_uas": half, "gaussian_uas": gaussian.zero_point}
    return result


def _selections(trial, survey, workspace, table, truth, spectrum, verbose) -> dict:
    from apogaia.closure_experiments import naive_selections

    return naive_selections(survey, table, spectrum)


def _decomposition(trial, survey, workspace, table, truth, spectrum, verbose) -> dict:
    from apogaia.closure_experiments import decomposition

    return decomposition(survey, table, truth, spectrum)


def _half(survey: Survey, table: Table, spectrum: np.ndarray, k: int) -> float:
    """The zero point [uas] of every other star."""
    from apogaia import calibration

    rows = np.random.default_rng(survey.calibration.seed).permutation(len(table))[k::2]
    rows.sort()
    return calibration.calibrate(survey, table[rows], spectrum[rows]).zero_point


def _surface_against_truth(workspace: Workspace, survey: Survey, at) -> dict:
    """A recovered surface [uas] against the injected one, over the test stars."""
    from apogaia.zeropoint import summaries

    truth = read_sample_truth(workspace)
    with stars.open_stars(workspace.stars) as opened:
        rows = samples.select(opened.table, survey).test
        table = opened.table[rows]
    inputs = {name: np.asarray(table[name], float) for name in ("g_mag", "bp_rp", "teff")}
    injected = 1000 * zero_point_surface(inputs["g_mag"], inputs["bp_rp"], np.asarray(truth["teff"], float)[rows])
    recovered = at(*inputs.values())
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


def _robust(values) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))


def _paper(trial, survey, workspace, table, truth, spectrum, verbose) -> dict:
    from apogaia import training, zeropoint

    offset = "constant" if trial.zero_point is not None else "multivariate"
    path = workspace.data / "closure" / f"{trial.name}.keras"
    sample = _sample(table, spectrum)
    if offset == "multivariate":
        relative = np.asarray(table["parallax_error"]) / np.asarray(table["parallax"])
        sample = sample.subset(np.flatnonzero(relative < survey.cuts.max_relative_parallax_error_multivariate))
    history = {}
    if path.is_file():
        model = training.load_model(path)
    else:
        model, history = training.train(survey, sample, offset, verbose=verbose)
        training.save_model(model, path, training.provenance(survey, sample, offset))
    draws = {"draws": survey.inference.offset_draws, "seed": survey.inference.seed}
    if offset == "constant":
        value = zeropoint.constant_zero_point(model, **draws).in_uas()
    else:

        def at(*inputs):
            return 1000 * zeropoint.zero_point(model, *inputs, **draws)[0]

        value = {"surface": _surface_against_truth(workspace, survey, at)}
    true = np.log(np.asarray(truth["fakemag_true"], float))
    fakemag = np.asarray(model.get_layer("luminosity")(spectrum[:8192]))[:, 0]
    return value | {
        "offset_history_uas": [1000 * offset for offset in history.get("offset", [])],
        "scatter_network": _robust(true[: len(fakemag)] - np.log(fakemag)),
    }


def _distances(survey: Survey, workspace: Workspace, table: Table, truth: Table, verbose: bool) -> dict:
    """Coverage of the errors of the calibrated model, of the paper's, and of the released code's form of it."""
    from apogaia import calibration, inference, training
    from apogaia.error_calibration import ErrorCalibration, calibration_rows

    calibration.calibrated_model(survey, workspace)
    folder = workspace.data / "closure"
    paper, released = folder / "clean_paper.keras", folder / "released.keras"  # contaminants break the paper's recipe
    if not paper.is_file():
        raise FileNotFoundError(f"{paper} is missing: run the trial clean_paper first")
    selected = samples.select(table, survey)
    if not released.is_file():
        form = dataclasses.replace(survey.training, variance_form="released")
        changed = dataclasses.replace(survey, training=form)
        clean = selected.training[np.asarray(truth["contamination"])[selected.training] == "none"]
        rows = np.sort(np.random.default_rng(form.seed).permutation(clean)[:RELEASED])
        with stars.open_stars(workspace.stars) as opened:
            sample = _sample(table[rows], opened.spectra_of(rows))
        model, _ = training.train(changed, sample, "constant", verbose=verbose)
        training.save_model(model, released, training.provenance(changed, sample, "constant"))
    test = np.setdiff1d(selected.test, calibration_rows(table, selected.test))
    with stars.open_stars(workspace.stars) as opened:
        spectrum = opened.spectra_of(test)
    result = {"test_stars": len(test)}
    for name, path in {"calibrated": workspace.model("calibrated"), "paper": paper, "released": released}.items():
        made = {"passes": survey.inference.passes, "seed": survey.inference.seed}
        prediction = inference.predict(training.load_model(path), spectrum, **made, progress=verbose)
        prediction = ErrorCalibration.of_model(path).apply(prediction, table["snr"][test])
        result[name] = coverage(prediction, table[test], truth[test])
    return result


def coverage(prediction, table: Table, truth: Table) -> dict:
    """How often intervals of a stated level hold the truth, against Ks, SNR, log g, Teff and distance.

    Returns
    -------
    dict
        For "fakemag", "parallax" and "distance": "all" and, per variable, a list of bins with low, high, stars, level:
        share of stars in per cent, median pull; and the histogram of the pulls. Also the robust scatter of distances
        of giants (log g < 3.6) per cent, in all and in bins of log g and SNR.
    """
    k0 = np.asarray(table["k0_mag"], float)
    factor = 10 ** (-0.2 * k0)
    parallax, relative = prediction.fakemag * factor, prediction.total_error / prediction.fakemag
    true_parallax = np.asarray(truth["parallax_true"], float)
    distance, true_distance = 1.0 / parallax, np.asarray(truth["distance_kpc"], float)
    pulls = {
        "fakemag": (prediction.fakemag - np.asarray(truth["fakemag_true"], float)) / prediction.total_error,
        "parallax": (parallax - true_parallax) / (relative * parallax),
        "distance": (distance - true_distance) / (relative * distance),
    }
    variables = {
        "k_mag": np.asarray(table["k_mag"], float),
        "snr": np.asarray(table["snr"], float),
        "logg": np.asarray(truth["logg"], float),
        "teff": np.asarray(truth["teff"], float),
        "distance_kpc": true_distance,
    }
    known = np.isfinite(pulls["distance"]) & np.isfinite(variables["k_mag"])
    result: dict = {"stars": int(known.sum())}
    edges = np.linspace(-5.0, 5.0, 41)
    for name, pull in pulls.items():
        result[name] = {"all": _covered(pull[known])} | {
            variable: [
                {"low": low, "high": high, **_covered(pull[inside])} for low, high, inside in _bins(values, known)
            ]
            for variable, values in variables.items()
        }
        counts, _ = np.histogram(np.clip(pull[known], -4.99, 4.99), edges)
        result[name]["pull_histogram"] = {"edges": edges, "counts": counts}
    giants = known & (variables["logg"] < 3.6)
    off = 100 * (distance / true_distance - 1)
    result["scatter_percent"] = {"giants": 100 * _robust(distance[giants] / true_distance[giants])} | {
        variable: [
            {"low": low, "high": high, "scatter": _robust(off[inside]), "median": float(np.median(off[inside]))}
            for low, high, inside in _bins(variables[variable], giants)
        ]
        for variable in ("logg", "snr", "k_mag")
    }
    result["median_offset_percent"] = float(np.median(off[known]))
    return result


def _bins(values, known) -> Iterator[tuple[float, float, np.ndarray]]:
    edges = np.percentile(values[known], np.linspace(0, 100, BINS + 1))
    for k, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = known & (values >= low) & ((values < high) | (k == BINS - 1))
        yield float(low), float(high), inside


def _covered(pull) -> dict:
    shares = {f"within_{level}": float(100 * np.mean(np.abs(pull) < z)) for level, z in LEVELS.items()}
    return {"stars": len(pull), **shares, "median_pull": float(np.median(pull))}


def result_path(trial: Trial, root: Path | None = None) -> Path:
    return Workspace(load_survey(trial.survey), root).root / "results" / "closure" / f"{trial.name}.json"


def read_results(root: Path | None = None) -> dict[str, dict]:
    """The results of the trials that are done, by name, in the order of `TRIALS`."""
    paths = {trial.name: result_path(trial, root) for trial in TRIALS}
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
    """The trials with errors of Gaia drawn anew: seed, injected, value, error and statistical error [uas]."""
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
            label = f"{trial.zero_point:g}{field}{'' if trial.contaminants else ', no contaminants'}"
            made[label.replace("-", "−", 1)] = history, trial.zero_point
    return made


def _constant(result: Mapping | None) -> dict[str, float] | None:
    """Injected, value and errors [uas] of a trial with a constant zero point; None without a result or a number."""
    if not result or result["trial"]["zero_point"] is None or result.get("value_uas") is None:
        return None
    missing = float("nan")
    error = result.get("error_uas")
    statistical = result.get("statistical_error_uas")
    return {
        "injected": float(result["trial"]["zero_point"]),
        "value": float(result["value_uas"]),
        "error": missing if error is None else float(error),
        "statistical_error": missing if statistical is None else float(statistical),
    }


def summary(results: Mapping[str, Mapping]) -> dict:
    """What the trials say, in numbers [uas]; what would need a trial that is not there is absent.

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
    for variable in ("k_mag", "snr", "logg", "teff", "distance_kpc"):
        inside = [each["within_68"] for each in covered[variable]]
        worst[variable] = {"min_68": min(inside), "max_68": max(inside)}
    return shares | worst


def sentences(numbers: Mapping) -> dict[str, str]:
    """One sentence per figure of notebook 08, from `summary`; only those whose numbers there are."""
    made = {}
    if slopes := numbers.get("slope"):
        parts = (
            f"{name} {each['slope']:.2f} (mean difference {each['mean_difference_uas']:+.1f} uas, "
            f"{each['trials']} trials)"
            for name, each in slopes.items()
        )
        made["recovered"] = f"Slope of recovered against injected, 1 if the zero point comes back: {'; '.join(parts)}."
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
    """Write docs/closure/: numbers.json, all results by trial, and notebook 08's pictures, small; return the folder."""
    from PIL import Image

    workspace = Workspace(load_survey(FIGURE_SURVEY), root)
    folder = workspace.root / "docs" / "closure"
    files.write_json(folder / "numbers.json", read_results(root))
    for path in sorted(workspace.figure("08").parent.glob("08_*.png")):
        with Image.open(path) as picture, files.atomic(folder / path.name.removeprefix("08_")) as temporary:
            picture.convert("RGB").quantize(64).save(temporary, format="png", optimize=True)
    return folder


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m apogaia.closure", description=__doc__)
    parser.add_argument("trials", nargs="*", help="names of trials; all by default")
    parser.add_argument("--list", action="store_true", help="list the trials and whether each is done")
    parser.add_argument("--report", action="store_true", help="write docs/closure/: numbers and notebook 08's pictures")
    chosen = parser.parse_args(arguments)
    if chosen.report:
        print(f"written: {report()}")
        return 0
    known = {trial.name: trial for trial in TRIALS}
    unknown = set(chosen.trials) - set(known)
    if unknown:
        parser.error(f"no trial called {sorted(unknown)[0]}; there are {', '.join(known)}")
    for name in chosen.trials or known:
        trial, path = known[name], result_path(known[name])
        if chosen.list:
            print(f"{name:16s} {'done' if path.is_file() else '-'}")
        elif path.is_file():
            print(f"{name}: done before, {path}")
        else:
            print(f"{name}: {trial}", flush=True)
            result = run(trial, Workspace(load_survey(trial.survey)))
            files.write_json(path, result)
            print(f"{name}: {result.get('value_uas', float('nan')):.1f} +- {result.get('error_uas', float('nan')):.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
