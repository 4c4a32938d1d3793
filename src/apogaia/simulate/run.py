"""The simulated survey: a Galaxy observed by APOGEE and Gaia, in the real file formats, with known truth."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from apogaia import __version__
from apogaia.files import alone, fingerprint, read_json, write_json
from apogaia.formats.survey_tables import SPECTRUM_PLACE
from apogaia.processes import run_in_processes, usable_cores
from apogaia.simulate.chemistry import ELEMENTS
from apogaia.simulate.design import Design, design_survey
from apogaia.simulate.files import is_written, write_apstar, write_tables
from apogaia.simulate.spectrograph import Observation, observe
from apogaia.survey import Survey
from apogaia.workspace import Workspace

__all__ = [
    "Design",
    "Observation",
    "design_survey",
    "has_file",
    "observe_stars",
    "part",
    "simulate_survey",
    "synthetic_spectra",
]

CHUNK = 40  # stars that a worker makes at a time


def simulate_survey(
    survey: Survey, workspace: Workspace, *, processes: int | None = None, progress: bool = True
) -> None:
    """Write the raw files of a simulated survey, its truth, and last the manifest.

    A run that was stopped resumes: files made with the same settings and code are kept. The bytes do not depend on the
    number of processes.

    Parameters
    ----------
    survey, workspace
        What to simulate, and where.
    processes
        Number of worker processes, by default one per usable core; 1 works within this process.
    progress
        Whether to show a progress bar.

    Raises
    ------
    FileExistsError
        If the raw folder holds files that no simulation wrote.
    apogaia.files.BusyError
        If another process simulates the same survey.
    """
    with alone(workspace.data / ".simulate.lock", f"another process simulates into {workspace.data}"):
        _simulate(survey, workspace, processes, progress)


def _simulate(survey: Survey, workspace: Workspace, processes: int | None, progress: bool) -> None:
    key = fingerprint(survey.settings("sources", "simulation"), code=[simulate_survey])
    started = workspace.raw_manifest.with_name("started.json")
    _claim(workspace, started, key)
    design = design_survey(survey)
    rows = np.flatnonzero(has_file(design))
    paths = {i: _path(workspace, design, i) for i in rows.tolist()}
    _sweep_temporary_files(paths.values())
    described = {name: design.stars[name] for name in ("spectrum_state", "n_visits", "apstar_layout")}
    lacking = [
        i for i, path in paths.items() if not is_written(path, {name: values[i] for name, values in described.items()})
    ]
    # all that is written, also what this survey takes no labels from
    tables = (*dict.fromkeys([*workspace.raw_tables, workspace.stellar_parameters]), workspace.truth)
    if workspace.raw_manifest.is_file() and not lacking and all(path.is_file() for path in tables):
        return
    write_tables(design, workspace)
    chunks = [lacking[k : k + CHUNK] for k in range(0, len(lacking), CHUNK)]
    with tqdm(
        total=len(paths), initial=len(paths) - len(lacking), desc="apStar", unit="star", disable=not progress
    ) as bar:
        tasks = ((part(design, rows), [paths[i] for i in rows]) for rows in chunks)
        for count in run_in_processes(_make, tasks, min(processes or usable_cores(), len(chunks))):
            bar.update(count)
    write_json(workspace.raw_manifest, _manifest(survey, design, key, paths, tables))
    started.unlink(missing_ok=True)


def has_file(design: Design) -> np.ndarray:
    """Return which stars have an apStar file, complete or damaged."""
    return ~design.stars["one_metre"] & (design.stars["spectrum_state"] != "missing")


def synthetic_spectra(design: Design, rows: Sequence[int]) -> np.ndarray:
    """Return noiseless continuum-normalised spectra (n, 8575) in the stars' frame, with interstellar bands."""
    from apogaia.simulate.synthesis import interstellar_band, synthetic_flux

    stars = {name: values[np.asarray(rows)] for name, values in design.stars.items()}
    flux = synthetic_flux(
        stars["teff"],
        stars["logg"],
        {element: stars[f"{element.lower()}_h"] for element in ELEMENTS},
        stars["v_micro"],
        stars["v_broad"],
    )
    # The dust, halfway to the star, moves with the disc: a fraction of the star's own velocity.
    return flux * interstellar_band(stars["a_k_true_mag"], 0.6 * stars["v_helio_true"])


