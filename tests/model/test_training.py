"""Training of the joint networks on synthetic stars, and the model files."""

import contextlib
import dataclasses
import json
import types
import zipfile

import h5py
import keras
import numpy as np
import pytest
from astropy.table import Table
from small_networks import N_PIXELS, OFFSET, small_survey, synthetic_stars

from apogaia.model import inference, networks, training
from apogaia.model.training import ModelFileError, TrainingSet
from apogaia.reduction import quality_cuts, star_file
from apogaia.workspace import Workspace


@pytest.fixture(scope="module")
def trained():
    survey = small_survey(epochs=25)
    model, history = training.train(survey, synthetic_stars(3000), "constant", verbose=False)
    return survey, model, history


def test_a_known_zero_point_and_the_luminosities_are_recovered(trained):
    _, model, history = trained
    offset = inference.offset_draws(model, None, draws=2000, seed=1).mean()
    assert offset == pytest.approx(OFFSET, abs=0.01)
    unseen = synthetic_stars(300, seed=2, offset=0.0)
    prediction = inference.predict(model, unseen.spectrum, passes=50, seed=1, progress=False)
    truth = (unseen.parallax - 0) * 10 ** (0.2 * unseen.k0_mag)
    precise = unseen.parallax_error * 10 ** (0.2 * unseen.k0_mag) < 0.05 * truth
    assert np.median(np.abs(prediction.fakemag[precise] / truth[precise] - 1)) < 0.08
    assert history["loss"][-1] < history["loss"][0] - 0.3


def test_history_has_one_value_per_epoch(trained):
    _, model, history = trained
    assert set(history) == {"loss", "val_loss", "learning_rate", "offset"}
    assert {len(values) for values in history.values()} == {25}
    assert history["learning_rate"][0] == pytest.approx(3e-3)
    ones = np.ones((1, 3), np.float32)
    assert history["offset"][-1] == float(keras.ops.convert_to_numpy(model.get_layer("offset")(ones))[0, 0])


def test_learning_rate_falls_on_a_plateau_and_each_epoch_prints_a_line(capsys):
    survey = small_survey(epochs=6, plateau_threshold=1e9, plateau_patience=2, min_learning_rate=1e-3)
    _, history = training.train(survey, synthetic_stars(200), "none")
    # nothing counts as progress after the first epoch: halved after two more, and again, then held by the minimum
    assert history["learning_rate"] == pytest.approx([3e-3, 3e-3, 3e-3, 1.5e-3, 1.5e-3, 1e-3])
    assert "offset" not in history
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", f"{i}/6"] for i in range(1, 7)]
    assert all(name in lines[0] for name in ("loss", "val_loss", "learning_rate"))


def test_training_is_reproducible_bit_for_bit(tmp_path):
    sample = synthetic_stars(300)
    paths = [tmp_path / f"{name}.keras" for name in "ab"]
    for path in paths:
        model, history = training.train(small_survey(), sample, "multivariate", verbose=False)
        training.save_model(model, path, {"history": history})
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_normalisation_comes_from_the_gradient_stars_alone():
    sample = synthetic_stars(100)
    model, _ = training.train(small_survey(epochs=1), sample, "multivariate", verbose=False)
    gradient, validation = training.split(100, 0.1, small_survey().training.seed)
    assert len(validation) == 10
    assert sorted([*gradient, *validation]) == list(range(100))
    mean = keras.ops.convert_to_numpy(model.get_layer("luminosity").get_layer("mean_subtraction").mean)
    assert mean == pytest.approx(sample.spectrum[gradient].mean(axis=0), abs=1e-6)
    standardisation = model.get_layer("offset").get_layer("standardisation")
    assert standardisation.mean.numpy()[2] == pytest.approx(sample.teff[gradient].mean(), rel=1e-6)
    assert standardisation.sd.numpy()[0] == pytest.approx(sample.g_mag[gradient].std(), rel=1e-5)


def test_values_that_are_not_finite_are_refused_by_name():
    sample = synthetic_stars(100)
    sample.bp_rp[3] = np.nan
    assert "bp_rp" not in sample.arrays("constant")[0]
    with pytest.raises(ValueError, match="bp_rp"):
        training.train(small_survey(), sample, "multivariate", verbose=False)
    sample.spectrum[5, 5] = np.inf
    with pytest.raises(ValueError, match="spectrum"):
        training.train(small_survey(), sample, "none", verbose=False)


def test_too_few_stars_are_refused():
    with pytest.raises(ValueError, match="3 training stars are too few"):
        training.train(small_survey(), synthetic_stars(3), "none", verbose=False)


def table_and_spectra(path, sample):
    table = Table({f.name: getattr(sample, f.name) for f in dataclasses.fields(sample)[1:]})
    file = h5py.File(path, "w")
    return star_file.Stars(table, file.create_dataset("spectrum", data=sample.spectrum))


def test_training_set_takes_the_rows_asked_for(tmp_path):
    n = 9000  # more than two blocks
    rng = np.random.default_rng(0)
    columns = {f.name: rng.normal(size=n) for f in dataclasses.fields(TrainingSet)[1:]}
    everything = TrainingSet(np.arange(n, dtype=np.float32)[:, None] * np.ones(3, np.float32), **columns)
    opened = table_and_spectra(tmp_path / "s.h5", everything)
    rows = np.sort(rng.choice(n, 500, replace=False))
    taken = TrainingSet.from_stars(opened, rows)
    np.testing.assert_array_equal(taken.spectrum[:, 1], rows)
    assert taken.spectrum.dtype == np.float32
    np.testing.assert_array_equal(taken.parallax_error, columns["parallax_error"][rows])
    with pytest.raises(ValueError, match="ascend"):
        TrainingSet.from_stars(opened, rows[::-1])


