"""The Gaia parallax zero point: its posterior from the offset network.

Sign: zero point = Gaia parallax minus true parallax, which is negative; corrected parallax = parallax - zero point.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from astropy import units as u

from apogaia.arguments.plain import any_unit
from apogaia.arguments.takes import takes

__all__ = [
    "OffsetPosterior",
    "ZeroPoint",
    "constant_zero_point",
    "inverse_variance_mean",
    "zero_point",
]


@dataclass(frozen=True)
class ZeroPoint:
    """A constant zero point and its standard error [mas]."""

    value: float
    error: float

    def in_uas(self) -> dict:
        """As written to the results: micro-arcseconds."""
        return {"value_uas": 1000 * self.value, "error_uas": 1000 * self.error}


def constant_zero_point(model, *, draws: int, seed: int) -> ZeroPoint:
    """Mean and standard deviation over dropout draws of the constant offset (section 4).

    Parameters
    ----------
    model
        Joint model with the offset "constant".
    draws, seed
        Number of dropout draws and the seed of the dropout.
    """
    from apogaia.model.offset_draws import offset_draws  # here, so that the rest does not load Keras

    offsets = offset_draws(model, None, draws=draws, seed=seed)
    # every star has the same offset, so that any further rows of a draw are the same value
    per_draw = np.asarray(offsets, dtype=float).reshape(draws, -1)[:, 0]
    return ZeroPoint(float(per_draw.mean()), float(per_draw.std()))


@takes(g_mag=u.mag, bp_rp=u.mag, teff=u.K)
def zero_point(model, g_mag, bp_rp, teff, *, draws: int, seed: int, chunk: int = 64):
    """Zero point and its uncertainty for any Gaia sources: mean and sd over dropout draws of the offset (section 4).

    Parameters
    ----------
    model
        Joint model with the offset "multivariate".
    g_mag, bp_rp, teff
        Gaia's G [mag] and BP-RP [mag], effective temperature [K]; each (n,).
    draws, seed
        Number of dropout draws and the seed of the dropout; all sources share the draws' masks.
    chunk
        Sources at a time and thread: memory grows with ``draws * chunk``, the result does not depend on it.

    Returns
    -------
    value, error
        Each (n,), in mas; NaN where an input is unknown.

    Raises
    ------
    ValueError
        If the inputs are not of one length.
    """
    return OffsetPosterior.from_model(model, draws=draws, seed=seed).at(g_mag, bp_rp, teff, chunk=chunk)


@dataclass(frozen=True)
class OffsetPosterior:
    """The offset network under a fixed set of dropout masks: each draw is one smooth function of G, BP-RP and Teff.

    A posterior sample of section 4 is one set of weights, hence one function, for all stars. With masks drawn anew for
    each star the mean scatters by sd / sqrt(draws) from star to star; with shared masks that noise of the draws
    is itself a smooth function, equal stars have equal zero points, and a grid can hold the posterior exactly.
    """

    input_mean: np.ndarray  # (3,), of G, BP-RP, Teff
    input_sd: np.ndarray  # (3,)
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]  # kernel ([draws,] inputs, units) behind its mask, bias (units,)
    scale: float  # mas
    ranges: tuple[tuple[float, float], ...] = ((-np.inf, np.inf),) * 3  # of G, BP-RP, Teff; NaN beyond

    @classmethod
    def from_model(cls, model, *, draws: int, seed: int, ranges=None) -> OffsetPosterior:
        """Read the weights by the names of the layers, and draw the masks.

        Parameters
        ----------
        model
            Joint model with the offset "multivariate".
        draws, seed
            Number of dropout masks, and their seed.
        ranges
            Lowest and highest G, BP-RP and Teff that the posterior holds for; None: anywhere.

        Raises
        ------
        ValueError
            If the model's offset is not "multivariate".
        """
        if model.name != "joint_multivariate":
            raise ValueError(f"the zero point of single stars needs a multivariate offset; this model is {model.name}")
        network = model.get_layer("offset")
        names = [layer.name for layer in network.layers]
        hidden = [name for name in names if name.startswith("offset_hidden_")]
        rng = np.random.default_rng(seed)
        layers, factor = [], None
        for name in [*hidden, "scaled_offset"]:
            kernel, bias = (np.asarray(weights, float) for weights in network.get_layer(name).get_weights())
            layers.append((kernel if factor is None else factor[:, :, None] * kernel, bias))
            if name in hidden:
                rate = network.get_layer(name.replace("hidden", "dropout")).rate
                factor = (rng.random((draws, len(bias))) >= rate) / (1 - rate)
        mean, sd = (np.asarray(weights, float) for weights in network.get_layer("standardisation").get_weights())
        scale = float(network.get_layer("offset_mas").scale)
        if ranges is None:
            return cls(mean, sd, tuple(layers), scale)
        return cls(mean, sd, tuple(layers), scale, tuple((low, high) for low, high in ranges))

    @takes(g_mag=u.mag, bp_rp=u.mag, teff=u.K)
    def draw(self, g_mag, bp_rp, teff) -> np.ndarray:
        """All draws of the zero point [mas] of n sources, (draws, n)."""
        x = (np.stack([g_mag, bp_rp, teff], axis=-1) - self.input_mean) / self.input_sd
        for kernel, bias in self.layers:
            x = np.matmul(x, kernel)
            x += bias
            np.tanh(x, out=x)
        return self.scale * x[..., 0]

    @takes(g_mag=u.mag, bp_rp=u.mag, teff=u.K)
    def at(self, g_mag, bp_rp, teff, *, chunk: int = 64):
        """Mean and standard deviation over the draws [mas], each (n,), on all cores.

        NaN where an input is unknown or outside the ranges. `chunk` sources at a time bound the memory.
        """
        inputs = [np.atleast_1d(np.asarray(column, dtype=float)) for column in (g_mag, bp_rp, teff)]
        if len({column.shape for column in inputs}) > 1 or inputs[0].ndim != 1:
            raise ValueError(f"g_mag, bp_rp and teff differ in shape: {[column.shape for column in inputs]}")
        value, error = np.full((2, len(inputs[0])), np.nan)
        inside = [(low <= x) & (x <= high) for x, (low, high) in zip(inputs, self.ranges, strict=True)]
        known = np.flatnonzero(np.all(inside, axis=0) & np.all(np.isfinite(inputs), axis=0))

        def moments(start: int) -> None:
            rows = known[start : start + chunk]
            offsets = self.draw(*(column[rows] for column in inputs))
            value[rows], error[rows] = offsets.mean(axis=0), offsets.std(axis=0)

        with ThreadPoolExecutor() as threads:
            list(threads.map(moments, range(0, len(known), chunk)))
        return value, error


@takes(value=any_unit, error="value")
def inverse_variance_mean(value, error) -> tuple[float, float]:
    """Inverse-variance weighted mean and its error, of the entries with a finite value and a positive error."""
    value, error = np.broadcast_arrays(np.asarray(value, dtype=float), np.asarray(error, dtype=float))
    known = np.isfinite(value) & np.isfinite(error) & (error > 0)
    if not known.any():
        return np.nan, np.nan
    weight = error[known] ** -2
    return float(np.average(value[known], weights=weight)), float(weight.sum() ** -0.5)
