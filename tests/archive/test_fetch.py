"""A survey fetched from a stand-in archive is the simulated one to the byte, whatever the archive does on the way."""

import json
import os
import re
import shutil
from dataclasses import replace

import kill_fetches
import numpy as np
import pytest
from astropy.io import fits
from stand_in import Fault, StandIn
from stand_in_archive import ArchiveOf, fetched_survey, sha1, survey_file, write_released_spectra

from apogaia import files
from apogaia.archive import fetch as archive_module
from apogaia.archive import pull, star_spectra
from apogaia.archive.estimate import estimate
from apogaia.archive.fetch import fetch_survey
from apogaia.archive.http.remote_files import FetchError
from apogaia.archive.own_folder import link_folder
from apogaia.archive.star_spectra import read_hash_list
from apogaia.archive.tap_jobs import Patience
from apogaia.cli import commands
from apogaia.formats.apstar import Status
from apogaia.reduction.reduce import reduce_survey
from apogaia.reduction.stars_h5 import open_stars
from apogaia.simulate.run import simulate_survey
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

N_STARS = 90


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A simulated survey, reduced: what every fetched one must equal."""
    survey = load_survey("smoke")
    survey = replace(survey, simulation=replace(survey.simulation, n_stars=N_STARS, seed=77, max_visits=2))
    workspace = Workspace(survey, tmp_path_factory.mktemp("simulated"))
    simulate_survey(survey, workspace, processes=1, progress=False)
    reduce_survey(survey, workspace, processes=1, progress=False)
    return workspace


@pytest.fixture(autouse=True)
def _hurry(monkeypatch):
    """Pauses of a real archive would only make the tests long."""
    monkeypatch.setattr(pull, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(star_spectra, "PAUSES_S", ())
    quick = Patience(job=5.0, first_poll=0.01, longest_poll=0.05, first_back_off=0.01, longest_back_off=0.1)
    monkeypatch.setattr(archive_module, "PATIENCE", quick)


@pytest.fixture
def archive(simulated):
    handler = ArchiveOf(simulated)
    with StandIn(handler) as server:
        server.archive = handler
        yield server


def fetch(simulated, server, root, **options):
    survey = fetched_survey(simulated, server.url, **options.pop("settings", {}))
    workspace = Workspace(survey, root)
    return workspace, fetch_survey(survey, workspace, progress=False, **options)


def raw_files(workspace) -> dict[str, str]:
    """SHA-1 of every file of the raw folder but manifest, hash lists and fingerprints."""
    return {
        str(path.relative_to(workspace.raw)): sha1(path)
        for path in sorted(workspace.raw.rglob("*"))
        if path.is_file() and path.name != "manifest.json" and path.suffix not in (".sha1sum", ".fingerprint", ".npy")
    }


def stars_bytes(workspace) -> bytes:
    return reduce_survey(workspace.survey, workspace, processes=1, progress=False).read_bytes()


def assert_same(workspace, simulated):
    assert raw_files(workspace) == raw_files(simulated)
    assert stars_bytes(workspace) == simulated.stars.read_bytes()


def first_folder(simulated) -> tuple[str, list[str]]:
    """A folder of spectra with several files, and the places of these."""
    folders: dict[str, list[str]] = {}
    for place in raw_files(simulated):
        if place.count("/") == 2:
            folders.setdefault(place.rpartition("/")[0], []).append(place)
    return max(folders.items(), key=lambda item: len(item[1]))


# --- from an empty folder ---------------------------------------------------------------------------------------------


def test_fetch_then_reduce_gives_the_bytes_of_the_direct_survey(simulated, archive, tmp_path):
    workspace, report = fetch(simulated, archive, tmp_path)
    assert report.complete and not report.failed and not report.unverified
    assert_same(workspace, simulated)
    with open_stars(workspace.stars) as stars:
        absent = np.asarray(stars.table["status"]) == Status.NO_FILE
    assert 0 < absent.sum() == len(report.missing)
    assert report.counts["fetched"] == N_STARS - absent.sum()
    manifest = json.loads(workspace.raw_manifest.read_text())
    assert manifest["missing"] == report.missing and manifest["rows"] == N_STARS and manifest["limit"] is None
    assert set(report.not_fetched) == {"apogee-rc-DR14.fits", "apogee_distances-DR14.fits"}


def test_dr17_is_fetched_in_its_own_layout(tmp_path):
    """Folders by FIELD, asStar files of Las Campanas, EDR3's columns, the parameters from SAS."""
    survey = load_survey("smoke-dr17")
    survey = replace(survey, simulation=replace(survey.simulation, n_stars=60, max_visits=1))
    simulated = Workspace(survey, tmp_path / "simulated")
    simulate_survey(survey, simulated, processes=1, progress=False)
    reduce_survey(survey, simulated, processes=1, progress=False)
    with StandIn(ArchiveOf(simulated)) as server:
        workspace, report = fetch(simulated, server, tmp_path / "fetched")
        paths = [request.path for request in server.requests]
    assert report.complete and not report.failed and not report.not_fetched
    assert_same(workspace, simulated)
    assert any("/lco25m/" in path and "/asStar-dr17-2M" in path for path in paths)
    assert any(path.endswith("/vac/apogee-astronn/apogee_astroNN-DR17.fits") for path in paths)


