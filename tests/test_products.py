"""Products of a survey are made once, and again when something changes."""

import contextlib
import dataclasses
import os
import time
import types
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
from catalogue_rows import stars
from small_networks import N_PIXELS, OFFSET, small_survey, synthetic_stars, table_and_spectra

from apogaia import products
from apogaia.distances.catalogue import build_catalogue
from apogaia.model import checkpoint, error_calibration, fitting, inference, model_file, networks, training
from apogaia.model.error_calibration import ErrorCalibration, Prediction
from apogaia.model.training_set import split
from apogaia.reduction import quality_cuts, stars_h5
from apogaia.refit.splines import quantile_knots
from apogaia.survey import load_survey, restore_survey
from apogaia.workspace import Workspace
from apogaia.zero_point import refit_zero_point
from apogaia.zero_point.sample_checks import check_samples, without_multivariate


def untrained(survey, sample, offset):
    """Stands in for the training: a network with its first weights, and a history."""
    keras.utils.set_random_seed(survey.training.seed)
    mean_spectrum = sample.spectrum.mean(axis=0)
    model = networks.build_joint_network(survey.network, offset, mean_spectrum=mean_spectrum, parallax_scale=1.4)
    return model, {"loss": [1.0]}


def test_trained_model_is_reused_until_something_changes(tmp_path, monkeypatch):
    sample = synthetic_stars(200)
    survey = small_survey(epochs=1)
    workspace = Workspace(survey, tmp_path)
    workspace.data.mkdir(parents=True)
    opened = table_and_spectra(workspace.stars, sample)
    opened.spectra.file.flush()
    selected = types.SimpleNamespace(training=np.arange(150), training_multivariate=np.arange(100))
    monkeypatch.setattr(quality_cuts, "select", lambda table, survey: selected)
    monkeypatch.setattr(stars_h5, "open_stars", lambda path: contextlib.nullcontext(opened))
    calls = []

    def train(survey, sample, offset, checkpoint):
        checkpoint.touch()
        calls.append(offset)
        return untrained(survey, sample, offset)

    monkeypatch.setattr(training, "train", train)
    first = products.trained_model(survey, workspace, "constant")
    content = workspace.model("constant").read_bytes()
    second = products.trained_model(survey, workspace, "constant")
    assert calls == ["constant"]
    assert not list(workspace.model("constant").parent.glob("*.training"))
    for a, b in zip(first.network.get_weights(), second.network.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert second.history == {"loss": [1.0]} and second.offset == "constant" and second.survey == survey
    assert second.provenance["gradient_stars"] == 135
    assert len(second.domain.positions) == 135 and second.domain.mean.shape == (N_PIXELS,)  # of those stars alone
    assert products.trained_model(survey, workspace, "multivariate").provenance["gradient_stars"] == 90
    changed = small_survey(epochs=1, seed=8)
    products.trained_model(changed, Workspace(changed, tmp_path), "constant")
    assert calls == ["constant", "multivariate", "constant"]
    assert workspace.model("constant").read_bytes() != content
    opened.spectra[0, 0] = 0.5
    opened.spectra.file.flush()
    products.trained_model(changed, workspace, "constant")
    assert len(calls) == 4


def test_networks_without_labels_need_none_and_do_not_depend_on_them(tiny_survey, monkeypatch):
    survey, workspace, opened = tiny_survey(160)
    asked = []
    monkeypatch.setattr(products, "labelled_stars", lambda *_: asked.append(1) or workspace.stars)
    first = {}
    for offset in ("none", "constant"):
        products.trained_model(survey, workspace, offset)
        first[offset] = workspace.model(offset).read_bytes()
        workspace.model(offset).unlink()
    opened.table["teff"] = np.linspace(3500, 9000, 160)
    for offset in ("none", "constant"):
        domain = products.trained_model(survey, workspace, offset).domain
        assert workspace.model(offset).read_bytes() == first[offset]
        assert np.isfinite(domain.label_mean).tolist() == [True, True, False]  # of G, BP-RP and Teff
    assert not asked
    assert np.isfinite(products.trained_model(survey, workspace, "multivariate").domain.label_mean).all() and asked


def test_a_model_whose_training_was_killed_has_the_bytes_of_one_that_was_not(tiny_survey, monkeypatch, capsys):
    """Also if another model was trained in its process before."""
    survey, workspace, _ = tiny_survey(80)
    survey = dataclasses.replace(survey, training=dataclasses.replace(survey.training, epochs=3))
    path = workspace.model("constant")
    products.trained_model(survey, workspace, "constant")
    whole, names = path.read_bytes(), sorted(os.listdir(path.parent))
    path.unlink()

    class Killed(fitting.EpochReport):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(checkpoint, "EVERY_S", 0.0)
        patch.setattr(fitting, "EpochReport", Killed)
        products.trained_model(survey, workspace, "constant")
    assert "constant.training" in os.listdir(path.parent)
    capsys.readouterr()
    products.trained_model(survey, workspace, "constant")
    assert "constant: resumes after epoch 2 of 3" in capsys.readouterr().out
    assert path.read_bytes() == whole and sorted(os.listdir(path.parent)) == names


def test_kept_predictions_are_calibrated(tmp_path, monkeypatch):
    """The model's own error calibration is applied, without a caller having to ask for it."""
    survey, sample = small_survey(), synthetic_stars(40)
    workspace = Workspace(survey, tmp_path)
    workspace.data.mkdir(parents=True)
    opened = table_and_spectra(workspace.stars, sample)
    opened.table["snr"] = np.linspace(50, 300, 40)
    opened.spectra.file.flush()
    monkeypatch.setattr(stars_h5, "open_stars", lambda path: contextlib.nullcontext(opened))
    network = networks.build_joint_network(
        survey.network, "none", mean_spectrum=sample.spectrum.mean(axis=0), parallax_scale=1.4
    )
    stars = types.SimpleNamespace(fakemag=[1.0, 30.0], error=[0.01, 0.5], snr=[40.0, 400.0])
    knots = [np.log(quantile_knots(np.array(v), 4)).tolist() for v in vars(stars).values()]
    bases = [4 + 3, 1 + 4 + 4 + 4]
    errors = ErrorCalibration(*knots, *(np.full(n, 0.1).tolist() for n in bases), 500)
    model_file.save_model(network, workspace.model("calibrated"), {"error_calibration": errors.to_dict()})
    found = products.predicted_stars(survey, workspace, "calibrated")
    passes = survey.inference
    plain = inference.predict(network, sample.spectrum, passes=passes.passes, seed=passes.seed, progress=False)
    for a, b, c in zip(found, errors.apply(plain, opened.table["snr"]), plain, strict=True):
        np.testing.assert_array_equal(a, b)
        assert np.all(a != c)
    called = []
    monkeypatch.setattr(inference, "predict", lambda *_, **__: called.append(1))
    products.predicted_stars(survey, workspace, "calibrated")
    assert not called


@pytest.fixture
def tiny_survey(tmp_path, monkeypatch):
    """Makes a survey of n stars, half of which train, with changes of its section [calibration]; and its stars.h5."""

    def make(n, **calibration):
        survey, sample = small_survey(epochs=1), synthetic_stars(n)
        survey = dataclasses.replace(survey, calibration=dataclasses.replace(survey.calibration, **calibration))
        workspace = Workspace(survey, tmp_path)
        workspace.data.mkdir(parents=True)
        opened = table_and_spectra(workspace.stars, sample)
        table = stars(n, visibility_periods_used=20, v_scatter=0.1, log_luminosity=2.0)
        for name in opened.table.colnames:
            table[name] = opened.table[name]
        table["snr"] = np.where(np.arange(n) % 2, 100.0, 300.0)
        opened = stars_h5.Stars(table, opened.spectra)
        opened.spectra.file.flush()
        monkeypatch.setattr(stars_h5, "open_stars", lambda path: contextlib.nullcontext(opened))
        return survey, workspace, opened

    return make


def test_the_calibrated_model_holds_the_refitted_zero_point_and_errors_of_stars_that_did_not_train(
    tiny_survey, monkeypatch
):
    """The default product: what its file says is made again here, step by step."""
    monkeypatch.setattr(error_calibration, "LEAST_STARS", 100)
    survey, workspace, opened = tiny_survey(800, min_stars=300, iterations=1, epochs=1)
    table, n = opened.table, len(opened.table)
    rng = np.random.default_rng(3)
    table["glon"], table["glat"] = np.linspace(0, 360, n, endpoint=False), rng.uniform(-60, 60, n)
    table["fe_h"], table["mg_h"] = rng.normal(-0.1, 0.2, n), rng.normal(0.0, 0.2, n)
    table["a_k_mag"][8] = np.nan  # no star without extinction calibrates the zero point or trains
    trained = []

    def train(survey, sample, offset, name, checkpoint):
        checkpoint.touch()
        trained.append(sample)
        return untrained(survey, sample, offset)

    monkeypatch.setattr(training, "train", train)
    model = products.calibrated_model(survey, workspace)
    assert (model.offset, model.history) == ("calibrated", {"loss": [1.0]})
    assert not list(workspace.model("calibrated").parent.glob("*.training"))
    assert restore_survey(model.provenance["settings"]) == survey

    training_rows, test_rows = np.delete(np.arange(0, n, 2), 4), np.arange(1, n, 2)
    both = np.sort(np.concatenate([training_rows, test_rows]))  # stars of any SNR calibrate the zero point
    chosen = both[refit_zero_point.usable(survey, table[both])]
    assert len(training_rows) < len(chosen) < len(both)  # without the bar
    wanted = refit_zero_point.calibrate(survey, table[chosen], opened.spectra[:][chosen])
    stated = model.provenance["calibration"]
    assert (stated["value_uas"], stated["error_uas"]) == (wanted.zero_point_uas, wanted.error_uas)
    assert (stated["fixed"], stated["stars"]) == (False, len(chosen))
    assert abs(stated["value_uas"] - 1000 * OFFSET) < 4 * stated["error_uas"] < 40
    assert len(trained) == 1
    corrected = table["parallax"][training_rows] - 1e-3 * wanted.zero_point_uas
    np.testing.assert_array_equal(trained[0].parallax, corrected)

    _, validation = split(len(training_rows), survey.training.validation_fraction, survey.training.seed)
    of_test = error_calibration.calibration_rows(table, test_rows)
    held_out = np.sort(np.concatenate([training_rows[validation], of_test]))
    assert 100 < len(of_test) < 300 and set(of_test) < set(test_rows)
    passes = survey.inference
    settings = {"passes": passes.passes, "seed": passes.seed, "batch_size": passes.batch_size}
    prediction = inference.predict(model.network, opened.spectra[:][held_out], **settings, progress=False)
    shared = refit_zero_point.shared_error_uas(survey)
    errors = ErrorCalibration.fit(prediction, table[held_out], wanted.zero_point_uas, shared)
    assert model.errors.stars == len(held_out) and model.errors.to_dict() == model.provenance["error_calibration"]
    for name, values in errors.to_dict().items():
        np.testing.assert_allclose(getattr(model.errors, name), values, rtol=1e-5, err_msg=name)

    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("it trains again"))
    assert products.calibrated_model(survey, workspace).provenance == model.provenance
    moved = dataclasses.replace(survey, calibration=dataclasses.replace(survey.calibration, ridge=4.0))
    with pytest.raises(pytest.fail.Exception, match="it trains again"):
        products.calibrated_model(moved, workspace)


