"""Chunks of work on the cores of this machine: few in memory at a time, each process with one thread."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice

__all__ = ["WorkerDiedError", "run_in_processes", "usable_cores"]

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerDiedError(RuntimeError):
    """A worker process ended in the middle of its work."""


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_in_processes(function: Callable, tasks: Iterable[tuple], processes: int) -> Iterator:
    """Yield ``function(*task)`` of every task, in the order in which they finish.

    `tasks` is taken from as results come, two for each process at a time, so that it may be of any length. The
    processes are fresh interpreters, whose matrix libraries run with one thread each, and end with this process even
    if that is killed. With one process the work is done within this one.

    Raises
    ------
    WorkerDiedError
        If a process dies.
    """
    if processes <= 1:
        for task in tasks:
            yield function(*task)
        return
    tasks = iter(tasks)
    # fresh interpreters: a fork would copy the threads' locks of whatever else the caller has loaded
    context = multiprocessing.get_context("spawn")
    with _one_thread_each(), ProcessPoolExecutor(processes, mp_context=context, initializer=_end_with_parent) as pool:
        try:
            running = {pool.submit(function, *task) for task in islice(tasks, 2 * processes)}
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(function, *task) for task in islice(tasks, len(done))}
                for future in done:
                    yield future.result()
        except BrokenProcessPool as fault:
            raise WorkerDiedError(f"one of {processes} processes died") from fault
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Environment of processes started meanwhile: their matrix libraries read it when they are loaded."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _end_with_parent() -> None:
    """End this process when its parent has ended: a pool's processes would wait for work for ever."""

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
