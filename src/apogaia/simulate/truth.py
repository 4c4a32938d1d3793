"""The truth of a simulated survey: read by figures and closure tests only, never by the analysis."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from apogaia.survey import Survey
from apogaia.workspace import Workspace

__all__ = ["constant_zero_point_left", "read_truth", "zero_point_left"]


def read_truth(workspace: Workspace) -> Table | None:
    """Read the truth of a simulated survey, row by row as allStar; None for a real one.

    Among its columns are ``distance_kpc`` [kpc], ``parallax_true`` [mas], ``fakemag_true`` [mas] and ``zero_point``
    [mas], Gaia minus true parallax, of which ``sky_error`` [mas] is what neighbours on the sky share;
    `apogaia.simulate.files` writes them all.

    Raises
    ------
    FileNotFoundError
        If the survey is simulated but its truth is missing.
    """
    if workspace.survey.sources.kind != "simulated":
        return None
    if not workspace.truth.is_file():
        raise FileNotFoundError(f"{workspace.truth} is missing: run `apogaia mock {workspace.survey.name}`")
    truth = Table.read(workspace.truth)
    truth.convert_bytestring_to_unicode()
    return truth


def zero_point_left(truth: Table, stars: Table) -> np.ndarray:
    """Return the true zero point [mas] of the parallaxes in `stars`: injected minus subtracted by the reduction.

    `truth` and `stars` are the same rows of truth.fits and of stars.h5.
    """
    return np.asarray(truth["zero_point"], float) - np.nan_to_num(np.asarray(stars["parallax_zero_point"], float))


def constant_zero_point_left(survey: Survey) -> float | None:
    """Return the true zero point [uas] of the stars in stars.h5, but for their places; None if there is no such number.

    What neighbours on the sky share (``simulation.sky_error``) has a mean of zero over the survey's stars.
    """
    if survey.simulation is None:
        return None
    injected = {"constant": "none", "lindegren2021": "lindegren2021"}.get(survey.simulation.zero_point)
    return survey.simulation.constant_zero_point if injected == survey.sources.parallax_zero_point else None
