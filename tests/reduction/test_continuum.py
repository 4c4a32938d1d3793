"""Continuum normalisation against the reference's spectra and numpy."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import Chebyshev
from real_files import APSTAR
from tiny_survey import spectra

from apogaia.formats import pixel_grid
from apogaia.formats.apstar import read_apstar
from apogaia.formats.pixel_grid import DETECTORS, N_PIXELS, N_PIXELS_APSTAR
from apogaia.reduction.continuum import apogee_continuum
from apogaia.survey import load_survey

DR14 = load_survey("dr14").spectra


def reference(flux, error, mask, settings):
    """One star with numpy's polynomial fit, which squares its weights."""
    flux, error, mask = (pixel_grid.gap_delete(array) for array in (flux, error, mask))
    chosen, out = pixel_grid.continuum_pixels(settings.continuum_pixels), np.empty(N_PIXELS)
    for detector in pixel_grid.detector_slices().values():
        x, c = np.arange(N_PIXELS)[detector], chosen[detector]
        fit = Chebyshev.fit(x[c], flux[detector][c], settings.continuum_degree, w=error[detector][c] ** -2.0)
        out[detector] = flux[detector] / fit(x)
    out[out < 0] = 0
    out[~np.isfinite(out) | pixel_grid.bitmask_boolean(mask, settings.masked_bits)] = 1
    out[np.abs(out) > settings.max_abs_flux] = 1
    return out


@pytest.mark.parametrize("release", ["dr14", "dr17"])
def test_real_spectra_equal_the_references(realdata, release):
    expected = np.load(realdata / "expected_normalised.npz")
    stars = [read_apstar(realdata / name) for name in APSTAR]
    arrays = [np.stack([getattr(star, part) for star in stars]) for part in ("flux", "error", "mask")]
    flux, error = apogee_continuum(*arrays, settings=replace(DR14, continuum_pixels=release))
    assert flux.shape == error.shape == (4, N_PIXELS) and flux.dtype == error.dtype == np.float32
    for star, normalised in zip(stars, flux, strict=True):
        np.testing.assert_allclose(normalised, expected[f"{star.header['apogee_id']}_{release}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("degree", "limit"), [(0, np.inf), (2, np.inf), (2, 1.05), (4, np.inf)])
def test_batches_equal_numpy_star_by_star(degree, limit):
    chosen = replace(DR14, continuum_degree=degree, max_abs_flux=limit)
    arrays = spectra(70)  # more than one block, and the last one not full
    flux, _ = apogee_continuum(*arrays, settings=chosen)
    for i in range(70):
        star = [array[i] for array in arrays]
        np.testing.assert_allclose(flux[i], reference(*star, chosen), atol=3e-6)
        np.testing.assert_allclose(apogee_continuum(*star, settings=chosen)[0], flux[i], rtol=5e-7)
    trimmed = [pixel_grid.gap_delete(array) for array in arrays]
    np.testing.assert_array_equal(apogee_continuum(*trimmed, settings=chosen)[0], flux)


def test_ill_conditioned_weights_equal_numpy():
    flux, error, mask = spectra(6)
    at = np.flatnonzero(pixel_grid.continuum_pixels("dr14"))[:300]
    columns = np.concatenate([np.arange(N_PIXELS_APSTAR)[detector] for detector in DETECTORS.values()])[at]
    error[:3, columns] = 1e4  # all but a few continuum pixels of blue and green bad
    error[:3, columns[::60]] = 2.0
    error[3, columns[5]] = 3e-4  # one pixel outweighs all others by a factor of 1e16
    normalised, _ = apogee_continuum(flux, error, mask, settings=DR14)
    for i in range(6):
        np.testing.assert_allclose(normalised[i], reference(flux[i], error[i], mask[i], DR14), atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.floats(1e-6, 1e6))
def test_normalisation_does_not_depend_on_the_unit_of_flux(factor):
    flux, error, mask = spectra(2)
    expected, expected_error = apogee_continuum(flux, error, mask, settings=DR14)
    scaled, scaled_error = apogee_continuum(flux * factor, error * factor, mask, settings=DR14)
    np.testing.assert_allclose(scaled, expected, atol=2e-6)
    np.testing.assert_allclose(scaled_error, expected_error, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-0.3, 0.3), min_size=6, max_size=6), st.floats(1e-2, 1e5), st.integers(0, 2**32))
