"""The likelihoods of the parallaxes, Gaussian and with contaminants, and of the labels, some of them missing."""

import numpy as np
import pytest
from keras import ops
from scipy import stats

from apogaia.model import likelihood


def numbers(tensor):
    return ops.convert_to_numpy(tensor)


def test_loss_is_the_gaussian_log_likelihood_of_both_errors():
    rng = np.random.default_rng(1)
    parallax, error, predicted = rng.normal(1, 0.5, 20), rng.uniform(0.02, 0.1, 20), rng.normal(1, 0.5, 20)
    log_variance = rng.normal(-4, 2, 20)
    loss = numbers(
        likelihood.parallax_loss(
            ops.array(np.column_stack([parallax, error]), "float32"),
            ops.array(np.column_stack([predicted, log_variance]), "float32"),
        )
    )
    total = np.sqrt(error**2 + np.exp(log_variance))
    expected = -stats.norm.logpdf(parallax, predicted, total) - 0.5 * np.log(2 * np.pi)
    assert loss == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("log_variance", [-1e4, -100.0, 80.0, 1e4])
def test_loss_is_finite_for_any_log_variance(log_variance):
    loss = numbers(likelihood.parallax_loss(ops.array([[1.0, 0.05]]), ops.array([[3.0, log_variance]])))[0]
    expected = 0.5 * 4 / 0.05**2 + np.log(0.05) if log_variance < 0 else 0.5 * log_variance
    assert loss == pytest.approx(expected, rel=1e-5)


def robust(parallax, error, predicted, log_variance, fraction=0.02, width=12.0):
    y_true, y_pred = np.column_stack([parallax, error]), np.column_stack([predicted, log_variance])
    return numbers(
        likelihood.robust_parallax_loss(fraction, width)(ops.array(y_true, "float32"), ops.array(y_pred, "float32"))
    )


def test_robust_loss_is_the_log_likelihood_of_the_mixture():
    rng = np.random.default_rng(4)
    parallax, error = rng.normal(1, 0.5, 40), rng.uniform(0.02, 0.1, 40)
    predicted, log_variance = parallax + rng.normal(0, 1, 40) * 10 ** rng.uniform(-2, 1, 40), rng.normal(-6, 1, 40)
    total = np.sqrt(error**2 + np.exp(log_variance))
    good = stats.norm.logpdf(parallax, predicted, total) + np.log(0.98)
    bad = stats.norm.logpdf(parallax, predicted, 12.0 * total) + np.log(0.02)
    assert (bad > good).any() and (bad < good).any()
    expected = -np.logaddexp(good, bad) - 0.5 * np.log(2 * np.pi)
    assert robust(parallax, error, predicted, log_variance) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_robust_loss_of_good_stars_is_the_gaussian_one():
    rng = np.random.default_rng(5)
    parallax, error, log_variance = rng.normal(1, 0.5, 30), rng.uniform(0.02, 0.1, 30), rng.normal(-6, 1, 30)
    predicted = parallax + 0.5 * error * rng.standard_normal(30)
    y_true, y_pred = (ops.array(np.column_stack(c)) for c in ([parallax, error], [predicted, log_variance]))
    gaussian = numbers(likelihood.parallax_loss(y_true, y_pred))
    tiny = robust(parallax, error, predicted, log_variance, fraction=1e-6, width=15.0)
    assert tiny == pytest.approx(gaussian, abs=1e-4)
    assert robust(parallax, error, predicted, log_variance) - gaussian == pytest.approx(-np.log(0.98), abs=0.01)


@pytest.mark.parametrize("log_variance", [-1e4, -7.0, 80.0, 1e4])
@pytest.mark.parametrize("sigmas", [0.0, 1e4])
def test_robust_loss_and_its_gradient_are_finite(sigmas, log_variance):
    tf = pytest.importorskip("tensorflow")
    prediction = tf.Variable([[1.0 + 0.03 * sigmas, log_variance]])
    with tf.GradientTape() as tape:
        loss = likelihood.robust_parallax_loss(0.01, 15.0)(tf.constant([[1.0, 0.03]]), prediction)
    assert np.isfinite(loss).all()
    gradient = tape.gradient(loss, prediction).numpy()
    assert np.isfinite(gradient).all()
    if sigmas and log_variance == -1e4:  # a contaminant pulls 15^2 times less than in a Gaussian likelihood
        assert gradient[0, 0] == pytest.approx(sigmas / 0.03 / 15.0**2, rel=1e-3)


