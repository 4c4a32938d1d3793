"""The Jacobian."""

import keras
import numpy as np
from small_networks import SMALL, model_of, spectra_for

from apogaia.formats.pixel_grid import element_window
from apogaia.model import jacobian as module


def test_jacobian_equals_finite_differences():
    model = model_of(SMALL)
    network = model.get_layer("luminosity")
    spectra = spectra_for(model, 5)
    jacobian = module.jacobian(model, spectra, batch_size=2)
    assert jacobian.shape == spectra.shape
    step = 1e-3
    for pixel in (0, 1, 30, 59):
        shift = np.zeros(61, np.float32)
        shift[pixel] = step
        high, low = (keras.ops.convert_to_numpy(network(spectra + sign * shift))[:, 0] for sign in (1, -1))
        difference = (high.astype(float) - low) / (2 * step)
        # a kink of a ReLU or of the pooling may lie within the step for one star; never for most of them
        assert np.median(np.abs(jacobian[:, pixel] - difference)) < 0.01 * np.abs(jacobian).max()
    assert np.abs(jacobian).max() > 0.1


def test_most_luminous_stars_have_the_smallest_fakemag():
    fakemag = np.array([5.0, 1.0, np.nan, 9.0, 2.0, 7.0, 3.0, 0.1, 8.0])  # row 7 is not chosen from, row 2 is unknown
    groups = module.luminosity_groups(fakemag, np.array([0, 1, 2, 3, 4, 5, 6, 8]), size=2)
    assert {name: rows.tolist() for name, rows in groups.items()} == {
        "most luminous": [1, 4],
        "middle": [0, 6],
        "least luminous": [3, 8],
    }
    assert [len(rows) for rows in module.luminosity_groups(fakemag, np.arange(9)).values()] == [2, 2, 2]


def test_sensitivity_is_that_of_a_pixel_in_the_windows_beside_all_pixels():
    curve = np.ones(7514)
    curve[element_window("Mg")] = -3.0
    found = module.sensitivity_by_element({"giants": curve}, ["Mg", "Si"])["giants"]
    share = element_window("Mg").mean()
    assert abs(found["Mg"] - 3.0 / (1 + 2 * share)) < 1e-12
    assert found["Si"] < found["Mg"]


def test_the_strongest_window_of_each_element_is_found_on_each_detector():
    inside = np.flatnonzero(element_window("Si"))
    curve = np.full(7514, 0.1)
    curve[inside[-1]] = 5.0
    windows = module.strongest_windows({"all": curve, "again": 2 * curve}, ["Si", "Mg"])
    assert (windows[0]["element"], windows[0]["detector"]) == ("Si", "red")
    first, end = windows[0]["pixels"]
    assert first <= inside[-1] < end and element_window("Si")[first:end].all()
    assert 0 < sum(one["share"] for one in windows) < 1
    assert 15000 < windows[0]["wavelength"] < 17000
    assert len({(one["element"], one["detector"]) for one in windows}) == len(windows) <= 6
    assert [one["share"] for one in windows] == sorted((one["share"] for one in windows), reverse=True)
