"""Figures of distances beside other catalogues' (the paper's Figure 9), and of zero points beside published ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from apogaia.distances.comparisons import Pair
from apogaia.physics.literature import FIELD_FLOOR_UAS, PublishedZeroPoint
from apogaia.plots.common import (
    COLUMN_WIDTH,
    LABELS,
    PAGE_WIDTH,
    AxesLike,
    legend_of_panels,
    literal,
    one_panel,
    one_to_one,
    panels,
    readable_decades,
)

LOGARITHMIC = ("dist_kpc", "snr")
MARKERS = "osD^vP*"
OFFSET_LABEL = "median offset [%]"
SCATTER_LABEL = "robust scatter [%]"
X_LABELS = {"dist_kpc": "mean of both distances [kpc]", "logg": LABELS["logg"], "snr": LABELS["snr"]}


def distance_pair(pair: Pair, numbers: Mapping[str, Any], *, axes: Axes | None = None) -> Axes:
    """Distances against those of another catalogue, with the median and scatter of the difference (paper Figure 9).

    `numbers` is what `Pair.numbers` gives.
    """
    axes = one_panel(axes, COLUMN_WIDTH, 3.1)
    dist, reference = pair.dist / 1000, pair.reference / 1000
    one_to_one(axes, reference, dist, share=0.5, pixels=80)
    axes.set_title(
        f"{literal(pair.reference_title)}, {numbers['stars']:,} stars\n"
        + signed(f"offset {numbers['median_offset_percent']:+.1f} ± {numbers['median_offset_error']:.1f} %\n")
        + f"scatter {numbers['robust_scatter_percent']:.1f} ± {numbers['robust_scatter_error']:.1f} %"
    )
    axes.set(xlabel="catalogue [kpc]", ylabel=f"{literal(pair.title)} [kpc]")
    return axes


def distance_pairs(pairs: Sequence[tuple[Pair, Mapping[str, Any]]], axes: AxesLike = None) -> np.ndarray:
    """`distance_pair` for each catalogue, three in a row; `axes`: as many axes, or None."""
    if axes is None:
        rows = max(1, -(-len(pairs) // 3))
        axes = panels(None, rows, 3, PAGE_WIDTH, 2.65 * rows).ravel()
        for left_over in axes[len(pairs) :]:
            left_over.set_axis_off()
    axes = np.ravel(np.asarray(axes, dtype=object))
    for panel, (pair, numbers) in zip(axes, pairs, strict=False):
        distance_pair(pair, numbers, axes=panel)
    return axes


def offsets_by(compared: Mapping[str, Mapping[str, Sequence[Mapping]]], axes: AxesLike = None) -> np.ndarray:
    """Median offset and robust scatter against distance, log g and SNR, one line a catalogue.

    Parameters
    ----------
    compared
        By the catalogue's title, what `Pair.agreement_by` gives.
    axes
        Six axes, or None.
    """
    axes = panels(axes, 2, 3, PAGE_WIDTH, 4.4)
    for (title, by), marker in zip(compared.items(), cycle(MARKERS)):
        for column, (quantity, label) in enumerate(X_LABELS.items()):
            bins = by.get(quantity, ())
            for row, name in enumerate(("median_offset", "robust_scatter")):
                middle, value, error = (
                    np.array([one[key] for one in bins], float)
                    for key in ("middle", f"{name}_percent", f"{name}_error")
                )
                panel = axes[row, column]
                panel.errorbar(middle, value, error, marker=marker, markersize=3, linewidth=0.8, label=literal(title))
                panel.set_xlabel(label)
    for column, quantity in enumerate(X_LABELS):
        for panel in axes[:, column]:
            if quantity in LOGARITHMIC:
                panel.set_xscale("log")
                readable_decades(panel.xaxis)
        axes[0, column].axhline(0, color="black", linewidth=0.5, linestyle=":")
        axes[1, column].set_ylim(bottom=0)
    for row in axes:  # on one scale, so that the panels can be compared
        every = [bound for panel in row for bound in panel.get_ylim()]
        for panel in row:
            panel.set_ylim(min(every), max(every))
            panel.tick_params(labelleft=panel is row[0])
    axes[0, 0].set_ylabel(OFFSET_LABEL)
    axes[1, 0].set_ylabel(SCATTER_LABEL)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if handles:
        axes[0, 0].figure.legend(handles, labels, loc="outside upper center", ncols=4)
    return axes


def injected_and_found(found: Mapping[str, Mapping[str, float]], axes: AxesLike = None) -> np.ndarray:
    """Offsets and shares of contaminants of a simulated survey's catalogues, found minus put in.

    Parameters
    ----------
    found
        By the catalogue's title: offset_percent, offset_error, contaminants_percent, contaminants_error, and what was
        put in, injected_offset_percent and injected_contaminants_percent, with injected_contaminants_error, by which
        the number drawn differs from the share.
    axes
        Two axes, or None.
    """
    axes = panels(axes, 1, 2, PAGE_WIDTH, 0.9 + 0.22 * max(len(found), 1)).ravel()
    places = np.arange(len(found))[::-1]
    for panel, name, label in zip(axes, ("offset", "contaminants"), ("offset", "contaminants"), strict=True):
        difference = [one[f"{name}_percent"] - one[f"injected_{name}_percent"] for one in found.values()]
        error = [np.hypot(one[f"{name}_error"], one.get(f"injected_{name}_error", 0.0)) for one in found.values()]
        panel.axvline(0, color="black", linewidth=0.5, linestyle=":")
        panel.errorbar(difference, places, xerr=error, fmt="o", markersize=3, linewidth=0.8)
        panel.set_xlabel(f"{label}: found − put in [%]")
        panel.set_yticks(places, [literal(title) for title in found])
        panel.set_ylim(-0.7, len(found) - 0.3)
    axes[1].set_yticklabels([])
    return axes


def pair_figure(pair: Pair, numbers: Mapping[str, Any]) -> np.ndarray:
    """One comparison by itself: the distances, and median offset and scatter by distance, log g and SNR."""
    figure = plt.figure(figsize=(PAGE_WIDTH, 5.4), layout="constrained")
    axes = figure.subplots(2, 2)
    distance_pair(pair, numbers, axes=axes[0, 0])
    for panel, (quantity, label) in zip(axes.flat[1:], X_LABELS.items(), strict=True):
        bins = numbers["by"].get(quantity, ())
        for name, title, marker in (
            ("median_offset", OFFSET_LABEL, "o"),
            ("robust_scatter", SCATTER_LABEL, "s"),
        ):
            middle, value, error = (
                np.array([one[key] for one in bins], float) for key in ("middle", f"{name}_percent", f"{name}_error")
            )
            panel.errorbar(middle, value, error, marker=marker, markersize=3, linewidth=0.8, label=title)
        panel.axhline(0, color="black", linewidth=0.5, linestyle=":")
        panel.set_xlabel(label)
        panel.set_ylabel("per cent")
        if not bins:
            panel.text(0.5, 0.5, "too few stars with both", transform=panel.transAxes, ha="center")
        elif quantity in LOGARITHMIC:
            panel.set_xscale("log")
            readable_decades(panel.xaxis)
    handles, labels = axes[0, 1].get_legend_handles_labels()
    axes[0, 1].legend(handles, labels, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, borderaxespad=0.2)
    return axes


def published_zero_points(
    published: Sequence[PublishedZeroPoint],
    ours: Mapping[str, tuple[float, float]],
    *,
    truth_uas: float | None = None,
    axes: Axes | None = None,
) -> Axes:
    """Zero points in the literature [uas], each with the kind of star, beside ours.

    Parameters
    ----------
    published
        From `apogaia.physics.literature.published_zero_points`. Thick bars: the stated statistical error; thin ones:
        the systematic error in quadrature as well. No bar: the work states no error.
    ours
        By a label, our value and its error [uas]; the first is drawn as a line, with its error and with the field's
        floor as bands.
    truth_uas
        The injected zero point of a simulated survey.
    """
    count = len(published) + len(ours)
    axes = one_panel(axes, PAGE_WIDTH, 1.1 + 0.21 * count)
    names = [*ours, *(f"{one.reference}: {one.stars}" for one in published)]
    places = np.arange(count)[::-1]
    if ours:
        value, error = next(iter(ours.values()))
        floor = FIELD_FLOOR_UAS[1]
        axes.axvspan(value - floor, value + floor, color="#7F8C99", alpha=0.2, linewidth=0,
                     label=f"± {floor:.0f} µas, the field's floor")  # fmt: skip
        axes.axvspan(
            value - error,
            value + error,
            color="#009E73",
            alpha=0.3,
            linewidth=0,
            label=f"error of the {next(iter(ours))}",
        )
    if truth_uas is not None:
        axes.axvline(truth_uas, color="black", linestyle=":", linewidth=0.9, label="injected")
    for place, (value, error) in zip(places, ours.values(), strict=False):
        axes.errorbar(value, place, xerr=error, fmt="s", color="#009E73", markersize=4, linewidth=2)
    for place, one in zip(places[len(ours) :], published, strict=True):
        statistical, systematic = np.nan_to_num([one.error_uas, one.systematic_uas])
        axes.errorbar(one.value_uas, place, xerr=np.hypot(statistical, systematic), color="#0072B2", linewidth=0.8)
        axes.errorbar(one.value_uas, place, xerr=statistical, fmt="o", color="#0072B2", markersize=3.5, linewidth=2.2)
    axes.set_yticks(places, names)
    axes.set_ylim(-0.7, count - 0.3)
    axes.set_xlabel(r"zero point, Gaia $-$ true parallax [$\mathrm{\mu as}$]")
    axes.plot([], [], "s", color="#009E73", markersize=4, label="this work")
    axes.plot([], [], "o-", color="#0072B2", markersize=3.5, linewidth=2.2, label="published, statistical error")
    axes.plot([], [], "-", color="#0072B2", linewidth=0.8, label="with systematic error")
    legend_of_panels(np.array([axes]), 3)
    return axes


def signed(text: str) -> str:
    """A text with minus signs instead of hyphens."""
    return text.replace("-", "−")
