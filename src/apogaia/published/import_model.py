"""A published network as a model file of this package."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np

from apogaia import files
from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.formats.pixel_grid import N_PIXELS
from apogaia.formats.stars_h5_columns import LABELS, OFFSET_INPUTS
from apogaia.model.model_file import save_model
from apogaia.model.model_origin import ModelFileError
from apogaia.model.networks import build_joint_network
from apogaia.parameters.network import CENSORED_ELEMENTS, WIDE_WINDOWS, build_censored_network
from apogaia.published.folder_parameters import CENSORED, JOINT, PARAMETERS_FILE
from apogaia.published.model_folder import READERS, read_model_folder
from apogaia.published.network_parts import FAKEMAG_FACTOR, PublishedNetwork
from apogaia.published.torch_network import read_torch_network
from apogaia.survey import Survey, SurveyError, load_survey, restore_survey
from apogaia.zero_point.offset_posterior import constant_zero_point

__all__ = ["OFFSET_AT", "ImportedModel", "build_network", "import_model", "read_published"]

OFFSET_AT = ("ones", "zeros")  # where the constant offset is read: as the paper did, or as it was trained
RANGE_SD = 2.576  # on either side of the mean lie percentiles 0.5 to 99.5 of a normal distribution


@dataclasses.dataclass(frozen=True)
class ImportedModel:
    """A network in Keras, and what its model file says about it."""

    network: keras.Model
    provenance: Mapping[str, Any]

    def lines(self) -> list[str]:
        """What a user should know, in sentences."""
        origin = self.provenance["imported"]
        lines = [
            f"{origin['architecture']} with {origin['weights']} weights, {origin['layout']}",
            f"spectra: as in survey {self.provenance['survey']} (another: --survey)",
            "errors: as the network states them; no training domain, so that no star is flagged as outside it",
        ]
        for at, value in (origin.get("constant_offset") or {}).items():
            read = "as the paper read it" if at == "ones" else "as the network was trained"
            kept = ", in this file" if at == origin["offset_at"] else ""
            lines.append(f"zero point at {at}: {value['value_uas']:.1f} +- {value['error_uas']:.1f} uas ({read}{kept})")
        for name, (low, high) in self.provenance.get("training_range", {}).items():
            lines.append(f"zero point for {name} from {low:.5g} to {high:.5g}: mean and sd of the training set")
        return lines + [f"note: {note}" for note in origin["notes"]]


@takes(source=file_path, output=file_path)
def import_model(
    source: str | Path, output: str | Path, *, survey: str | Path | Survey | None = None, offset_at: str = "ones"
) -> ImportedModel:
    """Read a published network and write it as a model file.

    Parameters
    ----------
    source
        A model folder, one of its files, or a file of PyTorch.
    output
        The ``.keras`` file to write.
    survey
        Whose settings of spectra, extinction and inference go with the network; None: "dr14" or "dr17", by the layout.
    offset_at
        "ones" or "zeros": where the offset network of a constant zero point is read.

    Raises
    ------
    ModelFileError
        If a file is missing, damaged, or no network that this package has.
    ValueError
        If `offset_at` is none of the two.
    """
    if offset_at not in OFFSET_AT:
        raise ValueError(f"offset_at must be {' or '.join(OFFSET_AT)}, not {offset_at!r}")
    published = read_published(Path(source))
    base = load_survey(published.survey if survey is None else survey)
    imported = build_network(published, base, offset_at)
    save_model(imported.network, output, imported.provenance)
    return imported


@takes(source=file_path)
def read_published(source: Path) -> PublishedNetwork:
    """Read a published network of whichever layout; raises as `import_model` does."""
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such folder or file; `apogaia models` lists where to get published ones")
    if source.name in (*READERS, PARAMETERS_FILE):
        source = source.absolute().parent
    published = read_model_folder(source) if source.is_dir() else read_torch_network(source)
    if published.mean_spectrum.shape != (N_PIXELS,):
        raise ModelFileError(f"{source}: takes {published.mean_spectrum.size} pixels; APOGEE's spectra have {N_PIXELS}")
    return published


def build_network(published: PublishedNetwork, base: Survey, offset_at: str = "ones") -> ImportedModel:
    """Build this package's network with a published one's weights; raises as `import_model` does."""
    survey = _with_sizes(base, published)
    try:
        restore_survey(survey.settings())
    except SurveyError as error:
        raise ModelFileError(f"{published.source}: {error}") from error
    if published.architecture == CENSORED:
        network = _censored(published, survey)
        extra: dict[str, Any] = {"labels": list(LABELS)}
    else:
        network = _joint(published, survey, offset_at)
        extra = {
            "offset": published.offset,
            "parallax_scale_mas": float(published.label_sd[0]) if published.architecture == JOINT else None,
            "training_range": _training_range(published),
        }
    notes = [*published.notes]
    if published.offset == "multivariate" and not extra["training_range"]:
        notes.append("no spread of G, BP-RP and Teff is stated: `apogaia zeropoint` refuses the model without a range")
    origin: dict[str, Any] = {
        "architecture": published.architecture,
        "layout": published.layout,
        "weights": published.n_weights,
        "source": published.source.name,
        "sha256": {path.name: files.file_digest(path).hex() for path in published.files},
        "notes": notes,
    }
    if published.offset == "constant":
        origin |= {"offset_at": offset_at, "constant_offset": _constant_offsets(published, survey)}
    provenance = {
        "survey": base.name,
        "title": base.title,
        "settings": survey.settings(),
        "keras_backend": keras.backend.backend(),
        "versions": {name: version(name) for name in ("apogaia", "keras", "numpy")},
        "history": {},
        "training_domain": False,
        "imported": origin,
        **extra,
    }
    return ImportedModel(network, provenance)


def _with_sizes(base: Survey, published: PublishedNetwork) -> Survey:
    """The survey with the sizes of the network's layers."""
    units = {name: dense.bias.size for name, dense in published.weights.items()}
    joint = published.architecture == JOINT
    network = dataclasses.replace(
        base.network,
        conv_filters=(units["conv_1"], units["conv_2"]),
        conv_width=len(published.weights["conv_1"].kernel),
        pool_width=published.pool_width,
        dropout=published.dropout,
    )
    if published.architecture == CENSORED:
        narrow = next(element for element in CENSORED_ELEMENTS if element not in WIDE_WINDOWS)
        parameters = dataclasses.replace(
            base.parameters,
            hidden_units=(units["hidden_1"], units["hidden_2"]),
            element_units=tuple(units[f"{narrow.lower()}_hidden_{i}"] for i in (1, 2)),
            wide_element_units=tuple(units[f"{WIDE_WINDOWS[0].lower()}_hidden_{i}"] for i in (1, 2)),
            dropout=published.dropout,
        )
        return dataclasses.replace(base, network=network, parameters=parameters)
    network = dataclasses.replace(
        network,
        hidden_units=(units["hidden_1"], units["hidden_2"]),
        fakemag_scale=FAKEMAG_FACTOR if joint else float(published.label_sd[0]),
    )
    if not joint:
        return dataclasses.replace(base, network=network)
    network = dataclasses.replace(network, offset_hidden_units=(units["offset_hidden_1"], units["offset_hidden_2"]))
    # its variance has the factor from fakemag to parallax once
    training = dataclasses.replace(base.training, variance_form="released")
    return dataclasses.replace(base, network=network, training=training)


