"""A raw folder of links to the user's own files (`sources.kind = "folder"`)."""

from __future__ import annotations

from pathlib import Path

from apogaia import files
from apogaia.archive.http.remote_files import FetchError
from apogaia.survey import Survey
from apogaia.workspace import Workspace

__all__ = ["link_folder"]


def link_folder(survey: Survey, workspace: Workspace) -> None:
    """Link the raw folder to the user's, entry by entry, and write the manifest; the user's folder is only read.

    Parameters
    ----------
    survey
        With ``sources.kind = "folder"`` and the folder's path in ``sources.folder``.
    workspace
        Whose raw folder gets the links.

    Raises
    ------
    FetchError
        If the folder or one of the tables that the reduction needs is missing, or the raw folder holds other files.
    """
    folder = Path(survey.sources.folder)
    if not folder.is_dir():
        raise FetchError(f"{folder}: no such folder; it is sources.folder of survey {survey.name}")
    tables = [folder / path.name for path in workspace.raw_tables]
    missing = [str(path) for path in tables if not path.is_file()]
    if missing:
        said = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        raise FetchError(f"{said}: data/README.md says what your own folder must contain")
    # not hidden files: fingerprints in a copied raw folder would vouch for tables that have changed since
    sources = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    sources = [path for path in sources if path.name != workspace.raw_manifest.name]
    links = {path.name: path for path in workspace.raw.iterdir()} if workspace.raw.is_dir() else {}
    manifest = {"kind": "folder", "survey": survey.name, "folder": str(folder), "entries": [s.name for s in sources]}
    in_the_way = [path for path in links.values() if not path.is_symlink() and path != workspace.raw_manifest]
    if in_the_way:
        raise FetchError(
            f"{in_the_way[0]} is in the way: the raw folder of survey {survey.name} may only hold links to {folder}."
            f" Remove {workspace.raw}, or give the survey file another name"
        )
    if _is_linked(workspace, links, sources, manifest):
        return
    workspace.raw_manifest.unlink(missing_ok=True)
    for path in links.values():
        path.unlink(missing_ok=True)
    workspace.raw.mkdir(parents=True, exist_ok=True)
    for source in sources:
        (workspace.raw / source.name).symlink_to(source)
    files.write_json(workspace.raw_manifest, manifest)


def _is_linked(workspace: Workspace, links: dict[str, Path], sources: list[Path], manifest: dict) -> bool:
    """Return whether nothing has changed: then the manifest keeps its time stamp, which make compares."""
    try:
        if workspace.raw_manifest.name not in links or files.read_json(workspace.raw_manifest) != manifest:
            return False
    except ValueError:  # a manifest cut short: written again
        return False
    return all(source.name in links and links[source.name].readlink() == source for source in sources)
