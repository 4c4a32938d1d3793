"""Origin and training domain of a model file, read without Keras."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.model.training_domain import TrainingDomain
from apogaia.survey import Survey, SurveyError, restore_survey

__all__ = ["DOMAIN", "FORMAT", "PROVENANCE", "ModelFileError", "read_domain", "read_provenance", "training_survey"]

PROVENANCE = "apogaia.json"  # members of the model file's zip
DOMAIN = "domain.npz"
FORMAT = 3  # of the model file; another number is another version of apogaia


class ModelFileError(ValueError):
    """A model file that cannot be used; the message names the file and the remedy."""


@takes(path=file_path)
def read_provenance(path: str | Path) -> dict:
    """What a model file says about its origin.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ModelFileError
        If it is not a model that apogaia wrote, is damaged, or is of another version.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such model; run notebook 02 or `make` to train it")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            if damaged is not None:
                raise ModelFileError(f"{path}: damaged ({damaged} fails its checksum): delete it and train again")
            origin = json.loads(archive.read(PROVENANCE))
    except (zipfile.BadZipFile, KeyError, json.JSONDecodeError) as error:
        raise ModelFileError(f"{path}: not a model that apogaia wrote: give the file that notebook 02 saves") from error
    if origin.get("format") != FORMAT:
        written = origin.get("versions", {}).get("apogaia", "an unknown version")
        raise ModelFileError(
            f"{path}: written by another version of apogaia ({written}; file format {origin.get('format', 1)}, this"
            f" version reads {FORMAT}): train the model again (notebook 02 or `make`)"
        )
    return origin


@takes(path=file_path)
def training_survey(path: str | Path) -> Survey:
    """The survey with whose settings a model was trained; raises as `read_provenance` does."""
    try:
        return restore_survey(read_provenance(path)["settings"])
    except SurveyError as fault:
        raise ModelFileError(f"{path}: {fault}: train the model again (`make`), or give another") from fault


@takes(path=file_path)
def read_domain(path: str | Path) -> TrainingDomain | None:
    """The training domain of a model file, None if it has none; raises as `read_provenance` does."""
    read_provenance(path)
    with zipfile.ZipFile(path) as archive:
        content = archive.read(DOMAIN) if DOMAIN in archive.namelist() else None
    if content is None:
        return None
    try:
        return TrainingDomain.from_bytes(content)
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ModelFileError(f"{path}: {DOMAIN} is of another version of apogaia: train the model again") from error
