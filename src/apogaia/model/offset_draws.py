"""Dropout draws of the zero point from a trained offset network."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
from astropy import units as u
from keras import ops

from apogaia.arguments.plain import Columns
from apogaia.arguments.takes import takes
from apogaia.formats.stars_h5_columns import OFFSET_INPUTS

__all__ = ["offset_draws"]


@takes(inputs=Columns(g_mag=u.mag, bp_rp=u.mag, teff=u.K))
def offset_draws(model: keras.Model, inputs: Mapping[str, np.ndarray] | None, *, draws: int, seed: int) -> np.ndarray:
    """Dropout draws of the zero point, Gaia minus true parallax.

    Parameters
    ----------
    model
        A joint network with a constant or a multivariate offset.
    inputs
        ``g_mag``, ``bp_rp`` [mag] and ``teff`` [K], each (n,), for a multivariate offset; None for a constant one.
    draws
        Number of dropout masks.
    seed
        Of the masks.

    Returns
    -------
    (draws, n) array
        Zero points [mas]; n = 1 for a constant offset. All stars of a draw have masks of their own.

    Raises
    ------
    ValueError
        If the model has no offset, or the inputs are not those it takes.
    """
    if model.name == "joint_none":
        raise ValueError("this model was trained without an offset: use a constant or a multivariate one")
    if (model.name == "joint_constant") != (inputs is None):
        raise ValueError("inputs are G, BP-RP and Teff for a multivariate offset, and None for a constant one")
    network = model.get_layer("offset")
    for i, layer in enumerate(layer for layer in network.layers if isinstance(layer, keras.layers.Dropout)):
        layer.seed_generator.state.assign(np.array([seed, i], "uint32"))
    if inputs is None:
        ones = ops.ones((draws, len(OFFSET_INPUTS)))
        return ops.convert_to_numpy(network(ones, training=True)).astype(np.float64)
    columns = {name: ops.convert_to_tensor(np.asarray(inputs[name], np.float32)[:, None]) for name in OFFSET_INPUTS}
    draw = [ops.convert_to_numpy(network(columns, training=True))[:, 0] for _ in range(draws)]
    return np.array(draw, np.float64).reshape(draws, -1)
