"""Features of spectra in which the fitted luminosity is linear: principal components and their products."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from apogaia.refit.principal_components import principal_components, project

__all__ = ["SpectralFeatures"]

MAX_SPECTRA = 12_000  # that the components are made from, evenly from all: more change them little and cost time
OVERSAMPLING = 20  # of the randomised search for the components
LARGEST_SIGMA = 5.0  # a component beyond is a defect of the spectrum: it must not run away with a product


@dataclass(frozen=True)
class SpectralFeatures:
    """Principal components of the training spectra and products of the first ones, each with unit variance."""

    mean: np.ndarray  # (pixels,)
    components: np.ndarray  # (pixels, components), scaled to unit variance
    products: int  # of how many of the first components
    product_mean: np.ndarray
    product_sd: np.ndarray

    @classmethod
    def fit(cls, spectra: np.ndarray, *, components: int, products: int, seed: int) -> SpectralFeatures:
        """Find the components of some spectra.

        Parameters
        ----------
        spectra
            (n, pixels) normalised, float32.
        components
            Number of components; at most n - 1 are found.
        products
            Of how many of the first components all products of two, squares included, are features too.
        seed
            Of the randomised search.
        """
        mean = spectra.mean(axis=0, dtype=np.float64).astype(np.float32)
        components = min(components, len(spectra) - 1)
        products = min(products, components)
        some = spectra[:: ceil(len(spectra) / MAX_SPECTRA)]
        rng = np.random.default_rng(seed)
        directions, sd = principal_components(some, mean, components, rng, oversampling=OVERSAMPLING)
        scaled = (directions / sd).astype(np.float32)
        linear_only = cls(mean, scaled, products, np.zeros(1), np.ones(1))
        squares = linear_only._products(linear_only._linear(spectra))
        product_sd = squares.std(axis=0)
        return cls(mean, scaled, products, squares.mean(axis=0), np.where(product_sd > 0, product_sd, 1.0))

    def of(self, spectra: np.ndarray) -> np.ndarray:
        """Features (n, features) of spectra (n, pixels)."""
        linear = self._linear(spectra)
        return np.column_stack([linear, (self._products(linear) - self.product_mean) / self.product_sd])

    def _linear(self, spectra) -> np.ndarray:
        return np.clip(project(spectra, self.mean, self.components), -LARGEST_SIGMA, LARGEST_SIGMA).astype(float)

    def _products(self, linear) -> np.ndarray:
        first, second = np.triu_indices(self.products)
        return linear[:, first] * linear[:, second]
