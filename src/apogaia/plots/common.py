"""Shared by the figures: style, saving, panels, colour bars, legends, display binning."""

from __future__ import annotations

import sys
from base64 import b64encode
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.text import Text
from matplotlib.ticker import AutoLocator, LogLocator, NullFormatter
from scipy.stats import binned_statistic, binned_statistic_2d

from apogaia.files import atomic
from apogaia.plots.captions import caption_of, count_outside
from apogaia.workspace import Workspace

COLUMN_WIDTH = 3.5  # inch: a journal's single column
PAGE_WIDTH = 7.1  # inch: both columns
SCREEN_DPI = 130  # of a figure in a notebook: a page is as wide as its text

MODEL_COLOURS = {"none": "#D55E00", "constant": "#0072B2", "multivariate": "#009E73", "parameters": "#0072B2"}
MODEL_LABELS = {
    "none": "no offset",
    "constant": "constant offset",
    "multivariate": "multivariate offset",
    "parameters": "stellar parameters",
}
TRUTH_COLOUR = "#000000"
POINT_COLOUR = "#7F8C99"  # stars behind curves
HALO: list[AbstractPathEffect] = [
    withStroke(linewidth=2, foreground="white", alpha=0.7)
]  # keeps marks legible on dark bins


class Labels(dict[str, str]):
    """Axis labels by quantity; an unknown quantity is an error with the known ones."""

    def __missing__(self, quantity: str) -> str:
        raise ValueError(f"no label for the quantity {quantity!r}; there are {', '.join(self)}")


LABELS = Labels(
    {
        "teff": r"$T_\mathrm{eff}$ [K]",
        "logg": r"$\log g$ [dex]",
        "fe_h": "[Fe/H] [dex]",
        "snr": "spectral SNR",
        "parallax": r"$\varpi_\mathrm{Gaia}$ [mas]",
        "parallax_snr": r"$\varpi_\mathrm{Gaia}$ SNR",
        "log_luminosity": r"$\log_{10} L_{K_s}$ [$\mathrm{L}_\odot$]",
        "k_mag": r"$K_s$ [mag]",
        "k0_mag": r"$K_{s,0}$ [mag]",
        "g_mag": r"$G$ [mag]",
        "bp_rp": r"$G_\mathrm{BP} - G_\mathrm{RP}$ [mag]",
        "dist_kpc": "true distance [kpc]",
        "x_kpc": "Galactocentric $x$ [kpc]",
        "y_kpc": "Galactocentric $y$ [kpc]",
    }
)

FEW_STARS = 2000  # up to here each star is a point; above, stars are binned

AxesLike = np.ndarray | Sequence[Axes] | None  # the panels to draw on; None: those of a new figure


def use_style() -> None:
    """Set the project's matplotlib style for all figures that follow."""
    plt.style.use(Path(str(resources.files("apogaia.plots") / "apogaia.mplstyle")))


MARK = "test run: no result"
MARK_STYLE: dict[str, Any] = {
    "ha": "center",
    "va": "center",
    "rotation": 20,
    "size": "x-large",
    "color": "crimson",
    "alpha": 0.3,
    "zorder": 100,
}
NARROW = 1.6  # inch: in narrower panels the mark takes two lines


def save(drawn: Figure | Axes | np.ndarray, workspace: Workspace, name: str, *, caption: str | None = None) -> None:
    """Write ``figures/<survey>/<name>.pdf``, ``.png`` and the caption ``.txt``; a notebook shows figure and caption.

    The files hold no dates or versions, and the layout is frozen before the first is written: the same figure gives the
    same bytes each time. Figures of a simulated survey of so few stars that its numbers mean nothing are marked.

    Parameters
    ----------
    drawn
        A figure, or what a plot function returned: its axes or an array of them.
    workspace
        Of the survey.
    name
        Of the files, and of the caption in plots/captions.toml.
    caption
        Of a figure that has none there.

    Raises
    ------
    ValueError
        If the figure has no caption.
    """
    figure = drawn if isinstance(drawn, Figure) else np.ravel(np.asarray(drawn, dtype=object))[0].figure
    words = caption_of(name, workspace.survey, figure, caption)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    marks = mark_test_run(figure) if workspace.survey.is_test_run else []
    metadata = {"pdf": {"CreationDate": None, "Creator": None, "Producer": None}, "png": {"Software": None}}
    for kind, entries in metadata.items():
        with atomic(workspace.figure(name, kind)) as temporary:
            figure.savefig(temporary, format=kind, metadata=entries)
    for mark in marks:
        mark.remove()
    with atomic(workspace.figure(name, "txt")) as temporary:
        temporary.write_text(words + "\n", encoding="utf-8")
    show_in_notebook(figure, workspace.figure(name, "png"), words)


