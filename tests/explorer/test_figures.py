"""Which figures there are, and where their axes begin and end."""

from dataclasses import replace

import explorer_files
import numpy as np
import pytest

from apogaia.explorer.figures import colour_limits, make_figures
from apogaia.explorer.table import read_table
from apogaia.survey import load_survey

MAPS = load_survey("smoke").maps


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return read_table(explorer_files.write_catalogue(tmp_path_factory.mktemp("explorer")), MAPS)


def test_a_figure_is_there_if_the_catalogue_has_its_numbers(table):
    assert list(make_figures(table, MAPS, with_spectra=True).roots) == [
        "map",
        "kiel",
        "parallaxes",
        "flux",
        "sensitivity",
    ]
    without = {key: column for key, column in table.columns.items() if key not in ("logg", "gaia")}
    assert list(make_figures(replace(table, columns=without), MAPS, with_spectra=False).roots) == ["map"]


def test_axes_hold_nearly_all_stars_the_sun_and_the_centre(table):
    roots = make_figures(table, MAPS, with_spectra=False).roots
    x_range = roots["map"].x_range
    assert x_range.start < -MAPS.sun_distance and x_range.end > 0
    x = table.values("x")
    assert np.mean((x > x_range.start) & (x < x_range.end)) > 0.97
    kiel = roots["kiel"]
    assert kiel.x_range.start > kiel.x_range.end and kiel.y_range.start > kiel.y_range.end
    assert kiel.xaxis[0].axis_label.endswith("[K]") and "[kpc]" in roots["map"].xaxis[0].axis_label


def test_colours_span_most_of_the_known_values():
    assert colour_limits(np.r_[np.arange(101.0), np.nan]) == (2.0, 98.0)
    low, high = colour_limits(np.full(5, -0.058))
    assert low < -0.058 < high