def test_a_tiny_survey_without_colours_and_extinction_goes_from_stars_to_distances_with_a_fixed_zero_point(
    tiny_survey,
):
    n = 80
    survey, workspace, opened = tiny_survey(
        n, zero_point="fixed", fixed_zero_point=-52.3, fixed_zero_point_error=2.0, epochs=1
    )
    table = opened.table
    for name in ("bp_rp", "a_k_mag", "glon", "glat"):
        table[name] = np.full(n, np.nan)
    check_samples(survey, table)
    assert "no training star has BP-RP" in without_multivariate(survey, table)

    assert products.trained_model(survey, workspace, "constant").provenance["gradient_stars"] == 36
    model = products.calibrated_model(survey, workspace)
    stated = model.provenance["calibration"]
    assert stated == {"value_uas": -52.3, "error_uas": 2.0, "fixed": True, "plane": None}
    prediction = products.predicted_stars(survey, workspace, "calibrated")
    placement = model.place(opened.spectra, table["g_mag"], table["bp_rp"], table["teff"])
    made = build_catalogue(table, prediction, stated["value_uas"] / 1000, survey.inference, placement)
    np.testing.assert_allclose(made["zero_point"], -0.0523)
    weight, gaia = made["nn_parallax_error"] ** -2.0, made["parallax_error"] ** -2.0
    mean = (weight * made["nn_parallax"] + gaia * (made["parallax"] + 0.0523)) / (weight + gaia)
    known = np.isfinite(made["weighted_dist"])
    assert known.sum() > 0.9 * n
    np.testing.assert_allclose(made["weighted_dist"][known], 1000 / mean[known], rtol=1e-5)


