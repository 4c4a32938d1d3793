"""Are a survey's stars sufficient for the models? If not, it is refused before any training."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from apogaia.arguments.takes import takes
from apogaia.formats.stars_h5_columns import star_columns
from apogaia.model.training_domain import MIN_STARS
from apogaia.reduction import quality_cuts
from apogaia.survey import Survey
from apogaia.zero_point.refit_zero_point import has_corrected_k0, usable

__all__ = ["SampleError", "check_refit", "check_samples", "check_stars", "parallax_spread", "without_multivariate"]

FIXED = (
    "or fix the zero point in section [calibration] of the survey file: zero_point = 'fixed', fixed_zero_point (such"
    " as '-52.3 uas') and fixed_zero_point_error (such as '2 uas')"
)


class SampleError(ValueError):
    """Stars unsuitable for training or calibration; the message names the remedy."""


@takes(table=star_columns())
def check_samples(survey: Survey, table: Table) -> None:
    """Refuse a survey whose stars are unsuitable for training, tests or calibration.

    Parameters
    ----------
    survey
        Its sections ``cuts``, ``training`` and ``calibration`` are used.
    table
        All rows of its stars.h5.

    Raises
    ------
    SampleError
        If training or test set has too few stars, or the refit of the zero point would not be one: no star has an
        extinction, all are towards the bar, those left are fewer than ``calibration.min_stars``, or are all at much the
        same distance (``calibration.min_parallax_spread``).
    """
    samples = quality_cuts.select(table, survey)
    if not (_can_train(survey, len(samples.training)) and len(samples.test)):
        raise SampleError(_why_too_few(survey, table, samples))
    if survey.calibration.zero_point == "refit":
        check_refit(survey, table)


@takes(table=star_columns())
def check_refit(survey: Survey, table: Table) -> None:
    """Refuse a refit of the zero point for which the training and test stars of stars.h5 are unsuitable.

    Raises
    ------
    SampleError
        See `check_samples`.
    """
    samples = quality_cuts.select(table, survey)
    check_stars(survey, table[np.sort(np.concatenate([samples.training, samples.test]))])


@takes(star=star_columns())
def check_stars(survey: Survey, star: Table) -> None:
    """Refuse a refit of the zero point for which these rows of stars.h5, whatever their sample, are unsuitable.

    Raises
    ------
    SampleError
        See `check_samples`.
    """
    settings, name = survey.calibration, survey.name
    known, chosen = has_corrected_k0(star), usable(survey, star)
    placed = np.isfinite(np.asarray(star["glon"], float)) & np.isfinite(np.asarray(star["glat"], float))
    if not known.any():
        raise SampleError(
            f"{name}: none of {len(star)} training and test stars has an extinction, without which the zero point"
            f" cannot be fitted: fill AK_TARG of allStar (0 for a star without dust), {FIXED}"
        )
    if not placed.any():
        raise SampleError(
            f"{name}: none of {len(star)} training and test stars has Galactic coordinates, which the fit of the zero"
            f" point needs: add GLON and GLAT (deg) to allStar, {FIXED}"
        )
    if not chosen.any():
        raise SampleError(
            f"{name}: all {np.sum(known & placed)} stars with an extinction are towards the bar, within"
            f" {settings.min_abs_glon:g} deg of the Galactic centre's longitude (calibration.min_abs_glon), where the"
            f" fit of the zero point is biased: add stars elsewhere, {FIXED}"
        )
    if chosen.sum() < settings.min_stars:
        raise SampleError(
            f"{name}: {chosen.sum()} of {len(star)} training and test stars can calibrate the zero point (extinction"
            f" known, {settings.min_abs_glon:g} deg or more from the Galactic centre's longitude), fewer than the"
            f" {settings.min_stars} (calibration.min_stars) below which the fit misses by more than it states"
            f" (docs/closure.md): add stars, {FIXED}"
        )
    spread = parallax_spread(star[chosen])
    if spread < settings.min_parallax_spread:
        raise SampleError(
            f"{name}: the parallaxes of {chosen.sum()} usable stars spread by {spread:.2f} of their median, less than"
            f" {settings.min_parallax_spread:g} (calibration.min_parallax_spread): from stars at nearly the same"
            f" distance the zero point and the luminosities cannot be separated: add nearer and farther stars, {FIXED}"
        )


@takes(star=star_columns())
def parallax_spread(star: Table) -> float:
    """Spread of the true parallaxes over their median: half the central 68 %, less Gaia's errors; NaN of none."""
    parallax, error = (np.asarray(star[name], float) for name in ("parallax", "parallax_error"))
    if not len(parallax):
        return float("nan")
    low, median, high = np.percentile(parallax, [16, 50, 84])
    return float(np.sqrt(max(0.0, (0.5 * (high - low)) ** 2 - np.median(error) ** 2)) / abs(median))


@takes(table=star_columns())
def without_multivariate(survey: Survey, table: Table) -> str:
    """Why the model with a zero point of G, BP-RP and Teff is left out; empty if the stars of stars.h5 suffice."""
    samples = quality_cuts.select(table, survey)
    n, star = len(samples.training_multivariate), table[samples.training]
    if _can_train(survey, n):
        return ""
    inputs = {"G": "g_mag", "BP-RP": "bp_rp", "Teff": "teff"}
    absent = [label for label, name in inputs.items() if not np.isfinite(np.asarray(star[name], float)).any()]
    why = (
        f"no training star has {' or '.join(absent)}"
        if absent
        else f"{n} of {len(star)} training stars have G, BP-RP, Teff and a parallax precise enough, {MIN_STARS} and"
        " some more for validation are needed"
    )
    return f"Left out: the model whose zero point depends on G, BP-RP and Teff ({why}). All else is made."


def _can_train(survey: Survey, n: int) -> bool:
    """Whether n stars can be split, and leave enough to tell what is unlike them."""
    validation = round(n * survey.training.validation_fraction)
    return validation > 0 and n - validation >= MIN_STARS


def _why_too_few(survey: Survey, table: Table, samples: quality_cuts.Samples) -> str:
    """What left too few stars to the training or the test set, and the remedy."""
    flow = quality_cuts.cut_flow(table, survey)
    shared = flow[flow["sample"] == "all"]
    if not shared["surviving"][-1]:
        last = shared[np.flatnonzero(shared["surviving"] == 0)[0]]
        return (
            f"{survey.name}: no star passes the quality cuts; the last {last['removed']} of {len(table)} fail"
            f" '{last['name']}' ({last['reason']}): look at notebook 01, mend the tables, or change [cuts] of the"
            " survey file"
        )
    passed = np.logical_and.reduce([cut.keep(table) for cut in quality_cuts.cuts(survey)])
    snr = np.asarray(table["snr"], float)[passed]
    known = snr[np.isfinite(snr)]
    spread = f"from {known.min():.4g} to {known.max():.4g}" if len(known) else "unknown"
    return (
        f"{survey.name}: {len(samples.training)} stars train and {len(samples.test)} test, but {MIN_STARS} and some"
        f" more for validation are needed to train, and one to test: stars with an SNR above snr_split ="
        f" {survey.cuts.snr_split:g} train, those below test, and the SNR of the {passed.sum()} stars that pass all"
        f" cuts is {spread}: choose snr_split in section [cuts] of the survey file between them, or add stars"
    )
