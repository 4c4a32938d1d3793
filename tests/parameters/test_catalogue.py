"""The catalogue of stellar parameters: its form is that which the reader of the released one expects."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from apogaia.formats.stars_h5_columns import COLUMNS, LABELS
from apogaia.formats.survey_tables import read_stellar_parameters
from apogaia.parameters import catalogue
from apogaia.parameters.predictions import LabelPrediction
from apogaia.reduction import stars_h5

N = 5


@pytest.fixture
def files(tmp_path):
    """stars.h5 and the prediction of its stars, the third of which has no spectrum."""
    table = Table({c.name: np.zeros(N, c.kind if c.kind != "U" else "U8") for c in COLUMNS})
    table["apogee_id"] = [f"2M{i}" for i in range(N)]
    table["ra_apogee"][1] = np.nan
    table["status"][2] = 1
    stars_h5.write_stars(tmp_path / "stars.h5", table, [np.ones((N, 7514), np.float32)])
    rng = np.random.default_rng(1)
    parts = [rng.uniform(0.1, 1, (N, 22)) for _ in range(4)]
    for part in parts:
        part[2] = np.nan
    prediction = LabelPrediction(*parts)
    np.savez(tmp_path / "p.npz", **prediction._asdict())
    return tmp_path, table, prediction


def test_it_reads_as_the_released_catalogue(files):
    folder, table, prediction = files
    path = folder / "apogee_nn_parameters.fits"
    catalogue.write_parameters_catalogue(path, folder / "p.npz", folder / "stars.h5")
    read = read_stellar_parameters(path, table)
    for i, label in enumerate(LABELS):
        np.testing.assert_allclose(read[label], prediction.label[:, i], rtol=1e-6)
        np.testing.assert_allclose(read[f"{label}_error"], prediction.total_error[:, i], rtol=1e-6)
    with fits.open(path) as hdus:
        data = hdus[1].data
        assert (data["astroNN"][2] == -9999).all() and (data["astroNN_error"][2] == -9999).all()
        assert data["RA"][1] == -9999 and data["STATUS"][2] == 1
        assert data["APOGEE_ID"].tolist() == [f"2M{i}" for i in range(N)]
        assert data["astroNN"].shape == (N, 22) and hdus[1].columns["RA"].unit == "deg"


def test_own_labels_are_the_prediction_with_its_total_error(files):
    folder, _, prediction = files
    path = folder / "labelled_stars.h5"
    catalogue.label_with_own(path, folder / "stars.h5", path, folder / "p.npz")
    with stars_h5.open_stars(path) as opened:
        np.testing.assert_allclose(opened.table["mg_h"], prediction.label[:, LABELS.index("mg_h")], rtol=1e-6)
        np.testing.assert_allclose(opened.table["teff_error"], prediction.total_error[:, 0], rtol=1e-6)
        assert np.isnan(opened.table["fe_h"][2])


def test_a_survey_is_predicted_row_by_row_with_calibrated_errors(files, monkeypatch):
    folder, table, prediction = files
    asked = {}

    class Trained:
        def predict(self, spectra, snr, *, parts):
            asked["shape"], asked["snr"], asked["parts"] = spectra.shape, np.asarray(snr), parts
            return prediction

    monkeypatch.setattr(catalogue.ParametersModel, "load", lambda path, survey: Trained())
    catalogue.predict_survey_labels(folder / "again.npz", None, folder / "m.keras", folder / "stars.h5", folder / "p")
    assert asked["parts"] == folder / "p"
    again = catalogue.read_prediction(folder / "again.npz")
    assert asked["shape"] == (N, 7514) and np.array_equal(asked["snr"], table["snr"])
    for part, wanted in zip(again, prediction, strict=True):
        np.testing.assert_array_equal(part, wanted)
