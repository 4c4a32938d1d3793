"""The published zero point of EDR3 is that of its authors' package, and unknown outside its validity."""

import numpy as np
import pytest
from astropy.table import MaskedColumn, Table
from zero_point import zpt

from apogaia.physics import lindegren
from apogaia.reduction import quality_cuts
from apogaia.survey import load_survey


def test_the_zero_point_is_the_packages_and_unknown_outside_its_validity():
    g, nu_eff, pseudocolour, ecl_lat, solved = np.array(
        [
            (13.1, 1.45, np.nan, 20.0, 31),
            (11.0, np.nan, 1.40, -60.0, 95),
            (5.9, 1.45, np.nan, 20.0, 31),
            (21.5, 1.45, np.nan, 20.0, 31),
            (13.1, 1.05, np.nan, 20.0, 31),
            (13.1, np.nan, 1.20, 20.0, 95),
            (13.1, np.nan, np.nan, 20.0, 3),
            (13.1, np.nan, np.nan, 20.0, 31),
            (np.nan, np.nan, np.nan, np.nan, 0),
        ]
    ).T
    found = lindegren.zero_point(g, nu_eff, pseudocolour, ecl_lat, solved)
    one_by_one = [
        zpt.get_zpt(*(np.array([value]) for value in star))[0]
        for star in ((13.1, 1.45, -99.0, 20.0, 31), (11.0, -99.0, 1.40, -60.0, 95))
    ]
    np.testing.assert_allclose(found[:2], one_by_one)
    assert np.all(found[:2] < 0) and np.isnan(found[2:]).all()
    further = lindegren.zero_point(g, nu_eff, pseudocolour, ecl_lat, solved, extrapolate=True)
    np.testing.assert_array_equal(np.isfinite(further), [True] * 6 + [False] * 3)


def test_a_parallax_without_a_zero_point_is_kept_flagged_and_does_not_train():
    table = Table({"parallax": [0.5, 0.5], "g_mag": [13.0, 5.0], "ecl_lat": [10.0, 10.0]})
    table["nu_eff_used_in_astrometry"], table["pseudocolour"], table["astrometric_params_solved"] = 1.4, np.nan, 31
    lindegren.correct_parallaxes(table)
    assert table["parallax"][0] > 0.5 and table["parallax"][1] == 0.5 and np.isnan(table["parallax_zero_point"][1])
    cut = next(cut for cut in quality_cuts.cuts(load_survey("dr17")) if cut.name == "zero point")
    assert cut.keep(table).tolist() == [True, False]


def test_masked_columns_have_no_zero_point_and_units_are_converted():
    table = Table({"parallax": [0.5e-3, 0.5e-3, 0.5e-3], "ecl_lat": [10.0, 10.0, 10.0]})
    table["g_mag"] = MaskedColumn([13.0, 13.0, 13.0], mask=[False, True, False])
    table["nu_eff_used_in_astrometry"], table["pseudocolour"], table["astrometric_params_solved"] = 1.4, np.nan, 31
    table["parallax"] = MaskedColumn(table["parallax"], mask=[False, False, True], unit="arcsec")
    lindegren.correct_parallaxes(table)
    first, second, third = table["parallax"]
    assert 0.5 < first < 0.6 and second == pytest.approx(0.5) and np.isnan(third)
    assert np.isnan(table["parallax_zero_point"][1:]).all()
