"""Figures of the distances' precision and accuracy, against Gaia and against the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.patches import Circle
from scipy.special import erf
from scipy.stats import norm as gaussian

from apogaia.physics.comparison import agreement
from apogaia.physics.galaxy import map_edges
from apogaia.physics.luminosity import robust_scatter
from apogaia.plots.captions import count_outside
from apogaia.plots.common import (
    COLUMN_WIDTH,
    FEW_STARS,
    LABELS,
    MODEL_COLOURS,
    PAGE_WIDTH,
    AxesLike,
    binned,
    colour_bar,
    colour_stars,
    common_scale,
    finite,
    legend_above,
    legend_of_panels,
    limits,
    one_panel,
    one_to_one,
    panels,
    readable_decades,
    show_range,
    star_density,
)
from apogaia.plots.samples import kiel_diagrams
from apogaia.survey import MapsSettings

LOGARITHMIC = ("snr", "parallax_snr", "dist_kpc")  # quantities shown on a logarithmic axis
ONE_SIGMA = float(erf(1 / np.sqrt(2)))
LARGEST_GAIN = 20.0  # difference of SNRs at which the colours of Figure 6 end, as in the paper
GAIN_LABEL = "SNR: network (model error) − Gaia\nblue: Gaia better, red: network better"


def snr_gain_map(
    x: np.ndarray, y: np.ndarray, gain: np.ndarray, maps: MapsSettings, *, axes: Axes | None = None
) -> Axes:
    """Where the network's distances beat Gaia's (paper Figure 6).

    Parameters
    ----------
    x, y
        Galactocentric positions [kpc], the Sun at negative x; stars beyond the survey's maps are left out.
    gain
        The network's SNR, with its model error, minus Gaia's: blue where Gaia is better, red where the network is. The
        colours end at -20 and 20, as in the paper.
    maps
        For the place of the Sun, about which a circle of 2 kpc is drawn, and the range of the map.
    """
    axes = one_panel(axes, COLUMN_WIDTH, 2.65, "compressed")
    x, y, gain = finite(x, y, gain)
    x_edges, y_edges = map_edges(maps)
    inside = (x > x_edges[0]) & (x < x_edges[-1]) & (y > y_edges[0]) & (y < y_edges[-1])
    norm = Normalize(-LARGEST_GAIN, LARGEST_GAIN)
    ranges = (x_edges[0], x_edges[-1]), (y_edges[0], y_edges[-1])
    stars = x[inside], y[inside], gain[inside]
    mappable = colour_stars(axes, *stars, norm=norm, cmap="RdBu_r", ranges=ranges, pixels=(130, 130))
    count_outside(axes, x, y, *ranges)
    colour_bar(mappable, axes, GAIN_LABEL)
    axes.plot(-maps.sun_distance, 0, "o", color="white", markeredgecolor="black", markersize=4, label="Sun")
    axes.add_patch(Circle((-maps.sun_distance, 0), 2.0, fill=False, linewidth=0.8, linestyle="--"))
    axes.plot([], [], "--", color="black", linewidth=0.8, label="2 kpc: equal SNR in the paper")  # a patch shows a box
    axes.set(xlabel=LABELS["x_kpc"], ylabel=LABELS["y_kpc"], facecolor="#E4E4E4")  # white means equal SNR
    show_range(axes, *ranges)
    axes.set_aspect("equal")
    legend_above(axes, 2)
    return axes


def precision_kiel(
    teff: np.ndarray,
    logg: np.ndarray,
    uncertainty_percent: np.ndarray,
    error_percent: np.ndarray,
    axes: AxesLike = None,
) -> np.ndarray:
    """The network's percentage uncertainty and its absolute percentage error over the Kiel diagram (Figure 7, top).

    `axes`: two axes, or None. Both panels share one colour scale.
    """
    samples = {
        "stated uncertainty": (teff, logg, uncertainty_percent),
        "absolute difference from Gaia": (teff, logg, error_percent),
    }
    scale = (0.0, limits(uncertainty_percent, 5.0)[1])
    return kiel_diagrams(samples, label="share of the parallax [%]", value_limits=scale, axes=axes)


def binned_scatter(
    quantity: str,
    values: np.ndarray,
    residual_percent: np.ndarray,
    uncertainty_percent: np.ndarray,
    *,
    axes: Axes | None = None,
) -> Axes:
    """Robust scatter (Eq. 10) and median of the percentage residuals in bins of one quantity (Figure 7, bottom).

    Parameters
    ----------
    quantity
        "teff", "logg", "snr" or "parallax_snr".
    values
        That quantity of each star.
    residual_percent, uncertainty_percent
        100 (network - Gaia) / Gaia parallax, and the network's uncertainty [%], whose median is shown as well.
    """
    axes = one_panel(axes, COLUMN_WIDTH, 2.3)
    x, residual, uncertainty = finite(values, residual_percent, uncertainty_percent)
    edges, middles = bins_of(quantity, x)
    curves: dict[str, tuple[Callable[[np.ndarray], float], np.ndarray, dict[str, Any]]] = {
        "robust scatter": (robust_scatter, residual, {"fmt": "o"}),
        "stated uncertainty": (np.median, uncertainty, {"fmt": "s", "color": "#D55E00", "markerfacecolor": "white"}),
        "median difference": (np.median, residual, {"fmt": "^", "color": "#009E73"}),
    }
    numbers = np.maximum(np.histogram(x, edges)[0], 1)
    scatter = binned(x, residual, edges, robust_scatter, min_stars=5)
    # standard errors of the robust scatter and of the median of Gaussian residuals
    errors = {
        "robust scatter": 1.166 * scatter / np.sqrt(numbers),
        "median difference": 1.253 * scatter / np.sqrt(numbers),
    }
    for label, (statistic, of_stars, style) in curves.items():
        value = binned(x, of_stars, edges, statistic, min_stars=5)
        drawn = np.isfinite(value)
        error = errors[label][drawn] if label in errors else None
        axes.errorbar(middles[drawn], value[drawn], error, markersize=3, linewidth=0.8, label=label, **style)
    axes.axhline(0, color="black", linewidth=0.5, linestyle=":")
    axes.set(xlabel=LABELS[quantity], ylabel="network − Gaia parallax [%]")
    show_quantity(axes, quantity, edges)
    return axes


def distance_against_gaia(
    dist: np.ndarray, gaia_dist: np.ndarray, *, cuts: str = "", axes: AxesLike = None
) -> np.ndarray:
    """Network distance against inverse Gaia parallax, with their `agreement`, and the difference below (Figure 8).

    Parameters
    ----------
    dist, gaia_dist
        The network's distance, and the inverse of Gaia's parallax, corrected for the zero point [pc].
    cuts
        Which stars these are, in some lines that the panel shows.
    axes
        Two axes, the comparison and the difference below it, or None.
    """
    nn_kpc, gaia_kpc = (distances / 1000 for distances in finite(dist, gaia_dist))
    upper, lower = panels(axes, 2, 1, COLUMN_WIDTH, 4.2, sharex=True, height_ratios=(2.6, 1)).ravel()
    one_to_one(upper, gaia_kpc, nn_kpc, share=0.2, pixels=120)
    found = agreement(dist, gaia_dist)
    title = f"{found.stars:,} star{'s' * (found.stars != 1)}"
    x, difference = finite(gaia_kpc[gaia_kpc > 0], (100 * (nn_kpc / gaia_kpc - 1))[gaia_kpc > 0])
    y_range = limits(difference, 0)
    if found.stars:
        median = round(found.median_offset_percent, 1) + 0.0  # + 0.0: no negative zero
        title += r", $(d_\mathrm{NN} - d_\mathrm{Gaia})\,/\,d_\mathrm{Gaia}$:"
        title += "\n"
        title += f"median {median:+.1f} %, robust scatter {found.robust_scatter_percent:.1f} %".replace("-", "−")
        reach = max(5 * found.robust_scatter_percent, 5.0)
        y_range = max(y_range[0], median - reach), min(y_range[1], median + reach)
    upper.set_title(title)
    upper.text(0.97, 0.04, cuts, transform=upper.transAxes, horizontalalignment="right")
    upper.set_ylabel(r"$d_\mathrm{NN} = 1/\varpi_\mathrm{NN}$ [kpc]")
    x_range = 0.0, max(limits(gaia_kpc, 0.2)[1], limits(nn_kpc, 0.2)[1])
    star_density(lower, x, difference, np.linspace(*x_range, 121), np.linspace(*y_range, 41))
    lower.axhline(0, color="#D55E00", linewidth=0.8)
    lower.set(xlabel=r"$d_\mathrm{Gaia} = 1/\varpi_\mathrm{Gaia}$, corrected [kpc]", ylabel="difference [%]")
    count_outside(lower, x, difference, x_range, y_range)
    show_range(lower, x_range, y_range)
    return np.array([upper, lower])


def zero_point_consistency(
    medians: Mapping[str, Sequence[Mapping]], zero_point_error: float, axes: AxesLike = None
) -> np.ndarray:
    """Medians of Gaia's minus the network's parallax, less the zero point, in bins of SNR, G and log g.

    Parameters
    ----------
    medians
        What `apogaia.distances.consistency.median_differences` gives: by quantity, a list of bins.
    zero_point_error
        Of the zero point [uas], drawn as a band: all medians may be off by so much together.
    axes
        A panel for each quantity, or None.
    """
    axes = panels(axes, 1, len(medians), PAGE_WIDTH, 2.3, sharey=True).ravel()
    for panel, (quantity, bins) in zip(axes, medians.items(), strict=True):
        band = panel.axhspan(-zero_point_error, zero_point_error, color="#009E73", alpha=0.25, linewidth=0)
        panel.axhline(0, color="black", linewidth=0.5, linestyle=":")
        middle, median, error, low, high = (
            np.array([one[name] for one in bins], float)
            for name in ("middle", "median_uas", "error_uas", "low", "high")
        )
        points = panel.errorbar(
            middle, median, error, [middle - low, high - middle], fmt="o", markersize=3, linewidth=0.8
        )
        panel.set_xlabel(LABELS[quantity])
        if quantity in LOGARITHMIC:
            panel.set_xscale("log")
            readable_decades(panel.xaxis)
    axes[0].set_ylabel(r"$\varpi_\mathrm{Gaia} - \varpi_\mathrm{offset} - \varpi_\mathrm{NN}$ [$\mathrm{\mu as}$]")
    meaning = {"median of a bin": points, "error of the zero point, common to all bins": band}
    axes[0].figure.legend(meaning.values(), meaning.keys(), loc="outside upper center", ncols=2, frameon=False)
    return axes


def truth_comparison(
    dist: np.ndarray,
    dist_error: np.ndarray,
    true_dist: np.ndarray,
    *,
    k_mag: np.ndarray,
    snr: np.ndarray,
    logg: np.ndarray,
    axes: AxesLike = None,
) -> np.ndarray:
    """Distances of a simulated survey against the truth: residuals, pulls and coverage of the intervals.

    Parameters
    ----------
    dist, dist_error, true_dist
        Distance, its uncertainty and the truth [pc].
    k_mag, snr, logg
        Ks [mag], spectral SNR and log g [dex] of each star.
    axes
        Six axes, or None.
    """
    axes = panels(axes, 2, 3, PAGE_WIDTH, 4.6)
    dist, dist_error, true_dist = (np.asarray(array, dtype=float) for array in (dist, dist_error, true_dist))
    residual = 100 * (dist - true_dist) / true_dist
    pull = (dist - true_dist) / np.where(dist_error > 0, dist_error, np.nan)
    (known,) = finite(residual)
    y_range = min(limits(known, 0.5)[0], -5.0), max(limits(known, 0.5)[1], 5.0)
    columns = {"dist_kpc": true_dist / 1000, "snr": snr, "logg": logg}
    drawn = [
        residual_panel(panel, quantity, values, residual, y_range)
        for panel, (quantity, values) in zip(axes[0], columns.items(), strict=True)
    ]
    for mappable in common_scale(drawn)[-1:]:
        colour_bar(mappable, axes[0, 2], "stars per pixel")
    axes[0, 0].set_ylabel("(distance − truth) / truth [%]")
    pull_histogram(axes[1, 0], pull)
    coverage_curve(axes[1, 1], pull)
    coverage("k_mag", k_mag, pull, axes=axes[1, 2])
    legend_of_panels(axes, 6)
    return axes


def residual_panel(
    axes: Axes, quantity: str, values: np.ndarray, residual: np.ndarray, y_range: tuple[float, float]
) -> ScalarMappable | None:
    """Percentage residuals against one quantity, with their running median and 16-84 % band; returns the density."""
    x, residual = finite(values, residual)
    if quantity in LOGARITHMIC:
        x, residual = x[x > 0], residual[x > 0]
    edges, middles = bins_of(quantity, x)
    spacing = np.geomspace if quantity in LOGARITHMIC else np.linspace
    drawn = star_density(axes, x, residual, spacing(edges[0], edges[-1], 81), np.linspace(*y_range, 81))
    for percent, style, label in ((50, "-", "median"), (16, "--", "16th and 84th percentile"), (84, "--", None)):
        curve = binned(x, residual, edges, partial(np.percentile, q=percent), min_stars=5)
        axes.plot(middles, curve, style, color="#D55E00", linewidth=1.0, label=label)
    axes.axhline(0, color="black", linewidth=0.8, linestyle=":")
    axes.set_xlabel(LABELS[quantity])
    count_outside(axes, x, residual, (edges[0], edges[-1]), y_range)
    show_quantity(axes, quantity, edges)
    show_range(axes, y=y_range)
    return drawn


def pull_histogram(axes: Axes, pull: np.ndarray) -> None:
    """Draw pulls (distance - truth) / uncertainty beside the unit Gaussian."""
    (pull,) = finite(pull)
    edges = np.linspace(-5, 5, 51 if pull.size > FEW_STARS else 21)
    if pull.size:
        weights = np.full(pull.size, 1 / (pull.size * np.diff(edges)[0]))
        axes.hist(
            pull, edges.tolist(), weights=weights, histtype="stepfilled", color=MODEL_COLOURS["constant"], alpha=0.4
        )
    grid = np.linspace(-5, 5, 201)
    axes.plot(grid, gaussian.pdf(grid), color="#CC79A7", label="unit Gaussian")
    axes.set(xlabel="(distance − truth) / uncertainty", ylabel="share of stars per unit", xlim=(-5, 5))
    count_outside(axes, pull)


def coverage_curve(axes: Axes, pull: np.ndarray) -> None:
    """Fraction of stars whose central interval holds the truth, against the interval's nominal fraction."""
    (pull,) = finite(pull)
    nominal = np.linspace(0, 1, 101)[1:-1]
    if pull.size:
        inside = np.searchsorted(np.sort(np.abs(pull)), gaussian.ppf(0.5 + nominal / 2)) / pull.size
        axes.plot(nominal, inside)
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
    axes.set(xlabel="nominal coverage", ylabel="actual coverage", xlim=(0, 1), ylim=(0, 1))


