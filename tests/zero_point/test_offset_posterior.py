"""Zero point: posterior moments and summaries."""

import types

import numpy as np
import pytest
from offset_model import offset_model

from apogaia.physics import literature
from apogaia.zero_point import offset_posterior
from apogaia.zero_point.quadratic_summaries import quadratic_summary
from apogaia.zero_point.surface import tabulate, zero_point_surface

RANGES = ((9.0, 16.5), (0.7, 3.0), (3700.0, 5800.0))  # G, BP-RP [mag], Teff [K]


@pytest.fixture(scope="module")
def model():
    """A joint model with an untrained multivariate offset that bends by some 100 uas over the ranges."""
    return offset_model()


@pytest.fixture(scope="module")
def stars():
    """G, BP-RP, Teff of stars all over the ranges."""
    low, high = np.transpose(RANGES)
    return np.random.default_rng(3).uniform(low, high, (300, 3)).T


def test_constant_zero_point_is_mean_and_sd_over_the_draws(monkeypatch):
    def draws_of(model, inputs, *, draws, seed):
        return -0.05 + 0.002 * np.random.default_rng(seed).normal(size=(draws, 1))

    monkeypatch.setattr("apogaia.model.offset_draws.offset_draws", draws_of)
    found = offset_posterior.constant_zero_point(None, draws=4000, seed=5)
    assert found.value == pytest.approx(-0.05, abs=2e-4)
    assert found.error == pytest.approx(0.002, rel=0.05)
    assert found.in_uas() == {"value_uas": 1000 * found.value, "error_uas": 1000 * found.error}
    assert found == offset_posterior.constant_zero_point(None, draws=4000, seed=5)
    assert found != offset_posterior.constant_zero_point(None, draws=4000, seed=6)


def test_draws_without_dropout_are_the_keras_network(model, stars):
    network = model.get_layer("offset")
    columns = {name: x[:, None].astype("float32") for name, x in zip(("g_mag", "bp_rp", "teff"), stars, strict=True)}
    expected = np.asarray(network(columns, training=False))[:, 0]
    rates = {name: network.get_layer(name).rate for name in ("offset_dropout_1", "offset_dropout_2")}
    try:
        for name in rates:
            network.get_layer(name).rate = 0.0
        draws = offset_posterior.OffsetPosterior.from_model(model, draws=3, seed=1).draw(*stars)
    finally:
        for name, rate in rates.items():
            network.get_layer(name).rate = rate
    np.testing.assert_allclose(draws, np.tile(expected, (3, 1)), atol=2e-6)


def test_draws_drop_and_scale_units_as_dropout_does(model, stars):
    posterior = offset_posterior.OffsetPosterior.from_model(model, draws=2000, seed=1)
    offset = model.get_layer("offset")
    for name, (kernel, _) in zip(("offset_hidden_2", "scaled_offset"), posterior.layers[1:], strict=True):
        bare = np.asarray(offset.get_layer(name).get_weights()[0])
        factor = kernel / bare
        np.testing.assert_allclose(factor[factor > 0], 1 / 0.7, rtol=1e-6)
        assert np.mean(factor == 0) == pytest.approx(0.3, abs=0.01)
        dropped = factor == 0
        np.testing.assert_array_equal(dropped, dropped[:, :, :1] | np.zeros_like(dropped))  # a unit goes as a whole
    # the moments agree with Keras' own dropout, which draws masks for each star: within the draws' noise
    from apogaia.model.offset_draws import offset_draws

    inputs = dict(zip(("g_mag", "bp_rp", "teff"), stars, strict=True))
    reference = offset_draws(model, inputs, draws=400, seed=2)
    value, error = posterior.at(*stars)
    noise = reference.std(axis=0) * np.sqrt(1 / 400 + 1 / 2000)
    assert np.abs((value - reference.mean(axis=0)) / noise).max() < 5
    np.testing.assert_allclose(error, reference.std(axis=0), rtol=0.2)


def test_zero_point_is_mean_and_sd_of_shared_draws_whatever_the_chunk(model, stars):
    draws = offset_posterior.OffsetPosterior.from_model(model, draws=100, seed=7).draw(*stars)
    stars = stars.copy()
    stars[1, 3] = stars[2, 20] = np.nan
    stars[0, 5] = np.inf
    known = np.isfinite(stars).all(axis=0)
    for chunk in (1, 7, 300):
        value, error = offset_posterior.zero_point(model, *stars, draws=100, seed=7, chunk=chunk)
        np.testing.assert_allclose(value[known], draws.mean(axis=0)[known], atol=1e-13)
        np.testing.assert_allclose(error[known], draws.std(axis=0)[known], atol=1e-13)
        assert np.isnan(value[~known]).all() and np.isnan(error[~known]).all()
    twins, _ = offset_posterior.zero_point(model, [12.0] * 100, [1.2] * 100, [4800.0] * 100, draws=100, seed=7, chunk=9)
    assert np.ptp(twins) < 1e-13  # equal stars have equal zero points
    other, _ = offset_posterior.zero_point(model, *stars, draws=100, seed=8)
    assert np.nanmax(np.abs(other - value)) > 1e-6


