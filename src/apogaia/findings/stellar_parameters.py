"""What notebook 06 found: how well the labels come back."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from apogaia.findings.sentences import found, known
from apogaia.survey import Survey

__all__ = ["stellar_parameters"]


def stellar_parameters(survey: Survey, numbers: Mapping) -> str:
    """Markdown sentences from the results of notebook 06."""
    recovery = {name: row for name, row in numbers["recovery"].items() if known(row["scatter"], row["coverage"])}
    reference = "the truth" if numbers["compared_with"] == "truth" else numbers["compared_with"]
    if not recovery:
        return found(survey, "No test star has labels to compare with.")
    elements = {name: row for name, row in recovery.items() if name.endswith("_h") and name != "fe_h"}
    units = {"teff": ("Teff", "K", ".0f"), "logg": ("log g", "dex", ".3f"), "fe_h": ("[Fe/H]", "dex", ".3f")}
    parts = [
        f"{label} {recovery[name]['scatter']:{form}} {unit}"
        for name, (label, unit, form) in units.items()
        if name in recovery
    ]
    if elements:
        parts.append(f"{median(row['scatter'] for row in elements.values()):.3f} dex in the median of the abundances")
    coverage = [row["coverage"] for row in recovery.values()]
    return found(
        survey,
        f"{numbers['gradient_stars']:,} stars teach 22 labels. Of {numbers['test_stars_above_snr_100']:,} test stars of"
        f" SNR above 100 the labels scatter about {reference} by: {', '.join(parts)}.",
        f"Stated errors hold {reference} for {100 * min(coverage):.0f} to {100 * max(coverage):.0f} % of them, label by"
        " label, where 68 % is right.",
    )
