"""Gaia's sources by TAP: the simulated table comes back byte for byte, whatever goes wrong on the way."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import gaia_sky
import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from gaia_sky import DR2, EDR3, QUICK, a_source, fetch, fetch_table, survey_for
from stand_in import HTML, Fault, Response, StandIn
from stand_in_tap import StandInTap

from apogaia.archive.gaia import fetch_gaia
from apogaia.archive.http.remote_files import FetchError
from apogaia.archive.tap_jobs import GaiaArchiveError
from apogaia.formats import survey_tables
from apogaia.reduction.crossmatch import cross_match
from apogaia.simulate.design import design_survey
from apogaia.simulate.files import write_tables
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

HASTY = replace(QUICK, job=0.1)
N_STARS = 200


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A simulated survey, its workspace and the positions in its allStar."""
    survey = load_survey("smoke")
    survey = replace(survey, name="tiny", simulation=replace(survey.simulation, n_stars=N_STARS))
    workspace = Workspace(survey, tmp_path_factory.mktemp("simulated"))
    write_tables(design_survey(survey), workspace)
    allstar = survey_tables.read_allstar(workspace.allstar)
    return survey, workspace, np.asarray(allstar["ra_apogee"]), np.asarray(allstar["dec_apogee"])


@pytest.fixture(scope="module")
def sky(simulated):
    """What the stand-in serves: the simulated table, and stars around which all of it lies."""
    _, workspace, ra, dec = simulated
    with fits.open(workspace.gaia) as hdus:
        sources = {name: hdus[1].data[name].astype(hdus[1].data[name].dtype.newbyteorder("=")) for name in DR2.columns}
    return {DR2.table: sources}, ra, dec


@contextmanager
def service(tap, faults=(), **archive):
    """A server for `tap`, and a survey that is fetched from it."""
    with StandIn(tap, faults) as server:
        yield server, survey_for(server.url, **archive)


def parts(root):
    return sorted((root / "data" / "fetched" / "gaia.parts").glob("[!.]*"))


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_simulated_table_comes_back_byte_for_byte(simulated, sky, tmp_path):
    tables, ra, dec = sky
    assert np.isnan(ra).sum() + len(ra) - len(np.unique(ra)) > 0, "the survey should have a repeated star"
    with service(tap := StandInTap(tables)) as (_, survey):
        path = fetch(survey, tmp_path, ra, dec)
    assert path == Workspace(survey, tmp_path).gaia
    assert path.read_bytes() == simulated[1].gaia.read_bytes()
    asked = np.concatenate(tap.uploaded)
    assert len(asked) == len(np.unique(np.stack([ra, dec])[:, np.isfinite(ra)], axis=1).T)
    assert [len(stars) for stars in tap.uploaded[:-1]] == [50] * (len(tap.uploaded) - 1)
    assert tap.deleted == list(tap.jobs)


def test_sources_far_from_every_star_stay_behind(simulated, sky, tmp_path):
    """With the survey's own radii: simulated neighbours lie out to 6 arcsec, and are no candidates beyond 5."""
    tables, ra, dec = sky
    sources = tables[DR2.table]
    places = SkyCoord(ra * u.deg, dec * u.deg)
    nearest = SkyCoord(sources["ra"] * u.deg, sources["dec"] * u.deg).match_to_catalog_sky(places)[1].arcsec
    motion = np.hypot(sources["pmra"], sources["pmdec"]) * 15.5 / 1000
    near = (nearest <= 5) | (nearest <= 2 + motion)
    assert 0 < np.count_nonzero(~near) < 10
    with service(StandInTap(tables), gaia_radius=5.0) as (_, survey):
        path = fetch(survey, tmp_path, ra, dec)
    survey_tables.write_gaia(
        expected := tmp_path / "expected.fits", {name: sources[name][near] for name in DR2.columns}
    )
    assert path.read_bytes() == expected.read_bytes()
    matched, simulated_match = (
        cross_match(ra, dec, survey_tables.read_gaia(table), survey.sources) for table in (path, simulated[1].gaia)
    )
    np.testing.assert_array_equal(matched[1], simulated_match[1])
    np.testing.assert_array_equal(matched[2], simulated_match[2])


