"""How well does the refit do where its assumptions do not hold? ``python -m apogaia.closure.stress`` runs the suite.

Each run draws the stars of a universe (`apogaia.closure.universes`), gives them a zero point, and recovers it by the
refit as a survey would. A finished run is repeated only if its settings or the code have changed; an interrupted suite
resumes. ``--report`` writes docs/closure/stress.json. Seeds 0 and 1 are for choosing a method, 2 and 3 are looked at
once, when it is chosen. By default one universe is drawn eight times more: the runs of a seed share stars and noise.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import time
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from apogaia import files
from apogaia.closure.sample import read_sample_truth, simulate_sample
from apogaia.closure.trials import SAMPLE
from apogaia.closure.universes import UNIVERSES, Stars, Universe, sky_error_uas, zero_point_uas
from apogaia.reduction import stars_h5
from apogaia.survey import Survey, load_survey
from apogaia.workspace import Workspace
from apogaia.zero_point.refit_zero_point import calibrate, calibrating_rows
from apogaia.zero_point.sample_checks import SampleError, check_stars

__all__ = ["KEPT_SEEDS", "SEEDS", "Run", "draws", "main", "measure", "recover", "runs", "summary"]

SURVEY = "mock-dr14"
SEEDS, KEPT_SEEDS = (0, 1), (2, 3)
DRAWN, DRAWN_SEEDS = (
    "part",
    tuple(range(10, 18)),
)  # one universe drawn often: a seed's own universes share stars and noise
LIMIT_UAS = {True: 3.0, False: 6.0}  # of |recovered - true mean|, base and stress
BEYOND = 3  # exit code, other than that of an error
LIMIT_SLOPE = 2.5  # uas per mag of G
LEFT_OUT = ("plane", "residuals")  # of a calibration: long, and judged by nothing here
SECTIONS = ("sources", "simulation", "spectra", "cuts", "calibration")


@dataclasses.dataclass(frozen=True)
class Run:
    """One zero point in one universe, drawn with one seed."""

    universe: Universe
    zero_point: str
    seed: int

    @property
    def name(self) -> str:
        """Of its file."""
        words = f"{self.universe.name} {self.zero_point} {self.seed}".replace("+", "plus ").replace("%", "percent")
        return re.sub(r"[^A-Za-z0-9.]+", "_", words.replace("-", "minus "))


def runs(seeds: tuple[int, ...]) -> list[Run]:
    """Every run of some seeds."""
    return [Run(one, zero_point, seed) for seed in seeds for one in UNIVERSES for zero_point in one.zero_points]


def draws() -> list[Run]:
    """Runs of one universe with seeds of their own: new Gaia noise and sky errors, and few shared stars."""
    return [run for run in runs(DRAWN_SEEDS) if run.universe.name == DRAWN]


def recover(survey: Survey, stars: Stars, zero_point: np.ndarray, sky: np.ndarray, seed: int, spectra) -> dict:
    """Recover the zero point [uas] of a universe's stars, or say why a survey of them is refused.

    Parameters
    ----------
    stars
        n of a universe.
    zero_point
        (n,) injected [uas].
    sky
        (n,) what neighbours on the sky share besides [uas]; part of the true mean.
    seed
        Of Gaia's noise.
    spectra
        Function of rows (n,) of the sample that gives their spectra (n, pixels).
    """
    table = stars.seen(zero_point + sky, seed)
    truth = {"stars": len(table), "true_mean_uas": float((zero_point + sky).mean())}
    g = np.asarray(table["g_mag"], float)
    known = np.isfinite(g)
    truth["true_slope_uas_per_mag"] = float(np.polyfit(g[known], zero_point[known], 1)[0])
    try:
        check_stars(survey, table)
    except SampleError as error:
        return truth | {"refused": str(error)}
    found = calibrate(survey, table, spectra(stars.rows))
    truth["slope_uas_per_mag"] = found.g_slope_uas_per_mag
    return truth | {name: value for name, value in found.in_uas().items() if name not in LEFT_OUT}


def measure(result: dict, *, base: bool) -> dict:
    """Difference from the truth [uas], pull, and whether the run is within its limits."""
    if "refused" in result:
        return {"refused": True, "passed": True}
    difference = result["value_uas"] - result["true_mean_uas"]
    slope = result.get("slope_uas_per_mag", np.nan) - result["true_slope_uas_per_mag"]
    pull = difference / result["error_uas"]
    passed = abs(difference) <= LIMIT_UAS[base] and abs(pull) <= 2.0 and not (base and abs(slope) > LIMIT_SLOPE)
    numbers = {"difference_uas": difference, "pull": pull, "slope_difference_uas_per_mag": slope}
    return {"refused": False, "passed": bool(passed)} | numbers


def summary(results: list[tuple[Run, dict]]) -> dict:
    """Every run compared with the truth, and how often the truth is within the quoted error."""
    rows = []
    for run, result in results:
        head = {"universe": run.universe.name, "what": run.universe.what, "base": run.universe.base}
        head |= {"zero_point": run.zero_point, "seed": run.seed}
        rows.append(head | result | measure(result, base=run.universe.base))
    pulls = np.array([row["pull"] for row in rows if not row["refused"]])
    return {
        "runs": rows,
        "within_one_error_percent": float(100 * np.mean(np.abs(pulls) < 1)) if len(pulls) else None,
        "within_two_errors_percent": float(100 * np.mean(np.abs(pulls) < 2)) if len(pulls) else None,
        "passed": int(sum(row["passed"] for row in rows)),
        "number": len(rows),
    }


def _path(run: Run, workspace: Workspace) -> Path:
    return workspace.closure_result(f"stress/{run.name}")


def _key(run: Run, survey: Survey) -> str:
    # what a universe says of itself is no part of its result
    settings = survey.settings(*SECTIONS) | {"run": run.name, "stars": run.universe.n_stars}
    return files.fingerprint(settings, code=[recover, run.universe.stars, zero_point_uas, sky_error_uas])


def _read(chosen: list[Run], workspace: Workspace) -> list[tuple[Run, dict]]:
    return [(run, files.read_json(path)) for run in chosen if (path := _path(run, workspace)).is_file()]


def _line(run: Run, result: dict) -> str:
    if "refused" in result:
        return f"{run.name}: refused"
    judged = measure(result, base=run.universe.base)
    return (
        f"{run.name}: {judged['difference_uas']:+.1f} +- {result['error_uas']:.1f} uas from the truth, slope"
        f" {judged['slope_difference_uas_per_mag']:+.1f} uas/mag, {'passed' if judged['passed'] else 'FAILED'}"
    )


def _run_all(chosen: list[Run], workspace: Workspace) -> None:
    survey = workspace.survey
    n_training, n_test = SAMPLE[SURVEY]
    simulate_sample(survey, workspace, n_training=n_training, n_test=n_test)
    truth = read_sample_truth(workspace)
    with stars_h5.open_stars(workspace.stars) as opened:
        rows = calibrating_rows(survey, opened.table)
        for run in tqdm(chosen, unit="run", desc="stress"):

            def make(path: Path, run: Run = run) -> None:
                started = time.perf_counter()
                stars = run.universe.stars(rows, opened.table, truth, run.seed)
                zero_point = zero_point_uas(run.zero_point, stars)
                sky = sky_error_uas(run.zero_point, stars, run.seed)
                result = recover(survey, stars, zero_point, sky, run.seed, opened.spectra_of)
                files.write_json(path, result | {"seconds": time.perf_counter() - started})
                tqdm.write(_line(run, result))

            path, key = _path(run, workspace), _key(run, survey)
            if not files.is_current(path, key):
                files.mark_current(path, key, make)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit code: `BEYOND` if a run is beyond its limits."""
    parser = argparse.ArgumentParser(
        prog="python -m apogaia.closure.stress",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("universes", nargs="*", help="names of universes; all by default")
    parser.add_argument("--seeds", type=int, nargs="+", help="by default those for choosing a method")
    parser.add_argument("--list", action="store_true", help="list the universes")
    parser.add_argument("--report", action="store_true", help="write docs/closure/stress.json of every finished run")
    chosen = parser.parse_args(arguments)
    if chosen.list:
        print("\n".join(f"{one.name:22s} {one.what}" for one in UNIVERSES))
        return 0
    known = {one.name for one in UNIVERSES}
    if unknown := set(chosen.universes) - known:
        parser.error(f"no universe called {sorted(unknown)[0]!r}; there are {', '.join(sorted(known))}")
    workspace = Workspace(load_survey(SURVEY))
    if chosen.report:
        found = summary(_read(runs((*SEEDS, *KEPT_SEEDS)), workspace))
        found["draws"] = summary(_read(draws(), workspace))["runs"]
        path = workspace.root / "docs" / "closure" / "stress.json"
        files.write_json(path, found)
        print(f"written: {path}")
        return 0
    seeds = tuple(chosen.seeds or SEEDS)
    wanted = [run for run in runs(seeds) if not chosen.universes or run.universe.name in chosen.universes]
    if not (chosen.seeds or chosen.universes):
        wanted += draws()
    _run_all(wanted, workspace)
    found = summary(_read(wanted, workspace))
    print(f"{found['passed']} of {found['number']} runs are within their limits")
    return 0 if found["passed"] == found["number"] else BEYOND


if __name__ == "__main__":
    raise SystemExit(main())