@pytest.mark.parametrize("source", ["own", "external", "aspcap"])
def test_labels_come_from_where_the_survey_says(tmp_path, monkeypatch, source):
    survey = small_survey()
    survey = dataclasses.replace(survey, labels=dataclasses.replace(survey.labels, source=source))
    workspace = Workspace(survey, tmp_path)
    workspace.data.mkdir(parents=True)
    workspace.stars.write_bytes(b"stars")
    workspace.allstar.parent.mkdir()
    workspace.allstar.write_bytes(b"allstar")
    made = []

    def maker(name):
        def make(path, **given):
            made.append((name, given))
            path.write_bytes(name.encode())

        return make

    for name in ("train_parameters_model", "predict_survey_labels", "label_with_own", "label_with_aspcap"):
        monkeypatch.setattr(products, name, maker(name))
    path = products.labelled_stars(survey, workspace)
    assert products.labelled_stars(survey, workspace) == path  # current
    wanted = {
        "own": ["train_parameters_model", "predict_survey_labels", "label_with_own"],
        "external": [],
        "aspcap": ["label_with_aspcap"],
    }
    assert [name for name, _ in made] == wanted[source]
    assert path == (workspace.stars if source == "external" else workspace.labelled_stars)
    assert all(given["stars"] == workspace.stars for _, given in made)
    if source == "own":
        assert made[-1][1]["prediction"] == workspace.prediction("parameters")
        workspace.stars.write_bytes(b"other stars")
        products.labelled_stars(survey, workspace)
        assert len(made) == 6