@pytest.mark.parametrize(
    "chunk, options",
    [
        (1000, {}),
        (7, {}),
        (50, {"shuffled": 3}),
        (64, {"reversed_columns": True, "encoding": "tabledata"}),
        (33, {"shuffled": 8, "row_cap": 20}),
    ],
    ids=str,
)
def test_bytes_do_not_depend_on_chunks_or_on_the_order_of_answers(chunk, options, simulated, sky, tmp_path):
    tables, ra, dec = sky
    order = np.random.default_rng(chunk).permutation(len(ra))
    with service(StandInTap(tables, **options), gaia_chunk=chunk) as (_, survey):
        path = fetch(survey, tmp_path, ra[order], dec[order])
    assert path.read_bytes() == simulated[1].gaia.read_bytes()


def test_a_source_between_two_chunks_is_kept_once(tmp_path):
    tables = {DR2.table: a_source(2, ra=[10.0, 10.0005], dec=0.0)}
    ra, dec = np.array([10.0, 10.0005, 10.0]), np.zeros(3)
    with service(tap := StandInTap(tables), gaia_chunk=1) as (_, survey):
        table = Table.read(fetch(survey, tmp_path, ra, dec))
    assert len(tap.uploaded) == 2
    np.testing.assert_array_equal(table["source_id"], tables[DR2.table]["source_id"])


def test_fast_stars_are_found_beyond_the_radius_and_slow_ones_there_are_not(tmp_path):
    """A star at J2000, and sources at 2015.5: 40 arcsec away, moved by as much, by less, and with unknown motion."""
    away, years = 40.0, 15.5
    motion = np.array([away, 0.5 * away, np.nan, -away + 1.9]) * 1000 / years
    sources = a_source(4, ra=100.0, dec=60 + away / 3600, pmdec=motion)
    ra, dec = np.array([100.0]), np.array([60.0])
    with service(StandInTap({DR2.table: sources}), gaia_radius=5.0) as (_, survey):
        path = fetch(survey, tmp_path, ra, dec)
    found = Table.read(path)
    np.testing.assert_array_equal(found["source_id"], sources["source_id"][[0, 3]])
    index, separation, _ = cross_match(ra, dec, survey_tables.read_gaia(path), survey.sources)
    assert found["source_id"][index[0]] == sources["source_id"][0] and separation[0] < 0.01


def test_edr3_keeps_nulls_and_types(tmp_path):
    """As the archive types them: single precision, short counts, null where a column does not apply."""
    five, six = a_source(2, EDR3), slice(1, 2)
    sources = five | {
        **{name: five[name].astype(np.float32) for name in ("phot_g_mean_mag", "bp_rp", "ruwe", "pseudocolour")},
        **{name: five[name].astype(np.int16) for name in ("visibility_periods_used", "astrometric_params_solved")},
    }
    sources["ra"], sources["dec"] = np.array([359.9999, 0.0001]), np.zeros(2)
    sources["astrometric_params_solved"][:] = [31, 95]
    sources["nu_eff_used_in_astrometry"][six] = sources["parallax"][six] = sources["pmra"][six] = np.nan
    sources["pseudocolour"][0] = np.nan
    sources["ipd_frac_multi_peak"][six] = 0
    tap = StandInTap({EDR3.table: sources}, nullable=("ipd_frac_multi_peak",))
    with service(tap, release="edr3") as (_, survey):
        path = fetch(survey, tmp_path, np.array([-0.0001, 0.0001]), np.zeros(2))
    np.testing.assert_allclose(np.sort(np.concatenate(tap.uploaded)), [0.0001, 359.9999])
    assert path.name == "gaia_edr3_sources.fits"
    with fits.open(path) as hdus:
        columns = hdus[1].columns
        formats = {"source_id": "K"} | dict.fromkeys(
            [
                *("visibility_periods_used", "astrometric_n_good_obs_al"),
                *("ipd_frac_multi_peak", "astrometric_params_solved"),
            ],
            "J",
        )
        assert columns.names == list(EDR3.columns)
        assert columns.formats == [formats.get(name, "D") for name in EDR3.columns]
        for name in EDR3.columns:
            np.testing.assert_array_equal(hdus[1].data[name], sources[name], err_msg=name)


# --- what goes wrong --------------------------------------------------------------------------------------------------

