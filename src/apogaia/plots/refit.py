"""Figures of the refit: what the density of stars does to their parallaxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from apogaia.plots.common import COLUMN_WIDTH, legend_above, one_panel, readable_decades

__all__ = ["density_shift"]


def density_shift(bins: Sequence[Mapping], axes: Axes | None = None) -> Axes:
    """Shift of the true parallaxes by the density of stars, and the scatter that causes it, against distance.

    Parameters
    ----------
    bins
        As `apogaia.zero_point.refit_zero_point.density_shift_by_distance` gives them.
    axes
        One panel, or None.
    """
    axes = one_panel(axes, COLUMN_WIDTH, 2.6)
    middle, shift, scatter = (
        np.array([one[name] for one in bins], float) for name in ("middle", "shift_percent", "scatter_percent")
    )
    axes.axhline(0, color="black", linewidth=0.5, linestyle=":")
    axes.plot(middle, shift, "o-", markersize=3, label="shift of the parallax")
    axes.plot(middle, scatter, "s--", markersize=3, color="#D55E00", label="scatter of luminosities")
    axes.set(xscale="log", xlabel="distance [kpc]", ylabel="of the parallax, of $L$ [%]")
    readable_decades(axes.xaxis)
    legend_above(axes, 2)
    return axes
