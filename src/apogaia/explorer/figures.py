"""The explorer's figures, without their stars: the page's script unpacks the stars and draws them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from bokeh.models import (
    ColumnDataSource,
    Label,
    LassoSelectTool,
    Model,
    Range1d,
    Span,
)
from bokeh.palettes import Cividis256, Viridis256
from bokeh.plotting import figure

from apogaia.explorer.table import ExplorerTable
from apogaia.survey import MapsSettings

__all__ = ["PALETTES", "Figures", "colour_limits", "make_figures"]

PALETTES: Mapping[str, tuple[str, ...]] = {"viridis": Viridis256, "cividis": Cividis256}
RING, ERROR_BAR = "#d62728", "#555555"
MARGIN = 0.05  # of a range, beyond its outermost stars
FAR, FAR_PARALLAX = 0.5, 3.0  # [per cent] of the stars lie beyond each end of an axis as it is at first
RINGS_KPC = (4, 8, 12, 16, 20)
BEYOND_CENTRE_KPC = 2.0  # the map reaches at least as far


@dataclass
class Figures:
    """Bokeh's models by the names that the script calls them, and which of them are figures of the page."""

    models: dict[str, Model] = field(default_factory=dict)
    roots: dict[str, Model] = field(default_factory=dict)


def make_figures(table: ExplorerTable, maps: MapsSettings, *, with_spectra: bool) -> Figures:
    """Map, Kiel diagram and parallaxes, as far as the table has them, and spectrum with sensitivity."""
    made = Figures()
    made.models |= {
        "chosen": ColumnDataSource({key: [] for key in _PLACES}),
        "embedded": ColumnDataSource({key: [] for key in _PLACES}),
        "errors": ColumnDataSource({key: [] for key in ("x", "y", "low_x", "high_x", "low_y", "high_y")}),
    }
    if table.has("x", "y"):
        made.roots["map"] = _map(table, maps, made)
    if table.has("teff", "logg"):
        made.roots["kiel"] = _kiel(table, made)
    if table.has("nn_parallax", "gaia"):
        made.roots["parallaxes"] = _parallaxes(table, made)
    if with_spectra:
        _add_spectrum(made)
    made.models |= made.roots
    return made


_PLACES = ("x", "y", "teff", "logg", "nn_parallax", "gaia")


def colour_limits(values: np.ndarray) -> tuple[float, float]:
    """Ends of the colour scale: 2nd and 98th percentile of the known values, a little apart if they are equal."""
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, [2, 98]) if len(known) else (0.0, 1.0)
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _range(values: np.ndarray, *, also: tuple[float, ...] = (), reverse: bool = False, far: float = FAR) -> Range1d:
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, [far, 100 - far]) if len(known) else (0.0, 1.0)
    low, high = min(low, *also, high), max(high, *also, low)
    margin = MARGIN * (high - low) or 1.0
    start, end = float(low - margin), float(high + margin)
    return Range1d(start=end, end=start) if reverse else Range1d(start=start, end=end)


def _figure(title: str, x: tuple[str, Range1d], y: tuple[str, Range1d]) -> figure:
    made = figure(
        height=430,
        sizing_mode="stretch_width",
        title=title,
        x_axis_label=x[0],
        y_axis_label=y[0],
        x_range=x[1],
        y_range=y[1],
        tools="pan,wheel_zoom,box_zoom,box_select,reset",
        active_drag="box_select",
        active_scroll="wheel_zoom",
        toolbar_location="above",
        min_border_right=12,
    )
    made.add_tools(LassoSelectTool(continuous=False))
    made.toolbar.logo = None
    made.title.text_font_size = "14px"
    for axis in made.axis:
        axis.axis_label_text_font_style = "normal"
    made.grid.grid_line_alpha = 0.4
    return made


def _add_stars(plot: figure, made: Figures, name: str, x: str, y: str) -> None:
    """The image that the script draws of the stars; rings of those with spectra, and of the chosen one, above it."""
    nothing = np.zeros((1, 1), np.uint32)
    source = ColumnDataSource({"image": [nothing], "x": [0.0], "y": [0.0], "dw": [0.0], "dh": [0.0]})
    plot.image_rgba("image", "x", "y", "dw", "dh", source=source)
    plot.scatter(x, y, source=made.models["embedded"], size=9, fill_color=None, line_color="#222222", line_alpha=0.5)
    plot.scatter(x, y, source=made.models["chosen"], size=17, fill_color=None, line_color=RING, line_width=2.5)
    made.models[f"{name}_image"] = source