PLACES = [  # a job is created and looked at, told to run, its result fetched, and removed
    ("/async$", "POST"),
    (r"/async/job\d+$", "GET"),
    ("/phase$", "POST"),
    ("/results/result$", "GET"),
    (r"/async/job\d+$", "DELETE"),
]
FAULTS = {
    "429": ("status", {"status": 429, "retry_after": 0}),
    "500": ("status", {"status": 500}),
    "503 until noon": ("status", {"status": 503, "retry_after": "noon"}),
    "504": ("status", {"status": 504}),
    "HTML": ("html", {}),
    "HTML said to be XML": ("html", {"content_type": "application/x-votable+xml"}),
    "no answer": ("drop", {"at": -1}),
    "half an answer": ("drop", {}),
    "cut short": ("wrong_length", {"change": -40}),
    "cut to nothing": ("wrong_length", {"change": -(10**9)}),
    "stall": ("stall", {}),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_at_each_place_leaves_the_table_whole(kind, simulated, sky, tmp_path):
    tables, ra, dec = sky
    fault, options = FAULTS[kind]
    faults = [Fault(path, fault, method=method, **options) for path, method in PLACES]
    with service(StandInTap(tables), faults, gaia_chunk=150, attempts=8, timeout=0.5) as (_, survey):
        table = fetch(survey, tmp_path, ra, dec)
    assert [fault.used for fault in faults] == [1] * len(PLACES)
    assert table.read_bytes() == simulated[1].gaia.read_bytes()


def test_polls_may_fail_without_loss_of_the_job(sky, tmp_path):
    tables, ra, dec = sky
    tap = StandInTap(tables, looks=4)
    spoiled = [Response(503), Response(headers={"Content-Type": "text/html"}, body=HTML), Response(404)]

    def handler(request):
        running = any(job.looked_at == 2 for job in tap.jobs.values())
        return spoiled.pop() if running and spoiled else tap(request)

    with service(handler, gaia_chunk=1000) as (_, survey):
        fetch(survey, tmp_path, ra, dec)
    assert not spoiled and len(tap.uploaded) == 1


@pytest.mark.parametrize("html, says", [(False, "timed out"), (True, "other than a job's state")])
def test_silence_about_a_running_job_does_not_count_as_a_large_one(html, says, sky, tmp_path):
    tables, ra, dec = sky
    tap, left = StandInTap(tables, looks=4), threading.Event()

    def handler(request):
        if request.method == "GET" and any(job.looked_at == 2 for job in tap.jobs.values()):
            if html:
                return Response(headers={"Content-Type": "text/html"}, body=HTML)
            left.wait(30)
        return tap(request)

    with service(handler, attempts=1, timeout=0.7) as (_, survey):
        with pytest.raises(GaiaArchiveError, match=rf"in 1 attempts.*{says}"):
            fetch(survey, tmp_path, ra, dec)
        left.set()
    assert [len(stars) for stars in tap.uploaded] == [50] and tap.deleted == ["job1"]


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_heeded(as_date, sky, tmp_path):
    tables, ra, dec = sky
    wait = 2 if as_date else 1  # dates are whole seconds
    with service(StandInTap(tables), [Fault("/async$", "status", status=429, retry_after=wait, as_date=as_date)]) as (
        _,
        survey,
    ):
        started = time.monotonic()
        fetch(survey, tmp_path, ra, dec)
    assert time.monotonic() - started > 0.95


@pytest.mark.parametrize("phase", ["ERROR", "ABORTED"])
def test_a_job_that_failed_is_tried_again_and_then_halved(phase, simulated, sky, tmp_path):
    tables, ra, dec = sky
    with service(tap := StandInTap(tables, failures=[phase] * 3), gaia_chunk=100) as (_, survey):
        path = fetch(survey, tmp_path, ra, dec)
    assert path.read_bytes() == simulated[1].gaia.read_bytes()
    assert [len(stars) for stars in tap.uploaded] == [100, 100, 50, 50, 50, len(np.unique(ra[~np.isnan(ra)])) - 100]
    assert tap.deleted == list(tap.jobs)


@pytest.mark.parametrize("too_slow", ["executing", "504"])
def test_jobs_that_take_too_long_are_halved_and_removed(too_slow, simulated, sky, tmp_path):
    tables, ra, dec = sky
    tap = StandInTap(tables, looks=0, patience_stars=60, too_slow=too_slow)
    with service(tap, gaia_chunk=120) as (_, survey):
        path = fetch(survey, tmp_path, ra, dec, HASTY)
    assert path.read_bytes() == simulated[1].gaia.read_bytes()
    sizes = [len(stars) for stars in tap.uploaded]
    assert [size for size in sizes if size <= 60] == [60, 60, 39, 39]
    assert len(sizes) == (8 if too_slow == "executing" else 4)
    assert tap.deleted == list(tap.jobs)


def crowd(per_star, stars):
    """Stars with many sources around each."""
    rng = np.random.default_rng(7)
    ra, dec = np.linspace(20, 30, stars), np.linspace(-5, 5, stars)
    place = np.repeat(np.stack([ra, dec]), per_star, axis=1) + rng.uniform(-1, 1, (2, per_star * stars)) / 3600
    return {DR2.table: a_source(per_star * stars, ra=place[0], dec=place[1])}, ra, dec


@pytest.mark.parametrize("per_star, cap, says_so", [(40, 1000, False), (1, 17, True)])
def test_capped_answers_are_asked_for_again_in_halves(per_star, cap, says_so, tmp_path):
    tables, ra, dec = crowd(per_star, 60)
    with service(tap := StandInTap(tables, row_cap=cap, says_so=says_so), gaia_chunk=60) as (_, survey):
        table = Table.read(fetch(survey, tmp_path, ra, dec))
    np.testing.assert_array_equal(table["source_id"], tables[DR2.table]["source_id"])
    # Jobs of 60 and of 30 stars are capped, and each is asked for once.
    assert [len(stars) for stars in tap.uploaded] == [60, 30, 15, 15, 30, 15, 15]


def test_an_answer_that_happens_to_have_a_thousand_rows_is_not_lost(tmp_path):
    tables, ra, dec = crowd(50, 20)
    with service(tap := StandInTap(tables), gaia_chunk=20) as (_, survey):
        assert len(Table.read(fetch(survey, tmp_path, ra, dec))) == 1000
    assert [len(stars) for stars in tap.uploaded] == [20, 10, 10]


def test_one_star_with_too_many_sources_is_an_error_with_a_remedy(tmp_path):
    tables, ra, dec = crowd(30, 3)
    with service(tap := StandInTap(tables, row_cap=29)) as (_, survey):
        with pytest.raises(GaiaArchiveError, match=r"ra 20\.0+, dec -5\.0+.*capped at 29 rows.*gaia_radius"):
            fetch(survey, tmp_path, ra, dec)
    assert [len(stars) for stars in tap.uploaded] == [3, 1]


def test_finished_chunks_stay_when_a_star_fails_and_are_not_asked_for_again(simulated, sky, tmp_path):
    tables, ra, dec = sky
    bad = np.sort(ra[np.argsort(dec)][120:121])
    with service(tap := StandInTap(tables, broken_stars=tuple(bad)), gaia_chunk=16) as (_, survey):
        with pytest.raises(GaiaArchiveError, match=f"ra {bad[0]:.6f}.*not to the database's liking.*chunks are kept"):
            fetch(survey, tmp_path, ra, dec)
        assert sum(np.isin(bad, stars).sum() for stars in tap.uploaded if len(stars) == 1) == survey.archive.attempts
        done = len(parts(tmp_path))
        assert 3 < done < 12 and not Workspace(survey, tmp_path).gaia.exists()
        kept = np.concatenate(tap.uploaded[:done])
        tap.broken_stars, tap.uploaded = (), []
        path = fetch(survey, tmp_path, ra, dec)
    assert path.read_bytes() == simulated[1].gaia.read_bytes()
    again = np.concatenate(tap.uploaded)
    assert not np.isin(kept, again).any() and len(kept) + len(again) == len(np.unique(ra[~np.isnan(ra)]))
    assert not path.with_name("gaia.parts").exists() and not parts(tmp_path)


# --- what cannot be mended --------------------------------------------------------------------------------------------


def test_a_missing_column_is_named_and_not_asked_for_again(sky, tmp_path):
    tables, ra, dec = sky
    with service(tap := StandInTap(tables, without="bp_rp")) as (_, survey):
        with pytest.raises(GaiaArchiveError, match="no column bp_rp"):
            fetch(survey, tmp_path, ra, dec)
    assert len(tap.uploaded) == 1 and tap.deleted == ["job1"]


def test_the_wrong_table_is_told_to_the_user(sky, tmp_path):
    _, ra, dec = sky
    with service(StandInTap({"gaiadr1.gaia_source": a_source()})) as (_, survey):
        with pytest.raises(GaiaArchiveError, match=r"there is no table gaiadr2\.gaia_source"):
            fetch(survey, tmp_path, ra, dec)


def test_ids_in_floating_point_are_refused(sky, tmp_path):
    tables, ra, dec = sky
    sources = tables[DR2.table] | {"source_id": tables[DR2.table]["source_id"].astype(float)}
    with service(StandInTap({DR2.table: sources})) as (_, survey):
        with pytest.raises(GaiaArchiveError, match=r"source_id .*float64"):
            fetch(survey, tmp_path, ra, dec)


def test_a_refused_query_ends_at_once(sky, tmp_path):
    tables, ra, dec = sky
    with service(StandInTap(tables), [Fault("/async$", "status", None, status=400)]) as (server, survey):
        with pytest.raises(GaiaArchiveError, match=r"refuses the query.*Back soon.*archive\.gaia_tap"):
            fetch(survey, tmp_path, ra, dec)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "kind, options, says", [("status", {"status": 503}, "Back soon"), ("html", {}, "job"), ("drop", {"at": -1}, "")]
)
def test_a_service_that_is_down_is_given_up_after_the_attempts(kind, options, says, sky, tmp_path):
    tables, ra, dec = sky
    with service(StandInTap(tables), [Fault("", kind, None, **options)]) as (server, survey):
        with pytest.raises(GaiaArchiveError, match=rf"in 4 attempts.*{says}.*Finished chunks are kept"):
            fetch(survey, tmp_path, ra, dec)
        assert len([request for request in server.requests if request.method == "POST"]) == survey.archive.attempts


