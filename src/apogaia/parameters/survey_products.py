"""Astra's products of a whole survey: AstroNN of all stars and of all visits, AstroNNDist of all stars.

All are made in parts that are files, so that a killed run resumes, to the same bytes: AstroNN in parts of 500 stars,
AstroNNDist in batches. The dropout of a part follows from the survey's seed and its rows alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from astropy.table import Table, vstack
from tqdm.auto import tqdm

from apogaia import files
from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.formats.apstar import MAX_ROWS
from apogaia.formats.survey_tables import spectrum_places
from apogaia.model import model_file
from apogaia.model.inference import predict_calibrated, read_error_calibration
from apogaia.parameters.astra import SCHEMAS, astronn_dist_table, astronn_table, provenance, write_astra
from apogaia.parameters.parameters_model import ParametersModel
from apogaia.parameters.predictions import LabelPrediction
from apogaia.parameters.spectra_rows import read_visit_part, survey_rows, visit_rows
from apogaia.processes import WorkerDiedError, run_in_processes, usable_cores
from apogaia.reduction import dask_cluster, stars_h5
from apogaia.survey import Survey
from apogaia.workspace import Workspace

__all__ = ["ProductError", "write_all_star_astronn", "write_all_star_astronn_dist", "write_all_visit_astronn"]

PART_STARS = 500  # what a killed run loses at most, per process
OF_PREDICTION = ("label", "model_error", "predictive_error", "total_error")


class ProductError(ValueError):
    """A product that cannot be made; the message says why, and the remedy."""


@takes(stars=file_path, model=file_path, path=file_path)
def write_all_star_astronn(
    survey: Survey, stars: Path, model: Path, path: Path, *, schema: str = "dr19", progress: bool = True
) -> Path:
    """Write astraAllStarAstroNN: labels of the combined spectrum of every row of stars.h5; at once if it is current.

    Parameters
    ----------
    survey
        Its section ``parameters`` states the passes, ``inference`` the seed.
    stars
        The survey's stars.h5.
    model
        Model file of stellar parameters.
    path
        File to write, compressed if its name ends in ``.gz``. Parts are kept in a folder beside it until it is whole.
    schema
        "dr19" or "dev", as in `apogaia.parameters.astra`.
    progress
        Show a progress bar.

    Returns
    -------
    Path
        That of the file.

    Raises
    ------
    FileNotFoundError
        If stars.h5 or the model is not there.
    apogaia.model.model_file.ModelFileError
        If the model cannot be used.
    """
    settings = survey.settings("sources", "parameters", "inference")
    key = _key("AllStarAstroNN", settings, [stars, model], schema)
    if files.is_current(path, key):
        return path
    labels = ParametersModel.load(model, survey)
    folder = files.parts_folder(path.with_name(f"{path.name}.parts"), key)
    with stars_h5.open_stars(stars) as opened:
        rows = survey_rows(survey, opened.table)
        parts = list(_parts(folder, len(rows)))
        todo = [(part, chunk) for part, chunk in parts if not part.is_file()]
        for part, chunk in _with_bar(todo, len(todo), len(parts), "labels", progress):
            _write_part(part, _predicted(labels, opened.spectra[chunk], chunk.start)._asdict())
    pieces = (_labels_table(labels, rows[chunk], _arrays(part), schema) for part, chunk in parts)
    return _finish(path, key, folder, _joined(pieces), "AstroNN", survey, model, schema)


@takes(model=file_path, path=file_path)
def write_all_visit_astronn(
    survey: Survey,
    workspace: Workspace,
    model: Path,
    path: Path,
    *,
    schema: str = "dr19",
    processes: int | None = None,
    scheduler: str | None = None,
    progress: bool = True,
) -> Path:
    """Write astraAllVisitAstroNN: labels of every visit of every star of stars.h5; at once if it is current.

    The apStar files are read anew, since stars.h5 has combined spectra alone. A file that cannot be read keeps a row
    for each visit that its header, else allStar, states. In memory are the table, 3 kB a visit at the peak, and the
    spectra of one part.

    Parameters
    ----------
    survey, model, path, schema, progress
        As for `write_all_star_astronn`.
    workspace
        Where the survey's files are.
    processes, scheduler
        What reads the spectra, as for `apogaia.reduction.reduce.reduce_survey`; predictions are made here.

    Raises
    ------
    ProductError
        If the survey has no visits (released spectra), a process that read spectra died, or the cluster cannot do it.
    """
    if survey.sources.spectra == "released":
        raise ProductError(
            f"survey {survey.name} has released spectra, which contain no visits: use one with apStar files"
        )
    key = _key(
        "AllVisitAstroNN",
        survey.settings("sources", "spectra", "parameters", "inference"),
        [workspace.stars, model],
        schema,
    )
    if files.is_current(path, key):
        return path
    labels = ParametersModel.load(model, survey)
    with stars_h5.open_stars(workspace.stars) as opened:
        table = opened.table
    folder = files.parts_folder(path.with_name(f"{path.name}.parts"), key)
    parts = list(_parts(folder, len(table)))
    todo = [(part, chunk) for part, chunk in parts if not part.is_file()]
    read = _read_parts(todo, survey, workspace, table, processes, scheduler)
    for spectra in _with_bar(read, len(todo), len(parts), "visits", progress):
        first = int(spectra.name.split("-")[0])
        own = _arrays(spectra)
        # rows of visits: no other part has these
        own |= _predicted(labels, own.pop("spectrum"), first * MAX_ROWS)._asdict()
        _write_part(folder / f"{first:09d}.npz", own)
        spectra.unlink()
    rows = survey_rows(survey, table)
    pieces = (
        _labels_table(labels, visit_rows(rows, arrays["star"], arrays), arrays, schema)
        for arrays in (_arrays(part) for part, _ in parts)
    )
    return _finish(path, key, folder, _joined(pieces), "AstroNN", survey, model, schema)


@takes(stars=file_path, model=file_path, path=file_path)
def write_all_star_astronn_dist(
    survey: Survey, stars: Path, model: Path, path: Path, *, schema: str = "dr19", progress: bool = True
) -> Path:
    """Write astraAllStarAstroNNDist: distances of the combined spectrum of every row of stars.h5.

    Luminosities are those of `apogaia.model.inference.predict_survey` with this model. Extinction is that of stars.h5.

    Parameters
    ----------
    model
        A model of luminosities; Astra's has no offset.
    survey, stars, path, schema, progress
        As for `write_all_star_astronn`.
    """
    key = _key("AllStarAstroNNDist", survey.settings("sources", "inference"), [stars, model], schema)
    if files.is_current(path, key):
        return path
    network, errors = model_file.load_network(model), read_error_calibration(model)
    folder = files.parts_folder(path.with_name(f"{path.name}.parts"), key)
    with stars_h5.open_stars(stars) as opened:
        rows = survey_rows(survey, opened.table)
        snr = np.asarray(opened.table["snr"])
        prediction = predict_calibrated(
            network, errors, opened.spectra, snr, survey.inference, progress=progress, parts=folder
        )
    table = astronn_dist_table(rows, prediction, schema)
    return _finish(path, key, folder, table, "AstroNNDist", survey, model, schema)


def _key(product: str, settings: Mapping, inputs: list[Path], schema: str) -> str:
    if schema not in SCHEMAS:
        raise ProductError(f"schema must be {' or '.join(SCHEMAS)}, not {schema!r}")
    for path in inputs:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not there yet: run `make all` for this survey, or name another")
    return files.fingerprint({**settings, "product": product, "schema": schema}, inputs, [_key])


def _parts(folder: Path, n_stars: int) -> Iterator[tuple[Path, slice]]:
    for start in range(0, n_stars, PART_STARS):
        yield folder / f"{start:09d}.npz", slice(start, min(start + PART_STARS, n_stars))


def _with_bar(items: Iterable, todo: int, total: int, what: str, progress: bool) -> Iterator:
    yield from tqdm(items, total=total, initial=total - todo, unit="part", desc=what, disable=not progress)


def _read_parts(
    todo: list[tuple[Path, slice]],
    survey: Survey,
    workspace: Workspace,
    table: Table,
    processes: int | None,
    scheduler: str | None,
) -> Iterator[Path]:
    """Files with the spectra of the visits, those that a killed run left first."""
    if not todo:
        return
    folder = todo[0][0].parent
    left = [folder / f"{chunk.start:09d}-spectra.npz" for _, chunk in todo]
    yield from (part for part in left if part.is_file())
    tasks = (
        (part, chunk.start, paths, table["n_visits"][chunk].tolist(), survey.spectra)
        for part, (_, chunk) in zip(left, todo, strict=True)
        if not part.is_file() and not (folder / f"{chunk.start:09d}.npz").is_file()
        for paths in [[workspace.raw / place for place in spectrum_places(table[chunk], workspace.release)]]
    )
    if scheduler is None:
        done = run_in_processes(read_visit_part, tasks, min(processes or usable_cores(), len(todo)))
    else:
        shared = [workspace.raw_manifest, folder / "fingerprint"]
        done = dask_cluster.run_on_cluster(read_visit_part, tasks, scheduler, shared=shared)
    kept = f"finished parts are kept in {folder}: run again"
    try:
        with closing(done):
            for part in done:
                if not dask_cluster.wait_for_file(part):
                    raise ProductError(
                        f"{part} was made but is not seen here: is it on a disk that all machines share?"
                    )
                yield part
    except WorkerDiedError as fault:
        raise ProductError(
            f"a process that read spectra died (out of memory?); {kept}, perhaps with fewer processes"
        ) from fault
    except dask_cluster.ClusterError as fault:
        raise ProductError(f"{fault}; {kept}") from fault


def _predicted(model: ParametersModel, spectra: np.ndarray, first_row: int) -> LabelPrediction:
    """Labels of a part's spectra; their dropout follows from the seed and their rows."""
    return model.predict_raw(spectra, progress=False, first_row=first_row)


def _write_part(part: Path, arrays: Mapping[str, Any]) -> None:
    with files.atomic(part) as temporary:
        np.savez(temporary, **arrays)


def _arrays(part: Path) -> dict[str, np.ndarray]:
    with np.load(part) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _joined(pieces: Iterable[Table]) -> Table:
    """One table of those of the parts, which are as compact as the file."""
    return vstack(list(pieces), metadata_conflicts="silent")


def _labels_table(model: ParametersModel, rows: Table, arrays: Mapping[str, np.ndarray], schema: str) -> Table:
    raw = LabelPrediction(*(arrays[name] for name in OF_PREDICTION))
    return astronn_table(rows, raw, model.calibrated(raw, np.asarray(rows["snr"])), schema)


def _finish(
    path: Path, key: str, folder: Path, table: Table, kind: str, survey: Survey, model: Path, schema: str
) -> Path:
    passes = (survey.parameters if kind == "AstroNN" else survey.inference).passes
    origin = provenance(survey, model, passes, survey.inference.seed)
    files.mark_current(path, key, lambda temporary: write_astra(temporary, table, kind, origin, schema))
    shutil.rmtree(folder, ignore_errors=True)
    return path
