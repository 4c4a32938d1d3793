"""Galactocentric positions, binned maps, sample selection, orbits."""

import dataclasses

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import MaskedColumn, Table
from galpy.util import coords as galpy_coords

from apogaia.physics import galaxy, sun
from apogaia.survey import load_survey

MAPS = load_survey("dr14").maps
CENTRE = (266.4051, -28.936175)  # Sgr A*, deg


def test_the_sun_is_at_minus_8_125_kpc():
    x, y, z = galaxy.galactocentric(CENTRE[0], CENTRE[1], 1e-6, MAPS)
    assert x == pytest.approx(-8.125, abs=1e-4)
    assert np.hypot(x, z) == pytest.approx(8.125, abs=1e-6)
    assert y == pytest.approx(0, abs=1e-6) and z == pytest.approx(0.0208, abs=1e-6)


def test_the_galactic_centre_is_at_the_origin():
    np.testing.assert_allclose(galaxy.galactocentric(*CENTRE, 8125.0, MAPS), 0, atol=1e-4)


def test_positions_agree_with_galpy_and_unknown_stays_unknown():
    rng = np.random.default_rng(1)
    ra, dec, dist = rng.uniform(0, 360, 50), rng.uniform(-80, 80, 50), rng.uniform(100, 12000, 50)
    dist[7] = np.nan
    found = np.array(galaxy.galactocentric(ra, dec, dist, MAPS))
    known = np.isfinite(dist)
    assert np.isnan(found[:, ~known]).all()
    assert np.isnan(galaxy.galactocentric([10.0], [10.0], [np.nan], MAPS)).all()
    lb = galpy_coords.radec_to_lb(ra[known], dec[known], degree=True, epoch=None)
    xyz = galpy_coords.lbd_to_XYZ(lb[:, 0], lb[:, 1], dist[known] / 1000, degree=True)
    expected = galpy_coords.XYZ_to_galcenrect(*xyz.T, Xsun=MAPS.sun_distance, Zsun=MAPS.sun_height / 1000)
    # galpy is left-handed: its Sun is at positive x
    np.testing.assert_allclose(found[:, known], expected.T * [[-1], [1], [1]], atol=2e-3)


def test_galactic_coordinates_give_the_same_places_but_for_the_tilt_of_the_plane():
    rng = np.random.default_rng(2)
    glon, glat, distance = rng.uniform(0, 360, 200), rng.uniform(-90, 90, 200), rng.uniform(0.1, 12, 200)
    found = np.array(galaxy.galactocentric_from_galactic(glon, glat, distance))
    stars = SkyCoord(l=glon, b=glat, unit="deg", frame="galactic").icrs
    expected = np.array(galaxy.galactocentric(stars.ra.deg, stars.dec.deg, 1000 * distance, MAPS))
    tilt = sun.SUN_HEIGHT_KPC / sun.SUN_DISTANCE_KPC
    assert np.abs(found - expected).max() < 1.1 * tilt * distance.max()
    assert galaxy.galactocentric_from_galactic(0.0, 0.0, 8.125) == pytest.approx((0.0, 0.0, 0.0208))


def test_the_surveys_sun_is_the_packages():
    assert MAPS.sun_distance == sun.SUN_DISTANCE_KPC
    assert MAPS.sun_height == pytest.approx(1000 * sun.SUN_HEIGHT_KPC)


def test_map_edges_follow_the_survey():
    x_edges, y_edges = galaxy.map_edges(MAPS)
    assert (x_edges[0], x_edges[-1], y_edges[0], y_edges[-1]) == (-16, 4, -10, 10)
    np.testing.assert_allclose(np.diff(x_edges), 0.5)  # the paper's 500 pc
    assert len(x_edges) == len(y_edges) == MAPS.bins + 1


