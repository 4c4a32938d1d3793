"""PyTorch's files are read without PyTorch, and nothing that a pickle asks for is run."""

import os
import pickle
import zipfile

import numpy as np
import pytest
from published_networks import _Named, network, state_of, write_torch

from apogaia.model.model_origin import ModelFileError
from apogaia.published.torch_file import read_torch_file


@pytest.fixture
def path(tmp_path):
    return tmp_path / "network.pt"


def test_tensors_of_every_kind_and_stride(path):
    state = state_of(network("ApogeeBCNNCensored"))
    write_torch(path, state, transposed=("dense_1.weight", "conv1.weight"))
    found = read_torch_file(path)
    assert found.keys() == state.keys()
    for name, values in state.items():
        assert np.array_equal(found[name], values) and found[name].dtype == values.dtype, name


def one_line(path, match):
    with pytest.raises(ModelFileError, match=match) as caught:
        read_torch_file(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


class RunsSomething:
    """What a pickle does with this is to call a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, eval, exec, __import__])
def test_code_in_a_pickle_does_not_run(path, tmp_path, function):
    touched = tmp_path / "touched"
    text = {
        os.system: f"touch {touched}",
        eval: f"open({str(touched)!r}, 'w')",
        exec: f"open({str(touched)!r}, 'w')",
        __import__: "antigravity",
    }[function]
    content = pickle.dumps({"model_state_dict": {}, "extra": RunsSomething(function, text)}, protocol=2)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
    one_line(path, "which is no tensor and might run code: refused")
    assert not touched.exists()
    path.write_bytes(content)  # no archive, but a plain pickle
    one_line(path, "not a file that PyTorch 1.6 or later saved")
    assert not touched.exists()


def test_names_beside_tensors_are_refused(path):
    write_torch(path, state_of(network()), extra={"optimizer": _Named("torch.optim.adam", "Adam")})
    one_line(path, r"names torch\.optim\.adam\.Adam")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_file_cut_short(path, share):
    write_torch(path, state_of(network()))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    one_line(path, "damaged, cut short, or not a file that PyTorch")


def test_other_archives_and_damaged_pickles(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")
    one_line(path, "holds 0 files data.pkl")
    for content, match in (
        (b"\x80\x02}q\x00(X", "cannot be read"),
        (b"", "cannot be read"),
        (pickle.dumps([1, 2]), "no dictionary 'model_state_dict' of tensors"),
        (pickle.dumps({"model_state_dict": {"a": 1}}), "no dictionary 'model_state_dict' of tensors"),
    ):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
        one_line(path, match)


@pytest.mark.parametrize(
    ("shape", "strides"),
    [((3, 4), (4, 1)), ((2,), (100,)), ((1 << 20, 1 << 20), (0, 0)), ((2, 2), (1,)), ((-2,), (1,)), ((2,), ("a",))],
)
def test_tensors_that_reach_beyond_what_is_stored(path, shape, strides):
    write_torch(path, {"conv1.weight": np.ones(10)}, described=(shape, strides))
    one_line(path, "conv1.weight: ")


def test_a_storage_by_a_path(path):
    write_torch(path, {"conv1.weight": np.ones(10)}, storage="../{}.pkl")
    one_line(path, "unknown storage")
