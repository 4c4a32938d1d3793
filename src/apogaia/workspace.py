"""Where things are: the only place that knows folders and file names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from apogaia.survey import Survey

__all__ = ["Workspace"]

APSTAR_FILES = {"dr14": "apStar-r8-{apogee_id}.fits", "dr17": "apStar-dr17-{apogee_id}.fits"}
ALLSTAR_FILES = {"dr14": "allStar-l31c.2.fits", "dr17": "allStar-dr17-synspec_rev1.fits"}
GAIA_FILES = {"dr2": "gaia_dr2_sources.fits", "edr3": "gaia_edr3_sources.fits"}


@dataclass(frozen=True)
class Workspace:
    """Files of one survey under one root folder.

    Parameters
    ----------
    survey
        The survey whose files these are.
    root
        Folder that holds ``data``, ``results``, ``figures`` and ``build``: by default ``$APOGAIA_ROOT``, else the
        nearest folder upwards that holds ``notebooks`` and ``pyproject.toml``, else the current folder.
    """

    survey: Survey
    root: Path = None

    def __post_init__(self):
        object.__setattr__(self, "root", Path(self.root) if self.root else find_root())

    @property
    def data(self) -> Path:
        return self.root / "data" / self.survey.name

    @property
    def raw(self) -> Path:
        """Raw files, in SAS's own layout below; never edited."""
        return self.data / "raw"

    @property
    def raw_manifest(self) -> Path:
        """Written last, when the raw folder is complete: by `apogaia mock`, or by hand as data/README.md says."""
        return self.raw / "manifest.json"

    @property
    def allstar(self) -> Path:
        return self.raw / ALLSTAR_FILES[self.survey.sources.apogee_release]

    def apstar(self, apogee_id: str, location_id: int, telescope: str = "apo25m") -> Path:
        """The combined spectrum of one star: ``raw/<telescope>/<LOCATION_ID>/apStar-r8-<APOGEE_ID>.fits``."""
        name = APSTAR_FILES[self.survey.sources.apogee_release].format(apogee_id=apogee_id)
        return self.raw / telescope / str(location_id) / name

    @property
    def gaia(self) -> Path:
        """Gaia sources around the stars, unmatched."""
        return self.raw / GAIA_FILES[self.survey.sources.gaia_release]

    @property
    def stellar_parameters(self) -> Path:
        """Stellar parameters and abundances, 22 values a star, row by row as allStar."""
        return self.raw / f"astroNN_apogee_{self.survey.sources.apogee_release}_catalog.fits"

    @property
    def truth(self) -> Path:
        """What the simulation knows; read by closure tests and figures only."""
        return self.data / "truth.fits"

    @property
    def sample_truth(self) -> Path:
        """The truth of the stars of a sample that `apogaia.closure` made in memory."""
        return self.data / "sample_truth.fits"

    @property
    def stars(self) -> Path:
        return self.data / "stars.h5"

    def model(self, offset: str) -> Path:
        """The trained model with `offset` "none", "constant" or "multivariate"."""
        return self.data / "models" / f"{offset}.keras"

    def history(self, offset: str) -> Path:
        return self.data / "models" / f"{offset}.history.json"

    def prediction(self, offset: str) -> Path:
        """MC-dropout luminosities of every star with one model."""
        return self.data / "predictions" / f"{offset}.npz"

    @property
    def catalogue(self) -> Path:
        return self.data / "apogee_nn_dist.fits"

    def result(self, name: str) -> Path:
        """Numbers, as JSON: ``result("03_offset_analysis")``."""
        return self.root / "results" / self.survey.name / f"{name}.json"

    def executed_notebook(self, name: str) -> Path:
        """The notebook as papermill ran it for this survey."""
        return self.root / "build" / self.survey.name / f"{name}.ipynb"

    def figure(self, name: str, kind: str = "pdf") -> Path:
        """A figure named after its notebook: ``figure("03_offset_surface")``."""
        return self.root / "figures" / self.survey.name / f"{name}.{kind}"


def find_root() -> Path:
    """The root folder: ``$APOGAIA_ROOT``, else the checkout that the current folder is in, else the current folder."""
    if "APOGAIA_ROOT" in os.environ:
        return Path(os.environ["APOGAIA_ROOT"]).resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "notebooks").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    return here
