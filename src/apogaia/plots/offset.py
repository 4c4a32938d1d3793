"""Figures of training and of the parallax zero point (offset = Gaia minus true parallax, negative)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Ellipse

from apogaia.physics.literature import LITERATURE, LiteratureZeroPoint, QuadraticSummary
from apogaia.plots.common import (
    COLUMN_WIDTH,
    FEW_STARS,
    LABELS,
    MODEL_COLOURS,
    MODEL_LABELS,
    PAGE_WIDTH,
    POINT_COLOUR,
    TRUTH_COLOUR,
    AxesLike,
    colour_bar,
    colour_stars,
    finite,
    legend_above,
    limits,
    one_panel,
    panels,
    readable_decades,
    running_median,
    show_range,
    star_density,
)

OFFSET_LABEL = r"$\varpi_\mathrm{offset}$ [$\mathrm{\mu as}$]"

FIGURE_4_REGIONS = tuple(entry for entry in LITERATURE if entry.name in ("quasars", "Cepheids", "eclipsing binaries"))
ELLIPSE_STYLES = (("#D55E00", "-"), ("#CC79A7", "--"), ("#000000", "-."))


def fit_residuals(residuals: Mapping[str, Sequence[Mapping]], axes: AxesLike = None) -> np.ndarray:
    """Mean residuals of the refit's parallaxes in bins of each quantity, with what is expected of them.

    Parameters
    ----------
    residuals
        What `apogaia.zero_point.refit_zero_point.residuals_by` gives: by quantity, a list of bins.
    axes
        A panel for each quantity, or None.
    """
    if axes is None:
        rows, columns = -(-len(residuals) // 4), min(len(residuals), 4)
        axes = panels(None, rows, columns, PAGE_WIDTH, 2.1 * rows).ravel()
        for spare in axes[len(residuals) :]:
            spare.remove()
        axes = axes[: len(residuals)]
        for panel in axes[::columns]:
            panel.set_ylabel(r"mean residual [$\mathrm{\mu as}$]")
    axes = np.ravel(np.asarray(axes, dtype=object))
    for panel, (quantity, bins) in zip(axes, residuals.items(), strict=True):
        middle, mean, error, low, high = (
            np.array([one[name] for one in bins], float) for name in ("middle", "mean_uas", "error_uas", "low", "high")
        )
        panel.axhline(0, color="black", linewidth=0.5, linestyle=":")
        panel.errorbar(middle, mean, error, [middle - low, high - middle], fmt="o", markersize=3, linewidth=0.8)
        panel.set_xlabel(LABELS[quantity])
        if quantity == "snr":
            panel.set_xscale("log")
            readable_decades(panel.xaxis, (1, 3))  # more labels would touch
    every = [bound for panel in axes for bound in panel.get_ylim()]
    for panel in axes:  # on one scale, so that what stands out does
        panel.set_ylim(min(every), max(every))
    return axes


def learning_curves(
    histories: Mapping[str, Mapping], *, truth_uas: float | None = None, axes: AxesLike = None
) -> np.ndarray:
    """Loss, learning rate and, where recorded, the constant offset after each epoch.

    Parameters
    ----------
    histories
        For "none", "constant", "multivariate" (any of them) the values per epoch: ``loss``, ``val_loss``,
        ``learning_rate`` and optionally ``offset`` [mas], as `apogaia.model.training.train` returns them.
    truth_uas
        The injected constant offset [uas] of a simulated survey.
    axes
        Two axes, three with a recorded offset, or None.
    """
    with_offset = any(len(history.get("offset", ())) for history in histories.values())
    axes = panels(axes, 1, 2 + with_offset, PAGE_WIDTH, 2.5).ravel()
    for width, (offset, history) in zip((3.0, 2.0, 1.0), histories.items(), strict=False):
        colour = MODEL_COLOURS[offset]
        axes[0].plot(*epochs_and(history, "loss"), color=colour, label=MODEL_LABELS[offset])
        axes[0].plot(*epochs_and(history, "val_loss"), "--", color=colour)
        # equal rates stay visible beneath each other
        axes[1].plot(*epochs_and(history, "learning_rate"), color=colour, linewidth=width)
        if with_offset:
            epochs, zero_point = epochs_and(history, "offset")
            axes[2].plot(epochs, 1000 * zero_point, color=colour)
    axes[0].plot([], [], "--", color="#555555", label="validation")
    axes[0].set_ylabel("loss (solid), validation loss (dashed)")
    axes[1].set_ylabel("learning rate")
    axes[1].set_yscale("log")
    readable_decades(axes[1].yaxis)
    if with_offset:
        axes[2].set_ylabel(OFFSET_LABEL)
        if truth_uas is not None:
            axes[0].plot([], [], ":", color=TRUTH_COLOUR, label="injected offset")
            axes[2].axhline(truth_uas, color=TRUTH_COLOUR, linestyle=":")
    for panel in axes:
        panel.set_xlabel("epoch")
        panel.xaxis.get_major_locator().set_params(integer=True)
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    return axes


def epochs_and(history: Mapping, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Epochs from 1 and the values of `key` after each; both empty where it was not recorded."""
    values = np.asarray(history.get(key, ()), dtype=float)
    return np.arange(1, len(values) + 1), values


