"""The process pool: work is taken as results come, one thread a process, and none outlives its run."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from itertools import count

import psutil
import pytest

from apogaia import processes
from apogaia.processes import run_in_processes


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


SECONDS = (1.0, 0.0, 0.0, 0.0)  # the first task is the slowest


def wait(index, seconds):
    time.sleep(seconds)
    return index


@pytest.mark.parametrize("processes", [1, 2])
def test_ordered_results_arrive_in_the_order_of_the_tasks(processes):
    tasks = enumerate(SECONDS)
    assert list(run_in_processes(wait, tasks, processes, ordered=True)) == [0, 1, 2, 3]


def test_other_results_arrive_as_they_finish():
    found = list(run_in_processes(wait, enumerate(SECONDS), 2))
    assert sorted(found) == [0, 1, 2, 3] and found[0] != 0


def test_ordered_tasks_are_read_as_results_arrive():
    taken = []
    tasks = ((taken.append(i) or i, 0.0) for i in range(30))
    for done, _ in enumerate(run_in_processes(wait, tasks, 2, ordered=True), 1):
        assert len(taken) <= done + 4


@pytest.mark.parametrize("stop", [KeyboardInterrupt, GeneratorExit])
def test_who_stops_leaves_no_thread_of_the_pool_behind(stop):
    """Python's pool, when the interpreter ends beside such a thread, at times prints a traceback ("bad file")."""
    before = set(threading.enumerate())
    results = run_in_processes(time.sleep, [(0.0,), *[(0.5,)] * 50], 2)
    next(results)
    with pytest.raises(stop):
        results.throw(stop)
    assert not [thread.name for thread in set(threading.enumerate()) - before if "Manager" in type(thread).__name__]
    assert not multiprocessing.active_children()
