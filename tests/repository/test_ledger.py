"""The ledger and the README's tables are written from results, and only from them."""

import dataclasses
from pathlib import Path

import ledger
import numpy as np
import pytest

from apogaia.files import read_json, write_json
from apogaia.model.training_set import split
from apogaia.physics.comparison import agreement
from apogaia.survey import load_survey
from apogaia.workspace import Workspace


@pytest.fixture
def workspace(tmp_path):
    """Results of a made-up run of the mock survey."""
    made = Workspace(load_survey("mock"), tmp_path)
    results: dict[str, dict] = {}
    for number, entry in enumerate(ledger.ENTRIES):
        *path, last = entry.key
        target = results.setdefault(entry.result, {})
        for part in path:
            target = target.setdefault(part, {})
        target[last] = 1000.5 + number
    results["03_offset_analysis"]["injected_uas"] = -77.7
    results["03_offset_analysis"]["calibrated"]["error_uas"] = 3.25
    results["04_inference_catalogue"]["truth"] = {
        "median_offset_percent": 1.5,
        "robust_scatter_percent": 9.5,
        "coverage_68": 0.66,
    }
    scatter = {"teff": 31.4, "logg": 0.123, "fe_h": 0.0271}
    results["06_stellar_parameters"] = {"recovery": {name: {"scatter": value} for name, value in scatter.items()}}
    results.setdefault("07_milky_way_maps", {})["map_against_truth"] = {
        "bins": 321,
        "median_difference": -0.0123,
        "scatter": 0.0456,
    }
    for name, values in results.items():
        write_json(made.result(name), values)
    return made


def test_every_number_of_the_paper_stands_beside_ours(workspace):
    text = ledger.ledger(workspace)
    for number, entry in enumerate(ledger.ENTRIES):
        row = next(line for line in text.splitlines() if line.startswith(f"| {entry.quantity} |"))
        assert f"{1000.5 + number:,.1f}" in row
        assert ledger._number(entry.paper, entry.unit) in row
    assert text.count("-77.7") == sum(bool(entry.truth) for entry in ledger.ENTRIES)


def test_a_fixed_zero_point_and_a_model_that_was_left_out_are_marked(workspace):
    path = workspace.result("03_offset_analysis")
    results = read_json(path)
    assert "not measured" not in ledger.ledger(workspace) + ledger.result_lines(workspace)
    results["calibrated"]["fixed"] = True
    results["multivariate"] = {"left_out": "Left out: no BP-RP."}
    write_json(path, results)
    lines = ledger.ledger(workspace).splitlines()
    assert sum("constant zero point, fixed in the survey file, not measured" in line for line in lines) == 1
    assert not any("refit" in line for line in lines)
    assert next(line for line in lines if "mean multivariate" in line).split("|")[3].strip() == "left out"
    assert "constant zero point, fixed in the survey file, not measured" in ledger.result_lines(workspace)


def test_readme_results_come_from_the_files(workspace):
    text = ledger.result_lines(workspace)
    zero_point = next(i for i, entry in enumerate(ledger.ENTRIES) if entry.key == ("constant", "value_uas"))
    assert f"{1000.5 + zero_point:.1f}" in text and "-77.7" in text and "± 3.2" in text and "66 %" in text
    assert "31 K, 0.12, 0.027 dex" in text and "of 321 bins | -0.012, 0.046 dex" in text


def test_a_report_goes_into_build_and_the_readme_only_if_asked(workspace, monkeypatch):
    monkeypatch.setattr(ledger, "Workspace", lambda survey: workspace)
    monkeypatch.setattr(ledger, "figure_table", lambda workspace: "| figures |\n")
    (workspace.root / "README.md").write_text(
        "".join(f"<!-- {name}: begin -->\nold\n<!-- {name}: end -->\n" for name in ("results", "floor"))
    )
    old = (workspace.root / "README.md").read_text()
    ledger.main(["mock"])
    report = (workspace.root / "build" / "mock" / "report" / "ledger.md").read_text()
    assert report.startswith("# Ledger") and "| figures |" in report and "0.12, 0.027 dex" in report
    assert (workspace.root / "README.md").read_text() == old and not (workspace.root / "docs").exists()
    workspace.figure("04_truth", "png").parent.mkdir(parents=True)
    workspace.figure("04_truth", "png").write_bytes(b"picture")
    ledger.main(["mock", "--docs"])
    assert "old" not in (workspace.root / "README.md").read_text()
    assert sorted(path.name for path in (workspace.root / "docs").iterdir()) == ["ledger.md", "truth.png"]
    assert (workspace.root / "docs" / "ledger.md").read_text().endswith("\n## Figures\n\n| figures |\n")


def test_a_map_without_a_bin_in_common_with_its_truth_is_told_so(workspace):
    path = workspace.result("07_milky_way_maps")
    nothing = {"bins": 0, "median_difference": None, "scatter": None}
    write_json(path, read_json(path) | {"map_against_truth": nothing})
    assert "of 0 bins | unknown, unknown dex" in ledger.result_lines(workspace)


def test_blocks_are_replaced_and_the_rest_is_kept():
    text = "before\n<!-- x: begin (note) -->\nold\n<!-- x: end -->\nafter\n"
    changed = ledger.replace_block(text, "x", "new\n")
    assert changed == "before\n<!-- x: begin (note) -->\nnew\n<!-- x: end -->\nafter\n"
    with pytest.raises(ValueError, match="no block 'y'"):
        ledger.replace_block(text, "y", "new\n")