def test_the_shipped_cones_leave_out_what_no_star_can_be(simulated, archive, tmp_path):
    """Neighbours beyond 5 arcsec are not fetched; no star's match, nor the number of its matches, changes."""
    workspace, report = fetch(
        simulated, archive, tmp_path, settings={"gaia_radius": load_survey("dr14").archive.gaia_radius}
    )
    assert report.complete and workspace.gaia.stat().st_size <= simulated.gaia.stat().st_size
    assert sha1(workspace.gaia) != sha1(simulated.gaia)
    assert stars_bytes(workspace) == simulated.stars.read_bytes()


def test_a_second_fetch_asks_for_nothing(simulated, archive, tmp_path):
    _, first = fetch(simulated, archive, tmp_path)
    asked = len(archive.requests)
    workspace, report = fetch(simulated, archive, tmp_path)
    assert len(archive.requests) == asked
    assert report == first
    workspace.raw_manifest.unlink()
    _, report = fetch(simulated, archive, tmp_path)
    assert report.counts["present"] == first.counts["fetched"] and report.counts["fetched"] == 0


def test_a_limited_fetch_is_a_survey_and_grows_to_the_whole(simulated, archive, tmp_path):
    workspace, report = fetch(simulated, archive, tmp_path, limit=20)
    assert report.complete and sum(report.counts.values()) < 21
    reduce_survey(workspace.survey, workspace, processes=1, progress=False)
    with open_stars(workspace.stars) as stars, open_stars(simulated.stars) as whole:
        np.testing.assert_array_equal(stars.spectra[:20], whole.spectra[:20])
        np.testing.assert_array_equal(stars.table["parallax"][:20], whole.table["parallax"][:20])
        assert len(stars.table) == N_STARS and (stars.table["status"][20:] == Status.NO_FILE).all()
        ours = stars.table["location_id"][20:] != 1
        assert set(stars.table["reason"][20:][ours]) == {"not fetched: beyond --limit 20"}
    workspace, report = fetch(simulated, archive, tmp_path)
    assert report.complete
    assert_same(workspace, simulated)