def test_pages_instead_of_results_do_not_make_jobs_smaller(sky, tmp_path):
    tables, ra, dec = sky
    with service(tap := StandInTap(tables), [Fault("/result$", "html", None)], attempts=2) as (_, survey):
        with pytest.raises(GaiaArchiveError, match=r"in 2 attempts.*other than a VOTable"):
            fetch(survey, tmp_path, ra, dec)
    assert [len(stars) for stars in tap.uploaded] == [50, 50]


def test_a_service_that_is_not_there_is_given_up(sky, tmp_path):
    _, ra, dec = sky
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        survey = survey_for(f"http://127.0.0.1:{free.getsockname()[1]}")
        with pytest.raises(GaiaArchiveError, match=r"127\.0\.0\.1.*in 4 attempts"):
            fetch(survey, tmp_path, ra, dec)


def test_stars_without_positions_are_an_error(tmp_path):
    with pytest.raises(GaiaArchiveError, match="no star has a position"):
        fetch(survey_for("http://127.0.0.1:9"), tmp_path, np.full(3, np.nan), np.array([0.0, 1.0, 99.0]))


def test_a_full_disk_is_told_with_a_remedy(simulated, sky, tmp_path, monkeypatch):
    tables, ra, dec = sky

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with service(tap := StandInTap(tables)) as (_, survey):
        with monkeypatch.context() as patched:
            patched.setattr(np, "save", full)
            with pytest.raises(FetchError, match=r"gaia\.parts.*free some space"):
                fetch(survey, tmp_path, ra, dec)
        with monkeypatch.context() as patched:
            patched.setattr(fits.HDUList, "writeto", full)
            with pytest.raises(FetchError, match=r"raw.*free some space"):
                fetch(survey, tmp_path, ra, dec)
        asked = len(tap.uploaded)
        path = fetch(survey, tmp_path, ra, dec)
    assert path.read_bytes() == simulated[1].gaia.read_bytes() and len(tap.uploaded) == asked == 5