def parallax_difference(
    gaia_parallax: np.ndarray,
    nn_parallax_none: np.ndarray,
    nn_parallax_constant: np.ndarray,
    *,
    zero_point: float,
    axes: Axes | None = None,
) -> Axes:
    """Network minus Gaia parallax against Gaia parallax, without and with a constant offset (paper Figure 3).

    Parameters
    ----------
    gaia_parallax
        Catalogue parallaxes [mas].
    nn_parallax_none, nn_parallax_constant
        Network parallaxes [mas] of the models without offset and with a constant one.
    zero_point
        The constant offset [mas]: the second model is compared with ``gaia_parallax - zero_point``.
    """
    axes = one_panel(axes, PAGE_WIDTH, 3.4)
    differences = {
        "none": np.asarray(nn_parallax_none) - np.asarray(gaia_parallax),
        "constant": np.asarray(nn_parallax_constant) - (np.asarray(gaia_parallax) - zero_point),
    }
    x, points = finite(gaia_parallax, differences["constant"])
    first, last = limits(x, 0.5)
    axes.scatter(x, points, s=1 if x.size > FEW_STARS else 5, color=POINT_COLOUR, alpha=0.35, rasterized=True)
    edges = np.linspace(first, last, 41 if x.size > FEW_STARS else 13)
    middles = 0.5 * (edges[1:] + edges[:-1])
    for offset, difference in differences.items():
        median = running_median(gaia_parallax, difference, edges)
        axes.plot(middles, median, color="white", linewidth=3)
        axes.plot(middles, median, color=MODEL_COLOURS[offset], label=f"median, {MODEL_LABELS[offset]}")
    half_height = 1.3 * max(abs(limit) for limit in limits(points, 2.0))
    line_x = np.array([min(first, 0.0), min(half_height, last)])
    axes.plot(line_x, zero_point - line_x, color="#CC79A7", label=r"$\varpi_\mathrm{NN} = 0$")
    axes.axhline(0, color="black", linewidth=0.5, linestyle=":")
    axes.set(xlabel=LABELS["parallax"], ylabel=r"$\varpi_\mathrm{NN} - \varpi_\mathrm{Gaia}$ [mas]")
    show_range(axes, x=(first, last), y=(-half_height, half_height))
    legend_above(axes, 3)
    return axes


def offset_dependence(
    quantity: str,
    values: np.ndarray,
    zero_point_uas: np.ndarray,
    error_uas: np.ndarray,
    *,
    summaries: Mapping[str, QuadraticSummary] | None = None,
    truth_uas: np.ndarray | None = None,
    axes: Axes | None = None,
) -> Axes:
    """The multivariate offset against one of its inputs, coloured by its uncertainty (paper Figure 4, left).

    Parameters
    ----------
    quantity
        "g_mag", "bp_rp" or "teff".
    values
        That quantity of each star [mag, mag, K].
    zero_point_uas, error_uas
        Offset of each star and its uncertainty [uas].
    summaries
        Label and `apogaia.physics.literature.QuadraticSummary` of curves to draw over their ranges: ours, the paper's.
    truth_uas
        The injected offset of each star of a simulated survey [uas]; its running median is drawn.
    """
    axes = one_panel(axes, COLUMN_WIDTH, 2.7)
    x, offset, error = finite(values, zero_point_uas, error_uas)
    mappable = colour_stars(axes, x, offset, error, Normalize(*limits(error, 2.0)), "cividis")
    colour_bar(mappable, axes, r"uncertainty [$\mathrm{\mu as}$]")
    first, last = limits(x, 0.5)
    for style, (label, summary) in zip(("-", "--", "-."), (summaries or {}).items(), strict=False):
        grid = np.linspace(max(first, summary.x_range[0]), min(last, summary.x_range[1]), 200)
        axes.plot(grid, summary.zero_point_uas(grid), color="white", linewidth=3)
        axes.plot(grid, summary.zero_point_uas(grid), style, color="#D55E00", label=label)
    if truth_uas is not None:
        edges = np.linspace(first, last, 26 if x.size > FEW_STARS else 9)
        median = running_median(values, truth_uas, edges)
        axes.plot(
            0.5 * (edges[1:] + edges[:-1]), median, ":", color=TRUTH_COLOUR, linewidth=1.8, label="truth (median)"
        )
    axes.set(xlabel=LABELS[quantity], ylabel=OFFSET_LABEL)
    low, high = limits(offset, 0.2)
    if truth_uas is not None and np.isfinite(median).any():  # the truth in full, wherever the stars are
        low, high = min(low, np.nanmin(median)), max(high, np.nanmax(median))
    show_range(axes, x=(first, last), y=(low - 0.1 * (high - low), high + 0.1 * (high - low)))
    if quantity == "teff":
        axes.invert_xaxis()
    legend_above(axes, 3)
    return axes


