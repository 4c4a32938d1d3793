"""The reduction on a Dask cluster: real schedulers and workers as processes of their own, killed and unfit ones too."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import tiny_survey as tiny

from apogaia.formats.fits_columns import ReductionError
from apogaia.reduction import continuum, dask_cluster, reduce
from apogaia.reduction.reduce import reduce_survey

distributed = pytest.importorskip("distributed")

SOURCE = Path(dask_cluster.__file__).parents[2]
WORKER = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1")


@contextlib.contextmanager
def started(program, *arguments, **options):
    process = subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{program}", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **options,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def a_scheduler(folder):
    """A scheduler on a free port of this machine alone; gives its process and its address."""
    note = folder / "scheduler.json"
    with started(
        "dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", f"--scheduler-file={note}"
    ) as p:
        deadline = time.monotonic() + 60
        while not note.is_file() or not note.read_text().rstrip().endswith("}"):
            assert p.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        yield p, json.loads(note.read_text())["address"]


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    with a_scheduler(tmp_path_factory.mktemp("scheduler")) as (_, address):
        yield address


@contextlib.contextmanager
def workers(scheduler, count, *, path=(), cwd=None, wait=True):
    """So many workers of one thread, each a process; `path` comes first where they look for packages."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*path, SOURCE]))}
    environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with contextlib.ExitStack() as stack, distributed.Client(scheduler, set_as_default=False) as client:
        processes = [
            stack.enter_context(started("dask_worker", scheduler, *WORKER, env=environment, cwd=cwd))
            for _ in range(count)
        ]
        client.wait_for_workers(count, timeout=60)
        yield processes
        stack.close()
        while wait and client.nthreads():  # those that were killed are not the next test's
            time.sleep(0.02)


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.setattr(reduce, "CHUNK_ROWS", 2)
    return tiny.write_tiny_survey(tmp_path)


def freeze_once_checked(monkeypatch, process):
    """Stop a worker before the chunks are handed out: its share stays in its hands, without an end."""
    real = dask_cluster._check_workers

    def check(*arguments):
        real(*arguments)
        process.send_signal(signal.SIGSTOP)

    monkeypatch.setattr(dask_cluster, "_check_workers", check)


