"""A download lives through full disks, kills, interrupts and days of random faults; nothing is ever named in half."""

import errno
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time

import pytest
from small_archive import SmallArchive, fetch
from stand_in import Fault, StandIn, serve_folder

from apogaia.archive.http import download
from apogaia.archive.http.remote_files import FetchError, RemoteFile, State

DOWNLOADER = textwrap.dedent(
    """
    import signal, sys
    from pathlib import Path
    from small_archive import SmallArchive, fetch
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have it ignored in the background
    root, url, n_files, timeout_s = sys.argv[1:]
    archive = SmallArchive(Path(root), int(n_files))
    print("begins", flush=True)
    fetch(archive.files(url), timeout_s=float(timeout_s))
    print("ended", flush=True)
    """
)


def start_downloader(root, server, n_files, timeout_s=5.0, prefix=()):
    command = [*prefix, sys.executable, "-c", DOWNLOADER, str(root), server.url, str(n_files), str(timeout_s)]
    path = os.pathsep.join(sys.path)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert process.stdout.readline() == "begins\n", process.stderr.read()
    return process


@pytest.mark.parametrize("seed", range(10))
def test_a_killed_download_leaves_no_file_in_half_and_is_gone_on_with(tmp_path, seed):
    archive = SmallArchive(tmp_path, 10, seed=0)
    dice = random.Random(seed)
    with StandIn(serve_folder(archive.served), [Fault("", "slow", rate=1.5e5, times=None)]) as server:
        process = start_downloader(tmp_path, server, 10)
        time.sleep(dice.uniform(0.0, 0.8))  # in all, the files take 1 s
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        archive.assert_nothing_in_half()
        parts = {path: path.stat().st_size for path in archive.folder.rglob(".*.part")}
        whole = [path for path in archive.folder.rglob("*.fits") if not path.name.startswith(".")]
        server.faults.clear()
        outcomes = fetch(archive.files(server.url))
    archive.assert_whole()
    # not a byte that had come is fetched again
    states = [outcome.state for outcome in outcomes]
    assert states.count(State.PRESENT) == len(whole) and states.count(State.FETCHED) == 10 - len(whole)
    had = sum(path.stat().st_size for path in whole) + sum(parts.values())
    assert sum(outcome.bytes_fetched for outcome in outcomes) == archive.n_bytes - had


def test_two_processes_share_the_work(tmp_path):
    archive = SmallArchive(tmp_path, 10)
    with StandIn(serve_folder(archive.served), [Fault("", "slow", rate=2e5, times=None)]) as server:
        processes = [start_downloader(tmp_path, server, 10) for _ in range(2)]
        for process in processes:
            out, err = process.communicate(timeout=60)
            assert out == "ended\n" and process.returncode == 0, err
        assert len(server.requests) == 10 and server.bytes_sent == archive.n_bytes
    archive.assert_whole()


@pytest.mark.parametrize("at", [-1, 20_000])
def test_an_interrupt_ends_a_download_at_once(tmp_path, at):
    """Though every thread waits for a server that is silent for longer than the time-out."""
    archive = SmallArchive(tmp_path, 10)
    with StandIn(serve_folder(archive.served), [Fault("", "stall", at=at, times=None)]) as server:
        process = start_downloader(tmp_path, server, 10, timeout_s=60)
        while len(server.requests) < 4:
            time.sleep(0.01)
        time.sleep(0.1)
        begun = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert time.monotonic() - begun < 20
        assert process.returncode != 0 and "ended" not in out and "KeyboardInterrupt" in err
        archive.assert_nothing_in_half()
        server.faults.clear()
        fetch(archive.files(server.url))
    archive.assert_whole()


