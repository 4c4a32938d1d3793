"""Figures of the stars and samples: histograms, Kiel diagram, cuts, statuses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from astropy.table import Table
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from apogaia.plots.captions import count_outside
from apogaia.plots.common import (
    COLUMN_WIDTH,
    FEW_STARS,
    LABELS,
    MODEL_COLOURS,
    PAGE_WIDTH,
    AxesLike,
    colour_bar,
    colour_stars,
    finite,
    limits,
    one_panel,
    panels,
    shared_bar,
    show_range,
    star_density,
)

SAMPLE_COLOURS = {"training": "#0072B2", "test": "#D55E00"}


def sample_histograms(
    training: Table, test: Table, *, snr_split: float | None = None, axes: AxesLike = None
) -> np.ndarray:
    """Numbers of stars by SNR, parallax, parallax SNR and luminosity in the training and test set (paper Figure 2).

    Parameters
    ----------
    training, test
        Rows of the star table: columns ``snr``, ``parallax``, ``parallax_error`` [mas], ``log_luminosity`` [dex].
    snr_split
        The SNR that parts the samples, which becomes an edge of the bins, as does a parallax of 0.
    axes
        Four axes, or None. The highest percent of the stars, and the lowest in a thousand, lie beyond the axes.
    """
    axes = panels(axes, 2, 2, PAGE_WIDTH, 4.2)
    samples = {"training": training, "test": test}
    columns = {
        name: {
            "snr": table["snr"],
            "parallax": table["parallax"],
            "parallax_snr": np.asarray(table["parallax"]) / np.asarray(table["parallax_error"]),
            "log_luminosity": table["log_luminosity"],
        }
        for name, table in samples.items()
    }
    edge = {"snr": snr_split, "parallax": 0.0, "parallax_snr": 0.0}
    for panel, quantity in zip(axes.flat, columns["training"], strict=True):
        values = {name: finite(columns[name][quantity])[0] for name in samples}
        numbers_of_both = np.concatenate(list(values.values()))
        edges = histogram_edges(numbers_of_both, edge.get(quantity))
        for name, numbers in values.items():
            label = f"{name}: {len(samples[name]):,} stars"
            if quantity == "snr" and numbers.size:
                label += f", median SNR {np.median(numbers):.0f}"
            colour = SAMPLE_COLOURS[name]
            panel.hist(numbers, edges, histtype="stepfilled", color=colour, alpha=0.25)
            panel.hist(numbers, edges, histtype="step", color=colour, linewidth=1.2, label=label)
        panel.set(xlabel=LABELS[quantity], ylabel="number of stars")
        count_outside(panel, numbers_of_both, x_range=(edges[0], edges[-1]))
        show_range(panel, x=(edges[0], edges[-1]))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    axes[0, 0].figure.legend(handles, labels, loc="outside upper center", ncols=2)
    return axes


def histogram_edges(values: np.ndarray, edge: float | None) -> np.ndarray:
    """Edges of equal bins from the lowest 0.1 % to the highest 1 % of the values; one of them is `edge`."""
    low, high = limits(values, 0.1)[0], limits(values, 1.0)[1]
    step = (high - low) / (60 if values.size > FEW_STARS else 20)
    edge = low if edge is None or not low <= edge <= high else edge
    first = edge - step * np.ceil((edge - low) / step)
    return first + step * np.arange(np.ceil((high - first) / step) + 1)


def kiel_diagram(
    teff: np.ndarray,
    logg: np.ndarray,
    values: np.ndarray | None = None,
    *,
    label: str = LABELS["fe_h"],
    value_limits: tuple[float, float] | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Teff [K] decreasing to the right, log g [dex] downwards; coloured by the number of stars or by `values`.

    `label` names `values` with their unit; the colours span `value_limits`, by default the inner 98 % of the values.
    """
    axes = one_panel(axes, COLUMN_WIDTH, 2.9)
    if values is None:
        teff, logg = finite(teff, logg)
        edges = np.linspace(*limits(teff, 0.05), 151), np.linspace(*limits(logg, 0.05), 151)
        mappable = star_density(axes, teff, logg, *edges)
        label = "stars per pixel"
    else:
        teff, logg, values = finite(teff, logg, values)
        mappable = colour_stars(axes, teff, logg, values, Normalize(*(value_limits or limits(values))))
        label = f"median {label}" if len(teff) > FEW_STARS else label
    if mappable is not None:
        colour_bar(mappable, axes, label)
    show_kiel_range(axes, teff, logg)
    return axes


