"""Asynchronous TAP jobs with an uploaded table, repeated until the answer is complete."""

from __future__ import annotations

import contextlib
import io
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import requests
import tenacity
import urllib3
from astropy.io.votable import exceptions as votable_exceptions
from astropy.io.votable import parse as parse_votable
from astropy.io.votable.tree import VOTableFile
from astropy.table import Table
from pyvo.dal import AsyncTAPJob, DALQueryError, DALServiceError, TAPResults, TAPService

from apogaia import __version__
from apogaia.archive.http.remote_files import FetchError
from apogaia.archive.http.server_responses import error_of_attempt

__all__ = ["GaiaArchiveError", "NoAnswer", "Patience", "TapJobs", "TooLarge"]

Answer = TypeVar("Answer")
REFUSED = (400, 401, 403, 405, 415)  # HTTP statuses that a later attempt does not change
OVERLOADED = (408, 413, 504)  # those that a smaller job may change


class GaiaArchiveError(FetchError):
    """Gaia's sources could not be fetched; the message names the service and the remedy."""


class NoAnswer(Exception):
    """No usable answer; another attempt may succeed, after `wait` seconds if the service says so."""

    def __init__(self, message: str, wait: float = 0.0):
        super().__init__(message)
        self.wait = wait


class TooLarge(Exception):
    """No complete answer, perhaps because the job is too large; `again`: another attempt may succeed nevertheless."""

    wait = 0.0

    def __init__(self, message: str, again: bool = True):
        super().__init__(message)
        self.again = again


@dataclass(frozen=True)
class Patience:
    """Waiting times [s], and attempts at what may be too large."""

    job: float = 1800.0  # for a job to finish
    first_poll: float = 1.0  # between two polls of a job, growing
    longest_poll: float = 15.0
    first_back_off: float = 2.0  # between two attempts, growing
    longest_back_off: float = 120.0
    longest_retry_after: float = 900.0  # however long a wait the service asks for
    attempts_whole: int = 2  # at a job that may be too large, before it is halved


class _Session(requests.Session):
    """Gives up a connection on which nothing arrives for `timeout` seconds, whatever the caller says."""

    def __init__(self, timeout: float):
        super().__init__()
        self.timeout = timeout
        self.headers["User-Agent"] = f"apogaia/{__version__}"

    def request(self, *arguments: Any, **options: Any) -> requests.Response:
        """Send a request with the session's time-out."""
        return super().request(*arguments, **(options | {"timeout": self.timeout}))


