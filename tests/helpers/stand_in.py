"""A loopback HTTP/1.1 server that stands in for an archive, and does to its clients what real archives do."""

from __future__ import annotations

import hashlib
import http.server
import random
import re
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from email.utils import formatdate, parsedate_to_datetime
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from stand_in_faults import Fault

__all__ = ["Fault", "Request", "Response", "StandIn", "serve_folder"]

HTML = b"<!DOCTYPE html>\n<html><head><title>Maintenance</title></head><body>Back soon.</body></html>\n"
_LOOP, _MOVED = "/.loop", "/.moved"


@dataclass
class Request:
    """What was asked: `path` without query, percent-decoded; `headers` by name in any case."""

    method: str
    path: str
    query: dict[str, str]
    headers: Message
    body: bytes = b""


@dataclass
class Response:
    """What is answered. An empty text as a header's value keeps a header from being sent that otherwise would be."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | Path = b""


class StandIn:
    """A server on a free port of the loopback interface, as a context manager.

    Parameters
    ----------
    handler
        Called in one thread per connection with a ``Request``, gives the ``Response``. HEAD, Range and If-Range are
        the server's matter: a handler answers them as it answers GET.
    faults
        The first one that applies to a request happens to it and is used up by one.

    Attributes
    ----------
    url
        Such as ``http://127.0.0.1:40001``.
    requests
        The requests so far, in the order in which they came.
    bytes_sent
        Bytes of bodies handed to the connections so far.
    connections_made
        Connections accepted so far.
    most_at_once
        The largest number of requests that were being answered at one time.
    """

    def __init__(self, handler: Callable[[Request], Response], faults: Sequence[Fault] = ()):
        self.handler, self.faults = handler, list(faults)
        self.requests: list[Request] = []
        self.errors: list[BaseException] = []
        self.bytes_sent = self.connections_made = self.at_once = self.most_at_once = 0
        self.started = time.time()
        self.stopping = threading.Event()
        self.lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.connections: set[socket.socket] = set()

    def __enter__(self) -> StandIn:
        self.server = _Server(("127.0.0.1", 0), _Connection)
        self.server.stand_in = self
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, kind, error, traceback) -> None:
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()
        with self.lock:
            for connection in self.connections:
                _hang_up(connection)
        if self.errors and error is None:
            raise self.errors[0]

    def asked(self, path: str) -> list[Request]:
        """The requests for this path so far."""
        with self.lock:
            return [request for request in self.requests if request.path == path]

    def note(self, request: Request) -> Fault | None:
        """Write the request down, and take the fault that happens to it."""
        with self.lock:
            self.requests.append(request)
            count = self.counts[request.path]
            self.counts[request.path] += 1
            if request.path.startswith((_LOOP, _MOVED)):
                return None
            for fault in self.faults:
                if fault.applies(request) and (drawn := fault.drawn(request.path, count)):
                    fault.used += 1
                    return drawn if drawn is fault or drawn.applies(request) else None
        return None

    def busy(self, change: int) -> None:
        with self.lock:
            self.at_once += change
            self.most_at_once = max(self.most_at_once, self.at_once)

    def sent(self, length: int) -> None:
        with self.lock:
            self.bytes_sent += length


def serve_folder(root: Path | Mapping[str, Path]) -> Callable[[Request], Response]:
    """A handler for the files below a folder, or below several by prefix of the path (the longest first); else 404."""
    folders = {"": Path(root)} if isinstance(root, (str, Path)) else {key.strip("/"): Path(root[key]) for key in root}
    folders = dict(sorted(folders.items(), key=lambda item: -len(item[0])))

    def handler(request: Request) -> Response:
        path = request.path.strip("/")
        for prefix, folder in folders.items():
            if not prefix or path.startswith(prefix + "/"):
                file = folder / path[len(prefix) :].strip("/")
                if file.is_file() and file.resolve().is_relative_to(folder.resolve()):
                    return Response(body=file)
                break
        return Response(404, {"Content-Type": "text/html"}, b"<html><body>404 Not Found</body></html>")

    return handler


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    stand_in: StandIn

    def handle_error(self, request, client_address) -> None:
        """A client that has gone is what the tests are about: no word about it."""


def _hang_up(connection: socket.socket, reset: bool = False) -> None:
    try:
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        else:
            connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # already closed by the other side


class _Connection(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        with self.server.stand_in.lock:
            self.server.stand_in.connections.add(self.connection)
            self.server.stand_in.connections_made += 1

    def finish(self) -> None:
        with self.server.stand_in.lock:
            self.server.stand_in.connections.discard(self.connection)
        super().finish()

    def log_message(self, *_) -> None:
        """No lines on standard error."""

    def answer(self) -> None:
        stand_in = self.server.stand_in
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        request = Request(self.command, unquote(parts.path), query, self.headers, body)
        fault = stand_in.note(request)
        stand_in.busy(1)
        try:
            self.respond(request, fault)
        except OSError:
            self.close_connection = True  # the client has gone
        finally:
            stand_in.busy(-1)

    do_GET = do_HEAD = do_POST = do_DELETE = answer

    def respond(self, request: Request, fault: Fault | None) -> None:
        kind, options = (fault.kind, fault.options) if fault else ("", {})
        if request.path.startswith(_LOOP) or kind == "redirect_loop":
            turn = int(request.path.split("/")[2]) + 1 if request.path.startswith(_LOOP) else 0
            self.send(request, Response(302, {"Location": f"{_LOOP}/{turn}"}))
            return
        if kind == "redirect":
            self.send(request, Response(302, {"Location": options.get("to", _MOVED + self.path)}))
            return
        if kind == "status":
            headers = {"Content-Type": "text/html"}
            if "retry_after" in options:
                wait = options["retry_after"]
                headers["Retry-After"] = formatdate(time.time() + wait, usegmt=True) if options.get("as_date") else wait
            self.send(request, Response(options["status"], headers, HTML))
            return
        if kind == "html":
            headers = {"Content-Type": options.get("content_type", "text/html")}
            self.send(request, Response(headers=headers, body=HTML))
            return
        if request.path.startswith(_MOVED):
            request = Request(
                request.method, request.path.removeprefix(_MOVED), request.query, request.headers, request.body
            )
        try:
            response = self.server.stand_in.handler(request)
        except Exception as error:  # a fault of the test's own handler: told when the server is left
            self.server.stand_in.errors.append(error)
            response = Response(500, {}, repr(error).encode())
        self.send(request, response, fault)

    def send(self, request: Request, response: Response, fault: Fault | None = None) -> None:
        """Status line, headers and body, with the faults that concern them."""
        kind, options = (fault.kind, fault.options) if fault else ("", {})
        body, status, headers = response.body, response.status, {"Content-Type": "application/octet-stream"}
        size = body.stat().st_size if isinstance(body, Path) else len(body)
        start, stop = 0, size
        if status == 200 and request.method in ("GET", "HEAD"):
            headers |= self.validators(body) | {"Accept-Ranges": "bytes"} | response.headers
            wanted = None if kind == "ignore_range" else self.wanted(request, headers, size)
            if wanted is not None and wanted[0] >= wanted[1]:
                status, (start, stop) = 416, (0, 0)
                headers["Content-Range"] = f"bytes */{size}"
            elif wanted is not None:
                status, (start, stop) = 206, wanted
                start = min(start + (options.get("shift", 1) if kind == "shifted_range" else 0), stop)
                headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        else:
            headers |= response.headers
        content = _part(body, start, stop)
        if kind == "wrong_length":
            change = options["change"]
            content = content + b"\0" * change if change > 0 else content[: max(len(content) + change, 0)]
        if kind == "flip" and content:
            changed = bytearray(content)
            changed[random.Random(options.get("seed", 0)).randrange(len(content))] ^= 1 << (options.get("seed", 0) % 8)
            content = bytes(changed)
        if kind == "unsized":
            headers["Connection"] = "close"
            self.close_connection = True
        else:
            headers["Content-Length"] = str(len(content))
        end = fault.place(len(content)) if kind in ("drop", "stall") else len(content)
        if kind == "unsized":
            end = options.get("at", end)
        if end >= 0:
            self.send_response(status)
            for name, value in headers.items():
                if value != "":
                    self.send_header(name, str(value))
            self.end_headers()
            if request.method != "HEAD":
                self.send_body(content[:end], options.get("rate") if kind == "slow" else None)
        if kind == "stall":
            self.wait_for_leave(options.get("seconds", 60.0))
        if kind in ("drop", "stall"):
            self.close_connection = True
            _hang_up(self.connection, options.get("reset", False))

    def validators(self, body: bytes | Path) -> dict[str, str]:
        if isinstance(body, Path):
            state = body.stat()
            return {
                "ETag": f'"{state.st_mtime_ns:x}-{state.st_size:x}"',
                "Last-Modified": formatdate(state.st_mtime, usegmt=True),
            }
        return {
            "ETag": f'"{hashlib.sha1(body).hexdigest()}"',
            "Last-Modified": formatdate(self.server.stand_in.started, usegmt=True),
        }

    @staticmethod
    def wanted(request: Request, headers: Mapping[str, str], size: int) -> tuple[int, int] | None:
        """First byte and the one after the last of a Range request; None where the whole is to be sent."""
        found = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", ""))
        if request.method != "GET" or found is None or found[0] == "bytes=-":
            return None
        validator = request.headers.get("If-Range")
        if validator is not None and validator.startswith(('"', "W/")):
            if validator.startswith("W/") or validator != headers.get("ETag"):
                return None
        elif validator is not None:
            modified = headers.get("Last-Modified")
            if not modified or parsedate_to_datetime(validator) != parsedate_to_datetime(modified):
                return None
        if not found[1]:
            return max(size - int(found[2]), 0), size
        return int(found[1]), min(int(found[2]) + 1, size) if found[2] else size

    def send_body(self, content: bytes, rate: float | None) -> None:
        step = 65536 if rate is None else max(int(rate / 50), 1)
        for start in range(0, len(content), step):
            piece = content[start : start + step]
            self.wfile.write(piece)
            self.server.stand_in.sent(len(piece))
            if rate is not None and self.server.stand_in.stopping.wait(len(piece) / rate):
                raise ConnectionAbortedError("the server stops")

    def wait_for_leave(self, seconds: float) -> None:
        """Wait until the client hangs up, the server stops or the time is over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.server.stand_in.stopping.is_set():
            readable, _, _ = select.select([self.connection], [], [], 0.02)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                return


def _part(body: bytes | Path, start: int, stop: int) -> bytes:
    if isinstance(body, bytes):
        return body[start:stop]
    with open(body, "rb") as handle:
        handle.seek(start)
        return handle.read(stop - start)
