"""Is an injected zero point recovered? ``python -m apogaia.closure`` runs every trial and keeps each result.

Most trials simulate a sample, of the paper's size or smaller, without files of single spectra, give its parallaxes a
known zero point, and recover it by the paper's recipe or by the refit; others test distances, selections and what
biases the fit. A finished trial is repeated only if its settings or the code of its recipe have changed; an interrupted
run resumes. Notebook 08 draws the results; ``python -m apogaia.closure --report`` writes them to docs/closure/.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from apogaia import files
from apogaia.closure.recipes import bias_experiments, distances, paper, paper_causes, refit, sample_sizes
from apogaia.closure.trials import TRIALS, Trial
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

__all__ = ["RECIPES", "is_done", "main", "result_path", "run_trial"]

RECIPES: dict[str, Callable[..., dict]] = {
    "paper": paper.recover,
    "causes": paper_causes.recover,
    "refit": refit.recover,
    "distances": distances.recover,
    "calibrated": distances.recover_calibrated,
    "sizes": sample_sizes.recover_sizes,
    "ranges": sample_sizes.recover_ranges,
    "selections": bias_experiments.recover_selections,
    "decomposition": bias_experiments.recover_decomposition,
}
SECTIONS = ("sources", "simulation", "spectra", "cuts", "network", "training", "calibration", "inference")


def result_path(trial: Trial, root: Path | None = None) -> Path:
    """The file of a trial's result."""
    return Workspace(load_survey(trial.survey), root).closure_result(trial.name)


def is_done(trial: Trial, root: Path | None = None) -> bool:
    """Whether the trial has been run with its present settings and the present code of its recipe."""
    return files.is_current(result_path(trial, root), _key(trial))


def run_trial(trial: Trial, root: Path | None = None, *, verbose: bool = True) -> dict:
    """The trial's result, zero points in uas; run unless already done."""
    make = partial(_write_result, trial=trial, root=root, verbose=verbose)
    if not is_done(trial, root):
        files.mark_current(result_path(trial, root), _key(trial), make)
    return files.read_json(result_path(trial, root))


def _key(trial: Trial) -> str:
    settings = load_survey(trial.survey).settings(*SECTIONS) | {"trial": dataclasses.asdict(trial)}
    return files.fingerprint(settings, code=[RECIPES[trial.recipe]])


def _write_result(path: Path, trial: Trial, root: Path | None, verbose: bool) -> None:
    started = time.perf_counter()
    workspace = Workspace(load_survey(trial.survey), root)
    result = RECIPES[trial.recipe](trial, workspace, verbose=verbose)
    files.write_json(path, {"trial": dataclasses.asdict(trial)} | result | {"seconds": time.perf_counter() - started})


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m apogaia.closure", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trials", nargs="*", help="names of trials; all by default")
    parser.add_argument("--list", action="store_true", help="list the trials and whether each is done")
    parser.add_argument("--report", action="store_true", help="write docs/closure/: numbers and notebook 08's pictures")
    chosen = parser.parse_args(arguments)
    if chosen.report:
        from apogaia.closure.summary import report

        print(f"written: {report()}")
        return 0
    known = {trial.name: trial for trial in TRIALS}
    unknown = set(chosen.trials) - set(known)
    if unknown:
        parser.error(f"no trial called {sorted(unknown)[0]}; there are {', '.join(known)}")
    for name in chosen.trials or known:
        trial, done = known[name], is_done(known[name])
        if chosen.list:
            state = "done" if done else "outdated" if result_path(trial).is_file() else "-"
            print(f"{name:20s} {state}")
        elif done:
            print(f"{name}: done before, {result_path(trial)}")
        else:
            print(f"{name}: {trial}", flush=True)
            result = run_trial(trial)
            value = f"{result['value_uas']:.1f} +- {result['error_uas']:.1f}" if "value_uas" in result else "done"
            print(f"{name}: {value}")
    return 0
