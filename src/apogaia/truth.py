"""What a simulated survey knows: read by figures and closure tests only, never by the analysis."""

from __future__ import annotations

from astropy.table import Table

from apogaia.workspace import Workspace

__all__ = ["read_truth"]


def read_truth(workspace: Workspace) -> Table | None:
    """The truth of a simulated survey, row by row as allStar; None for a real one.

    Among its columns are ``distance_kpc`` [kpc], ``parallax_true`` [mas], ``fakemag_true`` [mas] and ``zero_point``
    [mas], Gaia minus true parallax; `apogaia.simulate.files` writes them all.

    Raises
    ------
    FileNotFoundError
        If the survey is simulated but its truth is not there.
    """
    if workspace.survey.sources.kind != "simulated":
        return None
    if not workspace.truth.is_file():
        raise FileNotFoundError(f"{workspace.truth} is not there: run `apogaia mock {workspace.survey.name}`")
    truth = Table.read(workspace.truth)
    truth.convert_bytestring_to_unicode()
    return truth
