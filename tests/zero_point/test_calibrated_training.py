"""The network that is trained with the refitted zero point."""

import contextlib
import dataclasses
import types

import numpy as np
import pytest
from small_networks import small_survey, synthetic_stars, table_and_spectra

from apogaia.model import model_file, networks, training
from apogaia.model.error_calibration import ErrorCalibration, calibration_rows
from apogaia.model.training_set import split
from apogaia.reduction import quality_cuts, stars_h5
from apogaia.survey import load_survey
from apogaia.zero_point import calibrated_training
from apogaia.zero_point.calibrated_training import network_settings, roles
from apogaia.zero_point.sample_checks import SampleError

SURVEY = load_survey("dr14")


def calibrating(**changes):
    survey = small_survey()
    return dataclasses.replace(survey, calibration=dataclasses.replace(survey.calibration, **changes))


def test_the_network_has_the_calibrations_settings_and_the_surveys_others():
    survey = dataclasses.replace(SURVEY, calibration=dataclasses.replace(SURVEY.calibration, schedule="cosine"))
    made, settings = network_settings(survey), survey.calibration
    changed = {"dropout"}
    assert made.network.dropout == settings.dropout != SURVEY.network.dropout
    same = dataclasses.asdict(SURVEY.network).items() - {("dropout", SURVEY.network.dropout)}
    assert same <= {(key, value) for key, value in dataclasses.asdict(made.network).items() if key not in changed}
    assert made.training == dataclasses.replace(
        SURVEY.training,
        epochs=settings.epochs,
        learning_rate_without_offset=settings.learning_rate,
        schedule="cosine",
        plateau_patience=settings.plateau_patience,
        contaminant_fraction=settings.contaminant_fraction,
        contaminant_width=settings.contaminant_width,
    )
    assert dataclasses.replace(made, network=SURVEY.network, training=SURVEY.training) == survey


def place(table):
    """Names, and places away from the bar."""
    n = len(table)
    table["glon"], table["glat"], table["snr"] = np.full(n, 90.0), np.full(n, 5.0), np.full(n, 120.0)
    table["apogee_id"] = [f"2M{i:08d}+0000000" for i in range(n)]


