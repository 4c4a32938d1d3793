"""What real archives do to their clients, for the stand-in server of the tests to do on purpose."""

from __future__ import annotations

import random
import re

__all__ = ["Fault"]

_KINDS = (
    *("drop", "stall", "status", "redirect", "redirect_loop", "html", "wrong_length", "flip", "ignore_range"),
    *("shifted_range", "unsized", "slow", "random"),
)


class Fault:
    """Something that goes wrong with the next `times` requests (None: all) whose path has the regular expression.

    Kinds and their options, places and lengths in bytes of the body of this answer:

    - ``drop``: the connection ends after `at` bytes (-1: before the status line; default: half), or after a random
      number of them by `seed`; `reset=True` ends it by RST instead of FIN.
    - ``stall``: nothing more after `at` bytes (as above), until the client goes or `seconds` (60) are over.
    - ``status``: an answer with `status` and a short HTML page; `retry_after` in seconds, written as a date with
      `as_date=True`.
    - ``redirect``: to a place where the right answer is, or to `to`. ``redirect_loop``: without end.
    - ``html``: an HTML page with status 200 and `content_type` ("text/html").
    - ``wrong_length``: `change` bytes more or, below zero, fewer than there are, with a Content-Length that agrees.
    - ``flip``: one bit is wrong, a random one by `seed` (0).
    - ``ignore_range``: the whole with status 200 to a request with Range; leaves other requests alone.
    - ``shifted_range``: a 206 that begins `shift` (1) bytes later than asked; leaves other requests alone.
    - ``unsized``: no Content-Length; the body ends with the connection, after `at` bytes if given.
    - ``slow``: `rate` bytes per second.

    `method` limits a fault to requests of one method.
    """

    def __init__(self, match: str, kind: str, times: int | None = 1, method: str | None = None, **options):
        if kind not in _KINDS:
            raise ValueError(f"unknown fault {kind!r}: one of {', '.join(_KINDS)}")
        self.match, self.kind, self.times, self.method, self.options = re.compile(match), kind, times, method, options
        self.used = 0

    @classmethod
    def random(cls, seed: int, probability: float, stall: bool = True, match: str = "") -> Fault:
        """Each request meets a transient fault with this probability.

        Which one depends on the seed, the path and how often the path was asked for, not on the order of the threads.
        """
        return cls(match, "random", None, seed=seed, probability=probability, stall=stall)

    def applies(self, request) -> bool:
        """Whether it happens to this ``stand_in.Request``."""
        return (
            (self.times is None or self.used < self.times)
            and self.method in (None, request.method)
            and self.match.search(request.path) is not None
            and not (self.kind in ("ignore_range", "shifted_range") and "Range" not in request.headers)
        )

    def drawn(self, path: str, count: int) -> Fault | None:
        """The fault that this one stands for: itself, or by the dice of ``Fault.random``."""
        if self.kind != "random":
            return self
        dice = random.Random(f"{self.options['seed']} {path} {count}")
        if dice.random() >= self.options["probability"]:
            return None
        seed = dice.randrange(2**32)
        faults = [
            Fault("", "drop", seed=seed),
            Fault("", "drop", seed=seed, reset=True),
            Fault("", "drop", at=-1),
            Fault("", "status", status=dice.choice([500, 502, 503, 504])),
            Fault("", "status", status=429, retry_after=0),
            Fault("", "redirect"),
            Fault("", "html"),
            Fault("", "html", content_type="application/fits"),
            Fault("", "wrong_length", change=-dice.randrange(1, 100)),
            Fault("", "wrong_length", change=dice.randrange(1, 100)),
            Fault("", "flip", seed=seed),
            Fault("", "ignore_range"),
        ]
        if self.options["stall"]:
            faults.append(Fault("", "stall", seed=seed))
        return dice.choice(faults)

    def place(self, length: int) -> int:
        """Where a body of this length ends, in bytes; -1 before the status line."""
        if "seed" in self.options:
            return random.Random(self.options["seed"]).randrange(max(length, 1))
        return min(self.options.get("at", length // 2), length)
