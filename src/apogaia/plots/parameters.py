"""Figures of stellar parameters and abundances: recovery, coverage, learning curve, occlusion, [Mg/Fe], visits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from astropy.table import Table
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize

from apogaia.formats.stars_h5_columns import ELEMENTS, LABELS
from apogaia.plots.captions import count_outside
from apogaia.plots.common import (
    COLUMN_WIDTH,
    PAGE_WIDTH,
    POINT_COLOUR,
    TRUTH_COLOUR,
    AxesLike,
    colour_bar,
    finite,
    legend_above,
    limits,
    one_panel,
    panels,
    readable_decades,
    show_range,
    star_density,
)
from apogaia.plots.common import LABELS as AXIS_LABELS

OURS, PUBLISHED = "#0072B2", "#D55E00"
NAMES = {
    "teff": r"$T_\mathrm{eff}$",
    "logg": r"$\log g$",
    **{f"{element.lower()}_h": f"[{element}/H]" for element in ELEMENTS},
    "ci_h": "[C I/H]",
    "tiii_h": "[Ti II/H]",
}
TEFF_UNIT = 1000.0  # K, as one dex: so that Teff stands beside the other labels


def label_recovery(found: Table, reference: str, axes: AxesLike = None) -> np.ndarray:
    """Scatter and bias of each label beside the published scatter; Teff in 1000 K.

    Parameters
    ----------
    found
        `apogaia.parameters.recovery.recovery`.
    reference
        What the labels are compared with, for the legend: "truth", "ASPCAP".
    axes
        Two axes, or None.
    """
    axes = panels(axes, 2, 1, PAGE_WIDTH, 4.2, sharex=True).ravel()
    unit = np.where(np.asarray(found["label"]) == "teff", TEFF_UNIT, 1.0)
    place = np.arange(len(found))
    ours, stated, published = (np.asarray(found[name]) / unit for name in ("scatter", "stated", "published"))
    axes[0].plot(place, ours, "o", color=OURS, label=f"scatter about the {reference}")
    axes[0].plot(place, stated, "_", color=TRUTH_COLOUR, markersize=9, label="median calibrated error")
    axes[0].plot(place, published, "D", color=PUBLISHED, fillstyle="none", label="published scatter")
    axes[0].set_yscale("log")
    readable_decades(axes[0].yaxis)
    axes[0].set_ylabel("scatter [dex, 1000 K]")
    legend_above(axes[0], 3)
    axes[1].axhline(0, color=POINT_COLOUR, linewidth=0.8)
    axes[1].plot(place, np.asarray(found["bias"]) / unit, "o", color=OURS)
    axes[1].fill_between(place, -ours / 3, ours / 3, color=OURS, alpha=0.15, linewidth=0)
    axes[1].set_ylabel("median difference\n(band: scatter / 3)\n[dex, 1000 K]")
    axes[1].set_xticks(place, [NAMES[name] for name in found["label"]], rotation=60, ha="right", rotation_mode="anchor")
    axes[1].set_xlim(-0.6, len(found) - 0.4)
    return axes


def scatter_against_snr(edges, scatter, stated, axes: AxesLike = None) -> np.ndarray:
    """Scatter (points) and median stated error (line) of each label in bins of SNR.

    Parameters
    ----------
    edges
        (bins + 1,) of the SNR.
    scatter, stated
        (22, bins) [K, dex] of `apogaia.parameters.recovery.scatter_in_bins`; NaN where there are few stars.
    axes
        24 axes, or None; the last two stay empty.
    """
    axes = panels(axes, 4, 6, PAGE_WIDTH, 5.2, sharex=True)
    middle = np.sqrt(np.asarray(edges[:-1], float) * np.asarray(edges[1:], float))
    for i, panel in enumerate(axes.flat):
        if i >= len(LABELS):
            panel.set_axis_off()
            continue
        panel.plot(middle, stated[i], color=POINT_COLOUR)
        panel.plot(middle, scatter[i], "o", color=OURS, markersize=3)
        panel.set_xscale("log")
        shown = finite(np.concatenate([scatter[i], stated[i]]))[0]
        panel.set_ylim(0, 1.12 * max(shown, default=1.0))
        panel.set_xlim(edges[0], edges[-1])
        panel.text(0.06, 0.08, NAMES[LABELS[i]], transform=panel.transAxes)
        readable_decades(panel.xaxis)
    for column in (4, 5):  # above the empty panels
        axes[2, column].tick_params(labelbottom=True)
    axes[0, 0].figure.supxlabel(AXIS_LABELS["snr"])
    axes[0, 0].figure.supylabel("scatter (points), calibrated error (line) [K, dex]")
    return axes


def label_coverage(coverage: Mapping[str, tuple[np.ndarray, np.ndarray]], axes: AxesLike = None) -> np.ndarray:
    """Share of stars within their stated error, for each label in bins of some quantities; 68 % is right.

    `coverage` has for each quantity, such as "snr", the edges of its bins and (22, bins) shares of
    `apogaia.parameters.recovery.coverage_in_bins`.
    """
    axes = panels(axes, 1, len(coverage), PAGE_WIDTH, 4.6, sharey=True).ravel()
    for panel, (quantity, (edges, share)) in zip(axes, coverage.items(), strict=True):
        percent = 100 * np.asarray(share)
        drawn = panel.imshow(percent, norm=Normalize(48, 88), cmap="RdBu", aspect="auto", origin="upper")
        for (row, column), value in np.ndenumerate(percent):
            if np.isfinite(value):
                colour = "white" if abs(value - 68) > 12 else "black"
                panel.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour)
        panel.set_xticks(np.arange(len(edges)) - 0.5, [f"{edge:.0f}" for edge in edges])
        panel.set_yticks(np.arange(len(LABELS)), [NAMES[name] for name in LABELS])
        panel.tick_params(length=0)
        panel.set_xlabel(AXIS_LABELS[quantity])
    colour_bar(drawn, axes[-1], "stars within their calibrated error [%]")
    return axes


def training_size(found: Mapping[int, Mapping[str, float]], published: Mapping, axes: AxesLike = None) -> np.ndarray:
    """Scatter of Teff, [Fe/H] and [Mg/H] against the number of training stars, beside the published one.

    Parameters
    ----------
    found, published
        Number of training stars -> scatter of "teff" [K], "fe_h" and "mg_h" [dex].
    axes
        Three axes, or None.
    """
    axes = panels(axes, 1, 3, PAGE_WIDTH, 2.6).ravel()
    for panel, name in zip(axes, ("teff", "fe_h", "mg_h"), strict=True):
        for curve, colour, marker, label in ((published, PUBLISHED, "D", "published"), (found, OURS, "o", "here")):
            sizes = sorted(curve)
            panel.plot(sizes, [curve[n][name] for n in sizes], marker=marker, color=colour, label=label)
        unit = "K" if name == "teff" else "dex"
        panel.set(xscale="log", yscale="log", xlabel="training stars", ylabel=f"scatter of {NAMES[name]} [{unit}]")
        readable_decades(panel.yaxis)
    axes[0].legend()
    return axes


def occlusion(change: np.ndarray, errors: np.ndarray, elements: Sequence[str], axes: Axes | None = None) -> Axes:
    """How much each label changes, in units of its error, when the window of an element is hidden.

    Parameters
    ----------
    change
        (elements, 22) of `apogaia.parameters.recovery.occlusion`.
    errors
        (22,) typical errors of the labels.
    elements
        Whose windows were hidden.
    """
    axes = one_panel(axes, PAGE_WIDTH, 4.4)
    ratio = np.clip(change / errors, 1e-3, None)
    drawn = axes.imshow(ratio, norm=LogNorm(0.03, 10), cmap="viridis", aspect="auto", origin="upper")
    axes.set_xticks(
        np.arange(len(LABELS)), [NAMES[name] for name in LABELS], rotation=60, ha="right", rotation_mode="anchor"
    )
    axes.set_yticks(np.arange(len(elements)), [{"CI": "C I", "TiII": "Ti II"}.get(name, name) for name in elements])
    axes.set(xlabel="label", ylabel="hidden window")
    axes.tick_params(length=0)
    colour_bar(drawn, axes, "median change / median error")
    return axes


def abundance_plane(fe_h, mg_fe, axes: Axes | None = None) -> Axes:
    """[Mg/Fe] against [Fe/H], both (n,) [dex]: the two sequences of the disc."""
    axes = one_panel(axes, COLUMN_WIDTH, 2.8)
    fe_h, mg_fe = finite(fe_h, mg_fe)
    edges = np.linspace(*limits(fe_h, 0.2), 101), np.linspace(*limits(mg_fe, 0.2), 101)
    drawn = star_density(axes, fe_h, mg_fe, *edges)
    if drawn is not None:
        colour_bar(drawn, axes, "stars per pixel")
    axes.set(xlabel=AXIS_LABELS["fe_h"], ylabel="[Mg/Fe] [dex]")
    ranges = limits(fe_h, 0.2), limits(mg_fe, 0.2)
    count_outside(axes, fe_h, mg_fe, *ranges)
    show_range(axes, *ranges)
    return axes


def visits(found: Table, labels: Sequence[str] = ("teff", "logg", "fe_h", "mg_h"), axes: AxesLike = None) -> np.ndarray:
    """Labels of single visits minus those of the combined spectrum, with the visit's error, against the visit's SNR.

    `found` is `apogaia.parameters.parameters_model.ParametersModel.parameters` of some files with their visits.
    """
    axes = panels(axes, 2, 2, PAGE_WIDTH, 3.8, sharex=True).ravel()
    visit = np.asarray(found["visit"])
    combined = {file: row for row, (file, number) in enumerate(zip(found["file"], visit, strict=True)) if number == 0}
    rows = np.flatnonzero(visit > 0)
    of_star = np.array([combined[file] for file in found["file"][rows]], dtype=int)
    for panel, name in zip(axes, labels, strict=True):
        values = np.asarray(found[name], float)
        difference, error = values[rows] - values[of_star], np.asarray(found[f"{name}_error"], float)[rows]
        snr, difference, error = finite(np.asarray(found["snr"], float)[rows], difference, error)
        panel.axhline(0, color=POINT_COLOUR, linewidth=0.8)
        panel.errorbar(snr, difference, error, fmt="o", color=OURS, markersize=3, elinewidth=0.6)
        panel.set_ylabel(f"visit − combined: {NAMES[name]} [{'K' if name == 'teff' else 'dex'}]")
    for panel in axes[2:]:
        panel.set_xlabel("SNR of the visit")
    return axes
