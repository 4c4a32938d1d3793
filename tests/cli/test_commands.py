"""What `apogaia data`, `fetch` and `mock` say: room, time, advice, and how they end when they are stopped."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from offset_model import save_offset_model
from stand_in import Fault, StandIn
from stand_in_archive import ArchiveOf, fetched_survey, survey_file

from apogaia.archive import estimate as estimate_module
from apogaia.archive import star_spectra
from apogaia.archive.estimate import SECONDS_PER_FILE, Estimate, counted, estimate
from apogaia.archive.star_spectra import wanted_spectra
from apogaia.cli import commands, survey_commands
from apogaia.formats.survey_tables import read_allstar
from apogaia.simulate.run import simulate_survey
from apogaia.survey import SurveyError, load_survey
from apogaia.workspace import Workspace

DiskUsage = namedtuple("DiskUsage", "total used free")
COMMAND = (
    "import signal, sys; from apogaia.cli.commands import main;"
    "signal.signal(signal.SIGINT, signal.default_int_handler);"  # a shell may have it ignored in the background
    "sys.exit(main(sys.argv[1:]))"
)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    """A real archive is given a quarter of an hour to become well."""
    monkeypatch.setattr(star_spectra, "PAUSES_S", ())


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    survey = load_survey("smoke")
    survey = replace(survey, simulation=replace(survey.simulation, n_stars=12, seed=5, max_visits=1))
    workspace = Workspace(survey, tmp_path_factory.mktemp("simulated"))
    simulate_survey(survey, workspace, processes=1, progress=False)
    return workspace


@pytest.fixture
def archive(simulated):
    with StandIn(ArchiveOf(simulated)) as server:
        yield server


@pytest.fixture
def survey_path(simulated, archive, tmp_path, monkeypatch) -> str:
    """A survey file of the stand-in archive, and allStar where a fetch would have put it."""
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path))
    survey = fetched_survey(simulated, archive.url)
    path = survey_file(survey, "smoke", tmp_path / "my survey.toml")
    allstar = Workspace(load_survey(path)).allstar
    allstar.parent.mkdir(parents=True)
    shutil.copy(simulated.allstar, allstar)
    return str(path)


def full_disk(monkeypatch, free: int) -> None:
    monkeypatch.setattr(estimate_module.shutil, "disk_usage", lambda _: DiskUsage(10**12, 10**12 - free, free))


def expected(**changes) -> Estimate:
    values = {
        "files": 1000,
        "present": 0,
        "file_bytes": 1e6,
        "basis": "typical",
        "bytes_per_second": None,
        "seconds_per_file": None,
        "no_speed": "not asked",
        "streams": 10,
        "gaia_queries": 1,
        "folder": Path("/disk/data/dr14/raw"),
        "free_bytes": 10**10,
    }
    return Estimate(**(values | changes))


# --- what a fetch would take ------------------------------------------------------------------------------------------


def test_time_is_that_of_the_bytes_or_of_the_requests_whichever_is_longer():
    assumed = 1000 * SECONDS_PER_FILE / 10
    assert expected().seconds(1e6) == 1000 and expected().seconds(1e9) == assumed
    assert expected(seconds_per_file=2.0).seconds(1e9) == 200 and expected(present=500).seconds(1e9) == assumed / 2
    assert "assumed" in str(expected()) and f"{SECONDS_PER_FILE} s" in str(expected())
    measured = str(expected(bytes_per_second=1e9, seconds_per_file=3.0))
    assert "time: 5.0 min" in measured and "3 s a file" in measured and "assumed" not in measured


def test_room_that_lacks_is_said_with_folder_and_remedy():
    assert expected(free_bytes=10**9).no_room() == ""
    assert "NOT ENOUGH ROOM" not in str(expected()) and "/disk/data/dr14/raw" in str(expected())
    said = str(expected(free_bytes=4 * 10**8))
    assert "NOT ENOUGH ROOM: lacks 600 MB in /disk/data/dr14/raw; to use another disk, set APOGAIA_ROOT=/disk" in said


def test_numbers_have_their_nouns():
    assert [counted(n, "query", "queries") for n in (0, 1, 2)] == ["0 queries", "1 query", "2 queries"]
    assert counted(1, "file") == "1 file" and counted(2, "file") == "2 files"
    assert "and 1 query to the Gaia archive" in str(expected()) and "of 1 stream" in str(expected(streams=1))


def test_size_and_speed_are_those_of_the_archive(simulated, survey_path, capsys):
    assert commands.main(["fetch", survey_path, "--dry-run"]) == 0
    places, _ = wanted_spectra(read_allstar(simulated.allstar), simulated.release)
    said = capsys.readouterr().out
    assert f"{len(places)} files, 0 of them here" in said and "measured just now" in said
    survey = load_survey(survey_path)
    told = estimate(survey, Workspace(survey))
    there = [(simulated.raw / place).stat().st_size for place in places if (simulated.raw / place).is_file()]
    assert min(there) <= told.file_bytes <= max(there)
    assert told.bytes_per_second > 0 and 0 < told.seconds_per_file < 10


@pytest.mark.parametrize(
    ("status", "words"), [(503, "the server answers HTTP 503"), (404, "no such file (HTTP 404")], ids=["503", "404"]
)
def test_an_archive_that_answers_is_not_called_out_of_reach(archive, survey_path, capsys, status, words):
    archive.faults.append(Fault("", "status", None, status=status))
    assert commands.main(["fetch", survey_path, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert words in said and "cannot be reached" not in said and "assumed" in said


def test_an_archive_that_breaks_off_is_not_called_out_of_reach(archive, survey_path, capsys):
    archive.faults.append(Fault("", "drop", None))
    assert commands.main(["fetch", survey_path, "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "the connection broke" in said and "cannot be reached" not in said


def test_files_that_came_count_though_the_first_did_not(archive, survey_path, capsys):
    archive.faults.append(Fault("", "status", 4, status=503))
    assert commands.main(["fetch", survey_path, "--dry-run"]) == 0
    assert "measured just now" in capsys.readouterr().out


@pytest.mark.parametrize("more", [["--dry-run"], []])
def test_a_mirror_must_hold_the_release(survey_path, tmp_path, capsys, more):
    Workspace(load_survey(survey_path)).allstar.unlink()
    assert commands.main(["fetch", survey_path, "--mirror", str(tmp_path / "nowhere"), *more]) == 2
    assert "nowhere: no such folder" in capsys.readouterr().err
    empty = tmp_path / "empty"
    empty.mkdir()
    assert commands.main(["fetch", survey_path, "--mirror", str(empty), *more]) == 2
    wants = f"{empty} holds no dr14/: --mirror needs the folder that holds dr14/, dr17/, dr19/ (SAS_BASE_DIR)"
    assert wants in capsys.readouterr().err


def test_what_the_mirror_has_is_not_counted(simulated, survey_path, tmp_path, capsys):
    mirror = tmp_path / "mirror"
    shutil.copytree(simulated.raw, mirror / simulated.release.spectra_folder)
    places, _ = wanted_spectra(read_allstar(simulated.allstar), simulated.release)
    there = sum((simulated.raw / place).is_file() for place in places)
    assert commands.main(["fetch", survey_path, "--mirror", str(mirror), "--dry-run"]) == 0
    assert f"{len(places)} files, {there} of them here" in capsys.readouterr().out


def test_a_fetch_warns_of_a_disk_that_is_too_small_and_goes_on(survey_path, monkeypatch, capsys):
    full_disk(monkeypatch, 100)
    assert commands.main(["fetch", survey_path]) == 0
    said = capsys.readouterr()
    assert "warning: NOT ENOUGH ROOM: lacks" in said.err and "complete: " in said.out
    assert "1 absent" in said.out
    assert commands.main(["fetch", survey_path]) == 0
    assert "NOT ENOUGH ROOM" not in capsys.readouterr().err  # nothing left but what the archive does not have
    assert commands.main(["fetch", survey_path, "--dry-run"]) == 0
    assert " 0 to fetch" in capsys.readouterr().out


def test_without_allstar_a_fetch_says_nothing_of_room(survey_path, monkeypatch, capsys):
    full_disk(monkeypatch, 100)
    Workspace(load_survey(survey_path)).allstar.unlink()
    assert commands.main(["fetch", survey_path, "--limit", "2"]) == 0
    assert "NOT ENOUGH ROOM" not in capsys.readouterr().err


def test_check_replaces_an_allstar_that_cannot_be_read(survey_path):
    allstar = Workspace(load_survey(survey_path)).allstar
    allstar.write_bytes(b"<html>")
    assert commands.main(["fetch", survey_path, "--limit", "2", "--check"]) == 0
    assert len(Table.read(allstar)) == 12


# --- kinds of surveys -------------------------------------------------------------------------------------------------


def own_folder(tmp_path) -> str:
    (tmp_path / "spectra").mkdir(exist_ok=True)
    path = tmp_path / "mine.toml"
    path.write_text('extends = "dr14"\ntitle = "mine"\n[sources]\nkind = "folder"\nfolder = "spectra"\n')
    return str(path)


def test_a_folder_of_any_name_is_linked_to_and_named_as_far_as_the_terminal_can(tmp_path, monkeypatch):
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path / "Übersicht {1}"))
    survey = tmp_path / "größer als alles.toml"
    folder = tmp_path / "raw «1»\n$x %"
    folder.mkdir()
    section = f'[sources]\nkind = "folder"\nfolder = {json.dumps(folder.name)}\n'
    survey.write_text(f'extends = "dr14"\ntitle = "größer\\nals alles"\n{section}', encoding="utf-8")
    workspace = Workspace(load_survey(survey))
    for path in (workspace.allstar, workspace.gaia, workspace.stellar_parameters):
        (folder / path.name).touch()
    said = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(said, "ascii"))
    assert commands.main(["data", str(survey)]) == 0
    sys.stdout.flush()
    assert workspace.allstar.resolve() == folder / workspace.allstar.name
    assert b"raw \\xab1\\xbb" in said.getvalue()
    assert commands.main(["data", str(survey)]) == 0  # the manifest is understood


@pytest.mark.parametrize("more", [["--dry-run"], []])
def test_only_surveys_of_archives_are_fetched(tmp_path, monkeypatch, capsys, more):
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path))
    own = own_folder(tmp_path)
    assert commands.main(["fetch", "smoke", *more]) == 2
    assert "`apogaia data smoke` makes it" in capsys.readouterr().err
    assert commands.main(["fetch", own, *more]) == 2
    assert f"`apogaia data {own}` links to your folder" in capsys.readouterr().err
    assert commands.main(["mock", own]) == 2
    assert f"`apogaia data {own}` links to your folder" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("option", [["--limit", "3"], ["--mirror", "/"], ["--check"], ["--accept-failures"]])
def test_options_of_fetching_are_refused_for_other_surveys(tmp_path, monkeypatch, capsys, option):
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path))
    for survey, kind in (("smoke", "simulated"), (own_folder(tmp_path), "folder")):
        assert commands.main(["data", survey, *option]) == 2
        said = capsys.readouterr().err
        assert f"{option[0]} is for surveys with sources.kind = 'archive'; that of {survey} is {kind!r}" in said
    assert not (tmp_path / "data").exists()


def test_processes_are_refused_where_nothing_is_simulated(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path))
    for survey in ("dr14", own_folder(tmp_path)):
        assert commands.main(["data", survey, "--processes", "2"]) == 2
        assert "--processes is for surveys with sources.kind = 'simulated'" in capsys.readouterr().err


def test_advice_repeats_the_survey_as_it_was_typed(survey_path, capsys):
    assert commands.main(["reduce", survey_path]) == 2
    assert f"run `apogaia data '{survey_path}'` first" in capsys.readouterr().err  # quoted: its name has a blank
    assert commands.main(["mock", survey_path]) == 2
    assert f"`apogaia data '{survey_path}'` fetches it" in capsys.readouterr().err


def test_failures_come_with_what_to_tell_make(simulated, archive, survey_path, capsys):
    only = min(simulated.raw.glob("*/*/apStar-*.fits")).name
    archive.faults.append(Fault(re.escape(only), "status", None, status=403))
    assert commands.main(["fetch", survey_path]) == 1
    assert "1 file failed" in (said := capsys.readouterr().err) and "FETCH=--accept-failures" in said


def test_a_survey_file_that_extends_its_own_name_is_told_so_once(tmp_path):
    path = tmp_path / "dr14.toml"
    path.write_text('extends = "dr14"\ntitle = "mine"\n')
    with pytest.raises(SurveyError, match="give your file another name") as caught:
        load_survey(path)
    assert str(caught.value).count(str(path)) == 1


@pytest.mark.parametrize(
    ("name", "release", "zero_point"), [("dr17-whole", "dr17", "none"), ("my", "dr14", "none")], ids=["edr3", "own"]
)
def test_the_survey_files_of_the_readme_are_read_and_fetch_nothing(tmp_path, name, release, zero_point):
    text = (Path(__file__).parents[2] / "data" / "README.md").read_text(encoding="utf-8")
    block = re.search(rf"((?:    .*\n)*    # {name}\.toml\n(?:    .*\n)+)", text)[1]
    path = tmp_path / f"{name}.toml"
    path.write_text(textwrap.dedent(block).replace("<path>", str(tmp_path)))
    survey = load_survey(path)
    assert survey.name == name and survey.sources.kind == "folder" and not survey.counts.asserted
    assert survey.sources.apogee_release == release and survey.sources.parallax_zero_point == zero_point
    assert Path(survey.sources.folder).is_relative_to(tmp_path.parent)


# --- stopped ----------------------------------------------------------------------------------------------------------


def start(arguments: list[str], root: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments],
        env=os.environ | {"APOGAIA_ROOT": str(root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(there, process: subprocess.Popen) -> None:
    end = time.monotonic() + 120  # two cores may be busy with other tests
    while not there():
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.05)


def assert_stopped(process: subprocess.Popen, within_s: float) -> None:
    process.send_signal(signal.SIGINT)
    try:
        _, err = process.communicate(timeout=within_s)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.count("stopped; the same command resumes") == 1 and "Traceback" not in err


def test_ctrl_c_ends_a_fetch_without_a_traceback(archive, survey_path, tmp_path):
    archive.faults.append(Fault(r"apStar", "slow", None, rate=1000))
    process = start(["fetch", survey_path], tmp_path)
    wait_for(lambda: any("apStar" in request.path for request in archive.requests), process)
    assert_stopped(process, 20)


def test_ctrl_c_ends_a_simulation_though_much_is_left_to_do(tmp_path):
    path = tmp_path / "many.toml"
    path.write_text('extends = "mock"\ntitle = "too many to wait for"\n')
    process = start(["mock", str(path), "--processes", "2"], tmp_path)
    wait_for(lambda: any((tmp_path / "data/many/raw").glob("*/*/apStar-*.fits")), process)
    assert_stopped(process, 20)
    assert not (tmp_path / "data/many/raw/manifest.json").exists()


def test_ctrl_c_leaves_the_callers_handling_of_it_as_it_was(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path))
    monkeypatch.setattr(survey_commands, "load_survey", lambda _: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert commands.main(["reduce", "smoke"]) == 130
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert "reduce: stopped" in capsys.readouterr().err


def test_what_nobody_expected_keeps_its_traceback(monkeypatch):
    def fail(_):
        raise ZeroDivisionError

    monkeypatch.setattr(survey_commands, "load_survey", fail)
    with pytest.raises(ZeroDivisionError):
        commands.main(["reduce", "smoke"])


@pytest.mark.parametrize(
    "command",
    "mock fetch data reduce train predict distance parameters astra compare explore zeropoint models import-model"
    " info".split(),
)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit):
        commands.main([command, "--help"])
    said = capsys.readouterr().out
    assert "Exit code: 0" in said and len(said.partition("positional")[0]) > 300
    values = {line.split()[1] for line in said.splitlines() if line.startswith("  --") and len(line.split()) > 1}
    assert not {value for value in values if value.isupper()} - {
        *"N X ID FILE FOLDER COLUMN ADDRESS MAG ARCSEC SURVEY".split()
    }
    assert not np.any([f" {name.upper()} " in said for name in ("passes", "seed", "model", "draws", "processes")])


@pytest.mark.parametrize(("command", "backend"), [("distance", "nonsense"), ("zeropoint", "torch")])
def test_a_backend_that_cannot_be_imported_is_one_line_with_those_that_can(tmp_path, command, backend):
    (tmp_path / "a.fits").touch()
    save_offset_model(tmp_path / "m.keras")
    script = f"import sys; sys.modules['torch'] = None; {COMMAND}"  # as if it were not installed
    done = subprocess.run(
        [sys.executable, "-c", script, command, "a.fits", "--model", str(tmp_path / "m.keras")],
        env=os.environ | {"KERAS_BACKEND": backend, "KERAS_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    (line,) = (line for line in done.stderr.splitlines() if not line.startswith("warning: "))
    assert done.returncode == 2 and line.startswith(f"apogaia {command}: ") and backend in line
    assert line.endswith("tensorflow, jax and torch train and predict, numpy predicts")


def test_the_package_runs_as_the_command_does():
    done = subprocess.run([sys.executable, "-m", "apogaia", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("apogaia ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_the_shell_completes_every_command(shell, capsys):
    assert commands.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in ("zeropoint", "import-model", "info", "scheduler"))


def test_bash_takes_its_completion(tmp_path, capsys):
    commands.main(["completion", "bash"])
    (tmp_path / "apogaia.bash").write_text(capsys.readouterr().out)
    typed = "COMP_WORDS=(apogaia zer); COMP_CWORD=1; _shtab_apogaia; echo ${COMPREPLY[@]}"
    script = f"source {tmp_path}/apogaia.bash; {typed}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["zeropoint"], done.stderr


def test_without_a_model_of_the_default_survey_one_that_is_there_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path))
    assert commands.main(["distance", "a.fits"]) == 2
    said = capsys.readouterr().err
    assert "mock/models/calibrated.keras: no such model; `make all` or `apogaia train mock` trains one" in said
    there = tmp_path / "data/smoke/models/calibrated.keras"
    there.parent.mkdir(parents=True)
    there.touch()
    assert commands.main(["distance", "a.fits"]) == 2
    assert f"--model, for instance {there}, which exists" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_is_no_fault():
    command = f"{sys.executable} -m apogaia completion bash | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout.split()[-1] in ("0", "141") and done.stderr == ""


def test_a_reader_that_has_gone_before_a_short_answer_is_no_fault():
    """What is still buffered when the command ends must not fail at Python's end, with exit code 120."""
    program = (
        "import argparse, sys, time; from apogaia.cli import commands;"
        " run = lambda options: time.sleep(1) or print('short') or 0;"
        " sys.exit(commands._run(argparse.Namespace(command='info', run=run)))"
    )
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = f'{sys.executable} -c "{program}" | true; echo ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=buffered)
    assert done.stdout.split() == ["141"] and done.stderr == ""
