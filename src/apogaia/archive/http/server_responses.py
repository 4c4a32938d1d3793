"""What the answers of an HTTP server, or missing answers, mean for a file that is being fetched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum

import requests
import tenacity
import urllib3.exceptions

from apogaia.archive.http.partial_files import Note
from apogaia.archive.http.remote_files import State

__all__ = [
    *("Permanent", "Retryable", "Scope", "WrongHash"),
    *("error_of_attempt", "misfit", "refusal", "stated_length", "strong_validator", "transport_trouble"),
]

LONGEST_WAIT_S = 600.0  # between attempts, whatever the server asks for

_RETRYABLE = {408, 425, 429}
_REFUSED = {401, 403, 407}
_ABSENT = {404, 410}


class Scope(Enum):
    """What a failure concerns: one file, the archive as a whole, or the connection to it."""

    FILE = 1
    ARCHIVE = 2
    UNREACHED = 3


class Retryable(Exception):
    """A failure that may not happen at the next attempt."""

    def __init__(self, reason: str, scope: Scope = Scope.ARCHIVE, wait_s: float = 0.0):
        super().__init__(reason)
        self.scope, self.wait_s = scope, wait_s


class Permanent(Exception):
    """A failure that no further attempt changes."""

    def __init__(self, state: State, reason: str, scope: Scope = Scope.FILE):
        super().__init__(reason)
        self.state, self.scope = state, scope


class WrongHash(Permanent):
    """The same content arrived twice, and its hash is not the stated one."""

    def __init__(self, reason: str):
        super().__init__(State.FAILED, reason)


def error_of_attempt(state: tenacity.RetryCallState) -> BaseException | None:
    """Return the exception with which an attempt ended, None if it succeeded."""
    return None if state.outcome is None else state.outcome.exception()


def refusal(status: int, words: str, headers: Mapping[str, str]) -> Exception:
    """Return the exception to raise for an answer that is not the file."""
    answer = f"HTTP {status}{' ' if words else ''}{words}"
    if status in _ABSENT:
        return Permanent(State.ABSENT, f"the archive has no such file ({answer})")
    if status in _REFUSED:
        return Permanent(State.FAILED, f"the server refuses access ({answer})", Scope.ARCHIVE)
    if status in _RETRYABLE or status >= 500 or status < 300:
        return Retryable(f"the server answers {answer}", wait_s=min(_retry_after_s(headers), LONGEST_WAIT_S))
    return Permanent(State.FAILED, f"the server answers {answer}", Scope.ARCHIVE)


def misfit(headers: Mapping[str, str], begun: int, note: Note | None) -> str:
    """Return why an answer of status 206 does not continue the part; empty if it does."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip())
    if found is None:
        return ": it does not say which"
    if int(found[1]) != begun:
        return f": from byte {found[1]} instead of {begun}"
    if note is None:
        return ""
    if found[2] != "*" and note.length is not None and int(found[2]) != note.length:
        return f": of a file of {found[2]} bytes instead of {note.length}"
    named = strong_validator(headers)
    if named and note.validator and named != note.validator:
        return ": of another version of the file"
    return ""


def transport_trouble(error: Exception, host: str, timeout_s: float, redirects: int) -> Exception:
    """Return the exception to raise for a failure of the transport."""
    cause = error.args[0] if error.args else None
    cause = getattr(cause, "reason", cause)
    if isinstance(error, requests.TooManyRedirects):
        return Permanent(State.FAILED, f"redirected more than {redirects} times", Scope.ARCHIVE)
    if isinstance(error, ValueError):
        return Permanent(State.FAILED, f"not an address that can be fetched: {error}")
    if isinstance(error, requests.ConnectTimeout):
        return Retryable(f"no connection to {host} within {timeout_s:g} s", Scope.UNREACHED)
    if isinstance(error, (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError)):
        return Retryable(f"time-out: nothing arrived for {timeout_s:g} s")
    if isinstance(error, requests.exceptions.ProxyError):
        return Retryable(f"no connection to {host} through the proxy", Scope.UNREACHED)
    if isinstance(error, requests.exceptions.SSLError):
        return Retryable(f"no trustworthy connection to {host}: {cause}", Scope.UNREACHED)
    if isinstance(cause, urllib3.exceptions.NameResolutionError):
        return Retryable(f"the name {host} cannot be resolved", Scope.UNREACHED)
    if isinstance(cause, urllib3.exceptions.NewConnectionError):
        return Retryable(f"no connection to {host}: {_system_error(cause)}", Scope.UNREACHED)
    if isinstance(error, (requests.exceptions.ContentDecodingError, urllib3.exceptions.DecodeError)):
        return Retryable("the answer is encoded wrongly")
    return Retryable("the connection broke")


def _system_error(error: Exception) -> str:
    inner = error.__cause__
    return inner.strerror if isinstance(inner, OSError) and inner.strerror else str(error)


def stated_length(headers: Mapping[str, str]) -> int | None:
    """Return the length of the body in bytes, None if it is not stated."""
    text = headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _date(text: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def strong_validator(headers: Mapping[str, str]) -> str | None:
    """Return the strong validator of a version: its ETag, or a Last-Modified that two versions cannot share."""
    etag = headers.get("ETag", "")
    if etag.startswith('"'):
        return etag
    modified, now = _date(headers.get("Last-Modified")), _date(headers.get("Date"))
    if modified and now and (now - modified).total_seconds() >= 60:
        return headers["Last-Modified"]
    return None


def _retry_after_s(headers: Mapping[str, str]) -> float:
    """Return the seconds that the server asks to wait, given as such or as a date by its clock; 0 if it does not."""
    text = headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    date = _date(text)
    if date is None:
        return 0.0
    return max((date - (_date(headers.get("Date")) or datetime.now(UTC))).total_seconds(), 0.0)
