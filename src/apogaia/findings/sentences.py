"""What the sentences of all notebooks share: the caveat of a test run, and numbers that may be unknown."""

from __future__ import annotations

import math
from collections.abc import Iterable

from apogaia.survey import Survey

__all__ = ["found", "in_errors", "known", "listed"]


def found(survey: Survey, *sentences: str) -> str:
    """Markdown of the sentences that are not empty, with a caveat if the survey is a test run.

    Parameters
    ----------
    survey
        Whose numbers these are; those of a test run mean nothing.
    sentences
        Each complete; empty ones are left out.
    """
    said = [sentence for sentence in sentences if sentence]
    simulation = survey.simulation
    if survey.is_test_run and simulation is not None:
        said.append(
            f"This is a test run of {simulation.n_stars:,} simulated stars: it shows that the code runs, and **its"
            " numbers mean nothing**."
        )
    return " ".join(["**Found.**", *said])


def known(*values) -> bool:
    """Whether all values are finite numbers: results of empty samples are None or NaN."""
    return all(value is not None and math.isfinite(value) for value in values)


def in_errors(difference: float, error: float) -> str:
    """A difference in units of its error, as in "2.1 times its error"; empty if there is no error."""
    return f"{abs(difference) / error:.1f} times its error" if known(error) and error > 0 else "with no error known"


def listed(parts: Iterable[str]) -> str:
    """One, two and three."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
