"""Cubic interpolation in three dimensions."""

import numpy as np
import pytest

from apogaia.zero_point.surface import interpolate_cubic


def test_interpolation_is_exact_for_cubics_and_of_fourth_order():
    def cubic(x, y, z):
        return 1 + x - 2 * y * z + x * y * z + x**3 - 0.5 * y**3 * z**2 + z**3 * x**2

    rng = np.random.default_rng(4)
    points = rng.uniform([0, -1, 2], [1, 1, 5], (500, 3)).T
    axes = (np.linspace(0, 1, 4), np.linspace(-1, 1, 6), np.linspace(2, 5, 9))
    table = cubic(*np.meshgrid(*axes, indexing="ij"))
    first, second = interpolate_cubic(axes, table, -2 * table, points)
    np.testing.assert_allclose(first, cubic(*points), rtol=1e-11, atol=1e-10)
    np.testing.assert_allclose(second, -2 * cubic(*points), rtol=1e-11, atol=1e-10)

    def worst(nodes):
        axes = (np.linspace(0, 1, nodes), np.linspace(-1, 1, nodes), np.linspace(2, 5, nodes))
        wave = np.sin(np.add.outer(np.add.outer(axes[0], axes[1]), axes[2]))
        return np.abs(interpolate_cubic(axes, wave, wave, points)[0] - np.sin(points.sum(axis=0))).max()

    assert worst(17) / worst(33) == pytest.approx(16, rel=0.35)
