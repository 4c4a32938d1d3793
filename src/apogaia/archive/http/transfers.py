"""Fetching one file: attempts with growing pauses, each resuming the last one, until the file is complete."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from urllib.parse import urlsplit

import requests
import tenacity
import urllib3.exceptions

from apogaia import __version__
from apogaia.archive.http.partial_files import Note, PartialFile, partial_names
from apogaia.archive.http.remote_files import (
    FileTrouble,
    Outcome,
    RemoteFile,
    State,
    can_tell_cut,
    fault_of,
    html_in_words,
    is_html,
    on_disk,
)
from apogaia.archive.http.server_responses import (
    Permanent,
    Retryable,
    Scope,
    WrongHash,
    error_of_attempt,
    misfit,
    refusal,
    stated_length,
    strong_validator,
    transport_trouble,
)

__all__ = ["Shared", "Stopped", "Transfers"]

CHUNK_BYTES = 1 << 18
LONGEST_BACK_OFF_S = 120.0  # between attempts
MAX_REDIRECTS = 10
SLOWEST_BYTES_PER_S = 1000.0  # over a time-out; a slower connection counts as stalled
PROGRESS_BYTES = 1 << 20  # an attempt that adds this much to a file is not counted
ATTEMPTS_UNREACHED = 3  # of a host that has not answered yet

# Hosts that have answered this process: if one of them disappears for a while, it is worth waiting.
_answered: set[str] = set()


class Shared:
    """State shared by the threads of one call: whether to stop, and which hosts to leave alone for how long."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._quiet_until: dict[str, float] = {}  # by host, on the monotonic clock

    @staticmethod
    def has_answered(url: str) -> bool:
        """Return whether the host of this address has ever answered this process."""
        return urlsplit(url).netloc in _answered

    def quiet(self, host: str, seconds: float) -> None:
        """Send no requests to this host for some seconds."""
        self._quiet_until[host] = max(self._quiet_until.get(host, 0.0), time.monotonic() + seconds)

    def wait_for(self, host: str) -> None:
        """Wait until requests to the host are allowed again, or the call stops."""
        while not self.stop.is_set() and (seconds := self._quiet_until.get(host, 0.0) - time.monotonic()) > 0:
            self.stop.wait(seconds)


class Stopped(Exception):
    """The call as a whole is being stopped."""


