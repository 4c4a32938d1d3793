"""What notebook 01 found: how many stars train and test, and what the cuts take."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from apogaia.findings.sentences import found
from apogaia.survey import Survey

__all__ = ["data_reduction"]


def data_reduction(survey: Survey, numbers: Mapping) -> str:
    """Markdown sentences from the results of notebook 01; its cuts are in the order in which they are made."""
    shared = [(name, left) for name, left in numbers["surviving"].items() if name.startswith("all: ")]
    cuts = [(before[1] - after[1], after[0]) for before, after in pairwise(shared)]
    taken, largest = max(cuts, default=(0, ""))
    return found(
        survey,
        f"Of {numbers['stars']:,} rows of allStar {numbers['with_spectrum']:,} have a usable spectrum and"
        f" {numbers['with_parallax_and_ks']:,} a parallax and a Ks magnitude; {numbers['training']:,} stars are left"
        f" for the training set and {numbers['test']:,} for the test set.",
        f"Of the shared cuts, “{largest.removeprefix('all: ')}” takes most ({taken:,} stars)." if taken else "",
        f"Negative parallaxes stay: {numbers['negative_training']:,} in the training and"
        f" {numbers['negative_test']:,} in the test set.",
    )
