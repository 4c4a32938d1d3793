"""A model loaded from its file, with methods to predict luminosities and distances."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import keras
import numpy as np
from astropy import units as u
from astropy.table import Table

from apogaia.arguments.plain import file_path, file_paths
from apogaia.arguments.takes import takes
from apogaia.distances.catalogue import distance_table
from apogaia.formats.apstar import Status
from apogaia.formats.fits_columns import known_number
from apogaia.formats.survey_tables import MISSING_MAG_ABOVE
from apogaia.model import model_file
from apogaia.model.error_calibration import ErrorCalibration, Prediction
from apogaia.model.inference import predict_calibrated, read_error_calibration
from apogaia.model.training_domain import Placement, TrainingDomain
from apogaia.parameters.astra import astronn_dist_table
from apogaia.parameters.spectra_rows import file_rows
from apogaia.reduction.normalised_spectra import read_spectra
from apogaia.survey import Survey

__all__ = ["TrainedModel"]


@dataclass(frozen=True)
class TrainedModel:
    """A model file in memory.

    Examples
    --------
    >>> model = TrainedModel.load("data/mock/models/calibrated.keras")  # doctest: +SKIP
    >>> model.distances("apStar-r8-2M19060637+4717296.fits")["dist", "dist_error"]  # doctest: +SKIP
    """

    network: keras.Model  # the joint network; its parts are the layers "luminosity" and "offset"
    domain: TrainingDomain | None  # which stars are like the training set; None: the file does not say
    errors: ErrorCalibration  # changes nothing for a model whose errors were not calibrated
    survey: Survey  # whose settings of spectra, extinction and inference are used
    provenance: Mapping  # survey, settings, sample counts, seed, history, versions

    @classmethod
    @takes(path=file_path)
    def load(cls, path: str | Path, survey: Survey | None = None) -> TrainedModel:
        """Read a model file (``.keras``).

        Parameters
        ----------
        path
            The file.
        survey
            Whose settings of spectra, extinction and inference are used; None: those with which it was trained.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        apogaia.model.model_file.ModelFileError
            If it is not a model of apogaia, damaged, or written by another version.
        """
        provenance = model_file.read_provenance(path)
        if "labels" in provenance:
            raise model_file.ModelFileError(f"{path}: a model of stellar parameters, not of distances: give another")
        return cls(
            model_file.load_network(path),
            model_file.read_domain(path),
            read_error_calibration(path),
            model_file.training_survey(path) if survey is None else survey,
            provenance,
        )

    @property
    def offset(self) -> str:
        """How the zero point enters: "none", "constant", "multivariate", or "calibrated" (fitted beforehand)."""
        return self.provenance["offset"]

    @property
    def history(self) -> Mapping[str, Sequence[float]]:
        """Loss and learning rate per epoch of the training, and for "constant" the offset [mas]."""
        return self.provenance["history"]

    @takes(spectra=u.dimensionless_unscaled, snr=u.dimensionless_unscaled)
    def predict(
        self, spectra, snr, *, passes: int | None = None, seed: int | None = None, progress: bool = True
    ) -> Prediction:
        """Luminosities of stars by Monte-Carlo dropout; a calibrated model's errors are calibrated.

        Parameters
        ----------
        spectra
            (n, pixels) normalised spectra, an array or an HDF5 dataset.
        snr
            (n,) their signal-to-noise ratios, on which the errors' calibration depends; NaN: unknown.
        passes, seed
            Dropout passes and their seed; None: the survey's.
        progress
            Show a progress bar.

        Raises
        ------
        ValueError
            If the spectra have another number of pixels than the model's.
        """
        settings = self.survey.inference
        settings = dataclasses.replace(
            settings,
            passes=settings.passes if passes is None else passes,
            seed=settings.seed if seed is None else seed,
        )
        return predict_calibrated(self.network, self.errors, spectra, snr, settings, progress=progress)

    @takes(spectra=u.dimensionless_unscaled, g_mag=u.mag, bp_rp=u.mag, teff=u.K)
    def place(self, spectra, g_mag=None, bp_rp=None, teff=None) -> Placement:
        """How far stars are from the training set (`TrainingDomain.place`); unknown if the file has none.

        Parameters
        ----------
        spectra
            (n, pixels) normalised spectra.
        g_mag, bp_rp, teff
            (n,) Gaia's G and BP-RP [mag], effective temperature [K]; None: unknown.
        """
        if self.domain is None:
            return Placement.unknown(len(spectra))
        return self.domain.place(spectra, g_mag, bp_rp, teff)

    @takes(files=file_paths)
    def distances(
        self,
        files: str | Path | Iterable[str | Path],
        *,
        passes: int | None = None,
        seed: int | None = None,
        progress: bool = False,
    ) -> Table:
        """Luminosity, parallax and distance of the stars in apStar (or asStar) files (the paper's Appendix A).

        Parameters
        ----------
        files
            One file or several; one row each, in this order. A file without a usable spectrum keeps its row, with the
            reason.
        passes, seed
            Dropout passes and their seed; None: the survey's.
        progress
            Show a progress bar.

        Returns
        -------
        Table
            ``file``, ``apogee_id``, ``status``, ``reason``, ``snr``, then the columns of
            `apogaia.distances.catalogue.distance_table`, then ``k_mag`` and ``a_k_mag`` [mag]; NaN where unknown, and
            ``flags`` say why. Ks and A_Ks come from the files' headers (cards K and AKTARG); missing extinction counts
            as none and is flagged.
        """
        paths = cast("list[Path]", files)
        read = read_spectra(paths, self.survey.spectra)
        snr = _numbers(read.headers, "snr", below=np.inf)
        k_mag = _numbers(read.headers, "k_mag", below=MISSING_MAG_ABOVE)
        a_k_mag = _numbers(read.headers, "a_k_targ", below=MISSING_MAG_ABOVE)
        a_k_mag[a_k_mag < self.survey.cuts.min_a_k_targ] = np.nan

        prediction = self.predict(read.flux, snr, passes=passes, seed=seed, progress=progress)
        status = [Status(value) for value in read.status]
        table = Table(
            {
                "file": [str(path) for path in paths],
                "apogee_id": [str(header.get("apogee_id") or "").strip() for header in read.headers],
                "status": [value.name for value in status],
                "reason": [
                    fault and f"{path}: {fault}; {value.remedy}"
                    for path, fault, value in zip(paths, read.fault, status, strict=True)
                ],
                "snr": snr,
            }
        )
        measured = distance_table(prediction, k_mag, a_k_mag, self.survey.inference, self.place(read.flux))
        for name in measured.colnames:
            table[name] = measured[name]
        table["k_mag"], table["a_k_mag"] = k_mag, a_k_mag
        return table

    @takes(files=file_paths, ebv=u.mag)
    def astra_distances(
        self,
        files: str | Path | Iterable[str | Path],
        *,
        ebv: float | None = None,
        passes: int | None = None,
        seed: int | None = None,
        progress: bool = False,
        schema: str = "dr19",
    ) -> Table:
        """Distances with the columns and rules of SDSS Astra's AstroNNDist (`apogaia.parameters.astra`).

        Parameters
        ----------
        files, passes, seed, progress
            As for `distances`.
        ebv
            E(B-V) [mag] of stars whose header states no extinction (AKTARG); None: unknown, which counts as none.
        schema
            "dr19" or "dev".
        """
        paths = cast("list[Path]", files)
        read = read_spectra(paths, self.survey.spectra)
        rows = file_rows(paths, read, ebv)
        prediction = self.predict(read.flux, np.asarray(rows["snr"]), passes=passes, seed=seed, progress=progress)
        return astronn_dist_table(rows, prediction, schema)


def _numbers(headers: Sequence[Mapping], name: str, below: float) -> np.ndarray:
    """(n,) numbers of the headers; NaN where there is none, or a text or a placeholder."""
    return np.array([known_number(header.get(name), below) for header in headers], dtype=float)
