"""The stand-in TAP service reads what it is asked, and answers nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Table
from gaia_sky import DR2, a_source
from pyvo.dal import DALQueryError, TAPService
from stand_in import StandIn
from stand_in_tap import AdqlError, StandInTap, select

from apogaia.archive.gaia import gaia_query
from apogaia.survey import load_survey


@pytest.mark.parametrize("radius, near, years", [(60, 5, 15.5), (300, 20, 0), (2, 1, 100)])
def test_the_stand_in_selects_what_the_query_says(radius, near, years):
    rng = np.random.default_rng(radius)
    stars = Table({"ra": rng.uniform(0, 0.4, 30), "dec": 89 + rng.uniform(0, 0.9, 30)})
    sources = a_source(
        500, ra=rng.uniform(0, 0.4, 500), dec=89 + rng.uniform(0, 0.9, 500), pmra=rng.normal(0, 2000, 500)
    )
    sources["pmdec"][::7] = np.nan
    survey = load_survey("smoke")
    survey = replace(
        survey,
        archive=replace(survey.archive, gaia_radius=float(near), gaia_radius_moving=float(radius)),
        sources=replace(survey.sources, match_radius=0.5, gaia_epoch=2000.0 + years),
    )
    found = select(gaia_query(survey), {DR2.table: sources}, {"stars": stars})
    places = SkyCoord(stars["ra"] * u.deg, stars["dec"] * u.deg)
    distance = SkyCoord(sources["ra"] * u.deg, sources["dec"] * u.deg)[:, None].separation(places).arcsec
    motion = np.hypot(sources["pmra"], sources["pmdec"])[:, None] * years / 1000
    expected = (distance <= radius) & ((distance <= near) | (distance <= 0.5 + motion))
    np.testing.assert_array_equal(found["source_id"], sources["source_id"][expected.any(axis=1)])
    everything = select(gaia_query(survey).replace("DISTINCT ", ""), {DR2.table: sources}, {"stars": stars})
    assert len(everything) == np.count_nonzero(expected)


@pytest.mark.parametrize(
    "old, new",
    [
        ("SELECT DISTINCT", "SELECT TOP 5"),
        ("g.bp_rp", "g.colour"),
        ("g.bp_rp", "s.ra"),
        (DR2.table, "gaiadr3.gaia_source"),
        ("CIRCLE('ICRS', g.ra, g.dec", "CIRCLE('ICRS', s.ra, s.dec"),
        ("CIRCLE('ICRS', g.ra, g.dec", "CIRCLE('GALACTIC', g.ra, g.dec"),
        ("tap_upload.stars", "tap_upload.galaxies"),
        ("SQRT(g.pmra", "EXP(g.pmra"),
        ("/ 3600000.0", "/ 3600000.0 ORDER BY g.ra"),
        ("SQRT(", "SQRT(("),
    ],
)
def test_the_stand_in_refuses_what_it_does_not_understand(old, new):
    query = gaia_query(load_survey("smoke"))
    assert old in query
    stars = Table({"ra": [1.0], "dec": [1.0]})
    with pytest.raises(AdqlError):
        select(query.replace(old, new), {DR2.table: a_source()}, {"stars": stars})


def test_the_stand_in_serves_other_clients_and_tells_them_their_mistakes():
    query, stars = gaia_query(load_survey("smoke")), Table({"ra": [7.0], "dec": [7.0]})
    with StandIn(StandInTap({DR2.table: a_source(3, ra=7.0, dec=[7, 7.001, 8])})) as server:
        client = TAPService(f"{server.url}/tap")
        assert client.get_tap_capability() is not None
        assert len(client.run_sync(query, uploads={"stars": stars})) == 2
        with pytest.raises(DALQueryError, match=r"there is no column g\.colour"):
            client.run_async(query.replace("g.bp_rp", "g.colour"), uploads={"stars": stars})
