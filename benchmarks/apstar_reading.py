"""Reading apStar files, against reading their bytes.

The files are those of the survey `mock` if it has been simulated, else of a small survey simulated for this. They have
been read before, so they come from the system's cache: the time is that of the reader.
"""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from pathlib import Path

from benchmarks.measuring import ROOT, Quantity, medians, seconds

QUANTITIES = (
    Quantity("files_per_second", "`spectra.read_apstar`, on one core", "files/s"),
    Quantity("mb_per_second", "the same", "MB/s"),
    Quantity("raw_mb_per_second", "`read` of the same bytes", "MB/s"),
    Quantity("raw_over_apogaia", "raw / `read_apstar`"),
)


def measure(quick: bool = False) -> dict:
    raw = ROOT / "data" / "mock" / "raw"
    if (raw / "manifest.json").is_file() and not quick:
        return {"survey": "mock"} | _measure(raw, files=500, runs=7)
    with tempfile.TemporaryDirectory() as folder:
        stars = 16 if quick else 600
        return {"survey": f"{stars} stars"} | _measure(simulate(Path(folder), stars), files=500, runs=2 if quick else 7)


def simulate(folder: Path, stars: int) -> Path:
    """The raw folder of a simulated survey of so many stars."""
    from apogaia.simulate.run import simulate_survey
    from apogaia.survey import load_survey
    from apogaia.workspace import Workspace

    survey = load_survey("smoke")
    survey = dataclasses.replace(survey, simulation=dataclasses.replace(survey.simulation, n_stars=stars))
    workspace = Workspace(survey, folder)
    simulate_survey(survey, workspace, progress=False, processes=1 if stars < 100 else None)
    return workspace.raw


def _measure(raw: Path, files: int, runs: int) -> dict:
    from apogaia.formats.apstar import SpectrumError, read_apstar

    paths = []
    for path in itertools.islice(sorted(raw.rglob("a[ps]Star*-*.fits")), files):
        try:
            read_apstar(path)
        except SpectrumError:
            continue  # simulated faults
        paths.append(path)
    megabytes = sum(path.stat().st_size for path in paths) / 1e6
    results = []
    for _ in range(runs):
        ours = seconds(lambda: [read_apstar(path) for path in paths])
        plain = seconds(lambda: [path.read_bytes() for path in paths])
        results.append(
            {
                "files_per_second": len(paths) / ours,
                "mb_per_second": megabytes / ours,
                "raw_mb_per_second": megabytes / plain,
                "raw_over_apogaia": ours / plain,
            }
        )
    return {"files": len(paths)} | medians(results)
