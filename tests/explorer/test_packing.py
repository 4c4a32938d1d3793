"""What is packed comes back: floats to five digits, integers, texts and spectra."""

import base64
import zlib

import numpy as np
import pytest

from apogaia.explorer.packing import (
    FLUX_STEP,
    NO_PIXEL,
    SENSITIVITY_STEPS,
    pack_floats,
    pack_integers,
    pack_spectrum,
    pack_texts,
)


def unpacked(text: str, kind: str) -> np.ndarray:
    content = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)
    width = np.dtype(kind).itemsize
    return np.frombuffer(content.reshape(width, -1).T.tobytes(), kind)


def test_floats_keep_five_digits_and_what_is_unknown():
    values = np.r_[np.geomspace(1e-6, 1e8, 999), -4777.123, 0.0, np.nan, np.inf]
    found = unpacked(pack_floats(values), "<f4")
    assert found[:-2] == pytest.approx(values[:-2], rel=1.6e-5) and np.isnan(found[-2:]).all()


def test_exact_floats_are_those_of_32_bits():
    values = np.array([286.50001, -47.29999, np.nan])
    assert np.array_equal(unpacked(pack_floats(values, exact=True), "<f4"), values.astype("f4"), equal_nan=True)


def test_rounded_numbers_take_two_thirds_of_the_room():
    values = np.random.default_rng(1).normal(5000, 800, 20_000)
    assert len(pack_floats(values)) < 0.67 * len(base64.b64encode(values.astype("f4").tobytes()))


def test_integers_and_texts_come_back():
    assert unpacked(pack_integers(np.array([0, 1 << 13, -1])), "<i4").tolist() == [0, 8192, -1]
    assert unpacked(pack_integers(np.array([True, False])), "<i4").tolist() == [1, 0]
    text = zlib.decompress(base64.b64decode(pack_texts(["2M00+01", "", "zwei\nZeilen, größer"]))).decode()
    assert text.split("\n") == ["2M00+01", "", "zwei Zeilen, größer"]


def test_a_spectrum_and_its_sensitivity_come_back():
    rng = np.random.default_rng(2)
    flux, sensitivity = rng.normal(1, 0.1, 7514), rng.normal(0, 3, 7514)
    flux[7], flux[8] = np.nan, 1e6
    packed, step = pack_spectrum(flux, sensitivity)
    steps = unpacked(packed, "<i2")
    assert steps[7] == NO_PIXEL and steps[8] == 32767 and len(steps) == 2 * 7514
    assert steps[9:7514] * FLUX_STEP == pytest.approx(flux[9:], abs=0.51 * FLUX_STEP)
    assert steps[7514:] * step == pytest.approx(sensitivity, abs=0.51 * step)
    assert step == pytest.approx(np.abs(sensitivity).max() / SENSITIVITY_STEPS)


def test_a_spectrum_without_sensitivity_says_so():
    packed, step = pack_spectrum(np.ones(10), None)
    assert step == 0 and len(unpacked(packed, "<i2")) == 10
    assert pack_spectrum(np.ones(10), np.zeros(10))[1] > 0  # known, and zero
