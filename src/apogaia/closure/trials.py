"""The trials of `make closure`: which zero point is injected into which stars, and by which recipe it is recovered."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from apogaia.closure.sample import read_sample_truth, simulate_sample
from apogaia.reduction import stars_h5
from apogaia.simulate.gaia import injected_surface
from apogaia.survey import Survey
from apogaia.workspace import Workspace

__all__ = ["TRIALS", "Sample", "Trial", "simulated", "training_rows", "with_zero_point", "zero_point_mas"]

SAMPLE = {"mock-dr14": (35_112, 24_000), "mock-kepler": (6_500, 3_000)}  # training (the paper's number) and test stars
PAPER_SLOPE = -9.2  # uas per mag of G: the linear coefficient of the paper's Eq. 7, its slope at G = 16
G_PIVOT = 12.0  # mag
REDUCED = 9_000  # training stars of the trials with different seeds


@dataclass(frozen=True)
class Trial:
    """A zero point to recover, or another question about the same stars."""

    name: str
    recipe: (
        str  # "paper": the joint network and its dropout draws; "refit": without a network; others: see `run.RECIPES`
    )
    zero_point: float | None = -52.3  # uas; None: the surface of G, BP-RP and Teff
    survey: str = "mock-dr14"
    contaminants: bool = True
    seed: int | None = None  # for redrawing Gaia's errors on a smaller sample; None: the full sample, unchanged
    fresh: bool = False  # another simulated Galaxy, not used when choosing the method or its settings
    slope_in_g: float = 0.0  # uas per mag; `zero_point` is then that of stars with G = G_PIVOT


TRIALS = (
    *(Trial(f"refit_{abs(value):g}", "refit", value) for value in (-52.3, 0.0, -100.0, -29.0)),
    Trial("kepler_refit", "refit", survey="mock-kepler"),
    *(Trial(f"seed_{seed}", "refit", seed=seed) for seed in range(8)),
    Trial("surface_refit", "refit", None),
    Trial("clean_refit", "refit", contaminants=False),
    *(Trial(f"fresh_{abs(value):g}", "refit", value, fresh=True) for value in (-52.3, 0.0, -100.0, -29.0)),
    Trial("fresh_surface", "refit", None, fresh=True),
    Trial("fresh_kepler", "refit", survey="mock-kepler", fresh=True),
    Trial("sizes", "sizes"),
    Trial("fresh_sizes", "sizes", fresh=True),
    Trial("ranges", "ranges"),
    Trial("kepler_paper", "paper", survey="mock-kepler"),
    *(Trial(f"paper_{abs(value):g}", "paper", value) for value in (-52.3, 0.0)),
    Trial("surface_paper", "paper", None, contaminants=False),
    Trial("clean_paper", "paper", contaminants=False),
    *(Trial(f"paper_{abs(value):g}", "paper", value) for value in (-100.0, -29.0)),
    Trial("falling_paper", "paper", contaminants=False, slope_in_g=PAPER_SLOPE),
    Trial("paper_causes", "causes"),
    Trial("calibrated_distances", "calibrated"),
    Trial("distances", "distances"),
    Trial("selections", "selections"),
    Trial("decomposition", "decomposition", contaminants=False),
)
FRESH_SEED = 2026  # added to the simulation's seed


@dataclass(frozen=True)
class Sample:
    """The simulated stars of a trial, with its zero point."""

    survey: Survey
    workspace: Workspace  # whose stars.h5 holds the spectra
    table: Table  # rows of stars.h5, with the trial's parallaxes
    truth: Table  # row by row

    def spectra_of(self, rows: np.ndarray) -> np.ndarray:
        """Normalised spectra of ascending rows, (len(rows), pixels)."""
        with stars_h5.open_stars(self.workspace.stars) as opened:
            return opened.spectra_of(rows)


def simulated(trial: Trial, workspace: Workspace) -> Sample:
    """Simulate the stars of a trial, unless they are there already, and give them its zero point."""
    survey = workspace.survey
    if trial.fresh and survey.simulation is not None:
        simulation = dataclasses.replace(survey.simulation, seed=survey.simulation.seed + FRESH_SEED)
        survey = dataclasses.replace(survey, name=f"{survey.name}-fresh", simulation=simulation)
        workspace = Workspace(survey, workspace.root)
    n_training, n_test = SAMPLE[trial.survey]
    simulate_sample(survey, workspace, n_training=n_training, n_test=n_test)
    truth = read_sample_truth(workspace)
    with stars_h5.open_stars(workspace.stars) as opened:
        return Sample(survey, workspace, with_zero_point(opened.table, truth, trial), truth)


def with_zero_point(table: Table, truth: Table, trial: Trial) -> Table:
    """The stars as Gaia would have seen them with the trial's zero point, and for a seed with other errors.

    The sample stays the one that the survey's own zero point selected: the cuts hardly depend on it.
    """
    table = table.copy()
    wanted = zero_point_mas(table, truth, trial)
    parallax = np.asarray(table["parallax"], float)
    if trial.seed is not None:
        error = np.asarray(table["parallax_error"], float)
        drawn = (
            truth["parallax_true"]
            + truth["zero_point"]
            + error * np.random.default_rng([trial.seed, 30]).standard_normal(len(table))
        )
        spoilt = np.isin(np.asarray(truth["contamination"]), ("wrong match", "wrong parallax"))
        parallax = np.where(spoilt, parallax, drawn)
    table["parallax"] = parallax + wanted - np.asarray(truth["zero_point"])
    return table


def zero_point_mas(table: Table, truth: Table, trial: Trial) -> np.ndarray:
    """The trial's zero point [mas] of each star, (n,); at G_PIVOT, or the survey's own, where G is unknown."""
    g_mag = np.asarray(table["g_mag"], float)
    if trial.zero_point is None:
        wanted = injected_surface(g_mag, np.asarray(table["bp_rp"]), np.asarray(truth["teff"]))
        return np.where(np.isfinite(wanted), wanted, truth["zero_point"])
    return (trial.zero_point + trial.slope_in_g * np.nan_to_num(g_mag - G_PIVOT)) / 1000.0


def training_rows(trial: Trial, table: Table, truth: Table, survey: Survey, usable=True) -> np.ndarray:
    """Rows of the trial's training sample, of those that are `usable` for its recipe, (n,) boolean."""
    chosen = (np.asarray(table["snr"]) > survey.cuts.snr_split) & usable
    if not trial.contaminants:
        chosen &= np.asarray(truth["contamination"]) == "none"
    if trial.zero_point is None:
        chosen &= np.logical_and.reduce([np.isfinite(np.asarray(table[name])) for name in ("g_mag", "bp_rp", "teff")])
    rows = np.flatnonzero(chosen)
    if trial.seed is not None:
        rows = np.sort(np.random.default_rng([trial.seed, 31]).permutation(rows)[:REDUCED])
    return rows
