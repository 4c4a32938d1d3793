"""The survey's own catalogue of stellar parameters and abundances, in the format of Leung & Bovy (2019a).

Whatever reads ``astroNN_apogee_dr14_catalog.fits`` reads this one: a row for each of allStar, 22 labels and their
errors in the columns ``astroNN`` and ``astroNN_error``, -9999 where unknown.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from apogaia.arguments.plain import file_path
from apogaia.arguments.takes import takes
from apogaia.formats.fits_columns import MISSING
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.formats.survey_tables import write_table
from apogaia.parameters.parameters_model import ParametersModel
from apogaia.parameters.predictions import LabelPrediction
from apogaia.reduction import stars_h5
from apogaia.reduction.labelled_stars import write_labelled_stars
from apogaia.survey import Survey

__all__ = ["label_columns", "label_with_own", "predict_survey_labels", "read_prediction", "write_parameters_catalogue"]


@takes(path=file_path, model=file_path, stars=file_path, parts=file_path)
def predict_survey_labels(path: Path, survey: Survey, model: Path, stars: Path, parts: Path | None = None) -> None:
    """Write the calibrated labels of every row of stars.h5 and their errors to a .npz file.

    Parameters
    ----------
    path
        File to write, with the arrays of `LabelPrediction`.
    survey
        Its sections ``parameters`` (passes) and ``inference`` are used.
    model
        Model file.
    stars
        The survey's stars.h5.
    parts
        Folder from which a killed run resumes, as for `apogaia.model.inference.in_batches`.
    """
    trained = ParametersModel.load(model, survey)
    with stars_h5.open_stars(stars) as opened:
        prediction = trained.predict(opened.spectra, opened.table["snr"], parts=parts)
    np.savez(path, **prediction._asdict())


@takes(path=file_path)
def read_prediction(path: Path) -> LabelPrediction:
    """Read what `predict_survey_labels` wrote."""
    with np.load(path) as arrays:
        return LabelPrediction(**{name: arrays[name] for name in LabelPrediction._fields})


def label_columns(prediction: LabelPrediction) -> dict[str, np.ndarray]:
    """Labels and total errors by their names in stars.h5, (n,) each."""
    named = {label: prediction.label[:, i] for i, label in enumerate(LABELS)}
    return named | {f"{label}_error": prediction.total_error[:, i] for i, label in enumerate(LABELS)}


@takes(path=file_path, stars=file_path, prediction=file_path)
def label_with_own(path: Path, stars: Path, place: Path, prediction: Path) -> None:
    """`write_labelled_stars` with the labels of the survey's own network, as `predict_survey_labels` wrote them."""
    write_labelled_stars(path, stars, place, label_columns(read_prediction(prediction)))


@takes(path=file_path, prediction=file_path, stars=file_path)
def write_parameters_catalogue(path: Path, prediction: Path, stars: Path) -> None:
    """Write the catalogue: row i is row i of stars.h5, and of allStar.

    Parameters
    ----------
    path
        File to write.
    prediction
        What `predict_survey_labels` wrote.
    stars
        The survey's stars.h5.
    """
    found = read_prediction(prediction)
    with stars_h5.open_stars(stars) as opened:
        table = opened.table
    known = np.isfinite(found.label) & np.isfinite(found.total_error)
    columns = {
        "APOGEE_ID": np.asarray(table["apogee_id"]).astype(str),
        "LOCATION_ID": np.asarray(table["location_id"], np.int32),
        "RA": np.where(np.isfinite(table["ra_apogee"]), table["ra_apogee"], MISSING).astype(np.float64),
        "DEC": np.where(np.isfinite(table["dec_apogee"]), table["dec_apogee"], MISSING).astype(np.float64),
        "astroNN": np.where(known, found.label, MISSING).astype(np.float32),
        "astroNN_error": np.where(known, found.total_error, MISSING).astype(np.float32),
        "astroNN_model_error": np.where(known, found.model_error, MISSING).astype(np.float32),
        "SNR": np.where(np.isfinite(table["snr"]), table["snr"], MISSING).astype(np.float32),
        "STATUS": np.asarray(table["status"], np.int16),
    }
    write_table(path, columns, {"RA": "deg", "DEC": "deg"})
