"""What notebook 04 found: how many stars have a distance, how precise, and how true."""

from __future__ import annotations

from collections.abc import Mapping

from apogaia.findings.sentences import found, known
from apogaia.survey import Survey

__all__ = ["inference_catalogue"]


def inference_catalogue(survey: Survey, numbers: Mapping) -> str:
    """Markdown sentences from the results of notebook 04."""
    return found(
        survey,
        f"{numbers['with_distance']:,} of {numbers['stars']:,} rows have a distance,"
        f" {numbers['within_10_percent']:,} of them with a model error below 10 %; {numbers['outside_training_set']:,}"
        " are flagged as unlike the training stars.",
        _gaia(numbers["distance_against_gaia"].get("giants", {})),
        _truth(numbers.get("truth", {})),
    )


def _gaia(giants: Mapping) -> str:
    if not known(giants.get("median_offset_percent"), giants.get("robust_scatter_percent")):
        return "No test giant has a Gaia parallax sharp enough for a comparison."
    offset, scatter = giants["median_offset_percent"], giants["robust_scatter_percent"]
    side = "longer" if offset > 0 else "shorter"
    return (
        f"Of {giants['stars']:,} test giants with sharp parallaxes the network's distances are {abs(offset):.1f} %"
        f" {side} than Gaia's in the median, with a scatter of {scatter:.1f} %."
    )


def _truth(truth: Mapping) -> str:
    names = ("median_offset_percent", "robust_scatter_percent", "coverage_68", "weighted_robust_scatter_percent")
    if not known(*(truth.get(name) for name in names)):
        return ""
    return (
        f"Against the true distances of {truth['stars']:,} test stars the median offset is"
        f" {truth['median_offset_percent']:+.1f} % and the scatter {truth['robust_scatter_percent']:.1f} %"
        f" ({truth['weighted_robust_scatter_percent']:.1f} % together with Gaia's parallax); the stated error holds the"
        f" truth for {100 * truth['coverage_68']:.0f} % of them, where 68 % is right."
    )
