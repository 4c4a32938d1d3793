"""Whether a star is like the stars that a network was trained on, and how much its error grows if it is not.

A network gives an answer for any spectrum, and its dropout error says little about how far it extrapolates. So a model
file holds a summary of its training set: the principal components of the spectra, and where the stars lie in them. A
star's distance from the training set is the largest of three numbers, each in units of its limit:

* how far it lies from its nearest training stars in the space of the components, each scaled by its scatter and by
  the star's own noise;
* the share of its lines that the components do not describe;
* how weak its lines are: a blank spectrum may lie in the middle of the training stars.

Noise alone must not put a star outside, since the training stars have higher signal-to-noise ratios. So the noise is
measured on each spectrum, and what it adds to the second number is subtracted. The limits are high percentiles of the
same numbers for training stars that were held out.
"""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from astropy import units as u

from apogaia.arguments.takes import takes
from apogaia.model.training_set import TrainingSet
from apogaia.refit.principal_components import principal_components

__all__ = ["Placement", "TrainingDomain"]

# How the training spectra are described
N_COMPONENTS = 30  # principal components; fewer for a small training set
OVERSAMPLING = 10  # of the randomised search for the components
MAX_STARS = 4000  # of the training set, drawn at random: more change nothing but the time
MIN_STARS = 20  # with fewer there is no telling what is unlike them

# Where the training set ends
NEIGHBOURS = 5  # the distance is that to the fifth nearest star: one odd training star makes no region of its own
EDGE_PERCENTILE = 99.5  # of the held-out training stars lie inside
FOLDS = 4  # each quarter of the training stars is held out once, to measure where the edge lies
MIN_LINE_STRENGTH = 0.5  # a spectrum whose lines are weaker than this share of the edge's has no lines to speak of
ERROR_GROWTH_POWER = 3
"""The luminosity's error grows as this power of the distance: the error of simulated dwarfs does, up to distances of
about 2, if the network was trained with few dwarfs."""

# How noise and defects are distinguished from lines
BIN_PIXELS = 8  # about two resolution elements: lines stay, noise averages out
MAX_NOISE = 0.05  # of the continuum; a noisier spectrum (SNR < 20) cannot show that it is like the training set's
NOISE_EXCESS = 2.0  # sky lines and correlated pixels: bins have up to twice the power of white noise
SPOILT_SHARE = 0.1  # of the bins, the largest ones, may be spoilt by sky lines and bad pixels, and are left out
MEAN_SQUARE_OF_KEPT = 0.623  # of a normal deviate without the largest tenth of its squares, as SPOILT_SHARE leaves them
WEAKEST_LINES = 1e-3  # of the continuum, root mean square over the bins: keeps the distance of a blank spectrum finite

BLOCK_SPECTRA = 1024  # at a time: bounds the memory


class Placement(NamedTuple):
    """Distances of n stars from a training set: 1 is its edge, more is outside; NaN is unknown, and not outside."""

    spectrum: np.ndarray  # (n,)
    labels: np.ndarray  # (n,) in G, BP-RP and Teff

    @classmethod
    def unknown(cls, n_stars: int) -> Placement:
        """Placement of n stars if the model file does not describe its training set."""
        return cls(np.full(n_stars, np.nan), np.full(n_stars, np.nan))

    @property
    def outside(self) -> np.ndarray:
        """Whether a star lies outside in its spectrum or in its labels, (n,) boolean."""
        return (self.spectrum > 1) | (self.labels > 1)

    @property
    def inflation(self) -> np.ndarray:
        """Factor (n,) by which the luminosity's error grows: 1 inside, the distance cubed outside.

        Only the spectrum counts, because the luminosity does not depend on the labels.
        """
        return np.fmax(self.spectrum, 1.0) ** ERROR_GROWTH_POWER