def coverage(quantity: str, values: np.ndarray, pull: np.ndarray, *, axes: Axes | None = None) -> Axes:
    """Share of stars within one sigma of the truth in bins of one quantity; the band is 65-71 %.

    `pull` is (distance - truth) / uncertainty; `quantity` "k_mag", "snr" or "logg". Error bars are binomial.
    """
    axes = one_panel(axes, COLUMN_WIDTH, 2.3)
    x, pull = finite(values, pull)
    edges, middles = bins_of(quantity, x, count=10)
    share = binned(x, 100.0 * (np.abs(pull) < 1), edges, np.mean, min_stars=5)
    numbers = np.maximum(np.histogram(x, edges)[0], 1)
    error = 100 * np.sqrt(ONE_SIGMA * (1 - ONE_SIGMA) / numbers)
    drawn = np.isfinite(share)
    count_outside(axes, x, x_range=(edges[0], edges[-1]))
    axes.axhspan(65, 71, color="#009E73", alpha=0.25, linewidth=0, label="65–71 %")
    axes.errorbar(middles[drawn], share[drawn], error[drawn], fmt="o", markersize=3, capsize=2, linewidth=0.8)
    axes.set(xlabel=LABELS[quantity], ylabel=r"truth within 1 $\sigma$ [%]", ylim=(0, 105))
    show_quantity(axes, quantity, edges)
    return axes


def show_quantity(axes: Axes, quantity: str, edges: np.ndarray) -> None:
    """Let the x axis span the bins, logarithmically for some quantities."""
    if quantity in LOGARITHMIC:
        axes.set_xscale("log")
    show_range(axes, (edges[0], edges[-1]))
    if quantity in LOGARITHMIC:
        readable_decades(axes.xaxis)


def bins_of(quantity: str, values: np.ndarray, count: int = 14) -> tuple[np.ndarray, np.ndarray]:
    """Edges (count + 1,) and middles of display bins over the inner 99 % of the values, logarithmic where it helps."""
    if quantity in LOGARITHMIC:
        logarithms = np.log10(values[values > 0])
        edges = np.linspace(*limits(logarithms, 0.5), count + 1)
        return 10**edges, 10 ** (0.5 * (edges[1:] + edges[:-1]))
    edges = np.linspace(*limits(values, 0.5), count + 1)
    return edges, 0.5 * (edges[1:] + edges[:-1])
