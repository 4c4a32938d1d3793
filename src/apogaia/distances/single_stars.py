"""Distances of single stars from their apStar files (the paper's Appendix A as a function)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.table import Table

from apogaia.distances.catalogue import distance_table
from apogaia.formats.apstar import SpectrumError, Status, read_apstar
from apogaia.formats.fits_columns import MISSING_BELOW
from apogaia.formats.pixel_grid import N_PIXELS
from apogaia.formats.survey_tables import MISSING_MAG_ABOVE
from apogaia.model.error_calibration import ErrorCalibration
from apogaia.model.inference import Prediction, predict
from apogaia.model.training_domain import TrainingDomain
from apogaia.reduction.continuum import apogee_continuum
from apogaia.survey import Survey

__all__ = ["measure_distances"]


def measure_distances(
    paths: Sequence[str | Path],
    model,
    survey: Survey,
    *,
    domain: TrainingDomain | None = None,
    errors: ErrorCalibration | None = None,
    passes: int | None = None,
    seed: int | None = None,
    progress: bool = False,
) -> Table:
    """Luminosity, parallax and distance of the stars in apStar (or asStar) files.

    Parameters
    ----------
    paths
        apStar files; one row each, in this order. A file without a usable spectrum keeps its row, with the reason.
    model
        A trained model from `apogaia.model.training.load_model`.
    survey
        The survey that the model was trained for: continuum pixels, mask bits, number of passes.
    domain
        The model's training set, from `apogaia.model.training.read_domain`: stars unlike it are flagged, and their
        errors
        grow. None: no star is.
    errors
        The model's calibration, from `apogaia.model.error_calibration.ErrorCalibration.of_model`. None: errors as the
        network
        states them.
    passes, seed
        Dropout passes and seed, if not the survey's.

    Returns
    -------
    Table
        ``file``, ``apogee_id``, ``status``, ``reason``, ``snr``, then the columns of
        `apogaia.distances.catalogue.distance_table`; NaN where unknown, and ``flags`` say why. Ks and A_Ks come from
        the files'
        headers (cards K and AKTARG); missing extinction counts as none and is flagged.
    """
    n = len(paths)
    spectra = np.full((n, N_PIXELS), np.nan, dtype=np.float32)
    star = {"k_mag": np.full(n, np.nan), "a_k_mag": np.full(n, np.nan), "snr": np.full(n, np.nan)}
    apogee_id, status, reason = [""] * n, np.zeros(n, np.int16), [""] * n
    for i, path in enumerate(paths):
        try:
            apstar = read_apstar(path, masked_bits=survey.spectra.masked_bits)
        except SpectrumError as error:
            status[i], reason[i] = error.status, str(error)
            continue
        apogee_id[i] = str(apstar.header["apogee_id"]).strip()
        star["snr"][i] = _number(apstar.header["snr"], below=np.inf)
        star["k_mag"][i] = _number(apstar.header["k_mag"], below=MISSING_MAG_ABOVE)
        star["a_k_mag"][i] = _number(apstar.header["a_k_targ"], below=MISSING_MAG_ABOVE)
        spectra[i], _ = apogee_continuum(apstar.flux, apstar.error, apstar.mask, spectra=survey.spectra)
        if not np.isfinite(spectra[i]).all():
            status[i] = Status.NO_CONTINUUM
            reason[i] = f"{path}: {Status.NO_CONTINUUM.reason}"
    low_extinction = star["a_k_mag"] < survey.cuts.min_a_k_targ
    star["a_k_mag"][low_extinction] = np.nan
    prediction: Prediction = predict(
        model,
        spectra,
        passes=survey.inference.passes if passes is None else passes,
        seed=survey.inference.seed if seed is None else seed,
        batch_size=survey.inference.batch_size,
        progress=progress,
    )
    if errors is not None:
        prediction = errors.apply(prediction, star["snr"])
    table = Table({"file": [str(path) for path in paths], "apogee_id": apogee_id})
    table["status"] = [Status(value).name for value in status]
    table["reason"] = reason
    table["snr"] = star["snr"]
    placement = None if domain is None else domain.place(spectra)
    distances = distance_table(prediction, star["k_mag"], star["a_k_mag"], survey.inference, placement)
    for name in distances.colnames:
        table[name] = distances[name]
    return table


def _number(value, below: float) -> float:
    """A header's number; NaN where there is none, or a text or a placeholder."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return np.nan
    return float(value) if MISSING_BELOW <= value < below else np.nan
