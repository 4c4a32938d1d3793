"""Monte-Carlo dropout of the luminosity network on a device, compiled by JAX.

Its reference is `dropout_cpu`: weights, arrangement of the pixels by their position in the pooling window, and the
hash of (seed, row, pass, position) that makes the masks are the same, so a star has the same masks on a GPU as on a
CPU and the results agree to rounding. What differs is the order of the work. A GPU wants few and large matrix
products: the second convolution of COLUMNS_AT_ONCE pooled pixels is one product with a banded matrix (three times the
needed arithmetic, on units made for it), and thousands of passes go through each layer together. Nothing is drawn or
kept in sequence, so neither the stars computed together nor the passes at a time matter.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from apogaia.model.fast.dropout_cpu import LEVELS, FastDropout, mask_keys

__all__ = ["DeviceDropout", "moments"]

COLUMNS_AT_ONCE = 8  # pooled pixels whose windows are one row of the banded product
STARS_AT_ONCE = 1024  # on the device: 31 MB of spectra
PASSES_AT_ONCE = 10  # at most, of each of these stars: 2.3 GB of intermediate numbers in single precision
PRECISIONS = ("float32", "tensorfloat32", "bfloat16")


@dataclass(frozen=True)
class DropoutMask:
    """Where the bits of a mask come from: positions of the hash, and the half of it that is used (a shift)."""

    positions: np.ndarray  # uint32
    shifts: np.ndarray  # uint32: 0 or 16

    @classmethod
    def of_rows(cls, row: np.ndarray, column: np.ndarray, n_rows: int, n_columns: int, first: int) -> DropoutMask:
        """Bits of the values at (row, column) of an array that `dropout_cpu` masks by pairs of rows."""
        own_partner = (row == n_rows - 1) & (n_rows % 2 == 1)
        shifts = np.where((row % 2 == 1) | own_partner, 16, 0)
        return cls((first + row // 2 * n_columns + column).astype(np.uint32), shifts.astype(np.uint32))


@dataclass(frozen=True)
class DeviceDropout:
    """The luminosity network for one compiled function; `fast` holds all weights that are not rearranged.

    A block is the masked first convolution that COLUMNS_AT_ONCE pooled pixels depend on.
    """

    fast: FastDropout
    pixels: np.ndarray  # (blocks, inputs): pixel of each input; outside the spectrum: its length
    filters: np.ndarray  # (inputs,): its filter
    banded: np.ndarray  # (inputs, phases x outputs): the second convolution of a block
    bias: np.ndarray  # (outputs,)
    kernel: np.ndarray  # (blocks x outputs, units) of the first dense layer
    masks: tuple[DropoutMask, ...]  # of blocks (blocks, inputs), pooled pixels (blocks x outputs,), hidden layers

    @classmethod
    def from_fast(cls, fast: FastDropout) -> DeviceDropout:
        """Arrange the weights for the device."""
        trunk = fast.trunk
        n_filters, pool = len(trunk.second_bias), trunk.pool_width
        n_rows, n_columns = len(trunk.first_bias) * pool, sum(trunk.margin) + trunk.pooled_pixels
        width = COLUMNS_AT_ONCE + sum(trunk.margin)
        starts = np.arange(0, trunk.pooled_pixels, COLUMNS_AT_ONCE)[:, None]
        row, offset = (grid.ravel() for grid in np.mgrid[:n_rows, :width])
        column = starts + offset
        pixel = (column - trunk.margin[0]) * pool + row % pool
        n_pixels = len(trunk.mean_spectrum)
        outside = (pixel < 0) | (pixel >= n_pixels) | (column >= n_columns)

        banded = np.zeros((n_rows, width, pool, n_filters, COLUMNS_AT_ONCE), np.float32)
        phase, tap, j = np.mgrid[:pool, : trunk.tap_rows.shape[1], :COLUMNS_AT_ONCE]
        inputs = trunk.tap_rows[phase, tap], trunk.tap_starts[phase, tap] + j
        for f in range(n_filters):
            np.add.at(banded, (*inputs, phase, f, j), trunk.second_kernel[f, tap])

        pooled_filter, pooled_column = (grid.ravel() for grid in np.mgrid[:n_filters, :COLUMNS_AT_ONCE])
        pooled_column = (starts + pooled_column).ravel()
        pooled_filter = np.tile(pooled_filter, len(starts))
        spare = pooled_column >= trunk.pooled_pixels
        first_dense = trunk.hidden[0].kernel
        kernel = first_dense[np.where(spare, 0, pooled_filter * trunk.pooled_pixels + pooled_column)]

        used = n_rows * n_columns
        masks = [
            DropoutMask.of_rows(row, column, n_rows, n_columns, 0),
            DropoutMask.of_rows(pooled_filter, pooled_column, n_filters, trunk.pooled_pixels, used),
        ]
        used += len(first_dense)
        for dense in trunk.hidden[1:]:
            masks.append(DropoutMask.of_rows(np.zeros(1, int), np.arange(len(dense.kernel)), 1, 0, used))
            used += len(dense.kernel)
        return cls(
            fast=fast,
            pixels=np.where(outside, n_pixels, pixel),
            filters=row // pool,
            banded=banded.reshape(n_rows * width, -1),
            bias=trunk.second_bias.repeat(COLUMNS_AT_ONCE),
            kernel=np.where(spare[:, None], np.float32(0), kernel),
            masks=tuple(masks),
        )

    def compiled(self, passes: int, precision: str = "tensorfloat32") -> Callable:
        """A function of spectra (n, pixels) and keys (n, passes, 2) that gives the moments (3, n) on the device.

        Rows that are not finite give NaN.
        """
        import jax

        at_once = max(divisor for divisor in range(1, PASSES_AT_ONCE + 1) if passes % divisor == 0)

        def moments_of(spectra, keys):
            from jax import numpy as jnp

            blocks = self._blocks(spectra)
            chunks = jnp.moveaxis(keys.reshape(len(spectra), -1, at_once, 2), 1, 0)
            draws = jax.lax.map(lambda chunk: self._draws(blocks, chunk, precision), chunks)
            fakemag, log_variance = jnp.moveaxis(draws, 3, 0)  # each (chunks, n, passes at once)
            values = [fakemag.mean((0, 2)), fakemag.var((0, 2)), jnp.exp(log_variance).mean((0, 2))]
            return jnp.where(jnp.isfinite(spectra).all(axis=1), jnp.stack(values), jnp.nan)

        return jax.jit(moments_of)

    def _blocks(self, spectra):
        """The first convolution with ReLU, before any dropout: (n, pixels) -> (n, blocks, inputs)."""
        import jax
        from jax import numpy as jnp

        width = self.fast.trunk.first_kernel.shape[1]
        left = (width - 1) // 2
        convolved = jax.lax.conv_general_dilated(
            (spectra - self.fast.trunk.mean_spectrum)[:, None],
            self.fast.trunk.first_kernel[:, None],
            window_strides=(1,),
            padding=[(left, width - 1 - left)],
            precision=jax.lax.Precision.HIGHEST,  # once per star: costs nothing
        )
        convolved = jnp.maximum(convolved + self.fast.trunk.first_bias[:, None], 0)
        with_zero = jnp.pad(convolved, ((0, 0), (0, 0), (0, 1)))
        return with_zero[:, self.filters, self.pixels]

    def _draws(self, blocks, keys, precision: str):
        """One pass for each key: blocks (n, blocks, inputs), keys (n, passes, 2) -> (n, passes, 2) draws."""
        from jax import numpy as jnp

        threshold = np.uint32(round(self.fast.trunk.rate * LEVELS))
        dtype = jnp.bfloat16 if precision == "bfloat16" else jnp.float32
        product = functools.partial(_product, precision=precision)
        x = _dropped(blocks[:, None].astype(dtype), self.masks[0], keys[:, :, None, None], threshold)
        x = product(x, self.banded, dtype)
        outputs = len(self.bias)
        phases = [x[..., i : i + outputs] for i in range(0, x.shape[-1], outputs)]
        x = jnp.maximum(functools.reduce(jnp.maximum, phases) + self.bias.astype(dtype), 0)
        x = x.reshape(*keys.shape[:2], -1)
        for i, dense in enumerate(self.fast.trunk.hidden):
            x = _dropped(x, self.masks[i + 1], keys[:, :, None], threshold)
            kernel = self.kernel if i == 0 else dense.kernel
            x = jnp.maximum(product(x, kernel, jnp.float32) + dense.bias, 0)
        x = _product(x, self.fast.head.kernel, jnp.float32, precision="float32") + self.fast.head.bias
        fakemag = jnp.logaddexp(x[..., 0], 0) * self.fast.fakemag_scale
        return jnp.stack([fakemag, x[..., 1] + self.fast.log_variance_shift], axis=-1)


def moments(
    network: FastDropout,
    spectra,
    *,
    passes: int,
    seed: int,
    batch_size: int = STARS_AT_ONCE,
    precision: str = "tensorfloat32",
    progress: bool = False,
) -> np.ndarray:
    """Mean and variance of fakemag over the passes, and the mean predicted variance, (3, n); see `FastDropout.moments`.

    The device computes while the next spectra are read. Memory is bounded by the batch, whatever n is.

    Parameters
    ----------
    network
        Weights.
    spectra
        (n, pixels) array or HDF5 dataset; rows that are not finite give NaN.
    passes, seed
        Number of masks per star, and their seed.
    batch_size
        Stars at a time on the device.
    precision
        Of the large matrix products: "float32", "tensorfloat32" (on GPUs that have it; full precision elsewhere) or
        "bfloat16". Sums are in single precision in any case.
    progress
        Show a progress bar.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")
    n_stars = len(spectra)
    batch_size = max(1, min(batch_size, n_stars))
    compiled = DeviceDropout.from_fast(network).compiled(passes, precision)
    result = np.empty((3, n_stars))
    waiting = None
    with tqdm(total=n_stars, unit="spectrum", disable=not progress) as bar:
        for start in range(0, n_stars, batch_size):
            batch = np.asarray(spectra[start : start + batch_size], np.float32)
            n = len(batch)
            if n < batch_size:  # one shape, so that it is compiled once
                batch = np.pad(batch, ((0, batch_size - n), (0, 0)))
            keys = mask_keys(seed, np.arange(start, start + batch_size), passes)
            computing = compiled(batch, keys)
            _collect(result, waiting, bar)
            waiting = slice(start, start + n), computing
        _collect(result, waiting, bar)
    return result


