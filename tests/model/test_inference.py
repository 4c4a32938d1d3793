"""Monte-Carlo dropout."""

import h5py
import numpy as np
import pytest
from small_networks import SMALL, model_of, spectra_for

from apogaia.model import inference


def test_result_is_independent_of_batch_size_and_source(tmp_path):
    model = model_of(SMALL)
    spectra = spectra_for(model, 7)
    spectra[2, 5] = np.nan
    whole = inference.predict(model, spectra, passes=20, seed=1, batch_size=64, progress=False)
    with h5py.File(tmp_path / "s.h5", "w") as file:
        parts = inference.predict(model, file.create_dataset("s", data=spectra), passes=20, seed=1, batch_size=3)
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(a, b)
        assert a.shape == (7,)
        assert np.flatnonzero(np.isnan(a)).tolist() == [2]


def test_a_killed_run_resumes_with_its_parts_to_the_same_numbers(tmp_path, monkeypatch):
    model = model_of(SMALL)
    spectra = spectra_for(model, 8)
    spectra[2, 5] = np.nan
    spectra[4:6] = np.nan  # a batch without a spectrum
    whole = inference.predict(model, spectra, passes=5, seed=1, batch_size=2, progress=False)
    moments, rows = inference.FastDropout.moments, []

    def recorded(self, batch, rows_of_batch, **settings):
        rows.extend(rows_of_batch.tolist())
        return moments(self, batch, rows_of_batch, **settings)

    def dying(self, batch, rows_of_batch, **settings):
        if 7 in rows_of_batch:
            raise KeyboardInterrupt
        return recorded(self, batch, rows_of_batch, **settings)

    settings = {"passes": 5, "seed": 1, "batch_size": 2, "progress": False, "parts": tmp_path}
    monkeypatch.setattr(inference.FastDropout, "moments", dying)
    with pytest.raises(KeyboardInterrupt):
        inference.predict(model, spectra, **settings)
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{first:09d}.npy" for first in (0, 2, 4)]
    monkeypatch.setattr(inference.FastDropout, "moments", recorded)
    found = inference.predict(model, spectra, **settings)
    np.testing.assert_array_equal(np.array(found), np.array(whole))
    assert rows == [0, 1, 3, 6, 7]  # what was finished is not predicted again


@pytest.mark.parametrize("function", [inference.predict, inference.predict_reference])
def test_errors_add_in_quadrature_and_nan_stays_nan(function):
    model = model_of(SMALL)
    spectra = spectra_for(model, 5)
    spectra[[0, 3], 7] = np.nan
    prediction = function(model, spectra, passes=8, seed=1, batch_size=2, progress=False)
    assert np.isnan(prediction).sum(axis=1).tolist() == [2, 2, 2, 2]
    total = np.hypot(prediction.model_error, prediction.predictive_error)
    np.testing.assert_allclose(prediction.total_error, total)
    again = function(model, spectra, passes=8, seed=1, batch_size=2, progress=False)
    np.testing.assert_array_equal(np.array(prediction), np.array(again))


@pytest.mark.parametrize("function", [inference.predict, inference.predict_reference])
def test_spectra_with_a_wrong_number_of_pixels_are_refused(function):
    with pytest.raises(ValueError, match=r"\(2, 60\).*61 pixels"):
        function(model_of(SMALL), np.ones((2, 60)), passes=2, seed=1)