def offset_map(
    quantity: str,
    values: np.ndarray,
    g_mag: np.ndarray,
    zero_point_uas: np.ndarray,
    *,
    literature: Sequence[LiteratureZeroPoint] = FIGURE_4_REGIONS,
    axes: Axes | None = None,
) -> Axes:
    """The multivariate offset [uas] over `quantity` ("bp_rp" or "teff") and G (paper Figure 4, right).

    Ellipses show roughly where the objects behind zero points in the literature are; the legend gives those [uas].
    """
    axes = one_panel(axes, COLUMN_WIDTH, 3.0)
    x, g, offset = finite(values, g_mag, zero_point_uas)
    mappable = colour_stars(axes, x, g, offset, Normalize(*limits(offset, 2.0)))
    colour_bar(mappable, axes, OFFSET_LABEL)
    x_range, g_range = list(limits(x, 0.1)), list(limits(g, 0.1))
    for (colour, style), entry in zip(cycle(ELLIPSE_STYLES), literature):
        (left, right), (bright, faint) = getattr(entry, quantity), entry.g_mag
        if not np.isfinite([left, right]).all():
            continue
        middle = 0.5 * (left + right), 0.5 * (bright + faint)
        ellipse = Ellipse(middle, right - left, faint - bright, fill=False, edgecolor=colour, linestyle=style)
        ellipse.set(linewidth=1.2)
        axes.add_patch(ellipse)
        label = f"{entry.name} {entry.value_uas:g}".replace("-", "−")
        axes.plot([], [], linestyle=style, color=colour, label=label)
        x_range += [left, right]
        g_range += [bright, faint]
    axes.set(xlabel=LABELS[quantity], ylabel=LABELS["g_mag"])
    show_range(axes, (min(x_range), max(x_range)), (min(g_range), max(g_range)))
    axes.invert_yaxis()
    if quantity == "teff":
        axes.invert_xaxis()
    legend_above(axes, 2)
    return axes


def distance_comparison(dist_constant: np.ndarray, dist_multivariate: np.ndarray, axes: AxesLike = None) -> np.ndarray:
    """Distances [pc] of the models with constant and multivariate offset, and their difference (paper Figure 5).

    `axes`: two axes, the comparison and the difference below it, or None.
    """
    constant, multivariate = (array / 1000 for array in finite(dist_constant, dist_multivariate))
    positive = (constant > 0) & (multivariate > 0)
    constant, multivariate = constant[positive], multivariate[positive]
    upper, lower = panels(axes, 2, 1, COLUMN_WIDTH, 4.2, sharex=True, height_ratios=(2.2, 1)).ravel()
    difference = 100 * (multivariate - constant) / constant
    first, last = limits(np.concatenate([constant, multivariate]), 0.05)
    first = max(first, last / 1e4)
    edges = np.geomspace(first, last, 121)
    half_height = max(5.0, 1.2 * max(abs(limit) for limit in limits(difference, 0.5)))
    upper.set(xscale="log", yscale="log", ylabel="multivariate offset: distance [kpc]")
    mappable = star_density(upper, constant, multivariate, edges, edges)
    star_density(lower, constant, difference, edges, np.linspace(-half_height, half_height, 81))
    upper.plot([first, last], [first, last], color="black", linewidth=0.8, linestyle=":")
    lower.axhline(0, color="black", linewidth=0.8, linestyle=":")
    medians = running_median(constant, difference, edges[::8])
    lower.plot(np.sqrt(edges[8::8] * edges[:-8:8]), medians, color="#D55E00", label="median")
    lower.set(xscale="log", xlabel="constant offset: distance [kpc]", ylabel="difference [%]")
    show_range(upper, (first, last), (first, last))
    show_range(lower, (first, last), (-half_height, half_height))
    for axis in (upper.xaxis, upper.yaxis, lower.xaxis):
        readable_decades(axis)
    if mappable is not None:
        colour_bar(mappable, upper, "stars per pixel")
    legend_above(lower, 1)
    return np.array([upper, lower])
