"""The likelihood of the parallaxes, Gaussian and with contaminants."""

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
