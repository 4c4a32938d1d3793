"""The training set of the networks and its split."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from apogaia.formats.stars_h5_columns import OFFSET_INPUTS
from apogaia.reduction import stars_h5

__all__ = ["TrainingSet", "mean_of_rows", "split"]

COLUMNS = ("k0_mag", "parallax", "parallax_error")


@dataclass(frozen=True)
class TrainingSet:
    """The training set, one row per star."""

    spectrum: np.ndarray  # (n, pixels) float32, normalised
    k0_mag: np.ndarray  # extinction-corrected Ks
    parallax: np.ndarray  # Gaia's, uncorrected [mas]
    parallax_error: np.ndarray  # [mas]
    g_mag: np.ndarray
    bp_rp: np.ndarray  # [mag]
    teff: np.ndarray  # [K]

    def __len__(self) -> int:
        return len(self.spectrum)

    @classmethod
    def from_stars(cls, opened: stars_h5.Stars, rows: np.ndarray) -> TrainingSet:
        """Take ascending `rows` of an open stars.h5 into memory."""
        columns = {f.name: opened.table[f.name] for f in dataclasses.fields(cls)[1:]}
        labels = {name: np.asarray(column[rows], np.float64) for name, column in columns.items()}
        return cls(opened.spectra_of(rows), **labels)

    def subset(self, rows: np.ndarray) -> TrainingSet:
        """Some rows; spectra are copied."""
        return TrainingSet(*(getattr(self, f.name)[rows] for f in dataclasses.fields(self)))

    def arrays(self, offset: str) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Inputs by name and (n, 2) targets [parallax, error] of the model with this offset, float32.

        Raises
        ------
        ValueError
            If a value that the model needs is not finite; the message names the column.
        """
        columns = (*COLUMNS, *(OFFSET_INPUTS if offset == "multivariate" else ()))
        for name in ("spectrum", *columns):
            # the sum is finite only if all values are, and needs no array as large as the spectra
            if not np.isfinite(np.sum(getattr(self, name))):
                raise ValueError(f"{name} of the training set has values that are not finite: check the cuts")
        inputs = {"spectrum": self.spectrum, "k_mag": _column(self.k0_mag)}
        if offset == "multivariate":
            inputs |= {name: _column(getattr(self, name)) for name in OFFSET_INPUTS}
        return inputs, np.column_stack([self.parallax, self.parallax_error]).astype(np.float32)


def split(n_stars: int, validation_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of gradient and validation stars, each ascending."""
    n_validation = round(n_stars * validation_fraction)
    if not 0 < n_validation < n_stars:
        raise ValueError(f"{n_stars} training stars are too few to keep {validation_fraction:.0%} for validation")
    shuffled = np.random.default_rng([seed, 0]).permutation(n_stars)
    return np.sort(shuffled[n_validation:]), np.sort(shuffled[:n_validation])


def mean_of_rows(spectrum: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Mean spectrum of some rows, in double precision and without a copy of them all."""
    blocks = np.array_split(rows, -(-len(rows) // 1024))
    total = np.zeros(spectrum.shape[1:])
    for block in blocks:
        total += np.sum(spectrum[block], axis=0, dtype=np.float64)
    return total / len(rows)


def _column(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float32)[:, None]