class TapJobs:
    """Jobs of one TAP service, one at a time, as a context manager.

    Parameters
    ----------
    url
        Root of the service, without ``/async``.
    timeout
        Seconds without a byte after which a connection is given up.
    attempts
        At each job.
    patience
        Waiting times.
    """

    def __init__(self, url: str, timeout: float, attempts: int, patience: Patience | None = None):
        self.url, self.attempts, self.patience = url.rstrip("/"), attempts, patience or Patience()
        self.session = _Session(timeout)
        self.service = TAPService(self.url, session=self.session)

    def __enter__(self) -> TapJobs:
        """Open nothing: connections are opened by the first job."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.session.close()

    def run(
        self,
        query: str,
        uploads: Mapping[str, Mapping[str, np.ndarray]],
        read: Callable[[Table], Answer],
        divisible: bool,
    ) -> Answer:
        """Run a query and return what `read` makes of its answer.

        Parameters
        ----------
        query
            ADQL.
        uploads
            Columns of the uploaded tables, by name; ``tap_upload.<name>`` in the query.
        read
            Called with the complete table; may raise ``TooLarge``.
        divisible
            Whether the caller can divide the job, so that one that seems too large is given up earlier.

        Raises
        ------
        NoAnswer
            If the service gave no usable answer in any attempt.
        TooLarge
            If the job seems too large for the service.
        GaiaArchiveError
            If the service refuses the query.
        """
        heavy = 0

        def enough(state: tenacity.RetryCallState) -> bool:
            nonlocal heavy
            heavy += isinstance(error_of_attempt(state), TooLarge)
            return state.attempt_number >= self.attempts or (divisible and heavy >= self.patience.attempts_whole)

        return self._retrying(enough)(self._ask, query, uploads, read)

    def _retrying(self, stop: Callable[[tenacity.RetryCallState], bool]) -> tenacity.Retrying:
        patience = self.patience
        back_off = tenacity.wait_exponential_jitter(
            multiplier=patience.first_back_off, max=patience.longest_back_off, jitter=patience.first_back_off
        )

        def wait(state: tenacity.RetryCallState) -> float:
            asked = getattr(error_of_attempt(state), "wait", 0.0)
            return max(back_off(state), min(asked, patience.longest_retry_after))

        def may_pass(fault: BaseException) -> bool:
            return isinstance(fault, NoAnswer) or (isinstance(fault, TooLarge) and fault.again)

        return tenacity.Retrying(stop=stop, wait=wait, retry=tenacity.retry_if_exception(may_pass), reraise=True)

    def _ask(self, query, uploads, read):
        """Run one job from its creation to its removal."""
        tables = {name: Table(dict(columns)) for name, columns in uploads.items()}
        with _named(self.url):
            job = self.service.submit_job(query, uploads=tables)
        if not job.job_id:  # a page that is not a job reads as a job without anything
            raise NoAnswer(f"{self.url}/async answered with something other than a job")
        with job:  # deletes it; if that fails, the service does so in time
            with _named(job.url):
                job.run()
            self._wait(job)
            few = tenacity.stop_after_attempt(min(self.attempts, 3))
            return self._retrying(few)(self._read, job, read)

    def _wait(self, job: AsyncTAPJob) -> None:
        """Wait until the job is done.

        Raises
        ------
        TooLarge
            If it takes too long, or ends without success.
        NoAnswer
            If its state cannot be read, or it does not start.
        """
        poll = self._retrying(tenacity.stop_after_attempt(self.attempts))
        end = time.monotonic() + self.patience.job
        interval = self.patience.first_poll
        pending = 0
        while (phase := poll(_phase, job)) != "COMPLETED":
            if phase in ("ERROR", "ABORTED"):
                raise TooLarge(f"the job ended in phase {phase}: {_reason(job)}")
            if time.monotonic() >= end:
                raise TooLarge(f"the job was in phase {phase} after {self.patience.job:g} s")
            pending += phase == "PENDING"
            if pending > 3:  # something else answered the request to run
                raise NoAnswer(f"{job.url} was not started")
            time.sleep(interval)
            interval = min(1.5 * interval, self.patience.longest_poll)

    def _read(self, job: AsyncTAPJob, read):
        with _named(job.url):
            if job.result_uri is None:
                raise NoAnswer(f"{job.url} is complete and has no result")
            response = self.session.get(job.result_uri)
            response.raise_for_status()
            content = response.content
        try:
            # As a file, not as bytes: astropy then unpacks gzip too.
            document = parse_votable(io.BytesIO(content))
            results = TAPResults(document, url=job.url, session=self.session)
        except votable_exceptions.E19 as error:
            raise NoAnswer(f"{job.url} answered with something other than a VOTable") from error
        except DALQueryError as error:
            raise TooLarge(f"the answer reports an error: {error}") from error
        except Exception as error:  # the parser may fail anywhere in a broken document
            raise TooLarge(f"{job.url} answered with a VOTable that is cut short or broken: {error}") from error
        if _overflows(document):
            raise TooLarge(f"the answer is capped at {len(results)} rows", again=False)
        return read(results.to_table())


def _overflows(document: VOTableFile) -> bool:
    """Return whether a document says, in any place that services use for it, that its table is capped."""
    infos = [*document.infos]
    for resource in document.resources:
        infos += [*resource.infos, *(info for table in resource.tables for info in table.infos)]
    return any(info.name.upper() == "QUERY_STATUS" and info.value.upper() == "OVERFLOW" for info in infos)


def _phase(job: AsyncTAPJob) -> str:
    try:
        with _named(job.url):
            phase = job.phase
    except TooLarge as fault:  # a job's state is small
        raise NoAnswer(str(fault)) from fault
    if phase in (None, "ARCHIVED"):
        raise NoAnswer(f"{job.url} answered with something other than a job's state")
    return phase


def _reason(job: AsyncTAPJob) -> str:
    try:
        job.raise_if_error()
    except DALQueryError as error:
        return str(error)
    except AttributeError:
        pass  # an error summary without a message
    return "no reason given"


@contextlib.contextmanager
def _named(url: str) -> Iterator[None]:
    """Turn faults of the service and of the connection into exceptions that say what can be done."""
    try:
        yield
    except DALServiceError as error:
        raise _fault(error.cause if isinstance(error.cause, Exception) else error, error.code, str(error)) from error
    except requests.RequestException as error:
        code = None if error.response is None else error.response.status_code
        raise _fault(error, code, f"{url}: {error}") from error
    except (urllib3.exceptions.HTTPError, ValueError) as error:  # while pyvo reads a job's state
        raise NoAnswer(f"{url} gave no readable answer: {error}") from error


def _fault(error: Exception, code: int | None, message: str) -> Exception:
    response = getattr(error, "response", None)
    message += _words(response)
    if code in REFUSED:
        return GaiaArchiveError(f"Gaia's archive refuses the query: {message}. Check archive.gaia_tap")
    if code in OVERLOADED or isinstance(error, requests.Timeout):
        return TooLarge(message)
    return NoAnswer(message, _retry_after(response))


def _words(response: requests.Response | None) -> str:
    """Return the text of an answer, without its markup and at most a few lines."""
    try:
        text = re.sub("<[^>]*>", " ", response.text) if response is not None else ""
    except requests.RequestException:  # not even that arrived
        text = ""
    return f": {' '.join(text.split())[:300]}" if text.strip() else ""


def _retry_after(response: requests.Response | None) -> float:
    """Return the seconds that the service asks to wait, which it may give as a date; 0 if it does not say."""
    if response is None:
        return 0.0
    try:
        return urllib3.Retry().get_retry_after(response.raw) or 0.0
    except urllib3.exceptions.InvalidHeader:
        return 0.0