@pytest.mark.parametrize("product", ["labels", "luminosities"])
def test_who_needs_a_prediction_that_another_makes_waits_for_it(tmp_path, monkeypatch, product):
    """Two that write the same parts would remove each other's."""
    survey = load_survey("smoke")
    workspace = Workspace(survey, tmp_path)
    for path in (workspace.stars, workspace.allstar, workspace.model("none"), workspace.model("parameters")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a")
    monkeypatch.setattr(products, "_parameters_model_file", lambda survey, workspace: workspace.model("parameters"))
    at_once, most, made = [], [], []

    def make(path, **_):
        at_once.append(1)
        most.append(len(at_once))
        time.sleep(0.3)
        np.savez(path, **dict.fromkeys(Prediction._fields, np.ones(1)), label=1)
        made.append(path)
        at_once.pop()

    monkeypatch.setattr(products, "predict_survey_labels", make)
    monkeypatch.setattr(products, "predict_survey", make)
    monkeypatch.setattr(products, "read_prediction", lambda path: path)
    ask = {
        "labels": lambda: products.predicted_labels(survey, workspace),
        "luminosities": lambda: products.predicted_stars(survey, workspace, "none"),
    }[product]
    with ThreadPoolExecutor(2) as pool:
        for asked in [pool.submit(ask) for _ in range(2)]:
            asked.result()
    assert most == [1] and len(made) == 1
