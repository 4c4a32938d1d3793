"""The Jacobian: how the luminosity that a network gives depends on each pixel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from astropy import units as u

from apogaia.arguments.takes import takes
from apogaia.formats.pixel_grid import detector_slices, element_window, gap_delete, wavelength_solution
from apogaia.model.fast import devices
from apogaia.model.networks import check_pixels

__all__ = ["jacobian", "luminosity_groups", "sensitivity_by_element", "strongest_windows"]


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


@takes(fakemag=u.mas)
def luminosity_groups(fakemag, rows: np.ndarray, size: int = 100) -> dict[str, np.ndarray]:
    """Rows of the most luminous, the middle and the least luminous stars.

    Parameters
    ----------
    fakemag
        (n,) pseudo-luminosities of all stars [mas]; fakemag falls with luminosity.
    rows
        Of the stars to choose from; those whose fakemag is not finite are left out.
    size
        Stars in a group, at most a third of them.

    Returns
    -------
    dict
        Ascending rows by group: "most luminous", "middle", "least luminous".
    """
    fakemag = np.asarray(fakemag, float)
    rows = rows[np.isfinite(fakemag[rows])]
    ordered = rows[np.argsort(fakemag[rows], kind="stable")]
    size = min(size, len(ordered) // 3)
    middle = (len(ordered) - size) // 2
    first = {"most luminous": 0, "middle": middle, "least luminous": len(ordered) - size}
    return {name: np.sort(ordered[start : start + size]) for name, start in first.items()}


def sensitivity_by_element(curves: Mapping[str, np.ndarray], elements: Sequence[str]) -> dict[str, dict[str, float]]:
    """How sensitive the luminosity is to a pixel in the windows of an element, beside the average pixel.

    Parameters
    ----------
    curves
        Mean d fakemag / d flux, (7514,), by group of stars.
    elements
        As `apogaia.formats.pixel_grid.element_window` takes them.

    Returns
    -------
    dict
        Per group and element: mean absolute derivative in the element's windows over that of all pixels.
    """
    return {
        name: {element: float(size[element_window(element)].mean() / size.mean()) for element in elements}
        for name, size in ((name, np.abs(curve)) for name, curve in curves.items())
    }


def strongest_windows(curves: Mapping[str, np.ndarray], elements: Sequence[str]) -> list[dict[str, Any]]:
    """The window of each element on each detector that holds most of the luminosity's sensitivity.

    Parameters
    ----------
    curves, elements
        As in `sensitivity_by_element`.

    Returns
    -------
    list
        The largest share first: "element", "detector", "pixels" (first, and one after the last), "wavelength" of the
        middle (vacuum Angstrom) and "share" of the summed absolute derivative, a mean over the groups.
    """
    share = np.mean([np.abs(curve) / np.abs(curve).sum() for curve in curves.values()], axis=0)
    wavelengths = gap_delete(wavelength_solution())
    best = []
    for detector, pixels in detector_slices().items():
        for element in elements:
            inside = np.zeros(len(share), bool)
            inside[pixels] = element_window(element)[pixels]
            ends = np.flatnonzero(np.diff(np.concatenate([[0], inside, [0]]))).reshape(-1, 2)
            if not len(ends):
                continue
            first, end = max(ends.tolist(), key=lambda run: share[slice(*run)].sum())
            best.append(
                {
                    "element": element,
                    "detector": detector,
                    "pixels": (first, end),
                    "wavelength": float(wavelengths[first:end].mean()),
                    "share": float(share[first:end].sum()),
                }
            )
    return sorted(best, key=lambda one: -one["share"])


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