def test_the_released_spectra_take_the_place_of_the_files(simulated, tmp_path):
    write_released_spectra(simulated, tmp_path / "zenodo")
    handler = ArchiveOf(simulated, tmp_path / "zenodo")
    with StandIn(handler) as server:
        handler.url = server.url
        survey = fetched_survey(simulated, server.url)
        survey = replace(survey, sources=replace(survey.sources, spectra="released"))
        workspace = Workspace(survey, tmp_path / "light")
        report = fetch_survey(survey, workspace, progress=False)
        assert report.complete and not any("/apo25m/" in request.path for request in server.requests)
    reduce_survey(survey, workspace, processes=1, progress=False)
    with open_stars(workspace.stars) as light, open_stars(simulated.stars) as whole:
        good = np.asarray(whole.table["status"]) == Status.OK
        np.testing.assert_array_equal(np.asarray(light.table["status"]) == Status.OK, good)
        np.testing.assert_array_equal(light.spectra[:], whole.spectra[:])
        for name in ("apogee_id", "parallax", "teff", "fakemag", "k0_mag"):
            np.testing.assert_array_equal(light.table[name], whole.table[name])
        assert set(light.table["reason"][~good]) == {"neither in the released training nor test set"}


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_an_archive_full_of_faults_changes_nothing(simulated, tmp_path, seed):
    with StandIn(ArchiveOf(simulated), [Fault.random(seed, 0.15)]) as server:
        for _ in range(10):
            workspace, report = fetch(simulated, server, tmp_path, settings={"attempts": 5})
            if report.complete:
                break
        assert report.complete
        assert_same(workspace, simulated)


def test_a_wrong_line_of_a_hash_list_keeps_the_file_out_until_it_is_right(simulated, archive, tmp_path):
    folder, places = first_folder(simulated)
    listed = archive.archive.hash_list(simulated.raw / folder).body
    good = sha1(simulated.raw / places[0])
    path = f"{archive.archive.spectra}{simulated.release.hash_list(folder)}"
    archive.archive.hash_lists[path] = listed.replace(good.encode(), b"0" * 40)
    workspace, report = fetch(simulated, archive, tmp_path)
    assert not report.complete and list(report.failed) == [places[0]] and "SHA-1" in report.failed[places[0]]
    assert not (workspace.raw / places[0]).exists() and not workspace.raw_manifest.exists()
    assert len(archive.asked(path)) == 2  # the list was asked for anew before the file was given up

    archive.archive.hash_lists.clear()
    workspace, report = fetch(simulated, archive, tmp_path, check=True)
    assert report.complete
    assert_same(workspace, simulated)


def test_a_hash_list_that_was_wrong_once_is_asked_for_anew(simulated, tmp_path):
    folder, places = first_folder(simulated)
    handler = ArchiveOf(simulated)
    path = f"{handler.spectra}{simulated.release.hash_list(folder)}"
    with StandIn(handler) as server:
        wrong = handler.hash_list(simulated.raw / folder).body.replace(
            sha1(simulated.raw / places[0]).encode(), b"1" * 40
        )
        answer = handler.__call__

        def once(request):
            if request.path == path and len(server.asked(path)) == 1:
                handler.hash_lists[path] = wrong
            else:
                handler.hash_lists.clear()
            return answer(request)

        server.handler = once
        workspace, report = fetch(simulated, server, tmp_path)
    assert report.complete
    assert_same(workspace, simulated)


def test_a_hash_list_that_is_none_keeps_its_folder_out(simulated, archive, tmp_path):
    folder, places = first_folder(simulated)
    path = f"{archive.archive.spectra}{simulated.release.hash_list(folder)}"
    archive.archive.hash_lists[path] = b"<html>busy</html>" * 4
    workspace, report = fetch(simulated, archive, tmp_path, settings={"attempts": 2})
    assert not report.complete and {folder, *places} <= set(report.failed)
    assert not any((workspace.raw / place).exists() for place in places)
    archive.archive.hash_lists.clear()
    workspace, report = fetch(simulated, archive, tmp_path)
    assert report.complete
    assert_same(workspace, simulated)


def test_without_a_hash_list_spectra_come_and_are_noted(simulated, tmp_path):
    folder, places = first_folder(simulated)
    handler = ArchiveOf(simulated)
    with StandIn(handler, [Fault(rf"{folder}/.*sha1sum$", "status", times=None, status=404)]) as server:
        workspace, report = fetch(simulated, server, tmp_path)
    assert report.complete and report.unverified == places
    assert_same(workspace, simulated)


