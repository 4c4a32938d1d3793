"""The layout on disk: the only module that knows folders and file names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from apogaia import __version__
from apogaia.formats.releases import RELEASES, GaiaRelease, Release
from apogaia.survey import Survey

__all__ = ["Workspace"]

MODELS = ("none", "constant", "multivariate", "calibrated", "parameters")


@dataclass(frozen=True, init=False)
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
    root: Path

    def __init__(self, survey: Survey, root: str | Path | None = None):
        object.__setattr__(self, "survey", survey)
        object.__setattr__(self, "root", Path(root) if root else find_root())

    @property
    def data(self) -> Path:
        """Everything of the survey but results and figures."""
        return self.root / "data" / self.survey.name

    @property
    def raw(self) -> Path:
        """Raw files, in SAS's own layout below; never edited."""
        return self.data / "raw"

    @property
    def raw_manifest(self) -> Path:
        """Written last, when the raw folder is complete, by `apogaia data` (`mock` or `fetch`)."""
        return self.raw / "manifest.json"

    @property
    def release(self) -> Release:
        """Names and places of APOGEE's files."""
        return RELEASES[self.survey.sources.apogee_release]

    @property
    def gaia_release(self) -> GaiaRelease:
        """Gaia's table, columns and file."""
        return GaiaRelease(self.survey.sources.gaia_release)

    @property
    def allstar(self) -> Path:
        """The survey's table of stars, as the archive has it."""
        return self.raw / self.release.allstar.name

    def apstar(
        self,
        apogee_id: str,
        location_id: int = 0,
        telescope: str = "apo25m",
        field: str = "",
        file: str = "",
        healpix: int = 0,
        reduction: str = "",
    ) -> Path:
        """The combined spectrum of one star, such as ``raw/<telescope>/<LOCATION_ID or FIELD>/apStar-...fits``.

        See `apogaia.formats.releases.Release.spectrum` for the parameters, which are columns of allStar.
        """
        return self.raw / self.release.spectrum(apogee_id, telescope, location_id, field, file, healpix, reduction)

    @property
    def raw_tables(self) -> list[Path]:
        """The tables that the reduction reads: Gaia's unless allStar holds its columns, stellar parameters if there.

        The stellar-parameter catalogue is needed where the survey takes its labels from it.
        """
        gaia = [] if self.release.gaia_in_allstar else [self.gaia]
        wanted = self.survey.labels.source == "external" or self.stellar_parameters.is_file()
        return [self.allstar, *gaia, *([self.stellar_parameters] if wanted else [])]

    @property
    def released_spectra(self) -> tuple[Path, Path]:
        """The paper's training and test set as released on Zenodo (`sources.spectra = "released"`)."""
        return self.raw / "gaia_dr2_train.h5", self.raw / "gaia_dr2_test.h5"

    @property
    def gaia(self) -> Path:
        """Gaia sources around the stars, unmatched."""
        return self.raw / self.gaia_release.file

    @property
    def stellar_parameters(self) -> Path:
        """Stellar parameters and abundances, 22 values a star, row by row as allStar."""
        return self.raw / self.release.stellar_parameters.name

    @property
    def truth(self) -> Path:
        """The true values of a simulation; read only by closure tests and figures."""
        return self.data / "truth.fits"

    @property
    def sample_truth(self) -> Path:
        """The truth of the stars of a sample that `apogaia.closure` made in memory."""
        return self.data / "sample_truth.fits"

    @property
    def stars(self) -> Path:
        """The reduced survey: one row per allStar row, with its spectrum."""
        return self.data / "stars.h5"

    @property
    def labelled_stars(self) -> Path:
        """stars.h5 with labels that are not the stellar-parameter catalogue's; its spectra are a link to stars.h5."""
        return self.data / "labelled_stars.h5"

    def model(self, name: str) -> Path:
        """A trained model: with the offset "none", "constant" or "multivariate", the "calibrated" one, "parameters".

        Raises
        ------
        ValueError
            If `name` is none of these.
        """
        if name not in MODELS:
            raise ValueError(f"the model must be one of {', '.join(MODELS)}, not {name!r}")
        return self.data / "models" / f"{name}.keras"

    def closure_model(self, name: str) -> Path:
        """A model that a closure trial trained."""
        return self.data / "closure" / f"{name}.keras"

    def closure_result(self, trial: str) -> Path:
        """The result of a closure trial, as JSON; trials belong to no survey."""
        return self.root / "results" / "closure" / f"{trial}.json"

    def prediction(self, name: str) -> Path:
        """MC-dropout luminosities, or labels, of every star with one model."""
        return self.data / "predictions" / f"{name}.npz"

    @property
    def parameters_catalogue(self) -> Path:
        """The survey's own catalogue of stellar parameters and abundances."""
        return self.data / "apogee_nn_parameters.fits"

    @property
    def catalogue(self) -> Path:
        """The catalogue of distances."""
        return self.data / "apogee_nn_dist.fits"

    def astra_product(self, name: str) -> Path:
        """A product in the format of SDSS's Astra: ``astra_product("AllStarAstroNN")``."""
        return self.data / f"astra{name}-{__version__}.fits.gz"

    def result(self, name: str) -> Path:
        """Numbers, as JSON: ``result("03_offset_analysis")``."""
        return self.root / "results" / self.survey.name / f"{name}.json"

    def executed_notebook(self, name: str) -> Path:
        """The notebook as papermill ran it for this survey."""
        return self.root / "build" / self.survey.name / f"{name}.ipynb"

    @property
    def explorer(self) -> Path:
        """The page of `apogaia explore`."""
        return self.root / "build" / self.survey.name / "explorer.html"

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
