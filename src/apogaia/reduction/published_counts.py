"""Comparison of a full run's numbers of stars with those of the published analysis."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from astropy.table import Table

from apogaia.survey import Survey

__all__ = ["CountsError", "check_counts"]

COUNTED = ("rows", "with_parallax_and_ks", "training", "test")


class CountsError(ValueError):
    """Too few or too many stars; the message says which and how many."""


def check_counts(numbers: Mapping[str, int], survey: Survey, *, limit: int | None = None) -> Table | None:
    """Compare numbers of stars with those that the survey file states; None if the survey asserts none.

    Parameters
    ----------
    numbers
        Numbers of stars: "rows" of allStar, "with_parallax_and_ks", "training" and "test".
    limit
        Of the fetch, if only so many stars were fetched: then only the rows are compared.

    Returns
    -------
    Table
        Columns quantity, found, published, difference (relative).

    Raises
    ------
    CountsError
        If the rows differ at all, or another number by more than `counts.tolerance`.
    """
    expected = survey.counts
    if not expected.asserted:
        return None
    names = COUNTED if limit is None else COUNTED[:1]
    found = np.array([numbers[name] for name in names])
    published = np.array([getattr(expected, name) for name in names])
    difference = found / published - 1
    table = Table({"quantity": names, "found": found, "published": published, "difference": difference})
    table["difference"].info.format = "+.4f"
    wrong = np.abs(difference) > np.where(np.array(names) == "rows", 0, expected.tolerance)
    if wrong.any():
        said = ", ".join(f"{row['quantity']}: {row['found']} instead of {row['published']}" for row in table[wrong])
        raise CountsError(
            f"survey {survey.name}: {said}. Stars are missing, or cuts differ: see the table of cuts, and"
            f" {survey.name}'s raw/manifest.json; for cuts of your own set counts.asserted = false in the survey file"
        )
    return table
