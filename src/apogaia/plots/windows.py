"""Windows of elements on panels along the wavelength."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from apogaia.formats.pixel_grid import gap_delete, wavelength_solution

__all__ = ["mark_windows"]

ELEMENT_COLOURS = ("#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#8C6D31", "#0072B2", "#7F8C99")


def mark_windows(axes: Axes | Sequence[Axes] | np.ndarray, windows: Sequence[Mapping]) -> np.ndarray:
    """Shade windows of elements and name them at the lower edge of each panel that shows them.

    Parameters
    ----------
    axes
        Panels whose x axis is the vacuum wavelength [Angstrom].
    windows
        Each with "element" and "pixels" (first, and one after the last, of 7514), as
        `apogaia.model.jacobian.strongest_windows` gives them.

    Returns
    -------
    The panels, as an array.
    """
    panels = np.ravel(np.asarray(axes, dtype=object))
    wavelengths = gap_delete(wavelength_solution())
    colours = {name: ELEMENT_COLOURS[i % len(ELEMENT_COLOURS)] for i, name in enumerate(elements_of(windows))}
    for panel in panels:
        low, high = panel.get_xlim()
        bottom, top = panel.get_ylim()
        panel.set_ylim(bottom - 0.25 * (top - bottom), top)  # room for the names
        shown = sorted((w for w in windows if low < wavelengths[w["pixels"][0]] < high), key=lambda w: w["pixels"])
        last, row = float("-inf"), 0
        for window in shown:
            left, right = wavelengths[window["pixels"][0]], wavelengths[window["pixels"][1] - 1]
            colour = colours[window["element"]]
            narrow = max(0.0, 0.002 * (high - low) - (right - left)) / 2  # else one pixel would not be seen
            panel.axvspan(left - narrow, right + narrow, color=colour, alpha=0.3, linewidth=0, zorder=0)
            middle = 0.5 * (left + right)
            row = row + 1 if middle - last < 0.025 * (high - low) else 0  # names of neighbours stand above each other
            text = panel.text(
                middle, 0.02 + 0.09 * row, window["element"], transform=panel.get_xaxis_transform(), ha="center"
            )
            text.set(va="bottom", color="black")
            last = middle
    return panels


def elements_of(windows: Sequence[Mapping]) -> list[str]:
    """Elements in alphabetical order, so that each keeps its colour."""
    return sorted({window["element"] for window in windows})