def mark_test_run(figure: Figure) -> list[Text]:
    """Write across each panel that it shows no result."""
    marks = []
    for panel in figure.axes:
        if panel.get_visible() and panel.axison and panel.get_label() != "<colorbar>":
            width = panel.get_position().width * figure.get_figwidth()
            text = MARK if width > NARROW else MARK.replace(": ", ":\n")
            marks.append(panel.text(0.5, 0.5, text, transform=panel.transAxes, **MARK_STYLE))
    return marks


def show_in_notebook(figure: Figure, png: Path, words: str) -> None:
    """Display the file, with the caption as its alternative text and below it; outside a notebook do nothing."""
    ipython = sys.modules.get("IPython")
    if ipython is None or not hasattr(ipython.get_ipython(), "kernel"):
        return
    content = {"image/png": b64encode(png.read_bytes()).decode(), "text/plain": words}
    size = {"alt": words, "width": round(figure.get_figwidth() * SCREEN_DPI)}
    ipython.display.display(content, raw=True, metadata={"image/png": size})
    ipython.display.display(ipython.display.Markdown(f"**Figure {png.stem}.** {words}"))
    plt.close(figure)  # or the notebook would show it once more


def one_panel(axes: Axes | None, width: float = COLUMN_WIDTH, height: float = 2.8, layout: str = "constrained") -> Axes:
    """Return the axes given, or those of a new figure of this size [inch]; "compressed" suits maps of equal scales."""
    return plt.subplots(figsize=(width, height), layout=layout)[1] if axes is None else axes


def panels(
    axes: AxesLike,
    rows: int,
    columns: int,
    width: float,
    height: float,
    *,
    sharex: bool = False,
    sharey: bool = False,
    height_ratios: Sequence[float] | None = None,
) -> np.ndarray:
    """Return the `rows` x `columns` axes given, in that shape, or those of a new figure of this size [inch].

    Raises
    ------
    ValueError
        If the number of axes given is another.
    """
    if axes is None:
        figure = plt.figure(figsize=(width, height), layout="constrained")
        return figure.subplots(rows, columns, sharex=sharex, sharey=sharey, squeeze=False, height_ratios=height_ratios)
    axes = np.asarray(axes, dtype=object)
    if axes.size != rows * columns:
        raise ValueError(f"this figure has {rows * columns} panels, but {axes.size} axes were given")
    return axes.reshape(rows, columns)


def colour_bar(mappable: ScalarMappable, axes: Axes, label: str, *, above: bool = False) -> Colorbar:
    """Add a labelled colour bar, as long as the axes, at their right or above them.

    Its ends are pointed where stars are beyond the colours' range.
    """
    place = axes.inset_axes((0, 1.04, 1, 0.07) if above else (1.03, 0, 0.045, 1))
    orientation, side = ("horizontal", "top") if above else ("vertical", "right")
    bar = axes.figure.colorbar(
        mappable, cax=place, label=label, extend=pointed_ends([mappable]), orientation=orientation, ticklocation=side
    )
    return finished_bar(bar)


def shared_bar(mappables: Sequence[ScalarMappable], axes: np.ndarray, label: str) -> Colorbar | None:
    """Add one labelled colour bar at the right of all axes, whose mappables share their scale; without any, none."""
    if not mappables:
        return None
    figure, extend = axes.flat[0].figure, pointed_ends(mappables)
    bar = figure.colorbar(mappables[0], ax=list(axes.flat), label=label, extend=extend, aspect=25, pad=0.015)
    return finished_bar(bar)