def parts_of(workspace):
    return list((workspace.data / "stars.parts").glob("0*.npz"))


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    survey, workspace = tiny.write_tiny_survey(tmp_path_factory.mktemp("expected"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reduce, "CHUNK_ROWS", 2)
        return reduce_survey(survey, workspace, processes=1, progress=False).read_bytes()


def test_a_cluster_gives_the_same_bytes(raw, expected, scheduler, monkeypatch):
    survey, workspace = raw

    def nobody(path):
        raise AssertionError("read here, not by a worker")

    monkeypatch.setattr(continuum, "read_apstar", nobody)
    with workers(scheduler, 2):
        assert reduce_survey(survey, workspace, scheduler=scheduler, progress=False).read_bytes() == expected
    assert sorted(p.name for p in workspace.data.iterdir()) == [".stars.h5.fingerprint", "raw", "stars.h5"]


def test_the_chunks_of_a_worker_that_is_killed_are_done_by_another(raw, expected, scheduler, monkeypatch):
    survey, workspace = raw
    with workers(scheduler, 2) as processes, distributed.Client(scheduler, set_as_default=False) as client:
        freeze_once_checked(monkeypatch, processes[0])
        thread = Background(lambda: reduce_survey(survey, workspace, scheduler=scheduler, progress=False))
        wait_until(lambda: len(parts_of(workspace)) >= 6, thread)
        in_hand = [len(tasks) for tasks in client.processing().values()]
        assert sum(in_hand) > 0 and thread.is_alive()
        processes[0].kill()
        assert thread.result().read_bytes() == expected


def test_a_run_whose_scheduler_goes_away_ends_and_keeps_its_chunks(raw, tmp_path, monkeypatch):
    survey, workspace = raw
    with a_scheduler(tmp_path) as (process, address), workers(address, 2, wait=False) as processes:
        freeze_once_checked(monkeypatch, processes[0])
        thread = Background(lambda: reduce_survey(survey, workspace, scheduler=address, progress=False))
        wait_until(lambda: len(parts_of(workspace)) >= 6, thread)
        process.kill()
        with pytest.raises(ReductionError, match=r"(?s)scheduler at .* went away .*finished chunks are kept in"):
            thread.result()
        assert not workspace.stars.exists() and 6 <= len(parts_of(workspace)) < 10


def test_without_a_worker_the_run_ends(raw, scheduler, monkeypatch):
    survey, workspace = raw
    monkeypatch.setattr(dask_cluster, "NO_WORKER_S", 0.5)
    with pytest.raises(ReductionError, match=r"has had no worker for .*start some with `dask worker tcp://"):
        reduce_survey(survey, workspace, scheduler=scheduler, progress=False)


def test_without_a_scheduler_the_run_ends(raw, monkeypatch):
    survey, workspace = raw
    monkeypatch.setattr(dask_cluster, "CONNECT_S", 0.5)
    with pytest.raises(ReductionError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9 "):
        reduce_survey(survey, workspace, scheduler="tcp://127.0.0.1:9", progress=False)


def test_a_worker_with_another_version_is_refused(raw, scheduler, tmp_path):
    survey, workspace = raw
    (tmp_path / "other" / "apogaia-9.9.dist-info").mkdir(parents=True)
    (tmp_path / "other" / "apogaia-9.9.dist-info" / "METADATA").write_text("Name: apogaia\nVersion: 9.9\n")
    with workers(scheduler, 1, path=[tmp_path / "other"]):
        with pytest.raises(ReductionError, match=r"1 of 1 workers .* it has apogaia 9\.9, here is "):
            reduce_survey(survey, workspace, scheduler=scheduler, progress=False)


def test_a_worker_with_other_code_is_refused(raw, scheduler, tmp_path):
    survey, workspace = raw
    shutil.copytree(SOURCE / "apogaia", tmp_path / "other" / "apogaia")
    with (tmp_path / "other" / "apogaia" / "formats" / "apstar.py").open("a") as module:
        module.write("\nMIN_USABLE_PIXELS = 3000\n")
    with workers(scheduler, 1, path=[tmp_path / "other"]):
        with pytest.raises(ReductionError, match="its apogaia has other code"):
            reduce_survey(survey, workspace, scheduler=scheduler, progress=False)


def test_a_worker_that_does_not_see_the_folder_is_refused(tmp_path, scheduler, monkeypatch):
    """A worker that joins after the start is asked, too.

    A path through a process' own current folder leads somewhere else in each process, as on machines without a shared
    disk.
    """
    monkeypatch.setattr(reduce, "CHUNK_ROWS", 2)
    monkeypatch.setattr(dask_cluster, "SHARED_DISK_S", 0.1)
    (tmp_path / "here").mkdir(), (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    survey, workspace = tiny.write_tiny_survey(Path("/proc/self/cwd"))
    with workers(scheduler, 1, cwd=tmp_path / "there"):
        with pytest.raises(ReductionError, match=r"does not see /proc/self/cwd/.*manifest\.json: the folder must be"):
            reduce_survey(survey, workspace, scheduler=scheduler, progress=False)
        monkeypatch.setattr(dask_cluster, "_check_workers", lambda *_: None)
        with pytest.raises(ReductionError, match=r"does not see /proc/self/cwd/.*manifest\.json: the folder must be"):
            reduce_survey(survey, workspace, scheduler=scheduler, progress=False)
    assert not workspace.stars.exists()


def test_without_dask_the_error_says_what_to_install(raw, monkeypatch):
    survey, workspace = raw
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ReductionError, match=r"pip install '.\[cluster\]'"):
        reduce_survey(survey, workspace, scheduler="tcp://127.0.0.1:9", progress=False)


# --- what the tests wait for ------------------------------------------------------------------------------------------


class Background(threading.Thread):
    """A call in a thread, whose result or exception `result` gives."""

    def __init__(self, call):
        super().__init__(daemon=True)
        self.call, self.value, self.fault = call, None, None
        self.start()

    def run(self):
        try:
            self.value = self.call()
        except BaseException as fault:
            self.fault = fault

    def result(self):
        self.join(60)
        assert not self.is_alive()
        if self.fault:
            raise self.fault
        return self.value


def wait_until(condition, thread):
    """Wait for something that a run in a thread does."""
    while not condition():
        assert thread.is_alive(), thread.fault
        time.sleep(0.02)
