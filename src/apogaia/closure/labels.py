"""How well are labels recovered with a training set of the paper's size? ``python -m apogaia.closure.labels``.

A network of stellar parameters is trained on a simulated sample in memory, and its labels are held to the truth. It
takes some two hours on two cores; ``--report`` writes docs/closure/labels.json.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

import numpy as np
from astropy.table import Table

from apogaia import files
from apogaia.closure.sample import read_sample_truth, simulate_sample
from apogaia.closure.trials import SAMPLE
from apogaia.formats.aspcap_labels import read_aspcap_labels
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.parameters import recovery
from apogaia.parameters.parameters_model import ParametersModel
from apogaia.parameters.predictions import LabelPrediction
from apogaia.parameters.training import test_rows, train_on_labels
from apogaia.reduction import stars_h5
from apogaia.survey import Survey, load_survey
from apogaia.workspace import Workspace

__all__ = ["main", "measure"]

SURVEY = "mock-dr14"
SNR_EDGES = (30.0, 50.0, 70.0, 100.0, 140.0, 200.0)
TEFF_EDGES = (3500.0, 4000.0, 4300.0, 4600.0, 4900.0, 5300.0)
LEAST_SNR = 100.0  # of the stars in the table of recovered labels
DWARF_LOGG = 4.0  # above, no star has a label of log g: ASPCAP's are of giants
SECTIONS = ("sources", "simulation", "spectra", "cuts", "network", "training", "parameters", "inference")


def measure(prediction: LabelPrediction, raw: LabelPrediction, truth: np.ndarray, label: np.ndarray, snr) -> dict:
    """Recovery of the true labels of n test stars.

    Parameters
    ----------
    prediction, raw
        Calibrated, and as the network predicts.
    truth
        (n, 22) true labels [K, dex].
    label
        (n, 22) the survey's, NaN where a star has none.
    snr
        (n,) of the spectra.

    Returns
    -------
    dict
        ``recovery`` above SNR 100 by label, of the stars that have the label; ``coverage`` in bins of SNR and of Teff
        (22, bins); ``recovery_raw`` and ``coverage_raw`` before the calibration; ``bins``, their edges; ``outside``:
        the median stated error of log g of dwarfs, of which none trained log g, and of giants, both above SNR 100; and
        of the dwarfs the median offset of log g and the share within the stated error.
    """
    snr = np.asarray(snr, float)
    right = np.where(np.isfinite(label), truth, np.nan)
    bright = snr > LEAST_SNR
    found, found_raw = (
        {row["label"]: {name: row[name] for name in table.colnames[1:]} for row in table}
        for table in (recovery.recovery(_rows(one, bright), right[bright]) for one in (prediction, raw))
    )
    by = {"snr": (snr, SNR_EDGES), "teff": (prediction.label[:, 0], TEFF_EDGES)}
    coverage, coverage_raw = (
        {name: recovery.coverage_in_bins(one, right, values, edges) for name, (values, edges) in by.items()}
        for one in (prediction, raw)
    )
    logg = LABELS.index("logg")
    dwarf, giant = (kind & bright for kind in (truth[:, logg] > DWARF_LOGG, truth[:, logg] <= DWARF_LOGG))
    error, offset = prediction.total_error[:, logg], prediction.label[:, logg] - truth[:, logg]
    return {
        "stars": int(bright.sum()),
        "recovery": found,
        "recovery_raw": found_raw,
        "coverage": coverage,
        "coverage_raw": coverage_raw,
        "bins": {name: edges for name, (_, edges) in by.items()},
        "outside": {
            "dwarfs": int(dwarf.sum()),
            "logg_error_dwarfs": float(np.median(error[dwarf])) if dwarf.any() else None,
            "logg_error_giants": float(np.median(error[giant])) if giant.any() else None,
            "logg_offset_dwarfs": float(np.median(offset[dwarf])) if dwarf.any() else None,
            "logg_coverage_dwarfs": float(np.mean(np.abs(offset[dwarf]) < error[dwarf])) if dwarf.any() else None,
        },
    }


def _rows(prediction: LabelPrediction, rows: np.ndarray) -> LabelPrediction:
    return LabelPrediction(*(part[rows] for part in prediction))


def _train(path: Path, survey: Survey, workspace: Workspace) -> None:
    with stars_h5.open_stars(workspace.stars) as opened:
        checkpoint = workspace.closure_model("labels").with_suffix(".training")
        train_on_labels(path, survey, opened, _labels(workspace), checkpoint)


def _labels(workspace: Workspace) -> Table:
    rows = np.asarray(read_sample_truth(workspace)["row"])
    return read_aspcap_labels(workspace.allstar, workspace.release)[rows]


def _test(path: Path, survey: Survey, workspace: Workspace, model: Path) -> None:
    trained, labels = ParametersModel.load(model, survey), _labels(workspace)
    with stars_h5.open_stars(workspace.stars) as opened:
        test = test_rows(opened.table, labels, survey)
        snr = np.asarray(opened.table["snr"])[test]
        raw = trained.predict_raw(opened.spectra_of(test))
    truth = recovery.true_labels(read_sample_truth(workspace))[test]
    label = np.column_stack([np.asarray(labels[name])[test] for name in LABELS])
    counts = {name: trained.provenance[name] for name in ("gradient_stars", "validation_stars")}
    epochs = {"epochs": len(trained.history["loss"]), "test_stars": len(test)}
    files.write_json(path, counts | epochs | measure(trained.calibrated(raw, snr), raw, truth, label, snr))


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m apogaia.closure.labels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--report", action="store_true", help="write docs/closure/labels.json from the finished run")
    report = parser.parse_args(arguments).report
    survey = load_survey(SURVEY)
    workspace = Workspace(survey)
    result = workspace.closure_result("labels")
    if not report:
        n_training, n_test = SAMPLE[SURVEY]
        simulate_sample(survey, workspace, n_training=n_training, n_test=n_test)
        inputs, settings = [workspace.stars, workspace.sample_truth], survey.settings(*SECTIONS)
        make = functools.partial(_train, survey=survey, workspace=workspace)
        model = files.kept(workspace.closure_model("labels"), make, settings, inputs)
        make = functools.partial(_test, survey=survey, workspace=workspace, model=model)
        files.kept(result, make, settings, [*inputs, model])
        return 0
    path = workspace.root / "docs" / "closure" / "labels.json"
    files.write_json(path, files.read_json(result))
    print(f"written: {path}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