def test_a_polynomial_times_a_flat_spectrum_normalises_to_one(coefficients, level, seed):
    flux = np.zeros(N_PIXELS_APSTAR)
    for k, detector in enumerate(DETECTORS.values()):
        x = np.linspace(-1, 1, detector.stop - detector.start)
        flux[detector] = level * (1 + coefficients[2 * k] * x + coefficients[2 * k + 1] * x**2)
    error = 10 ** np.random.default_rng(seed).uniform(-2, 0, N_PIXELS_APSTAR) * level
    normalised, normalised_error = apogee_continuum(flux, error, np.zeros(8575, int), settings=DR14)
    np.testing.assert_allclose(normalised, 1, atol=1e-4)
    np.testing.assert_allclose(normalised_error, pixel_grid.gap_delete(error / np.where(flux > 0, flux, 1)), rtol=1e-4)


def test_bad_pixels_become_the_continuum():
    flux, error, mask = (array[0] for array in spectra(1))
    line = next(i for i in range(300, 3000) if not pixel_grid.continuum_pixels("dr14")[i - 246] and mask[i] == 0)
    good, _ = apogee_continuum(flux, error, mask, settings=DR14)
    for value, expected in ((-50.0, 0), (np.nan, 1), (np.inf, 1), (0.0, 0)):
        changed = flux.copy()
        changed[line] = value
        normalised, _ = apogee_continuum(changed, error, mask, settings=DR14)
        assert normalised[line - 246] == expected
        np.testing.assert_array_equal(np.delete(normalised, line - 246), np.delete(good, line - 246))
    for bit, masked in ((0, True), (7, True), (12, True), (8, False), (13, False)):
        changed = mask.copy()
        changed[line] = 1 << bit
        normalised, _ = apogee_continuum(flux, error, changed, settings=DR14)
        assert (normalised[line - 246] == 1) == masked


def test_unusable_pixels_do_not_enter_the_continuum():
    flux, error, mask = spectra(1)
    expected, _ = apogee_continuum(flux, np.where(np.arange(8575) % 7, error, 1e10), mask, settings=DR14)
    for bad in (np.nan, np.inf, 0.0, -1.0):
        normalised, _ = apogee_continuum(flux, np.where(np.arange(8575) % 7, error, bad), mask, settings=DR14)
        np.testing.assert_allclose(normalised, expected, atol=2e-6)


def test_without_a_positive_continuum_the_spectrum_is_nan_and_its_neighbours_are_not():
    flux, error, mask = spectra(4)
    flux[0], flux[1, DETECTORS["green"]], error[2] = 0, -flux[1, DETECTORS["green"]], np.nan
    normalised, normalised_error = apogee_continuum(flux, error, mask, settings=DR14)
    assert np.isnan(normalised[:3]).all() and np.isnan(normalised_error[:3]).all()
    np.testing.assert_allclose(normalised[3], reference(flux[3], error[3], mask[3], DR14), atol=3e-6)


def test_a_continuum_beyond_single_precision_is_none():
    """Three pixels that alone have weight lift it to infinity elsewhere, which would divide the flux to zero."""
    flux, error, mask = spectra(2)
    pixels = np.flatnonzero(pixel_grid.continuum_pixels(DR14.continuum_pixels)[pixel_grid.detector_slices()["green"]])
    middle = DETECTORS["green"].start + pixels[len(pixels) // 2 + np.arange(3)]
    error[0], error[0, middle] = 1e8, 1e-3
    flux[0, middle] = np.array([3, 1e-3, 3]) * 1e37
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        normalised, _ = apogee_continuum(flux, error, mask, settings=DR14)
    assert np.isnan(normalised[0]).all() and np.isfinite(normalised[1]).all()


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="8575"):
        apogee_continuum(np.zeros((2, 100)), np.zeros((2, 100)), np.zeros((2, 100), int), settings=DR14)
    empty = np.zeros((0, 8575))
    assert apogee_continuum(empty, empty, empty.astype(int), settings=DR14)[0].shape == (0, N_PIXELS)