class Transfers:
    """Fetches one file after another over connections that are kept open; one object per thread.

    Parameters
    ----------
    shared
        What the threads share.
    attempts
        Failed attempts after which a file is given up.
    timeout_s
        Seconds without a byte, or without a connection, after which an attempt ends.
    first_wait_s
        Pause in seconds after the first attempt; each further one is twice as long.
    """

    def __init__(self, shared: Shared, attempts: int, timeout_s: float, first_wait_s: float):
        self.shared, self.attempts, self.timeout_s = shared, attempts, timeout_s
        self.size_so_far = 0  # bytes of the current file that have arrived, for the progress bar
        self._pause = tenacity.wait_exponential(multiplier=first_wait_s, max=LONGEST_BACK_OFF_S) + tenacity.wait_random(
            0, first_wait_s
        )
        self._session = requests.Session()
        self._session.max_redirects = MAX_REDIRECTS
        # identity: sizes, hashes and ranges are those of the file, not of a compressed form of it
        self._session.headers.update({"User-Agent": f"apogaia/{__version__}", "Accept-Encoding": "identity"})
        self._session.hooks["response"].append(self._note_answer)
        self._response: requests.Response | None = None

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def interrupt(self) -> None:
        """End the wait for the rest of a body; called from another thread."""
        response = self._response
        if response is not None:
            with contextlib.suppress(ValueError, RuntimeError, OSError):  # it has just ended
                response.raw.shutdown()

    def fetch(self, file: RemoteFile) -> tuple[Outcome, Scope | None, int]:
        """Get a file.

        Returns
        -------
        outcome, scope, size
            `scope` says what a failure concerns, None for other states; `size` in bytes of a file that is in its place.

        Raises
        ------
        FetchError
            If the disk is full or cannot be written.
        Stopped
            If the call is stopped meanwhile.
        """
        self._received = self.size_so_far = 0
        try:
            with on_disk(file.path):
                if file.path.is_file():
                    for path in partial_names(file.path):
                        path.unlink(missing_ok=True)
                    return Outcome(file, State.PRESENT), None, file.path.stat().st_size
                file.path.parent.mkdir(parents=True, exist_ok=True)
            part = self._hold_part(file)
        except FileTrouble as error:
            return Outcome(file, State.FAILED, str(error)), Scope.FILE, 0
        except Retryable as busy:
            return Outcome(file, State.FAILED, str(busy)), Scope.FILE, 0
        try:
            return self._fetch_into(part, file)
        finally:
            self.size_so_far = 0
            with on_disk(file.path):
                part.close()

    def _hold_part(self, file: RemoteFile) -> PartialFile:
        """Open the part, waiting up to a time-out for another process or thread that fetches the same file."""
        end = time.monotonic() + self.timeout_s
        while True:
            with on_disk(file.path):
                part = PartialFile(file.path)
                if part.take():
                    return part
                part.close()
            if time.monotonic() > end:
                raise Retryable("another process is fetching it")
            if self.shared.stop.wait(0.05):
                raise Stopped

    def _fetch_into(self, part: PartialFile, file: RemoteFile) -> tuple[Outcome, Scope | None, int]:
        with on_disk(file.path):
            if file.path.is_file():  # by another thread or process, while this one waited
                part.remove()
                return Outcome(file, State.PRESENT), None, file.path.stat().st_size
            self._best = part.size
        self._wrong_digits, self._tries = "", 0
        attempt = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(Retryable),
            stop=self._is_enough,
            wait=self._pause,
            after=lambda state: self._note_progress(state, part),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            attempt(self._attempt, part, file)
        except Retryable as error:
            if self.shared.stop.is_set():
                raise Stopped from error
            return self._give_up(
                part, file, State.FAILED, f"given up after {self._tries} attempts: {error}", error.scope
            )
        except WrongHash as error:
            outcome, scope, size = self._give_up(part, file, error.state, str(error), error.scope)
            return replace(outcome, hash_differs=True), scope, size
        except Permanent as error:
            return self._give_up(part, file, error.state, str(error), error.scope)
        except FileTrouble as error:
            return self._give_up(part, file, State.FAILED, str(error), Scope.FILE)
        return Outcome(file, State.FETCHED, bytes_fetched=self._received), None, self.size_so_far

    def _give_up(
        self, part: PartialFile, file: RemoteFile, state: State, reason: str, scope: Scope
    ) -> tuple[Outcome, Scope | None, int]:
        if state is State.ABSENT:
            with on_disk(file.path):
                part.remove()
        return Outcome(file, state, reason, self._received), None if state is State.ABSENT else scope, 0

    def _sleep(self, seconds: float) -> None:
        self.shared.stop.wait(seconds)

    @staticmethod
    def _note_answer(response: requests.Response, **_: object) -> None:
        _answered.add(urlsplit(response.url).netloc)

    def _note_progress(self, state: tenacity.RetryCallState, part: PartialFile) -> None:
        """Restart the count of attempts after one that made progress: tables of gigabytes arrive in many pieces."""
        if part.size >= self._best + PROGRESS_BYTES:
            self._best = part.size
            state.attempt_number = 1

    def _is_enough(self, state: tenacity.RetryCallState) -> bool:
        scope = getattr(error_of_attempt(state), "scope", None)
        unreached = scope is Scope.UNREACHED and not self.shared.has_answered(state.args[1].url)
        attempts = min(self.attempts, ATTEMPTS_UNREACHED) if unreached else self.attempts
        return self.shared.stop.is_set() or state.attempt_number >= attempts

    def _attempt(self, part: PartialFile, file: RemoteFile) -> None:
        """Fetch the missing part of a file, and give it its name if it is complete."""
        self._tries += 1
        host = urlsplit(file.url).netloc
        self.shared.wait_for(host)
        if self.shared.stop.is_set():
            raise Stopped
        with on_disk(file.path):
            begun, note = part.resumable(file.url, file.hash is not None)
        self.size_so_far = begun
        if note is not None and begun == note.length:  # complete, except for the name
            self._finish(part, file)
            return
        headers = {}
        if note is not None:
            headers["Range"] = f"bytes={begun}-"
            if note.validator:
                headers["If-Range"] = note.validator
        try:
            response = self._session.get(file.url, headers=headers, stream=True, timeout=self.timeout_s)
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            raise transport_trouble(error, host, self.timeout_s, MAX_REDIRECTS) from error
        self._response = response
        try:
            self._receive(response, part, file, begun, note)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            raise transport_trouble(error, host, self.timeout_s, MAX_REDIRECTS) from error
        finally:
            self._response = None
            response.close()
        self._finish(part, file)

    def _receive(
        self, response: requests.Response, part: PartialFile, file: RemoteFile, begun: int, note: Note | None
    ) -> None:
        """Append the body of an answer to the part, after checking that it belongs there."""
        status, headers = response.status_code, response.headers
        if status not in (200, 206):
            self._raise_refusal(response, part, file, begun)
        encoded = headers.get("Content-Encoding", "identity").lower() not in ("", "identity")
        decode = encoded and file.path.suffix.lower() != ".gz"  # some servers call files that are gzip encoded so
        data = self._read(response, decode)
        if status == 206:
            fault = misfit(headers, begun, note)
            if fault or note is None or decode:  # no note: no part was asked for
                self._forget(part, file)
                raise Retryable(f"the server sent a different part than requested{fault}")
        else:
            # A page about maintenance must not cost the part that has arrived: look before it is dropped.
            if is_html(file.path, data):
                raise Retryable(html_in_words(data))
            note = Note(file.url, None if decode else stated_length(headers), strong_validator(headers))
            if None not in (file.size, note.length) and note.length != file.size:
                raise Retryable(f"the server's file has {note.length} bytes, the archive says {file.size}", Scope.FILE)
            self._forget(part, file, None if decode else note)
        self._append_all(response, data, decode, part, file)
        if note.length is not None and self.size_so_far < note.length:
            raise Retryable(f"the answer ended after {self.size_so_far} of {note.length} bytes")
        if note.length is not None and self.size_so_far > note.length:
            arrived = self.size_so_far
            self._forget(part, file)
            raise Retryable(f"{arrived} bytes arrived instead of {note.length}")
        has_end = stated_length(headers) is not None or "chunked" in headers.get("Transfer-Encoding", "").lower()
        if not has_end and not can_tell_cut(file):
            raise Permanent(
                State.FAILED,
                "the server does not state the file's length, so a complete file cannot be told from a cut one",
            )

    def _raise_refusal(self, response: requests.Response, part: PartialFile, file: RemoteFile, begun: int) -> None:
        stated = stated_length(response.headers)
        if stated is not None and stated <= CHUNK_BYTES:
            response.raw.read(stated, decode_content=False)  # to its end, so that the connection can be used again
        if response.status_code == 416 and begun:
            self._forget(part, file)
            raise Retryable("the server does not have the missing part")
        error = refusal(response.status_code, response.reason, response.headers)
        if isinstance(error, Retryable) and error.wait_s:
            self.shared.quiet(urlsplit(file.url).netloc, error.wait_s)
        raise error

    def _forget(self, part: PartialFile, file: RemoteFile, note: Note | None = None) -> None:
        with on_disk(file.path):
            part.restart(note)
        self.size_so_far = 0

    def _append_all(
        self, response: requests.Response, data: bytes, decode: bool, part: PartialFile, file: RemoteFile
    ) -> None:
        since, arrived = time.monotonic(), 0
        while data:
            with on_disk(file.path):
                part.append(data)
            self.size_so_far += len(data)
            arrived += len(data)
            seconds = time.monotonic() - since
            if seconds > self.timeout_s:
                if arrived < SLOWEST_BYTES_PER_S * seconds:
                    raise Retryable(f"only {arrived} bytes arrived in {seconds:.0f} s")
                since, arrived = time.monotonic(), 0
            data = self._read(response, decode)

    def _read(self, response: requests.Response, decode: bool) -> bytes:
        """Return the next bytes of a body, at most a chunk; empty at its end."""
        if self.shared.stop.is_set():
            raise Stopped
        before = response.raw.tell()
        # read1: what has arrived is kept when the connection breaks or stalls before a chunk is full
        data = response.raw.read1(CHUNK_BYTES, decode_content=decode)
        self._received += response.raw.tell() - before
        return data

    def _finish(self, part: PartialFile, file: RemoteFile) -> None:
        with on_disk(file.path):
            fault = fault_of(part.path, file)
            if fault is None:
                part.finish()
                return
        self._forget(part, file)
        if not fault.digits:
            raise Retryable(fault.text)
        if fault.digits == self._wrong_digits:
            raise WrongHash(f"{fault.text}, twice the same: the list or the file is wrong")
        self._wrong_digits = fault.digits
        raise Retryable(fault.text, Scope.FILE)
