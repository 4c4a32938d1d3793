"""The Jacobian: how the luminosity that a network gives depends on each pixel."""

from __future__ import annotations

import keras
import numpy as np
from astropy import units as u

from apogaia.arguments.takes import takes
from apogaia.model.fast import devices
from apogaia.model.networks import check_pixels

__all__ = ["jacobian"]


@takes(spectra=u.dimensionless_unscaled)
def jacobian(model: keras.Model, spectra: np.ndarray, *, batch_size: int = 64) -> np.ndarray:
    """Derivative of fakemag with respect to the normalised flux of every pixel, without dropout.

    Parameters
    ----------
    model
        A joint network.
    spectra
        (n, pixels) normalised spectra.
    batch_size
        Spectra at a time.

    Returns
    -------
    (n, pixels) array
        d fakemag / d flux, float32.

    Raises
    ------
    ValueError
        If the spectra have another number of pixels than the model's, or Keras' backend has no gradients.
    """
    devices.check_gradients("the Jacobian")
    check_pixels(model, spectra)
    gradient = _gradient_of_fakemag(model.get_layer("luminosity"))
    jacobians = np.empty(spectra.shape, np.float32)
    for start in range(0, len(spectra), batch_size):
        batch = np.asarray(spectra[start : start + batch_size], np.float32)
        jacobians[start : start + batch_size] = gradient(batch)
    return jacobians


def _gradient_of_fakemag(network: keras.Model):
    """Spectra -> gradient of each star's fakemag; stars do not mix, so the gradient of the sum holds them all."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        def gradient(batch):
            batch = tf.constant(batch)
            with tf.GradientTape() as tape:
                tape.watch(batch)
                fakemag = network(batch, training=False)[:, 0]
            return tape.gradient(fakemag, batch).numpy()

    elif backend == "jax":
        import jax

        def gradient(batch):
            return np.asarray(jax.grad(lambda spectra: network(spectra, training=False)[:, 0].sum())(batch))

    else:
        import torch

        def gradient(batch):
            batch = torch.tensor(batch, device=keras.src.backend.torch.core.get_device(), requires_grad=True)
            (gradients,) = torch.autograd.grad(network(batch, training=False)[:, 0].sum(), batch)
            return gradients.cpu().numpy()

    return gradient