def observe_stars(design: Design, rows: Sequence[int]) -> list[Observation]:
    """Observe stars in memory: flux, error and mask as in their apStar files, without the files' defects."""
    synthetic = synthetic_spectra(design, rows)
    identity = design.stars.get("row", np.arange(len(design.stars["apogee_id"])))  # of a `part`: in the full survey
    return [
        observe(np.random.default_rng([design.seed, 10, int(identity[i])]), flux, design.row(int(i)))
        for i, flux in zip(rows, synthetic, strict=True)
    ]


def _make(design: Design, paths: Sequence[Path]) -> int:
    """Make and write the apStar files of all stars of a `part`; return their number."""
    stars, identity = design.stars, design.stars["row"]
    synthetic = synthetic_spectra(design, range(len(identity)))
    for k, i in enumerate(identity.tolist()):
        rng = np.random.default_rng([design.seed, 10, i])
        star = {name: values[k] for name, values in stars.items()}
        write_apstar(paths[k], rng, observe(rng, synthetic[k], star), star)
    return len(paths)


def part(design: Design, rows: Sequence[int] | np.ndarray) -> Design:
    """Return the design of some rows only, with their row numbers in the column "row": what a worker is sent."""
    rows = np.asarray(rows)
    stars = {name: values[rows] for name, values in design.stars.items()}
    return Design(stars | {"row": rows}, {}, design.seed)


def _path(workspace: Workspace, design: Design, i: int) -> Path:
    return workspace.raw / workspace.release.spectrum(*(design.stars[name][i].item() for name in SPECTRUM_PLACE))


def _claim(workspace: Workspace, started: Path, key: str) -> None:
    """Keep what the same simulation has written before; remove what another one has."""
    marks = [read_json(path) for path in (workspace.raw_manifest, started) if path.is_file()]
    simulated = bool(marks) and all(mark.get("kind") == "simulated" for mark in marks)
    if simulated and any(mark.get("fingerprint") != key for mark in marks):
        shutil.rmtree(workspace.raw)
        workspace.truth.unlink(missing_ok=True)
    elif not simulated and workspace.raw.is_dir() and any(workspace.raw.iterdir()):
        raise FileExistsError(
            f"{workspace.raw} holds files that no simulation wrote: move them away, or choose another root"
        )
    if not workspace.raw_manifest.is_file():
        write_json(started, {"kind": "simulated", "fingerprint": key})


def _sweep_temporary_files(paths: Iterable[Path]) -> None:
    """Remove temporary files that a killed worker left behind."""
    for folder in {path.parent for path in paths}:
        for leftover in folder.glob(".a[ps]Star*-*"):
            leftover.unlink(missing_ok=True)


def _manifest(survey: Survey, design: Design, key: str, paths: dict[int, Path], tables: Sequence[Path]) -> dict:
    states, counts = np.unique(design.stars["spectrum_state"], return_counts=True)
    return {
        "survey": survey.name,
        "kind": "simulated",
        "version": __version__,
        "fingerprint": key,
        "seed": design.seed,
        "settings": survey.settings("sources", "simulation"),
        "n_stars": len(design.stars["apogee_id"]),
        "n_apstar_files": len(paths),
        "n_gaia_sources": len(design.sources["source_id"]),
        "n_contaminants": int(np.count_nonzero(design.stars["contamination"] != "")),
        "spectrum_states": dict(zip((state or "whole" for state in states.tolist()), counts.tolist(), strict=True)),
        "bytes_apstar": sum(path.stat().st_size for path in paths.values()),
        "bytes_tables": {path.name: path.stat().st_size for path in tables},
    }
