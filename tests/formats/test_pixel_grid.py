"""The pixel grid: wavelengths, detectors, windows of elements, bit masks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apogaia.formats import pixel_grid
from apogaia.formats.pixel_grid import DETECTORS, N_PIXELS, N_PIXELS_APSTAR
from apogaia.formats.stars_h5_columns import ELEMENTS


def test_grid():
    wavelength = pixel_grid.wavelength_solution()
    assert wavelength.shape == (N_PIXELS_APSTAR,) == (8575,)
    assert wavelength[0] == pytest.approx(15100.80, abs=0.01)
    assert pixel_grid.gap_delete(wavelength).shape == (N_PIXELS,) == (7514,)
    for name, detector in pixel_grid.detector_slices().items():
        np.testing.assert_array_equal(pixel_grid.gap_delete(wavelength)[detector], wavelength[DETECTORS[name]])
    with pytest.raises(ValueError, match="8575"):
        pixel_grid.gap_delete(np.zeros(7514))


def test_pixel_sets_have_the_published_sizes():
    sizes = {name: pixel_grid.continuum_pixels(name).sum() for name in ("dr13", "dr14", "dr16", "dr17")}
    assert sizes == {"dr13": 529, "dr14": 529, "dr16": 532, "dr17": 532}
    assert (pixel_grid.continuum_pixels("dr14") & pixel_grid.continuum_pixels("dr17")).sum() == 249
    counts = [3806, 557, 3776, 505, 13, 106, 51, 102, 24, 8, 16, 19, 31, 28, 29, 46, 70, 2403, 24, 206]
    assert [pixel_grid.element_window(element).sum() for element in ELEMENTS] == counts
    windows = {"C": 3806, "CI": 557, "Na": 13, "S": 8, "TiII": 28, "Fe": 2403, "Ni": 206}
    assert {element: pixel_grid.element_window(element).sum() for element in windows} == windows
    with pytest.raises(ValueError, match="dr99"):
        pixel_grid.continuum_pixels("dr99")
    with pytest.raises(ValueError, match=r"'Xx'; there are C, CI, N, O, .*, Co, Ni"):
        pixel_grid.element_window("Xx")


@given(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1), st.sets(st.integers(0, 20)))
def test_bitmask_agrees_with_bit_arithmetic(values, bits):
    expected = [any((value >> bit) & 1 for bit in bits) for value in values]
    assert pixel_grid.bitmask_boolean(np.array(values, np.int16), tuple(bits)).tolist() == expected
