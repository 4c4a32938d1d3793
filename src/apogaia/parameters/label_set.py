"""Training set of the network for stellar parameters: its stars, their labels and the labels' errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table

from apogaia.formats.apstar import Status
from apogaia.formats.aspcap_labels import read_aspcap_labels
from apogaia.formats.releases import RELEASES
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.reduction import stars_h5
from apogaia.survey import Survey

__all__ = ["LabelSet", "select_labelled", "survey_labels", "unseen_labelled"]


@dataclass(frozen=True)
class LabelSet:
    """One row per star; a label that is missing is NaN, as is its error."""

    spectrum: np.ndarray  # (n, pixels) float32, normalised
    label: np.ndarray  # (n, 22) in the order of `LABELS` [K, dex]
    error: np.ndarray  # (n, 22)

    def __len__(self) -> int:
        return len(self.spectrum)

    @classmethod
    def from_stars(cls, opened: stars_h5.Stars, labels: Table, rows: np.ndarray) -> LabelSet:
        """Take ascending `rows` of an open stars.h5 into memory, with labels row by row as in it.

        Parameters
        ----------
        opened
            Of `stars_h5.open_stars`.
        labels
            The labels, as `read_aspcap_labels` gives them.
        rows
            Of the stars, as `select_labelled` gives them.

        Raises
        ------
        ValueError
            If `labels` are not row by row as stars.h5.
        """
        _check_rows(opened.table, labels)
        values, errors = (
            np.column_stack([np.asarray(labels[f"{name}{end}"][rows], np.float64) for name in LABELS])
            for end in ("", "_error")
        )
        missing = ~(np.isfinite(values) & np.isfinite(errors))
        values[missing] = errors[missing] = np.nan
        return cls(opened.spectra_of(rows), values, errors)

    def mean_and_sd(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each label over those of `rows` that have it, (22,) each [K, dex].

        Raises
        ------
        ValueError
            If fewer than two stars have some label, or all the same value; the labels are named.
        """
        chosen = self.label[rows]
        known = np.isfinite(chosen).sum(axis=0)
        several = [n > 1 and np.nanmin(column) < np.nanmax(column) for column, n in zip(chosen.T, known, strict=True)]
        # equal values must be told from the values: their standard deviation may round to something else than zero
        spread = np.array([np.nanstd(column) if s else 0.0 for column, s in zip(chosen.T, several, strict=True)])
        if not spread.all():
            named = ", ".join(f"{LABELS[i]} ({known[i]} stars)" for i in np.flatnonzero(spread == 0))
            raise ValueError(f"the training set has no spread of {named}: do the survey's tables hold these labels?")
        return np.nanmean(chosen, axis=0), spread

    def arrays(self) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Inputs by name and (n, 22, 2) targets [label, error] of the network, float32; missing labels are NaN.

        Raises
        ------
        ValueError
            If a spectrum is not finite, or the error of a label is not positive; the message names the label.
        """
        # the sum is finite only if all values are, and needs no array as large as the spectra
        if not np.isfinite(np.sum(self.spectrum)):
            raise ValueError("spectra of the training set have values that are not finite: check the cuts")
        wrong = np.isfinite(self.label) & ~(self.error > 0)
        if wrong.any():
            named = ", ".join(LABELS[i] for i in np.flatnonzero(wrong.any(axis=0)))
            raise ValueError(f"errors of {named} in the training set are not positive: read the labels again")
        return {"spectrum": self.spectrum}, np.stack([self.label, self.error], axis=-1).astype(np.float32)


def select_labelled(table: Table, labels: Table, survey: Survey) -> tuple[np.ndarray, Table]:
    """Select the stars that train the network of stellar parameters.

    Parameters
    ----------
    table
        Of stars.h5.
    labels
        Row by row as `table`; see `apogaia.formats.aspcap_labels`.
    survey
        Its section ``parameters`` and ``cuts.max_v_scatter`` are used.

    Returns
    -------
    rows, flow
        Ascending rows; and how many stars survive each cut, one after the other: name, reason, surviving, removed.

    Raises
    ------
    ValueError
        If `labels` are not row by row as `table`.
    """
    kept = np.ones(len(table), bool)
    flow = [("all stars", "rows of allStar", len(table), 0)]
    for name, reason, keep in _cuts(table, labels, survey):
        before, kept = kept, kept & keep
        flow.append((name, reason, int(kept.sum()), int(before.sum() - kept.sum())))
    return np.flatnonzero(kept), Table(rows=flow, names=("name", "reason", "surviving", "removed"))


def unseen_labelled(table: Table, labels: Table, survey: Survey) -> np.ndarray:
    """Rows of stars that pass all cuts of `select_labelled` except SNR, and have no row in the training set."""
    cuts = {name: keep for name, _, keep in _cuts(table, labels, survey)}
    bright = cuts.pop(_snr_cut(survey))
    others = np.logical_and.reduce(list(cuts.values()))
    names = np.asarray(table["apogee_id"])
    return np.flatnonzero(others & ~bright & ~np.isin(names, names[others & bright]))


def survey_labels(stars: Table, allstar: str | Path, survey: Survey) -> Table:
    """Labels that train the network, row by row as stars.h5: ASPCAP's, as `read_aspcap_labels` gives them.

    DR19's table of stars holds no labels of ASPCAP: there those of the stellar-parameter catalogue in stars.h5 train,
    with an ASPCAPFLAG of 0.

    Raises
    ------
    ReductionError
        If the labels cannot be read.
    """
    release = RELEASES[survey.sources.apogee_release]
    if not release.gaia_in_allstar:
        return read_aspcap_labels(allstar, release)
    columns = {name: np.asarray(stars[name]) for label in LABELS for name in (label, f"{label}_error")}
    return Table(columns | {"aspcapflag": np.zeros(len(stars), np.int64)}, copy=False)


def _snr_cut(survey: Survey) -> str:
    return f"SNR > {survey.parameters.min_snr:g}"


def _cuts(table: Table, labels: Table, survey: Survey) -> list[tuple[str, str, np.ndarray]]:
    """Name, reason, and which stars survive, of each cut."""
    _check_rows(table, labels)
    limits, most = survey.parameters, survey.cuts.max_v_scatter
    star = {name: np.asarray(table[name]) for name in ("status", "starflag", "v_scatter", "snr")}
    teff, flag = np.asarray(labels["teff"]), np.asarray(labels["aspcapflag"])
    any_label = np.logical_or.reduce([np.isfinite(np.asarray(labels[name])) for name in LABELS])
    with np.errstate(invalid="ignore"):  # unknown values pass no cut
        cuts = [
            ("spectrum", "no usable spectrum", star["status"] == Status.OK),
            ("STARFLAG == 0", "flagged by APOGEE", star["starflag"] == 0),
            ("ASPCAPFLAG == 0", "flagged by APOGEE's pipeline of stellar parameters", flag == 0),
            (f"v_scatter < {most:g} km/s", "a binary, or a spectrum smeared by one", star["v_scatter"] < most),
            (_snr_cut(survey), "low-SNR stars are kept for testing", star["snr"] > limits.min_snr),
            (
                f"{limits.min_teff:g} K < Teff < {limits.max_teff:g} K",
                "Teff unknown, or where the labels are not reliable",
                (teff > limits.min_teff) & (teff < limits.max_teff),
            ),
            ("labels", "no label", any_label),
        ]
    return cuts if np.isfinite(most) else [cut for cut in cuts if not cut[0].startswith("v_scatter")]


def _check_rows(table: Table, labels: Table) -> None:
    if len(table) != len(labels):
        raise ValueError(f"{len(labels)} rows of labels for {len(table)} of stars.h5: read both from one allStar")
