"""Smooth functions of labels and SNR: where the stars are, and constant beyond."""

import dataclasses
import json

import numpy as np

from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters.star_splines import StarSplines

TEFF, FE_H = LABELS.index("teff"), LABELS.index("fe_h")


def stars(n=500):
    rng = np.random.default_rng(1)
    label = rng.normal(0, 0.3, (n, len(LABELS)))
    label[:, TEFF] = rng.uniform(3800, 5200, n)
    return label, np.exp(rng.uniform(np.log(30), np.log(300), n))


def of_stars(label, snr):
    return StarSplines.of_stars(label, snr, coefficients={"teff": 5, "fe_h": 6}, snr_coefficients=4)


def test_each_number_has_functions_that_sum_to_one_and_depend_on_it_alone():
    label, snr = stars()
    splines = of_stars(label, snr)
    columns = splines.columns(label, snr)
    parts = {"snr": slice(0, 4), "teff": slice(4, 9), "fe_h": slice(9, 15)}
    assert columns.shape == (500, 15)
    for part in parts.values():
        np.testing.assert_allclose(columns[:, part].sum(axis=1), 1.0)
    hotter, richer = label.copy(), label.copy()
    hotter[:, TEFF] += 300
    richer[:, FE_H] += 0.3
    for name, other in (("teff", (hotter, snr)), ("fe_h", (richer, snr)), ("snr", (label, 2 * snr))):
        moved = splines.columns(*other) != columns
        for number, part in parts.items():
            assert moved[:, part].any() == (number == name)


def test_beyond_the_outer_knots_they_are_constant_and_unknown_numbers_have_a_place():
    label, snr = stars()
    splines = of_stars(label, snr)
    far = np.tile(label[0], (5, 1))
    far[:, TEFF] = splines.knots["teff"][-1], 9000, np.nan, np.median(splines.knots["teff"]), 4500
    of_snr = [100.0, 100.0, 100.0, 100.0, np.nan]
    columns = splines.columns(far, np.array(of_snr))
    np.testing.assert_allclose(columns[1], columns[0], atol=1e-12)
    np.testing.assert_array_equal(columns[2], columns[3])
    lowest = np.exp(splines.log_snr_knots[0])
    for unknown in (np.nan, 0.0, -9999.0, np.inf):
        np.testing.assert_allclose(
            splines.columns(far[4:], np.array([unknown])), splines.columns(far[4:], np.array([lowest]))
        )


def test_it_travels_as_json():
    label, snr = stars()
    splines = of_stars(label, snr)
    again = StarSplines(**json.loads(json.dumps(dataclasses.asdict(splines), sort_keys=True)))
    assert again == splines and list(again.knots) != list(splines.knots)
    np.testing.assert_array_equal(again.columns(label, snr), splines.columns(label, snr))