def test_a_listed_file_that_the_archive_lacks_fails_and_can_be_accepted(simulated, tmp_path):
    _, places = first_folder(simulated)
    faults = [Fault(re.escape(places[0]), "status", times=None, status=404)]
    with StandIn(ArchiveOf(simulated), faults) as server:
        workspace, report = fetch(simulated, server, tmp_path)
        assert not report.complete and "its hash list names it" in report.failed[places[0]]
        assert sum(report.counts.values()) == N_STARS - sum("LOCATION_ID 1" in why for why in report.missing.values())
        workspace, report = fetch(simulated, server, tmp_path, accept_failures=True)
        assert report.complete and list(report.failed) == [places[0]]
        asked = len(server.requests)
        assert fetch(simulated, server, tmp_path, accept_failures=True)[1] == report  # at once
        assert len(server.requests) == asked
    reduce_survey(workspace.survey, workspace, processes=1, progress=False)
    with open_stars(workspace.stars) as stars, open_stars(simulated.stars) as whole:
        changed = np.flatnonzero(np.asarray(stars.table["status"]) != np.asarray(whole.table["status"]))
        assert len(changed) == 1 and stars.table["apogee_id"][changed[0]] in places[0]
        assert stars.table["reason"][changed[0]].startswith("not fetched: the archive has no such file")
        assert len(stars.table) == N_STARS


def test_accepted_failures_and_files_that_went_are_fetched_when_they_can_be(simulated, archive, tmp_path):
    _, places = first_folder(simulated)
    archive.faults.append(Fault(re.escape(places[0]), "status", times=1, status=404))
    workspace, report = fetch(simulated, archive, tmp_path, accept_failures=True)
    assert report.complete and list(report.failed) == [places[0]]
    workspace, report = fetch(simulated, archive, tmp_path)
    assert report.complete and not report.failed and report.counts["fetched"] == 1
    (workspace.raw / places[1]).unlink()
    workspace, report = fetch(simulated, archive, tmp_path)
    assert report.counts["fetched"] == 1
    assert_same(workspace, simulated)


def test_an_allstar_of_another_release_is_refused(simulated, archive, tmp_path):
    with pytest.raises(FetchError, match=r"allStar-l31c\.2\.fits: .*SHA-1.*put the file at"):
        fetch(simulated, archive, tmp_path, settings={"allstar_sha1": "2" * 40, "attempts": 2})
    survey = fetched_survey(simulated, archive.url)
    survey = replace(survey, counts=replace(survey.counts, asserted=True, rows=N_STARS + 1))
    with pytest.raises(FetchError, match=f"has {N_STARS} rows, the release {N_STARS + 1}"):
        fetch_survey(survey, Workspace(survey, tmp_path), progress=False)


def test_an_archive_out_of_reach_says_so(simulated, tmp_path):
    survey = fetched_survey(simulated, "http://127.0.0.1:9", attempts=2)
    with pytest.raises(FetchError, match="reach"):
        fetch_survey(survey, Workspace(survey, tmp_path), progress=False)


def test_killed_at_random_a_fetch_goes_on_to_the_same_bytes(tmp_path):
    simulated = kill_fetches.simulated_survey(tmp_path / "simulated", stars=30)
    (tmp_path / "fetched").mkdir()
    found = kill_fetches.kill_fetches(simulated, tmp_path / "fetched", kills=10, seed=5)
    assert found["hit_a_running_process"] > 5


def test_a_folder_that_the_archive_has_lost_fails_and_blocks_no_other(simulated, tmp_path):
    folder, places = first_folder(simulated)
    with StandIn(ArchiveOf(simulated), [Fault(f"{folder}/", "status", times=None, status=404)]) as server:
        workspace, report = fetch(simulated, server, tmp_path)
        assert not report.complete and set(places) <= set(report.failed)
        assert all("is the folder gone?" in report.failed[place] for place in places)
        assert report.counts["fetched"] == len(raw_files(simulated)) - 3 - len(places)
        server.faults.clear()
        workspace, report = fetch(simulated, server, tmp_path)
    assert report.complete
    assert_same(workspace, simulated)


