"""Features of the labels: what they tell beyond straight lines, and stars whose labels are missing."""

import numpy as np
import pytest

from apogaia.refit.label_features import LARGEST_SIGMA, label_features

N = 2000


@pytest.fixture
def labels():
    """Teff, log g, [Fe/H], [Mg/Fe] of giants."""
    rng = np.random.default_rng(1)
    return rng.normal(4700, 300, N), rng.uniform(0.8, 3.5, N), rng.normal(-0.1, 0.25, N), rng.normal(0.08, 0.1, N)


def left(features, values):
    """Scatter of values without what the features and a constant tell."""
    design = np.column_stack([np.ones(len(values)), features])
    return np.std(values - design @ np.linalg.lstsq(design, values, rcond=None)[0])


def test_they_follow_a_clump_that_no_line_or_parabola_follows(labels):
    teff, log_g, fe_h, _ = labels
    luminosity = -0.8 * log_g + 0.1 * np.exp(-0.5 * ((log_g - 2.4) / 0.15) ** 2)
    assert left(np.column_stack([log_g, log_g**2]), luminosity) > 0.02
    assert left(label_features(*labels, 60), luminosity) < 0.006
    together = 1e-3 * (teff - 4700) * fe_h
    assert left(np.column_stack(labels), together) > 0.05 and left(label_features(*labels, 60), together) < 1e-6


def test_they_have_zero_mean_and_unit_variance_and_are_as_many_as_allowed(labels):
    counts = []
    for most in (3, 8, 9, 22, 23, 50, 51, 500):
        found = label_features(*labels, most)
        counts.append(found.shape[1])
        assert found.shape[1] <= most and len(found) == N
        if found.size:
            assert np.abs(found.mean(axis=0)).max() < 1e-9 and found.std(axis=0) == pytest.approx(1.0)
    assert counts == [0, 0, 8, 8, 22, 22, 50, 50]  # all labels are known: no feature of those without


def test_stars_without_a_label_are_alike_and_change_nothing_for_the_others(labels):
    whole = label_features(*labels, 60)
    some = np.arange(N) % 10 == 0
    for i in range(4):
        changed = [np.where(some, np.nan, label) if i == j else label for j, label in enumerate(labels)]
        found = label_features(*changed, 60)
        assert np.isfinite(found).all() and found.shape[1] == whole.shape[1] + 1
        assert np.ptp(found[some], axis=0).max() == 0  # all the same
        assert np.unique(found[:, 0]).size == 2  # told apart by one feature
        assert left(found[~some], whole[~some][:, 0]) < 0.02
    assert label_features(*labels[:3], np.full(N, np.nan), 60).shape == (N, 0)


def test_a_wild_label_counts_as_one_at_the_edge(labels):
    teff, *others = labels
    wild, edge = teff.copy(), teff.copy()
    middle = np.median(teff)
    spread = 1.4826 * np.median(np.abs(teff - middle))
    wild[0], edge[0] = 90_000.0, middle + (LARGEST_SIGMA + 0.2) * spread
    assert label_features(wild, *others, 60) == pytest.approx(label_features(edge, *others, 60), abs=1e-2)


def test_labels_that_are_the_same_for_all_stars_tell_nothing():
    same = [np.full(N, value) for value in (4700.0, 2.4, 0.0, 0.1)]
    assert label_features(*same, 60).shape == (N, 0)
