"""What notebook 09 found: how other distances of the same stars compare."""

from __future__ import annotations

from collections.abc import Mapping

from apogaia.findings.sentences import found, known
from apogaia.survey import Survey

__all__ = ["comparisons"]


def comparisons(survey: Survey, compared: Mapping[str, Mapping]) -> str:
    """Markdown sentences from the results of notebook 09, by catalogue."""
    offsets = {
        one["second"]: one["median_offset_percent"]
        for one in compared.values()
        if "second" in one and known(one.get("median_offset_percent"))
    }
    if not offsets:
        return found(survey, "No other catalogue of distances could be compared.")
    low, high = (pick(offsets, key=lambda name: offsets[name]) for pick in (min, max))
    ends = f"{offsets[low]:+.1f} % ({low}) to {offsets[high]:+.1f} % ({high})"
    return found(
        survey,
        f"Catalogues that could be compared: {len(offsets)}. Our distances differ from theirs in the median by {ends}.",
        _truth(compared),
    )


def _truth(compared: Mapping[str, Mapping]) -> str:
    sigmas = [one["against_truth"].get("offset_sigma") for one in compared.values() if "against_truth" in one]
    sigmas = [abs(sigma) for sigma in sigmas if known(sigma)]
    if not sigmas:
        return ""
    return (
        f"The offsets that were put into the simulated catalogues come back within two errors for"
        f" {sum(sigma < 2 for sigma in sigmas)} of {len(sigmas)}."
    )
