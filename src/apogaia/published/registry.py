"""The published networks that are known: what each is, where it is, and fetching it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from apogaia.archive.http.download import FetchError, RemoteFile, fetch_files
from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.survey import load_survey
from apogaia.workspace import find_root

__all__ = ["PublishedModel", "default_folder", "fetch_model", "find_model", "published_models"]

RAW = "raw/master"  # below a repository's page: its files


@dataclass(frozen=True)
class PublishedModel:
    """An entry of ``published_models.json``."""

    name: str
    about: str
    network: str  # "ApogeeBCNN", ...
    survey: str  # whose spectra it takes
    folder: str  # its name where it is published
    page: str  # where it is, for people
    files: tuple[str, ...]  # of the folder; none: there is no public address
    sizes: Mapping[str, int]  # [bytes] of files, once known
    sha256: Mapping[str, str]  # of files, once known
    licence: str
    citation: str

    def remote_files(self, folder: Path) -> list[RemoteFile]:
        """The files to fetch into `folder`."""
        return [
            RemoteFile(
                folder / name,
                f"{self.page}/{RAW}/{self.folder}/{name}",
                f"sha256:{self.sha256[name]}" if name in self.sha256 else None,
                self.sizes.get(name),
            )
            for name in self.files
        ]


def published_models() -> tuple[PublishedModel, ...]:
    """All entries, in the order of the file."""
    text = (resources.files("apogaia.published") / "published_models.json").read_text(encoding="utf-8")
    entries = json.loads(text)["models"]
    return tuple(PublishedModel(**{**entry, "files": tuple(entry["files"])}) for entry in entries)


def find_model(name: str) -> PublishedModel:
    """The entry of that name.

    Raises
    ------
    ValueError
        If there is none.
    """
    models = {model.name: model for model in published_models()}
    if name not in models:
        raise ValueError(f"no published model {name!r}; known are {', '.join(models)}")
    return models[name]


def default_folder(model: PublishedModel) -> Path:
    """Where a fetched network is put: ``data/published/<name>``."""
    return find_root() / "data" / "published" / model.name


@takes(folder=file_path)
def fetch_model(model: PublishedModel, folder: str | Path | None = None, *, progress: bool = True) -> Path:
    """Fetch the files of a published network that are not in their place yet.

    Parameters
    ----------
    model
        From `find_model`.
    folder
        Where to; None: `default_folder`.
    progress
        Show a progress bar.

    Returns
    -------
    Path
        The folder, for `apogaia.published.import_model.import_model`.

    Raises
    ------
    FetchError
        If a file cannot be fetched; the message says where to get the folder and where to put it.
    """
    folder = default_folder(model) if folder is None else Path(folder)
    by_hand = f"get {model.folder} from {model.page}, put {' and '.join(model.files) or 'it'} into {folder}"
    if not model.files:
        raise FetchError(f"{model.name} cannot be fetched: {by_hand}, and run `apogaia import-model` on it")
    archive = load_survey("dr14").archive
    outcomes = fetch_files(
        model.remote_files(folder),
        streams=archive.streams,
        attempts=archive.attempts,
        timeout_s=archive.timeout,
        progress=progress,
        description=model.name,
    )
    failed = [outcome for outcome in outcomes if not outcome.whole]
    if failed:
        raise FetchError(f"{failed[0].file.url}: {failed[0].reason or 'not there'}; {by_hand}, or run this again later")
    return folder
