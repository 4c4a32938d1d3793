"""Downloading many files from an archive: several at a time, resumed, verified, and each complete or absent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from operator import length_hint
from queue import Empty, SimpleQueue
from urllib.parse import urlsplit

from tqdm.auto import tqdm

from apogaia.archive.http.remote_files import FetchError, Outcome, RemoteFile, State, link_file, verify
from apogaia.archive.http.server_responses import Scope
from apogaia.archive.http.transfers import Shared, Stopped, Transfers

__all__ = ["FetchError", "Outcome", "RemoteFile", "State", "fetch_file", "fetch_files", "link_file", "verify"]

Show = Callable[[Outcome | None, int, int], None]

WINDOW_PER_STREAM = 4  # files handed out at a time
UNREACHED_IN_A_ROW = 10  # files (or two per stream) for which a host that never answered could not be reached
FAILED_IN_A_ROW = 200  # files that failed because of the archive
FIRST_WAIT_S = 1.0
END_S = 2.0  # given to the threads to end when the call ends early


def fetch_files(
    files: Iterable[RemoteFile],
    *,
    streams: int,
    attempts: int,
    timeout_s: float,
    progress: bool = True,
    description: str = "files",
    total_bytes: float | None = None,
    first_wait_s: float = FIRST_WAIT_S,
) -> list[Outcome]:
    """Download files that are not in their place yet.

    A file gets its name when it is complete: of the length that server and archive state, with the archive's hash,
    beginning as a file of its suffix does, and synced to disk. Until then it is a hidden ``.NAME.part`` beside it, from
    which the next attempt, or the next call after a kill, resumes if the server still has the same version. A file that
    has its name is assumed to be complete and is not read again (``verify`` does that).

    Parameters
    ----------
    files
        What to download; a generator is read as the work proceeds.
    streams
        Files fetched at a time, each over its own connection.
    attempts
        Failed attempts after which a file is given up; pauses double from `first_wait_s` to two minutes, or are longer
        if the server asks for it, and then for all files of that server. An attempt that adds a MiB to a file does not
        count. For a host that has never answered this process, three attempts suffice.
    timeout_s
        Seconds without a byte, or without a connection, that end an attempt.
    progress, description, total_bytes
        Whether to show a progress bar, its label, and the (approximate) total of bytes; without it the bar counts
        files.
    first_wait_s
        Pause in seconds after a file's first attempt.

    Returns
    -------
    list of Outcome
        One per file, in the order given, also for files that could not be downloaded.

    Raises
    ------
    FetchError
        If every further file would fail: the disk is full or cannot be written, the archive cannot be reached, or many
        files in a row failed because of the archive. Complete files are kept.
    """
    pool = _Threads(streams, attempts, timeout_s, first_wait_s)
    in_bytes = total_bytes is not None
    with _bar(total_bytes if in_bytes else length_hint(files), in_bytes, description, progress) as show:
        return _in_order(pool.outcomes(files, show))


def fetch_file(
    file: RemoteFile, *, attempts: int, timeout_s: float, progress: bool = True, first_wait_s: float = FIRST_WAIT_S
) -> Outcome:
    """Download one file, as ``fetch_files`` does; the bar counts bytes."""
    pool = _Threads(1, attempts, timeout_s, first_wait_s)
    with _bar(file.size, True, file.path.name, progress) as show:
        return _in_order(pool.outcomes([file], show))[0]


def _in_order(outcomes: Generator[tuple[int, Outcome], None, None]) -> list[Outcome]:
    ordered: list = []
    with closing(outcomes):  # whatever happens, the threads end
        for index, outcome in outcomes:
            ordered.extend([None] * (index + 1 - len(ordered)))
            ordered[index] = outcome
    return ordered


@contextmanager
def _bar(total: float | None, in_bytes: bool, description: str, progress: bool) -> Iterator[Show]:
    """Show a progress bar, updated by a function of an outcome (None: only time passed), its size, bytes under way."""
    settings = {"unit": "B", "unit_scale": True} if in_bytes else {"unit": "file"}
    counts = {State.ABSENT: 0, State.FAILED: 0}
    here = fetched = done = 0

    with tqdm(total=total or None, desc=description, disable=not progress, **settings) as bar:

        def show(outcome: Outcome | None, size: int, under_way: int) -> None:
            nonlocal here, fetched, done
            if outcome is not None:
                done += 1
                here += size
                fetched += outcome.bytes_fetched
                if outcome.state in counts:
                    counts[outcome.state] += 1
                others = "".join(f", {count} {state}" for state, count in counts.items() if count)
                bar.set_postfix_str(f"{done} files{others}" if in_bytes else f"{fetched / 1e9:.2f} GB{others}", False)
            bar.update((here + under_way if in_bytes else done) - bar.n)

        yield show


class _Threads:
    """Threads that fetch files; daemons, so that one waiting for a silent server does not keep the program alive."""

    def __init__(self, streams: int, attempts: int, timeout_s: float, first_wait_s: float):
        if streams < 1 or attempts < 1 or timeout_s <= 0:
            raise ValueError(f"streams {streams} and attempts {attempts} must be at least 1, timeout_s above 0")
        self.streams, self.settings = streams, (attempts, timeout_s, first_wait_s)
        self.shared = Shared()
        self.work: SimpleQueue = SimpleQueue()
        self.results: SimpleQueue = SimpleQueue()
        self.threads: list[threading.Thread] = []
        self.transfers: list[Transfers] = []
        self.unreached = self.failed = 0  # in a row

    def outcomes(self, files: Iterable[RemoteFile], show: Show) -> Generator[tuple[int, Outcome], None, None]:
        """Yield the index in `files` and the outcome of each file, as they finish."""
        handed_out = 0
        try:
            for index, file in enumerate(files):
                if len(self.threads) < self.streams:
                    self._start_thread()
                while handed_out >= WINDOW_PER_STREAM * self.streams:
                    yield self._next(show)
                    handed_out -= 1
                self.work.put((index, file))
                handed_out += 1
            while handed_out:
                yield self._next(show)
                handed_out -= 1
        finally:
            self._end_threads()

    def _start_thread(self) -> None:
        transfers = Transfers(self.shared, *self.settings)
        thread = threading.Thread(
            target=self._work_off, args=(transfers,), name=f"fetch-{len(self.threads)}", daemon=True
        )
        self.transfers.append(transfers)
        self.threads.append(thread)
        thread.start()

    def _work_off(self, transfers: Transfers) -> None:
        try:
            while (task := self.work.get()) is not None and not self.shared.stop.is_set():
                index, file = task
                self.results.put((index, *transfers.fetch(file)))
        except Stopped:
            pass
        except BaseException as error:  # raised by the calling thread
            self.results.put(error)
        finally:
            transfers.close()

    def _next(self, show: Show) -> tuple[int, Outcome]:
        while True:
            try:
                result = self.results.get(timeout=0.5)
            except Empty:
                show(None, 0, self._under_way())
                continue
            if isinstance(result, BaseException):
                raise result
            index, outcome, scope, size = result
            show(outcome, size, self._under_way())
            self._stop_if_hopeless(outcome, scope)
            return index, outcome

    def _under_way(self) -> int:
        return sum(transfers.size_so_far for transfers in self.transfers)

    def _stop_if_hopeless(self, outcome: Outcome, scope: Scope | None) -> None:
        if outcome.state in (State.PRESENT, State.LINKED):
            return  # says nothing about the archive
        self.failed = self.failed + 1 if scope in (Scope.ARCHIVE, Scope.UNREACHED) else 0
        unreached = scope is Scope.UNREACHED and not self.shared.has_answered(outcome.file.url)
        self.unreached = self.unreached + 1 if unreached else 0
        server = f"{urlsplit(outcome.file.url).scheme}://{urlsplit(outcome.file.url).netloc}"
        if self.unreached >= max(UNREACHED_IN_A_ROW, 2 * self.streams):
            raise FetchError(
                f"{server} cannot be reached from here: {outcome.reason}. Check this machine's network connection "
                f"(behind a proxy: HTTPS_PROXY), or copy the files of {outcome.file.path.parent} from a mirror"
            )
        if self.failed >= FAILED_IN_A_ROW:
            raise FetchError(
                f"The last {self.failed} files in a row could not be downloaded from {server}, the last of them "
                f"{outcome.file.path}: {outcome.reason}. Run again when the archive has recovered: "
                "complete files are kept, and the others resume"
            )

    def _end_threads(self) -> None:
        """End the threads: those between attempts or waiting for a body at once, the others by their time-out."""
        self.shared.stop.set()
        for transfers in self.transfers:
            transfers.interrupt()
        for _ in self.threads:
            self.work.put(None)
        end = time.monotonic() + END_S
        for thread in self.threads:
            thread.join(max(end - time.monotonic(), 0.0))
