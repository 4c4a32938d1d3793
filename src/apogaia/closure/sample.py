"""Simulated samples of any size without files of single spectra, for closure trials."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from astropy.table import Table
from tqdm.auto import tqdm

from apogaia import files
from apogaia.formats import survey_tables
from apogaia.formats.apstar import Status
from apogaia.processes import run_in_processes, usable_cores
from apogaia.reduction import continuum, quality_cuts, reduce, stars_h5
from apogaia.simulate import run
from apogaia.simulate.design import Design, design_survey
from apogaia.simulate.files import write_tables
from apogaia.simulate.truth import read_truth
from apogaia.survey import SpectraSettings, Survey
from apogaia.workspace import Workspace

__all__ = ["read_sample_truth", "simulate_sample"]

CHUNK = 200  # stars that a worker makes at a time


def simulate_sample(
    survey: Survey, workspace: Workspace, *, n_training: int, n_test: int, processes: int | None = None
) -> Path:
    """Make stars.h5 of some of a simulated survey's stars in memory, without their apStar files; return its path.

    Tables go through the files of the reduction; spectra are those that `apogaia mock` would write, normalised as the
    reduction does. Stars of the training and the test set are drawn at random, in allStar's order; every other star of
    the survey is left out, so row i of this stars.h5 is not row i of allStar. `read_sample_truth` gives its truth.

    Parameters
    ----------
    n_training, n_test
        Stars above and below the SNR split that pass every cut; fewer if the survey has fewer.
    processes
        That make spectra; by default one per usable core.
    """
    settings = survey.settings("sources", "simulation", "spectra", "cuts") | {"sample": [n_training, n_test]}
    key = files.fingerprint(settings, code=[simulate_sample])
    if files.is_current(workspace.stars, key):
        return workspace.stars
    design = design_survey(survey)
    write_tables(design, workspace)
    table = reduce.star_table(survey_tables.read_allstar(workspace.allstar, workspace.release), survey, workspace)
    whole = run.has_file(design) & (design.stars["spectrum_state"] == "")
    table["status"] = np.where(whole, Status.OK, Status.NO_FILE).astype(np.int8)
    table["reason"] = np.where(whole, "", Status.NO_FILE.reason)
    selected = quality_cuts.select(table, survey)
    rng = np.random.default_rng([design.seed, 20])
    rows = np.sort(
        np.concatenate(
            [
                rng.permutation(chosen)[:size]
                for chosen, size in ((selected.training, n_training), (selected.test, n_test))
            ]
        )
    )
    truth = read_truth(workspace)
    if truth is None:
        raise FileNotFoundError(f"{workspace.truth} is missing, though its survey has just been written")
    truth = truth[rows]
    truth["row"] = rows  # of allStar
    with files.atomic(workspace.sample_truth) as temporary:
        truth.write(temporary, format="fits")
    blocks = _spectra(design, rows, survey.spectra, processes)
    files.mark_current(workspace.stars, key, lambda path: stars_h5.write_stars(path, table[rows], blocks))
    return workspace.stars


def _spectra(
    design: Design, rows: np.ndarray, settings: SpectraSettings, processes: int | None
) -> Iterator[np.ndarray]:
    chunks = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
    tasks = ((run.part(design, chunk), settings) for chunk in chunks)
    with tqdm(total=len(rows), unit="star", desc="spectra") as bar:
        for block in run_in_processes(_normalised, tasks, processes or usable_cores(), ordered=True):
            bar.update(len(block))
            yield block


def _normalised(design: Design, settings: SpectraSettings) -> np.ndarray:
    observed = [one.combined() for one in run.observe_stars(design, range(len(design.stars["row"])))]
    flux, error, mask = (np.stack(parts) for parts in zip(*observed, strict=True))
    return continuum.apogee_continuum(flux, error, mask, settings=settings)[0]


def read_sample_truth(workspace: Workspace) -> Table:
    """The truth of the stars of `simulate_sample`, row by row, with their ``row`` in allStar."""
    truth = Table.read(workspace.sample_truth)
    truth.convert_bytestring_to_unicode()
    return truth
