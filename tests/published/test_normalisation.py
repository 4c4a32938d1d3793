"""Modes of normalisation, and values that contradict them."""

from pathlib import Path

import numpy as np
import pytest

from apogaia.model.model_origin import ModelFileError
from apogaia.published.normalisation import read_normalisation

FOLDER = Path("folder")


def stated(mean, sd, mode):
    return {"input_mean": mean, "input_std": sd, "input_norm_mode": mode}


@pytest.mark.parametrize(
    ("mean", "sd", "mode"),
    [
        ([0.0], [1.0], 0),
        ([0.0], [104.31], 0),  # of the extracted networks, whose scale is in the file all the same
        ([0.5], [2.0], 1),
        (0.5, 2.0, "1"),
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], "2"),
        ([1.0, 2.0, 3.0], [1.0], 3),
        ([0.0], [1.0, 2.0, 3.0], "4"),
        ([0.0], [255.0], 255),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_modes(mean, sd, mode, named):
    parameters = stated(mean, sd, mode)
    if named:
        parameters = {key: {"other": [7.0], "input": value} for key, value in parameters.items()}
    found = read_normalisation(parameters, "input", "input", 3, FOLDER)
    assert np.array_equal(found.mean, np.broadcast_to(mean, 3)) and np.array_equal(found.sd, np.broadcast_to(sd, 3))
    assert found.mode == str(mode)


@pytest.mark.parametrize(
    ("mean", "sd", "mode", "match"),
    [
        ([0.0], [1.0], "3s", "3s is a sigmoid"),
        ([0.0], [1.0], 7, "'7' is unknown; known are 0, 1, 2, 3, 4, 255 and 3s"),
        ([0.0], [1.0], None, "does not state input_norm_mode"),
        (None, [1.0], 3, "does not state input_mean"),
        ([0.0, 1.0], [1.0], 3, r"input_mean has the shape \(2,\), not \(3,\)"),
        ([float("nan")], [1.0], 3, "1 of 1 values of input_mean are not finite"),
        ([None], [1.0], 3, "input_mean are not finite|not made of numbers"),
        (["text"], [1.0], 3, "input_mean is not made of numbers"),
        ([0.0], [0.0], 4, "input_std must be above zero"),
        ([0.0], [float("inf")], 4, "not finite"),
        ([0.0], [2.0], 3, "divides by nothing, but input_std is not one"),
        ([0.1], [2.0], 4, "subtracts nothing, but input_mean is not zero"),
        ([1.0, 2.0, 3.0], [1.0], 1, "has one number for all"),
        ([0.0], [256.0], 255, "divides by 255"),
    ],
)
def test_what_cannot_be(mean, sd, mode, match):
    with pytest.raises(ModelFileError, match=match) as caught:
        read_normalisation(stated(mean, sd, mode), "input", "input", 3, FOLDER)
    assert str(caught.value).startswith("folder: ") and "\n" not in str(caught.value)