def test_the_network_trains_on_parallaxes_less_the_zero_point_and_its_errors_are_calibrated_with_it(
    tmp_path, monkeypatch
):
    """Sign and unit: a zero point of -50 uas makes every parallax 0.05 mas larger."""
    survey, sample = calibrating(min_stars=59), synthetic_stars(60)
    opened = table_and_spectra(tmp_path / "stars.h5", sample)
    opened.table["a_k_mag"] = np.where(np.arange(60) == 3, np.nan, 0.1)  # one star without extinction does not train
    place(opened.table)
    selected = types.SimpleNamespace(training=np.arange(40), test=np.arange(40, 60))
    monkeypatch.setattr(stars_h5, "open_stars", lambda path: contextlib.nullcontext(opened))
    monkeypatch.setattr(quality_cuts, "select", lambda table, survey: selected)
    fitted = types.SimpleNamespace(zero_point_uas=-50.0, in_uas=lambda: {"value_uas": -50.0})
    seen = {}

    def calibrate(survey, table, spectra):
        seen.update(names=list(table["apogee_id"]), spectra=spectra)
        return fitted

    monkeypatch.setattr(calibrated_training, "calibrate", calibrate)

    def train(changed, stars, offset, name, checkpoint):
        assert name == "calibrated"
        seen.update(stars=stars, offset=offset, dropout=changed.network.dropout)
        mean = stars.spectrum.mean(axis=0)
        return networks.build_joint_network(changed.network, offset, mean_spectrum=mean, parallax_scale=1.4), {
            "loss": [1.0]
        }

    def fit(cls, prediction, table, zero_point_uas, shared_error_uas):
        seen.update(zero_point_uas=zero_point_uas, shared_error_uas=shared_error_uas)
        seen.update(calibrating=list(table["apogee_id"]))
        return cls.none()

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(ErrorCalibration, "fit", classmethod(fit))
    calibrated_training.train_calibrated_model(tmp_path / "m.keras", survey, tmp_path / "stars.h5")
    rows, with_extinction = np.delete(np.arange(40), 3), np.delete(np.arange(60), 3)
    assert seen["names"] == list(opened.table["apogee_id"][with_extinction])  # stars of any SNR fit the zero point
    np.testing.assert_array_equal(seen["spectra"], opened.spectra_of(with_extinction))
    np.testing.assert_allclose(seen["stars"].parallax, sample.parallax[rows] + 0.050, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(seen["stars"].parallax_error, sample.parallax_error[rows])
    assert seen["offset"] == "none" and seen["dropout"] == survey.calibration.dropout
    assert seen["zero_point_uas"] == -50.0
    assert (
        seen["shared_error_uas"] == pytest.approx(np.sqrt(2) * survey.calibration.sky_prior)
        and survey.calibration.sky_prior
    )
    gradient, validation = (rows[part] for part in split(39, survey.training.validation_fraction, survey.training.seed))
    unseen = np.sort(np.concatenate([validation, calibration_rows(opened.table, selected.test)]))
    assert seen["calibrating"] == list(opened.table["apogee_id"][unseen])
    part = roles(survey, opened.table)
    for found, wanted in zip(part, (rows, gradient, unseen), strict=True):
        np.testing.assert_array_equal(found, wanted)
    origin = model_file.read_provenance(tmp_path / "m.keras")
    assert origin["calibration"] == {"value_uas": -50.0} and origin["offset"] == "calibrated"
    assert origin["history"] == {"loss": [1.0]} and "error_calibration" in origin
    assert model_file.read_domain(tmp_path / "m.keras") is not None


def test_no_star_trains_and_calibrates_though_it_has_several_spectra(tmp_path, monkeypatch):
    survey, sample = calibrating(), synthetic_stars(900)
    opened = table_and_spectra(tmp_path / "stars.h5", sample)
    opened.table["a_k_mag"] = np.full(900, 0.1)
    place(opened.table)
    opened.table["apogee_id"][:600] = [f"2M{i // 3:08d}+0000000" for i in range(600)]  # three spectra each
    selected = types.SimpleNamespace(training=np.arange(700), test=np.arange(700, 900))
    monkeypatch.setattr(quality_cuts, "select", lambda table, survey: selected)
    part = roles(survey, opened.table)
    names = np.asarray(opened.table["apogee_id"])
    assert not set(names[part.calibrating]) & set(names[part.gradient])
    unseen = np.intersect1d(part.calibrating, part.training)
    assert set(unseen) < set(np.setdiff1d(part.training, part.gradient))
    alone = np.setdiff1d(np.arange(600, 700), part.gradient)  # one spectrum each
    assert len(alone) and set(alone) <= set(unseen)
    untouched = np.setdiff1d(selected.test, part.calibrating)  # half of the test set is kept for tests
    assert len(untouched) == pytest.approx(100, abs=25) and not set(names[untouched]) & set(names[part.calibrating])


@pytest.fixture
def forty_stars(tmp_path, monkeypatch):
    """A survey of sixty stars, of which forty train; no star has an extinction."""
    opened = table_and_spectra(tmp_path / "stars.h5", synthetic_stars(60))
    opened.table["a_k_mag"] = np.full(60, np.nan)
    place(opened.table)
    selected = types.SimpleNamespace(training=np.arange(40), test=np.arange(40, 60))
    monkeypatch.setattr(stars_h5, "open_stars", lambda path: contextlib.nullcontext(opened))
    monkeypatch.setattr(quality_cuts, "select", lambda table, survey: selected)
    return opened


def test_stars_that_cannot_bear_a_refit_train_nothing(tmp_path, monkeypatch, forty_stars):
    monkeypatch.setattr(training, "train", lambda *_, **__: pytest.fail("it trains"))
    for a_k_mag, fault in (
        (np.nan, "none of 60 training and test stars has an extinction"),
        (0.1, "60 of 60 .* the 61 "),
    ):
        forty_stars.table["a_k_mag"][:] = a_k_mag
        with pytest.raises(SampleError, match=fault):
            calibrated_training.train_calibrated_model(tmp_path / "m.keras", calibrating(min_stars=61), tmp_path)
    assert not (tmp_path / "m.keras").exists()


def test_a_fixed_zero_point_needs_no_refit_and_is_marked_as_such(tmp_path, monkeypatch, forty_stars):
    """With it even stars without extinction train and calibrate: nothing is fitted that they could spoil."""
    survey = calibrating(zero_point="fixed", fixed_zero_point=-52.3, fixed_zero_point_error=2.0, epochs=1)
    monkeypatch.setattr(calibrated_training, "calibrate", lambda *_: pytest.fail("it fits"))
    trained_on = []
    train = training.train
    monkeypatch.setattr(training, "train", lambda *a, **k: trained_on.append(a[1].parallax) or train(*a, **k))
    calibrated_training.train_calibrated_model(tmp_path / "m.keras", survey, tmp_path)
    np.testing.assert_allclose(trained_on[0], forty_stars.table["parallax"][:40] + 0.0523, rtol=0, atol=1e-12)
    stated = {"value_uas": -52.3, "error_uas": 2.0, "fixed": True, "plane": None}
    assert model_file.read_provenance(tmp_path / "m.keras")["calibration"] == stated