def _joint(published: PublishedNetwork, survey: Survey, offset_at: str) -> keras.Model:
    joint = published.architecture == JOINT
    network = build_joint_network(
        survey.network,
        published.offset,
        mean_spectrum=published.mean_spectrum,
        parallax_scale=float(published.label_sd[0]) if joint else 1.0,
        offset_mean=published.offset_mean,
        offset_sd=published.offset_sd,
        variance_form=survey.training.variance_form if joint else "parallax",
    )
    parts = [network.get_layer("luminosity")]
    if published.offset != "none":
        parts.append(network.get_layer("offset"))
    _set_weights(published, parts)
    if published.offset == "constant" and offset_at == "zeros":  # an input of zeros is a kernel of zeros
        first = network.get_layer("offset").get_layer("offset_hidden_1")
        kernel, bias = first.get_weights()
        first.set_weights([np.zeros_like(kernel), bias])
    return network


def _censored(published: PublishedNetwork, survey: Survey) -> keras.Model:
    network = build_censored_network(
        survey.network,
        survey.parameters,
        mean_spectrum=published.mean_spectrum,
        label_mean=published.label_mean,
        label_sd=published.label_sd,
        windows=published.windows,
    )
    _set_weights(published, [network])
    return network


def _set_weights(published: PublishedNetwork, parts: list[keras.Model]) -> None:
    """Give each layer its weights; every trained layer must get some, and all of them must find their layer."""
    layers = {layer.name: layer for part in parts for layer in part.layers if layer.trainable_weights}
    if set(layers) != set(published.weights):
        wrong = ", ".join(sorted(set(layers) ^ set(published.weights)))
        raise ModelFileError(f"{published.source}: layers missing or unknown: {wrong}")
    of_pixels = {"conv_1", *(f"{element.lower()}_hidden_1" for element in CENSORED_ELEMENTS)}
    for name, (kernel, bias) in published.weights.items():
        shapes = [tuple(weight.shape) for weight in layers[name].trainable_weights]
        if [kernel.shape, bias.shape] != shapes:
            raise ModelFileError(
                f"{published.source}: {name} has the shapes {kernel.shape} and {bias.shape}, where the other layers ask"
                f" for {shapes[0]} and {shapes[1]}: get the file again"
            )
        layers[name].set_weights([kernel / published.pixel_sd if name in of_pixels else kernel, bias])


def _training_range(published: PublishedNetwork) -> dict[str, list[float]]:
    """About what the percentiles 0.5 and 99.5 were, from mean and sd; empty where the file states no sd."""
    if published.offset != "multivariate" or all(sd == 1 for sd in published.offset_sd):
        return {}
    values = zip(OFFSET_INPUTS, published.offset_mean, published.offset_sd, strict=True)
    return {name: [mean - RANGE_SD * sd, mean + RANGE_SD * sd] for name, mean, sd in values}


def _constant_offsets(published: PublishedNetwork, survey: Survey) -> dict[str, dict]:
    """The constant zero point with its dropout error at each of `OFFSET_AT`."""
    settings = survey.inference
    return {
        at: constant_zero_point(_joint(published, survey, at), draws=settings.offset_draws, seed=settings.seed).in_uas()
        for at in OFFSET_AT
    }