def _map(table: ExplorerTable, maps: MapsSettings, made: Figures) -> figure:
    sun = -maps.sun_distance
    x = ("Galactocentric x [kpc]", _range(table.values("x"), also=(sun, BEYOND_CENTRE_KPC)))
    y = ("Galactocentric y [kpc]", _range(table.values("y"), also=(0.0,)))
    plot = _figure("Face-on map of the Galaxy", x, y)
    plot.circle(0, 0, radius=list(RINGS_KPC), fill_color=None, line_color="#bbbbbb", line_dash="dotted")
    _add_stars(plot, made, "map", "x", "y")
    plot.scatter([sun], [0], marker="circle_dot", size=14, fill_color=None, line_color="black", line_width=1.5)
    plot.scatter([0], [0], marker="cross", size=14, line_color="black", line_width=1.5)
    for place, text in ((sun, "Sun"), (0.0, "Galactic centre")):
        label = Label(x=place, y=0, y_offset=-24, text=text, text_font_size="12px", text_align="center")
        label.update(background_fill_color="white", background_fill_alpha=0.7)
        plot.add_layout(label)
    return plot


def _kiel(table: ExplorerTable, made: Figures) -> figure:
    x = ("effective temperature Teff [K]", _range(table.values("teff"), reverse=True))
    y = ("surface gravity log g [dex of cm/s²]", _range(table.values("logg"), reverse=True))
    plot = _figure("Kiel diagram", x, y)
    _add_stars(plot, made, "kiel", "teff", "logg")
    return plot


def _parallaxes(table: ExplorerTable, made: Figures) -> figure:
    both = np.isfinite(table.values("nn_parallax")) & np.isfinite(table.values("gaia"))
    both &= ~table.bad | np.all(table.bad[both])  # where all are flagged, they are all there is to see
    x = ("parallax from the network [mas]", _range(table.values("nn_parallax")[both], also=(0.0,), far=FAR_PARALLAX))
    y = (
        "parallax from Gaia, corrected for the zero point [mas]",
        _range(table.values("gaia")[both], also=(0.0,), far=FAR_PARALLAX),
    )
    plot = _figure("Parallaxes: network and Gaia", x, y)
    plot.add_layout(Span(location=0, dimension="width", line_color="#bbbbbb", level="underlay"))
    _add_stars(plot, made, "parallaxes", "nn_parallax", "gaia")
    plot.line([-100, 1000], [-100, 1000], line_color="black", line_dash="dashed", line_width=1)
    errors = {"source": made.models["errors"], "line_color": ERROR_BAR, "line_alpha": 0.6}
    plot.segment("low_x", "y", "high_x", "y", **errors)
    plot.segment("x", "low_y", "x", "high_y", **errors)
    return plot


def _add_spectrum(made: Figures) -> None:
    """Spectrum above, sensitivity below, of one star; both zoom together along the wavelength."""
    source = ColumnDataSource({"wavelength": [], "flux": [], "sensitivity": []})
    x_range = Range1d(start=15120, end=16980)
    for name, title, y_label, colour in (
        ("flux", "Spectrum", "normalised flux", "#333333"),
        ("sensitivity", "Sensitivity of the luminosity", "∂fakemag / ∂flux [mas]", "#0072B2"),
    ):
        plot = figure(
            height=230,
            sizing_mode="stretch_width",
            title=title,
            x_range=x_range,
            y_range=Range1d(start=0, end=1),
            y_axis_label=y_label,
            x_axis_label="vacuum wavelength [Å]",
            tools="xpan,xwheel_zoom,xbox_zoom,reset",
            active_drag="xbox_zoom",
            active_scroll=None,
            toolbar_location="above",
            min_border_left=70,
        )
        plot.line("wavelength", name, source=source, line_color=colour, line_width=0.8)
        plot.toolbar.logo = None
        plot.title.text_font_size = "14px"
        plot.grid.grid_line_alpha = 0.4
        for axis in plot.axis:
            axis.axis_label_text_font_style = "normal"
        made.roots[name] = plot
    made.models["spectrum"] = source
