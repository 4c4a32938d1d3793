"""Networks of PyTorch's dictionaries: a tensor that is missing, misshapen or not finite is one clear line."""

import numpy as np
import pytest
from published_networks import network, state_of, write_torch

from apogaia.model.model_origin import ModelFileError
from apogaia.published.torch_network import read_torch_network


def changed(kind, name, values):
    state = state_of(network(kind))
    if values is None:
        del state[name]
    else:
        state[name] = values
    return state


@pytest.mark.parametrize(
    ("kind", "name", "values", "match"),
    [
        ("ApogeeBCNN", "conv1.weight", None, "no tensor 'conv1.weight'"),
        ("ApogeeBCNN", "dense_var.bias", None, "no tensor 'dense_var.bias'"),
        ("ApogeeBCNN", "conv1.weight", np.ones((2, 8)), "conv1.weight has the shape"),
        ("ApogeeBCNN", "conv1.weight", np.full((2, 1, 8), np.nan), "16 of 16 values of conv1.weight are not finite"),
        ("ApogeeBCNN", "labels_std", np.ones(2), r"labels_std has the shape \(2,\), not \(1,\)"),
        ("ApogeeBCNN", "labels_std", np.zeros(1), "labels_std must be above zero"),
        ("ApogeeBCNNCensored", "labels_mean", np.ones(21), r"labels_mean has the shape \(21,\), not \(22,\)"),
        ("ApogeeBCNNCensored", "aspcap_masks.3", np.zeros(7514, bool), r"aspcap_masks.3 \(O\) marks no pixels"),
        ("ApogeeBCNNCensored", "aspcap_masks.3", np.ones(7513, bool), r"aspcap_masks.3 \(O\) marks no pixels"),
        ("ApogeeBCNNCensored", "dense_teffloggfeh.bias", np.ones(2), "dense_teffloggfeh has 3 units"),
        ("ApogeeBCNNCensored", "elem_dense2.18.weight", None, "no tensor 'elem_dense2.18.weight'"),
    ],
)
def test_one_clear_line(tmp_path, kind, name, values, match):
    path = write_torch(tmp_path / "network.pt", changed(kind, name, values))
    with pytest.raises(ModelFileError, match=match) as caught:
        read_torch_network(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_what_the_file_is(tmp_path):
    network_of = read_torch_network(write_torch(tmp_path / "network.pt", state_of(network())))
    assert (network_of.architecture, network_of.survey, network_of.dropout) == ("ApogeeBCNN", "dr17", 0.3)