def test_a_bad_hour_does_not_end_the_run(simulated, tmp_path, monkeypatch):
    monkeypatch.setattr(star_spectra, "PAUSES_S", (0.01, 0.02))
    folder, _ = first_folder(simulated)
    faults = [Fault(f"{folder}/apStar", "status", times=9, status=503)]
    with StandIn(ArchiveOf(simulated), faults) as server:
        workspace, report = fetch(simulated, server, tmp_path, settings={"attempts": 2})
    assert report.complete and faults[0].used == 9
    assert_same(workspace, simulated)


def test_a_hash_list_that_comes_late_is_applied(simulated, tmp_path):
    folder, places = first_folder(simulated)
    faults = [
        Fault(rf"{folder}/.*sha1sum$", "status", times=1, status=404),
        Fault(re.escape(places[0]), "flip", times=1, seed=8),
    ]
    with StandIn(ArchiveOf(simulated), faults) as server:
        workspace, report = fetch(simulated, server, tmp_path)
        assert report.unverified == places
        assert sha1(workspace.raw / places[0]) != sha1(simulated.raw / places[0])
        workspace.raw_manifest.unlink()
        workspace, report = fetch(simulated, server, tmp_path)
    assert report.complete and not report.unverified
    assert_same(workspace, simulated)


def test_a_run_that_ends_early_still_knows_what_no_list_named(simulated, tmp_path, monkeypatch):
    folder, places = first_folder(simulated)
    faults = [
        Fault(rf"{folder}/.*sha1sum$", "status", times=1, status=404),
        Fault(re.escape(places[0]), "flip", times=1, seed=8),
    ]
    with StandIn(ArchiveOf(simulated), faults) as server:
        with monkeypatch.context() as patch:
            patch.setattr(
                star_spectra.StarSpectra, "_retry_after_pauses", lambda *_: 1 / 0
            )  # dies when the spectra have come
            with pytest.raises(ZeroDivisionError):
                fetch(simulated, server, tmp_path)
        workspace, report = fetch(simulated, server, tmp_path)
    assert report.complete
    assert_same(workspace, simulated)


def test_the_others_fail_after_the_spectra_have_come(simulated, tmp_path):
    with StandIn(ArchiveOf(simulated), [Fault("^/tap", "status", times=None, status=403)]) as server:
        with pytest.raises(FetchError, match="403"):
            fetch(simulated, server, tmp_path)
        survey = fetched_survey(simulated, server.url)
        there = raw_files(Workspace(survey, tmp_path))
        assert there.keys() == raw_files(simulated).keys() - {simulated.gaia.name}


def test_two_fetches_of_one_survey_do_not_meet(simulated, archive, tmp_path):
    workspace = Workspace(fetched_survey(simulated, archive.url), tmp_path)
    held = files.alone(workspace.data / ".fetch.lock", "")
    with held, pytest.raises(files.BusyError, match="another process is fetching into"):
        fetch_survey(workspace.survey, workspace, progress=False)


# --- what is there already --------------------------------------------------------------------------------------------


def test_check_finds_a_changed_file_and_fetches_it_anew(simulated, archive, tmp_path):
    workspace, _ = fetch(simulated, archive, tmp_path)
    _, places = first_folder(simulated)
    path = workspace.raw / places[0]
    content = bytearray(path.read_bytes())
    content[50_000] ^= 4
    path.write_bytes(content)
    asked = len(archive.asked(f"{archive.archive.spectra}{places[0]}"))
    workspace, report = fetch(simulated, archive, tmp_path, check=True)
    assert report.counts["fetched"] == 1
    assert len(archive.asked(f"{archive.archive.spectra}{places[0]}")) == asked + 1
    assert_same(workspace, simulated)


def test_check_out_of_reach_destroys_nothing(simulated, archive, tmp_path):
    workspace, _ = fetch(simulated, archive, tmp_path)
    before = {path: path.read_bytes() for path in workspace.raw.rglob("*") if path.is_file()}
    away = replace(workspace.survey, archive=replace(workspace.survey.archive, sas="http://127.0.0.1:9", attempts=1))
    with pytest.raises(FetchError):
        fetch_survey(away, Workspace(away, tmp_path), check=True, progress=False)
    assert {path: path.read_bytes() for path in workspace.raw.rglob("*") if path.is_file()} == before


