"""Figures along the wavelength: an example spectrum and the network's Jacobian, one panel per detector."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from matplotlib.axes import Axes

from apogaia.formats.pixel_grid import detector_slices, gap_delete, wavelength_solution
from apogaia.physics.hydrogen_lines import brackett_wavelength
from apogaia.plots.common import PAGE_WIDTH, AxesLike, finite, panels

MARKED_LINES: dict[str, float] = {f"Br {upper}": float(brackett_wavelength(upper)) for upper in range(11, 21)}
MARKED_LINES["Fe I"] = 16895.2  # vacuum Angstrom, as the others

CURVE_COLOURS = ("#0072B2", "#E69F00", "#CC79A7", "#009E73")


def spectrum_example(
    flux: np.ndarray, *, lines: Mapping[str, float] = MARKED_LINES, axes: AxesLike = None
) -> np.ndarray:
    """Draw a normalised spectrum over the three detectors with marked lines.

    Parameters
    ----------
    flux
        Continuum-normalised flux, (7514,).
    lines
        Name and vacuum wavelength [Angstrom] of the lines to mark.
    axes
        Three axes, or None.
    """
    flux = np.asarray(flux, dtype=float)
    return detector_panels({"": flux}, ("#333333",), "normalised flux", lines, axes)


def jacobian(
    curves: Mapping[str, np.ndarray], *, lines: Mapping[str, float] = MARKED_LINES, axes: AxesLike = None
) -> np.ndarray:
    """Draw the change of fakemag [mas] with the normalised flux of each pixel, one curve per group of stars.

    The curves stand above each other, each scaled to its largest value, which the legend states: those of luminous and
    of faint stars differ by orders of magnitude.

    Parameters
    ----------
    curves
        Label and mean d fakemag / d flux, (7514,), of each group: the brightest, middle and faintest stars.
    lines
        Name and vacuum wavelength [Angstrom] of the lines to mark.
    axes
        Three axes, or None.
    """
    stacked, zeros = {}, []
    for place, (name, curve) in enumerate(curves.items()):
        (known,) = finite(curve)
        scale = float(np.max(np.abs(known), initial=0.0)) or 1.0
        zeros.append(1.5 * (len(curves) - 1 - place))  # apart, so that no curve touches another
        stacked[f"{name} (largest: {scale:.2g} mas)"] = 0.7 * np.asarray(curve) / scale + zeros[-1]
    label = r"$\partial$ fakemag / $\partial$ flux, each scaled to its largest value"
    axes = detector_panels(stacked, CURVE_COLOURS, label, lines, axes, 6.4)
    for panel in axes:
        panel.set_yticks(zeros, ["0"] * len(zeros))
        for zero in zeros:
            panel.axhline(zero, color="#999999", linewidth=0.5, zorder=0)
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        axes[0].figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return axes


def detector_panels(
    curves: Mapping[str, np.ndarray],
    colours: tuple[str, ...],
    label: str,
    lines: Mapping[str, float],
    axes: AxesLike,
    height_inch: float = 5.0,
) -> np.ndarray:
    """Draw curves (7514,) over three panels, with line marks in a strip above the highest point of each panel."""
    axes = panels(axes, 3, 1, PAGE_WIDTH, height_inch).ravel()
    wavelengths = gap_delete(wavelength_solution())
    for panel, (detector, pixels) in zip(axes, detector_slices().items(), strict=True):
        for index, (name, values) in enumerate(curves.items()):
            colour = colours[index % len(colours)]
            panel.plot(wavelengths[pixels], values[pixels], color=colour, linewidth=0.6, label=name or None)
        (shown,) = finite(np.concatenate([np.empty(0), *(np.asarray(values)[pixels] for values in curves.values())]))
        low, high = (shown.min(), shown.max()) if shown.size else (0.0, 1.0)
        height = (high - low) or 1.0
        panel.set_ylim(low - 0.04 * height, high + 0.3 * height)
        panel.set_xlim(wavelengths[pixels][0], wavelengths[pixels][-1])
        mark_lines(panel, lines, high + 0.06 * height, height)
        panel.set_title(f"{detector} detector")
        panel.tick_params(top=False)
    axes[-1].set_xlabel(r"vacuum wavelength [$\mathrm{\AA}$]")
    axes[1].set_ylabel(label)
    return axes


def mark_lines(axes: Axes, lines: Mapping[str, float], bottom: float, height: float) -> None:
    """Add a tick and a name for each line inside the axes, above `bottom`; `height` is that of the data."""
    first, last = axes.get_xlim()
    for name, wavelength in lines.items():
        if first < wavelength < last:
            axes.plot([wavelength] * 2, [bottom - 0.03 * height, bottom + 0.03 * height], color="black", linewidth=0.8)
            side: Literal["left", "center", "right"] = "center"
            if wavelength - first < 0.03 * (last - first):
                side = "left"
            elif last - wavelength < 0.03 * (last - first):
                side = "right"
            axes.text(wavelength, bottom + 0.05 * height, name, va="bottom", ha=side)
