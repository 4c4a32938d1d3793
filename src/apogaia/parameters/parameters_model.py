"""A model of stellar parameters loaded from its file, with methods to predict labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
from astropy import units as u

from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.model import model_file
from apogaia.parameters import network as network_module  # noqa: F401 - it registers the layers of a file with Keras
from apogaia.parameters.error_calibration import LabelErrorCalibration
from apogaia.parameters.inference import predict_labels
from apogaia.parameters.predictions import LabelPrediction
from apogaia.survey import Survey, restore_survey

__all__ = ["ParametersModel"]


@dataclass(frozen=True)
class ParametersModel:
    """A model file in memory.

    Examples
    --------
    >>> model = ParametersModel.load("data/mock/models/parameters.keras")  # doctest: +SKIP
    >>> model.predict(spectra, snr).label[:, 0]  # Teff  # doctest: +SKIP
    """

    network: keras.Model  # the censored network
    errors: LabelErrorCalibration  # changes nothing for a model whose errors were not calibrated
    survey: Survey  # whose settings of spectra and inference are used
    provenance: Mapping  # survey, settings, sample counts, seed, history, versions

    @classmethod
    @takes(path=file_path)
    def load(cls, path: str | Path, survey: Survey | None = None) -> ParametersModel:
        """Read a model file (``.keras``).

        Parameters
        ----------
        path
            The file.
        survey
            Whose settings of spectra and inference are used; None: those with which it was trained.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        apogaia.model.model_file.ModelFileError
            If it is not a model of stellar parameters, damaged, or written by another version.
        """
        provenance = model_file.read_provenance(path)
        if "labels" not in provenance:
            raise model_file.ModelFileError(f"{path}: a model of distances, not of stellar parameters: give another")
        calibration = provenance.get("error_calibration")
        return cls(
            model_file.load_network(path),
            LabelErrorCalibration.none() if calibration is None else LabelErrorCalibration(**calibration),
            restore_survey(provenance["settings"]) if survey is None else survey,
            provenance,
        )

    @property
    def history(self) -> Mapping[str, Sequence[float]]:
        """Loss and learning rate per epoch of the training."""
        return self.provenance["history"]

    @takes(spectra=u.dimensionless_unscaled, snr=u.dimensionless_unscaled)
    def predict(
        self, spectra, snr, *, passes: int | None = None, seed: int | None = None, progress: bool = True
    ) -> LabelPrediction:
        """Labels of stars by Monte-Carlo dropout, with calibrated errors.

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
        return self.errors.apply(self.predict_raw(spectra, passes=passes, seed=seed, progress=progress), snr)

    @takes(spectra=u.dimensionless_unscaled)
    def predict_raw(
        self, spectra, *, passes: int | None = None, seed: int | None = None, progress: bool = True
    ) -> LabelPrediction:
        """The same with the errors that the network states, before their calibration."""
        settings = self.survey.inference
        settings = dataclasses.replace(
            settings,
            passes=settings.passes if passes is None else passes,
            seed=settings.seed if seed is None else seed,
        )
        return predict_labels(
            self.network,
            spectra,
            passes=settings.passes,
            seed=settings.seed,
            batch_size=settings.batch_size,
            progress=progress,
        )