def test_an_interrupt_in_a_session_that_goes_on_ends_the_threads(tmp_path, monkeypatch):
    archive = SmallArchive(tmp_path, 40)
    stalls = "field0/apStar-0003.fits"

    def interrupt(self, outcome, scope):
        if server.asked(f"/{stalls}"):
            time.sleep(0.5)  # until its thread waits for the rest
            raise KeyboardInterrupt

    with StandIn(serve_folder(archive.served), [Fault(stalls, "stall", at=20_000)]) as server:
        monkeypatch.setattr(download._Threads, "_stop_if_hopeless", interrupt)
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            fetch(archive.files(server.url), timeout_s=60)
        assert time.monotonic() - begun < 20
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch-")]
        asked = len(server.requests)
        assert asked < 40 and len(server.asked(f"/{stalls}")) == 1
        time.sleep(0.1)
        assert len(server.requests) == asked
        archive.assert_nothing_in_half()
        monkeypatch.undo()
        fetch(archive.files(server.url))
    archive.assert_whole()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_stops_at_once(tmp_path, monkeypatch, code):
    """Stood in for by writes that fail; a disk that is really full is the next test's."""
    archive = SmallArchive(tmp_path, 50)
    write, written = os.write, []

    def full(descriptor, data):
        if sum(written) > 300_000:
            raise OSError(code, os.strerror(code))
        written.append(write(descriptor, data[:50_000]))  # short writes, as on a disk that fills up
        return written[-1]

    with StandIn(serve_folder(archive.served)) as server:
        monkeypatch.setattr("apogaia.archive.http.partial_files.os.write", full)
        with pytest.raises(FetchError, match=rf"No space left for {archive.folder}.*APOGAIA_ROOT.*run again"):
            fetch(archive.files(server.url))
        monkeypatch.undo()
        assert len(server.requests) < 20
        archive.assert_nothing_in_half()
        assert all(outcome.whole for outcome in fetch(archive.files(server.url)))
    archive.assert_whole()


def test_writes_that_take_a_piece_only_lose_nothing(tmp_path, monkeypatch):
    archive, write = SmallArchive(tmp_path, 5), os.write
    with StandIn(serve_folder(archive.served)) as server:
        monkeypatch.setattr(
            "apogaia.archive.http.partial_files.os.write", lambda descriptor, data: write(descriptor, data[:5000])
        )
        assert {outcome.state for outcome in fetch(archive.files(server.url))} == {State.FETCHED}
        assert len(server.requests) == 5
    archive.assert_whole()


def test_a_disk_that_is_really_full(tmp_path):
    """A file system of 1 MB, where one can be mounted."""
    prefix = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=1m none "$0" && exec "$@"', str(tmp_path / "here"))
    archive = SmallArchive(tmp_path, 30)
    archive.folder.mkdir()
    if not shutil.which("unshare") or subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    with StandIn(serve_folder(archive.served)) as server:
        process = start_downloader(tmp_path, server, 30, prefix=prefix)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 1 and "ended" not in out
    assert "apogaia.archive.http.remote_files.FetchError: No space left for" in err and "0 MB free" in err
    assert len(server.requests) < 30


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_folder_that_cannot_be_written_stops_before_anything_is_asked(tmp_path, monkeypatch, code):
    archive = SmallArchive(tmp_path, 50)
    opened = os.open

    def refuse(path, flags, *mode):
        if flags & os.O_CREAT:
            raise OSError(code, os.strerror(code), str(path))
        return opened(path, flags, *mode)

    with StandIn(serve_folder(archive.served)) as server:
        monkeypatch.setattr("apogaia.archive.http.partial_files.os.open", refuse)
        with pytest.raises(FetchError, match=rf"{archive.folder}/field\d cannot be written \({os.strerror(code)}\)"):
            fetch(archive.files(server.url))
        assert not server.requests


def test_a_folder_below_a_file(tmp_path):
    (tmp_path / "here").write_text("not a folder")
    archive = SmallArchive(tmp_path, 5)
    with StandIn(serve_folder(archive.served)) as server:
        with pytest.raises(FetchError, match="cannot be written"):
            fetch(archive.files(server.url))
        assert not server.requests


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("unknown_name", [False, True])
def test_an_archive_that_cannot_be_reached_stops_early(tmp_path, monkeypatch, unknown_name):
    if unknown_name:

        def unknown(*_, **__):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
    url = f"http://127.0.0.1:{unused_port()}"
    taken = []

    def survey():
        for number in range(277_371):
            taken.append(number)
            yield RemoteFile(tmp_path / f"{number}.fits", f"{url}/{number}.fits")

    words = "name 127.0.0.1:.* cannot be resolved" if unknown_name else "Connection refused"
    with pytest.raises(FetchError, match=f"{url} cannot be reached from here: .*{words}.*proxy.*{tmp_path}"):
        fetch(survey(), attempts=8)
    assert len(taken) < 40  # files are taken as the work goes on
    assert not list(tmp_path.iterdir())