def test_a_gaia_table_put_there_by_hand_is_taken_and_told(simulated, tmp_path):
    with StandIn(ArchiveOf(simulated), [Fault("^/tap", "status", times=None, status=403)]) as server:
        workspace = Workspace(fetched_survey(simulated, server.url), tmp_path)
        workspace.raw.mkdir(parents=True)
        shutil.copy(simulated.gaia, workspace.gaia)
        workspace, report = fetch(simulated, server, tmp_path)
    assert report.complete and "was not fetched by apogaia" in str(report)
    assert_same(workspace, simulated)


def test_a_limit_after_the_whole_leaves_the_whole(simulated, archive, tmp_path):
    fetch(simulated, archive, tmp_path)
    asked = len(archive.requests)
    workspace, report = fetch(simulated, archive, tmp_path, limit=5)
    assert report.complete and len(archive.requests) == asked
    assert json.loads(workspace.raw_manifest.read_text())["limit"] is None
    assert_same(workspace, simulated)


@pytest.fixture
def mirror(simulated, archive, tmp_path):
    """A copy of the SAS that holds everything but a few spectra, one of which it has with a flipped bit."""
    root, release = tmp_path / "mirror", simulated.release
    shutil.copytree(simulated.raw, root / release.spectra_folder)
    (root / release.allstar.folder).mkdir(parents=True)
    shutil.move(root / release.spectra_folder / release.allstar.name, root / release.allstar.sas_path)
    folder, places = first_folder(simulated)
    list_path = root / release.spectra_folder / release.hash_list(folder)
    list_path.write_bytes(archive.archive.hash_list(simulated.raw / folder).body)
    (root / release.spectra_folder / places[0]).unlink()
    flipped = root / release.spectra_folder / places[1]
    content = bytearray(flipped.read_bytes())
    content[60_000] ^= 1
    flipped.write_bytes(content)
    return root, places


def test_a_mirror_is_used_where_it_lies(simulated, archive, mirror, tmp_path):
    root, places = mirror
    before = {path: path.read_bytes() for path in root.rglob("*.fits")}
    workspace, report = fetch(simulated, archive, tmp_path / "here", mirror=root)
    assert report.complete and report.counts["fetched"] == 2
    assert not (workspace.raw / places[0]).is_symlink() and not (workspace.raw / places[1]).is_symlink()
    linked = workspace.raw / places[2]
    assert linked.is_symlink() and linked.resolve() == (root / simulated.release.spectra_folder / places[2]).resolve()
    assert {path: path.read_bytes() for path in root.rglob("*.fits")} == before
    assert_same(workspace, simulated)


def test_a_mirror_that_is_not_there_is_an_error(simulated, archive, tmp_path):
    for wrong in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(FetchError, match="--mirror needs the "):
            fetch(simulated, archive, tmp_path, mirror=wrong)


def test_a_mirror_with_a_wrong_hash_list_is_not_believed(simulated, archive, mirror, tmp_path):
    root, places = mirror
    folder = places[0].rpartition("/")[0]
    path = root / simulated.release.spectra_folder / simulated.release.hash_list(folder)
    path.write_text(path.read_text().replace(sha1(simulated.raw / places[2]), "3" * 40))
    workspace, report = fetch(simulated, archive, tmp_path / "here", mirror=root)
    assert report.complete
    assert_same(workspace, simulated)


