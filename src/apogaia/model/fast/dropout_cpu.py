"""Monte-Carlo dropout of networks on the CPU, many times faster than calling the Keras model.

The first convolution lies before any dropout and is computed once per star. All passes of a star go through the widest
layer together, which takes most of the arithmetic and is NumPy's matrix product; with few passes, those of several
stars do. Masks come from a hash of (seed, row, pass, position): nothing is drawn in sequence, so a star's result
depends neither on other stars nor on the number of threads. Each thread works on stars of its own, and the matrix
library on one thread for each: with more, the cores would wait for each other at every star.

Pixels are kept by their position in the pooling window: pixel P j + p of a pooling of width P is column j of row p.
Neighbouring outputs of the second convolution then read neighbouring memory, and pooling is a maximum of rows.

Compiled functions use plain loops where one array would be assigned to part of another, or reshaped: the code for
numba's error messages there took more time to compile than all else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import keras
import numba
import numpy as np
from numba import uint32, uint64
from threadpoolctl import ThreadpoolController

from apogaia.model.fast.layers import pool_width

__all__ = [
    "Dense",
    "FastDropout",
    "Trunk",
    "branches",
    "dense",
    "each_star",
    "groups_of",
    "mask_keys",
    "padded",
    "pass_keys",
    "weights_of",
]

TAPS_AT_ONCE = 8  # of a convolution, in `_add_taps`; also inputs of a dense layer, in `dense`
ROWS_AT_ONCE = 64  # of a matrix product: with 16, half of the time goes into reading the widest kernel
UNITS_AT_ONCE = 16  # of a dense layer: single-precision numbers in a vector of the processor
ALONE = threading.Lock()  # held while the matrix library has one thread, a setting of the whole process
LEVELS = 1 << 16  # masks compare 16 random bits with the dropout rate: 0.3 is met to 3e-6


@dataclass(frozen=True)
class Dense:
    """Kernel (inputs, units) and bias (units,), float32."""

    kernel: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Trunk:
    """Weights of the layers that see the whole spectrum, arranged for the passes; P is the pooling width."""

    mean_spectrum: np.ndarray  # (pixels,)
    first_kernel: np.ndarray  # (filters, width)
    first_bias: np.ndarray  # (filters,)
    second_kernel: np.ndarray  # (filters, taps), the taps padded with zeros to a multiple of TAPS_AT_ONCE
    second_bias: np.ndarray  # (filters,)
    tap_rows: np.ndarray  # (P, taps): row of the masked first convolution that a tap of an output with phase p reads
    tap_starts: np.ndarray  # (P, taps): its first column
    pool_width: int
    pooled_pixels: int
    margin: tuple[int, int]  # columns of zeros or spare pixels left and right of the first convolution
    hidden: tuple[Dense, ...]
    rate: float  # of all dropout

    @classmethod
    def from_network(cls, network: keras.Model, reference: str) -> Trunk:
        """Read the weights by the names of the layers.

        Parameters
        ----------
        network
            With the layers of `apogaia.model.networks.trunk`.
        reference
            Name of the function that takes any network, for the errors.

        Raises
        ------
        ValueError
            If the network has other than two convolutions, or layers with different rates of dropout.
        """
        names = [layer.name for layer in network.layers]
        if [name for name in names if name.startswith("conv_") and "dropout" not in name] != ["conv_1", "conv_2"]:
            raise ValueError(f"the network must have two convolutions; `{reference}` takes any number")
        layer = network.get_layer
        rate = layer("conv_dropout_1").rate
        if {layer.rate for layer in network.layers if isinstance(layer, keras.layers.Dropout)} != {rate}:
            raise ValueError(f"all dropout of the network must have one rate; `{reference}` takes any rates")
        first, second = weights_of(layer("conv_1")), weights_of(layer("conv_2"))
        pool = pool_width(network)
        mean_spectrum = keras.ops.convert_to_numpy(layer("mean_subtraction").mean)
        pooled_pixels = len(mean_spectrum) // pool
        second_kernel, tap_rows, tap_starts, margin = _taps(second.kernel / (1 - rate), pool)
        hidden = [weights_of(layer(name)) for name in names if name.startswith("hidden_") and "dropout" not in name]
        # every dense layer stands behind a dropout, whose factor goes into its kernel; the first reads filter by filter
        hidden = [Dense(each.kernel / np.float32(1 - rate), each.bias) for each in hidden]
        kernel = hidden[0].kernel.reshape(pooled_pixels, len(second.bias), -1).transpose(1, 0, 2)
        hidden[0] = Dense(kernel.reshape(hidden[0].kernel.shape), hidden[0].bias)
        return cls(
            mean_spectrum=mean_spectrum,
            first_kernel=np.ascontiguousarray(first.kernel[:, 0, :].T),
            first_bias=first.bias,
            second_kernel=second_kernel,
            second_bias=second.bias,
            tap_rows=tap_rows,
            tap_starts=tap_starts,
            pool_width=pool,
            pooled_pixels=pooled_pixels,
            margin=margin,
            hidden=tuple(padded(each) for each in hidden),
            rate=rate,
        )

    @property
    def threshold(self) -> np.uint32:
        """What the random bits of a value are compared with."""
        return uint32(round(self.rate * LEVELS))

    def last_hidden(
        self, spectra: np.ndarray, rows: np.ndarray, *, passes: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """The last hidden layer of a group of stars, one of `groups_of`, in all passes.

        Parameters
        ----------
        spectra
            (stars, pixels) float32.
        rows, passes, seed
            As in `FastDropout.moments`.

        Returns
        -------
        hidden, keys, used
            (stars, passes, units) float32, before any dropout behind it; (stars, passes, 2) keys of the masks, as
            `pass_keys` gives them, with one pass more if they are odd, in both; and the number of positions of the hash
            that have been used up, at least.

        Raises
        ------
        ValueError
            If two of the stars have one place in a group.
        """
        keys = np.stack([pass_keys(seed, int(row), passes) for row in rows])
        size, passes = _group_size(passes), keys.shape[1]
        # a star's place follows from its row: in another place, or among another number, its last bits would be others
        places = np.asarray(rows) % size
        if len(np.unique(places)) < len(places):
            raise ValueError(f"rows {list(rows)} have common places in a group of {size}: part them with `groups_of`")
        x = np.empty((size, passes, len(self.hidden[0].kernel)), np.float32)
        x[:, :, len(self.second_bias) * self.pooled_pixels :] = 0.0  # those of `padded`
        x[np.setdiff1d(np.arange(size), places)] = 0.0
        for spectrum, own_keys, place in zip(spectra, keys, places, strict=True):
            first = _first_convolution(
                spectrum - self.mean_spectrum,
                self.first_kernel,
                self.first_bias,
                self.pool_width,
                self.pooled_pixels,
                *self.margin,
            )
            _features(
                first,
                self.second_kernel,
                self.second_bias,
                self.tap_rows,
                self.tap_starts,
                self.pooled_pixels,
                own_keys,
                self.threshold,
                x[place],
            )
        used = first.size + x.shape[2]
        for i, hidden in enumerate(self.hidden):
            if i > 0:
                for own_keys, place in zip(keys, places, strict=True):
                    _mask_units(x[place], own_keys, used, self.threshold)
                used += x.shape[2]
            x = x.reshape(size * passes, -1) @ hidden.kernel
            x += hidden.bias
            np.maximum(x, 0.0, out=x)
            x = x.reshape(size, passes, -1)
        return x[places], keys, used


@dataclass(frozen=True)
class FastDropout:
    """The luminosity network's weights, arranged for the passes."""

    trunk: Trunk
    head: Dense  # scaled fakemag and scaled log variance
    fakemag_scale: float
    log_variance_shift: float

    @classmethod
    def from_model(cls, network: keras.Model) -> FastDropout:
        """Read the weights of `model.get_layer("luminosity")` by the names of its layers.

        Raises
        ------
        ValueError
            If the network has other than two convolutions.
        """
        layer = network.get_layer
        trunk = Trunk.from_network(network, "predict_reference")
        heads = [weights_of(layer(name)) for name in ("scaled_fakemag", "scaled_log_variance")]
        head = np.zeros((trunk.hidden[-1].kernel.shape[1], 2), np.float32)
        head[: len(heads[0].kernel)] = np.hstack([part.kernel for part in heads])
        return cls(
            trunk=trunk,
            head=Dense(head, np.hstack([part.bias for part in heads])),
            fakemag_scale=float(layer("fakemag").scale),
            log_variance_shift=float(layer("log_variance").offset),
        )

    def draws(self, spectra: np.ndarray, rows: np.ndarray, *, passes: int, seed: int) -> np.ndarray:
        """(stars, passes, 2) fakemag and its log variance of one of `groups_of`, float64, each pass with its own masks.

        Within `each_star` bit for bit those of `moments`; elsewhere the matrix library's threads change the last bits.
        """
        hidden, _, _ = self.trunk.last_hidden(spectra, rows, passes=passes, seed=seed)
        # star by star: the bits must not depend on how many there are
        x = np.stack([own[:passes] @ self.head.kernel + self.head.bias for own in hidden]).astype(np.float64)
        fakemag, log_variance = np.logaddexp(0, x[..., 0]) * self.fakemag_scale, x[..., 1] + self.log_variance_shift
        return np.stack([fakemag, log_variance], axis=-1)

    def moments(
        self, spectra: np.ndarray, rows: np.ndarray, *, passes: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean and variance of fakemag over the passes, and the mean predicted variance, each (n,).

        Parameters
        ----------
        spectra
            (n, pixels) float32, finite.
        rows
            (n,) numbers of the stars, which set their masks together with `seed`.
        passes, seed
            Number of masks per star, and their seed.
        """
        rows, moments = np.asarray(rows), np.empty((3, len(rows)))

        def of_group(stars: np.ndarray) -> None:
            draws = self.draws(spectra[stars], rows[stars], passes=passes, seed=seed)
            for i, (fakemag, log_variance) in zip(stars, draws.swapaxes(1, 2), strict=True):
                moments[:, i] = fakemag.mean(), fakemag.var(), np.exp(log_variance).mean()

        each_star(of_group, groups_of(rows, passes))
        mean, variance, predicted_variance = moments
        return mean, variance, predicted_variance


def each_star(function: Callable, *columns: Iterable) -> list[Any]:
    """Return ``function(*row)`` for every row of the columns, on all cores, each with one thread for its matrices.

    With several threads a product of the same numbers has other last bits. The limit is one of the process, so calls
    from several threads wait for each other. The products keep their threads where threadpoolctl knows no library
    (Accelerate), and where another thread of the caller's holds a limit of its own.
    """
    with ALONE, _libraries().limit(limits=1, user_api="blas"), ThreadPoolExecutor(numba.get_num_threads()) as pool:
        return list(pool.map(function, *columns))


def groups_of(rows: np.ndarray, passes: int) -> list[np.ndarray]:
    """Indices of stars that go through the layers together: of one, if they have many passes.

    No two stars of a group have rows with one remainder of the division by its size, which is a star's place in it.
    """
    if len(rows) == 0:
        return []
    place = np.asarray(rows) % _group_size(passes)
    order = np.argsort(place, kind="stable")
    group = np.empty(len(place), int)
    group[order] = np.arange(len(place)) - np.searchsorted(place[order], place[order])
    by_group = np.argsort(group, kind="stable")
    return np.split(by_group, np.flatnonzero(np.diff(group[by_group])) + 1)


def _group_size(passes: int) -> int:
    return max(1, ROWS_AT_ONCE // (passes + passes % 2))


@cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()  # asks the system for all loaded libraries, once


def pass_keys(seed: int, row: int, passes: int) -> np.ndarray:
    """Keys of the masks of one star, (passes, 2).

    One pass more if they are odd, which costs a matrix product nothing and is left out of the draws.
    """
    return _keys(uint64(seed), uint64(row), passes + passes % 2)


def weights_of(layer: keras.layers.Layer) -> Dense:
    """Kernel and bias of a layer."""
    return Dense(*(keras.ops.convert_to_numpy(weight).astype(np.float32) for weight in (layer.kernel, layer.bias)))


def padded(layer: Dense) -> Dense:
    """Add units and inputs of zero weight, up to whole vectors, so that the function `dense` has no remainders.

    The positions of the masks' hash count them: without them a star would have other masks.
    """
    inputs, units = layer.kernel.shape
    # multiples of UNITS_AT_ONCE are multiples of TAPS_AT_ONCE, so the padded outputs of a layer fit the next one
    kernel = np.zeros([-(-size // UNITS_AT_ONCE) * UNITS_AT_ONCE for size in (inputs, units)], np.float32)
    kernel[:inputs, :units] = layer.kernel
    bias = np.zeros(kernel.shape[1], np.float32)
    bias[:units] = layer.bias
    return Dense(kernel, bias)


def _taps(kernel: np.ndarray, pool: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    """Arrange the kernel (width, inputs, filters) of a "same" convolution for input rows by phase.

    Returns the kernel as (filters, taps), the row and first column that each tap reads, (P, taps), and the margins.
    """
    width, inputs, filters = kernel.shape
    left = (width - 1) // 2
    margin = -(-left // pool), (pool - 1 + width - 1 - left) // pool
    n_taps = -(-width * inputs // TAPS_AT_ONCE) * TAPS_AT_ONCE
    arranged = np.zeros((filters, n_taps), np.float32)
    arranged[:, : width * inputs] = kernel.transpose(2, 1, 0).reshape(filters, -1)
    tap_rows = np.zeros((pool, n_taps), np.int64)
    tap_starts = np.zeros((pool, n_taps), np.int64)
    pixel = np.arange(pool)[:, None] + np.arange(width) - left  # relative to the window of the output's phase 0
    for i in range(inputs):
        tap_rows[:, i * width : (i + 1) * width] = i * pool + pixel % pool
        tap_starts[:, i * width : (i + 1) * width] = margin[0] + pixel // pool
    return arranged, tap_rows, tap_starts, margin


@numba.njit(cache=True, nogil=True, fastmath=True)
def _first_convolution(x, kernel, bias, pool, pooled_pixels, left_margin, right_margin):
    """ReLU of a "same" convolution of (pixels,), as rows (filter, phase) with margins of zeros or spare pixels."""
    n_filters, width = kernel.shape
    left = (width - 1) // 2
    n = min(x.size, (pooled_pixels + right_margin) * pool)
    padded = np.zeros(x.size + width - 1, np.float32)
    for i in range(x.size):
        padded[left + i] = x[i]
    total = np.empty(n, np.float32)
    rows = np.zeros((n_filters * pool, left_margin + pooled_pixels + right_margin), np.float32)
    for f in range(n_filters):
        for i in range(n):
            total[i] = bias[f]
        for k in range(width):  # outermost, so that the loop over pixels is vectorised
            weight, shifted = kernel[f, k], padded[k:]
            for i in range(n):
                total[i] += weight * shifted[i]
        for p in range(pool):
            row = rows[f * pool + p, left_margin:]
            for j in range((n - p + pool - 1) // pool):
                row[j] = max(total[j * pool + p], np.float32(0))
    return rows


@numba.njit(cache=True)
def _scramble(x):
    """A bijection of 64-bit numbers that spreads every bit over all (the finaliser of SplitMix64)."""
    x = (x ^ (x >> uint64(30))) * uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> uint64(27))) * uint64(0x94D049BB133111EB)
    return x ^ (x >> uint64(31))


@numba.njit(cache=True)
def _keys(seed, row, passes):
    """(passes, 2) keys of 32 bits for the masks of one star."""
    keys = np.empty((passes, 2), np.uint32)
    star = _scramble(_scramble(seed + uint64(0x9E3779B97F4A7C15)) + row)
    for i in range(passes):
        key = _scramble(star + uint64(0x9E3779B97F4A7C15) * uint64(i + 1))
        keys[i, 0] = uint32(key & uint64(0xFFFFFFFF))
        keys[i, 1] = uint32(key >> uint64(32))
    return keys


@numba.njit(cache=True)
def mask_keys(seed, rows, passes):
    """(n, passes, 2) keys of 32 bits for the masks of the stars in these rows."""
    keys = np.empty((rows.size, passes, 2), np.uint32)
    for i in range(rows.size):
        keys[i] = _keys(uint64(seed), uint64(rows[i]), passes)
    return keys


@numba.njit(inline="always")
def _random_bits(position, key):
    """32 random bits at a position of the sequence with this key."""
    x = uint32(uint32(position * uint32(0x9E3779B9)) + key[0])  # Numba widens to 64 bits: each step is cut back
    x = uint32((x ^ (x >> uint32(16))) * uint32(0x21F0AAAD))
    x = uint32(x ^ key[1])
    x = uint32((x ^ (x >> uint32(15))) * uint32(0x735A2D97))
    return uint32(x ^ (x >> uint32(15)))


@numba.njit(cache=True, nogil=True)
def _mask_pair(a, b, masked_a, masked_b, first, key0, key1, threshold):
    """Drop values of two rows; one hash serves both."""
    key = (key0, key1)
    for j in range(a.size):
        bits = _random_bits(uint32(first + uint32(j)), key)
        value_a, value_b = a[j], b[j]
        masked_a[j] = value_a if (bits & uint32(0xFFFF)) >= threshold else np.float32(0)
        masked_b[j] = value_b if (bits >> uint32(16)) >= threshold else np.float32(0)


@numba.njit(cache=True, nogil=True)
def _mask_rows(rows, masked, first, key, threshold):
    """Drop values of rows, by pairs -> masked, one row behind the other; the last of an odd number is its own partner.

    In place the loops would not be vectorised.
    """
    n_rows, n = rows.shape
    for r in range(0, n_rows, 2):
        s = min(r + 1, n_rows - 1)
        start = uint32(first + (r // 2) * n)
        masked_r, masked_s = masked[r * n : (r + 1) * n], masked[s * n : (s + 1) * n]
        _mask_pair(rows[r], rows[s], masked_r, masked_s, start, key[0], key[1], threshold)


@numba.njit(cache=True, nogil=True)
def _mask_units(x, keys, first, threshold):
    """Drop values of (passes, units) in place, by the upper halves of the hashes."""
    for i in range(x.shape[0]):
        key = (keys[i, 0], keys[i, 1])
        for j in range(x.shape[1]):
            bits = _random_bits(uint32(uint32(first) + uint32(j)), key)
            x[i, j] = x[i, j] if (bits >> uint32(16)) >= threshold else np.float32(0)


@numba.njit(cache=True, nogil=True, fastmath=True)
def _add_taps(total, weights, a, b, c, d, e, f, g, h):
    """total += weights . (a ... h), the eight at once, so that the total is loaded and stored once."""
    wa, wb, wc, wd = weights[0], weights[1], weights[2], weights[3]
    we, wf, wg, wh = weights[4], weights[5], weights[6], weights[7]
    for j in range(total.size):
        total[j] += wa * a[j] + wb * b[j] + wc * c[j] + wd * d[j] + we * e[j] + wf * f[j] + wg * g[j] + wh * h[j]


@numba.njit(cache=True, nogil=True, fastmath=True)
def _raise_to(pooled, total):
    """pooled = max(pooled, total); a maximum is vectorised with fastmath only."""
    for j in range(pooled.size):
        pooled[j] = max(pooled[j], total[j])


@numba.njit(cache=True, nogil=True)
def _convolve_and_pool(masked, columns, kernel, bias, tap_rows, tap_starts, pooled, total):
    """Second convolution, ReLU and maximum over the pooling window -> pooled (filters, pooled pixels).

    `masked` has the rows of so many columns behind one another; `total` is for the sums of a row.
    """
    n = pooled.shape[1]
    for f in range(pooled.shape[0]):
        pooled[f, :] = 0.0  # the maximum with zero is the ReLU
        for p in range(tap_rows.shape[0]):
            start = tap_rows[p] * columns + tap_starts[p]
            total[:] = bias[f]
            for t in range(0, start.size, 8):
                _add_taps(
                    total,
                    kernel[f, t : t + 8],
                    masked[start[t] : start[t] + n],
                    masked[start[t + 1] : start[t + 1] + n],
                    masked[start[t + 2] : start[t + 2] + n],
                    masked[start[t + 3] : start[t + 3] + n],
                    masked[start[t + 4] : start[t + 4] + n],
                    masked[start[t + 5] : start[t + 5] + n],
                    masked[start[t + 6] : start[t + 6] + n],
                    masked[start[t + 7] : start[t + 7] + n],
                )
            _raise_to(pooled[f], total)


@numba.njit(cache=True, nogil=True)
def _features(first, kernel, bias, tap_rows, tap_starts, pooled_pixels, keys, threshold, x):
    """Fill (passes, filters x pooled pixels and spare ones) with what the first dense layer sees, after dropout."""
    masked = np.empty(first.size, np.float32)
    pooled = np.empty((bias.size, pooled_pixels), np.float32)
    total = np.empty(pooled_pixels, np.float32)
    for i in range(keys.shape[0]):
        _mask_rows(first, masked, 0, keys[i], threshold)
        _convolve_and_pool(masked, first.shape[1], kernel, bias, tap_rows, tap_starts, pooled, total)
        _mask_rows(pooled, x[i], first.size, keys[i], threshold)


@numba.njit(cache=True, nogil=True, fastmath=True)
def dense(x, kernel, bias):
    """ReLU of x @ kernel + bias, (n, inputs) -> (n, units), for whole vectors of inputs and units; the kernel is flat.

    Eight inputs at a time: their part of the kernel stays in the nearest cache while all rows use it. Every row goes
    through the same code, so its sums do not depend on its place among the others.
    """
    n, units = x.shape[0], bias.size
    total = np.empty((n, units), np.float32)
    for i in range(n):
        for j in range(units):
            total[i, j] = bias[j]
    for k in range(0, x.shape[1], 8):
        part = kernel[k * units : (k + 8) * units]
        for i in range(n):
            a, b, c, d = x[i, k], x[i, k + 1], x[i, k + 2], x[i, k + 3]
            e, f, g, h = x[i, k + 4], x[i, k + 5], x[i, k + 6], x[i, k + 7]
            for j in range(units):
                total[i, j] += (
                    a * part[j]
                    + b * part[units + j]
                    + c * part[2 * units + j]
                    + d * part[3 * units + j]
                    + e * part[4 * units + j]
                    + f * part[5 * units + j]
                    + g * part[6 * units + j]
                    + h * part[7 * units + j]
                )
    for i in range(n):
        for j in range(units):
            total[i, j] = max(total[i, j], np.float32(0))
    return total


@numba.njit(cache=True, nogil=True)
def branches(first, depths, widths, weights, keys, used, threshold, x):
    """Small parallel networks, of one star in all passes: dropout, then dense layers with dropout behind each.

    Parameters
    ----------
    first
        (units,) float32 that the branches start from, before dropout, one branch after the other.
    depths
        (branches,) number of dense layers.
    widths
        Of each branch: values that it starts from, then units of each dense layer; all are whole vectors.
    weights
        Kernel and bias of each layer behind one another, float32.
    keys, used, threshold
        Of the masks; positions from `used` on are taken.
    x
        Its first columns are filled: (passes, units) of the branches' last layers, one branch after the other.
    """
    passes = keys.shape[0]
    read = layer = start = column = 0
    for b in range(depths.size):
        units = widths[layer]
        y = np.empty((passes, units), np.float32)
        for i in range(passes):
            for j in range(units):
                y[i, j] = first[read + j]
        read += units
        _mask_units(y, keys, used, threshold)
        used += units
        for i in range(depths[b]):
            inputs, units = units, widths[layer + 1 + i]
            end = start + inputs * units
            y = dense(y, weights[start:end], weights[end : end + units])
            start = end + units
            _mask_units(y, keys, used, threshold)
            used += units
        layer += 1 + depths[b]
        for i in range(passes):
            for j in range(units):
                x[i, column + j] = y[i, j]
        column += units