def test_a_few_files_that_cannot_be_reached_are_outcomes(tmp_path):
    files = [RemoteFile(tmp_path / name, f"http://127.0.0.1:{unused_port()}/{name}") for name in "abc"]
    outcomes = fetch(files)
    assert [outcome.state for outcome in outcomes] == [State.FAILED] * 3
    assert "after 3 attempts" in outcomes[0].reason and "Connection refused" in outcomes[0].reason


def test_an_archive_that_is_gone_for_a_while_is_waited_for(tmp_path):
    """Between two calls, it has gone; it has answered before, so this is no reason to stop after a few seconds."""
    archive = SmallArchive(tmp_path, 16)
    with StandIn(serve_folder(archive.served)) as server:
        fetch(archive.files(server.url)[:1])
    outcomes = fetch(archive.files(server.url))
    assert [outcome.state for outcome in outcomes] == [State.PRESENT] + [State.FAILED] * 15
    assert all("after 6 attempts" in outcome.reason for outcome in outcomes[1:])


def test_an_archive_that_goes_down_is_left_alone_after_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "FAILED_IN_A_ROW", 12)
    archive = SmallArchive(tmp_path, 60)
    down = Fault(r"-00[2-5]\d", "status", status=503, times=None)
    with StandIn(serve_folder(archive.served), [down]) as server:
        with pytest.raises(
            FetchError, match=r"last 12 files in a row .* HTTP 503 .* Run again when the archive has recovered"
        ):
            fetch(archive.files(server.url), attempts=2)
        # single failures, and those that lie with the file, do not add up
        server.faults[:] = [Fault(r"-00[0-5][02468]\.fits", "status", status=403, times=None)]
        states = [outcome.state for outcome in fetch(archive.files(server.url), attempts=2, streams=1)]
        assert states.count(State.FAILED) == 20
        server.faults.clear()
        shutil.rmtree(archive.folder)
        wrong = [RemoteFile(file.path, file.url, "md5:" + "0" * 32) for file in archive.files(server.url)]
        assert {outcome.state for outcome in fetch(wrong)} == {State.FAILED}


@pytest.mark.parametrize("seed", range(3))
def test_hundreds_of_files_through_random_faults(tmp_path, seed):
    archive = SmallArchive(tmp_path, 200, blocks=3, seed=seed)
    ended = threading.Event()
    looks = []

    def watch():
        while not ended.is_set():
            archive.assert_nothing_in_half()
            looks.append(1)

    watcher = threading.Thread(target=lambda: looks.append(_error(watch)))
    with StandIn(serve_folder(archive.served), [Fault.random(seed, 0.3)]) as server:
        watcher.start()
        outcomes = fetch(archive.files(server.url), attempts=12, timeout_s=0.5, streams=8)
        ended.set()
        watcher.join()
        assert looks[-1] is None and len(looks) > 1
        assert {outcome.state for outcome in outcomes} == {State.FETCHED}
        archive.assert_whole()
        assert len(server.requests) > 250  # there were faults
        assert any("Range" in request.headers for request in server.requests)
        # so often that some are given up: the next calls get them
        shutil.rmtree(archive.folder)
        server.faults[:] = [Fault.random(seed + 100, 0.6, stall=False)]
        states = []
        for _ in range(20):
            states.append({outcome.state for outcome in fetch(archive.files(server.url), attempts=3, streams=8)})
            archive.assert_nothing_in_half()
            if State.FAILED not in states[-1]:
                break
    assert State.FAILED in states[0] and State.FAILED not in states[-1]
    archive.assert_whole()


def _error(function):
    try:
        function()
    except BaseException as error:
        return error
    return None