def test_binned_median_by_hand():
    maps = dataclasses.replace(MAPS, bins=2, centre_x=0.0, half_width=1.0, min_stars=3)
    x = [-0.5, -0.5, -0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 5.0]
    y = [0.5, 0.5, 0.5, -0.5, -0.5, -0.5, 0.5, 0.5, 0.5]
    values = [1.0, 2.0, 9.0, 4.0, 5.0, np.nan, 7.0, 8.0, 1e9]
    median, counts = galaxy.binned_median(x, y, values, maps)
    np.testing.assert_array_equal(counts, [[0, 3], [2, 2]])  # first index along x
    np.testing.assert_array_equal(median, [[np.nan, 2.0], [np.nan, np.nan]])
    median, _ = galaxy.binned_median(x, y, values, dataclasses.replace(maps, min_stars=2))
    np.testing.assert_array_equal(median, [[np.nan, 2.0], [4.5, 7.5]])


def test_binned_median_of_nothing():
    median, counts = galaxy.binned_median([], [], [], MAPS)
    assert median.shape == (MAPS.bins, MAPS.bins) and np.isnan(median).all() and not counts.any()


def sample(n=1, **columns):
    parameters = {"logg_error": 0.1, "fe_h": 0.0, "fe_h_error": 0.02}
    for element in galaxy.MAP_ELEMENTS:
        parameters |= {f"{element}_h": 0.2, f"{element}_h_error": 0.03}
    table = Table({name: np.full(n, value) for name, value in parameters.items()})
    table["dist"], table["dist_model_error"], table["z"] = np.full(n, 5000.0), np.full(n, 300.0), np.full(n, 0.1)
    for name, values in columns.items():
        table[name] = values
    return galaxy.map_sample(table, table, table["z"], MAPS)


def test_map_sample_takes_good_stars_for_all_16_maps():
    masks = sample()
    assert set(masks) == {"fe", *galaxy.MAP_ELEMENTS} and len(masks) == 16
    assert all(mask.tolist() == [True] for mask in masks.values())


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("dist_model_error", 1000.0),
        ("dist_model_error", np.nan),
        ("dist", np.nan),
        ("logg_error", 0.2),
        ("fe_h", np.nan),
        ("fe_h_error", 0.05),
        ("z", -0.3),
        ("z", np.nan),
    ],
)
def test_map_sample_cuts_are_those_of_section_6(column, value):
    assert not any(mask[0] for mask in sample(**{column: [value]}).values())


def test_map_sample_cuts_an_element_for_its_own_map_only():
    for columns in ({"na_h_error": [0.1]}, {"na_h": [np.nan]}):
        masks = sample(**columns)
        assert not masks["na"][0] and masks["fe"][0] and masks["mg"][0]


def test_abundance_ratio():
    table = Table({"fe_h": [-0.3], "mg_h": [-0.1]})
    assert galaxy.abundance_ratio(table, "mg")[0] == pytest.approx(0.2)
    assert galaxy.abundance_ratio(table, "fe")[0] == -0.3
    with pytest.raises(ValueError, match=r"element must be one of fe, c, n, .*, ni, not 'Mg'"):
        galaxy.abundance_ratio(table, "Mg")


def test_orbits_of_the_stars_that_are_known():
    nan = np.nan
    catalogue = Table(
        {
            "ra": [CENTRE[0], 100.0, 200.0, 290.0],
            "dec": [CENTRE[1], 10.0, 20.0, 30.0],
            "dist": [1e-3, 2000.0, nan, 3000.0],
            "pmra": [0.0, 1.0, 1.0, nan],
            "pmdec": [0.0, -1.0, 1.0, 2.0],
        }
    )
    orbits, rows = galaxy.orbits(catalogue, [0.0, 20.0, 30.0, 40.0], MAPS)
    assert rows.tolist() == [0, 1]
    # a star at rest beside the Sun moves as the Sun does; galpy's vR points outwards
    assert orbits.vR()[0] == pytest.approx(-11.1, abs=0.1)
    assert orbits.vT()[0] == pytest.approx(245.7, abs=0.1)
    assert orbits.vz()[0] == pytest.approx(7.25, abs=0.1)
    x, y, z = galaxy.galactocentric(*(catalogue[name][rows] for name in ("ra", "dec", "dist")), MAPS)
    np.testing.assert_allclose(orbits.R(), np.hypot(x, y), atol=2e-3)
    np.testing.assert_allclose(orbits.z(), z, atol=2e-3)
    assert orbits.vR().shape == (2,)
    with pytest.raises(ValueError, match="no star"):
        galaxy.orbits(catalogue[2:], [1.0, 1.0], MAPS)


