"""Luminosities and zero point fitted together: known zero points come back, with errors that mean what they say."""

import numpy as np
import pytest

from apogaia.refit import least_squares
from apogaia.refit.principal_components import principal_components, project
from apogaia.refit.spectral_features import SpectralFeatures

N, ZERO_POINT, SCATTER = 4000, -50.0, 0.08
WEIGHTS = np.array([3.8, 0.35, -0.2, 0.1])  # of ln fakemag: a giant's, and three spectral features
LN10 = np.log(10.0)


def sample(seed, n=N, shift=0.0, noise=1.0):
    """Arguments of `refit.fit` that are always needed: stars whose luminosity is linear in three features."""
    rng = np.random.default_rng(seed)
    features = np.column_stack([np.ones(n), rng.standard_normal((n, 3))])
    k0 = rng.uniform(7.5, 12.5, n)
    error = rng.uniform(0.02, 0.05, n)
    log_fakemag = features @ WEIGHTS + noise * SCATTER * rng.standard_normal(n)
    true = np.exp(log_fakemag + shift - 0.2 * LN10 * k0)
    parallax = true + 1e-3 * ZERO_POINT + noise * error * rng.standard_normal(n)
    return parallax, error, k0, np.full(n, 3.5), features


def fit(data, **kwargs):
    return least_squares.fit(*data, **{"scatter_basis": np.ones((len(data[0]), 1)), **kwargs})


@pytest.fixture(scope="module")
def fitted():
    return fit(sample(1))


def test_zero_point_luminosities_and_scatter_come_back(fitted):
    features = sample(1)[-1]
    assert abs(fitted.zero_point_uas[0] - ZERO_POINT) < 3 * fitted.error_uas[0]
    assert fitted.error_uas[0] < 5.0
    # the mean of a log-normal luminosity is its median times exp(scatter^2 / 2)
    difference = fitted.log_fakemag - features @ WEIGHTS - 0.5 * SCATTER**2
    assert np.abs(difference).max() < 0.06 and np.sqrt(np.mean(difference**2)) < 0.012
    assert np.median(fitted.scatter) == pytest.approx(SCATTER, rel=0.1)
    assert fitted.contaminant_fraction < 0.004


@pytest.mark.parametrize("robust", [True, False])
def test_quoted_error_is_the_scatter_over_noise_draws(robust):
    fits = [fit(sample(seed, n=2000), robust=robust) for seed in range(100, 130)]
    values, errors = np.array([(f.zero_point_uas[0], f.error_uas[0]) for f in fits]).T
    # 30 draws know their scatter to 13 %
    assert 1 / 1.4 < values.std(ddof=1) / errors.mean() < 1.4
    assert abs(values.mean() - ZERO_POINT) < 3.5 * errors.mean() / np.sqrt(len(fits))
    assert errors.std() < 0.25 * errors.mean()


def test_quoted_error_is_the_scatter_over_noise_draws_where_gaias_errors_are_understated():
    """The error comes from the residuals (sandwich): the inverse of the normal equations would be a third too small."""

    def draw(seed, n=1500):
        parallax, error, k0, start, features = sample(seed, n)
        noise = np.random.default_rng(seed + 1000).standard_normal(n)
        # faint stars, whose small parallaxes the fitted scatter of luminosity cannot stand in for
        return parallax + np.where(k0 > 10, 2.3, 0.0) * error * noise, error, k0, start, features

    fits = [fit(draw(seed), robust=False) for seed in range(200, 240)]
    values, errors = np.array([(f.zero_point_uas[0], f.error_uas[0]) for f in fits]).T
    # 40 draws know their scatter to 11 %
    assert 1 / 1.3 < values.std(ddof=1) / errors.mean() < 1.3


