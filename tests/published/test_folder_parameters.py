"""The JSON file of a model folder: sizes that are none, other networks, damaged files."""

import json

import pytest
from published_networks import TARGETS, by_name, network, parameters_of

from apogaia.model.model_origin import ModelFileError
from apogaia.published.folder_parameters import PARAMETERS_FILE, read_folder_parameters


def written(folder, parameters):
    (folder / PARAMETERS_FILE).write_text(json.dumps(parameters), encoding="utf-8")
    return folder


def one_line(folder, match):
    with pytest.raises(ModelFileError, match=match) as caught:
        read_folder_parameters(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("form", [dict, by_name])
def test_sizes(tmp_path, form):
    found = read_folder_parameters(written(tmp_path, form(parameters_of(network("ApogeeDR14GaiaDR2BCNN")))))
    assert (found.n_pixels, found.n_inputs, found.n_labels) == (7514, 7518, 1)
    assert (found.filters, found.conv_width, found.pool_width) == ((2, 4), 8, 4)
    assert (found.hidden, found.dropout, found.by_name) == ((7, 5, 4, 6), 0.3, form is by_name)


@pytest.mark.parametrize("names", [TARGETS, [f"[{name}/H]" if i > 1 else name for i, name in enumerate(TARGETS)]])
def test_both_spellings_of_the_labels(tmp_path, names):
    names = [name.replace("C1", "CI").replace("Ti2", "TiII") if "/" in names[2] else name for name in names]
    parameters = parameters_of(network("ApogeeBCNNCensored"), targetname=names)
    assert read_folder_parameters(written(tmp_path, parameters)).n_labels == 22


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"id": "StarNet2017"}, "'StarNet2017'; apogaia reads ApogeeBCNN, "),
        ({"hidden": [7]}, "hidden must be 2 whole numbers above zero"),
        ({"hidden": [7, 0]}, "hidden must be"),
        ({"hidden": [7, 5.5]}, "hidden must be"),
        ({"hidden": [7, 10**9]}, "hidden must be"),
        ({"filternum": None}, "filternum must be"),
        ({"filterlen": True}, "filterlen must be"),
        ({"pool_length": "4"}, "pool_length must be"),
        ({"dropout_rate": 1.0}, "dropout_rate must be"),
        ({"dropout_rate": float("nan")}, "dropout_rate must be"),
        ({"input": []}, "input must be"),
        ({"labels": 25}, "25 labels; the ApogeeBCNN that apogaia reads has 1"),
        ({"activation": "tanh"}, "activation must be relu"),
        ({"task": "classification"}, "task regression"),
    ],
)
def test_what_cannot_be(tmp_path, changes, match):
    one_line(written(tmp_path, parameters_of(network(), **changes)), match)


def test_labels_in_another_order(tmp_path):
    swapped = [*TARGETS[:2], TARGETS[3], TARGETS[2], *TARGETS[4:]]
    one_line(written(tmp_path, parameters_of(network("ApogeeBCNNCensored"), targetname=swapped)), "in this order")


def test_missing_and_damaged_files(tmp_path, monkeypatch):
    one_line(tmp_path, f"no {PARAMETERS_FILE} in it: give the whole model folder")
    for text in ("", '{"id": "ApogeeBCNN", "hid', "[1, 2]", "{}", "null"):
        (tmp_path / PARAMETERS_FILE).write_text(text)
        one_line(tmp_path, "damaged, cut short, or not of a model folder")
    monkeypatch.setattr("apogaia.published.folder_parameters.MAX_BYTES", 1)
    one_line(tmp_path, "larger than 1 bytes")