def test_a_star_without_a_distance_has_neither_place_nor_orbit():
    """However the distance is missing: the Sun's own place would be a plausible one."""
    n = 5
    catalogue = Table({name: np.full(n, 10.0) for name in ("ra", "dec", "pmra", "pmdec")})
    catalogue["dist"] = MaskedColumn([2000.0, 0.0, 0.0, np.nan, -9999.0], mask=[False, True, False, False, False])
    orbits, rows = galaxy.orbits(catalogue, np.zeros(n), MAPS)
    assert rows.tolist() == [0] and orbits.R().shape == (1,)
    x, _, _ = galaxy.galactocentric(catalogue["ra"], catalogue["dec"], catalogue["dist"], MAPS)
    assert np.isnan(x[[1, 3, 4]]).all() and np.isfinite(x[0])
    catalogue["dist"] = [2.0, 2.0, 2.0, 2.0, 2.0] * u.kpc
    far, _ = galaxy.orbits(catalogue, np.zeros(n), MAPS)
    assert far.R()[0] == pytest.approx(orbits.R()[0])


@pytest.mark.parametrize("unit, factor", [(None, 1.0), (u.kpc, 1.0), (u.pc, 1000.0)])
def test_true_positions_are_where_the_truth_s_distances_put_the_stars(unit, factor):
    glon, glat, distance = np.array([0.0, 90.0, 200.0, 31.0]), np.array([0.0, 0.0, 40.0, -3.0]), [3.0, 0.5, 2.0, np.nan]
    stars = SkyCoord(l=glon * u.deg, b=glat * u.deg, frame="galactic").icrs
    catalogue = Table({"ra": stars.ra.deg, "dec": stars.dec.deg})
    truth = Table({"distance_kpc": factor * np.array(distance)})
    truth["distance_kpc"].unit = unit
    found = np.array(galaxy.true_galactocentric(catalogue, truth, MAPS))
    assert np.isnan(found[:, 3]).all()
    expected = np.array(galaxy.galactocentric_from_galactic(glon[:3], glat[:3], np.array(distance[:3])))
    np.testing.assert_allclose(found[:, :3], expected, atol=0.01)
    assert found[0, 0] == pytest.approx(-5.125, abs=0.01)


def test_a_map_against_its_truth_by_hand():
    found = np.array([[0.1, np.nan], [0.3, -0.2]])
    true = np.array([[0.0, 0.0], [0.1, np.nan]])
    numbers = galaxy.map_against_truth(found, true)
    assert numbers["bins"] == 2 and numbers["median_difference"] == pytest.approx(0.15)  # found minus true
    assert numbers["scatter"] == pytest.approx(0.05 * 1.4826, rel=1e-3)
    nothing = galaxy.map_against_truth(found, np.full((2, 2), np.nan))
    assert nothing == {"bins": 0, "median_difference": None, "scatter": None}
    with pytest.raises(ValueError, match="the same bins"):
        galaxy.map_against_truth(found, true[:1])


def test_medians_by_radius_by_hand():
    radius = [4.0, 4.1, 5.0, 5.9, 5.999, 6.0, 7.0, 7.0, 7.0, 7.0, np.nan, 20.0]
    values = [0.1, 0.2, 0.3, 0.4, 0.5, 9.0, 9.0, 9.0, 9.0, np.nan, 1.0, 1.0]
    rings = galaxy.median_by_radius(radius, values)
    assert len(rings) == 8 and rings["4-6 kpc"] == pytest.approx(0.3)
    assert rings["6-8 kpc"] is None and rings["14-16 kpc"] is None  # four known stars are too few
