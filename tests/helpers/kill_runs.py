"""Runs killed at random moments: what they leave, and that the end is what an undisturbed run gives.

``python -m kill_runs --kills 100`` (in this folder) kills the reduction of a simulated survey that often, and prints
what it found as JSON.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import tiny_survey as tiny

from apogaia.formats import survey_tables
from apogaia.reduction import reduce as reduction
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

DELAY_S = 0.05  # of each chunk, when it is made and when it is copied into stars.h5


@dataclass(frozen=True)
class Kill:
    """What became of a command: `hit` if it was still running when its time [s] was up, and was killed."""

    after_s: float
    hit: bool
    ran_s: float


def kill_at_random(
    command: Sequence,
    seconds_range: tuple[float, float],
    seed: int,
    *,
    begun: Callable[[], bool] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Kill:
    """Run a command and kill it, with all processes that it started, after a random time in `seconds_range`.

    Parameters
    ----------
    begun
        The time counts from when this is true; by default, from the start.

    Raises
    ------
    AssertionError
        If the command ends before, and not well.
    """
    after = random.Random(seed).uniform(*seconds_range)
    process = subprocess.Popen(
        [str(part) for part in command],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    while begun and process.poll() is None and not begun():
        time.sleep(0.01)
    start = time.monotonic()
    with suppress(subprocess.TimeoutExpired):
        _, said = process.communicate(timeout=after)
        assert process.returncode == 0, said.decode()[-2000:]
        return Kill(after, False, time.monotonic() - start)
    with suppress(ProcessLookupError):  # it ended in this very moment
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()  # returns when the last of the group, which share stderr, has gone
    return Kill(after, process.returncode == -signal.SIGKILL, time.monotonic() - start)


# --- the reduction ----------------------------------------------------------------------------------------------------


def survey_under(root: Path, stars: int | None):
    """The tiny survey with its faults, or a simulated one of so many stars; its raw files are made if need be."""
    if stars is None:
        survey = tiny.tiny_survey()
    else:
        survey = load_survey("smoke")
        survey = replace(survey, simulation=replace(survey.simulation, n_stars=stars))
    workspace = Workspace(survey, root)
    if not workspace.raw_manifest.is_file():
        if stars is None:
            tiny.write_tiny_survey(root)
        else:
            from apogaia.simulate.run import simulate_survey

            simulate_survey(survey, workspace, progress=False)
    return survey, workspace


def stage(workspace: Workspace) -> str:
    """How far a run of the reduction had come, from what is on the disk."""
    if workspace.stars.is_file():
        return "whole"
    if list(workspace.data.glob(f".{workspace.stars.stem}.*{workspace.stars.suffix}")):
        return "assembly"
    parts = workspace.data / "stars.parts"
    if list(parts.glob("[0-9]*.npz")):
        return "spectra"
    return "before the first chunk" if parts.is_dir() else "tables"


def kill_reductions(root: Path, kills: int, seed: int, stars: int | None = None) -> dict:
    """Kill the reduction on two processes so often; then let it end.

    Raises
    ------
    AssertionError
        If a killed run leaves a stars.h5 that is not whole, loses chunks that had been there, or at the end anything
        is not as after an undisturbed run.
    """
    workspace = survey_under(root, stars)[1]
    command = [sys.executable, __file__, "--reduce", root, *([] if stars is None else ["--stars", stars])]
    parts, note = workspace.data / "stars.parts", workspace.stars.with_name(".stars.h5.fingerprint")

    start = time.monotonic()
    with subprocess.Popen([str(part) for part in command]) as undisturbed:
        while undisturbed.poll() is None and not parts.is_dir():
            time.sleep(0.01)
        tables_s = time.monotonic() - start
    spectra_s = time.monotonic() - start - tables_s
    assert undisturbed.returncode == 0
    whole, left = workspace.stars.read_bytes(), sorted(path.name for path in workspace.data.iterdir())
    workspace.stars.unlink(), note.unlink()

    stages, before, resumed = collections.Counter(), set(), 0
    for i in range(kills):
        if i % 4 == 0:  # while packages and tables are read
            kill = kill_at_random(command, (0, tables_s), seed + i)
        else:
            listing = _names(parts)
            kill = kill_at_random(
                command, (0, 1.1 * spectra_s), seed + i, begun=lambda listing=listing: _names(parts) != listing
            )
        now = {path.name for path in parts.glob("[0-9]*.npz")}
        found = stage(workspace)
        stages[found if kill.hit else "ended before"] += 1
        if workspace.stars.exists():
            assert workspace.stars.read_bytes() == whole, "a stars.h5 that is not whole has its name"
        resumed += bool(before)
        if note.exists():  # this one is done: begin another
            workspace.stars.unlink(), note.unlink()
            shutil.rmtree(parts, ignore_errors=True)
            before = set()
        else:
            assert found == "whole" or before <= now, "finished chunks were lost"
            before = now
        if not kill.hit and i % 4:
            spectra_s = kill.ran_s  # how busy the machine is changes
    subprocess.run([str(part) for part in command], check=True)
    assert workspace.stars.read_bytes() == whole, "the bytes differ from those of an undisturbed run"
    assert sorted(path.name for path in workspace.data.iterdir()) == left, "something was left behind"
    return {
        "kills": kills,
        "hit_a_running_process": kills - stages["ended before"],
        "stages": dict(stages),
        "went_on_with_chunks": resumed,
        "undisturbed_s": round(tables_s + spectra_s, 2),
        "stars": len(survey_tables.read_allstar(workspace.allstar)),
        "same_bytes_at_the_end": True,
    }


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def reduce(root: Path, stars: int | None) -> None:
    """Run the reduction once, for a process of its own.

    Chunks are small, so that there are some to lose, and slow, as on a slow disk, so that kills hit every stage.
    """
    survey, workspace = survey_under(root, stars)
    reduction.CHUNK_ROWS = 2 if stars is None else 20
    reduction._reduce_part, reduction._part_array = _slow_reduce_part, _slow_part_array
    reduction.reduce_survey(survey, workspace, processes=2, progress=False)


_reduce_part, _part_array = reduction._reduce_part, reduction._part_array


def _slow_reduce_part(*work) -> int:
    count = _reduce_part(*work)
    time.sleep(DELAY_S)
    return count


def _slow_part_array(part: Path, name: str):
    if name == "spectrum":
        time.sleep(DELAY_S)
    return _part_array(part, name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stars", type=int, default=None, help="default: a survey of 20 with one of each fault")
    parser.add_argument("--reduce", type=Path, metavar="ROOT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reduce:
        reduce(options.reduce, options.stars)
        return
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(kill_reductions(Path(folder), options.kills, options.seed, options.stars), indent=1))


if __name__ == "__main__":
    main()