@dataclass(frozen=True)
class TrainingDomain:
    """Summary of a training set: its spectra, and its G, BP-RP and Teff."""

    mean: np.ndarray  # (pixels,) spectrum
    components: np.ndarray  # (k, pixels), orthonormal
    scatter: np.ndarray  # (k,) standard deviation of the training stars along each component
    positions: np.ndarray  # (m, k) training stars along the components
    label_mean: np.ndarray  # (3,) of G, BP-RP [mag] and Teff [K]; NaN: too few training stars have it
    label_covariance: np.ndarray  # (3, 3)
    limits: np.ndarray  # (4,) distance to the neighbours, unexplained share, weakness of lines, distance in labels

    @classmethod
    def fit(cls, sample: TrainingSet, rows: np.ndarray | None = None, *, seed: int = 0) -> TrainingDomain:
        """Describe the stars of a training set.

        Parameters
        ----------
        sample
            Of it, spectra, G, BP-RP and Teff; a label that is missing is NaN.
        rows
            The stars that the weights were fitted to; None: all.
        seed
            Of what is drawn at random: stars of a large set, folds, the first guess of the components.

        Raises
        ------
        ValueError
            If there are fewer than `MIN_STARS` stars.
        """
        rows = np.arange(len(sample)) if rows is None else np.asarray(rows)
        if len(rows) < MIN_STARS:
            raise ValueError(
                f"{len(rows)} training stars are too few to define what is unlike them: {MIN_STARS} needed"
            )
        rng = np.random.default_rng([seed, 2])
        rows = np.sort(rng.choice(rows, min(len(rows), MAX_STARS), replace=False))
        spectra = np.asarray(sample.spectrum[rows], np.float32)
        fold = rng.permutation(len(rows)) % FOLDS
        held_out = [cls._of_spectra(spectra[fold != k], rng)._scores(spectra[fold == k]) for k in range(FOLDS)]
        limits = np.percentile(np.concatenate(held_out, axis=1), EDGE_PERCENTILE, axis=1) / [1, 1, MIN_LINE_STRENGTH]
        domain = dataclasses.replace(cls._of_spectra(spectra, rng), limits=np.array([*limits, 1.0]))

        labels = np.column_stack([sample.g_mag, sample.bp_rp, sample.teff])[rows]
        known = np.isfinite(labels).sum(axis=0) >= MIN_STARS  # a label that no star has does not hide the others
        labels = labels[np.isfinite(labels[:, known]).all(axis=1)]
        if not known.any() or len(labels) < MIN_STARS:
            return domain
        mean, covariance = domain.label_mean.copy(), domain.label_covariance.copy()
        mean[known], covariance[np.ix_(known, known)] = labels[:, known].mean(axis=0), np.cov(labels[:, known].T)
        domain = dataclasses.replace(domain, label_mean=mean, label_covariance=covariance)
        # nine numbers from so many stars: nothing need be held out
        limits = np.array([*limits, np.percentile(domain.label_distance(*labels.T), EDGE_PERCENTILE)])
        return dataclasses.replace(domain, limits=limits)

    @classmethod
    def _of_spectra(cls, spectra: np.ndarray, rng: np.random.Generator) -> TrainingDomain:
        """Describe (m, pixels) spectra, without limits and labels."""
        mean = spectra.mean(axis=0, dtype=np.float64).astype(np.float32)
        n_components = max(1, min(N_COMPONENTS, len(spectra) // 4, len(mean) // 4))
        directions, _ = principal_components(
            spectra, mean, n_components, rng, oversampling=OVERSAMPLING, by_gram_matrix=True
        )
        components = np.ascontiguousarray(directions.T, np.float32)
        positions = (spectra - mean) @ components.T
        scatter = positions.std(axis=0)
        return cls(mean, components, scatter, positions, np.full(3, np.nan), np.full((3, 3), np.nan), np.ones(4))

    @takes(spectra=u.dimensionless_unscaled)
    def spectrum_distance(self, spectra) -> np.ndarray:
        """Measure how far spectra are from those of the training set: 1 is the edge.

        Parameters
        ----------
        spectra
            (n, pixels) normalised, an array or an HDF5 dataset, read in blocks.

        Returns
        -------
        (n,) array
            NaN where a spectrum has values that are not finite.

        Raises
        ------
        ValueError
            If the spectra have another number of pixels than the training set's.
        """
        if len(spectra.shape) != 2 or spectra.shape[1] != len(self.mean):
            raise ValueError(
                f"spectra have the shape {tuple(spectra.shape)}, but the training set's have {len(self.mean)} pixels"
            )
        distance = np.full(spectra.shape[0], np.nan)
        for start in range(0, len(distance), BLOCK_SPECTRA):
            block = np.asarray(spectra[start : start + BLOCK_SPECTRA], np.float32)
            good = np.isfinite(block).all(axis=1)
            if good.any():
                scores = self._scores(block[good]) / self.limits[:3, None]
                distance[start : start + BLOCK_SPECTRA][good] = scores.max(axis=0)
        return distance

    @takes(g_mag=u.mag, bp_rp=u.mag, teff=u.K)
    def label_distance(self, g_mag, bp_rp, teff) -> np.ndarray:
        """Measure how far stars are from the training set in G, BP-RP [mag] and Teff [K], each (n,): 1 is the edge.

        The Mahalanobis distance in those labels that are finite: a missing one can only make it smaller. (n,), NaN
        where all three are missing, and everywhere if the training set has none.
        """
        labels = np.column_stack([np.atleast_1d(np.asarray(label, float)) for label in (g_mag, bp_rp, teff)])
        known = np.isfinite(labels) & np.isfinite(self.label_mean)
        distance = np.full(len(labels), np.nan)
        for pattern in np.unique(known[known.any(axis=1)], axis=0):
            rows = (known == pattern).all(axis=1)
            away = (labels[rows] - self.label_mean)[:, pattern]
            inverse = np.linalg.pinv(self.label_covariance[np.ix_(pattern, pattern)], rcond=1e-12, hermitian=True)
            distance[rows] = np.sqrt(np.einsum("ni,ij,nj->n", away, inverse, away)) / self.limits[3]
        return distance

    @takes(spectra=u.dimensionless_unscaled, g_mag=u.mag, bp_rp=u.mag, teff=u.K)
    def place(self, spectra, g_mag=None, bp_rp=None, teff=None) -> Placement:
        """Both distances of stars; labels that are not given are missing."""
        missing = np.full(spectra.shape[0], np.nan)
        labels = (missing if label is None else label for label in (g_mag, bp_rp, teff))
        return Placement(self.spectrum_distance(spectra), self.label_distance(*labels))

    @takes(spectra=u.dimensionless_unscaled, g_mag=u.mag, bp_rp=u.mag, teff=u.K)
    def outside(self, spectra, g_mag=None, bp_rp=None, teff=None) -> np.ndarray:
        """Whether stars lie outside the training set, in spectrum or in labels: `Placement.outside`."""
        return self.place(spectra, g_mag, bp_rp, teff).outside

    @takes(spectra=u.dimensionless_unscaled)
    def inflation(self, spectra) -> np.ndarray:
        """Factor by which the luminosity's error grows: `Placement.inflation`."""
        return self.place(spectra).inflation

    def to_bytes(self) -> bytes:
        """As a numpy archive (.npz): the same domain gives the same bytes."""
        content = io.BytesIO()
        np.savez(content, **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)})
        return content.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> TrainingDomain:
        """Restore what `to_bytes` gave."""
        with np.load(io.BytesIO(content)) as arrays:
            return cls(**{field.name: arrays[field.name] for field in dataclasses.fields(cls)})

    def _scores(self, spectra: np.ndarray) -> np.ndarray:
        """Distance to the training stars, unexplained share and weakness of the lines, (3, n), of finite spectra."""
        position = (spectra - self.mean) @ self.components.T
        residual = spectra - self.mean - position @ self.components
        noise = np.minimum(_noise(residual), MAX_NOISE)
        variance = self.scatter**2 + noise[:, None] ** 2
        far = _nearest(position, self.positions, 1 / variance, NEIGHBOURS)
        unexplained, lines = np.sqrt(_power(residual, noise, NOISE_EXCESS)), np.sqrt(_power(spectra - 1, noise))
        lines = np.hypot(lines, WEAKEST_LINES)
        return np.stack([far, unexplained / lines, 1 / lines])


