"""Archives of Keras 3: groups are numbered by class, and names are in the description alone."""

import json
import zipfile

import keras
import numpy as np
import pytest
from published_networks import layer_names, network, write_keras3

from apogaia.model.model_origin import ModelFileError
from apogaia.published.keras3_file import read_keras3_file


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model_weights.keras"


@pytest.mark.parametrize("noted", [True, False])
def test_weights_by_the_names_of_layers(path, noted):
    net = network("ApogeeBCNNCensored")
    write_keras3(path, net, noted=noted)
    layers, names = read_keras3_file(path), layer_names(net)
    assert set(layers.weights) == set(names.values())
    for role, name in names.items():
        assert np.array_equal(layers.weights[name]["kernel"], net.weights[role][0])
        assert np.array_equal(layers.weights[name]["bias"], net.weights[role][1])
    assert layers.feeding("variance_output")[19] == names["fe_var"]


def test_a_file_that_keras_itself_wrote(path):
    """Names that are not in the order of the layers, and layers that share what feeds them."""
    spectrum = keras.Input((40, 1), name="input")
    x = keras.layers.Conv1D(3, 5, name="b")(keras.layers.Conv1D(2, 5, name="c")(spectrum))
    x = keras.layers.Dense(4, name="z")(keras.layers.Flatten()(x))
    heads = [keras.layers.Dense(1, name=name)(x) for name in ("teff", "a", "logg")]
    model = keras.Model(spectrum, keras.layers.Concatenate(name="output")([heads[2], heads[0], heads[1]]))
    model.save(path)
    layers = read_keras3_file(path)
    for name in ("b", "c", "z", "teff", "a", "logg"):
        for end, values in zip(("kernel", "bias"), model.get_layer(name).get_weights(), strict=True):
            assert np.array_equal(layers.weights[name][end], values)
    assert layers.feeding("output") == ["logg", "teff", "a"]


def one_line(path, match):
    with pytest.raises(ModelFileError, match=match) as caught:
        read_keras3_file(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def replaced(path, **members):
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content |= {name.replace("_", "."): data for name, data in members.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            if data is not None:
                archive.writestr(name, data)


def test_damaged_files(path, monkeypatch):
    write_keras3(path, network())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    one_line(path, "damaged, cut short, or not a .keras file")
    flipped = bytearray(whole)
    flipped[len(flipped) // 2] ^= 0xFF
    path.write_bytes(flipped)
    one_line(path, "damaged")
    for members, match in (
        ({"config_json": None}, "lacks config.json"),
        ({"config_json": b'{"config"'}, "damaged"),
        ({"model_weights_h5": b"no HDF5"}, "damaged"),
    ):
        path.write_bytes(whole)
        replaced(path, **members)
        one_line(path, match)
    path.write_bytes(whole)
    monkeypatch.setattr("apogaia.published.archive_members.MAX_BYTES", 1000)
    one_line(path, "too many for any published network")


def test_a_description_in_another_order_than_the_weights(path):
    """Where the names are noted beside the weights."""
    write_keras3(path, network())
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    config["config"]["layers"].reverse()
    replaced(path, config_json=json.dumps(config))
    one_line(path, "but .* is described")
