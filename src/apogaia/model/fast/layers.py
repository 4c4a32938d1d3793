"""Keras layers that give the numbers of plain ones (Dropout, Conv1D) in less time on a CPU."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Iterator

import keras
import numpy as np
from keras import ops

__all__ = ["BitDropout", "BlockedConv1D", "PixelBlocks", "dropout_in_validation", "largest_part", "pool_width"]

register = keras.saving.register_keras_serializable(package="apogaia")


@register
class BitDropout(keras.layers.Dropout):
    """Dropout whose mask compares 16 random bits a value, two values from one random integer.

    The rate is met to 1e-5. Keras' own layer draws a floating-point number for each value and selects; in a training
    step of the joint network that costs several times as much as this product with a mask.
    """

    always = (
        False  # also while the network does not train: for a while, see `dropout_in_validation`; files do not keep it
    )

    def call(self, inputs, training=False):
        if not (training or self.always) or self.rate == 0:
            return inputs
        values = math.prod(inputs.shape[1:])
        shape = (ops.shape(inputs)[0], -(-values // 2))
        bits = keras.random.randint(shape, -(2**31), 2**31 - 1, dtype="int32", seed=self.seed_generator)
        bits = ops.view(bits, "int16")[:, :values]
        mask = ops.cast(bits >= round(self.rate * 2**16) - 2**15, inputs.dtype) * (1.0 / (1.0 - self.rate))
        return inputs * ops.reshape(mask, (-1, *inputs.shape[1:]))


@contextlib.contextmanager
def dropout_in_validation(model: keras.Model) -> Iterator[None]:
    """Keep dropout on in the validation of `model`, for anything that `keras.Model.fit` traces inside the block.

    A network whose stated variances include what dropout does to its predictions is judged wrongly without it.
    """
    layers = [layer for layer in model.layers if isinstance(layer, BitDropout)]
    for layer in layers:
        layer.always = True
    try:
        yield
    finally:
        for layer in layers:
            layer.always = False
        # what has been traced inside the block, and would be used again
        model.test_function = model.predict_function = None


@register
class PixelBlocks(keras.layers.Layer):
    """Cut spectra into blocks, the first of which starts `before` pixels early: (n, pixels) -> (n, blocks, width)."""

    def __init__(self, blocks: int, width: int, before: int, **kwargs):
        super().__init__(**kwargs)
        self.blocks, self.width, self.before = blocks, width, before

    def call(self, spectrum):
        length = self.blocks * self.width - self.before
        after = max(0, length - spectrum.shape[1])
        padded = ops.pad(spectrum[:, :length], ((0, 0), (self.before, after)))
        return ops.reshape(padded, (-1, self.blocks, self.width))

    def get_config(self):
        return {**super().get_config(), "blocks": self.blocks, "width": self.width, "before": self.before}


@register
class BlockedConv1D(keras.layers.Conv1D):
    """The "same" convolution with ReLU, on blocks of pixels.

    (n, blocks + 1, width channels) -> (n, blocks, width filters), with pools (n, blocks, width / pool_width filters).

    With a handful of channels a convolution cannot fill the processor's vectors. Here a block of as many pixels as the
    kernel is wide is one pixel with many channels, and the kernel a banded matrix over two neighbouring blocks: twice
    the products in less than half the time. The weights are Conv1D's. Block b of the output starts (width - 1) // 2
    pixels after block b of the input, so a stack of such layers needs no padding but that of the spectrum.

    Parameters
    ----------
    first_pixel
        Pixel at which the output starts, at most 0.
    pixels
        Pixels of the spectrum. Outputs outside it are zero, as the padding of the next "same" convolution is.
    pool_width
        Number of neighbouring pixels of which only the largest output is kept; it divides the kernel's width, and 1
        keeps all. The largest is found before bias and ReLU, which then have a share of the values to work on. Of pools
        partly outside the spectrum nothing is kept: they are zero.
    """

    def __init__(self, filters: int, kernel_size: int, first_pixel: int, pixels: int, pool_width: int = 1, **kwargs):
        super().__init__(filters, kernel_size, **{**kwargs, "padding": "same", "activation": "relu"})
        if self.kernel_size[0] % pool_width:
            raise ValueError(f"pools of {pool_width} pixels do not fit into blocks of {self.kernel_size[0]}")
        self.first_pixel, self.pixels, self.pool_width = first_pixel, pixels, pool_width

    def build(self, input_shape):
        super().build((*input_shape[:2], input_shape[2] // self.kernel_size[0]))
        self.input_spec = None  # Conv1D's counts the channels of one pixel

    def call(self, inputs):
        width, channels, filters = self.kernel.shape
        blocks, pooled = inputs.shape[1] - 1, width // self.pool_width
        # the first pixels of all pools, then the second ones, ...: `largest_part` compares such parts
        order = np.arange(width).reshape(pooled, self.pool_width).T.ravel().tolist()
        shifted = [ops.pad(self.kernel[:, :, None], ((i, width - i), (0, 0), (0, 0), (0, 0))) for i in order]
        banded = ops.reshape(ops.concatenate(shifted, axis=2), (2, width * channels, width * filters))
        bias = ops.tile(self.bias, (pooled,))
        pixel = (self.first_pixel + np.arange(blocks * width)).reshape(blocks * pooled, self.pool_width)
        outside = ((pixel < 0) | (pixel >= self.pixels)).any(axis=1)
        if outside.any():  # a bias far below zero: the ReLU makes it zero, value and gradient, at no extra cost
            far_below = np.where(outside, -1e30, 0.0).repeat(filters).reshape(blocks, pooled * filters)
            bias = bias + ops.convert_to_tensor(far_below, dtype=self.compute_dtype)
        largest = largest_part(ops.conv(inputs, banded, 1, "valid"), self.pool_width)
        return self.activation(largest + bias)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[1] - 1, self.kernel_size[0] // self.pool_width * self.filters)

    def get_config(self):
        own = {"first_pixel": self.first_pixel, "pixels": self.pixels, "pool_width": self.pool_width}
        return {**super().get_config(), **own}


def pool_width(network: keras.Model) -> int:
    """Pixels of which one is kept after the convolutions of a network with `apogaia.model.networks.trunk`."""
    pools = [layer.pool_size[0] for layer in network.layers if isinstance(layer, keras.layers.MaxPooling1D)]
    return max(pools + [layer.pool_width for layer in network.layers if isinstance(layer, BlockedConv1D)])


def largest_part(values, parts: int):
    """The largest of equal parts of the last axis, value by value: max-pooling of pixels that are sorted into parts.

    Keras' own pooling takes the values of a pool from as many places of memory, in both directions, and in a training
    step costs more than the convolutions. Of an even number of parts, halves are compared first, since they are longer
    pieces of memory.

    Parameters
    ----------
    values
        (..., parts x n).
    parts
        Their number.

    Returns
    -------
    tensor
        (..., n). The gradient goes to one of equal values.
    """
    while parts > 1:
        now = 2 if parts % 2 == 0 else parts
        values, parts = _largest_of(values, now), parts // now
    return values


def _largest_of(values, parts: int):
    """The same in one step, with a gradient that compares each part but the last once."""

    def maximum(values):
        given = ops.split(values, parts, axis=-1)
        largest = functools.reduce(ops.maximum, given)

        def gradient(*given_by_backend, upstream=None):
            # PyTorch passes the values, too, and the gradient by name; see `keras.ops.custom_gradient`
            rest = given_by_backend[0] if upstream is None else upstream
            gradients = []
            for part in given[:-1]:
                gradients.append(rest * ops.cast(ops.equal(part, largest), rest.dtype))
                rest = rest - gradients[-1]
            return ops.concatenate([*gradients, rest], axis=-1)

        return largest, gradient

    if keras.backend.backend() == "numpy":  # it has no gradients, and would warn of that
        return maximum(values)[0]
    return ops.custom_gradient(maximum)(values)