def _collect(result: np.ndarray, waiting, bar: tqdm) -> None:
    if waiting is not None:
        rows, computed = waiting
        result[:, rows] = np.asarray(computed)[:, : rows.stop - rows.start]
        bar.update(rows.stop - rows.start)


def _dropped(x, mask: DropoutMask, keys, threshold):
    """Zero the values whose 16 bits lie below the threshold; the bits are those of `dropout_cpu`."""
    from jax import numpy as jnp

    bits = mask.positions * np.uint32(0x9E3779B9) + keys[..., 0]
    bits = (bits ^ (bits >> 16)) * np.uint32(0x21F0AAAD)
    bits = bits ^ keys[..., 1]
    bits = (bits ^ (bits >> 15)) * np.uint32(0x735A2D97)
    bits = bits ^ (bits >> 15)
    return jnp.where((bits >> mask.shifts) & 0xFFFF >= threshold, x, jnp.zeros((), x.dtype))


def _product(a, b, dtype, precision: str):
    """Matrix product, summed in single precision and given in `dtype`."""
    import jax
    from jax import numpy as jnp

    highest = jax.lax.Precision.HIGHEST if precision == "float32" else jax.lax.Precision.HIGH
    return jnp.matmul(a, jnp.asarray(b, a.dtype), precision=highest, preferred_element_type=dtype)
