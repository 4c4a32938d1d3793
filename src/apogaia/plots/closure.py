"""Figures of the closure trials: is the injected zero point recovered, and are the quoted errors right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from scipy.stats import norm as gaussian

from apogaia.plots.common import (
    COLUMN_WIDTH,
    LABELS,
    PAGE_WIDTH,
    TRUTH_COLOUR,
    AxesLike,
    Labels,
    finite,
    integer_ticks,
    legend_above,
    one_panel,
    panels,
    readable_decades,
)

# colour, marker and name of the recipes (zero points) and of the models (errors of distances)
RECIPES = {
    "paper": ("#0072B2", "s", "paper's recipe"),
    "refit": ("#009E73", "o", "refit"),
    "fresh": ("#CC79A7", "^", "refit, another Galaxy"),
}
MODELS = {
    "calibrated": ("#009E73", "o", "calibrated"),
    "paper": ("#0072B2", "s", "paper's recipe"),
    "released": ("#D55E00", "^", "released code's form"),
}
HISTORY_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
LEVELS = (50, 68, 95)  # per cent
GOAL = (65, 71)  # per cent: where the share inside the 68 % interval should be
GOAL_COLOUR = "#B0B7BF"
LOGARITHMIC = ("snr", "distance_kpc")
VARIABLES = {name: LABELS[name] for name in ("k_mag", "snr", "logg", "teff")} | {"distance_kpc": LABELS["dist_kpc"]}
QUANTITY_LABELS = Labels({"fakemag": "luminosity", "parallax": "parallax", "distance": "distance"})
DIFFERENCE_LABEL = r"recovered − injected [$\mathrm{\mu as}$]"
INJECTED_LABEL = r"injected zero point [$\mathrm{\mu as}$]"


def recovered_zero_points(recovered: Mapping[str, Mapping], *, axes: AxesLike = None) -> np.ndarray:
    """Recovered minus injected zero point against the injected one, with quoted errors.

    Parameters
    ----------
    recovered
        For "paper", "refit", "fresh" and, of the Kepler-like field, "kepler paper" and so on (any of them): "injected",
        "value" and "error" [uas], as `apogaia.closure.summary.recovered` returns them.
    axes
        Two axes, or None: all recipes, and the refit alone on its own scale. Points of one injected value stand beside
        each other, the Kepler-like field's 5 uas to the right.
    """
    axes = panels(axes, 1, 2, PAGE_WIDTH, 2.7, sharex=True).ravel()
    for step, (recipe, (colour, marker, name)) in enumerate(RECIPES.items()):
        for field, face in (("", colour), ("kepler ", "white")):
            points = recovered.get(f"{field}{recipe}")
            if points is None:
                continue
            injected, value = (np.asarray(points[key], float) for key in ("injected", "value"))
            error = np.nan_to_num(np.asarray(points["error"], float))
            shift = 1.6 * (step - 1) + (4.8 if field else 0.0)  # beside each other where the injected value is the same
            label = f"{name}, Kepler-like field" if field else name
            style = {"fmt": marker, "color": colour, "markerfacecolor": face, "markersize": 4, "capsize": 2}
            for panel in axes if recipe != "paper" else axes[:1]:
                panel.errorbar(injected + shift, value - injected, error, linewidth=0.8, label=label, **style)
    for panel in axes:
        panel.axhline(0, color=TRUTH_COLOUR, linewidth=0.8, linestyle=":")
        panel.set(xlabel=INJECTED_LABEL, ylabel=DIFFERENCE_LABEL)
    axes[0].set_title("all recipes (points of one value moved apart)")
    axes[1].set_title("the refit alone, enlarged")
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        axes[0].figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return axes


def seed_pulls(
    seed: np.ndarray,
    injected: np.ndarray,
    value: np.ndarray,
    error: np.ndarray,
    statistical_error: np.ndarray,
    *,
    axes: Axes | None = None,
) -> Axes:
    """Pulls of the trials with Gaia's errors drawn again: difference over quoted error, with mean and sd stated.

    Parameters
    ----------
    seed
        Numbers of the trials.
    injected, value, error, statistical_error
        Zero points [uas]; open symbols are the pulls with the statistical part of the error alone.
    """
    axes = one_panel(axes, COLUMN_WIDTH, 2.7)
    difference = np.asarray(value, float) - np.asarray(injected, float)
    x, pull = finite(seed, difference / np.asarray(error, float))
    x_statistical, statistical = finite(seed, difference / np.asarray(statistical_error, float))
    axes.axhspan(-1, 1, color=GOAL_COLOUR, alpha=0.4, linewidth=0, label="± 1")
    axes.axhline(0, color=TRUTH_COLOUR, linewidth=0.8, linestyle=":")
    colour = RECIPES["refit"][0]
    axes.plot(x_statistical, statistical, "o", color=colour, markerfacecolor="white", label="statistical error alone")
    axes.plot(x, pull, "o", color=colour, label="quoted error")
    title = f"{len(pull)} seeds"
    if len(pull) > 1:
        title += f": pulls have mean {pull.mean():+.2f}, sd {pull.std(ddof=1):.2f}".replace("-", "−")
    top = max(3.0, 1.1 * np.max(np.abs(np.concatenate([pull, statistical])), initial=0.0))
    axes.set(
        xlabel="seed", ylabel="(recovered − injected) / error", ylim=(-top, top), xlim=(-0.6, max(x, default=7) + 0.6)
    )
    integer_ticks(axes.xaxis)
    axes.text(0.03, 0.95, title, transform=axes.transAxes, va="top")
    legend_above(axes, 3)
    return axes


def reliability(
    results: Mapping[str, Mapping], *, quantities: Sequence[str] = ("fakemag", "distance"), axes: AxesLike = None
) -> np.ndarray:
    """Share of stars whose interval holds the truth against the level of the interval: 50, 68 and 95 %.

    Parameters
    ----------
    results
        For "calibrated", "paper", "released" (any of them) what `apogaia.closure.coverage.coverage` returns.
    quantities
        "fakemag", "parallax", "distance": one panel each.
    axes
        As many axes, or None.
    """
    axes = panels(axes, 1, len(quantities), PAGE_WIDTH, 3.2).ravel()
    for panel, quantity in zip(axes, quantities, strict=True):
        panel.plot([0, 100], [0, 100], color=TRUTH_COLOUR, linewidth=0.8, linestyle=":", label="as stated")
        for model, (colour, marker, name) in drawn_models(results):
            covered = results[model][quantity]["all"]
            shares = [covered[f"within_{level}"] for level in LEVELS]
            panel.plot(LEVELS, shares, marker=marker, markersize=4, color=colour, label=name, clip_on=False)
        panel.set(xlabel="nominal coverage [%]")
        panel.set(xlim=(40, 100), ylim=(0, 100), title=QUANTITY_LABELS[quantity])
        panel.set_xticks([*LEVELS, 100])
    axes[0].set_ylabel("stars whose interval holds the truth [%]")
    legend_of_figure(axes)
    return axes


def coverage_panels(results: Mapping[str, Mapping], *, quantity: str = "distance", axes: AxesLike = None) -> np.ndarray:
    """Share of stars inside the 68 % interval against Ks, SNR, log g, Teff and distance; the band is 65-71 %.

    Each of the bins holds as many stars; bars are the bins' widths and binomial errors. `results` as for `reliability`;
    five axes, or None.
    """
    _ = QUANTITY_LABELS[quantity]  # an unknown quantity is refused there
    axes = five_panels(axes)
    for panel, (variable, label) in zip(axes, VARIABLES.items(), strict=True):
        panel.axhspan(*GOAL, color=GOAL_COLOUR, alpha=0.5, linewidth=0, label="65–71 %")
        for model, (colour, marker, name) in drawn_models(results):
            bins = results[model][quantity][variable]
            middles, widths = bin_extents(bins, variable)
            share = np.array([each["within_68"] for each in bins])
            error = np.sqrt(share * (100 - share) / np.array([each["stars"] for each in bins]))
            panel.errorbar(
                middles, share, error, widths, label=name, fmt=marker, markersize=3, color=colour, linewidth=0.8
            )
        panel.set(xlabel=label, ylim=(0, 100))
        if variable in LOGARITHMIC and panel.has_data():
            panel.set_xscale("log")
            readable_decades(panel.xaxis)
    for panel in (axes[0], axes[3]):
        panel.set_ylabel("truth in 68 % interval [%]")
    legend_of_figure(axes)
    return axes


def pull_histograms(
    results: Mapping[str, Mapping], *, quantities: Sequence[str] = ("fakemag", "distance"), axes: AxesLike = None
) -> np.ndarray:
    """Histograms of (value - truth) / quoted error beside the unit Gaussian; the outermost bins hold all beyond.

    `results` and `quantities` as for `reliability`; as many axes as quantities, or None.
    """
    axes = panels(axes, 1, len(quantities), PAGE_WIDTH, 2.9, sharey=True).ravel()
    grid = np.linspace(-5, 5, 201)
    for panel, quantity in zip(axes, quantities, strict=True):
        panel.fill_between(grid, gaussian.pdf(grid), color=GOAL_COLOUR, alpha=0.5, linewidth=0, label="unit Gaussian")
        for model, (colour, _, name) in drawn_models(results):
            histogram = results[model][quantity]["pull_histogram"]
            edges, counts = (np.asarray(histogram[key], float) for key in ("edges", "counts"))
            density = counts / (max(counts.sum(), 1) * np.diff(edges))
            panel.stairs(density, edges, color=colour, linewidth=1.0, label=name)
        panel.set(xlabel="(value − truth) / uncertainty", xlim=(-5, 5), title=QUANTITY_LABELS[quantity])
        panel.set_ylim(bottom=0)
    axes[0].set_ylabel("stars per unit")
    legend_of_figure(axes)
    return axes


def giant_scatter(results: Mapping[str, Mapping], *, axes: AxesLike = None) -> np.ndarray:
    """Robust scatter of the giants' distances about the truth against log g and SNR (as paper Figure 7, bottom).

    `results` as for `reliability`; two axes, or None.
    """
    axes = panels(axes, 1, 2, PAGE_WIDTH, 2.7, sharey=True).ravel()
    top = 1.0
    for panel, variable in zip(axes, ("logg", "snr"), strict=True):
        for model, (colour, marker, name) in drawn_models(results):
            scatter = results[model]["scatter_percent"]
            bins = scatter[variable]
            values = [each["scatter"] for each in bins]
            label = f"{name} (all giants: {scatter['giants']:.1f} %)"
            middles, widths = bin_extents(bins, variable)
            style = {"fmt": marker, "markersize": 3, "color": colour, "linewidth": 0.8}
            panel.errorbar(middles, values, xerr=widths, label=label, **style)
            top = max(top, *values)
        panel.set(xlabel=VARIABLES[variable])
        if variable in LOGARITHMIC and panel.has_data():
            panel.set_xscale("log")
            readable_decades(panel.xaxis)
    for panel in axes:
        panel.set_ylim(0, 1.15 * top)
    axes[0].set_ylabel(r"$\sigma^\mathrm{MAD}$ of distance [%]")
    legend_of_figure(axes)
    return axes


def offset_histories(histories: Mapping[str, tuple], *, axes: Axes | None = None) -> Axes:
    """The constant offset after each epoch of joint trainings, with the injected values dotted.

    Parameters
    ----------
    histories
        Label: (offset after each epoch [uas], injected value [uas]). One colour per injected value; trainings with the
        same one have other dashes.
    """
    axes = one_panel(axes, PAGE_WIDTH, 3.2)
    colours: dict[float, str] = {}
    dashes: dict[float, int] = {}
    for label, (history, injected) in histories.items():
        colour = colours.setdefault(injected, HISTORY_COLOURS[len(colours) % len(HISTORY_COLOURS)])
        repeat = dashes[injected] = dashes.get(injected, -1) + 1
        axes.plot(np.arange(1, len(history) + 1), history, ("-", "--", "-.")[repeat % 3], color=colour, label=label)
    for injected, colour in colours.items():
        axes.axhline(injected, color=colour, linestyle=":", linewidth=1.0)
    if histories:
        axes.plot([], [], ":", color="#555555", label="injected")
    axes.set(xlabel="epoch", ylabel=r"offset during training [$\mathrm{\mu as}$]")
    axes.set_xlim(0.5, max((len(history) for history, _ in histories.values()), default=40) + 0.5)
    integer_ticks(axes.xaxis)
    legend_above(axes, 4)
    return axes


def drawn_models(results: Mapping) -> list[tuple[str, tuple[str, str, str]]]:
    """Those of `MODELS` that there are results of, with their style."""
    return [(model, style) for model, style in MODELS.items() if model in results]


def bin_extents(bins: Sequence[Mapping[str, float]], variable: str) -> tuple[np.ndarray, np.ndarray]:
    """Return middles of bins "low" to "high", geometric for logarithmic axes, and (2, n) lengths to their ends."""
    low, high = (np.array([each[end] for each in bins], float) for end in ("low", "high"))
    middles = np.sqrt(low * high) if variable in LOGARITHMIC else 0.5 * (low + high)
    return middles, np.array([middles - low, high - middles])


def five_panels(axes: AxesLike) -> np.ndarray:
    """Return five axes: those given, or the first five of a new figure of two rows."""
    if axes is not None:
        return panels(axes, 1, 5, PAGE_WIDTH, 4.0).ravel()
    made = panels(None, 2, 3, PAGE_WIDTH, 4.0, sharey=True).ravel()
    made[5].set_axis_off()
    return made[:5]


def legend_of_figure(axes: np.ndarray) -> None:
    """One legend above all panels; none without labelled artists."""
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        axes[0].figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