def test_model_file_comes_back_with_outputs_and_provenance(trained, tmp_path):
    survey, model, _ = trained
    sample = synthetic_stars(3000)
    path = tmp_path / "constant.keras"
    training.save_model(model, path, training.provenance(survey, sample, "constant"))
    loaded = training.load_model(path)
    inputs, _ = sample.arrays("constant")
    inputs = {name: values[:20] for name, values in inputs.items()}
    np.testing.assert_array_equal(loaded.predict(inputs, verbose=0), model.predict(inputs, verbose=0))
    origin = training.read_provenance(path)
    assert origin["survey"] == "smoke"
    assert (origin["gradient_stars"], origin["validation_stars"]) == (2700, 300)
    gradient, _ = training.split(3000, 0.1, survey.training.seed)
    assert origin["parallax_scale_mas"] == pytest.approx(sample.parallax[gradient].std())
    assert origin["settings"]["training"]["epochs"] == 25
    assert origin["versions"]["keras"] == keras.__version__
    # and Keras itself reads it, once the layers are known
    assert keras.models.load_model(path, compile=False).name == "joint_constant"
    assert list(tmp_path.iterdir()) == [path]


def test_model_file_has_no_optimiser_and_no_dates(trained, tmp_path):
    _, model, _ = trained
    training.save_model(model, tmp_path / "m.keras", {})
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        assert {member.date_time[0] for member in archive.infolist()} == {1980}
        assert "date_saved" not in json.loads(archive.read("metadata.json"))
        size = archive.getinfo("model.weights.h5").file_size
    assert size < 4 * model.count_params() * 1.5 + 80_000


def test_a_missing_model_and_files_that_are_none_are_told_apart(trained, tmp_path):
    _, model, _ = trained
    with pytest.raises(FileNotFoundError, match="notebook 02"):
        training.load_model(tmp_path / "none.keras")
    (tmp_path / "text.keras").write_text("not a zip")
    with pytest.raises(ModelFileError, match=r"text\.keras"):
        training.load_model(tmp_path / "text.keras")
    model.save(tmp_path / "foreign.keras")
    with pytest.raises(ModelFileError, match=r"foreign\.keras"):
        training.load_model(tmp_path / "foreign.keras")
    training.save_model(model, tmp_path / "whole.keras", {})
    whole = bytearray((tmp_path / "whole.keras").read_bytes())
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError):
        training.load_model(tmp_path / "cut.keras")
    whole[len(whole) // 2] ^= 1
    (tmp_path / "flipped.keras").write_bytes(whole)
    with pytest.raises(ModelFileError, match="damaged"):
        training.load_model(tmp_path / "flipped.keras")


def test_trained_model_is_reused_until_something_changes(tmp_path, monkeypatch):
    sample = synthetic_stars(200)
    survey = small_survey(epochs=1)
    workspace = Workspace(survey, tmp_path)
    workspace.data.mkdir(parents=True)
    opened = table_and_spectra(workspace.stars, sample)
    opened.spectra.file.flush()
    selected = types.SimpleNamespace(training=np.arange(150), training_multivariate=np.arange(100))
    monkeypatch.setattr(quality_cuts, "select", lambda table, survey: selected)
    monkeypatch.setattr(star_file, "open_stars", lambda path: contextlib.nullcontext(opened))
    calls = []

    def untrained(survey, sample, offset):
        calls.append(offset)
        keras.utils.set_random_seed(survey.training.seed)
        mean_spectrum = sample.spectrum.mean(axis=0)
        model = networks.build_joint_network(survey.network, offset, mean_spectrum=mean_spectrum, parallax_scale=1.4)
        return model, {"loss": [1.0]}

    monkeypatch.setattr(training, "train", untrained)
    first = training.trained_model(survey, workspace, "constant")
    content = workspace.model("constant").read_bytes()
    second = training.trained_model(survey, workspace, "constant")
    assert calls == ["constant"]
    for a, b in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(json.loads(workspace.history("constant").read_text())["loss"]) == 1
    assert training.read_provenance(workspace.model("constant"))["gradient_stars"] == 135
    known = training.read_domain(workspace.model("constant"))  # of those stars alone
    assert len(known.positions) == 135 and known.mean.shape == (N_PIXELS,)
    training.trained_model(survey, workspace, "multivariate")
    assert training.read_provenance(workspace.model("multivariate"))["gradient_stars"] == 90
    changed = small_survey(epochs=1, seed=8)
    training.trained_model(changed, Workspace(changed, tmp_path), "constant")
    assert calls == ["constant", "multivariate", "constant"]
    assert workspace.model("constant").read_bytes() != content
    opened.spectra[0, 0] = 0.5
    opened.spectra.file.flush()
    training.trained_model(changed, workspace, "constant")
    assert len(calls) == 4


def test_an_unknown_offset_is_refused():
    with pytest.raises(ValueError, match="must be one of"):
        training.train(small_survey(), synthetic_stars(100), "linear", verbose=False)
