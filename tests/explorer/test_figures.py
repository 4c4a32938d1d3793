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


def test_a_catalogue_whose_stars_are_all_flagged_shows_them_all(table):
    flagged = replace(table, bad=np.ones_like(table.bad))
    span = make_figures(flagged, MAPS, with_spectra=False).roots["parallaxes"].x_range
    known = table.values("nn_parallax")
    known = known[np.isfinite(known) & np.isfinite(table.values("gaia"))]
    assert np.mean((known > span.start) & (known < span.end)) > 0.9


def test_numbers_of_which_none_is_known_leave_axes_and_colours_finite(table):
    nothing = {
        key: replace(column, values=np.full_like(column.values, np.nan)) for key, column in table.columns.items()
    }
    roots = make_figures(replace(table, columns=nothing), MAPS, with_spectra=False).roots
    assert all(np.isfinite([root.x_range.start, root.x_range.end]).all() for root in roots.values())
    assert np.isfinite(colour_limits(np.array([np.nan]))).all()


def test_colours_span_most_of_the_known_values():
    assert colour_limits(np.r_[np.arange(101.0), np.nan]) == (2.0, 98.0)
    low, high = colour_limits(np.full(5, -0.058))
    assert low < -0.058 < high
