"""The run that asks how well labels are recovered: what it measures, and of which stars."""

import json

import numpy as np
import pytest

from apogaia import files
from apogaia.closure import labels
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters.predictions import LabelPrediction
from apogaia.workspace import Workspace

N = 3000
SCALE = np.array([40.0, *[0.05] * 21])
LOGG = LABELS.index("logg")


@pytest.fixture(scope="module")
def measured():
    rng = np.random.default_rng(5)
    truth = np.column_stack([rng.uniform(3600, 5200, N), *rng.normal(0, 0.2, (21, N))])
    dwarf = np.arange(N) % 10 == 0
    truth[:, LOGG] = np.where(dwarf, 4.5, 2.5)
    label = truth + rng.normal(0, SCALE, truth.shape)
    label[dwarf, LOGG] = np.nan
    error = np.tile(SCALE, (N, 1))
    error[dwarf, LOGG] *= 3
    prediction = LabelPrediction(truth + rng.normal(0, SCALE, truth.shape), error, error, error)
    prediction.label[dwarf, LOGG] = 3.0  # far off: no dwarf taught log g
    raw = prediction._replace(label=prediction.label + 0.5 * SCALE, total_error=2 * error)
    snr = np.where(np.arange(N) % 2 == 0, 150.0, 60.0)
    return labels.measure(prediction, raw, truth, label, snr)


def test_it_is_held_to_the_truth_above_snr_100_and_where_stars_have_the_label(measured):
    assert measured["stars"] == N // 2
    assert measured["recovery"]["teff"]["stars"] == N // 2
    assert measured["recovery"]["logg"]["stars"] == N // 2 - N // 10  # dwarfs are among the even rows
    assert measured["recovery"]["teff"]["scatter"] == pytest.approx(40.0, rel=0.1)
    assert measured["recovery"]["logg"]["scatter"] == pytest.approx(0.05, rel=0.1)
    assert abs(measured["recovery"]["fe_h"]["bias"]) < 0.01
    bias = measured["recovery_raw"]["fe_h"]["bias"] - measured["recovery"]["fe_h"]["bias"]
    assert bias == pytest.approx(0.5 * 0.05)


def test_coverage_is_that_of_calibrated_and_of_stated_errors(measured):
    assert np.nanmean(measured["coverage"]["snr"]) == pytest.approx(0.683, abs=0.01)
    assert np.nanmean(measured["coverage_raw"]["snr"]) == pytest.approx(
        0.927, abs=0.01
    )  # of errors twice as large, off by a half
    assert np.shape(measured["coverage"]["teff"]) == (22, len(labels.TEFF_EDGES) - 1)


def test_errors_outside_the_training_set_stand_beside_those_inside(measured):
    outside = measured["outside"]
    assert outside["dwarfs"] == N // 10
    assert outside["logg_error_dwarfs"] == pytest.approx(3 * outside["logg_error_giants"])
    assert outside["logg_offset_dwarfs"] == pytest.approx(-1.5)  # 3.0 for 4.5: ten times the error
    assert outside["logg_coverage_dwarfs"] == 0


def test_dwarfs_whose_errors_say_so_are_covered():
    truth = np.full((40, len(LABELS)), 4.5)
    error = np.full(truth.shape, 0.7)
    label = truth + np.repeat([0.3, -0.8], 20)[:, None]
    found = labels.measure(*[LabelPrediction(label, error, error, error)] * 2, truth, truth, np.full(40, 150.0))
    assert found["outside"]["logg_coverage_dwarfs"] == 0.5 and found["outside"]["logg_error_giants"] is None


def test_the_report_is_the_finished_run(measured, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path))
    with pytest.raises(FileNotFoundError):
        labels.main(["--report"])
    workspace = Workspace(labels.load_survey(labels.SURVEY))
    files.write_json(workspace.closure_result("labels"), measured)
    assert labels.main(["--report"]) == 0
    written = json.loads((tmp_path / "docs" / "closure" / "labels.json").read_text())
    assert written["recovery"]["teff"]["stars"] == N // 2
    assert "docs/closure/labels.json" in capsys.readouterr().out
