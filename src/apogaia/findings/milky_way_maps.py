"""What notebook 07 found: [Fe/H] with Galactocentric radius."""

from __future__ import annotations

from collections.abc import Mapping

from apogaia.findings.sentences import found, known
from apogaia.survey import Survey

__all__ = ["milky_way_maps"]


def milky_way_maps(survey: Survey, numbers: Mapping) -> str:
    """Markdown sentences from the results of notebook 07."""
    by_radius = {name: value for name, value in numbers["median_fe_h_by_radius"].items() if known(value)}
    stars = f"{numbers['stars']['fe']:,} stars near the plane pass the cuts of the map."
    if not by_radius:
        return found(survey, stars, "They are too few for a median [Fe/H] at any radius.")
    ordered = sorted(by_radius, key=lambda name: float(name.partition("-")[0]))
    peak = max(by_radius, key=lambda name: by_radius[name])
    ends = f"{by_radius[ordered[0]]:+.2f} at {ordered[0]} and {by_radius[ordered[-1]]:+.2f} at {ordered[-1]}"
    return found(
        survey,
        f"{stars} Their median [Fe/H] is highest at {peak} from the Galactic centre ({by_radius[peak]:+.2f} dex); it is"
        f" {ends}.",
        _truth(numbers.get("map_against_truth", {})),
    )


def _truth(against: Mapping) -> str:
    if not known(against.get("median_difference"), against.get("scatter")):
        return ""
    return (
        f"Bin by bin the map differs from that of the true distances and abundances by"
        f" {against['median_difference']:+.3f} dex in the median, with a scatter of {against['scatter']:.3f} dex"
        f" ({against['bins']} bins)."
    )