def labels_with_gaps(n=12, labels=22):
    """Labels and errors with gaps of all kinds, predictions and log variances, (n, labels) each; star 3 has none."""
    rng = np.random.default_rng(6)
    scale = np.array([600.0, 0.8, *np.full(labels - 2, 0.3)])  # Teff in K, the others in dex
    label, error = scale * rng.normal(0, 1, (n, labels)), scale * rng.uniform(0.02, 0.4, (n, labels))
    predicted = label + scale * rng.normal(0, 0.3, (n, labels))
    log_variance = rng.normal(-3, 2, (n, labels)) + 2 * np.log(scale)
    label[0, 4] = error[0, 4] = np.nan
    label[1, [0, 21]] = np.nan  # with an error
    error[2, 7] = np.nan  # a label without an error
    error[2, 8] = np.inf
    label[3] = np.nan
    return label, error, predicted, log_variance


def variance_of(error, log_variance):
    return error**2 + np.exp(log_variance)


def loss_of_labels(label, error, predicted, log_variance):
    y_true, y_pred = (np.stack(pair, axis=-1) for pair in ((label, error), (predicted, log_variance)))
    return numbers(likelihood.label_loss(ops.array(y_true, "float32"), ops.array(y_pred, "float32")))


def test_label_loss_is_the_mean_over_all_labels_times_their_number_over_that_of_those_present():
    label, error, predicted, log_variance = labels_with_gaps()
    expected = []
    for star in range(len(label)):
        present = np.isfinite(label[star]) & np.isfinite(error[star])
        variance = np.exp(log_variance[star]) + error[star] ** 2
        losses = 0.5 * ((label - predicted)[star] ** 2 / variance + np.log(variance))
        mean = np.sum(losses[present]) / 22
        expected.append(mean * 22 / present.sum() if present.any() else 0.0)
    assert [np.isfinite(label[i] + error[i]).sum() for i in range(5)] == [21, 20, 20, 0, 22]
    loss = loss_of_labels(label, error, predicted, log_variance)
    assert loss.shape == (12,) and loss[3] == 0
    assert loss == pytest.approx(np.array(expected), rel=1e-4, abs=1e-5)
    gaussian = -stats.norm.logpdf(label[5], predicted[5], np.sqrt(variance_of(error, log_variance)[5]))
    assert loss[5] == pytest.approx(gaussian.mean() - 0.5 * np.log(2 * np.pi), rel=1e-4, abs=1e-5)


def test_label_loss_does_not_see_what_is_predicted_for_a_missing_label():
    label, error, predicted, log_variance = labels_with_gaps()
    other = np.where(np.isfinite(label + error), predicted, 1e6)
    np.testing.assert_array_equal(
        loss_of_labels(label, error, other, log_variance), loss_of_labels(label, error, predicted, log_variance)
    )


def test_the_unit_of_a_label_adds_a_constant_to_its_loss():
    """So that physical and standardised labels have the same gradients, and are fitted alike."""
    label, error, predicted, log_variance = labels_with_gaps()
    scaled = loss_of_labels(label / 600, error / 600, predicted / 600, log_variance - 2 * np.log(600))
    difference = loss_of_labels(label, error, predicted, log_variance) - scaled
    assert difference == pytest.approx(np.where(np.arange(12) == 3, 0, np.log(600)), abs=1e-3)


def test_missing_labels_have_no_gradient_and_the_others_the_analytic_one():
    tf = pytest.importorskip("tensorflow")
    label, error, predicted, log_variance = labels_with_gaps()
    error[6, :] = 0.0  # a label that is known exactly
    y_pred = tf.Variable(np.stack([predicted, log_variance], axis=-1).astype(np.float32))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(likelihood.label_loss(np.stack([label, error], axis=-1).astype(np.float32), y_pred))
    gradient = tape.gradient(loss, y_pred).numpy()
    present = np.isfinite(label) & np.isfinite(error)
    assert np.isfinite(gradient).all() and not gradient[~present].any()
    variance, share = variance_of(error, log_variance), 1 / np.maximum(present.sum(axis=1, keepdims=True), 1)
    slope = share * (predicted - label) / variance
    assert gradient[..., 0][present] == pytest.approx(slope[present], rel=1e-3, abs=1e-6)
    of_log_variance = share * 0.5 * (1 - (predicted - label) ** 2 / variance) * np.exp(log_variance) / variance
    assert gradient[..., 1][present] == pytest.approx(of_log_variance[present], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("log_variance", [-1e4, -7.0, 80.0, 1e4])
def test_label_loss_is_finite_for_any_log_variance(log_variance):
    loss = loss_of_labels(*(np.array([[value]]) for value in (4800.0, 20.0, 4900.0, log_variance)))
    assert np.isfinite(loss).all()
