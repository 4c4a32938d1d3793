"""Smooth functions of some labels of a star and of its SNR, of which the labels' calibration is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters.predictions import is_positive
from apogaia.refit.splines import quantile_knots, spline_basis

__all__ = ["StarSplines", "with_constant"]


@dataclass(frozen=True)
class StarSplines:
    """Knots of cubic splines, which are constant beyond the outer ones."""

    knots: dict[str, list[float]]  # of labels by name [K, dex]
    log_snr_knots: list[float]  # empty: no function of SNR

    @classmethod
    def of_stars(
        cls, label: np.ndarray, snr: np.ndarray, *, coefficients: Mapping[str, int], snr_coefficients: int
    ) -> StarSplines:
        """Knots with equal numbers of stars between them.

        Parameters
        ----------
        label
            (n, 22) predicted labels, finite.
        snr
            (n,) positive signal-to-noise ratios.
        coefficients, snr_coefficients
            Number of functions of each label that is named, and of ln SNR; 0: none of that.
        """
        log_snr_knots = quantile_knots(np.log(snr), snr_coefficients).tolist() if snr_coefficients else []
        knots = {name: quantile_knots(label[:, LABELS.index(name)], n).tolist() for name, n in coefficients.items()}
        return cls(knots, log_snr_knots)

    def columns(self, label: np.ndarray, snr: np.ndarray) -> np.ndarray:
        """The functions (n, coefficients) of stars with labels (n, 22) and SNRs (n,): of SNR, then of each label.

        An unknown label counts as the middle knot, an unknown SNR as the lowest.
        """
        parts = []
        if self.log_snr_knots:
            lowest = np.full(np.shape(snr), self.log_snr_knots[0])
            parts.append(spline_basis(np.log(snr, out=lowest, where=is_positive(snr)), self.log_snr_knots))
        for i, name in enumerate(LABELS):  # not the order of the knots, which a file may change
            if name in self.knots:
                knots = self.knots[name]
                values = np.where(np.isfinite(label[:, i]), label[:, i], np.median(knots))
                parts.append(spline_basis(values, knots))
        return np.column_stack(parts)


def with_constant(columns: np.ndarray) -> np.ndarray:
    """Columns (n, k + 1): ones, and the functions (n, k)."""
    return np.column_stack([np.ones(len(columns)), columns])
