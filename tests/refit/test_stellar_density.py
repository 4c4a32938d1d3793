"""The density of a survey's stars, learnt from their magnitudes, against stars drawn from a known one.

Stars of five luminosity classes, as five spectra would tell them apart, scatter by SIGMA in luminosity and thin out as
d^2 exp(-d / H) along one line of sight. The slope is known but for a constant, which only rescales luminosity.
"""

import numpy as np
import pytest

from apogaia.refit import least_squares, stellar_density
from apogaia.refit.stellar_density import DensityModel

CLASSES = np.array([-1.6, -2.6, -3.6, -4.6, -5.6])  # absolute Ks, red clump to the giant branch's tip
SIGMA, H = 0.2, 0.5  # mag, kpc: where the shift matters
ZERO_POINT = -52.3
GLON, GLAT = 180.0, 30.0


@pytest.fixture(scope="module", autouse=True)
def fewer_stars_in_the_fit():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stellar_density, "MAX_STARS", 8000)
        yield


def draw(n, seed, h=H, thin=None):
    """Class, absolute magnitude, distance and Ks of stars with 7 < Ks < 12.5; `thin(K)`: the share that is kept."""
    rng = np.random.default_rng(seed)
    own = rng.integers(0, len(CLASSES), n)
    abs_mag = CLASSES[own] + SIGMA * rng.standard_normal(n)
    distance = rng.gamma(3.0, h, n)
    k0 = abs_mag + 5 * np.log10(distance) + 10
    kept = (k0 > 7) & (k0 < 12.5)
    if thin is not None:
        kept &= rng.random(n) < thin(k0)
    return own[kept], abs_mag[kept], distance[kept], k0[kept]


def true_slope(modulus, h=H, sigma=SIGMA):
    """d ln A / dK, A convolved with the scatter of one spectrum's luminosities."""
    grid = np.arange(-3.0, 25.0, 0.005)
    distance = 10 ** (0.2 * grid - 2)
    kernel = np.exp(-0.5 * (np.arange(-400, 401) * 0.005 / sigma) ** 2)
    counts = np.convolve(distance**3 * np.exp(-distance / h), kernel, "same")
    return np.interp(modulus, grid, np.gradient(np.log(np.maximum(counts, 1e-300)), grid))


def line_of_sight(n):
    return np.full(n, GLON), np.full(n, GLAT)


def centred(values):
    return values - values.mean()


def middle(values):
    low, high = np.percentile(values, [10, 90])
    return (values > low) & (values < high)


def slope_from(own, k0, model):
    return model.slope(CLASSES[own], k0, *line_of_sight(len(own)))


@pytest.fixture(scope="module")
def survey():
    return draw(100_000, 1)


@pytest.fixture(scope="module")
def model(survey):
    own, _, _, k0 = survey
    return DensityModel.fit(CLASSES[own], k0, *line_of_sight(len(own)))


def test_slope_is_the_true_one_where_the_stars_are(survey, model):
    own, _, _, k0 = survey
    modulus = k0 - CLASSES[own]
    found, true = slope_from(own, k0, model), true_slope(modulus)
    stars = middle(modulus)
    assert np.ptp(true[stars]) > 1.5  # per mag
    assert np.abs(centred((found - true)[stars])).max() < 0.2
    assert (found - true)[stars].std() < 0.08


def test_luminosity_at_given_magnitude_shifts_as_the_slope_says(survey, model):
    own, abs_mag, _, k0 = survey
    modulus = k0 - CLASSES[own]
    edges = np.quantile(modulus, np.linspace(0, 1, 13))
    which = np.digitize(modulus, edges[1:-1])
    expected = -(SIGMA**2) * slope_from(own, k0, model)
    seen, said, error = np.array(
        [
            ((abs_mag - CLASSES[own])[which == i].mean(), expected[which == i].mean(), SIGMA / np.sqrt(sum(which == i)))
            for i in range(12)
        ]
    ).T
    assert np.ptp(seen) > 30 * error.mean()
    assert np.abs(centred(seen - said)).max() < 0.1 * np.ptp(seen)


def test_a_selection_by_magnitude_changes_nothing(survey, model):
    own, _, _, k0 = survey

    def steps(k):  # as APOGEE's cohorts: brighter and fainter stars of one field in different numbers
        return np.select([k < 9, k < 10.5], [0.35, 1.0], 0.5)

    other_own, _, _, other_k0 = draw(200_000, 2, thin=steps)
    share = np.histogram(other_k0, [7, 9, 10.5, 12.5])[0] / np.histogram(k0, [7, 9, 10.5, 12.5])[0]
    assert share == pytest.approx([0.7, 2.0, 1.0], rel=0.1)
    thinned = DensityModel.fit(CLASSES[other_own], other_k0, *line_of_sight(len(other_own)))
    stars = middle(k0 - CLASSES[own])
    difference = (slope_from(own, k0, thinned) - slope_from(own, k0, model))[stars]
    assert np.abs(centred(difference)).max() < 0.25
    # counts alone, by magnitude, would be thrown off by the steps
    assert difference.std() < 0.1


