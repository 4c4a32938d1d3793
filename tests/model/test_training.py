"""Training of the joint networks on synthetic stars, and the model files."""

import dataclasses
import re

import keras
import numpy as np
import pytest
from small_networks import OFFSET, small_survey, synthetic_stars, table_and_spectra

from apogaia.model import inference, model_file, training
from apogaia.model.offset_draws import offset_draws
from apogaia.model.training_set import TrainingSet, split


@pytest.fixture(scope="module")
def trained():
    survey = small_survey(epochs=25, learning_rate_without_offset=1.0)  # not of a network with an offset
    model, history = training.train(survey, synthetic_stars(3000), "constant", verbose=False)
    return survey, model, history


def test_a_known_zero_point_and_the_luminosities_are_recovered(trained):
    _, model, history = trained
    offset = offset_draws(model, None, draws=2000, seed=1).mean()
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
    survey = small_survey(
        epochs=6, plateau_threshold=1e9, plateau_patience=2, min_learning_rate=1e-3, learning_rate_with_offset=1.0
    )
    _, history = training.train(survey, synthetic_stars(200), "none")
    # nothing counts as progress after the first epoch: halved after two more, and again, then held by the minimum
    assert history["learning_rate"] == pytest.approx([3e-3, 3e-3, 3e-3, 1.5e-3, 1.5e-3, 1e-3])
    assert "offset" not in history
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", f"{i}/6"] for i in range(1, 7)]
    assert all(name in lines[0] for name in ("loss", "val_loss", "learning_rate"))
    assert all(line.split()[2] == "none" and re.search(r"  \d+ s left$", line) for line in lines)
    assert lines[-1].endswith("  0 s left")


def test_a_cosine_rises_for_an_eighth_of_the_epochs_and_falls_to_two_per_cent_whatever_the_loss():
    survey = small_survey(epochs=17, schedule="cosine", plateau_threshold=1e9, plateau_patience=0)
    _, history = training.train(survey, synthetic_stars(60), "none", verbose=False)
    rate = np.array(history["learning_rate"]) / 3e-3
    assert rate[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])  # 2 of 17 epochs rise
    assert np.all(np.diff(rate[2:]) < 0) and rate[-1] == pytest.approx(0.02)
    assert rate[9] == pytest.approx(0.51)  # half-way down
    _, one = training.train(small_survey(epochs=1, schedule="cosine"), synthetic_stars(60), "none", verbose=False)
    assert one["learning_rate"] == pytest.approx([1.5e-3])


def test_the_learning_rate_follows_the_loss_of_the_validation_stars():
    """Their parallaxes are spoilt: the better the network knows the other stars, the worse it does on these."""
    survey = small_survey(epochs=5, plateau_threshold=0.0, plateau_patience=1, min_learning_rate=1e-6)
    sample = synthetic_stars(200)
    _, validation = split(200, survey.training.validation_fraction, survey.training.seed)
    sample.parallax[validation] += 20.0
    _, history = training.train(survey, sample, "none", verbose=False)
    assert np.all(np.diff(history["loss"]) < 0) and np.all(np.diff(history["val_loss"]) > 0)
    assert history["learning_rate"] == pytest.approx([3e-3, 3e-3, 1.5e-3, 0.75e-3, 0.375e-3])


def test_training_is_reproducible_bit_for_bit(tmp_path):
    sample = synthetic_stars(300)
    paths = [tmp_path / f"{name}.keras" for name in "ab"]
    for path in paths:
        model, history = training.train(small_survey(), sample, "multivariate", verbose=False)
        model_file.save_model(model, path, {"history": history})
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_normalisation_comes_from_the_gradient_stars_alone():
    sample = synthetic_stars(100)
    model, _ = training.train(small_survey(epochs=1), sample, "multivariate", verbose=False)
    gradient, validation = split(100, 0.1, small_survey().training.seed)
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


def test_an_unknown_offset_is_refused():
    with pytest.raises(ValueError, match="must be one of"):
        training.train(small_survey(), synthetic_stars(100), "linear", verbose=False)