def test_readme_and_make_name_the_same_notebooks_and_blocks():
    root = Path(__file__).resolve().parents[2]
    readme = (root / "README.md").read_text()
    ledger.replace_block(ledger.replace_block(readme, "floor", ""), "results", "")
    for _, notebook, name in ledger.FIGURES:
        source = (root / "notebooks" / f"{notebook}.ipynb").read_text()
        assert f'\\"{name}\\"' in source  # the notebook saves the figure under this name


def test_figure_8_is_in_the_ledger_as_distances_longer_than_gaia_s(workspace):
    path = workspace.result("04_inference_catalogue")
    dist = np.linspace(1000.0, 2000.0, 11)
    too_long = dataclasses.asdict(agreement(1.1 * dist, dist))
    results = read_json(path) | {"distance_against_gaia": {"giants": too_long, "luminous_giants": too_long}}
    write_json(path, results)
    rows = [line for line in ledger.ledger(workspace).splitlines() if line.startswith("| (NN - Gaia) / Gaia distance")]
    ours = {row.split("|")[1].strip().removeprefix("(NN - Gaia) / Gaia distance, "): row.split("|")[3] for row in rows}
    assert {name: value.strip() for name, value in ours.items()} == {
        "giants: robust scatter": "0.0 %",
        "giants: median": "10.0 %",
        "log g < 2.2: robust scatter": "0.0 %",
        "log g < 2.2: median": "10.0 %",
    }


def test_the_split_of_the_paper_s_samples_is_that_of_the_ledger():
    training = load_survey("dr14").training
    paper = {entry.quantity: entry.paper for entry in ledger.ENTRIES}
    for stars, gradient in ((paper["training set"], 31601), (paper["training set of the multivariate model"], 23430)):
        assert [len(part) for part in split(stars, training.validation_fraction, training.seed)] == [
            gradient,
            stars - gradient,
        ]
    assert paper["nine tenths of it, for the gradient"] == 23430


def test_the_notebooks_give_every_number_of_the_ledger():
    """By the smoke survey's results, where `make smoke` has run: a number may be unknown, but not under another key."""
    smoke = Workspace(load_survey("smoke"))
    for entry in ledger.ENTRIES:
        path = smoke.result(entry.result)
        if not path.is_file():
            pytest.skip("make smoke has not run here")
        values = read_json(path)
        for part in entry.key:
            assert part in values, f"{path.name} has no {entry.key}"
            values = values[part]


def test_the_differences_tell_how_the_default_survey_differs_from_the_paper_s():
    page = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "differences.md"
    readme = " ".join(page.read_text().split())
    mock, papers = load_survey("mock").training, [load_survey(name) for name in ("dr14", "dr14-light", "mock-dr14")]
    assert f"`mock` has {mock.epochs} epochs and a plateau patience of {mock.plateau_patience}," in readme
    assert {(survey.training.epochs, survey.training.plateau_patience) for survey in papers} == {(40, 2)}
    assert "40 and 2, are those of `dr14`, `dr14-light` and `mock-dr14`" in readme
    assert f"normal distribution of sd {papers[0].network.initial_weight_sd}" in readme


def test_a_title_of_any_characters_is_one_line_of_text(workspace):
    title = "größer\nals `alles` <b> $x_1$ | *"
    named = Workspace(dataclasses.replace(workspace.survey, title=title), workspace.root)
    line = ledger.ledger(named).splitlines()[2]
    assert r"(größer als \`alles\` \<b\> \$x\_1\$ \| \*)" in line
    assert line.replace("\\", "").count("mock") == 1


def test_a_run_older_than_the_comparisons_has_empty_cells_for_them(workspace):
    workspace.result("09_comparisons").unlink()
    rows = [line for line in ledger.ledger(workspace).splitlines() if line.startswith("| (NN - ")]
    empty = [row for row in rows if not row.split("|")[3].strip()]
    assert len(empty) == 6 and all("section 5.2" in row for row in empty)
    paper = {row.split("|")[1].strip(): row.split("|")[2].strip() for row in empty}
    assert paper["(NN - BPG) / BPG distance, median"] == "-5 %"
    assert paper["(NN - APOGEE-RC) / APOGEE-RC distance, robust scatter"] == "6 %"
    assert paper["(NN - Hogg) / Hogg distance, median without its sign"] == "3 %"


def test_the_field_s_floor_stands_beside_our_error(workspace):
    sentence = ledger.floor_sentence(workspace)
    assert "3 to 10 µas" in sentence and "3.2 µas" in sentence
    assert sentence.endswith("\n") and max(map(len, sentence.splitlines())) <= 120


def test_figures_of_a_notebook_that_has_not_run_are_left_out_where_it_is_newer_than_the_run(workspace):
    for _, notebook, _ in ledger.FIGURES:
        path = workspace.executed_notebook(notebook)
        if notebook != "09_comparisons":
            write_json(path, {"metadata": {"papermill": {"duration": 7.0}}})
    table = ledger.figure_table(workspace)
    assert "09_comparisons" not in table and "07_milky_way_maps" in table
    write_json(workspace.executed_notebook("09_comparisons"), {"metadata": {"papermill": {"duration": 7.0}}})
    assert "| 9 | 09_comparisons |" in ledger.figure_table(workspace)