# --- again, and after a kill ------------------------------------------------------------------------------------------


def test_a_whole_table_is_kept_until_stars_or_query_change(sky, tmp_path):
    tables, ra, dec = sky
    with service(StandInTap(tables)) as (server, survey):
        path = fetch(survey, tmp_path, ra, dec)
        before, asked = path.read_bytes(), len(server.requests)
        fetch(survey, tmp_path, ra[::-1], dec[::-1])
        assert len(server.requests) == asked
        wider = replace(survey, archive=replace(survey.archive, gaia_radius=5.0))
        fetch(wider, tmp_path, ra, dec)
        assert len(server.requests) > asked and path.read_bytes() != before


def test_a_table_of_more_stars_is_kept_for_fewer(sky, tmp_path):
    tables, ra, dec = sky
    with service(tap := StandInTap(tables)) as (server, survey):
        some = fetch(survey, tmp_path, ra[:40], dec[:40]).read_bytes()
        path = fetch(survey, tmp_path, ra, dec)
        before, asked = path.read_bytes(), len(server.requests)
        assert len(some) < len(before) and sum(map(len, tap.uploaded[1:])) > 150, "fewer do not serve for more"
        for fewer in (slice(20), slice(-20, None), slice(None, None, 3)):
            table = fetch_table(survey, tmp_path, ra[fewer], dec[fewer])
            assert "these and more stars" in table.note and table.path.read_bytes() == before
        assert fetch_table(survey, tmp_path, ra, dec).note == "" and len(server.requests) == asked

        elsewhere = np.append(ra[:20], 12.3), np.append(dec[:20], 45.6)
        fetch(survey, tmp_path, *elsewhere)
        assert len(server.requests) > asked and path.read_bytes() != before


