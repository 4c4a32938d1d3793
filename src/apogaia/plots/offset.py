"""Figures of training and of the parallax zero point (offset = Gaia minus true parallax, negative)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Ellipse, Rectangle

from apogaia.physics.literature import LITERATURE, LiteratureZeroPoint, QuadraticSummary
from apogaia.physics.luminosity import robust_scatter
from apogaia.plots.captions import count_outside
from apogaia.plots.common import (
    COLUMN_WIDTH,
    FEW_STARS,
    HALO,
    LABELS,
    MODEL_COLOURS,
    MODEL_LABELS,
    PAGE_WIDTH,
    POINT_COLOUR,
    TRUTH_COLOUR,
    AxesLike,
    binned,
    colour_stars,
    common_scale,
    finite,
    legend_above,
    legend_of_panels,
    limits,
    one_panel,
    panels,
    readable_decades,
    running_median,
    shared_bar,
    show_range,
    star_density,
)

OFFSET_LABEL = r"$\varpi_\mathrm{offset}$ [$\mathrm{\mu as}$]"

PAPER_COLOUR = "#7B3294"
BOX_COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7", "#F0E442", "#999999")
APART = 1.05  # factor between equal learning rates
BOX_HALF_HEIGHT = 4.0  # uas, of a published value without an error: thick enough to be seen
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
        panel.tick_params(labelleft=bool(panel.get_ylabel()) or panel is axes[0])
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
    for turn, (offset, history) in enumerate(histories.items()):
        colour = MODEL_COLOURS[offset]
        axes[0].plot(*epochs_and(history, "loss"), color=colour, label=MODEL_LABELS[offset])
        axes[0].plot(*epochs_and(history, "val_loss"), "--", color=colour)
        epochs, rate = epochs_and(history, "learning_rate")
        axes[1].plot(epochs, APART**turn * rate, color=colour)  # equal rates would hide each other
        if with_offset:
            epochs, zero_point = epochs_and(history, "offset")
            axes[2].plot(epochs, 1000 * zero_point, color=colour)
    axes[0].plot([], [], "--", color="#555555", label="validation")
    axes[0].set_ylabel("loss (solid), validation loss (dashed)")
    axes[1].set_ylabel("learning rate")
    axes[1].set_yscale("log")
    readable_decades(axes[1].yaxis)
    if with_offset:
        axes[2].set_ylabel(f"constant {OFFSET_LABEL}")
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
    ranges = limits(x, 0.5), limits(points, 1.0)
    many = x.size > FEW_STARS
    size, alpha = (1, 0.35) if many else (5, 0.6)
    axes.scatter(x, points, s=size, color=POINT_COLOUR, alpha=alpha, rasterized=True)
    axes.plot([], [], "o", color=POINT_COLOUR, markersize=3, label="test stars, constant offset")
    edges, fewest = np.linspace(*ranges[0], 41 if many else 13), 20 if many else 5
    middles = 0.5 * (edges[1:] + edges[:-1])
    for offset, difference in differences.items():
        colour = MODEL_COLOURS[offset]
        median = running_median(gaia_parallax, difference, edges, fewest)
        known_x, known_y = finite(gaia_parallax, difference)
        error = binned(known_x, known_y, edges, error_of_median, fewest)
        axes.fill_between(middles, median - error, median + error, color=colour, alpha=0.3, linewidth=0)
        axes.plot(middles, median, color=colour, label=f"median, {MODEL_LABELS[offset]}")
    line_x = np.linspace(*ranges[0], 2)
    axes.plot(line_x, zero_point - line_x, color="#CC79A7", label=r"$\varpi_\mathrm{NN} = 0$")
    axes.axhline(0, color="black", linewidth=0.5, linestyle=":")
    difference = r"$\varpi_\mathrm{NN} - (\varpi_\mathrm{Gaia} - \varpi_\mathrm{offset})$ [mas]"
    axes.set(xlabel=LABELS["parallax"], ylabel=difference)
    count_outside(axes, x, points, *ranges)
    show_range(axes, *ranges)
    legend_above(axes, 4)
    return axes


def error_of_median(values: np.ndarray) -> float:
    """Standard error of the median of values with Gaussian errors."""
    return float(np.sqrt(np.pi / 2 / len(values)) * robust_scatter(values))


def offset_dependence(
    quantities: Mapping[str, np.ndarray],
    zero_point_uas: np.ndarray,
    error_uas: np.ndarray,
    *,
    summaries: Mapping[str, Mapping[str, QuadraticSummary]] | None = None,
    truth_uas: np.ndarray | None = None,
    literature: Sequence[LiteratureZeroPoint] = LITERATURE,
    axes: AxesLike = None,
) -> np.ndarray:
    """The multivariate offset against each of its inputs, coloured by its uncertainty (paper Figure 4, left).

    Parameters
    ----------
    quantities
        "g_mag", "bp_rp", "teff" (any of them) of each star [mag, mag, K]: a panel each.
    zero_point_uas, error_uas
        Offset of each star and its uncertainty [uas].
    summaries
        By label, such as "this work" and "paper", and by quantity: curves to draw over their ranges.
    truth_uas
        The injected offset of each star of a simulated survey [uas]; its running median is drawn.
    literature
        Zero points of other works, drawn as boxes over the range of their stars.
    axes
        As many axes, or None.
    """
    axes = panels(axes, 1, len(quantities), PAGE_WIDTH, 3.8, sharey=True).ravel()
    norm = Normalize(*limits(error_uas, 2.0))
    drawn, medians = [], []
    for panel, (quantity, values) in zip(axes, quantities.items(), strict=True):
        x, offset, error = finite(values, zero_point_uas, error_uas)
        x_range, y_range = limits(x, 0.5), limits(offset, 0.2)
        drawn.append(colour_stars(panel, x, offset, error, norm, "cividis", ranges=(x_range, y_range), pixels=(70, 80)))
        for style, colour, (label, curves) in zip(
            ("-", "--", "-."), ("#D55E00", PAPER_COLOUR, "#000000"), (summaries or {}).items(), strict=False
        ):
            if curve := curves.get(quantity):
                grid = np.linspace(max(x_range[0], curve.x_range[0]), min(x_range[1], curve.x_range[1]), 200)
                panel.plot(grid, curve.zero_point_uas(grid), style, color=colour, label=label, path_effects=HALO)
        if truth_uas is not None:
            edges = np.linspace(*x_range, 26 if x.size > FEW_STARS else 9)
            medians.append(running_median(values, truth_uas, edges))
            middles = 0.5 * (edges[1:] + edges[:-1])
            panel.plot(middles, medians[-1], ":", color=TRUTH_COLOUR, linewidth=1.8, label="truth, running median")
        draw_boxes(panel, quantity, x_range, literature)
        panel.set_xlabel(LABELS[quantity])
        count_outside(panel, x, offset, x_range, y_range)
        show_range(panel, x_range)
        if quantity == "teff":
            panel.invert_xaxis()
    # the truth and the published values in full, wherever the stars are
    shown = [limits(zero_point_uas, 0.2), *([limits(np.concatenate(medians), 0)] if medians else [])]
    shown += [(one.value_uas, one.value_uas) for one in literature]
    low, high = min(low for low, _ in shown), max(high for _, high in shown)
    show_range(axes[0], y=(low - 0.05 * (high - low), high + 0.05 * (high - low)))
    axes[0].set_ylabel(OFFSET_LABEL)
    shared_bar(drawn, axes, r"uncertainty [$\mathrm{\mu as}$]")
    legend_of_panels(axes, 2)
    return axes


def draw_boxes(
    axes: Axes, quantity: str, shown: tuple[float, float], literature: Sequence[LiteratureZeroPoint]
) -> None:
    """Shade the zero points of other works over the range of their stars, where any of it is `shown`."""
    for colour, one in zip(cycle(BOX_COLOURS), literature):
        low, high = getattr(one, quantity)
        left, right = max(low, shown[0]), min(high, shown[1])
        if right - left > 0.05 * (shown[1] - shown[0]):  # and not a sliver at the edge
            half = one.error_uas if np.isfinite(one.error_uas) else BOX_HALF_HEIGHT
            box = Rectangle((left, one.value_uas - half), right - left, 2 * half, facecolor=colour, alpha=0.4)
            box.set(edgecolor=colour, linewidth=0.8, label=value_and_source(one))
            axes.add_patch(box)


def value_and_source(one: LiteratureZeroPoint) -> str:
    """For a legend: which stars, value, error and reference."""
    error = f" ± {one.error_uas:g}" if np.isfinite(one.error_uas) else ""
    value = f"{one.value_uas:g}{error}".replace("-", "−")
    return f"{one.name}: {value} µas, {one.reference}"


def offset_map(
    quantities: Mapping[str, np.ndarray],
    g_mag: np.ndarray,
    zero_point_uas: np.ndarray,
    *,
    literature: Sequence[LiteratureZeroPoint] = FIGURE_4_REGIONS,
    axes: AxesLike = None,
) -> np.ndarray:
    """The multivariate offset [uas] over G and each of "bp_rp" and "teff" (paper Figure 4, right).

    Ellipses show roughly where the objects behind zero points in the literature are; the legend gives those.

    Parameters
    ----------
    quantities
        BP-RP [mag] and Teff [K] of each star, by name: a panel each.
    g_mag, zero_point_uas
        G [mag] and offset [uas] of each star.
    literature
        Whose ellipses are drawn.
    axes
        As many axes, or None.
    """
    axes = panels(axes, 1, len(quantities), PAGE_WIDTH, 3.3, sharey=True).ravel()
    norm, drawn = Normalize(*limits(zero_point_uas, 2.0)), []
    for panel, (quantity, values) in zip(axes, quantities.items(), strict=True):
        x, g, offset = finite(values, g_mag, zero_point_uas)
        x_range, g_range = list(limits(x, 0.1)), list(limits(g, 0.1))
        for (colour, style), entry in zip(cycle(ELLIPSE_STYLES), literature):
            (left, right), (bright, faint) = getattr(entry, quantity), entry.g_mag
            middle = 0.5 * (left + right), 0.5 * (bright + faint)
            ellipse = Ellipse(middle, right - left, faint - bright, fill=False, edgecolor=colour, linestyle=style)
            ellipse.set(linewidth=1.2)
            panel.add_patch(ellipse)
            panel.plot([], [], linestyle=style, color=colour, label=value_and_source(entry))
            x_range += [left, right]
            g_range += [bright, faint]
        ranges = (min(x_range), max(x_range)), (min(g_range), max(g_range))
        drawn.append(colour_stars(panel, x, g, offset, norm, ranges=ranges, pixels=(100, 90)))
        panel.set_xlabel(LABELS[quantity])
        count_outside(panel, x, g, *ranges)
        show_range(panel, *ranges)
        if quantity == "teff":
            panel.invert_xaxis()
    axes[0].set_ylabel(LABELS["g_mag"])
    axes[0].invert_yaxis()
    shared_bar(drawn, axes, OFFSET_LABEL)
    legend_of_panels(axes, 2)
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
    low, high = (min(limits(difference, 0.5)[0], -2.0), max(limits(difference, 0.5)[1], 2.0))
    upper.set(xscale="log", yscale="log", ylabel="multivariate offset: distance [kpc]")
    mappable = star_density(upper, constant, multivariate, edges, edges)
    below = star_density(lower, constant, difference, edges, np.linspace(low, high, 61))
    upper.plot([first, last], [first, last], color="black", linewidth=0.8, linestyle=":")
    lower.axhline(0, color="black", linewidth=0.8, linestyle=":")
    medians = running_median(constant, difference, edges[::8])
    lower.plot(np.sqrt(edges[8::8] * edges[:-8:8]), medians, color="#D55E00", label="median")
    lower.set(xscale="log", xlabel="constant offset: distance [kpc]", ylabel="difference [%]")
    for panel, y, y_range in ((upper, multivariate, (first, last)), (lower, difference, (low, high))):
        count_outside(panel, constant, y, (first, last), y_range)
        show_range(panel, (first, last), y_range)
    for axis in (upper.xaxis, upper.yaxis, lower.xaxis):
        readable_decades(axis)
    shared_bar(common_scale([mappable, below]), np.array([upper, lower]), "stars per pixel")
    lower.legend(loc="lower left")
    return np.array([upper, lower])
