"""Networks in model folders of every generation: a JSON file, and the weights in a file of Keras 2 or 3."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from apogaia.formats.pixel_grid import element_window
from apogaia.model.model_origin import ModelFileError
from apogaia.parameters.network import CENSORED_ELEMENTS, WIDE_WINDOWS
from apogaia.published.folder_parameters import CENSORED, JOINT, FolderParameters, read_folder_parameters
from apogaia.published.keras2_file import read_keras2_file
from apogaia.published.keras3_file import read_keras3_file
from apogaia.published.keras_layers import KerasLayers
from apogaia.published.network_parts import ELEMENT_NAMES, FAKEMAG_FACTOR, Dense, PublishedNetwork
from apogaia.published.normalisation import Normalisation, read_normalisation

__all__ = ["read_model_folder"]

READERS = {"model_weights.keras": read_keras3_file, "model_weights.h5": read_keras2_file}
HEADS = ("output", "variance_output")
NAMED = (*HEADS, "fakemag_output", "fakemag_variance_output", "offset_output", "aux_fullspec")


def read_model_folder(folder: Path) -> PublishedNetwork:
    """Read a network; weights are found by the shape and the name of their layer, wherever it stands in the file.

    Raises
    ------
    ModelFileError
        If a file is missing or damaged, or holds another network than the JSON file states.
    """
    parameters = read_folder_parameters(folder)
    present = [folder / name for name in READERS if (folder / name).is_file()]
    if not present:
        raise ModelFileError(f"{folder}: no {' or '.join(READERS)} in it: give the whole model folder")
    layers = READERS[present[0].name](present[0])
    weights, windows = _trunk(layers, parameters), None
    pixels, offset = _inputs(parameters)
    labels = read_normalisation(parameters.content, "labels", "output", parameters.n_labels, folder)
    notes: tuple[str, ...] = ()
    if parameters.architecture == CENSORED:
        weights |= _censored(layers, parameters)
        windows = {element: element_window(element) for element in CENSORED_ELEMENTS}
    else:
        weights |= _luminosity(layers, parameters, labels)
        if parameters.architecture == JOINT:
            weights |= _offset(layers, parameters)
        elif labels.sd[0] == 1:
            notes = ("labels_std is 1: luminosities are in units of the network's own output, not in mas",)
    keras = "Keras 3" if present[0].suffix == ".keras" else "Keras 2"
    return PublishedNetwork(
        source=folder,
        files=(parameters.path, present[0]),
        architecture=parameters.architecture,
        layout=f"model folder with {'names' if parameters.by_name else 'lists'}, weights of {keras}",
        survey="dr17" if parameters.by_name and parameters.architecture != JOINT else "dr14",
        weights=weights,
        mean_spectrum=pixels.mean,
        pixel_sd=float(pixels.sd[0]),
        label_mean=labels.mean,
        label_sd=labels.sd,
        pool_width=parameters.pool_width,
        dropout=parameters.dropout,
        windows=windows,
        **offset,
        notes=notes,
    )


def _inputs(parameters: FolderParameters) -> tuple[Normalisation, dict]:
    """Normalisation of the pixels, and what kind of offset a joint network has."""
    folder, n_pixels = parameters.path.parent, parameters.n_pixels
    inputs = read_normalisation(parameters.content, "input", "input", parameters.n_inputs, folder)
    pixels = Normalisation(inputs.mean[:n_pixels], inputs.sd[:n_pixels], inputs.mode)
    if np.ptp(pixels.sd) > 0:
        raise ModelFileError(
            f"{folder}: input_std scales each pixel separately; apogaia's networks use one scale for all pixels"
        )
    if parameters.architecture != JOINT:
        return pixels, {}
    if inputs.sd[n_pixels] != 1:
        raise ModelFileError(
            f"{folder}: input_std of Ks is {inputs.sd[n_pixels]:g}, not 1: the network then has no Ks in mag"
        )
    mean, sd = inputs.mean[n_pixels + 1 :], inputs.sd[n_pixels + 1 :]
    if np.all(mean == 1) and np.all(sd == 1):  # the constant offset's inputs are ones
        return pixels, {"offset": "constant"}
    return pixels, {"offset": "multivariate", "offset_mean": tuple(mean.tolist()), "offset_sd": tuple(sd.tolist())}


def _trunk(layers: KerasLayers, parameters: FolderParameters) -> dict[str, Dense]:
    """Layers that see the whole spectrum, whose names are automatic."""
    first, second = parameters.filters
    width, (one, two) = parameters.conv_width, parameters.hidden[:2]
    flat = parameters.n_pixels // parameters.pool_width * second
    elements = [name for element in CENSORED_ELEMENTS for name in _element_layers(element)]
    shapes = {
        "conv_1": (width, 1, first),
        "conv_2": (width, first, second),
        "hidden_1": (flat, one),
        "hidden_2": (one, two),
    }
    if parameters.architecture == JOINT:
        three, four = parameters.hidden[2:]
        shapes |= {"offset_hidden_1": (3, three), "offset_hidden_2": (three, four)}
    return {name: layers.shaped(shape, name, (*NAMED, *elements)) for name, shape in shapes.items()}


def _luminosity(layers: KerasLayers, parameters: FolderParameters, labels: Normalisation) -> dict[str, Dense]:
    joint = parameters.architecture == JOINT
    names = [f"fakemag_{name}" for name in HEADS] if joint else HEADS
    if labels.mean[0] != 0:
        raise ModelFileError(f"{layers.source}: labels_mean is {labels.mean[0]:g}; luminosities are only scaled")
    activation = layers.activation(names[0]) or ("softplus" if joint else parameters.last_activation)
    if activation != "softplus":
        raise ModelFileError(
            f"{layers.source}: the activation of layer {names[0]!r} is {activation}, not softplus, as a luminosity's is"
        )
    two = parameters.hidden[1]
    return {
        ours: layers.named(name, (two, 1))
        for ours, name in zip(("scaled_fakemag", "scaled_log_variance"), names, strict=True)
    }


def _offset(layers: KerasLayers, parameters: FolderParameters) -> dict[str, Dense]:
    if layers.in_a_lambda(FAKEMAG_FACTOR) is False:
        raise ModelFileError(
            f"{layers.source}: the luminosity is not multiplied by {FAKEMAG_FACTOR}: older than the published networks"
        )
    if layers.activation("offset_output") not in (None, "tanh"):
        raise ModelFileError(f"{layers.source}: the activation of layer 'offset_output' must be tanh")
    return {"scaled_offset": layers.named("offset_output", (parameters.hidden[3], 1))}


def _censored(layers: KerasLayers, parameters: FolderParameters) -> dict[str, Dense]:
    """Heads of Teff, log g and [Fe/H], which have no names, by their place in the outputs; elements by name."""
    two, one_element, two_element, auxiliary = parameters.hidden[1:]
    weights = {"auxiliary": layers.named("aux_fullspec", (two, auxiliary))}
    for element in CENSORED_ELEMENTS:
        wide = element in WIDE_WINDOWS
        first, second = (8 * one_element, 4 * two_element) if wide else (one_element, two_element)
        pixels = int(element_window(element).sum())
        dense, dense_2, concat, concat_var = _element_layers(element)
        ours = element.lower()
        weights[f"{ours}_hidden_1"] = layers.named(dense, (pixels, first))
        weights[f"{ours}_hidden_2"] = layers.named(dense_2, (first, second))
        known = (second + auxiliary + 3, 1)
        weights[f"standardised_{ours}_h"] = layers.named(concat, known)
        weights[f"standardised_{ours}_h_log_variance"] = layers.named(concat_var, known)
    for output, end, column in (("output", "", 2), ("variance_output", "_log_variance", 3)):
        sources = layers.feeding(output)
        names = [_element_layers(element)[column] for element in CENSORED_ELEMENTS]
        if len(sources) != len(names) + 3 or [*sources[2:19], *sources[20:]] != names:
            raise ModelFileError(
                f"{layers.source}: layer {output!r} does not take Teff, log g, 17 elements, Fe, Co and Ni in this order"
            )
        for label, place in (("teff", 0), ("logg", 1), ("fe_h", 19)):
            weights[f"standardised_{label}{end}"] = layers.named(sources[place], (two, 1))
    return weights


def _element_layers(element: str) -> tuple[str, str, str, str]:
    name = ELEMENT_NAMES.get(element, element.lower())
    return f"{name}_dense", f"{name}_dense_2", f"{name}_concat", f"{name}_concat_var"