def kiel_diagrams(
    samples: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    *,
    label: str = LABELS["fe_h"],
    value_limits: tuple[float, float] | None = None,
    axes: AxesLike = None,
) -> np.ndarray:
    """Kiel diagrams beside each other, on the same axes and colour scale, as `kiel_diagram`.

    Parameters
    ----------
    samples
        By title: Teff [K], log g [dex] and the values of each star.
    label, value_limits
        As for `kiel_diagram`; by default the colours span the inner 98 % of the values of all samples.
    axes
        As many axes, or None.
    """
    axes = panels(axes, 1, len(samples), PAGE_WIDTH, 3.0, sharex=True, sharey=True).ravel()
    stars = {title: finite(*columns) for title, columns in samples.items()}
    teff, logg, values = (np.concatenate(column) for column in zip(*stars.values(), strict=True))
    norm = Normalize(*(value_limits or limits(values)))
    drawn, ranges = [], (limits(teff, 0.05), limits(logg, 0.05))
    for panel, (title, (x, y, colour)) in zip(axes, stars.items(), strict=True):
        drawn.append(colour_stars(panel, x, y, colour, norm, ranges=ranges))
        panel.set_title(f"{title}, {len(x):,} stars")
        show_kiel_range(panel, teff, logg)
        count_outside(panel, x, y, *ranges)
    for panel in axes[1:]:
        panel.set_ylabel("")
    binned = any(len(columns[0]) > FEW_STARS for columns in stars.values())
    shared_bar(drawn, axes, f"median {label}" if binned else label)
    return axes


def show_kiel_range(axes: Axes, teff: np.ndarray, logg: np.ndarray) -> None:
    """Label the axes, turn them to the Kiel diagram's directions, and count the stars beyond them."""
    ranges = limits(teff, 0.05), limits(logg, 0.05)
    axes.set(xlabel=LABELS["teff"], ylabel=LABELS["logg"])
    count_outside(axes, teff, logg, *ranges)
    show_range(axes, *ranges)
    axes.set(xlim=axes.get_xlim()[::-1], ylim=axes.get_ylim()[::-1])


def cut_flow(flow: Table, axes: Axes | None = None) -> Axes:
    """Draw the stars that survive each cut, a bar per row of `flow` (`apogaia.reduction.quality_cuts.cut_flow`)."""
    samples = [str(sample).replace("_", " ") for sample in flow["sample"]]
    names = [
        str(name) if sample == "all" else f"{sample}: {name}"
        for sample, name in zip(samples, flow["name"], strict=True)
    ]
    surviving = np.asarray(flow["surviving"], dtype=int)
    removed = np.asarray(flow["removed"], dtype=int)
    axes = one_panel(axes, PAGE_WIDTH, 0.7 + 0.24 * max(len(names), 3))
    rows = np.arange(len(names))
    axes.barh(rows, surviving, height=0.7, color=MODEL_COLOURS["constant"])
    axes.barh(rows, removed, left=surviving, height=0.7, color="#D9DEE3")
    longest = max(int((surviving + removed).max(initial=0)), 1)
    for row, (left, gone) in enumerate(zip(surviving, removed, strict=True)):
        text = f"{left:,}" if gone == 0 else f"{left:,}  (−{gone:,})"
        axes.text(left + gone + 0.01 * longest, row, text, va="center")
    axes.set_yticks(rows, names)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set(xlabel="number of stars that survive (blue) and that the cut removes (grey)", xlim=(0, 1.32 * longest))
    axes.set_ylim(max(len(names), 1) - 0.4, -0.6)
    return axes


def status_bars(counts: Mapping[str, int], axes: Axes | None = None) -> Axes:
    """Number of stars per reason, as ``{"ok": 7801, "no file": 12, ...}``, on a logarithmic axis; zeros stay empty."""
    axes = one_panel(axes, PAGE_WIDTH, 0.7 + 0.24 * max(len(counts), 3))
    rows = np.arange(len(counts))
    numbers = np.array(list(counts.values()), dtype=int)
    axes.barh(rows[numbers > 0], numbers[numbers > 0], height=0.7, color=MODEL_COLOURS["constant"])
    for row, number in enumerate(numbers):
        axes.text(max(number, 0.5) * 1.15, row, f"{number:,}", va="center")
    axes.set_xscale("log")
    axes.set_xlim(0.5, 8 * max(numbers.max(initial=1), 10))
    axes.set_ylim(max(len(counts), 1) - 0.4, -0.6)
    axes.set_yticks(rows, list(counts))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("number of stars")
    return axes
