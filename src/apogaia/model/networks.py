"""The joint network: stellar luminosity from a spectrum, and the Gaia parallax zero point; and its reusable trunk.

Leung & Bovy (2019b), section 2. Keras and keras.ops only, so that the same file runs on every Keras backend. A model's
inputs are named and in physical units; everything that normalises them is inside.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from apogaia.formats.stars_h5_columns import OFFSET_INPUTS
from apogaia.model.fast.layers import BitDropout, BlockedConv1D, PixelBlocks
from apogaia.survey import NetworkSettings

__all__ = ["OFFSETS", "build_joint_network", "check_pixels", "initial", "trunk"]

OFFSETS = ("none", "constant", "multivariate")
VARIANCE_FORMS = ("parallax", "released")

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
        If `offset` is none of the three, or `variance_form` none of the two.
    """
    for name, given, choices in (("offset", offset, OFFSETS), ("variance_form", variance_form, VARIANCE_FORMS)):
        if given not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, not {given!r}")
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
        ones = Ones(len(OFFSET_INPUTS), name="ones")(k_mag)
        output = ParallaxOffset(name="gaia_parallax")(output, offset_network(ones))
    elif offset == "multivariate":
        offset_network = _multivariate_offset_network(network, parallax_scale, offset_mean, offset_sd)
        columns = {name: keras.Input((1,), name=name) for name in OFFSET_INPUTS}
        inputs |= columns
        output = ParallaxOffset(name="gaia_parallax")(output, offset_network(columns))
    return keras.Model(inputs, output, name=f"joint_{offset}")


def initial(network: NetworkSettings) -> keras.initializers.Initializer:
    """How a layer's weights start; one for each layer, for an initialiser used twice gives the same numbers twice."""
    return keras.initializers.RandomNormal(stddev=network.initial_weight_sd)


def _hidden(network: NetworkSettings, activation: str) -> dict:
    """What all hidden layers share."""
    return {
        "activation": activation,
        "kernel_initializer": initial(network),
        "kernel_regularizer": keras.regularizers.L2(network.l2),
    }


def _luminosity_network(network: NetworkSettings, n_pixels: int, parallax_scale: float) -> keras.Model:
    """Spectrum -> [fakemag, log variance of fakemag]."""
    spectrum = keras.Input((n_pixels,), name="spectrum")
    _, x = trunk(network, spectrum)
    # both heads work at a scale near 1: fakemag = softplus * scale, hence ln variance + 2 ln scale
    scale = network.fakemag_scale * parallax_scale
    fakemag = keras.layers.Dense(1, "softplus", kernel_initializer=initial(network), name="scaled_fakemag")(x)
    log_variance = keras.layers.Dense(1, kernel_initializer=initial(network), name="scaled_log_variance")(x)
    output = keras.layers.Concatenate(name="fakemag_and_log_variance")(
        [
            keras.layers.Rescaling(scale, name="fakemag")(fakemag),
            keras.layers.Rescaling(1.0, 2.0 * math.log(scale), name="log_variance")(log_variance),
        ]
    )
    return keras.Model(spectrum, output, name="luminosity")


def trunk(network: NetworkSettings, spectrum):
    """The layers that see the whole spectrum.

    Parameters
    ----------
    network
        Convolutions, pooling, hidden layers, dropout.
    spectrum
        (n, pixels) Keras input. The mean that is subtracted is a weight of the layer ``mean_subtraction``, zero so far.

    Returns
    -------
    subtracted, hidden
        (n, pixels) spectrum less the mean, and (n, units) of the last hidden layer.
    """
    subtracted = MeanSubtraction(name="mean_subtraction")(spectrum)
    x = _convolutions(network, spectrum.shape[1], subtracted)
    x = keras.layers.Flatten(name="flat")(x)
    for i, units in enumerate(network.hidden_units, start=1):
        x = BitDropout(network.dropout, name=f"hidden_dropout_{i}")(x)
        x = keras.layers.Dense(units, name=f"hidden_{i}", **_hidden(network, "relu"))(x)
    return subtracted, x


def _convolutions(network: NetworkSettings, n_pixels: int, spectrum):
    """Convolutions with ReLU and dropout between them, and max-pooling: (n, pixels) -> (n, pooled pixels, filters)."""
    width, pool = network.conv_width, network.pool_width
    left, n_layers = (width - 1) // 2, len(network.conv_filters)
    used_pixels = n_pixels // pool * pool
    pooled_with_last = pool if width % pool == 0 else 1  # the last convolution pools, if whole pools fit into a block
    blocks = -(-used_pixels // width)
    x = PixelBlocks(blocks + n_layers, width, n_layers * left, name="blocks")(spectrum)
    for i, filters in enumerate(network.conv_filters, start=1):
        x = BlockedConv1D(
            filters,
            width,
            first_pixel=-(n_layers - i) * left,
            pixels=n_pixels,
            pool_width=pooled_with_last if i == n_layers else 1,
            kernel_initializer=initial(network),
            kernel_regularizer=keras.regularizers.L2(network.l2),
            name=f"conv_{i}",
        )(x)
        if i < n_layers:
            x = BitDropout(network.dropout, name=f"conv_dropout_{i}")(x)
    pixels, used_pixels = blocks * width // pooled_with_last, used_pixels // pooled_with_last
    x = keras.layers.Reshape((pixels, network.conv_filters[-1]), name="pixels")(x)
    if pixels > used_pixels:
        x = keras.layers.Cropping1D((0, pixels - used_pixels), name="used_pixels")(x)
    return x if pooled_with_last == pool else keras.layers.MaxPooling1D(pool, name="pool")(x)


def _offset_layers(network: NetworkSettings, x, parallax_scale: float):
    """(n, 3) standardised inputs -> (n, 1) zero point [mas]."""
    for i, units in enumerate(network.offset_hidden_units, start=1):
        x = keras.layers.Dense(units, name=f"offset_hidden_{i}", **_hidden(network, "tanh"))(x)
        x = BitDropout(network.dropout, name=f"offset_dropout_{i}")(x)
    x = keras.layers.Dense(1, "tanh", kernel_initializer=initial(network), name="scaled_offset")(x)
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


def check_pixels(model: keras.Model, spectra) -> None:
    """Raise a ValueError if spectra, (n, pixels), have another number of pixels than the model's input ``spectrum``."""
    pixels = next(given.shape[1] for given in model.inputs if given.name == "spectrum")
    if len(spectra.shape) != 2 or spectra.shape[1] != pixels:
        raise ValueError(f"spectra have the shape {tuple(spectra.shape)}, but the model takes {pixels} pixels a star")
