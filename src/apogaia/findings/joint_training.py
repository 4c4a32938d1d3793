"""What notebook 02 found: how the trainings went, and which zero points they and the refit end with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from apogaia.findings.sentences import found, in_errors, known, listed
from apogaia.survey import Survey

__all__ = ["budget_rows", "curves_in_words", "joint_training", "refit_in_words"]

PARTS = {
    "residuals": "Gaia's errors and the scatter of luminosities: more stars lower it",
    "luminosities": "weights of the features: what their prior (ridge) leaves open",
    "drift": "drift of luminosities with distance at a given spectrum: what its prior leaves open",
    "density_share": "factor on the density's correction: what its prior leaves open",
    "slopes": "slopes and bends of the zero point in G, BP-RP and Teff: what their priors leave open",
    "neighbours": "errors of Gaia that stars of one part of the sky share",
    "density": "model of the density: a share (calibration.systematic_share) of what its correction moves",
    "bends": "bends of the zero point: the same share of what they move",
    "total": "quoted error of the mean zero point: all in quadrature",
}
QUANTITIES = {"g_mag": "G", "bp_rp": "BP-RP", "teff": "Teff", "k0_mag": "K0", "logg": "log g", "snr": "SNR"}
STILL_MOVING_UAS = 1.0  # of a constant offset, in the last tenth of the epochs


def curves_in_words(histories: Mapping[str, Mapping[str, Sequence[float]]], truth_uas: float | None = None) -> str:
    """Markdown sentences on learning curves.

    Parameters
    ----------
    histories
        As `apogaia.plots.learning_curves` takes them.
    truth_uas
        The injected constant offset [uas]; None where it is not known or no constant.
    """
    said = []
    last = {name: history["val_loss"][-1] for name, history in histories.items()}
    for name, history in histories.items():
        loss, best = history["val_loss"], min(history["val_loss"])
        risen = f", {loss[-1] - best:.3f} above its best" if loss[-1] - best > 0.01 else ""
        gap = loss[-1] - history["loss"][-1]
        said.append(
            f"- *{name}*: in {len(loss)} epochs the validation loss goes from {loss[0]:.3f} to {loss[-1]:.3f}{risen},"
            f" and ends {abs(gap):.3f} {'above' if gap > 0 else 'below'} the training loss."
        )
    lines, said = said, []
    if {"none", "constant"} <= last.keys():
        gain = last["none"] - last["constant"]
        tenth = max(1, len(histories["none"]["val_loss"]) // 10)
        late = [np.diff(histories[name]["val_loss"][-1 - tenth :]) for name in ("none", "constant")]
        changes = float(np.mean(np.abs(np.concatenate(late))))
        verdict = "these parallaxes ask for one" if gain > changes else "too little to ask for one"
        said.append(
            f"With a constant offset the validation loss is {'lower' if gain > 0 else 'higher'} by {abs(gain):.3f} per"
            f" star than without; from one late epoch to the next it changes by {changes:.3f}: {verdict}."
        )
    if offset := histories.get("constant", {}).get("offset"):
        tenth = max(1, len(offset) // 10)
        moved = 1000 * (offset[-1] - offset[-1 - tenth]) if len(offset) > tenth else float("nan")
        still = "still moves" if abs(moved) > STILL_MOVING_UAS else "hardly moves"
        last_epochs = f"{tenth} epochs" if tenth > 1 else "epoch"
        rate = histories["constant"].get("learning_rate", [1.0])
        slower = f", at a learning rate that has fallen to {rate[-1] / rate[0]:.2g} of the first"
        pace = f", where it {still} ({moved:+.1f} µas in the last {last_epochs}{slower})" if known(moved) else ""
        said.append(f"The constant offset ends at {1000 * offset[-1]:.1f} µas{pace}.")
        if truth_uas is not None:
            said.append(f"Injected were {truth_uas:.1f} µas: it is {1000 * offset[-1] - truth_uas:+.1f} µas off.")
    return "\n".join([*lines, "", " ".join(said)])


def budget_rows(calibration: Mapping) -> dict[str, list]:
    """Columns of the error budget's table from "calibration" of a model's provenance.

    Returns
    -------
    dict
        What the part is, its size [uas] and its share of the variance [%]; rows in the order of `PARTS`.
    """
    budget = calibration["error_budget_uas"]
    total = budget["total"] or 1.0
    return {
        "part of the error": [PARTS[name] for name in PARTS],
        "µas": [f"{budget[name]:.1f}" for name in PARTS],
        "of the variance [%]": [round(100 * (budget[name] / total) ** 2) for name in PARTS],
    }


def refit_in_words(calibration: Mapping, truth_uas: float | None = None) -> str:
    """Markdown sentences on the refit, from "calibration" of a model's provenance; a fixed zero point is called so.

    `truth_uas` is the injected constant zero point [uas], None where it is not known or no constant.
    """
    value, error = calibration["value_uas"], calibration["error_uas"]
    if calibration["fixed"]:
        return f"The survey file fixes the zero point at {value:.1f} ± {error:.1f} µas; nothing was fitted."
    budget = {name: part for name, part in calibration["error_budget_uas"].items() if name != "total"}
    largest = max(budget, key=lambda name: budget[name])

    def with_error(name: str) -> str:
        return f"{calibration[name.format('')]:.1f} ± {calibration[name.format('_error')]:.1f}"

    said = [
        f"{calibration['stars']:,} stars, {calibration['spectral_features']} features of their spectra and"
        f" {calibration['label_features']} of their labels give a mean of {value:.1f} ± {error:.1f} µas, with slopes of"
        f" {with_error('g_slope{}_uas_per_mag')} µas per mag of G and"
        f" {with_error('teff_slope{}_uas_per_1000_k')} µas per 1000 K. The largest part of"
        f" the error is {budget[largest]:.1f} µas ({PARTS[largest].partition(':')[0]}).",
        f"The correction for the density, with the factor {calibration['density_share']:.2f} ±"
        f" {calibration['density_share_error']:.2f} that the parallaxes find for it, moves the mean by"
        f" {value - calibration['without_density_uas']:+.1f} µas.",
        _bends_in_words(calibration),
        _residuals_in_words(calibration["residuals"]),
    ]
    if truth_uas is not None:
        off = value - truth_uas
        said.append(f"Injected were {truth_uas:.1f} µas: the refit is {off:+.1f} µas off, {in_errors(off, error)}.")
    return " ".join(filter(None, said))


def _bends_in_words(calibration: Mapping) -> str:
    """Whether the zero point bends in G and BP-RP; empty where that could not be asked."""
    evidence = calibration["bends_log_evidence"]
    if not known(evidence):
        return ""
    asked = f"ln of the evidence ratio for bends of the zero point in G and BP-RP is {evidence:.1f}"
    if not calibration["bends"]:
        return f"The zero point is fitted without bends ({asked})."
    moved = calibration["value_uas"] - calibration["without_bends_uas"]
    return f"The zero point bends ({asked}), which moves its mean by {moved:+.1f} µas."


def _residuals_in_words(residuals: Mapping[str, Sequence[Mapping]]) -> str:
    """How many bins of the residuals are off, and of which quantities; empty without residuals."""
    beyond = {
        name: sum(abs(one["mean_uas"]) > 2 * one["error_uas"] for one in bins) for name, bins in residuals.items()
    }
    pulls = [abs(one["mean_uas"] / one["error_uas"]) for bins in residuals.values() for one in bins]
    if not pulls:
        return ""
    where = listed([f"{n} in {QUANTITIES.get(name, name)}" for name, n in beyond.items() if n])
    return (
        f"Residuals beyond two errors: {sum(beyond.values())} of {len(pulls)} bins, where chance gives"
        f" {0.0455 * len(pulls):.0f}; the largest is {max(pulls):.1f} errors."
        + (f" They are {where}; the quoted error does not grow with them." if where else "")
    )


def joint_training(survey: Survey, numbers: Mapping, calibration: Mapping, truth_uas: float | None = None) -> str:
    """Markdown sentences with which notebook 02 ends.

    Parameters
    ----------
    survey
        The survey.
    numbers
        Results of notebook 02: per model the values after the last epoch.
    calibration
        As in `refit_in_words`.
    truth_uas
        As in `refit_in_words`.
    """
    trained = [name for name in ("none", "constant", "multivariate") if "val_loss" in numbers.get(name, {})]
    losses = listed([f"{numbers[name]['val_loss']:.2f} ({name})" for name in trained if name != "multivariate"])
    held_out = numbers["constant"]["validation_stars"]
    stars = numbers["constant"]["gradient_stars"] + held_out
    joint, refit = 1000 * numbers["constant"]["offset"], calibration["value_uas"]
    ends = "the survey file states" if calibration["fixed"] else "the refit gives"
    against = ""
    if truth_uas is not None:
        against = (
            f" Injected were {truth_uas:.1f} µas: the first is {joint - truth_uas:+.1f} µas off, the second"
            f" {refit - truth_uas:+.1f} µas."
        )
    return found(
        survey,
        f"{stars:,} stars, {held_out:,} of them held out, train luminosity and zero point together; the validation"
        f" losses are {losses}.",
        f"The joint training ends with a constant zero point of {joint:.1f} µas, and {ends} {refit:.1f} ±"
        f" {calibration['error_uas']:.1f} µas, on which catalogue and maps rest by default.{against}",
        numbers.get("multivariate", {}).get("left_out", ""),
    )
