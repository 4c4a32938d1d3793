"""``apogaia train``: what is trained, in which order, and what it says where something is missing."""

import pytest

from apogaia import products
from apogaia.cli.commands import main
from apogaia.files import alone
from apogaia.reduction import reduce, stars_h5
from apogaia.survey import load_survey
from apogaia.workspace import Workspace
from apogaia.zero_point import sample_checks

ALL = ["none", "constant", "multivariate", "calibrated"]


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Names of what is trained, in order; nothing is, and spectra are taken as reduced."""
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path))
    names: list[str] = []
    monkeypatch.setattr(reduce, "reduce_survey", lambda *_, **how: names.append(f"reduced by {how['processes']}"))
    monkeypatch.setattr(products, "labelled_stars", lambda survey, workspace: workspace.stars)

    class Opened:
        def __init__(self, path):
            self.table = None

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(stars_h5, "open_stars", Opened)
    monkeypatch.setattr(sample_checks, "check_samples", lambda *_: names.append("checked"))
    monkeypatch.setattr(sample_checks, "without_multivariate", lambda *_: "")
    monkeypatch.setattr(products, "trained_model", lambda survey, workspace, offset: names.append(offset))
    monkeypatch.setattr(products, "calibrated_model", lambda *_: names.append("calibrated"))
    monkeypatch.setattr(products, "parameters_model", lambda *_: names.append("parameters"))
    return names


def with_raw_files(survey):
    manifest = Workspace(load_survey(survey)).raw_manifest
    manifest.parent.mkdir(parents=True)
    manifest.touch()


def test_all_that_make_makes_is_trained_in_its_order(trained, tmp_path, capsys):
    with_raw_files("smoke")
    assert main(["train", "smoke", "--processes", "2"]) == 0
    assert trained == ["reduced by 2", "checked", "parameters", *ALL]
    printed = capsys.readouterr().out.split()
    assert printed == [str(tmp_path / f"data/smoke/models/{name}.keras") for name in ["parameters", *ALL]]


def test_labels_of_others_need_no_network_of_their_own(trained):
    with_raw_files("dr14")
    assert main(["train", "dr14"]) == 0 and trained[2:] == ALL


def test_one_network_alone(trained):
    with_raw_files("smoke")
    assert main(["train", "smoke", "--model", "calibrated", "--model", "none"]) == 0
    assert trained[2:] == ["none", "calibrated"]


def test_the_network_of_the_labels_needs_no_parallaxes(trained, monkeypatch):
    def refuse(*_):
        raise sample_checks.SampleError("smoke: too few stars with a parallax")

    with_raw_files("smoke")
    monkeypatch.setattr(sample_checks, "check_samples", refuse)
    assert main(["train", "smoke", "--model", "parameters"]) == 0 and trained == ["reduced by None", "parameters"]
    assert main(["train", "smoke", "--model", "parameters", "--model", "none"]) == 2 and trained[-1] != "parameters"


def test_what_cannot_be_trained_is_left_out_with_a_sentence(trained, monkeypatch, capsys):
    with_raw_files("smoke")
    monkeypatch.setattr(sample_checks, "without_multivariate", lambda *_: "Left out: no star has BP-RP.")
    assert main(["train", "smoke"]) == 0 and trained[2:] == ["parameters", "none", "constant", "calibrated"]
    assert "Left out: no star has BP-RP." in capsys.readouterr().err
    assert main(["train", "smoke", "--model", "multivariate"]) == 1
    assert "Left out" in capsys.readouterr().err
    assert main(["train", "smoke", "--model", "none"]) == 0 and "Left out" not in capsys.readouterr().err


def test_labels_are_asked_for_only_by_what_uses_them(trained, monkeypatch):
    with_raw_files("smoke")
    monkeypatch.setattr(
        products, "labelled_stars", lambda survey, workspace: trained.append("labels") or workspace.stars
    )
    assert main(["train", "smoke", "--model", "none", "--model", "constant"]) == 0
    assert trained == ["reduced by None", "checked", "none", "constant"]
    trained.clear()
    assert main(["train", "smoke", "--model", "multivariate"]) == 0
    assert trained == ["reduced by None", "checked", "labels", "multivariate"]


def test_two_processes_do_not_train_the_same_network(trained, tmp_path, capsys):
    with_raw_files("smoke")
    with alone(tmp_path / "data/smoke/models/.constant.lock", "busy"):
        assert main(["train", "smoke", "--model", "none", "--model", "constant"]) == 2
    assert trained[2:] == ["none"]
    assert "constant.keras: wait for it, or stop it" in capsys.readouterr().err
    assert main(["train", "smoke", "--model", "constant"]) == 0 and trained[-1] == "constant"


def test_without_raw_files_it_says_what_brings_them(trained, capsys):
    assert main(["train", "smoke"]) == 2 and trained == []
    assert "manifest.json is missing: run `apogaia data smoke` first" in capsys.readouterr().err


def test_a_sample_that_is_too_small_is_one_line(trained, monkeypatch, capsys):
    def refuse(*_):
        raise sample_checks.SampleError("smoke: too few stars")

    with_raw_files("smoke")
    monkeypatch.setattr(sample_checks, "check_samples", refuse)
    assert main(["train", "smoke"]) == 2
    assert capsys.readouterr().err == "apogaia train: smoke: too few stars\n"