def _noise(residual: np.ndarray) -> np.ndarray:
    """White noise (n,) per pixel, from third differences: lines span three pixels and more, and hardly count."""
    difference = np.diff(residual, 3, axis=1)
    return 1.4826 * np.median(np.abs(difference), axis=1) / np.sqrt(20)  # 20 = 1 + 9 + 9 + 1


def _power(flux: np.ndarray, noise: np.ndarray, uneven: float = 1.0) -> np.ndarray:
    """Mean square (n,) of the flux in bins of `BIN_PIXELS` pixels, less what noise adds.

    Noise adds `uneven` times what white noise would. The largest bins are left out, and what they would add if all were
    normal deviates is restored.
    """
    n_bins = flux.shape[1] // BIN_PIXELS
    bins = flux[:, : n_bins * BIN_PIXELS].reshape(len(flux), n_bins, BIN_PIXELS).mean(axis=2)
    kept = round(n_bins * (1 - SPOILT_SHARE))
    smallest = np.partition(np.square(bins), kept - 1, axis=1)[:, :kept]
    return np.maximum(
        np.mean(smallest, axis=1, dtype=np.float64) / MEAN_SQUARE_OF_KEPT - uneven * noise**2 / BIN_PIXELS, 0
    )


def _nearest(points: np.ndarray, references: np.ndarray, weights: np.ndarray, k: int) -> np.ndarray:
    """Distance (n,) of each point (n, d) to its k-th nearest reference (m, d), with its own weights (n, d)."""
    points, references, weights = (np.asarray(array, np.float64) for array in (points, references, weights))
    k = min(k, len(references))
    cross = (points * weights) @ references.T
    squared = np.sum(weights * points**2, axis=1)[:, None] - 2 * cross + weights @ (references**2).T
    return np.sqrt(np.maximum(np.partition(squared, k - 1, axis=1)[:, k - 1], 0))
