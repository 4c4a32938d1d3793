"""Chunks of work on a Dask cluster, through its scheduler's address; its workers must see the same disk.

Packages of Dask are imported when a cluster is asked for: they are an extra of this package.
"""

from __future__ import annotations

import functools
import importlib
import os
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from apogaia import __version__, files

__all__ = ["ClusterError", "run_on_cluster", "wait_for_file"]

CONNECT_S = 10.0  # for the scheduler to answer, at the start and when it has gone away
NO_WORKER_S = 60.0  # without any worker, at the start or later
SHARED_DISK_S = 30.0  # for a file that another machine wrote to be seen; NFS tells of new files with a delay
POLL_S = 2.0

_fit: set[Expected] = set()  # on a worker: what it has been found fit for


class ClusterError(RuntimeError):
    """A cluster that cannot do the work; the message gives reason and remedy."""


@dataclass(frozen=True)
class Expected:
    """What a worker must have to give the same bytes as any other."""

    version: str
    code: str  # fingerprint of the code that does the work
    module: str  # that holds its function
    shared: tuple[tuple[str, str], ...]  # path and SHA-256 of files on the shared disk
    patience: float  # [s] until such a file must be seen


def run_on_cluster(
    function: Callable,
    tasks: Iterable[tuple],
    scheduler: str,
    *,
    shared: Sequence[Path],
) -> Generator:
    """Yield ``function(*task)`` of every task from the workers of a Dask cluster, in the order in which they finish.

    `tasks` is taken from as results come, so that it may be of any length. The task of a worker that dies is done again
    by another one. Workers are checked at the start; those that join later, before their first task.

    Parameters
    ----------
    scheduler
        Its address, ``tcp://host:8786``.
    shared
        Files that workers must see with the same content: they tell that the disk is the same.

    Raises
    ------
    ClusterError
        If Dask is not installed, the scheduler does not answer or goes away, there is no worker for a minute, a worker
        has another version of the package or does not see `shared`, or a task brings down one worker after another.
    """
    try:
        from distributed import CancelledError, Client, Future, KilledWorker, wait
        from distributed.comm import CommClosedError
    except ImportError as fault:
        raise ClusterError(
            f"a cluster needs Dask ({fault}): run `pip install '.[cluster]'` in apogaia's folder"
        ) from fault

    digests = tuple((str(Path(path).absolute()), files.file_digest(path).hex()) for path in shared)
    expected = Expected(__version__, _code(function.__module__), function.__module__, digests, SHARED_DISK_S)
    try:
        client = Client(scheduler, timeout=CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as fault:  # ValueError: not an address
        raise ClusterError(
            f"no Dask scheduler answers at {scheduler} ({fault}): start one with `dask scheduler`, and give the address"
            " that it shows"
        ) from fault
    tasks = iter(tasks)
    with client:
        _check_workers(client, expected, scheduler)
        running: set[Future] = set()
        seen = time.monotonic()
        while True:
            try:
                cores = sum(client.nthreads().values())
                new = islice(tasks, max(0 if running else 1, 2 * cores - len(running)))
                running |= {client.submit(_checked, expected, function, *task, pure=False) for task in new}
                if not running:
                    return
                with suppress(TimeoutError), client.as_current():
                    wait(running, timeout=POLL_S, return_when="FIRST_COMPLETED")
                finished = {future for future in running if future.done()}
            except (OSError, CancelledError) as fault:
                raise _gone(scheduler, fault) from fault
            seen = time.monotonic() if cores else seen
            if time.monotonic() - seen > NO_WORKER_S:
                raise ClusterError(f"no worker has been left at {scheduler} for {NO_WORKER_S:.0f} s: start some")
            running -= finished
            for future in finished:
                try:
                    result = future.result()
                except KilledWorker as fault:
                    raise ClusterError(
                        f"a chunk brought down one worker after another (out of memory?): {fault}"
                    ) from fault
                except (CancelledError, CommClosedError) as fault:
                    raise _gone(scheduler, fault) from fault
                except (ImportError, AttributeError) as fault:
                    raise ClusterError(
                        f"a worker cannot load the same apogaia ({fault!r}): install it there"
                    ) from fault
                yield result


def _gone(scheduler: str, fault: Exception) -> ClusterError:
    return ClusterError(f"the Dask scheduler at {scheduler} went away ({type(fault).__name__}): start it again")


def wait_for_file(path: Path, patience: float = SHARED_DISK_S) -> bool:
    """Whether a file that another machine wrote is seen here within so many seconds."""
    deadline = time.monotonic() + patience
    while not path.is_file():
        if time.monotonic() > deadline:
            return False
        time.sleep(min(0.5, patience))
        with suppress(OSError):
            os.listdir(path.parent)  # has a network disk look anew
    return True


def _check_workers(client, expected: Expected, scheduler: str) -> None:
    try:
        client.wait_for_workers(1, timeout=NO_WORKER_S)
    except TimeoutError as fault:
        raise ClusterError(
            f"the Dask scheduler at {scheduler} has had no worker for {NO_WORKER_S:.0f} s: start some with "
            f"`dask worker {scheduler} --nworkers 16 --nthreads 1`"
        ) from fault
    faults = client.run(_unfit, expected, on_error="return")
    unfit = {
        worker: f"it cannot load the same apogaia ({found!r})" if isinstance(found, Exception) else found
        for worker, found in faults.items()
        if found
    }
    if unfit:
        worker, why = next(iter(unfit.items()))
        raise ClusterError(f"{len(unfit)} of {len(faults)} workers cannot do this; {worker}: {why}")


def _checked(expected: Expected, function: Callable, *task):
    """On a worker: its part of the work, if it is fit for it; one that joined later has not been asked before."""
    fault = _unfit(expected)
    if fault:
        raise ClusterError(f"a worker on {os.uname().nodename} cannot do this: {fault}")
    return function(*task)


def _unfit(expected: Expected) -> str:
    """On a worker: why it cannot do the work as expected; empty if it can."""
    if expected in _fit:
        return ""
    if __version__ != expected.version:
        return f"it has apogaia {__version__}, here is {expected.version}: install the same version on every machine"
    if _code(expected.module) != expected.code:
        return "its apogaia has other code, under the same version: install the same source tree on every machine"
    for path, digest in expected.shared:
        if not wait_for_file(Path(path), expected.patience):
            return f"it does not see {path}: the folder must be on a disk that all machines share, at the same path"
        if files.file_digest(path).hex() != digest:
            return f"{path} is another file there: the folder must be on a disk that all machines share"
    _fit.add(expected)
    return ""


@functools.cache
def _code(module: str) -> str:
    return files.fingerprint({}, code=[importlib.import_module(module)])
