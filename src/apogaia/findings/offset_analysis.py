"""What notebook 03 found: the zero point, what it depends on, and how far it is from the truth or the literature."""

from __future__ import annotations

from collections.abc import Mapping

from apogaia.findings.sentences import found, in_errors, known
from apogaia.survey import Survey

__all__ = ["offset_analysis"]


def offset_analysis(survey: Survey, results: Mapping) -> str:
    """Markdown sentences from the results of notebook 03."""
    joint, refit = results["constant"], results["calibrated"]
    how = "the survey file fixes it at" if refit["fixed"] else "the refit finds"
    return found(
        survey,
        f"As a constant, the paper's recipe finds {joint['value_uas']:.1f} ± {joint['error_uas']:.1f} µas, and {how}"
        f" {refit['value_uas']:.1f} ± {refit['error_uas']:.1f} µas.",
        _against_truth(joint, refit, results["injected_uas"]) if "injected_uas" in results else _published(results),
        _dependence(refit, results.get("multivariate", {})),
    )


def _against_truth(joint: Mapping, refit: Mapping, injected: float) -> str:
    first, second = joint["value_uas"] - injected, refit["value_uas"] - injected
    return (
        f"The test stars' injected mean is {injected:.1f} µas: they are {first:+.1f} µas off,"
        f" {in_errors(first, joint['error_uas'])}, and {second:+.1f} µas, {in_errors(second, refit['error_uas'])}."
    )


def _published(results: Mapping) -> str:
    sigmas = [one["sigma"] for one in results.get("published", []) if known(one["sigma"])]
    if not sigmas:
        return ""
    near = sum(abs(sigma) < 2 for sigma in sigmas)
    return f"Of {len(sigmas)} published zero points of these parallaxes {near} are within two errors of the second."


def _dependence(refit: Mapping, multivariate: Mapping) -> str:
    said = []
    slope, error = refit.get("g_slope_uas_per_mag"), refit.get("g_slope_error_uas_per_mag")
    if known(slope, error):
        said.append(f"With G the refit's changes by {slope:+.1f} ± {error:.1f} µas per mag.")
    if "mean_uas" in multivariate:
        off = multivariate.get("rms_against_truth_uas")
        truth = f", with an rms of {off:.0f} µas about the truth star by star" if known(off) else ""
        said.append(
            f"The multivariate network's mean over the test stars is {multivariate['mean_uas']:.1f} µas{truth}."
        )
    return " ".join(said)
