"""Figures of the simulated survey: what was put in, beside the real thing where there is one."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.patches import Ellipse
from matplotlib.ticker import MultipleLocator

from apogaia.formats.pixel_grid import detector_slices, gap_delete, wavelength_solution
from apogaia.plots.common import (
    COLUMN_WIDTH,
    LABELS,
    PAGE_WIDTH,
    POINT_COLOUR,
    AxesLike,
    colour_bar,
    finite,
    limits,
    one_panel,
    panels,
    readable_decades,
    running_median,
    show_range,
    star_density,
)
from apogaia.plots.maps import HALO
from apogaia.plots.spectra import mark_lines
from apogaia.survey import MapsSettings

REAL_COLOUR, SIMULATED_COLOUR = "#000000", "#D55E00"
WINDOW_COLOUR, RESPONSE_COLOUR, LINE_COLOUR = "#56B4E9", "#000000", "#D55E00"
WAVELENGTH_LABEL = r"vacuum wavelength [$\mathrm{\AA}$]"
ELEMENT_NAMES = {"CI": "C I", "TiII": "Ti II"}


def spectrum_comparison(
    real: np.ndarray,
    simulated: np.ndarray,
    *,
    zoom: tuple[float, float],
    zoom_lines: Mapping[str, float],
    axes: AxesLike = None,
) -> np.ndarray:
    """A real and a simulated spectrum and their difference over the three detectors, and in a short stretch.

    Parameters
    ----------
    real, simulated
        Normalised flux, (7514,), NaN where it is not to be shown.
    zoom
        First and last wavelength of the fourth panel [vacuum Angstrom].
    zoom_lines
        Name and vacuum wavelength [Angstrom] of the lines to mark there; a name before a "#" may so occur twice.
    axes
        Four axes, or None.
    """
    axes = panels(axes, 4, 1, PAGE_WIDTH, 8.4).ravel()
    real, simulated = np.asarray(real, dtype=float), np.asarray(simulated, dtype=float)
    wavelengths = gap_delete(wavelength_solution())
    stretches = {f"{name} detector": part for name, part in detector_slices().items()}
    inside = np.flatnonzero((wavelengths > zoom[0]) & (wavelengths < zoom[1]))
    stretches[rf"{zoom[0]:.0f} to {zoom[1]:.0f} $\mathrm{{\AA}}$"] = slice(inside[0], inside[-1] + 1)
    shown = finite(np.concatenate([real, simulated]))[0]
    low, high = (shown.min(), shown.max()) if shown.size else (0.0, 1.0)
    height = (high - low) or 1.0
    level = low - 0.15 * height  # of the difference's zero
    for panel, (title, part) in zip(axes, stretches.items(), strict=True):
        width = 1.2 if panel is axes[3] else 0.6
        along = wavelengths[part]
        panel.plot(along, real[part], color=REAL_COLOUR, linewidth=width, label="real")
        panel.plot(along, simulated[part], color=SIMULATED_COLOUR, linewidth=width, label="simulated")
        panel.axhline(level, color="#999999", linewidth=0.5, zorder=0)
        difference = level + simulated[part] - real[part]
        panel.plot(along, difference, color=POINT_COLOUR, linewidth=width, label="simulated − real, shifted")
        panel.set(xlim=(along[0], along[-1]), title=title, ylabel="normalised flux")
        panel.set_ylim(level - 0.3 * height, high + (0.25 if panel is axes[3] else 0.04) * height)
    named = {name.split("#")[0] + " " * index: line for index, (name, line) in enumerate(zoom_lines.items())}
    mark_lines(axes[3], named, high + 0.05 * height, height)
    axes[3].tick_params(top=False)
    axes[3].set_xlabel(WAVELENGTH_LABEL)
    axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return axes


def sky_distribution(
    glon: np.ndarray, glat: np.ndarray, values: np.ndarray, *, label: str, axes: Axes | None = None
) -> Axes:
    """Stars in Galactic coordinates [deg], the centre in the middle and longitude rising to the left.

    The colours show `values` on a logarithmic scale; `label` names them with their unit.
    """
    axes = one_panel(axes, PAGE_WIDTH, 2.8, "compressed")
    glon, glat, values = finite(
        glon, glat, np.log10(values, where=np.asarray(values) > 0, out=np.full(len(values), np.nan))
    )
    low, high = limits(values)
    drawn = axes.scatter(
        (glon + 180) % 360 - 180, glat, s=2, c=10**values, norm=LogNorm(10**low, 10**high), rasterized=True
    )
    readable_decades(colour_bar(drawn, axes, label).ax.yaxis)
    axes.set(xlabel=r"Galactic longitude $l$ [deg]", ylabel=r"Galactic latitude $b$ [deg]", xlim=(180, -180))
    axes.xaxis.set_major_locator(MultipleLocator(60))
    axes.xaxis.set_major_formatter(lambda degrees, _: f"{degrees % 360:.0f}")
    axes.yaxis.set_major_locator(MultipleLocator(30))
    axes.grid(linewidth=0.4, color="#DDDDDD")
    axes.set_axisbelow(True)
    axes.set_ylim(*np.add((-5, 5), limits(glat, 0)))
    axes.set_aspect("equal")
    return axes


def galactic_distribution(
    x: np.ndarray, y: np.ndarray, z: np.ndarray, maps: MapsSettings, axes: AxesLike = None
) -> np.ndarray:
    """Where the stars are in the Galaxy: face on (x, y) and in cylindrical radius and height (R, z), all in kpc.

    `axes`: two axes, or None. `maps` gives the place of the Sun, at negative x, and the bar.
    """
    axes = panels(axes, 1, 2, PAGE_WIDTH, 3.3).ravel()
    x, y, z = finite(x, y, z)
    radius = np.hypot(x, y)
    sun = maps.sun_distance
    planes = ((x, y, LABELS["x_kpc"], LABELS["y_kpc"], -sun), (radius, z, "$R$ [kpc]", "$z$ [kpc]", sun))
    for panel, (right, up, x_label, y_label, place) in zip(axes, planes, strict=True):
        ranges = limits(right, 0.05), limits(up, 0.05)
        mappable = star_density(panel, right, up, *(np.linspace(*each, 121) for each in ranges))
        if mappable is not None:
            counts_bar(mappable, panel, above=True)
        panel.plot(place, 0, "o", color="white", markeredgecolor="black", markersize=4)
        panel.annotate("Sun", (place, 0), (5, -11), textcoords="offset points", path_effects=HALO)
        panel.set(xlabel=x_label, ylabel=y_label)
        show_range(panel, *ranges)
    bar = Ellipse(
        (0, 0),
        2 * maps.bar_half_length,
        2 * maps.bar_half_length * maps.bar_axis_ratio,
        angle=-maps.bar_angle,
        fill=False,
        linewidth=0.8,
        linestyle="--",
    )
    axes[0].add_patch(bar)
    axes[0].plot(0, 0, "+", color="black", markersize=6)
    axes[0].set_aspect("equal")
    return axes


def counts_bar(mappable: ScalarMappable, axes: Axes, *, above: bool = False) -> None:
    """A colour bar for `star_density`, whose numbers read 1, 10, 100."""
    bar = colour_bar(mappable, axes, "stars per pixel", above=above)
    readable_decades(bar.ax.xaxis if above else bar.ax.yaxis)


def positive_limits(values: np.ndarray, percent: float) -> tuple[float, float]:
    """`limits` of the positive values, for a logarithmic axis; 1 to 10 without any."""
    low, high = limits(np.log10(values[values > 0]), percent)
    return 10**low, 10**high


def abundance_trends(
    fe_h: np.ndarray,
    mg_fe: np.ndarray,
    radius: np.ndarray,
    mass: np.ndarray,
    c_n: np.ndarray,
    *,
    giant: np.ndarray,
    axes: AxesLike = None,
) -> np.ndarray:
    """The two sequences of [Mg/Fe], [Fe/H] across the disc, and the mass of giants in their [C/N].

    Parameters
    ----------
    fe_h, mg_fe, c_n
        Abundances at the surface [dex].
    radius
        Galactocentric cylindrical radius [kpc].
    mass
        [solar masses]
    giant
        Which stars are past the first dredge-up: shown in the third panel.
    axes
        Three axes, or None.
    """
    axes = panels(axes, 1, 3, PAGE_WIDTH, 2.7).ravel()
    giant = np.asarray(giant, dtype=bool)
    planes = (
        (fe_h, mg_fe, LABELS["fe_h"], "[Mg/Fe] [dex]"),
        (radius, fe_h, "$R$ [kpc]", LABELS["fe_h"]),
        (np.asarray(mass)[giant], np.asarray(c_n)[giant], r"mass of giants [$\mathrm{M}_\odot$]", "[C/N] [dex]"),
    )
    for panel, (x, y, x_label, y_label) in zip(axes, planes, strict=True):
        right, up = finite(x, y)
        ranges = limits(right, 0.2), limits(up, 0.2)
        mappable = star_density(panel, right, up, *(np.linspace(*each, 91) for each in ranges))
        if mappable is not None:
            counts_bar(mappable, panel, above=True)
        if panel is not axes[0]:
            edges = np.linspace(*ranges[0], 25)
            middle = (edges[1:] + edges[:-1]) / 2
            panel.plot(middle, running_median(right, up, edges, 20), color=SIMULATED_COLOUR, label="median")
            panel.legend(loc="upper right")
        panel.set(xlabel=x_label, ylabel=y_label)
        show_range(panel, *ranges)
    return axes


def parallax_errors(
    g_mag: np.ndarray,
    parallax_error: np.ndarray,
    typical: Callable[[np.ndarray], np.ndarray],
    *,
    limit: float = np.inf,
    axes: Axes | None = None,
) -> Axes:
    """Gaia's parallax error [mas] against G [mag].

    Parameters
    ----------
    g_mag, parallax_error
        Of each star.
    typical
        Function from G to the typical error [mas], drawn as a curve.
    limit
        The largest error that enters a sample [mas], marked; infinite for none.
    """
    axes = one_panel(axes, COLUMN_WIDTH * 1.4, 3.2)
    g_mag, error = finite(g_mag, parallax_error)
    ranges = limits(g_mag, 0.05), positive_limits(error, 0.05)
    edges = np.linspace(*ranges[0], 121), np.geomspace(*ranges[1], 121)
    mappable = star_density(axes, g_mag, error, *edges)
    if mappable is not None:
        counts_bar(mappable, axes)
    along = np.linspace(*ranges[0], 200)
    axes.plot(along, typical(along), color=SIMULATED_COLOUR, label="typical error")
    if np.isfinite(limit):
        axes.axhline(limit, color="black", linewidth=0.8, linestyle="--", label=f"cut: {limit:g} mas")
    axes.set_yscale("log")
    axes.set(xlabel=LABELS["g_mag"], ylabel=r"$\sigma_\varpi$ [mas]")
    show_range(axes, *ranges)
    readable_decades(axes.yaxis)
    axes.legend(loc="upper left")
    return axes


def cohort_histograms(
    h_mag: np.ndarray,
    snr: np.ndarray,
    bright_end: np.ndarray,
    faint_end: np.ndarray,
    *,
    split: float,
    axes: AxesLike = None,
) -> np.ndarray:
    """Numbers of stars by H [mag] and by SNR, for each bin of H in which the survey selects.

    Parameters
    ----------
    h_mag, snr
        Of each star.
    bright_end, faint_end
        Limits of the bin from which each star was drawn [mag].
    split
        The SNR that parts training and test set, marked.
    axes
        Two axes, or None.
    """
    axes = panels(axes, 1, 2, PAGE_WIDTH, 2.7).ravel()
    h_mag, snr, bright_end, faint_end = finite(h_mag, snr, bright_end, faint_end)
    bins = np.unique(np.stack([bright_end, faint_end], axis=1), axis=0) if h_mag.size else np.empty((0, 2))
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.92, len(bins)))
    first, last = limits(h_mag, 0.1)
    h_edges = np.arange(np.floor(10 * first), np.ceil(10 * last) + 1) / 10  # so that no bar straddles two bins
    snr_edges = np.geomspace(*positive_limits(snr, 0.1), 51)
    for (bright, faint), colour in zip(bins, colours, strict=True):
        mine = (bright_end == bright) & (faint_end == faint)
        name = f"{bright:g} to {faint:g}: {mine.sum():,}"
        axes[0].hist(h_mag[mine], h_edges, histtype="stepfilled", color=colour, alpha=0.8, label=name)
        axes[1].hist(snr[mine], snr_edges, histtype="step", color=colour, linewidth=1.4)
    axes[1].axvline(split, color="black", linewidth=0.8, linestyle="--", label=f"SNR {split:g}")
    axes[1].set_xscale("log")
    readable_decades(axes[1].xaxis)
    axes[0].set(xlabel="$H$ [mag]", ylabel="number of stars per 0.1 mag")
    axes[1].set(xlabel=LABELS["snr"], ylabel="number of stars per bin")
    axes[1].legend(loc="upper right")
    if len(bins):
        axes[0].figure.legend(
            *axes[0].get_legend_handles_labels(), title="bin of $H$ [mag]: stars", loc="outside upper center", ncols=5
        )
    return axes


def element_windows(
    windows: Mapping[str, np.ndarray],
    responses: Mapping[str, np.ndarray],
    lines: Mapping[str, np.ndarray],
    axes: AxesLike = None,
) -> np.ndarray:
    """Draw each element's window, the response of the flux to the element, and the positions of its atomic lines.

    Parameters
    ----------
    windows
        By element, (7514,) boolean.
    responses
        By element, (7514,) loss of flux per pixel as the abundance rises, in any unit: each row is scaled to its peak.
    lines
        By element, vacuum wavelengths [Angstrom].
    axes
        Three axes, one per detector, or None.
    """
    names = list(windows)
    if axes is None:
        widths = [part.stop - part.start for part in detector_slices().values()]
        axes = plt.subplots(
            1, 3, figsize=(PAGE_WIDTH, 1.0 + 0.36 * len(names)), layout="constrained", sharey=True, width_ratios=widths
        )[1]
    axes = panels(axes, 1, 3, PAGE_WIDTH, 8.0).ravel()
    wavelengths = gap_delete(wavelength_solution())
    for panel, (detector, pixels) in zip(axes, detector_slices().items(), strict=True):
        along = wavelengths[pixels]
        panel.set_xlim(along[0], along[-1])
        for row, name in enumerate(names):
            base = len(names) - 1 - row
            inside = np.asarray(windows[name], dtype=bool)[pixels]
            panel.fill_between(
                along, base + 0.62, base + 0.85, where=inside, step="mid", color=WINDOW_COLOUR, linewidth=0.7
            )
            peak = np.nanmax(np.abs(responses[name]), initial=0.0) or 1.0
            answer = np.clip(np.asarray(responses[name], dtype=float)[pixels] / peak, 0, 1)
            panel.plot(along, base + 0.6 * answer, color=RESPONSE_COLOUR, linewidth=0.5)
            here = [line for line in np.ravel(lines.get(name, ())) if along[0] < line < along[-1]]
            panel.vlines(here, base - 0.13, base - 0.02, color=LINE_COLOUR, linewidth=0.7)
        panel.set(title=f"{detector} detector", ylim=(-0.3, len(names)))
        panel.tick_params(axis="y", length=0)
        panel.tick_params(top=False, right=False)
    axes[0].set_yticks(np.arange(len(names))[::-1] + 0.3, [ELEMENT_NAMES.get(name, name) for name in names])
    axes[1].set_xlabel(WAVELENGTH_LABEL)
    handles = [
        plt.Rectangle((0, 0), 1, 1, color=WINDOW_COLOUR),
        plt.Line2D([], [], color=RESPONSE_COLOUR, linewidth=0.8),
        plt.Line2D([], [], color=LINE_COLOUR, marker="|", linestyle="none"),
    ]
    labels = ["window", "loss of flux as the element rises (scaled to its peak)", "atomic line"]
    axes[0].figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return axes
