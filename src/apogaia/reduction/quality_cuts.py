"""Which stars are for training and which for testing: the quality cuts, as a named table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from apogaia.arguments.takes import takes
from apogaia.formats.apstar import Status
from apogaia.formats.stars_h5_columns import star_columns
from apogaia.physics import luminosity
from apogaia.survey import Survey

__all__ = ["Cut", "Samples", "cut_flow", "cuts", "select"]


@dataclass(frozen=True)
class Cut:
    """Stars for which `keep(table)` is true survive; `reason` says why the others are removed."""

    name: str
    reason: str
    keep: Callable[[Table], np.ndarray]


@dataclass(frozen=True)
class Samples:
    """Rows of stars.h5, ascending; training and test share no star."""

    training: np.ndarray
    test: np.ndarray
    training_multivariate: np.ndarray  # part of `training`


def cuts(survey: Survey) -> tuple[Cut, ...]:
    """List the cuts that training and test set share (section 3.3), without those whose limit is infinite."""
    limits = survey.cuts

    def below(column: str, limit: float, reason: str, unit: str = "") -> list[Cut]:
        if not np.isfinite(limit):
            return []
        return [Cut(f"{column} < {limit:g} {unit}".strip(), reason, lambda table: _values(table, column) < limit)]

    def at_most(column: str, limit: float, reason: str) -> list[Cut]:
        if not np.isfinite(limit):
            return []
        return [Cut(f"{column} <= {limit:g}", reason, lambda table: _values(table, column) <= limit)]

    def bright_or_negative(table: Table) -> np.ndarray:
        bright = _values(table, "log_luminosity") > limits.min_log_luminosity
        return bright | (_values(table, "parallax") < 0)

    needed = []
    if limits.needs_extinction:
        needed.append(Cut("A_Ks", "no extinction", lambda table: luminosity.has_extinction(_values(table, "a_k_mag"))))
    if survey.sources.parallax_zero_point != "none":
        needed.append(
            Cut(
                "zero point",
                "Gaia's solution lies outside what the zero point is known for",
                lambda table: _finite(table, "parallax_zero_point"),
            )
        )
    chosen = [
        Cut(
            "parallax",
            "no Gaia source with a parallax within the match radius",
            lambda table: _finite(table, "parallax") & (_values(table, "parallax_error") > 0),
        ),
        *below("parallax_error", limits.max_parallax_error, "parallax too uncertain", "mas"),
        Cut("Ks", "no Ks magnitude", lambda table: _finite(table, "k0_mag")),
        *needed,
        Cut(
            f"visibility_periods_used > {limits.min_visibility_periods}",
            "too few epochs for a reliable parallax",
            lambda table: _values(table, "visibility_periods_used") > limits.min_visibility_periods,
        ),
        *below("ruwe", limits.max_ruwe, "Gaia's single-star model fits badly"),
        *at_most("ipd_frac_multi_peak", limits.max_ipd_frac_multi_peak, "a blend or a resolved binary"),
        *below("ipd_gof_harmonic_amplitude", limits.max_ipd_gof_harmonic_amplitude, "an asymmetric image"),
        Cut("spectrum", "no usable spectrum", lambda table: _values(table, "status") == Status.OK),
        *below("v_scatter", limits.max_v_scatter, "a binary, or a spectrum smeared by one", "km/s"),
        Cut("STARFLAG == 0", "flagged by APOGEE", lambda table: _values(table, "starflag") == 0),
    ]
    if np.isfinite(limits.min_log_luminosity):
        chosen.append(
            Cut(
                f"log L > {limits.min_log_luminosity:g} or parallax < 0",
                "too faint to be seen at large distances",
                bright_or_negative,
            )
        )
    return tuple(chosen)


@takes(table=star_columns())
def cut_flow(table: Table, survey: Survey) -> Table:
    """How many stars survive each cut, one after the other.

    Returns
    -------
    Table
        Columns sample ("all" for the shared cuts, then "training", "training_multivariate" and "test", each of which
        continues from the stars that its parent left), name, reason, surviving, removed.
    """
    return _apply(table, survey)[1]


@takes(table=star_columns())
def select(table: Table, survey: Survey) -> Samples:
    """Select the training and the test set, as rows of `table` (a stars.h5 table)."""
    kept, _ = _apply(table, survey)
    return Samples(**{name: np.flatnonzero(kept[name]) for name in ("training", "test", "training_multivariate")})


def _apply(table: Table, survey: Survey) -> tuple[dict[str, np.ndarray], Table]:
    flow = [("all", "all stars", "rows of allStar", len(table), 0)]

    def run(sample: str, start: np.ndarray, chain: tuple[Cut, ...]) -> np.ndarray:
        kept = start
        for cut in chain:
            before, kept = kept, kept & cut.keep(table)
            flow.append((sample, cut.name, cut.reason, kept.sum(), before.sum() - kept.sum()))
        return kept

    kept = {"all": run("all", np.ones(len(table), dtype=bool), cuts(survey))}
    kept["training"] = run("training", kept["all"], _training_cuts(survey))
    kept["training_multivariate"] = run("training_multivariate", kept["training"], _multivariate_cuts(survey))
    kept["test"] = run("test", kept["all"], _test_cuts(survey, table["apogee_id"][kept["training"]]))
    return kept, Table(rows=flow, names=("sample", "name", "reason", "surviving", "removed"))


def _training_cuts(survey: Survey) -> tuple[Cut, ...]:
    split = survey.cuts.snr_split
    return (Cut(f"SNR > {split:g}", "low-SNR stars are kept for testing", lambda table: _values(table, "snr") > split),)


def _multivariate_cuts(survey: Survey) -> tuple[Cut, ...]:
    limit = survey.cuts.max_relative_parallax_error_multivariate
    inputs = ("g_mag", "bp_rp", "teff")
    chosen = [
        Cut(
            "G, BP-RP, Teff",
            "an input of the offset network is missing",
            lambda table: np.logical_and.reduce([_finite(table, name) for name in inputs]),
        )
    ]
    if np.isfinite(limit):
        chosen.append(
            Cut(
                f"parallax_error / parallax < {limit:g}",
                "parallax too uncertain; every negative parallax passes",
                lambda table: _relative_error(table) < limit,
            )
        )
    return tuple(chosen)


def _test_cuts(survey: Survey, training_ids: np.ndarray) -> tuple[Cut, ...]:
    split = survey.cuts.snr_split
    return (
        Cut(f"SNR < {split:g}", "high-SNR stars are in the training set", lambda table: _values(table, "snr") < split),
        Cut(
            "not a star of the training set",
            "the star has another spectrum in the training set",
            lambda table: ~np.isin(np.asarray(table["apogee_id"]), np.asarray(training_ids)),
        ),
    )


def _relative_error(table: Table) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return _values(table, "parallax_error") / _values(table, "parallax")


def _values(table: Table, name: str) -> np.ndarray:
    return np.asarray(table[name])


def _finite(table: Table, name: str) -> np.ndarray:
    return np.isfinite(_values(table, name))
