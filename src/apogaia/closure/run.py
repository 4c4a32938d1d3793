"""Closure: does a known zero point come back? `make closure` runs every trial of `TRIALS` and keeps each result.

A trial simulates a sample of the paper's size without files of single spectra, gives its parallaxes a known zero point,
and recovers it by the paper's recipe or by the refit of `apogaia.calibration`. Finished trials are kept: a run that was
stopped goes on. Notebook 08 draws the results; `python -m apogaia.closure --report` puts them beside docs/closure.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table

from apogaia import files
from apogaia.closure.coverage import coverage
from apogaia.closure.sample import read_sample_truth, simulate_sample
from apogaia.physics.luminosity import robust_scatter
from apogaia.reduction import quality_cuts, star_file
from apogaia.simulate.gaia import injected_surface
from apogaia.survey import Survey, load_survey
from apogaia.workspace import Workspace

__all__ = [
    "TRIALS",
    "Trial",
    "result_path",
    "run",
    "with_zero_point",
]

SAMPLE = {"mock-dr14": (35_112, 24_000), "mock-kepler": (6_500, 3_000)}  # training (the paper's number) and test stars
REDUCED = 9_000  # training stars of the trials with different seeds
RELEASED = 12_000  # training stars of the network with the released code's form of the likelihood


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
        wanted = injected_surface(np.asarray(table["g_mag"]), np.asarray(table["bp_rp"]), np.asarray(truth["teff"]))
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
    from apogaia.zero_point.refitted import usable

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
    with star_file.open_stars(workspace.stars) as opened:
        table = with_zero_point(opened.table, truth, trial)
        if trial.recipe == "distances":
            return {"trial": dataclasses.asdict(trial), **_distances(survey, workspace, table, truth, verbose)}
        rows = training_rows(trial, table, truth, survey)
        spectrum = opened.spectra_of(rows)
    recover = {"paper": _paper, "refit": _refit, "selections": _selections, "decomposition": _decomposition}
    result = {
        "trial": dataclasses.asdict(trial),
        "stars": len(rows),
        **recover[trial.recipe](trial, survey, workspace, table[rows], truth[rows], spectrum, verbose),
        "seconds": time.perf_counter() - started,
    }
    return result


def _sample(table: Table, spectrum: np.ndarray):
    from apogaia.model.training import TrainingSet

    names = [field.name for field in dataclasses.fields(TrainingSet)[1:]]
    return TrainingSet(spectrum, *(np.asarray(table[name], float) for name in names))


def _refit(trial, survey, workspace, table, truth, spectrum, verbose) -> dict:
    from apogaia.zero_point import refitted

    fitted = refitted.calibrate(survey, table, spectrum)
    giants = np.asarray(truth["logg"]) < 3.6
    true = np.log(np.asarray(truth["fakemag_true"], float))
    result = fitted.in_uas() | {"scatter_giants": robust_scatter((true - fitted.fit.log_fakemag)[giants])}
    if trial.zero_point is None:
        result["surface"] = _surface_against_truth(workspace, survey, lambda *inputs: fitted.plane.at_uas(*inputs)[0])
        result["without_plane"] = _surface_against_truth(
            workspace, survey, lambda g_mag, *_: np.full(len(g_mag), fitted.zero_point_uas)
        )
    elif trial.name in ("refit_52.3", "clean_refit"):
        half = [_half(survey, table, spectrum, k) for k in range(2)]
        gaussian = refitted.calibrate(survey, table, spectrum, robust=False)
        result |= {"halves_uas": half, "gaussian_uas": gaussian.zero_point_uas}
    return result


def _selections(trial, survey, workspace, table, truth, spectrum, verbose) -> dict:
    from apogaia.closure.experiments import naive_selections

    return naive_selections(survey, table, spectrum)


def _decomposition(trial, survey, workspace, table, truth, spectrum, verbose) -> dict:
    from apogaia.closure.experiments import decomposition

    return decomposition(survey, table, truth, spectrum)


def _half(survey: Survey, table: Table, spectrum: np.ndarray, k: int) -> float:
    """The zero point [uas] of every other star."""
    from apogaia.zero_point import refitted

    rows = np.random.default_rng(survey.calibration.seed).permutation(len(table))[k::2]
    rows.sort()
    return refitted.calibrate(survey, table[rows], spectrum[rows]).zero_point_uas


def _surface_against_truth(workspace: Workspace, survey: Survey, at) -> dict:
    """A recovered surface [uas] against the injected one, over the test stars."""
    from apogaia.zero_point.summaries import summaries

    truth = read_sample_truth(workspace)
    with star_file.open_stars(workspace.stars) as opened:
        rows = quality_cuts.select(opened.table, survey).test
        table = opened.table[rows]
    inputs = {name: np.asarray(table[name], float) for name in ("g_mag", "bp_rp", "teff")}
    injected = 1000 * injected_surface(inputs["g_mag"], inputs["bp_rp"], np.asarray(truth["teff"], float)[rows])
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


def _paper(trial, survey, workspace, table, truth, spectrum, verbose) -> dict:
    from apogaia.model import training
    from apogaia.zero_point import offset_posterior

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
        value = offset_posterior.constant_zero_point(model, **draws).in_uas()
    else:

        def at(*inputs):
            return 1000 * offset_posterior.zero_point(model, *inputs, **draws)[0]

        value = {"surface": _surface_against_truth(workspace, survey, at)}
    true = np.log(np.asarray(truth["fakemag_true"], float))
    fakemag = np.asarray(model.get_layer("luminosity")(spectrum[:8192]))[:, 0]
    return value | {
        "offset_history_uas": [1000 * offset for offset in history.get("offset", [])],
        "scatter_network": robust_scatter(true[: len(fakemag)] - np.log(fakemag)),
    }


def _distances(survey: Survey, workspace: Workspace, table: Table, truth: Table, verbose: bool) -> dict:
    """Coverage of the errors of the calibrated model, of the paper's, and of the released code's form of it."""
    from apogaia.model import inference, training
    from apogaia.model.error_calibration import ErrorCalibration, calibration_rows
    from apogaia.zero_point import refitted

    refitted.calibrated_model(survey, workspace)
    folder = workspace.data / "closure"
    paper, released = folder / "clean_paper.keras", folder / "released.keras"  # contaminants break the paper's recipe
    if not paper.is_file():
        raise FileNotFoundError(f"{paper} is missing: run the trial clean_paper first")
    selected = quality_cuts.select(table, survey)
    if not released.is_file():
        form = dataclasses.replace(survey.training, variance_form="released")
        changed = dataclasses.replace(survey, training=form)
        clean = selected.training[np.asarray(truth["contamination"])[selected.training] == "none"]
        rows = np.sort(np.random.default_rng(form.seed).permutation(clean)[:RELEASED])
        with star_file.open_stars(workspace.stars) as opened:
            sample = _sample(table[rows], opened.spectra_of(rows))
        model, _ = training.train(changed, sample, "constant", verbose=verbose)
        training.save_model(model, released, training.provenance(changed, sample, "constant"))
    test = np.setdiff1d(selected.test, calibration_rows(table, selected.test))
    with star_file.open_stars(workspace.stars) as opened:
        spectrum = opened.spectra_of(test)
    result = {"test_stars": len(test)}
    for name, path in {"calibrated": workspace.model("calibrated"), "paper": paper, "released": released}.items():
        made = {"passes": survey.inference.passes, "seed": survey.inference.seed}
        prediction = inference.predict(training.load_model(path), spectrum, **made, progress=verbose)
        prediction = ErrorCalibration.of_model(path).apply(prediction, table["snr"][test])
        result[name] = coverage(prediction, table[test], truth[test])
    return result


def result_path(trial: Trial, root: Path | None = None) -> Path:
    return Workspace(load_survey(trial.survey), root).root / "results" / "closure" / f"{trial.name}.json"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m apogaia.closure", description=__doc__)
    parser.add_argument("trials", nargs="*", help="names of trials; all by default")
    parser.add_argument("--list", action="store_true", help="list the trials and whether each is done")
    parser.add_argument("--report", action="store_true", help="write docs/closure/: numbers and notebook 08's pictures")
    chosen = parser.parse_args(arguments)
    if chosen.report:
        from apogaia.closure.summary import report  # here: it knows the trials of this module

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
