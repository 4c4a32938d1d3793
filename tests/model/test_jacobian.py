"""The Jacobian."""

import keras
import numpy as np
from small_networks import SMALL, model_of, spectra_for

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
