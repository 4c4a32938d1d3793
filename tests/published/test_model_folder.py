"""Model folders whose files do not agree: each is one clear line."""

import h5py
import numpy as np
import pytest
from published_networks import layer_names, network, parameters_of, write_folder, write_keras2

from apogaia.model.model_origin import ModelFileError
from apogaia.published.model_folder import read_model_folder


def one_line(folder, match):
    with pytest.raises(ModelFileError, match=match) as caught:
        read_model_folder(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("layout", ["2018", "keras3"])
@pytest.mark.parametrize(
    ("kind", "role", "match"),
    [
        ("ApogeeBCNN", "conv_2", r"no layer has a kernel of the shape \(8, 2, 4\) \(conv_2\)"),
        ("ApogeeBCNN", "dense_1", r"no layer has a kernel of the shape \(7512, 7\) \(hidden_1\)"),
        ("ApogeeBCNN", "output", "no layer 'output' with weights"),
        ("ApogeeBCNN", "variance_output", "no layer 'variance_output' with weights"),
        ("ApogeeDR14GaiaDR2BCNN", "offset_output", "no layer 'offset_output' with weights"),
        ("ApogeeBCNNCensored", "logg_var", "no layer 'dense_[0-9]+' with weights"),
        ("ApogeeBCNNCensored", "aux", "no layer 'aux_fullspec' with weights"),
        ("ApogeeBCNNCensored", "ti2_2", "no layer 'ti2_dense_2' with weights"),
    ],
)
def test_missing_layers(tmp_path, layout, kind, role, match):
    net = network(kind)
    folder = write_folder(tmp_path, net, layout)
    lost = layer_names(net)[role]
    other = network(kind)
    del other.weights[role]
    if layout == "2018":
        with h5py.File(folder / "model_weights.h5", "a") as file:
            inner = file["model_weights"][lost]
            for name in list(inner.attrs):
                del inner.attrs[name]
    else:
        from apogaia.published import model_folder

        read = model_folder.READERS["model_weights.keras"]

        def without(path):
            layers = read(path)
            del layers.weights[lost]
            return layers

        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(model_folder.READERS, "model_weights.keras", without)
            one_line(folder, match)
        return
    one_line(folder, match)


@pytest.mark.parametrize("role", ["conv_1", "dense_1", "output"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite(tmp_path, role, value):
    net = network()
    net.weights[role][0].flat[3] = value
    one_line(write_folder(tmp_path, net, "keras3"), "1 of [0-9]+ values of layer '.*' are not finite")


def test_weights_of_other_shapes(tmp_path):
    net = network()
    net.weights["output"] = net.layer(5, 2)
    one_line(write_folder(tmp_path, net), r"layer 'output' has weights .*, not a kernel \(5, 1\) and its bias")


def test_two_layers_of_one_shape_cannot_be_told_apart(tmp_path):
    net = network("ApogeeDR14GaiaDR2BCNN", hidden=(7, 5, 7, 5))
    one_line(write_folder(tmp_path, net), r"layers dense_.* and dense_.* both have a kernel of the shape \(7, 5\)")


@pytest.mark.parametrize(
    ("kind", "changes", "match"),
    [
        (
            "ApogeeBCNN",
            {"labels_mean": [3.0], "labels_norm_mode": 2},
            "labels_mean is 3; luminosities are only scaled",
        ),
        ("ApogeeBCNN", {"input_std": [1.0] * 7513 + [2.0], "input_norm_mode": 2}, "scales each pixel separately"),
        (
            "ApogeeDR14GaiaDR2BCNN",
            {"input_std": [1.0] * 7514 + [1.2] + [1.0] * 3, "input_norm_mode": 2},
            "of Ks is 1.2",
        ),
    ],
)
def test_normalisation_that_our_networks_have_not(tmp_path, kind, changes, match):
    one_line(write_folder(tmp_path, network(kind), "2021", changes), match)


def test_a_linear_luminosity(tmp_path):
    folder = write_folder(tmp_path, network(), "2018", {"last_layer_activation": "linear"})
    write_keras2(folder / "model_weights.h5", network(), whole=False)  # the JSON file alone tells
    one_line(folder, "the activation of layer 'output' is linear, not softplus")


def test_weights_alone_do_for_luminosities(tmp_path):
    folder = write_folder(tmp_path, network(), "2018")
    write_keras2(folder / "model_weights.h5", network(), whole=False)
    assert read_model_folder(folder).weights["conv_1"].kernel.shape == (8, 1, 2)


def test_the_scale_of_a_joint_network_from_before_the_published_ones(tmp_path):
    """Its code, which is not run, multiplies by 68."""
    one_line(write_folder(tmp_path, network("ApogeeDR14GaiaDR2BCNN"), factor=68.0), "not multiplied by 73.85")


def test_outputs_in_another_order(tmp_path):
    net = network("ApogeeBCNNCensored")
    folder = write_folder(tmp_path, net, "2021")
    with h5py.File(folder / "model_weights.h5", "a") as file:
        description = file.attrs["model_config"]
        text = description.decode() if isinstance(description, bytes) else description
        swapped = (
            text.replace('["c_concat"', '["x"').replace('["n_concat"', '["c_concat"').replace('["x"', '["n_concat"')
        )
        file.attrs["model_config"] = swapped.encode()
    one_line(folder, "'output' does not take Teff, log g, 17 elements, Fe, Co and Ni in this order")


def test_a_folder_without_weights(tmp_path):
    folder = write_folder(tmp_path, network())
    (folder / "model_weights.h5").unlink()
    one_line(folder, "no model_weights.keras or model_weights.h5 in it: give the whole model folder")


def test_values_by_name_tell_the_survey(tmp_path):
    for layout, survey in (("2018", "dr14"), ("2021", "dr17")):
        assert read_model_folder(write_folder(tmp_path / layout, network(), layout)).survey == survey
    joint = network("ApogeeDR14GaiaDR2BCNN")
    assert parameters_of(joint)["input"] == [7518, 1]
    assert read_model_folder(write_folder(tmp_path / "joint", joint, "2021")).survey == "dr14"
