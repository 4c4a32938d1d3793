"""The reduction at any size: bounded memory, processes that end with their run, kills at random moments."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import count

import kill_runs
import numpy as np
import psutil
import pytest
import tiny_survey as tiny
from astropy.io import fits

from apogaia import processes
from apogaia.formats import survey_tables
from apogaia.reduction import reduce, star_file
from apogaia.reduction.reduce import reduce_survey


@pytest.mark.slow
def test_killed_at_random_the_reduction_goes_on_to_the_same_bytes(tmp_path):
    found = kill_runs.kill_reductions(tmp_path, kills=10, seed=1)
    assert found["hit_a_running_process"] > 0


# --- processes --------------------------------------------------------------------------------------------------------


def test_work_is_taken_as_results_come():
    taken = []
    tasks = ((taken.append(i) or -i,) for i in range(40))
    ahead = [len(taken) - done for done, _ in zip(count(1), processes.run_in_processes(abs, tasks, 2), strict=False)]
    assert len(ahead) == 40 and sum(ahead) / 40 < 5 and max(ahead) <= 8


def test_processes_have_one_thread_each_and_this_one_keeps_its_own(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    tasks = [("OMP_NUM_THREADS",), ("OPENBLAS_NUM_THREADS",)]
    assert list(processes.run_in_processes(os.getenv, tasks, 2)) == ["1", "1"]
    assert os.environ["OMP_NUM_THREADS"] == "7" and "OPENBLAS_NUM_THREADS" not in os.environ


def test_processes_end_with_the_one_that_started_them():
    code = "import time; from apogaia import processes\nlist(processes.run_in_processes(time.sleep, [(60,)] * 4, 2))"
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        workers = []
        while len([child for child in workers if "spawn_main" in " ".join(child.cmdline())]) < 2:
            assert parent.poll() is None
            time.sleep(0.05)
            workers = psutil.Process(parent.pid).children(recursive=True)
        time.sleep(0.5)  # they are at work
        parent.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not [child for child in alive if child.status() != psutil.STATUS_ZOMBIE]


def test_chunks_that_a_worker_of_an_earlier_run_finishes_late_are_not_used(tmp_path, monkeypatch):
    survey, workspace = tiny.write_tiny_survey(tmp_path)
    expected = reduce_survey(survey, workspace, processes=1, progress=False).read_bytes()
    other = replace(survey, spectra=replace(survey.spectra, continuum_pixels="dr17"))
    late = []

    def stop(path, *_):
        late.extend((part.name, part.read_bytes()) for part in (workspace.data / "stars.parts").glob("[0-9]*.npz"))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(star_file, "write_stars", stop)
        reduce_survey(other, workspace, processes=1, progress=False)
    real = reduce._start_parts

    def start(folder, key):
        real(folder, key)
        for name, content in late:
            (folder / name).write_bytes(content)

    monkeypatch.setattr(reduce, "_start_parts", start)
    workspace.stars.unlink(missing_ok=True)
    assert late and reduce_survey(survey, workspace, processes=1, progress=False).read_bytes() == expected


# --- memory -----------------------------------------------------------------------------------------------------------

READER = """
import re, sys
from pathlib import Path
from apogaia import files, raw_tables
raw_tables.BLOCK_ROWS = 1000
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
def read(path):
    table = raw_tables.read_allstar(path)
    raw_tables.read_stellar_parameters(path, table["apogee_id"].data)
    files.fingerprint({}, [path])
    return len(table)
read(sys.argv[1])
before = peak()
print(read(sys.argv[2]), peak() - before)
"""


def test_of_a_large_table_only_what_is_needed_is_in_memory(tmp_path):
    """400 MB on the disk, of which 2 % is read; peak memory [MiB] beyond that for a small file."""
    names = [name for names in survey_tables.ALLSTAR_COLUMNS.values() for name in names[-1:]]
    texts = ("APOGEE_ID", "TELESCOPE", "FIELD", "FILE")
    labels = [(name, ">f4", 22) for name in ("astroNN", "astroNN_error")]
    columns = [(name, "S4" if name in texts else ">f4") for name in names]
    dtype = np.dtype([("UNREAD", ">f4", 5000), *columns, *labels])
    paths = []
    for rows in (10, 20_000):
        header = fits.BinTableHDU(np.zeros(1, dtype)).header
        header["NAXIS2"] = rows
        paths.append(tmp_path / f"{rows}.fits")
        with open(paths[-1], "wb") as file:
            file.write(f"{fits.PrimaryHDU().header.tostring()}{header.tostring()}".encode())
            file.truncate(file.tell() + -(-rows * dtype.itemsize // 2880) * 2880)
    child = subprocess.run([sys.executable, "-c", READER, *map(str, paths)], capture_output=True, text=True, check=True)
    rows, growth = child.stdout.split()
    assert int(rows) == 20_000 and paths[-1].stat().st_size > 4e8
    assert float(growth) < 100


def test_a_table_read_in_blocks_is_that_read_at_once(tmp_path, monkeypatch):
    _, workspace = tiny.write_tiny_survey(tmp_path)
    whole = survey_tables.read_allstar(workspace.allstar)
    monkeypatch.setattr(survey_tables, "BLOCK_ROWS", 7)
    pieces = survey_tables.read_allstar(workspace.allstar)
    assert pieces.colnames == whole.colnames and len(pieces) == tiny.N_STARS
    for name in whole.colnames:
        assert pieces[name].dtype == whole[name].dtype
        np.testing.assert_array_equal(pieces[name], whole[name])
