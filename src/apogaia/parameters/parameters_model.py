"""A model of stellar parameters loaded from its file, with methods to predict labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import keras
import numpy as np
from astropy import units as u
from astropy.table import Column, Table

from apogaia.arguments.plain import file_path, file_paths
from apogaia.arguments.takes import takes
from apogaia.formats.apstar import Status
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.model import model_file
from apogaia.parameters import astra
from apogaia.parameters import network as network_module  # noqa: F401 - it registers the layers of a file with Keras
from apogaia.parameters.error_calibration import LabelErrorCalibration
from apogaia.parameters.inference import predict_labels
from apogaia.parameters.label_presence import LabelPresence
from apogaia.parameters.label_shift import LabelShift
from apogaia.parameters.predictions import LABEL_PREDICTION, LabelPrediction
from apogaia.parameters.spectra_rows import file_rows
from apogaia.reduction.normalised_spectra import read_spectra
from apogaia.survey import Survey

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
    shift: LabelShift  # of the labels, the calibration of their errors, and which kinds of stars have which label;
    errors: LabelErrorCalibration  # none changes anything for a model that was not calibrated
    presence: LabelPresence
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
        names = ("label_shift", "error_calibration", "label_presence")
        shift, errors, presence = (provenance.get(name) for name in names)
        try:
            calibration = (
                LabelShift.none() if shift is None else LabelShift.from_dict(shift),
                LabelErrorCalibration.none() if errors is None else LabelErrorCalibration.from_dict(errors),
                LabelPresence.none() if presence is None else LabelPresence.from_dict(presence),
            )
        except (KeyError, TypeError) as error:
            raise model_file.ModelFileError(
                f"{path}: its calibration was written by another version of apogaia: train the model again"
            ) from error
        survey = model_file.training_survey(path) if survey is None else survey
        return cls(model_file.load_network(path), *calibration, survey, provenance)

    @property
    def history(self) -> Mapping[str, Sequence[float]]:
        """Loss and learning rate per epoch of the training."""
        return self.provenance["history"]

    @takes(spectra=u.dimensionless_unscaled, snr=u.dimensionless_unscaled, parts=file_path)
    def predict(
        self,
        spectra,
        snr,
        *,
        passes: int | None = None,
        seed: int | None = None,
        progress: bool = True,
        parts: Path | None = None,
    ) -> LabelPrediction:
        """Labels of stars by Monte-Carlo dropout, calibrated, with calibrated errors.

        Parameters
        ----------
        spectra
            (n, pixels) normalised spectra, an array or an HDF5 dataset.
        snr
            (n,) their signal-to-noise ratios, on which the calibration depends; NaN: unknown.
        passes, seed
            Dropout passes and their seed; None: the survey's.
        progress
            Show a progress bar.
        parts
            As for `apogaia.model.inference.in_batches`.

        Raises
        ------
        ValueError
            If the spectra have another number of pixels than the model's.
        """
        raw = self.predict_raw(spectra, passes=passes, seed=seed, progress=progress, parts=parts)
        return self.calibrated(raw, snr)

    @takes(raw=LABEL_PREDICTION, snr=u.dimensionless_unscaled)
    def calibrated(self, raw: LabelPrediction, snr) -> LabelPrediction:
        """Labels and errors of `predict_raw`, of spectra with these SNRs (n,), as `predict` gives them."""
        return self.presence.apply(self.errors.apply(self.shift.apply(raw, snr), snr))

    @takes(files=file_paths)
    def parameters(
        self,
        files: str | Path | Iterable[str | Path],
        *,
        visits: bool = False,
        passes: int | None = None,
        seed: int | None = None,
        progress: bool = False,
    ) -> Table:
        """Stellar parameters and abundances of the stars in apStar (or asStar) files.

        Parameters
        ----------
        files
            One file or several, in whose order the rows are. A file without a usable spectrum keeps its row, with the
            reason.
        visits
            The row of each combined spectrum is followed by a row for each visit.
        passes, seed
            Dropout passes and their seed; None: the survey's.
        progress
            Show a progress bar.

        Returns
        -------
        Table
            ``file``, ``apogee_id``, ``visit`` (0: combined), ``mjd`` (-1: unknown, or combined), ``status``,
            ``reason``, ``snr``; then each label [K, dex] with its ``_error`` and ``_model_error``, calibrated, and
            ``_raw`` and ``_raw_error``, as the network predicts; NaN where unknown. ``result_flags`` are the bits of
            `apogaia.parameters.astra.AstroNNFlags`.
        """
        rows, raw, calibrated = self._of_files(cast("list[Path]", files), visits, passes, seed, progress)
        table = Table({"file": rows["file"], "apogee_id": rows["obj"], "visit": rows["visit"]})
        table["mjd"] = rows["mjd"] if "mjd" in rows.colnames else np.full(len(rows), -1)
        table["status"] = [Status(value).name for value in rows["status"]]
        table["reason"], table["snr"] = rows["reason"], rows["snr"]
        for i, name in enumerate(LABELS):
            unit = "K" if name == "teff" else "dex"
            for end, values in (
                ("", calibrated.label),
                ("_error", calibrated.total_error),
                ("_model_error", calibrated.model_error),
                ("_raw", raw.label),
                ("_raw_error", raw.total_error),
            ):
                table[name + end] = Column(values[:, i], unit=unit)
        table["result_flags"] = astra.astronn_table(rows, raw, calibrated)["result_flags"]
        return table

    @takes(files=file_paths)
    def astra_table(
        self,
        files: str | Path | Iterable[str | Path],
        *,
        visits: bool = False,
        passes: int | None = None,
        seed: int | None = None,
        progress: bool = False,
        schema: str = "dr19",
    ) -> Table:
        """The same as `parameters` with the columns of SDSS Astra's AstroNN (`apogaia.parameters.astra`)."""
        found = self._of_files(cast("list[Path]", files), visits, passes, seed, progress)
        return astra.astronn_table(*found, schema)

    def _of_files(
        self, paths: list[Path], visits: bool, passes: int | None, seed: int | None, progress: bool
    ) -> tuple[Table, LabelPrediction, LabelPrediction]:
        read = read_spectra(paths, self.survey.spectra, visits=visits)
        rows = file_rows(paths, read)
        raw = self.predict_raw(read.flux, passes=passes, seed=seed, progress=progress)
        return rows, raw, self.calibrated(raw, np.asarray(rows["snr"]))

    @takes(spectra=u.dimensionless_unscaled, parts=file_path)
    def predict_raw(
        self,
        spectra,
        *,
        passes: int | None = None,
        seed: int | None = None,
        progress: bool = True,
        first_row: int = 0,
        parts: Path | None = None,
    ) -> LabelPrediction:
        """The same with the network's own labels and errors, before calibration.

        `first_row` is the row of the first of `spectra` in the survey of which they are a part; `parts` is as for
        `apogaia.model.inference.in_batches`.
        """
        settings = self.survey.inference
        return predict_labels(
            self.network,
            spectra,
            passes=self.survey.parameters.passes if passes is None else passes,
            seed=settings.seed if seed is None else seed,
            batch_size=settings.batch_size,
            progress=progress,
            first_row=first_row,
            parts=parts,
        )
