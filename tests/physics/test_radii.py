"""Luminosities from radii: the Sun, the red clump, and distances in proportion to radii."""

import numpy as np
import pytest

from apogaia.physics.luminosity import SUN_ABSMAG, absmag_to_fakemag, fakemag_to_pc
from apogaia.physics.radii import ks_bolometric_correction, radius_to_absmag


def test_the_sun_and_the_clump():
    assert radius_to_absmag(1.0, 5772.0) == pytest.approx(SUN_ABSMAG["Ks"])
    assert radius_to_absmag(10.7, 4780.0) == pytest.approx(-1.61, abs=0.02)
    assert np.all(np.diff(ks_bolometric_correction(np.linspace(2800, 9700, 50))) < 0)


def test_a_distance_is_in_proportion_to_the_radius():
    near, far = (fakemag_to_pc(absmag_to_fakemag(radius_to_absmag(radius, 4800.0)), 10.0) for radius in (8.0, 12.0))
    assert far / near == pytest.approx(1.5)


def test_what_is_not_positive_is_unknown():
    assert np.isnan(radius_to_absmag(np.array([0.0, -1.0, np.nan, 1.0]), np.array([5000.0, 5000, 5000, 0]))).all()