@pytest.mark.parametrize("positions", ["lost", "cut", "another table's"])
def test_without_the_positions_of_its_stars_a_table_is_fetched_anew(positions, sky, tmp_path):
    tables, ra, dec = sky
    with service(StandInTap(tables)) as (server, survey):
        path = fetch(survey, tmp_path, ra, dec)
        asked = len(server.requests)
        (note,) = path.parent.glob(".*.stars.npy")
        if positions == "another table's":
            np.save(note, np.stack([ra, dec])[:, np.isfinite(ra)][:, :100])
        elif positions == "cut":
            note.write_bytes(note.read_bytes()[:500])
        else:
            note.unlink()
        assert fetch_table(survey, tmp_path, ra, dec).note == "" and len(server.requests) == asked
        fetch(survey, tmp_path, ra[:20], dec[:20])
        assert len(server.requests) > asked


@pytest.mark.parametrize("instead", ["nothing", "of another table"])
def test_a_table_put_there_by_hand_is_kept(instead, simulated, sky, tmp_path):
    """With or without the fingerprint of a fetched one that it took the place of."""
    tables, ra, dec = sky
    with service(StandInTap(tables)) as (server, survey):
        path = Workspace(survey, tmp_path).gaia
        if instead == "of another table":
            assert fetch(survey, tmp_path, ra[:30], dec[:30]) == path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(simulated[1].gaia.read_bytes())
        asked = len(server.requests)
        for stars in (slice(None), slice(30)):
            table = fetch_table(survey, tmp_path, ra[stars], dec[stars])
            assert table.path == path and f"{path} was not fetched by apogaia: it is used as it is" in table.note
        assert len(server.requests) == asked and path.read_bytes() == simulated[1].gaia.read_bytes()


@pytest.mark.parametrize("content", ["cut", "text", "dr2 for edr3"])
def test_a_table_put_there_that_cannot_be_read_is_fetched(content, simulated, sky, tmp_path):
    tables, ra, dec = sky
    release = "edr3" if content == "dr2 for edr3" else "dr2"
    whole = simulated[1].gaia.read_bytes()
    served = {EDR3.table: a_source(1, EDR3, ra=10.0, dec=0.0)} if release == "edr3" else tables
    with service(StandInTap(served), release=release) as (_, survey):
        path = Workspace(survey, tmp_path).gaia
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes({"cut": whole[:20_000], "text": b"not a table"}.get(content, whole))
        given = path.read_bytes()
        table = fetch_table(survey, tmp_path, ra, dec) if release == "dr2" else None
        if table is None:
            table = fetch_table(survey, tmp_path, np.array([10.0]), np.zeros(1))
    assert "cannot be used: it is fetched again" in table.note and path.name in table.note
    assert path.read_bytes() != given and (release == "edr3" or path.read_bytes() == whole)
    survey_tables.read_gaia(path, release)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "other columns"])
