"""The model file: network, weights, training domain and provenance in one ``.keras`` archive."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np

from apogaia import files
from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.formats.stars_h5_columns import OFFSET_INPUTS
from apogaia.model import networks  # noqa: F401 - it registers the layers of a file with Keras
from apogaia.model.model_origin import (
    DOMAIN,
    FORMAT,
    PROVENANCE,
    ModelFileError,
    read_domain,
    read_provenance,
    training_survey,
)
from apogaia.model.training_domain import TrainingDomain
from apogaia.model.training_set import TrainingSet, split
from apogaia.survey import Survey

__all__ = [
    "ModelFileError",
    "load_network",
    "origin",
    "provenance",
    "read_domain",
    "read_provenance",
    "save_model",
    "training_survey",
]


def provenance(survey: Survey, sample: TrainingSet, offset: str) -> dict:
    """What the file of a joint model says about its origin: what `origin` gives, offset, scale and training range."""
    settings = survey.training
    gradient, _ = split(len(sample), settings.validation_fraction, settings.seed)
    return {
        **origin(survey, len(sample), settings.seed),
        "offset": offset,
        "parallax_scale_mas": float(np.std(sample.parallax[gradient])),
        "training_range": _training_range(sample, gradient) if offset == "multivariate" else {},
    }


def origin(survey: Survey, n_stars: int, seed: int) -> dict:
    """What the files of all models say: survey, settings, counts of the sample as `seed` splits it, and versions."""
    gradient, validation = split(n_stars, survey.training.validation_fraction, seed)
    return {
        "survey": survey.name,
        "title": survey.title,
        "seed": seed,
        "gradient_stars": len(gradient),
        "validation_stars": len(validation),
        "settings": survey.settings(),
        "keras_backend": keras.backend.backend(),
        "versions": {name: version(name) for name in ("apogaia", "keras", "numpy")},
    }


def _training_range(sample: TrainingSet, rows: np.ndarray) -> dict[str, list[float]]:
    """Percentiles 0.5 and 99.5 of the offset's inputs: a single far star does not calibrate the range up to it."""
    return {name: np.percentile(getattr(sample, name)[rows], [0.5, 99.5]).tolist() for name in OFFSET_INPUTS}


@takes(path=file_path)
def save_model(
    model: keras.Model, path: str | Path, provenance: Mapping, training_domain: TrainingDomain | None = None
) -> None:
    """Write a self-contained ``.keras`` file: network, weights, provenance and, unless None, the training domain.

    The last two are the members ``apogaia.json`` and ``domain.npz``. The optimiser's state stays out, and so do dates:
    the same model gives the same bytes.

    Parameters
    ----------
    model
        A joint or a censored network.
    path
        File to write.
    provenance
        What `provenance` or `origin` gives, and what else is to travel with the network, as it goes into JSON.
    training_domain
        Of the stars that trained it; without one, no star is flagged as outside.
    """
    bare = keras.Model.from_config(model.get_config())
    bare.set_weights(model.get_weights())
    with tempfile.TemporaryDirectory() as folder:
        plain, origin = Path(folder) / "model.keras", Path(folder) / PROVENANCE
        bare.save(plain)
        files.write_json(origin, {**provenance, "format": FORMAT})
        with zipfile.ZipFile(plain) as archive:
            members = {name: archive.read(name) for name in sorted(archive.namelist())}
        members[PROVENANCE] = origin.read_bytes()
    if training_domain is not None:
        members[DOMAIN] = training_domain.to_bytes()
    metadata = json.loads(members["metadata.json"])
    metadata.pop("date_saved", None)
    members["metadata.json"] = json.dumps(metadata, sort_keys=True).encode()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), data)
    with files.atomic(path) as temporary:
        temporary.write_bytes(content.getvalue())


@takes(path=file_path)
def load_network(path: str | Path) -> keras.Model:
    """Read the network of a file that `save_model` wrote.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If it is no apogaia model, damaged, or written by another version of apogaia.
    """
    read_provenance(path)
    with np.errstate(all="ignore"):  # on numpy, Keras finds shapes by computing with whatever is in memory
        return keras.models.load_model(path, compile=False)
