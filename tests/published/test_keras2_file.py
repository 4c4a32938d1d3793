"""HDF5 files of Keras 2: whole models and weights alone, long attributes in pieces, and damaged files."""

import h5py
import numpy as np
import pytest
from published_networks import layer_names, network, write_keras2

from apogaia.model.model_origin import ModelFileError
from apogaia.published.keras2_file import read_keras2_file


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model_weights.h5"


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_weights_by_the_names_of_layers(path, whole, chunked):
    net = network("ApogeeBCNNCensored")
    write_keras2(path, net, chunked=chunked, whole=whole)
    layers = read_keras2_file(path)
    names = layer_names(net)
    assert set(layers.weights) == set(names.values())
    for role, name in names.items():
        assert np.array_equal(layers.weights[name]["kernel"], net.weights[role][0])
        assert np.array_equal(layers.weights[name]["bias"], net.weights[role][1])
    if whole:
        assert layers.feeding("output")[:3] == [names["teff"], names["logg"], "c_concat"]
    else:
        with pytest.raises(ModelFileError, match="give a file of the whole model"):
            layers.feeding("output")


def one_line(path, match):
    with pytest.raises(ModelFileError, match=match) as caught:
        read_keras2_file(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_file_cut_short(path, share):
    write_keras2(path, network())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    one_line(path, "damaged, cut short, or no HDF5 file")


def test_files_that_hold_something_else(path, tmp_path):
    path.write_bytes(b"<html>not found</html>")
    one_line(path, "damaged, cut short, or no HDF5 file")
    with h5py.File(path, "w") as file:
        file["spectra"] = np.ones(3)
    one_line(path, "holds no weights")
    write_keras2(path, network())
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = b'{"class_name": "Model", "config": {}}'
    one_line(path, "has no layers")
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = b'{"class_name": "Mod'
    one_line(path, "damaged")


def test_arrays_of_texts_of_other_files_and_too_large_ones(path, tmp_path):
    net = network()
    name = f"{layer_names(net)['conv_1']}/kernel:0"
    group = f"model_weights/{layer_names(net)['conv_1']}"

    def replaced(make):
        write_keras2(path, net)
        with h5py.File(path, "a") as file:
            del file[group][name]
            make(file[group])

    replaced(lambda inner: inner.create_dataset(name, data=np.array([b"text"])))
    one_line(path, "not an array of floating-point numbers")
    replaced(lambda inner: inner.create_group(name))
    one_line(path, "not an array of floating-point numbers")
    replaced(lambda inner: inner.create_dataset(name, (200_000, 1000), "f4", chunks=(100, 1000)))
    one_line(path, "too large for any published network")
    outside = tmp_path / "outside"
    outside.write_bytes(b"\0" * 64)
    replaced(lambda inner: inner.create_dataset(name, (8, 1, 2), "f4", external=[(str(outside), 0, 64)]))
    one_line(path, "of this file")
