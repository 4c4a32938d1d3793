"""`make all` stage by stage, from its last run: reported, not run.

A notebook's time is that recorded by papermill; if its costly products were up to date, it only loaded them. The
simulation of the raw files, which comes first, is not a notebook and is not counted. The last three run two at a time,
so that the total is more than the time that passed.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.measuring import ROOT, Quantity

SURVEYS = ("smoke", "mock", "mock-dr14", "dr14", "dr17")


def _quantities() -> tuple[Quantity, ...]:
    stages = (*(path.stem for path in _notebooks()), "total")
    return tuple(Quantity(f"{survey}/{stage}", f"{survey}: {stage}", "s") for survey in SURVEYS for stage in stages)


def _notebooks() -> list:
    """Those that `make all` runs."""
    return [path for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")) if path.stem != "08_closure"]


QUANTITIES = _quantities()


def measure(quick: bool = False) -> dict:
    """Seconds of every notebook that has run, of every survey of the package; the total only where all have."""
    from apogaia.survey import load_survey
    from apogaia.workspace import Workspace

    values = {}
    for name in SURVEYS:
        values |= stage_seconds(Workspace(load_survey(name), ROOT), [path.stem for path in _notebooks()])
    return values


def _duration(executed: Path) -> float:
    """How long an executed notebook took, as papermill noted in it [s]."""
    return json.loads(executed.read_text(encoding="utf-8"))["metadata"]["papermill"]["duration"]


def stage_seconds(workspace, notebooks: list[str]) -> dict[str, float]:
    """Seconds by ``survey/stage``."""
    executed = {notebook: workspace.executed_notebook(notebook) for notebook in notebooks}
    stages = {notebook: _duration(path) for notebook, path in executed.items() if path.is_file()}
    if all(notebook in stages for notebook in notebooks):
        stages["total"] = sum(stages.values())
    return {f"{workspace.survey.name}/{stage}": float(seconds) for stage, seconds in stages.items()}
