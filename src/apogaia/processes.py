"""The one process pool: chunks of work on this machine's cores, few in memory at a time, one thread per process."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

__all__ = ["WorkerDiedError", "run_in_processes", "usable_cores"]

Result = TypeVar("Result")

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class WorkerDiedError(RuntimeError):
    """A worker process died before it had finished its work."""


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_in_processes(
    function: Callable[..., Result], tasks: Iterable[tuple], processes: int, *, ordered: bool = False
) -> Generator[Result, None, None]:
    """Yield ``function(*task)`` for every task.

    The workers are fresh interpreters whose matrix libraries run one thread each; they exit when this process ends,
    even if it is killed.

    Parameters
    ----------
    function, tasks
        What to call, and its arguments. `tasks` is read as results arrive, at most two ahead for each process, so it
        may be of any length.
    processes
        Number of workers; with one (or none) the work is done within this process.
    ordered
        Whether results arrive in the order of the tasks; by default in the order in which they finish.

    Raises
    ------
    WorkerDiedError
        If a worker dies.
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
            running = [pool.submit(function, *task) for task in islice(tasks, 2 * processes)]
            while running:
                done = wait(running[:1] if ordered else running, return_when=FIRST_COMPLETED).done
                running = [future for future in running if future not in done]
                running += [pool.submit(function, *task) for task in islice(tasks, len(done))]
                for future in done:
                    yield future.result()
        except BrokenProcessPool as fault:
            raise WorkerDiedError(f"one of {processes} processes died") from fault
        except BaseException:
            # waits for the tasks at work only: an interpreter that ends beside the pool's own thread may trip over it
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Set the environment of processes started meanwhile: their matrix libraries read it when they are loaded."""
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
    """Exit when the parent process has ended: a pool's workers would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # only workers call this

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