def test_the_zero_point_of_a_magnitude_limited_sample_comes_back(survey, model):
    own, _, distance, k0 = survey
    n = len(own)
    error = np.full(n, 0.03)
    parallax = 1 / distance + 1e-3 * ZERO_POINT + error * np.random.default_rng(3).standard_normal(n)
    data = (parallax, error, k0, np.full(n, 3.9), np.eye(len(CLASSES))[own])
    one = np.ones((n, 1))
    plain = least_squares.fit(*data, scatter_basis=one)
    assert plain.zero_point_uas[0] - ZERO_POINT > 10.0
    assert plain.error_uas[0] < 1.5
    assert np.median(plain.scatter) * least_squares.MAG_PER_LN == pytest.approx(SIGMA, rel=0.1)
    shift = least_squares.density_shift(plain.scatter, slope_from(own, k0, model))
    assert least_squares.fit(*data, scatter_basis=one, shift=shift).zero_point_uas[0] == pytest.approx(
        ZERO_POINT, abs=4.0
    )


def test_a_disc_is_learnt_from_many_lines_of_sight():
    rng = np.random.default_rng(4)
    n = 600_000
    abs_mag = rng.uniform(-6, -1, n)
    distance = rng.gamma(2.0, 4.0, n)
    glon, glat = rng.uniform(90, 270, n), np.rad2deg(np.arcsin(rng.uniform(-0.5, 0.5, n)))

    def log_rho(distance, glon, glat):
        radius, height = stellar_density._radius_and_height(5 * np.log10(distance) + 10, glon, glat)
        return -(radius - 8) / 2.6 - height / 0.5

    k0 = abs_mag + 5 * np.log10(distance) + 10
    kept = (rng.random(n) < 0.05 * distance * np.exp(distance / 4 + log_rho(distance, glon, glat))) & (k0 < 12.5)
    abs_mag, distance, glon, glat, k0 = (values[kept] for values in (abs_mag, distance, glon, glat, k0))
    fitted = DensityModel.fit(abs_mag, k0, glon, glat)
    step = 0.01
    above, below = (log_rho(distance * 10 ** (0.2 * s), glon, glat) for s in (step, -step))
    true = 0.6 * np.log(10) + (above - below) / (2 * step)
    found = fitted.slope(abs_mag, k0, glon, glat)
    stars = middle(k0 - abs_mag)
    difference = centred((found - true)[stars])
    assert difference.std() < 0.2 * true[stars].std()
    # along the Sun's circle there are more stars than outwards
    cosine = np.cos(np.deg2rad(glon))
    along, outwards = ((np.abs(glat) < 10) & stars & (distance > 1) & side for side in (cosine > -0.3, cosine < -0.8))
    assert np.sum(along) > 100 < np.sum(outwards)
    difference = true[along].mean() - true[outwards].mean()
    assert found[along].mean() - found[outwards].mean() == pytest.approx(difference, abs=0.15)


