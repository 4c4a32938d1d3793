"""The joint network: stellar luminosity from a spectrum, and the Gaia parallax zero point, with one likelihood.

Leung & Bovy (2019b), section 2. Keras and keras.ops only, so that the same file runs on every Keras backend. A model's
inputs are named and in physical units; everything that normalises them is inside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from apogaia.formats.star_columns import OFFSET_INPUTS
from apogaia.survey import NetworkSettings

__all__ = ["OFFSETS", "build_joint_network", "parallax_loss", "robust_parallax_loss"]

OFFSETS = ("none", "constant", "multivariate")

register = keras.saving.register_keras_serializable(package="apogaia")


@register
class MeanSubtraction(keras.layers.Layer):
    """Subtract the mean training spectrum, a weight that is not trained: (n, pixels) -> (n, pixels)."""

    def build(self, input_shape):
        self.mean = self.add_weight(shape=input_shape[1:], initializer="zeros", trainable=False, name="mean")

    def call(self, spectrum):
        return spectrum - self.mean


@register
class Standardisation(keras.layers.Layer):
    """(x - mean) / sd per column, with mean and sd as weights that are not trained: (n, columns) -> (n, columns)."""

    def build(self, input_shape):
        self.mean = self.add_weight(shape=input_shape[1:], initializer="zeros", trainable=False, name="mean")
        self.sd = self.add_weight(shape=input_shape[1:], initializer="ones", trainable=False, name="sd")

    def call(self, columns):
        return (columns - self.mean) / self.sd


@register
class BitDropout(keras.layers.Dropout):
    """Dropout whose mask compares 16 random bits a value, two values from one random integer.

    The rate is met to 1e-5. Keras' own layer draws a floating-point number for each value and selects; in a training
    step of the joint network that costs several times as much as this product with a mask.
    """

    def call(self, inputs, training=False):
        if not training or self.rate == 0:
            return inputs
        values = math.prod(inputs.shape[1:])
        shape = (ops.shape(inputs)[0], -(-values // 2))
        bits = keras.random.randint(shape, -(2**31), 2**31 - 1, dtype="int32", seed=self.seed_generator)
        bits = ops.view(bits, "int16")[:, :values]
        mask = ops.cast(bits >= round(self.rate * 2**16) - 2**15, inputs.dtype) * (1.0 / (1.0 - self.rate))
        return inputs * ops.reshape(mask, (-1, *inputs.shape[1:]))


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
    """The "same" convolution with ReLU, on blocks of pixels: (n, blocks + 1, width C) -> (n, blocks, width filters).

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
    """

    def __init__(self, filters: int, kernel_size: int, first_pixel: int, pixels: int, **kwargs):
        super().__init__(filters, kernel_size, **{**kwargs, "padding": "same", "activation": "relu"})
        self.first_pixel, self.pixels = first_pixel, pixels

    def build(self, input_shape):
        super().build((*input_shape[:2], input_shape[2] // self.kernel_size[0]))
        self.input_spec = None  # Conv1D's counts the channels of one pixel

    def call(self, inputs):
        width, channels, filters = self.kernel.shape
        blocks = inputs.shape[1] - 1
        shifted = [ops.pad(self.kernel[:, :, None], ((i, width - i), (0, 0), (0, 0), (0, 0))) for i in range(width)]
        banded = ops.reshape(ops.concatenate(shifted, axis=2), (2, width * channels, width * filters))
        bias = ops.tile(self.bias, (width,))
        pixel = self.first_pixel + np.arange(blocks * width)
        outside = (pixel < 0) | (pixel >= self.pixels)
        if outside.any():  # a bias far below zero: the ReLU makes it zero, value and gradient, at no extra cost
            far_below = np.where(outside, -1e30, 0.0).astype("float32").repeat(filters)
            bias = bias + far_below.reshape(blocks, width * filters)
        return self.activation(ops.conv(inputs, banded, 1, "valid") + bias)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[1] - 1, self.kernel_size[0] * self.filters)

    def get_config(self):
        return {**super().get_config(), "first_pixel": self.first_pixel, "pixels": self.pixels}


@register
class Ones(keras.layers.Layer):
    """A vector of ones for every star, whatever the input: (n, ...) -> (n, units)."""

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        self.units = units

    def call(self, anything):
        return ops.ones((ops.shape(anything)[0], self.units), dtype=self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@register
class FakemagToParallax(keras.layers.Layer):
    """[fakemag, its log variance] and K0 -> [parallax in mas, its log variance in ln mas^2].

    The parallax is L 10^(-0.2 K0); its variance carries that factor squared, so the log variance loses 0.4 ln(10) K0.

    Parameters
    ----------
    released_scale
        None, or for the form of the code that was released with the paper: there the factor, in units of this fakemag
        scale, enters the variance once, so that the errors are right near 10^(0.2 K0) = scale alone (K0 = 9.3).
    """

    def __init__(self, released_scale: float | None = None, **kwargs):
        super().__init__(**kwargs)
        self.released_scale = released_scale

    def call(self, luminosity, k_mag):
        fakemag, log_variance = luminosity[:, :1], luminosity[:, 1:]
        log_factor = -0.2 * math.log(10.0) * k_mag
        log_variance = log_variance + 2.0 * log_factor
        if self.released_scale is not None:
            log_variance = log_variance - (log_factor + math.log(self.released_scale))
        return ops.concatenate([fakemag * ops.exp(log_factor), log_variance], axis=-1)

    def compute_output_shape(self, luminosity_shape, k_mag_shape):
        return luminosity_shape

    def get_config(self):
        return {**super().get_config(), "released_scale": self.released_scale}


@register
class ParallaxOffset(keras.layers.Layer):
    """Add the zero point to the parallax and leave the log variance: (n, 2) and (n, 1) -> (n, 2)."""

    def call(self, prediction, offset):
        return ops.concatenate([prediction[:, :1] + offset, prediction[:, 1:]], axis=-1)

    def compute_output_shape(self, prediction_shape, offset_shape):
        return prediction_shape


@keras.saving.register_keras_serializable(package="apogaia")
def parallax_loss(y_true, y_pred):
    """Negative log likelihood per star, without its constant (paper Eqs. 3-4).

    J = (predicted - parallax)^2 exp(-s) / 2 + s / 2 with s = ln(error^2 + predicted variance).

    The log variance needs no clipping: Gaia's error bounds s from below, s is a sum of exponentials taken in the log,
    and exp(-s) can only underflow to zero, so loss and gradient are finite for any network output.

    Parameters
    ----------
    y_true
        (n, 2) Gaia's parallax and its error [mas]; the error is positive.
    y_pred
        (n, 2) predicted Gaia parallax [mas] and log variance of the predicted true parallax [ln mas^2].
    """
    parallax, error = y_true[:, 0], y_true[:, 1]
    log_total = ops.logaddexp(2.0 * ops.log(error), y_pred[:, 1])
    return 0.5 * ops.square(y_pred[:, 0] - parallax) * ops.exp(-log_total) + 0.5 * log_total


def robust_parallax_loss(fraction: float, width: float):
    """A loss like `parallax_loss` that a few wrong parallaxes, matches or magnitudes cannot carry away.

    Each star is, with probability `fraction`, a contaminant whose standard deviation is `width` times as large:
    J = -ln[(1 - fraction) N(1) + fraction N(width)] (Hogg, Bovy & Lang 2010, section 3).
    """
    log_good, log_bad = math.log1p(-fraction), math.log(fraction / width)

    def loss(y_true, y_pred):
        parallax, error = y_true[:, 0], y_true[:, 1]
        log_total = ops.logaddexp(2.0 * ops.log(error), y_pred[:, 1])
        square = ops.square(y_pred[:, 0] - parallax) * ops.exp(-log_total)
        good, bad = log_good - 0.5 * square, log_bad - 0.5 * square / width**2
        return 0.5 * log_total - ops.logaddexp(good, bad)

    return loss


def build_joint_network(
    network: NetworkSettings,
    offset: str,
    *,
    mean_spectrum: np.ndarray,
    parallax_scale: float,
    offset_mean: Sequence[float] = (0.0, 0.0, 0.0),
    offset_sd: Sequence[float] = (1.0, 1.0, 1.0),
    variance_form: str = "parallax",
) -> keras.Model:
    """The network that predicts Gaia's parallax from spectrum, apparent magnitude and, for the zero point, colours.

    Parameters
    ----------
    network
        Sizes of the layers.
    offset
        "none", "constant" (one zero point for all stars) or "multivariate" (a function of G, BP-RP and Teff).
    mean_spectrum
        (pixels,) mean normalised spectrum of the training set, which is subtracted.
    parallax_scale
        Standard deviation of the training parallaxes [mas].
    offset_mean, offset_sd
        Training mean and standard deviation of G, BP-RP [mag] and Teff [K]; used by "multivariate" alone.
    variance_form
        "parallax" (Eqs. 3-4), or "released": see `FakemagToParallax`.

    Returns
    -------
    keras.Model
        Inputs by name: ``spectrum`` (n, pixels), ``k_mag`` (n, 1) extinction-corrected Ks, and for "multivariate"
        ``g_mag``, ``bp_rp``, ``teff`` (n, 1). Output (n, 2): predicted Gaia parallax [mas] and log variance of the
        predicted true parallax [ln mas^2]. ``get_layer("luminosity")`` maps spectrum to (n, 2): fakemag and its log
        variance. ``get_layer("offset")`` gives (n, 1) Gaia minus true parallax [mas], from (n, 3) ones or from the
        three inputs.

    Raises
    ------
    ValueError
        If `offset` is none of the three.
    """
    if offset not in OFFSETS:
        raise ValueError(f"offset must be one of {', '.join(OFFSETS)}, not {offset!r}")
    luminosity = _luminosity_network(network, len(mean_spectrum), parallax_scale)
    luminosity.get_layer("mean_subtraction").mean.assign(mean_spectrum)
    spectrum = keras.Input((len(mean_spectrum),), name="spectrum")
    k_mag = keras.Input((1,), name="k_mag")
    inputs = {"spectrum": spectrum, "k_mag": k_mag}
    released = network.fakemag_scale if variance_form == "released" else None
    output = FakemagToParallax(released, name="true_parallax")(luminosity(spectrum), k_mag)
    if offset == "constant":
        ones = keras.Input((len(OFFSET_INPUTS),), name="ones")
        offset_network = keras.Model(ones, _offset_layers(network, ones, parallax_scale), name="offset")
        output = ParallaxOffset(name="gaia_parallax")(output, offset_network(Ones(len(OFFSET_INPUTS))(k_mag)))
    elif offset == "multivariate":
        offset_network = _multivariate_offset_network(network, parallax_scale, offset_mean, offset_sd)
        columns = {name: keras.Input((1,), name=name) for name in OFFSET_INPUTS}
        inputs |= columns
        output = ParallaxOffset(name="gaia_parallax")(output, offset_network(columns))
    return keras.Model(inputs, output, name=f"joint_{offset}")


def _initial(network: NetworkSettings) -> keras.initializers.Initializer:
    # one for each layer: an initialiser used twice gives the same numbers twice
    return keras.initializers.RandomNormal(stddev=network.initial_weight_sd)


def _hidden(network: NetworkSettings, activation: str) -> dict:
    """What all hidden layers share."""
    return {
        "activation": activation,
        "kernel_initializer": _initial(network),
        "kernel_regularizer": keras.regularizers.L2(network.l2),
    }


def _luminosity_network(network: NetworkSettings, n_pixels: int, parallax_scale: float) -> keras.Model:
    """Spectrum -> [fakemag, log variance of fakemag]."""
    spectrum = keras.Input((n_pixels,), name="spectrum")
    x = MeanSubtraction(name="mean_subtraction")(spectrum)
    x = _convolutions(network, n_pixels, x)
    x = keras.layers.Flatten(name="flat")(x)
    for i, units in enumerate(network.hidden_units, start=1):
        x = BitDropout(network.dropout, name=f"hidden_dropout_{i}")(x)
        x = keras.layers.Dense(units, name=f"hidden_{i}", **_hidden(network, "relu"))(x)
    # both heads work at a scale near 1: fakemag = softplus * scale, hence ln variance + 2 ln scale
    scale = network.fakemag_scale * parallax_scale
    fakemag = keras.layers.Dense(1, "softplus", kernel_initializer=_initial(network), name="scaled_fakemag")(x)
    log_variance = keras.layers.Dense(1, kernel_initializer=_initial(network), name="scaled_log_variance")(x)
    output = keras.layers.Concatenate(name="fakemag_and_log_variance")(
        [
            keras.layers.Rescaling(scale, name="fakemag")(fakemag),
            keras.layers.Rescaling(1.0, 2.0 * math.log(scale), name="log_variance")(log_variance),
        ]
    )
    return keras.Model(spectrum, output, name="luminosity")


def _convolutions(network: NetworkSettings, n_pixels: int, spectrum):
    """Convolutions with ReLU and dropout between them, and max-pooling: (n, pixels) -> (n, pooled pixels, filters)."""
    width = network.conv_width
    left, n_layers = (width - 1) // 2, len(network.conv_filters)
    used_pixels = n_pixels // network.pool_width * network.pool_width
    blocks = -(-used_pixels // width)
    x = PixelBlocks(blocks + n_layers, width, n_layers * left, name="blocks")(spectrum)
    for i, filters in enumerate(network.conv_filters, start=1):
        x = BlockedConv1D(
            filters,
            width,
            first_pixel=-(n_layers - i) * left,
            pixels=n_pixels,
            kernel_initializer=_initial(network),
            kernel_regularizer=keras.regularizers.L2(network.l2),
            name=f"conv_{i}",
        )(x)
        if i < n_layers:
            x = BitDropout(network.dropout, name=f"conv_dropout_{i}")(x)
    x = keras.layers.Reshape((blocks * width, network.conv_filters[-1]), name="pixels")(x)
    if blocks * width > used_pixels:
        x = keras.layers.Cropping1D((0, blocks * width - used_pixels), name="used_pixels")(x)
    return keras.layers.MaxPooling1D(network.pool_width, name="pool")(x)


def _offset_layers(network: NetworkSettings, x, parallax_scale: float):
    """(n, 3) standardised inputs -> (n, 1) zero point [mas]."""
    for i, units in enumerate(network.offset_hidden_units, start=1):
        x = keras.layers.Dense(units, name=f"offset_hidden_{i}", **_hidden(network, "tanh"))(x)
        x = BitDropout(network.dropout, name=f"offset_dropout_{i}")(x)
    x = keras.layers.Dense(1, "tanh", kernel_initializer=_initial(network), name="scaled_offset")(x)
    return keras.layers.Rescaling(parallax_scale, name="offset_mas")(x)


def _multivariate_offset_network(network: NetworkSettings, parallax_scale: float, mean, sd) -> keras.Model:
    columns = {name: keras.Input((1,), name=name) for name in OFFSET_INPUTS}
    x = keras.layers.Concatenate(name="columns")([columns[name] for name in OFFSET_INPUTS])
    x = Standardisation(name="standardisation")(x)
    offset_network = keras.Model(columns, _offset_layers(network, x, parallax_scale), name="offset")
    standardisation = offset_network.get_layer("standardisation")
    standardisation.mean.assign(mean)
    standardisation.sd.assign(sd)
    return offset_network
