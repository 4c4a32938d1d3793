"""``apogaia predict``: which network predicts, what is printed, and what it says where something is missing."""

import numpy as np
import pytest

from apogaia import products
from apogaia.cli.commands import main
from apogaia.survey import load_survey
from apogaia.workspace import Workspace


@pytest.fixture
def predicted(tmp_path, monkeypatch):
    """Networks that predicted; those of two surveys are there."""
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path))
    names: list[str] = []
    for survey in ("smoke", "papers"):
        folder = tmp_path / "data" / survey / "models"
        folder.mkdir(parents=True)
        (folder.parent / "stars.h5").touch()
        for name in ("none", "constant", "calibrated"):
            (folder / f"{name}.keras").touch()
    monkeypatch.setattr(products, "predicted_stars", lambda survey, workspace, name: names.append(name))
    return names


def test_the_network_of_the_catalogue_predicts_unless_another_is_named(predicted, tmp_path, capsys):
    assert main(["predict", "smoke"]) == 0 and predicted == ["calibrated"]
    assert capsys.readouterr().out.split() == [str(tmp_path / "data/smoke/predictions/calibrated.npz")]
    assert main(["predict", "smoke", "--model", "none"]) == 0 and predicted[1:] == ["none"]
    papers = tmp_path / "papers.toml"
    papers.write_text('extends = "smoke"\ntitle = "the paper\'s recipe"\n[calibration]\nmodel = "constant"\n')
    assert main(["predict", str(papers)]) == 0 and predicted[2:] == ["constant"]


def test_a_network_that_is_not_there_is_one_line_with_what_trains_it(predicted, capsys):
    assert main(["predict", "smoke", "--model", "multivariate"]) == 2 and predicted == []
    assert "multivariate.keras is missing: run `apogaia train smoke` first" in capsys.readouterr().err


def test_without_reduced_stars_it_says_what_makes_them(predicted, tmp_path, capsys):
    (tmp_path / "data" / "smoke" / "stars.h5").unlink()
    assert main(["predict", "smoke"]) == 2 and predicted == []
    assert "stars.h5 is missing: run `apogaia reduce smoke` first" in capsys.readouterr().err


def test_what_the_command_keeps_is_what_the_catalogue_reads(tmp_path, monkeypatch):
    """A stand-in for the passes: the file is the one that products then loads, of the right model, and made once."""
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path))
    survey = load_survey("smoke")
    workspace = Workspace(survey)
    for file in (workspace.model("calibrated"), workspace.stars):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"a")
    made = []

    def write(path, **inputs):
        made.append(inputs)
        np.savez(path, fakemag=[1.0], model_error=[0.1], predictive_error=[0.2], total_error=[0.3])

    monkeypatch.setattr(products, "predict_survey", write)
    assert main(["predict", "smoke"]) == 0
    assert products.predicted_stars(survey, workspace, "calibrated").fakemag == 1 and len(made) == 1
    assert made[0]["model"] == workspace.model("calibrated") and made[0]["stars"] == workspace.stars
