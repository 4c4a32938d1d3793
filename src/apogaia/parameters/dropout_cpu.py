"""Monte-Carlo dropout of the censored network on the CPU, nearly as fast as the part that sees the whole spectrum.

That part is the trunk of `apogaia.model.fast.dropout_cpu`, whose kernels do everything here. The first layer of an
element, the only one that is as wide as its window, stands before any dropout and is computed once per star. What an
element is told of the whole spectrum (two auxiliary units, Teff, log g, [Fe/H]) is linear in the trunk's last hidden
layer, so that the heads of all labels are one matrix: the elements' last layers and that hidden layer in, all labels
and log variances out.
"""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np

from apogaia.formats.stars_h5_columns import LABELS
from apogaia.model.fast.dropout_cpu import (
    Dense,
    Trunk,
    branches,
    dense,
    each_star,
    groups_of,
    padded,
    weights_of,
)
from apogaia.parameters.network import CENSORED_ELEMENTS, STAR_LABELS

__all__ = ["FastCensoredDropout"]

STARS_AT_ONCE = 8  # in the elements' first layers: one reading of their weights, which fill a core's cache, serves all


@dataclass(frozen=True)
class FastCensoredDropout:
    """The censored network's weights, arranged for the passes; elements in the order of `CENSORED_ELEMENTS`."""

    trunk: Trunk
    windows: tuple[np.ndarray, ...]  # pixels of each element's window
    first_layers: tuple[Dense, ...]  # of each element
    depths: np.ndarray  # (elements,) number of layers behind the first
    widths: np.ndarray  # units of the layers, element by element
    weights: np.ndarray  # of the layers behind the first, element by element, as `branches` takes them
    heads: Dense  # from the elements' last layers and the trunk's, to labels and log variances, standardised
    label_mean: np.ndarray  # (22,) float64
    label_sd: np.ndarray  # (22,) float64

    @classmethod
    def from_model(cls, network: keras.Model) -> FastCensoredDropout:
        """Read the weights of a censored network by the names of its layers.

        Raises
        ------
        ValueError
            If the network has other than two convolutions, or layers with different rates of dropout.
        """
        trunk = Trunk.from_network(network, "predict_labels_reference")
        layers = [_element_layers(network, element, trunk.rate) for element in CENSORED_ELEMENTS]
        behind = [layer for element in layers for layer in element[1:]]
        labels = network.get_layer("labels")
        mean, sd = (keras.ops.convert_to_numpy(values).astype(np.float64) for values in (labels.mean, labels.sd))
        return cls(
            trunk=trunk,
            windows=tuple(network.get_layer(f"{element.lower()}_window").pixels for element in CENSORED_ELEMENTS),
            first_layers=tuple(element[0] for element in layers),
            depths=np.array([len(element) - 1 for element in layers]),
            widths=np.array([len(layer.bias) for element in layers for layer in element]),
            weights=np.concatenate(
                [np.zeros(0, np.float32), *(part for layer in behind for part in (layer.kernel.ravel(), layer.bias))]
            ),
            heads=_heads(
                network, [len(element[-1].bias) for element in layers], len(trunk.hidden[-1].bias), trunk.rate
            ),
            label_mean=mean,
            label_sd=sd,
        )

    def draws(self, spectra: np.ndarray, rows: np.ndarray, *, passes: int, seed: int) -> np.ndarray:
        """(stars, passes, 22, 2) labels and log variances of one of `groups_of`, float64, each pass with its own masks.

        Within `each_star` bit for bit those of `moments`; elsewhere the matrix library's threads change the last bits.
        """
        return self._draws(spectra, self._first(spectra), rows, passes, seed)

    def moments(
        self, spectra: np.ndarray, rows: np.ndarray, *, passes: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean and variance of the labels over the passes, and the mean predicted variance, each (n, 22) [K, dex].

        Parameters
        ----------
        spectra
            (n, pixels) float32, finite.
        rows
            (n,) numbers of the stars, which set their masks together with `seed`.
        passes, seed
            Number of masks per star, and their seed.
        """
        rows, moments = np.asarray(rows), np.empty((3, len(rows), len(LABELS)))
        first = np.empty((len(rows), sum(len(layer.bias) for layer in self.first_layers)), np.float32)

        def of_part(start: int) -> None:
            part = slice(start, start + STARS_AT_ONCE)
            first[part] = self._first(spectra[part])

        each_star(of_part, range(0, len(rows), STARS_AT_ONCE))

        def of_group(stars: np.ndarray) -> None:
            draws = self._draws(spectra[stars], first[stars], rows[stars], passes, seed)
            for i, (label, log_variance) in zip(stars, np.moveaxis(draws, 3, 1), strict=True):
                moments[:, i] = label.mean(axis=0), label.var(axis=0), np.exp(log_variance).mean(axis=0)

        each_star(of_group, groups_of(rows, passes))
        mean, variance, predicted_variance = moments
        return mean, variance, predicted_variance

    def _first(self, spectra: np.ndarray) -> np.ndarray:
        """The elements' first layers: (n, pixels) -> (n, units of all elements)."""
        subtracted = spectra - self.trunk.mean_spectrum
        units = []
        for pixels, layer in zip(self.windows, self.first_layers, strict=True):
            x = np.zeros((len(spectra), len(layer.kernel)), np.float32)
            x[:, : len(pixels)] = subtracted[:, pixels]
            units.append(dense(x, layer.kernel.ravel(), layer.bias))
        return np.hstack(units)

    def _draws(self, spectra: np.ndarray, first: np.ndarray, rows: np.ndarray, passes: int, seed: int) -> np.ndarray:
        """`draws` of stars from their elements' first layers."""
        hidden, keys, used = self.trunk.last_hidden(spectra, rows, passes=passes, seed=seed)
        outputs = np.empty((len(keys), passes, 2, len(LABELS)))
        x = np.empty((keys.shape[1], len(self.heads.kernel)), np.float32)
        for i, own_keys in enumerate(keys):
            branches(first[i], self.depths, self.widths, self.weights, own_keys, used, self.trunk.threshold, x)
            x[:, -hidden.shape[2] :] = hidden[i]
            of_star = x @ self.heads.kernel + self.heads.bias
            outputs[i] = of_star[:passes, : 2 * len(LABELS)].reshape(passes, 2, len(LABELS))
        label = self.label_mean + self.label_sd * outputs[:, :, 0]
        return np.stack([label, outputs[:, :, 1] + 2.0 * np.log(self.label_sd)], axis=-1)


def _element_layers(network: keras.Model, element: str, rate: float) -> list[Dense]:
    """Dense layers of an element's own branch; the factor of the dropout before a layer goes into its kernel."""
    start = f"{element.lower()}_hidden_"
    first, *others = [weights_of(layer) for layer in network.layers if layer.name.startswith(start)]
    scaled = [Dense(layer.kernel / np.float32(1 - rate), layer.bias) for layer in others]
    return [padded(layer) for layer in (first, *scaled)]


def _heads(network: keras.Model, own_units: list[int], hidden_units: int, rate: float) -> Dense:
    """One matrix in place of the layers behind the elements' last ones and the trunk's, whose sizes are given.

    Its columns are the labels and then their log variances.
    """

    def weights(*names: str) -> tuple[np.ndarray, np.ndarray]:
        layers = [weights_of(network.get_layer(name)) for name in names]
        kernel, bias = np.hstack([one.kernel for one in layers]), np.hstack([one.bias for one in layers])
        return kernel.astype(np.float64), bias.astype(np.float64)

    def head(label: str) -> tuple[list[int], np.ndarray, np.ndarray]:
        column = LABELS.index(label)
        kernel, bias = weights(f"standardised_{label}", f"standardised_{label}_log_variance")
        return [column, column + len(LABELS)], kernel, bias

    told_kernel, told_bias = weights("auxiliary", *(f"standardised_{label}" for label in STAR_LABELS))
    matrix, bias = np.zeros((sum(own_units) + hidden_units, 2 * len(LABELS))), np.zeros(2 * len(LABELS))
    whole = slice(sum(own_units), sum(own_units) + len(told_kernel))
    for label in STAR_LABELS:
        columns, kernel, own_bias = head(label)
        matrix[whole, columns], bias[columns] = kernel, own_bias
    for element, start in zip(CENSORED_ELEMENTS, np.cumsum([0, *own_units[:-1]]), strict=True):
        columns, kernel, own_bias = head(f"{element.lower()}_h")
        own, of_told = np.split(kernel, [-len(told_bias)])
        matrix[start : start + len(own), columns] = own / (1 - rate)
        matrix[whole, columns] = told_kernel @ of_told
        bias[columns] = own_bias + told_bias @ of_told
    return padded(Dense(matrix.astype(np.float32), bias.astype(np.float32)))