def test_contaminants_move_the_gaussian_fit_and_not_the_robust_one(fitted):
    parallax, error, *rest = sample(1)
    spoilt = np.random.default_rng(2).permutation(N)[: N // 100]
    parallax[spoilt] += 30 * error[spoilt]
    found = fit((parallax, error, *rest))
    assert abs(found.zero_point_uas[0] - fitted.zero_point_uas[0]) < fitted.error_uas[0]
    assert found.contaminant_fraction == pytest.approx(0.01, rel=0.3)
    gaussian, clean = fit((parallax, error, *rest), robust=False), fit(sample(1), robust=False)
    assert abs(gaussian.zero_point_uas[0] - clean.zero_point_uas[0]) > 3 * fitted.error_uas[0]
    assert gaussian.contaminant_fraction == 0.0


def test_a_constant_added_to_all_parallaxes_is_added_to_the_zero_point(fitted):
    parallax, *rest = sample(1)
    moved = fit((parallax + 0.123, *rest))
    assert moved.zero_point_uas[0] - fitted.zero_point_uas[0] == pytest.approx(123.0, abs=0.1)
    assert moved.log_fakemag == pytest.approx(fitted.log_fakemag, abs=1e-4)
    assert moved.error_uas == pytest.approx(fitted.error_uas, rel=1e-3)


def test_a_known_shift_is_taken_out():
    k0 = sample(3)[2]
    shift = 0.05 * np.sin(k0)
    data = sample(3, shift=shift, noise=0.0)
    found = fit(data, shift=shift)
    assert found.zero_point_uas[0] == pytest.approx(ZERO_POINT, abs=0.1)
    assert found.log_fakemag == pytest.approx(data[-1] @ WEIGHTS, abs=1e-3)
    assert abs(fit(data).zero_point_uas[0] - ZERO_POINT) > 2.0


def test_zero_point_that_is_linear_in_a_basis():
    parallax, *rest = sample(4)
    x = np.random.default_rng(5).uniform(-1, 1, N)
    found = fit((parallax + 0.030 * x, *rest), offset_basis=np.column_stack([np.ones(N), x]))
    assert found.zero_point_uas.shape == found.error_uas.shape == (2,) and found.covariance_uas2.shape == (2, 2)
    assert np.all(np.abs(found.zero_point_uas - [ZERO_POINT, 30.0]) < 3 * found.error_uas)
    assert found.error_uas.max() < 5.0


def test_offset_prior_holds_the_zero_point(fitted):
    held = fit(sample(1), offset_prior_uas=[1e-3])
    assert held.zero_point_uas[0] == pytest.approx(0.0, abs=0.01)
    assert held.error_uas[0] == pytest.approx(1e-3, rel=0.01)
    free = fit(sample(1), offset_prior_uas=[np.inf])
    assert free.zero_point_uas[0] == pytest.approx(fitted.zero_point_uas[0], abs=0.05)
    half = fit(sample(1), offset_prior_uas=[fitted.error_uas[0]]).zero_point_uas[0]
    assert 0.3 < half / fitted.zero_point_uas[0] < 0.7


def test_ridge_pulls_the_weights_to_zero():
    data = sample(7, n=1000)
    ridge = np.array([0.0, 1e9, 0.0, 0.0])
    found = fit(data, ridge=ridge)
    assert abs(found.weights[1]) < 1e-3 < abs(found.weights[2])


@pytest.mark.parametrize("robust", [True, False])
def test_scatter_that_depends_on_luminosity(robust):
    rng = np.random.default_rng(8)
    parallax, error, k0, _, features = sample(8, n=8000, noise=0.0)
    log_fakemag = features @ WEIGHTS
    wanted = np.where(log_fakemag > 3.8, 0.15, 0.05)
    noisy = np.exp(log_fakemag + wanted * rng.standard_normal(8000) - 0.2 * LN10 * k0)
    parallax = noisy + error * rng.standard_normal(8000)
    found = least_squares.fit(parallax, error, k0, log_fakemag, features, robust=robust)
    assert np.median(found.scatter[log_fakemag > 4.1]) == pytest.approx(0.15, rel=0.15)
    assert np.median(found.scatter[log_fakemag < 3.5]) == pytest.approx(0.05, rel=0.3)


def test_the_scatter_is_pulled_to_the_expected_one_where_the_stars_tell_little_of_it():
    """Half of the stars have parallaxes so much worse than the luminosities that they hold next to no scatter."""
    rng = np.random.default_rng(13)
    n = 4000
    poor = np.arange(n) % 2 == 0
    parallax, error, k0, _, features = sample(13, n=n)
    true = np.exp(features @ WEIGHTS - 0.2 * LN10 * k0)
    error = np.where(poor, 4.0 * SCATTER * true, 0.3 * SCATTER * true)
    parallax = true * (1 + SCATTER * rng.standard_normal(n)) + error * rng.standard_normal(n)
    expected = np.full(n, SCATTER / 1.5)
    start, basis = features @ WEIGHTS, np.column_stack([poor, ~poor]).astype(float)

    def ratios(ridge):
        found = fit(
            (parallax, error, k0, start, features[:, :1]),
            scatter_basis=basis, expected_scatter=expected, scatter_ridge=ridge, offset_prior_uas=[1e-3],
        )  # fmt: skip
        assert found.scatter == pytest.approx(expected * np.exp(basis @ found.scatter_weights), rel=0.02)
        return found.scatter[:2] / expected[:2]

    free, held, fixed = ratios(0.0), ratios(10.0), ratios(1e9)
    assert free[1] == pytest.approx(1.5, rel=0.05) and held[1] == pytest.approx(free[1], rel=0.02)
    assert abs(np.log(held[0])) < 0.7 * abs(np.log(free[0]))
    assert fixed == pytest.approx([1.0, 1.0], abs=1e-3)


def test_an_expected_scatter_that_is_not_positive_is_refused():
    with (
        pytest.raises(ValueError, match=r"^ln expected scatter has values that are not finite"),
        np.errstate(all="ignore"),
    ):
        least_squares.fit(*sample(9, n=300), expected_scatter=np.zeros(300))


@pytest.mark.parametrize(
    ("place", "name"),
    [(0, "parallax"), (1, "parallax error"), (2, "K0"), (3, "ln fakemag"), (4, "features")],
)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_by_name(place, name, value):
    data = sample(9, n=300)
    data[place][7] = value
    with pytest.raises(ValueError, match=f"^{name} has values that are not finite"):
        least_squares.fit(*data)


def test_a_shift_that_is_not_finite_is_refused():
    data = sample(9, n=300)
    with pytest.raises(ValueError, match=r"^shift has values that are not finite"):
        least_squares.fit(*data, shift=np.where(np.arange(300) == 3, np.nan, 0.0))


def test_density_shift_is_malmquists_in_magnitudes():
    sigma_mag, slope = 0.2, np.array([-0.3, 0.0, 1.4])
    shift = least_squares.density_shift(sigma_mag * 0.2 * LN10, slope)
    # ln fakemag = 0.2 ln(10) M + constant
    assert shift == pytest.approx(0.2 * LN10 * (-(sigma_mag**2) * slope))


def test_log_fakemag_to_abs_mag_inverts_the_definition():
    abs_mag = np.array([-7.0, -1.6, 3.0])
    assert least_squares.log_fakemag_to_abs_mag(np.log(10 ** (0.2 * abs_mag + 2))) == pytest.approx(abs_mag)


def test_luminosity_spline_covers_every_star_evenly():
    values = np.random.default_rng(10).standard_normal(3000)
    basis = least_squares.luminosity_spline(values, 7)
    assert basis.shape == (3000, 7) and basis.min() >= 0
    assert basis.sum(axis=1) == pytest.approx(np.ones(3000))
    assert (basis.mean(axis=0) > 0.02).all()
    # a straight line is within its reach, but for the outermost stars
    inside = np.abs(values) < 2.3
    residual = values - basis @ np.linalg.lstsq(basis[inside], values[inside], rcond=None)[0]
    assert np.abs(residual[inside]).max() < 1e-8
    far = least_squares.luminosity_spline(np.append(values, [50.0, -50.0]), 7)
    assert far[-2] == pytest.approx(far[np.argmax(values)]) and far[-1] == pytest.approx(far[np.argmin(values)])


def spectra(n=600, pixels=80, rank=6, seed=11):
    rng = np.random.default_rng(seed)
    shapes = np.linalg.qr(rng.standard_normal((pixels, rank)))[0] * np.geomspace(1.0, 0.2, rank)
    flux = 0.9 + rng.standard_normal((n, rank)) @ shapes.T + 0.005 * rng.standard_normal((n, pixels))
    return flux.astype(np.float32)


def test_spectral_features_have_unit_variance_and_their_number():
    flux = spectra()
    made = SpectralFeatures.fit(flux, components=6, products=3, seed=1)
    features = made.of(flux)
    assert features.shape == (600, 6 + 3 * 4 // 2)
    assert features.mean(axis=0) == pytest.approx(np.zeros(12), abs=1e-2)
    assert features.std(axis=0) == pytest.approx(np.ones(12), abs=1e-2)
    linear = features[:, :6]
    assert np.corrcoef(linear.T) == pytest.approx(np.eye(6), abs=0.02)
    # products of the first three with each other, in units of their own spread
    wanted = [linear[:, i] * linear[:, j] for i in range(3) for j in range(i, 3)]
    for found, product in zip(features[:, 6:].T, wanted, strict=True):
        assert np.corrcoef(found, product)[0, 1] == pytest.approx(1.0, abs=1e-6)


def test_spectral_features_are_the_principal_components():
    flux = spectra()
    features = SpectralFeatures.fit(flux, components=4, products=0, seed=1).of(flux)
    assert features.shape == (600, 4)
    left, _, _ = np.linalg.svd(flux - flux.mean(axis=0), full_matrices=False)
    exact = np.clip(left[:, :4] * np.sqrt(600), -5, 5)
    assert np.abs(np.sum(features * exact, axis=0) / 600) == pytest.approx(np.ones(4), abs=1e-3)


def test_spectral_features_are_reproducible_and_row_by_row():
    flux = spectra()
    one, two = (SpectralFeatures.fit(flux, components=5, products=2, seed=4).of(flux) for _ in range(2))
    assert np.array_equal(one, two)
    made = SpectralFeatures.fit(flux, components=5, products=2, seed=4)
    assert made.of(flux[17:19]) == pytest.approx(one[17:19], abs=1e-5)
    wild = flux[:1].copy()
    wild[0, 3] = 1e4
    assert np.abs(made.of(wild)[:, :5]).max() <= 5.0


def test_fewer_spectra_than_components_and_fewer_components_than_products():
    flux = spectra(n=8, rank=7)
    features = SpectralFeatures.fit(flux, components=30, products=2, seed=1).of(flux)
    assert features.shape == (8, 7 + 3) and np.isfinite(features).all()
    features = SpectralFeatures.fit(spectra(), components=2, products=5, seed=1).of(flux)
    assert features.shape == (8, 2 + 3) and np.isfinite(features).all()


@pytest.mark.parametrize("by_gram_matrix", [False, True])
def test_principal_components_are_those_of_a_singular_value_decomposition(by_gram_matrix):
    flux = spectra()
    mean = flux.mean(axis=0)
    rng = np.random.default_rng(3)
    components, sd = principal_components(flux, mean, 4, rng, oversampling=10, by_gram_matrix=by_gram_matrix)
    _, singular, exact = np.linalg.svd(flux - mean, full_matrices=False)
    assert components.T @ components == pytest.approx(np.eye(4), abs=1e-5)
    assert np.abs(np.sum(components * exact[:4].T, axis=0)) == pytest.approx(np.ones(4), abs=1e-4)
    assert sd == pytest.approx(singular[:4] / np.sqrt(600), rel=1e-4)
    assert project(flux, mean, components).std(axis=0) == pytest.approx(sd, rel=1e-4)


def test_directions_without_variance_are_no_components():
    flux = spectra(n=600, rank=3)
    flux = (0.9 + (flux - flux.mean(axis=0))[:, :3] @ np.eye(3, 80, dtype=np.float32)).astype(np.float32)
    rng = np.random.default_rng(3)
    components, sd = principal_components(flux, flux.mean(axis=0), 8, rng, oversampling=10, by_gram_matrix=True)
    assert components.shape == (80, 3) and sd.shape == (3,)


def test_the_contaminants_width_may_be_another():
    parallax, error, *rest = sample(1)
    spoilt = np.random.default_rng(2).permutation(N)[: N // 100]
    parallax[spoilt] += 30 * error[spoilt]
    wide, narrow = (fit((parallax, error, *rest), contaminant_width=width) for width in (30.0, 3.0))
    assert (wide.contaminant_width, narrow.contaminant_width) == (30.0, 3.0)
    assert wide.zero_point_uas[0] != narrow.zero_point_uas[0]


def shared(seed, n=2500, sd=40.0, groups=25):
    """Stars of which those of one group share an error; the groups lie at unlike distances, as parts of the sky do."""
    parallax, error, k0, start, features = sample(seed, n)
    rng = np.random.default_rng(seed + 5000)
    group = np.clip((groups * (k0 - 7.5) / 5 + rng.normal(0, 6, n)).astype(int), 0, groups - 1)
    effect = sd * rng.standard_normal(groups)
    moved = (parallax + 1e-3 * effect[group], error, k0, start, features)
    return moved, group, effect, ZERO_POINT + effect[group].mean()


def test_what_groups_share_comes_back_and_the_mean_includes_it():
    data, group, effect, mean = shared(1, n=6000)
    found = fit(data, groups=group, group_prior_uas=40.0, offset_prior_uas=[np.inf])
    assert np.corrcoef(found.group_uas, effect)[0, 1] > 0.9
    assert np.polyfit(effect, found.group_uas, 1)[0] == pytest.approx(0.95, abs=0.15)
    assert abs(found.mean_uas - mean) < 3 * found.mean_error_uas < 15
    assert found.mean_uas == pytest.approx(found.zero_point_uas[0] + found.group_uas[group].mean())


def test_quoted_error_of_the_mean_covers_where_groups_share_errors():
    """Independent errors alone would be stated too small."""
    pulls, alone = [], []
    for seed in range(300, 330):
        data, group, _, mean = shared(seed)
        found = fit(data, robust=False, groups=group, group_prior_uas=40.0, offset_prior_uas=[np.inf])
        pulls.append((found.mean_uas - mean) / found.mean_error_uas)
        without = fit(data, robust=False)
        alone.append((without.mean_uas - mean) / without.mean_error_uas)
    assert 0.7 < np.std(pulls) < 1.35 and abs(np.mean(pulls)) < 0.7
    assert np.std(alone) > 1.5


def test_groups_are_those_of_the_full_normal_equations():
    """The same as columns of the zero point's basis with a prior, which cost time."""
    data, group, _, _ = shared(7, n=800)
    fast = fit(data, robust=False, groups=group, group_prior_uas=40.0, offset_prior_uas=[np.inf])
    columns = (group[:, None] == np.arange(group.max() + 1)).astype(float)
    basis = np.column_stack([np.ones(800), columns])
    prior = [np.inf, *np.full(columns.shape[1], 40.0)]
    slow = fit(data, robust=False, offset_basis=basis, offset_prior_uas=prior)
    assert fast.zero_point_uas[0] == pytest.approx(slow.zero_point_uas[0], abs=0.05)
    assert fast.group_uas == pytest.approx(slow.zero_point_uas[1:], abs=0.05)
    assert fast.mean_uas == pytest.approx(slow.mean_uas, abs=0.05)
    assert fast.mean_error_uas == pytest.approx(slow.mean_error_uas, rel=1e-3)
    assert fast.error_uas[0] == pytest.approx(slow.error_uas[0], rel=1e-3)
    parts, columns = fast.mean_variance_uas2, slow.mean_variance_uas2
    assert parts.total == pytest.approx(fast.mean_error_uas**2)
    assert parts.residuals == pytest.approx(columns.residuals, rel=1e-2)
    assert parts.groups == pytest.approx(columns.held[-25:].sum(), rel=1e-2) and columns.groups == 0
    assert fast.scatter == pytest.approx(slow.scatter, rel=1e-3)
    assert fit(data).group_uas.size == 0


def test_scatter_is_not_too_small_though_a_small_sample_has_many_features():
    """Each star pulls the fit towards itself, so its residual is smaller than its error."""
    parallax, error, k0, start, features = sample(11, n=1200)
    noise = np.random.default_rng(12).standard_normal((1200, 150))  # features that tell nothing
    found = fit((parallax, error, k0, start, np.column_stack([features, noise])), robust=False)
    assert np.median(found.scatter) == pytest.approx(SCATTER, rel=0.12)


def test_a_fit_that_begins_near_its_end_ends_there_in_fewer_iterations(monkeypatch):
    data = sample(20)
    groups = np.arange(N) % 40
    options = {"groups": groups, "group_prior_uas": 10.0, "offset_prior_uas": [np.inf]}
    counted, good = [], least_squares._good
    monkeypatch.setattr(least_squares, "_good", lambda *args: counted.append(1) or good(*args))
    monkeypatch.setattr(least_squares, "MIN_ITERATIONS", 0)
    cold = fit(data, **options)
    first = len(counted)
    warm = fit(data, **options, begin=cold)
    assert 2 * (len(counted) - first) <= first
    assert warm.mean_uas == pytest.approx(cold.mean_uas, abs=0.2) and warm.mean_error_uas == pytest.approx(
        cold.mean_error_uas, rel=0.01
    )
    np.testing.assert_allclose(warm.log_fakemag, cold.log_fakemag, atol=5e-4)
    np.testing.assert_allclose(warm.group_uas, cold.group_uas, atol=1.0)  # each known to some 3 uas