def test_chemistry_goes_with_scale_lengths_of_its_own():
    populations = [(0.2, 0.0, 0.4), (-0.5, 0.2, 1.2)]  # [Fe/H], [Mg/Fe], h
    parts = [draw(30_000, 10 + i, h=h) for i, (*_, h) in enumerate(populations)]
    own, k0 = (np.concatenate([part[i] for part in parts]) for i in (0, 3))
    which = np.repeat([0, 1], [len(part[0]) for part in parts])
    fe_h, mg_fe = np.array(populations)[which, :2].T
    args = (CLASSES[own], k0, *line_of_sight(len(own)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stellar_density, "MAX_STARS", 5000)
        fitted = DensityModel.fit(*args, fe_h, mg_fe)
    found = fitted.slope(*args, fe_h, mg_fe)
    near, far = (np.abs(k0 - CLASSES[own] - at) < 0.15 for at in (9.5, 11.5))
    drop = [found[far & (which == i)].mean() - found[near & (which == i)].mean() for i in (0, 1)]
    wanted = [np.diff(true_slope(np.array([9.5, 11.5]), h))[0] for *_, h in populations]
    assert wanted[0] < wanted[1] - 0.5
    assert drop == pytest.approx(wanted, abs=0.35)
    assert drop[1] - drop[0] == pytest.approx(wanted[1] - wanted[0], rel=0.4)


def test_alpha_rich_stars_of_another_scale_height_have_a_slope_of_their_own(monkeypatch):
    """Stars of one [Fe/H] all over the sky, so that [Mg/Fe] alone tells thick from thin: each has its own's slope."""
    monkeypatch.setattr(stellar_density, "MAX_ITERATIONS", 100)
    mg_fe, height = np.array([0.03, 0.23]), np.array([0.25, 1.2])  # kpc
    rng = np.random.default_rng(1)
    n = 2000
    rich, k0 = rng.integers(0, 2, n), rng.uniform(7, 11, n)
    glon, glat = rng.uniform(0, 360, n), np.rad2deg(np.arcsin(rng.uniform(-1, 1, n)))
    # a luminosity for each, as the density along its line of sight has it
    grid = np.arange(-5.0, -0.5, 0.02)
    modulus = k0[:, None] - grid
    z = stellar_density._radius_and_height(modulus, glon[:, None], glat[:, None])[1]
    log_p = 0.6 * np.log(10) * (modulus + 1.2 * grid) - z / height[rich, None]
    below = np.exp(log_p - log_p.max(axis=1, keepdims=True)).cumsum(axis=1)
    abs_mag = grid[(below < rng.random((n, 1)) * below[:, -1:]).sum(axis=1)] + 0.02 * rng.random(n)

    fitted = DensityModel.fit(abs_mag, k0, glon, glat, np.full(n, -0.3), mg_fe[rich])
    for modulus in (8.5, 9.5, 10.5):
        direction = np.full(2, 90.0), np.full(2, 60.0)
        found = fitted.slope(np.zeros(2), np.full(2, modulus), *direction, np.full(2, -0.3), mg_fe)
        own = 0.2 * np.log(10) * (3 - 10 ** (0.2 * modulus - 2) * np.sin(np.deg2rad(60)) / height)
        assert found == pytest.approx(own, abs=0.35)
        assert found[1] - found[0] == pytest.approx(own[1] - own[0], abs=0.5) and own[1] - own[0] > 0.6


def test_chemistry_grows_with_iron_and_magnesium_and_is_constant_beyond_its_limits():
    """[Fe/H] from -1 to 0.65, [Mg/Fe] from -0.12 to 0.38.

    Within the limits the other sign, in `fit` and `slope` alike, would give the same densities: coefficients are free.
    """
    fe_h = np.array([-0.1, 0.2, -1.0, -1.3, 0.65, 0.8, np.nan])
    mg_fe = np.array([0.08, 0.18, -0.12, -0.3, 0.38, 0.5, np.nan])
    iron, square, alpha = stellar_density._chemistry(fe_h, mg_fe, 7).T
    assert iron == pytest.approx([0, 1, -3, -3, 2.5, 2.5, 0], abs=1e-12)
    assert alpha == pytest.approx([0, 1, -2, -2, 3, 3, 0], abs=1e-12)
    assert square == pytest.approx(iron**2 - 1)


def test_where_stars_fill_space_evenly_the_slope_is_that_of_the_shells_volume():
    """Malmquist's (1922) 0.6 ln 10, from stars all over the sky: no density of R and z looks like a power of distance.

    So that level and bends of the slope rest on the shell's d^3. A wrong power in `fit` alone would change nothing: at
    given K it is linear in luminosity, and the numbers by luminosity make up for it.
    """
    rng = np.random.default_rng(30)
    n = 1000
    abs_mag, k0 = rng.uniform(-6, -2, n), rng.uniform(6, 9, n)  # independent: the luminosity function goes as d^-3
    sky = rng.uniform(0, 360, n), np.rad2deg(np.arcsin(rng.uniform(-1, 1, n)))
    slope = DensityModel.fit(abs_mag, k0, *sky).slope(abs_mag, k0, *sky)
    assert slope.mean() == pytest.approx(0.6 * np.log(10), abs=0.15)
    assert slope.std() < 0.2


def test_unknown_chemistry_counts_as_average_and_is_asked_for_where_it_was_fitted():
    own, _, _, k0 = draw(3000, 20)
    args = (CLASSES[own], k0, *line_of_sight(len(own)))
    nan = np.full(len(own), np.nan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stellar_density, "MAX_STARS", 300)
        without = DensityModel.fit(*args)
        fitted = DensityModel.fit(*args, nan, nan)
    slope = fitted.slope(*args, nan, nan)
    assert np.isfinite(slope).all()
    assert slope == pytest.approx(fitted.slope(*args, np.full(len(own), -0.1), np.full(len(own), 0.08)))
    with pytest.raises(ValueError, match=r"\[Fe/H\]"):
        fitted.slope(*args)
    with pytest.raises(ValueError, match=r"\[Fe/H\]"):
        without.slope(*args, nan, nan)


@pytest.mark.parametrize("chemistry", [False, True])
def test_the_objective_descends_to_where_its_gradient_vanishes(chemistry, monkeypatch):
    """The analytic gradient against differences of the objective, at random parameters."""
    own, _, _, k0 = draw(1500, 21)
    seen = {}

    def spy(objective, start, **kwargs):
        rng = np.random.default_rng(5)
        at, along = 0.3 * rng.standard_normal(len(start)), rng.standard_normal(len(start))
        values = [objective(at + h * along)[0] for h in (0.05, -0.05)]
        seen["numeric"], seen["analytic"] = (values[0] - values[1]) / 0.1, objective(at)[1] @ along
        raise StopIteration

    monkeypatch.setattr(stellar_density, "minimize", spy)
    labels = [np.full(len(own), -0.3), np.full(len(own), 0.2)] if chemistry else []
    with pytest.raises(StopIteration):
        DensityModel.fit(CLASSES[own], k0, *line_of_sight(len(own)), *labels)
    assert seen["analytic"] == pytest.approx(seen["numeric"], rel=0.01)
