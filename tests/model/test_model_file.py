"""Model files: whole, without dates, and refused when damaged, foreign or of another version."""

import json
import zipfile

import keras
import numpy as np
import pytest
from small_networks import small_survey, synthetic_stars

from apogaia.model import inference, model_file, networks
from apogaia.model.error_calibration import ErrorCalibration
from apogaia.model.model_origin import ModelFileError
from apogaia.model.training_set import split


@pytest.fixture(scope="module")
def network():
    survey, sample = small_survey(), synthetic_stars(100)
    keras.utils.set_random_seed(3)
    mean = sample.spectrum.mean(axis=0)
    return networks.build_joint_network(survey.network, "constant", mean_spectrum=mean, parallax_scale=1.4)


def test_model_file_comes_back_with_outputs_and_provenance(network, tmp_path):
    survey = small_survey(epochs=25)
    sample = synthetic_stars(3000)
    path = tmp_path / "constant.keras"
    model_file.save_model(network, path, model_file.provenance(survey, sample, "constant"))
    loaded = model_file.load_network(path)
    inputs, _ = sample.arrays("constant")
    inputs = {name: values[:20] for name, values in inputs.items()}
    np.testing.assert_array_equal(loaded.predict(inputs, verbose=0), network.predict(inputs, verbose=0))
    origin = model_file.read_provenance(path)
    assert origin["survey"] == "smoke"
    assert (origin["gradient_stars"], origin["validation_stars"]) == (2700, 300)
    gradient, _ = split(3000, 0.1, survey.training.seed)
    assert origin["parallax_scale_mas"] == pytest.approx(sample.parallax[gradient].std())
    assert origin["settings"]["training"]["epochs"] == 25
    assert origin["versions"]["keras"] == keras.__version__
    # and Keras itself reads it, once the layers are known
    assert keras.models.load_model(path, compile=False).name == "joint_constant"
    assert list(tmp_path.iterdir()) == [path]


def test_model_file_has_no_optimiser_and_no_dates(network, tmp_path):
    model_file.save_model(network, tmp_path / "m.keras", {})
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        assert {member.date_time[0] for member in archive.infolist()} == {1980}
        assert "date_saved" not in json.loads(archive.read("metadata.json"))
        size = archive.getinfo("model.weights.h5").file_size
    assert size < 4 * network.count_params() * 1.5 + 80_000


def test_a_missing_model_and_files_that_are_none_are_told_apart(network, tmp_path):
    with pytest.raises(FileNotFoundError, match="notebook 02"):
        model_file.load_network(tmp_path / "none.keras")
    (tmp_path / "text.keras").write_text("not a zip")
    with pytest.raises(ModelFileError, match=r"text\.keras"):
        model_file.load_network(tmp_path / "text.keras")
    network.save(tmp_path / "foreign.keras")
    with pytest.raises(ModelFileError, match=r"foreign\.keras"):
        model_file.load_network(tmp_path / "foreign.keras")
    model_file.save_model(network, tmp_path / "whole.keras", {})
    whole = bytearray((tmp_path / "whole.keras").read_bytes())
    (tmp_path / "cut.keras").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFileError):
        model_file.load_network(tmp_path / "cut.keras")
    whole[len(whole) // 2] ^= 1
    (tmp_path / "flipped.keras").write_bytes(whole)
    with pytest.raises(ModelFileError, match="damaged"):
        model_file.load_network(tmp_path / "flipped.keras")


@pytest.mark.parametrize("stated", [None, 1, 99])
def test_a_file_of_another_version_is_refused_with_the_remedy(network, tmp_path, stated):
    path = tmp_path / "old.keras"
    model_file.save_model(network, path, {"versions": {"apogaia": "0.0.9"}})
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    origin = json.loads(members["apogaia.json"])
    assert origin.pop("format") == model_file.FORMAT
    members["apogaia.json"] = json.dumps(origin if stated is None else origin | {"format": stated}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    for read in (model_file.load_network, model_file.read_domain, inference.read_error_calibration):
        with pytest.raises(ModelFileError, match=r"old\.keras: written by another.*0\.0\.9.*train the model again"):
            read(path)


def test_the_error_calibration_travels_in_the_file(network, tmp_path):
    calibration = ErrorCalibration([1.0], [2.0], [3.0], [4.0], [5.0], 600)
    model_file.save_model(network, tmp_path / "a.keras", {"error_calibration": calibration.to_dict()})
    model_file.save_model(network, tmp_path / "b.keras", {})
    assert inference.read_error_calibration(tmp_path / "a.keras") == calibration
    assert inference.read_error_calibration(tmp_path / "b.keras") == ErrorCalibration.none()


def test_settings_of_another_version_are_refused_with_the_file_and_the_remedy(network, tmp_path):
    settings = small_survey().settings()
    del settings["training"]["seed"]
    path = tmp_path / "m.keras"
    model_file.save_model(network, path, {"settings": settings})
    with pytest.raises(model_file.ModelFileError, match=r"m\.keras: .*training\.seed.*: train the model again"):
        model_file.training_survey(path)
