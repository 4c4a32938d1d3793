"""The censored network: Teff, log g and 20 abundances from a spectrum, each element from its own lines.

Leung & Bovy (2019a), arXiv:1808.04428, section 3. A network that sees the whole spectrum learns the correlations of its
training set, such as that of two elements, as well as lines. Here each element but iron has a small network that sees
the pixels of its window alone. Beside them it is given Teff, log g and [Fe/H], and two numbers of the network that sees
everything: too few to carry other abundances.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np
from keras import ops

from apogaia.formats.pixel_grid import N_PIXELS, element_window
from apogaia.formats.stars_h5_columns import ELEMENTS, LABELS
from apogaia.model.fast.layers import BitDropout
from apogaia.model.networks import initial, trunk
from apogaia.survey import NetworkSettings, ParametersSettings

__all__ = ["CENSORED_ELEMENTS", "build_censored_network"]

CENSORED_ELEMENTS = tuple(element for element in ELEMENTS if element != "Fe")  # iron has lines in all the spectrum
WIDE_WINDOWS = ("C", "N")  # molecules: half of the spectrum
STAR_LABELS = ("teff", "logg", "fe_h")  # from the whole spectrum, and known to each element
AUXILIARY_UNITS = 2  # what else an element is told of the whole spectrum,
AUXILIARY_MAX_NORM = 0.5  # and the largest norm of their weights: part of the method

register = keras.saving.register_keras_serializable(package="apogaia")


@register
class Window(keras.layers.Layer):
    """The pixels of some runs: (n, pixels) -> (n, pixels of the runs).

    Parameters
    ----------
    runs
        (first, behind the last) pixel of each run.
    """

    def __init__(self, runs, **kwargs):
        super().__init__(**kwargs)
        self.runs = [[int(start), int(stop)] for start, stop in runs]
        self.pixels = np.concatenate([np.arange(start, stop) for start, stop in self.runs]).astype("int32")

    def call(self, spectrum):
        # from the transposed spectra, of which a pixel of all stars is one piece of memory: single values take longer
        return ops.transpose(ops.take(ops.transpose(spectrum), self.pixels, axis=0))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], len(self.pixels))

    def get_config(self):
        return {**super().get_config(), "runs": self.runs}


@register
class StopGradientInTraining(keras.layers.Layer):
    """Identity with zero gradient during training only, so that the Jacobian of a trained network is complete."""

    def call(self, inputs, training=False):
        return ops.stop_gradient(inputs) if training else inputs


@register
class PhysicalLabels(keras.layers.Layer):
    """Standardised labels and their log variances, (n, labels) each -> (n, labels, 2) in units of the labels.

    Mean and standard deviation are weights that are not trained.
    """

    def build(self, labels_shape, log_variances_shape):
        self.mean = self.add_weight(shape=labels_shape[1:], initializer="zeros", trainable=False, name="mean")
        self.sd = self.add_weight(shape=labels_shape[1:], initializer="ones", trainable=False, name="sd")

    def call(self, labels, log_variances):
        return ops.stack([self.mean + self.sd * labels, log_variances + 2.0 * ops.log(self.sd)], axis=-1)

    def compute_output_shape(self, labels_shape, log_variances_shape):
        return (*labels_shape, 2)


def build_censored_network(
    network: NetworkSettings,
    parameters: ParametersSettings,
    *,
    mean_spectrum: np.ndarray,
    label_mean: np.ndarray,
    label_sd: np.ndarray,
    windows: Mapping[str, np.ndarray] | None = None,
) -> keras.Model:
    """The network that predicts Teff, log g and [X/H] of 20 elements from a spectrum.

    Parameters
    ----------
    network
        Convolutions, penalty and start of the weights.
    parameters
        Sizes of the other layers, and dropout.
    mean_spectrum
        (pixels,) mean normalised spectrum of the training set, which is subtracted.
    label_mean, label_sd
        (22,) mean and standard deviation of the training labels in the order of `LABELS` [K, dex]; missing labels do
        not enter them.
    windows
        Boolean (pixels,) for each of `CENSORED_ELEMENTS`; None: ASPCAP's windows on APOGEE's 7514 pixels.

    Returns
    -------
    keras.Model
        Input ``spectrum`` (n, pixels). Output (n, 22, 2): label and log variance of its prediction [K, dex; ln of their
        squares], in the order of `LABELS`. Layers by name: ``teff_logg_fe_h`` and ``auxiliary``, which are what an
        element is told of the whole spectrum; ``mg_window``, ``mg_dropout_2`` (its own branch's last layer),
        ``standardised_mg_h`` and ``standardised_mg_h_log_variance`` of each element.

    Raises
    ------
    ValueError
        If a label's standard deviation is not positive, or a window is missing, empty, or has another number of pixels.
    """
    n_pixels = len(mean_spectrum)
    _check_labels(label_mean, label_sd)
    runs = _runs_of_windows(windows, n_pixels)
    network = dataclasses.replace(network, hidden_units=parameters.hidden_units, dropout=parameters.dropout)
    spectrum = keras.Input((n_pixels,), name="spectrum")
    subtracted, whole = trunk(network, spectrum)
    standardised = {label: _label_and_log_variance(label, whole) for label in STAR_LABELS}
    star = keras.layers.Concatenate(name="teff_logg_fe_h")([standardised[label][0] for label in STAR_LABELS])
    auxiliary = keras.layers.Dense(
        AUXILIARY_UNITS,
        kernel_initializer=initial(network),
        kernel_constraint=keras.constraints.MaxNorm(AUXILIARY_MAX_NORM),
        name="auxiliary",
    )(whole)
    told = [auxiliary, StopGradientInTraining(name="told_teff_logg_fe_h")(star)]
    for element in CENSORED_ELEMENTS:
        name = element.lower()
        own = Window(runs[element], name=f"{name}_window")(subtracted)
        own = _element_layers(network, parameters, element, own)
        known = keras.layers.Concatenate(name=f"{name}_known")([own, *told])
        standardised[f"{name}_h"] = _label_and_log_variance(f"{name}_h", known)
    labels, log_variances = (
        keras.layers.Concatenate(name=name)([standardised[label][i] for label in LABELS])
        for i, name in enumerate(("standardised_labels", "standardised_log_variances"))
    )
    output = PhysicalLabels(name="labels")(labels, log_variances)
    model = keras.Model({"spectrum": spectrum}, output, name="censored")
    model.get_layer("mean_subtraction").mean.assign(mean_spectrum)
    model.get_layer("labels").mean.assign(label_mean)
    model.get_layer("labels").sd.assign(label_sd)
    return model


def _label_and_log_variance(label: str, x):
    """A standardised label and its log variance, (n, 1) each."""
    return tuple(keras.layers.Dense(1, name=f"standardised_{label}{end}")(x) for end in ("", "_log_variance"))


def _element_layers(network: NetworkSettings, parameters: ParametersSettings, element: str, x):
    """(n, pixels of the window) -> (n, units of the last hidden layer); only the first layer is penalised."""
    sizes = parameters.wide_element_units if element in WIDE_WINDOWS else parameters.element_units
    for i, units in enumerate(sizes, start=1):
        penalty = keras.regularizers.L2(network.l2) if i == 1 else None
        name = f"{element.lower()}_hidden_{i}"
        x = keras.layers.Dense(units, activation="relu", kernel_regularizer=penalty, name=name)(x)
        x = BitDropout(network.dropout, name=f"{element.lower()}_dropout_{i}")(x)
    return x


def _check_labels(mean: np.ndarray, sd: np.ndarray) -> None:
    for name, values in (("label_mean", mean), ("label_sd", sd)):
        if np.shape(values) != (len(LABELS),):
            raise ValueError(f"{name} must have {len(LABELS)} values, one per label, not the shape {np.shape(values)}")
    wrong = [label for label, m, s in zip(LABELS, mean, sd, strict=True) if not (np.isfinite(m) and 0 < s < np.inf)]
    if wrong:
        raise ValueError(f"no mean or no spread of {', '.join(wrong)}: do enough training stars have the label?")


def _runs_of_windows(windows: Mapping[str, np.ndarray] | None, n_pixels: int) -> dict[str, np.ndarray]:
    """Runs of pixels, (runs, 2), of each element."""
    if windows is None:
        if n_pixels != N_PIXELS:
            raise ValueError(f"spectra have {n_pixels} pixels, the elements' windows {N_PIXELS}: give windows, too")
        windows = {element: element_window(element) for element in CENSORED_ELEMENTS}
    missing = [element for element in CENSORED_ELEMENTS if element not in windows]
    if missing:
        raise ValueError(f"windows lack {', '.join(missing)}; needed are {', '.join(CENSORED_ELEMENTS)}")
    runs = {}
    for element in CENSORED_ELEMENTS:
        window = np.asarray(windows[element], bool)
        if window.shape != (n_pixels,) or not window.any():
            raise ValueError(
                f"the window of {element} must be (pixels,) = ({n_pixels},) with a pixel in it: its shape is"
                f" {window.shape}, with {window.sum()} pixels"
            )
        runs[element] = np.flatnonzero(np.diff(window, prepend=False, append=False)).reshape(-1, 2)
    return runs
