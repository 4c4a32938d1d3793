"""Labels by Monte-Carlo dropout: the fast way against the Keras model, call by call, and input that is no spectrum."""

import dataclasses

import h5py
import keras
import numpy as np
import pytest
from small_censored import N_PIXELS, NETWORK, PARAMETERS, SD, small_model, small_spectra

from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters.inference import predict_labels, predict_labels_reference

WAYS = pytest.mark.parametrize("way", [predict_labels, predict_labels_reference])
FEW = {"passes": 4, "seed": 1, "progress": False}


@pytest.fixture(scope="module")
def model():
    return small_model()


@WAYS
def test_without_dropout_labels_and_errors_are_those_of_the_deterministic_model(way):
    model = small_model(parameters=dataclasses.replace(PARAMETERS, dropout=0.0))
    spectra = small_spectra(5)
    label, log_variance = np.moveaxis(keras.ops.convert_to_numpy(model({"spectrum": spectra})), 2, 0)
    prediction = way(model, spectra, **FEW)
    assert prediction.label.shape == (5, len(LABELS)) and prediction.label.dtype == np.float64
    np.testing.assert_allclose(prediction.label / SD, label / SD, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(prediction.predictive_error, np.exp(log_variance / 2), rtol=1e-4)
    assert np.max(prediction.model_error / SD) < 1e-6
    np.testing.assert_allclose(prediction.total_error, prediction.predictive_error, rtol=1e-6)


def test_the_fast_way_has_the_distribution_of_the_reference(model):
    """The reference gets many copies of a star, each of which has masks of its own."""
    spectra, copies, passes = small_spectra(3), 400, 10
    reference = predict_labels_reference(
        model, np.repeat(spectra, copies, axis=0), passes=passes, seed=2, batch_size=1200
    )
    mean, spread, predictive = (part.reshape(3, copies, -1) for part in reference[:3])
    n = copies * passes
    variance = (spread**2).mean(axis=1) + mean.var(axis=1)  # within the copies and between them
    fast = predict_labels(model, spectra, passes=n, seed=2, progress=False)
    error = np.sqrt(2 * variance / n)
    assert np.all(np.abs(fast.label - mean.mean(axis=1)) < 5 * error)
    np.testing.assert_allclose(fast.model_error, np.sqrt(variance), rtol=5 * np.sqrt(2 / n))
    np.testing.assert_allclose(fast.predictive_error, np.sqrt((predictive**2).mean(axis=1)), rtol=0.05)
    np.testing.assert_allclose(fast.total_error, np.hypot(fast.model_error, fast.predictive_error), rtol=1e-12)


@WAYS
def test_rows_that_are_not_finite_give_nan_and_leave_the_others(model, way):
    spectra = small_spectra(6)
    spectra[2, 5], spectra[4, 0] = np.nan, np.inf
    for values in way(model, spectra, **FEW):
        assert np.isnan(values).all(axis=1).nonzero()[0].tolist() == [2, 4]
        assert np.isfinite(np.delete(values, [2, 4], axis=0)).all()
    assert np.isnan(np.array(way(model, spectra[[2, 4]], **FEW))).all()


def test_a_row_has_the_same_bits_whatever_the_batch_and_its_neighbours(model, tmp_path):
    spectra = small_spectra(20)
    whole = np.array(predict_labels(model, spectra, **FEW))
    with h5py.File(tmp_path / "spectra.h5", "w") as file:
        data = file.create_dataset("spectrum", data=spectra)
        for size in (1, 3, 256):
            np.testing.assert_array_equal(predict_labels(model, data, batch_size=size, **FEW), whole)
    spectra[:7] = np.nan
    np.testing.assert_array_equal(np.array(predict_labels(model, spectra, **FEW))[:, 7:], whole[:, 7:])


@WAYS
def test_the_seed_sets_the_masks(model, way):
    spectra = small_spectra(3)
    one, again, other = (way(model, spectra, **(FEW | {"seed": seed})).label for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.any(one == other)


@WAYS
def test_no_spectra_give_no_rows(model, way):
    assert np.array(way(model, small_spectra(0), **FEW)).shape == (4, 0, len(LABELS))


@WAYS
def test_spectra_with_another_number_of_pixels_are_refused(model, way):
    with pytest.raises(ValueError, match=rf"shape \(2, {N_PIXELS - 1}\), but the model takes {N_PIXELS} pixels"):
        way(model, small_spectra(2)[:, 1:], **FEW)
    with pytest.raises(ValueError, match="pixels a star"):
        way(model, small_spectra(1)[0], **FEW)


def test_a_network_with_one_convolution_is_for_the_reference_alone():
    model = small_model(network=dataclasses.replace(NETWORK, conv_filters=(2,)))
    with pytest.raises(ValueError, match="predict_labels_reference"):
        predict_labels(model, small_spectra(2), **FEW)
    assert np.isfinite(predict_labels_reference(model, small_spectra(2), **FEW)).all()


def test_a_survey_in_parts_gives_the_numbers_of_the_whole(model):
    spectra = small_spectra(7)
    whole = predict_labels(model, spectra, **FEW)
    parts = [predict_labels(model, spectra[rows], first_row=rows.start, **FEW) for rows in (slice(0, 3), slice(3, 7))]
    for values, *of_parts in zip(whole, *parts, strict=True):
        np.testing.assert_array_equal(values, np.concatenate(of_parts))
    assert not np.array_equal(parts[1].label, predict_labels(model, spectra[3:], **FEW).label)