def test_zero_point_of_nothing_and_of_unequal_columns(model):
    value, error = offset_posterior.zero_point(model, [np.nan], [1.0], [4500.0], draws=10, seed=1)
    assert np.isnan(value).all() and np.isnan(error).all()
    assert offset_posterior.zero_point(model, [], [], [], draws=10, seed=1)[0].shape == (0,)
    with pytest.raises(ValueError, match="differ in shape"):
        offset_posterior.zero_point(model, [10.0], [1.0, 2.0], [4500.0], draws=10, seed=1)
    with pytest.raises(ValueError, match="multivariate"):
        offset_posterior.zero_point(
            types.SimpleNamespace(name="joint_constant"), [10.0], [1.0], [4500.0], draws=10, seed=1
        )


def test_surface_is_the_exact_posterior_within_a_tenth_of_a_microarcsecond(model, stars):
    exact = offset_posterior.OffsetPosterior.from_model(model, draws=300, seed=2, ranges=RANGES)
    surface = zero_point_surface(model, *RANGES, draws=300, seed=2)
    assert np.ptp(surface.value) > 0.05 and surface.ranges == RANGES
    difference = np.abs(np.subtract(surface.at(*stars), exact.at(*stars)))
    assert difference.max() < 1e-4  # mas
    assert surface.interpolation_error < 1e-4
    corners = np.array(np.meshgrid(*RANGES)).reshape(3, -1)
    np.testing.assert_allclose(surface.at(*corners), exact.at(*corners), atol=1e-10)
    coarse = tabulate(exact, 5)
    measured = np.abs(np.subtract(coarse.at(*stars), exact.at(*stars))).max()
    assert coarse.interpolation_error > 1e-4 and measured < 1.5 * coarse.interpolation_error


def test_surface_stops_at_its_edges_and_broadcasts(model):
    surface = zero_point_surface(model, *RANGES, draws=10, seed=2, nodes=4)
    below, above = np.nextafter(9.0, 0), np.nextafter(16.5, 20)
    inside = surface.at([9.0, 16.5], 1.0, 4500.0)
    assert np.isfinite(inside).all() and inside[0].shape == (2,)
    outside = surface.at([below, above, 12, 12, 12, np.nan, np.inf], [1, 1, 3.1, 0.6, 1, 1, 1], [4500] * 4 + [3600] * 3)
    assert np.isnan(outside).all()
    assert surface.at(12.0, 1.0, 4500.0)[0].shape == ()


@pytest.mark.parametrize(("name", "summary"), literature.PAPER_SUMMARIES.items())
def test_quadratic_summary_recovers_eqs_7_to_9(name, summary):
    x = np.linspace(*summary.x_range, 200)
    values = summary.zero_point_uas(x)
    values[5] = np.nan
    np.testing.assert_allclose(quadratic_summary(x, values, summary.x0), summary.coefficients, rtol=1e-6, atol=1e-9)


def test_quadratic_summary_is_least_squares():
    rng = np.random.default_rng(4)
    x = rng.uniform(4000, 5750, 500)
    y = 0.03 * (x - 4500) - 50 + rng.normal(0, 5, 500)
    design = np.stack([(x - 4500) ** 2, x - 4500, np.ones(500)], axis=1)
    expected = np.linalg.lstsq(design / [1e6, 1e3, 1], y)[0] / [1e6, 1e3, 1]
    np.testing.assert_allclose(quadratic_summary(x, y, 4500), expected, rtol=1e-7)
    with pytest.raises(ValueError, match="three"):
        quadratic_summary([1, 1, 2, np.nan], [1, 2, 3, 4])


def test_inverse_variance_mean():
    mean, error = offset_posterior.inverse_variance_mean([1.0, 3.0, np.nan, 9.0, 5.0], [1.0, 2.0, 1.0, 0.0, np.nan])
    assert mean == pytest.approx((1 + 3 / 4) / 1.25)
    assert error == pytest.approx(1.25**-0.5)
    assert np.isnan(offset_posterior.inverse_variance_mean([np.nan], [1.0])).all()
    draws = np.random.default_rng(6).normal(0, [1.0, 2.0, 0.5], (20_000, 3))
    means = [offset_posterior.inverse_variance_mean(draw, [1.0, 2.0, 0.5])[0] for draw in draws[:4000]]
    assert np.std(means) == pytest.approx(offset_posterior.inverse_variance_mean(draws[0], [1, 2, 0.5])[1], rel=0.05)


def test_with_the_real_offset_networks():
    from apogaia.model import networks
    from apogaia.survey import load_survey

    survey = load_survey("smoke")
    statistics = {
        "mean_spectrum": np.ones(7514, dtype="float32"),
        "parallax_scale": 1.4,
        "offset_mean": (11.6, 1.35, 4850.0),
        "offset_sd": (1.2, 0.48, 425.0),
    }
    constant = networks.build_joint_network(survey.network, "constant", **statistics)
    found = offset_posterior.constant_zero_point(constant, draws=50, seed=1)
    assert found == offset_posterior.constant_zero_point(constant, draws=50, seed=1)
    assert np.isfinite(found.value) and found.error > 0
    multivariate = networks.build_joint_network(survey.network, "multivariate", **statistics)
    value, error = offset_posterior.zero_point(
        multivariate, [11.0, np.nan, 13.0], [1.2, 1.2, 1.5], [4800.0, 4800.0, 4500.0], draws=50, seed=1
    )
    assert np.isfinite(value[[0, 2]]).all() and (error[[0, 2]] > 0).all() and np.isnan(value[1])
    assert value[0] != value[2]