def test_a_part_that_cannot_be_read_is_asked_for_again(damage, simulated, sky, tmp_path):
    tables, ra, dec = sky
    with service(tap := StandInTap(tables)) as (_, survey):
        tap.broken_stars = (ra[np.nanargmax(dec)],)
        with pytest.raises(GaiaArchiveError):
            fetch(survey, tmp_path, ra, dec)
        done = parts(tmp_path)
        assert len(done) > 1
        if damage == "other columns":
            np.save(done[0], np.zeros(3))
        else:
            whole = done[0].read_bytes()
            done[0].write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "text": b"x" * len(whole)}[damage])
        tap.broken_stars = ()
        tap.uploaded.clear()
        path = fetch(survey, tmp_path, ra, dec)
    assert path.read_bytes() == simulated[1].gaia.read_bytes()
    assert sum(map(len, tap.uploaded)) == 50 + len(np.unique(ra[~np.isnan(ra)])) - 50 * len(done)


def test_parts_of_other_stars_or_another_query_do_not_count(simulated, sky, tmp_path):
    tables, ra, dec = sky
    for change in ({"gaia_radius": 3.0}, {"gaia_chunk": 40}):
        with service(StandInTap(tables, broken_stars=(np.nanmax(ra),)), **change) as (_, survey):
            with pytest.raises(GaiaArchiveError):
                fetch(survey, tmp_path, ra, dec)
    left = len(parts(tmp_path))
    with service(tap := StandInTap(tables)) as (_, survey):
        path = fetch(survey, tmp_path, ra, dec)
    assert left and path.read_bytes() == simulated[1].gaia.read_bytes() and len(tap.uploaded) == 4


def test_progress_is_in_stars_and_starts_where_the_last_run_stopped(sky, tmp_path, capsys):
    tables, ra, dec = sky
    with service(tap := StandInTap(tables), gaia_chunk=20) as (_, survey):
        tap.broken_stars = (ra[np.nanargmax(dec)],)
        with pytest.raises(GaiaArchiveError):
            fetch(survey, tmp_path, ra, dec)
        tap.broken_stars = ()
        fetch_gaia(survey, Workspace(survey, tmp_path), ra, dec, patience=QUICK)
    shown = capsys.readouterr().err
    assert "180/198" in shown.split("\r")[1] and "198/198" in shown and "star/s" in shown


FETCH = """
import sys
import numpy as np
from dataclasses import replace
from pathlib import Path
from gaia_sky import fetch, survey_for

root = Path(sys.argv[2])
ra, dec = np.load(root / "stars.npy")
fetch(survey_for(sys.argv[1], gaia_chunk=16), root, ra, dec)
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_killed_run_goes_on_to_the_same_bytes(seed, simulated, sky, tmp_path):
    tables, ra, dec = sky
    rng = np.random.default_rng(seed)
    np.save(tmp_path / "stars.npy", [ra, dec])
    paths = [str(Path(gaia_sky.__file__).parent), str(Path(survey_tables.__file__).parents[2])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    tap, dead = StandInTap(tables, shuffled=seed), threading.Event()
    last = rng.integers(5, 85)  # of some 100 requests; few more come before the signal does

    def handler(request):
        if len(server.requests) == last:
            threading.Timer(rng.uniform(0, 0.03), process.send_signal, [signal.SIGKILL]).start()
        if len(server.requests) > last + 8:
            dead.wait(30)
        return tap(request)

    with StandIn(handler) as server:
        command = [sys.executable, "-c", FETCH, server.url, str(tmp_path)]
        with subprocess.Popen(command, env=environment) as process:
            assert process.wait(60) == -signal.SIGKILL
        dead.set()
        done = len(parts(tmp_path))
        kept = np.concatenate([*tap.uploaded[:done], []])
    assert last // 8 - 2 <= done <= len(tap.uploaded) < 13
    left = Workspace(survey_for("http://127.0.0.1"), tmp_path).gaia.with_name(".gaia_dr2_sources.77-0123abcd.fits")
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"half a table")
    with service(tap := StandInTap(tables), gaia_chunk=16) as (_, survey):
        path = fetch(survey, tmp_path, ra, dec)
    assert path.read_bytes() == simulated[1].gaia.read_bytes()
    again = np.concatenate(tap.uploaded)
    assert not np.isin(kept, again).any() and len(kept) + len(again) == len(np.unique(ra[~np.isnan(ra)]))
    assert not left.exists() and not (path.parents[1] / "gaia.parts").exists()
