"""`apogaia fetch` killed at random moments: no file in half under its name, and in the end the archive's bytes.

``python -m kill_fetches --kills 100`` (in this folder) kills the fetch of a simulated survey from a stand-in archive
that often, and prints what it found as JSON.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from kill_runs import kill_at_random
from stand_in import Fault, StandIn
from stand_in_archive import ArchiveOf, fetched_survey, sha1, survey_file

from apogaia.reduction.reduce import reduce_survey
from apogaia.simulate.run import simulate_survey
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

COMMAND = "import sys; from apogaia.cli.commands import main; sys.exit(main(sys.argv[1:]))"


def simulated_survey(root: Path, stars: int) -> Workspace:
    """A simulated survey of so many stars, reduced."""
    survey = load_survey("smoke")
    survey = replace(survey, simulation=replace(survey.simulation, n_stars=stars, seed=78, max_visits=2))
    workspace = Workspace(survey, root)
    simulate_survey(survey, workspace, progress=False)
    reduce_survey(survey, workspace, processes=1, progress=False)
    return workspace


def named_files(raw: Path) -> dict[str, str]:
    """SHA-1 of the files that have their names: hidden ones are under way."""
    return {
        str(path.relative_to(raw)): sha1(path)
        for path in raw.rglob("*")
        if path.is_file()
        and not path.name.startswith(".")
        and path.suffix != ".sha1sum"
        and path.name != "manifest.json"
    }


def kill_fetches(
    simulated: Workspace, root: Path, kills: int, seed: int, rate: float = 2e6, span_s: float = 2.0
) -> dict:
    """Kill the command so often, from its start on or within `span_s` of the first file; then let it end and reduce.

    Raises
    ------
    AssertionError
        If a file has its name and other bytes than the archive's, a whole file was lost, or at the end the raw files or
        stars.h5 differ from those of the simulated survey.
    """
    truth = named_files(simulated.raw)
    stages: collections.Counter = collections.Counter()
    completed = 0
    with StandIn(ArchiveOf(simulated), [Fault(r"Star", "slow", times=None, rate=rate)]) as server:
        survey = fetched_survey(simulated, server.url, timeout=20.0, gaia_chunk=10)
        file = survey_file(survey, "smoke", root / "stand-in.toml")
        workspace = Workspace(load_survey(file), root)
        command = [sys.executable, "-c", COMMAND, "fetch", file]
        environment = {"APOGAIA_ROOT": str(root)}
        before: dict[str, str] = {}
        for i in range(kills):
            asked = len(server.requests)
            # every fourth at any time from the start, while packages load; the others once it asks for something
            begun = None if i % 4 == 0 else lambda asked=asked: len(server.requests) > asked
            kill = kill_at_random(command, (0, span_s), seed + i, begun=begun, environment=environment)
            now = named_files(workspace.raw) if workspace.raw.is_dir() else {}
            wrong = [name for name, digest in now.items() if digest != truth[name]]
            assert not wrong, f"other bytes under their names: {wrong}"
            assert before.keys() <= now.keys(), "whole files were lost"
            stages[_stage(workspace, kill.hit, len(now), len(truth))] += 1
            before = now
            if workspace.raw_manifest.is_file():  # this one is done: begin another
                completed += 1
                subprocess.run(["rm", "-rf", workspace.data], check=True)
                before = {}
        subprocess.run(command, check=True, env=os.environ | environment, capture_output=True)
    assert named_files(workspace.raw) == truth, "the raw files differ from the archive's"
    left = [str(path) for path in workspace.raw.rglob(".*") if not path.name.endswith((".fingerprint", ".stars.npy"))]
    assert not left, f"left behind: {left}"
    stars = reduce_survey(workspace.survey, workspace, processes=1, progress=False)
    assert stars.read_bytes() == simulated.stars.read_bytes(), "stars.h5 differs from the simulated survey's"
    return {
        "kills": kills,
        "hit_a_running_process": kills - stages["ended before"],
        "stages": dict(stages),
        "completed_between": completed,
        "files": len(truth),
        "same_bytes_at_the_end": True,
    }


def _stage(workspace: Workspace, hit: bool, files: int, all_files: int) -> str:
    """How far a run had come, from what is on the disk."""
    if not hit:
        return "ended before"
    if not workspace.allstar.is_file():
        return "nothing yet or tables"
    if files < all_files - 2:  # the stellar parameters and Gaia's table come after the spectra
        return "spectra"
    return "stellar parameters or Gaia" if files < all_files else "all files, perhaps before the manifest"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stars", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        simulated = simulated_survey(Path(folder) / "simulated", options.stars)
        (Path(folder) / "fetched").mkdir()
        print(json.dumps(kill_fetches(simulated, Path(folder) / "fetched", options.kills, options.seed), indent=1))


if __name__ == "__main__":
    main()
