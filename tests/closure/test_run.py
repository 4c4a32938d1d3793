"""Closure trials are kept while their settings and the code of their recipe stay as they are."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from apogaia import code_dependencies, files
from apogaia.closure import run
from apogaia.closure.recipes import refit
from apogaia.closure.trials import TRIALS


@pytest.fixture
def ran(tmp_path, monkeypatch):
    """Trials that run do so in no time; the names and surveys of those that did."""
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path))
    done = []

    def recover(trial, workspace, *, verbose):
        done.append((trial.name, workspace.survey.name))
        return {"value_uas": -50.0, "error_uas": 2.0}

    recover.__module__ = refit.__name__
    monkeypatch.setitem(run.RECIPES, "refit", recover)
    return done


def trial_named(name):
    return next(trial for trial in TRIALS if trial.name == name)


def test_list_says_which_trials_are_done_and_runs_none(ran, tmp_path, capsys):
    assert run.main(["kepler_refit"]) == 0 and len(ran) == 1
    by_hand = run.result_path(trial_named("refit_0"))
    assert tmp_path in by_hand.parents
    by_hand.write_text("{}")  # from before results had a fingerprint, or from elsewhere
    capsys.readouterr()
    assert run.main(["--list"]) == 0
    states = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert list(states) == [trial.name for trial in TRIALS]
    others = {name: state for name, state in states.items() if state != "-"}
    assert others == {"kepler_refit": "done", "refit_0": "outdated"}
    assert len(ran) == 1


def test_a_trial_that_is_done_is_kept_and_others_run(ran, capsys):
    for _ in range(2):
        assert run.main(["kepler_refit", "refit_0"]) == 0
    assert ran == [("kepler_refit", "mock-kepler"), ("refit_0", "mock-dr14")]
    assert "refit_0: -50.0 +- 2.0" in capsys.readouterr().out
    result = files.read_json(run.result_path(trial_named("refit_0")))
    assert result["trial"]["zero_point"] == 0.0 and result["seconds"] >= 0


@pytest.mark.parametrize(
    ("changed", "repeated"),
    [
        ("refit/least_squares.py", True),
        ("simulate/atomic_lines.csv", True),
        ("plots/maps.py", False),
        ("plots/closure.py", False),
        ("model/networks.py", False),
    ],
)
def test_a_refit_trial_is_repeated_after_changes_of_its_code_alone(ran, monkeypatch, changed, repeated):
    assert run.main(["refit_0"]) == 0
    digest, path = code_dependencies._content_digest, code_dependencies.PACKAGE / changed
    assert path.is_file()
    monkeypatch.setattr(
        code_dependencies, "_content_digest", lambda file, time: "changed" if file == path else digest(file, time)
    )
    assert run.main(["refit_0"]) == 0
    assert len(ran) == 1 + repeated


def test_a_trial_is_repeated_when_its_survey_changes(ran, monkeypatch):
    assert run.main(["refit_0"]) == 0
    survey = run.load_survey("mock-dr14")
    changed = replace(survey, calibration=replace(survey.calibration, ridge=2 * survey.calibration.ridge))
    monkeypatch.setattr(run, "load_survey", lambda name: changed)
    assert run.main(["refit_0"]) == 0
    assert len(ran) == 2


def test_an_unknown_trial_is_refused_by_the_command(tmp_path):
    command = [sys.executable, "-m", "apogaia.closure", "refit_52.3", "refit_53.2"]
    environment = os.environ | {
        "APOGAIA_ROOT": str(tmp_path),
        "PYTHONPATH": str(Path(run.__file__).resolve().parents[2]),
    }
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert "no trial called refit_53.2" in found.stderr and "refit_52.3" in found.stderr
    assert not list(tmp_path.iterdir())
