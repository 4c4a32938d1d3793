"""The cross-match with Gaia against astropy's motion and a search through all sources."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import Distance, SkyCoord
from astropy.table import Table
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

from apogaia.reduction import crossmatch
from apogaia.reduction.crossmatch import cross_match
from apogaia.survey import load_survey

SOURCES = load_survey("dr14").sources


@pytest.mark.filterwarnings("ignore:ERFA function")  # the sources are put at an arbitrary, large distance
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    centre_ra=st.floats(0, 360),
    centre_dec=st.floats(-90, 90),
    n_stars=st.integers(0, 30),
    n_gaia=st.integers(0, 60),
)
def test_cross_match_equals_brute_force(seed, centre_ra, centre_dec, n_stars, n_gaia):
    rng = np.random.default_rng(seed)

    def scatter(n):  # within some arcsec, poles and ra = 0 included
        centre = SkyCoord(centre_ra * u.deg, centre_dec * u.deg)
        return centre.directional_offset_by(rng.uniform(0, 360, n) * u.deg, rng.uniform(0, 8, n) * u.arcsec)

    stars, sources = scatter(n_stars), scatter(n_gaia)
    pm = rng.normal(0, 100, (2, n_gaia))
    pm[:, rng.random(n_gaia) < 0.2] = np.nan
    gaia = Table({"ra": sources.ra.deg, "dec": sources.dec.deg, "pmra": pm[0], "pmdec": pm[1]})
    index, separation, count = cross_match(stars.ra.deg, stars.dec.deg, gaia, SOURCES)

    moved = SkyCoord(
        sources.ra,
        sources.dec,
        pm_ra_cosdec=np.nan_to_num(pm[0]) * u.mas / u.yr,
        pm_dec=np.nan_to_num(pm[1]) * u.mas / u.yr,
        distance=Distance(np.full(n_gaia, 1e5) * u.pc),
        obstime=Time(SOURCES.gaia_epoch, format="jyear"),
    )
    moved = moved.apply_space_motion(new_obstime=Time(SOURCES.apogee_epoch, format="jyear")) if n_gaia else moved
    for i in range(n_stars):
        all_separations = stars[i].separation(moved).arcsec
        inside = all_separations < 2
        assert count[i] == inside.sum()
        if inside.any():
            assert index[i] == np.argmin(all_separations)
            assert separation[i] == pytest.approx(all_separations.min(), abs=1e-5)
        else:
            assert index[i] == -1 and np.isnan(separation[i])


def test_positions_move_with_the_proper_motion():
    moved = crossmatch.at_epoch([10.0, 10.0], [60.0, 60.0], [1000.0, np.nan], [0.0, 500.0], -10.0)
    ra = np.degrees(np.arctan2(moved[:, 1], moved[:, 0]))
    assert ra[0] == pytest.approx(10 - 10 / 3600 / 0.5, abs=1e-7)  # pmra holds cos(dec)
    assert ra[1] == pytest.approx(10, abs=1e-12)
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 1, rtol=1e-15)


def test_stars_without_position_match_nothing():
    gaia = Table({"ra": [np.nan, 5.0], "dec": [0.0, 0.0], "pmra": [0.0, 0.0], "pmdec": [0.0, 0.0]})
    index, separation, count = cross_match([np.nan, 5.0], [0.0, 1 / 3600], gaia, SOURCES)
    assert index.tolist() == [-1, 1] and count.tolist() == [0, 1]
    assert np.isnan(separation[0]) and separation[1] == pytest.approx(1)