def pointed_ends(mappables: Sequence[ScalarMappable]) -> str:
    """Which ends of a colour bar are pointed: those beyond which there are values."""
    values, norm = np.concatenate([finite_values(mappable) for mappable in mappables]), mappables[0].norm
    low, high = (values.min() < norm.vmin, values.max() > norm.vmax) if values.size else (False, False)
    return {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[int(low), int(high)]


def finite_values(mappable: ScalarMappable) -> np.ndarray:
    """What the colours stand for, without gaps."""
    array: np.ma.MaskedArray = np.ma.masked_invalid(np.ma.asarray(mappable.get_array()))
    return array.compressed()


def finished_bar(bar: Colorbar) -> Colorbar:
    """The bar, opaque although the points may be transparent, and with readable numbers on a logarithmic scale."""
    if bar.solids is not None:
        bar.solids.set_alpha(1)
    if isinstance(bar.norm, LogNorm):
        readable_decades(bar.ax.xaxis if bar.orientation == "horizontal" else bar.ax.yaxis)
    return bar


def common_scale(mappables: Sequence[ScalarMappable | None]) -> list[ScalarMappable]:
    """Give the densities of several panels one colour scale; returns those that are there."""
    drawn = [mappable for mappable in mappables if mappable is not None]
    top = max((finite_values(mappable).max(initial=10) for mappable in drawn), default=10)
    for mappable in drawn:
        mappable.set_clim(1, top)
    return drawn


def readable_decades(axis: Axis, steps: tuple[int, ...] = (1, 2, 5)) -> None:
    """Label a logarithmic axis at these steps of each decade: 1, 2, 5, 10, 20; beyond two decades, at powers of ten."""
    low, high = np.sort(axis.get_view_interval())
    axis.set_major_locator(LogLocator(subs=steps if high < 200 * low else (1,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


def integer_ticks(axis: Axis) -> None:
    """Put ticks at integers only."""
    locator = AutoLocator()
    locator.set_params(integer=True)
    axis.set_major_locator(locator)


def literal(text: str) -> str:
    """Return a text from outside as a label that shows it as it is, in one line: no formulae, and not hidden."""
    text = " ".join(text.split()).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text  # labels that begin with _ stay out of legends


def legend_above(axes: Axes, columns: int) -> None:
    """Add a legend above the axes, where it covers no data; without labelled artists, add nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        axes.legend(handles, labels, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, borderaxespad=0.2)


def legend_of_panels(axes: np.ndarray, columns: int) -> None:
    """One legend above all panels, with each label once."""
    entries: dict[str, Artist] = {}
    for panel in axes.flat:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        axes.flat[0].figure.legend(entries.values(), entries.keys(), loc="outside upper center", ncols=columns)


def finite(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the arrays as floats, without the rows in which any of them is not finite."""
    arrays = tuple(np.ma.filled(np.ma.asarray(array, dtype=float), np.nan).ravel() for array in arrays)
    keep = np.logical_and.reduce([np.isfinite(array) for array in arrays])
    return tuple(array[keep] for array in arrays)


def limits(values: np.ndarray, percent: float = 1.0) -> tuple[float, float]:
    """Return a display range: from percentile `percent` to 100 - `percent` of the finite values; 0 to 1 without any."""
    (values,) = finite(values)
    if not values.size:
        return 0.0, 1.0
    low, high = (float(limit) for limit in np.percentile(values, [percent, 100 - percent]))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def running_median(x: np.ndarray, y: np.ndarray, edges: np.ndarray, min_stars: int = 5) -> np.ndarray:
    """Return the median of `y` in the bins of `x` between `edges` (n + 1,); (n,), NaN in bins below `min_stars`."""
    x, y = finite(x, y)
    return binned(x, y, edges, np.median, min_stars)


def binned(
    x: np.ndarray, y: np.ndarray, edges: np.ndarray, statistic: Callable[[np.ndarray], float], min_stars: int
) -> np.ndarray:
    """Return the `statistic` of the finite `y` per bin of `x`; (n,), NaN in bins with fewer than `min_stars` stars."""
    if not x.size:
        return np.full(len(edges) - 1, np.nan)
    counts = np.histogram(x, edges)[0]
    values = binned_statistic(x, y, statistic, edges).statistic.astype(float)
    return np.where(counts >= min_stars, values, np.nan)


def binned_median_map(
    x: np.ndarray, y: np.ndarray, values: np.ndarray, x_edges: np.ndarray, y_edges: np.ndarray
) -> np.ndarray:
    """Return medians of `values` in rectangles; (len(y_edges) - 1, len(x_edges) - 1), NaN where there is no star."""
    x, y, values = finite(x, y, values)
    if not x.size:
        return np.full((len(y_edges) - 1, len(x_edges) - 1), np.nan)
    return binned_statistic_2d(y, x, values, "median", [y_edges, x_edges]).statistic


def colour_stars(
    axes: Axes,
    x: np.ndarray,
    y: np.ndarray,
    values: np.ndarray,
    norm: Normalize,
    cmap: str = "viridis",
    *,
    ranges: tuple[tuple[float, float], tuple[float, float]] | None = None,
    pixels: tuple[int, int] = (150, 150),
) -> ScalarMappable:
    """Draw stars coloured by `values`: points for few stars, else the median in each pixel of the ranges of x and y."""
    x, y, values = finite(x, y, values)
    if x.size <= FEW_STARS:
        size = 6 if x.size > 300 else 12
        return axes.scatter(x, y, s=size, c=values, norm=norm, cmap=cmap, rasterized=True)
    x_range, y_range = ranges or (limits(x, 0.05), limits(y, 0.05))
    x_edges, y_edges = np.linspace(*x_range, pixels[0] + 1), np.linspace(*y_range, pixels[1] + 1)
    medians = binned_median_map(x, y, values, x_edges, y_edges)
    return axes.pcolormesh(x_edges, y_edges, medians, norm=norm, cmap=cmap, rasterized=True)


def star_density(
    axes: Axes, x: np.ndarray, y: np.ndarray, x_edges: np.ndarray, y_edges: np.ndarray
) -> ScalarMappable | None:
    """Draw the number of stars per rectangle on a logarithmic colour scale; for few stars, points, returning None."""
    x, y = finite(x, y)
    if x.size <= FEW_STARS:
        size, alpha = (4, 0.4) if x.size > 300 else (12, 0.6)
        axes.scatter(x, y, s=size, color=MODEL_COLOURS["constant"], alpha=alpha, rasterized=True)
        return None
    counts = np.histogram2d(y, x, [y_edges, x_edges])[0]
    counts[counts == 0] = np.nan
    norm = LogNorm(1, max(np.nanmax(counts), 10)) if np.isfinite(counts).any() else None
    return axes.pcolormesh(x_edges, y_edges, counts, norm=norm, cmap="viridis", rasterized=True)


def one_to_one(axes: Axes, x: np.ndarray, y: np.ndarray, share: float, pixels: int) -> None:
    """Draw stars of two measures of one quantity with the line of equality; the outer `share` [%] is off the panel."""
    top = max(limits(x, share)[1], limits(y, share)[1])
    edges = np.linspace(0, top, pixels + 1)
    mappable = star_density(axes, x, y, edges, edges)
    if mappable is not None:
        colour_bar(mappable, axes, "stars per pixel")
    axes.plot([0, top], [0, top], color="#D55E00", linewidth=0.8)
    count_outside(axes, x, y, (0, top), (0, top))
    show_range(axes, (0, top), (0, top))


def show_range(axes: Axes, x: tuple[float, float] | None = None, y: tuple[float, float] | None = None) -> None:
    """Set the axes' limits with a margin of 3 % (of the decades on a logarithmic axis)."""
    for limits_given, setter, scale in ((x, axes.set_xlim, axes.get_xscale()), (y, axes.set_ylim, axes.get_yscale())):
        if limits_given is None:
            continue
        low, high = np.log10(limits_given) if scale == "log" else limits_given
        margin = 0.03 * (high - low)
        low, high = low - margin, high + margin
        setter((10**low, 10**high) if scale == "log" else (low, high))