def test_a_folder_of_ones_own_is_linked_to_and_reduced(simulated, tmp_path):
    own = tmp_path / "own"
    shutil.copytree(simulated.raw, own)
    (own / "manifest.json").unlink()
    survey = simulated.survey
    survey = replace(survey, name="mine", sources=replace(survey.sources, kind="folder", folder=str(own)))
    workspace = Workspace(survey, tmp_path / "root")
    link_folder(survey, workspace)
    written = workspace.raw_manifest.stat().st_mtime_ns
    link_folder(survey, workspace)
    assert workspace.raw_manifest.stat().st_mtime_ns == written
    assert stars_bytes(workspace) == simulated.stars.read_bytes()
    assert not (own / "manifest.json").exists()
    other = tmp_path / "other"
    other.mkdir()
    for table in (workspace.allstar, workspace.gaia, workspace.stellar_parameters):
        shutil.copy(own / table.name, other)
    moved = replace(survey, sources=replace(survey.sources, folder=str(other)))
    link_folder(moved, workspace)
    assert sorted(path.name for path in workspace.raw.iterdir() if path.is_symlink()) == sorted(os.listdir(other))
    link_folder(survey, workspace)
    (own / workspace.gaia.name).unlink()
    with pytest.raises(FetchError, match=rf"{workspace.gaia.name} is missing: data/README"):
        link_folder(survey, workspace)
    (own / workspace.allstar.name).unlink()
    with pytest.raises(
        FetchError, match=rf"{workspace.allstar.name} and .*{workspace.gaia.name} are missing: data/READ"
    ):
        link_folder(survey, workspace)
    with pytest.raises(FetchError, match=r"sources\.folder"):
        link_folder(replace(survey, sources=replace(survey.sources, folder=str(tmp_path / "no"))), workspace)


# --- the command line -------------------------------------------------------------------------------------------------


def test_the_command_fetches_tells_and_returns(simulated, archive, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path))
    survey = fetched_survey(simulated, archive.url)
    file = str(survey_file(survey, "smoke", tmp_path / "stand-in.toml"))
    folder, places = first_folder(simulated)
    path = f"{archive.archive.spectra}{simulated.release.hash_list(folder)}"
    archive.archive.hash_lists[path] = b"no list"

    assert commands.main(["fetch", file, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "277371 files, 0 of them here" in said and "139 queries" in said and not (tmp_path / "data").exists()
    assert commands.main(["fetch", file]) == 1
    said = capsys.readouterr()
    assert f"failed: {folder}: its hash list" in said.out and "run the same command again" in said.err
    archive.archive.hash_lists.clear()
    assert commands.main(["fetch", file, "--dry-run"]) == 0
    said = capsys.readouterr().out
    never = np.count_nonzero(fits.getdata(simulated.truth)["spectrum_state"] == "missing")
    assert f"{len(places) + never} to fetch, about" in said and "/s measured just now" in said
    assert commands.main(["data", file]) == 0
    assert f"{len(places)} fetched" in capsys.readouterr().out
    assert commands.main(["fetch", "smoke"]) == 2
    assert "apogaia data" in capsys.readouterr().err


def test_an_estimate_without_the_archive_says_so(simulated, tmp_path):
    survey = fetched_survey(simulated, "http://127.0.0.1:9")
    workspace = Workspace(survey, tmp_path)
    workspace.raw.mkdir(parents=True)
    shutil.copy(simulated.allstar, workspace.allstar)
    said = estimate(survey, workspace)
    assert said.bytes_per_second is None and "cannot be reached" in str(said)
    assert said.present == 0 and said.bytes == pytest.approx(said.files * simulated.release.mean_spectrum_bytes)
    assert os.listdir(workspace.raw) == [workspace.allstar.name]


# --- hash lists -------------------------------------------------------------------------------------------------------


def test_hash_lists_are_read_as_sha1sum_writes_them(tmp_path):
    path = tmp_path / "list"
    path.write_text(f"{'a' * 40}  x.fits\n{'B' * 40} *dir/y.fits\n\n")
    assert read_hash_list(path) == {"x.fits": "a" * 40, "y.fits": "b" * 40}


@pytest.mark.parametrize("text", ["", "<html>", f"{'a' * 39}  x.fits\n", f"{'g' * 40}  x.fits\n", "a" * 40 + "\n"])
def test_what_is_no_hash_list_is_refused(tmp_path, text):
    path = tmp_path / "list"
    path.write_text(text)
    with pytest.raises(ValueError, match="list"):
        read_hash_list(path)
