"""Monte-Carlo dropout in numba: the distribution of the Keras model, and masks that are independent."""

import dataclasses
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import threadpoolctl
from matrix_library import matrix_threads
from small_networks import DR14, ODD, SMALL, assert_same_distribution, model_of, spectra_for

from apogaia.model import inference
from apogaia.model.error_calibration import Prediction
from apogaia.model.fast.dropout_cpu import FastDropout, _keys, _mask_rows, each_star, groups_of
from apogaia.processes import usable_cores


@pytest.mark.parametrize("network", [SMALL, ODD], ids=["small", "odd sizes"])
def test_fast_passes_have_the_distribution_of_the_keras_model(network):
    model, passes = model_of(network), 4000
    spectra = spectra_for(model, 3)
    fast = inference.predict(model, spectra, passes=passes, seed=1, progress=False)
    # many copies of the same star in a batch are as many independent passes
    copies = np.repeat(spectra, passes // 10, axis=0)
    rows = [
        np.concatenate([draw.reshape(3, -1) for draw in _keras_draws(model, copies, 10)[:, :, i]], axis=1)
        for i in range(2)
    ]
    variance = np.exp(rows[1].astype(float)).mean(axis=1)
    reference = Prediction(rows[0].mean(axis=1), rows[0].std(axis=1), np.sqrt(variance), None)
    assert_same_distribution(fast, reference, passes)


def _keras_draws(model, spectra, passes):
    network = model.get_layer("luminosity")
    return np.stack([keras.ops.convert_to_numpy(network(spectra, training=True)) for _ in range(passes)])


def test_fast_passes_have_the_distribution_of_the_papers_network():
    model, passes = model_of(DR14, n_pixels=7514), 600
    spectra = spectra_for(model, 2)
    fast = inference.predict(model, spectra, passes=passes, seed=1, progress=False)
    draws = _keras_draws(model, np.repeat(spectra, 100, axis=0), passes // 100).reshape(-1, 2, 100, 2)
    draws = draws.transpose(1, 0, 2, 3).reshape(2, -1, 2).astype(float)
    spread = draws[..., 0].std(axis=1)
    predictive = np.sqrt(np.exp(draws[..., 1]).mean(axis=1))
    assert_same_distribution(fast, Prediction(draws[..., 0].mean(axis=1), spread, predictive, None), passes)


@pytest.mark.parametrize(
    ("network", "pixels"),
    [
        (ODD, 61),
        (dataclasses.replace(SMALL, conv_filters=(1, 1), conv_width=4), 60),
        (dataclasses.replace(SMALL, conv_filters=(2, 1), conv_width=6), 63),
    ],
    ids=["odd sizes", "one filter", "an even width and spare pixels"],
)
def test_fast_pass_without_dropout_is_the_deterministic_model(network, pixels):
    model = model_of(dataclasses.replace(network, dropout=0.0), n_pixels=pixels)
    trunk = FastDropout.from_model(model.get_layer("luminosity")).trunk
    # rows stand behind one another: a tap beyond its row's end would read the next one
    assert trunk.tap_starts.max() + trunk.pooled_pixels <= sum(trunk.margin) + trunk.pooled_pixels
    spectra = spectra_for(model, 4)
    fast = inference.predict(model, spectra, passes=2, seed=1, progress=False)
    fakemag, log_variance = keras.ops.convert_to_numpy(model.get_layer("luminosity")(spectra)).T
    assert fast.fakemag == pytest.approx(fakemag, rel=1e-5)
    assert fast.model_error == pytest.approx(0, abs=1e-4)
    assert fast.predictive_error == pytest.approx(np.exp(log_variance / 2), rel=1e-4)


def test_masks_keep_the_rate_to_1e_4_and_are_independent():
    keys = _keys(np.uint64(7), np.uint64(3), 4000)
    rows = np.ones((4, 1501), np.float32)
    kept = np.empty((len(keys), *rows.shape), np.float32)
    for i, key in enumerate(keys):
        _mask_rows(rows, kept[i].ravel(), 0, key, np.uint32(19661))
    assert kept.mean() == pytest.approx(0.7, abs=5 * np.sqrt(0.21 / kept.size))
    assert kept.mean(axis=(0, 2)) == pytest.approx(0.7, abs=6e-4 + 5 * np.sqrt(0.21 / 6e6))
    pairs = [(kept[:, 0], kept[:, 1]), (kept[:, :, :-1], kept[:, :, 1:]), (kept[:-1], kept[1:])]
    for a, b in pairs:  # the two halves of a hash, neighbouring positions, neighbouring passes
        assert abs(np.mean((a - 0.7) * (b - 0.7)) / 0.21) < 5 / np.sqrt(a.size)
    # the number kept in a row has the binomial spread
    assert kept.sum(axis=2).var() == pytest.approx(1501 * 0.21, rel=5 * np.sqrt(2 / 16000))


def test_stars_that_share_a_place_are_refused():
    fast = FastDropout.from_model(model_of(SMALL).get_layer("luminosity"))
    spectra = np.ones((2, len(fast.trunk.mean_spectrum)), np.float32)
    for rows, passes in (([0, 1], 100), ([3, 11], 7)):
        with pytest.raises(ValueError, match="`groups_of`"):
            fast.draws(spectra, rows, passes=passes, seed=1)
    assert len(fast.draws(spectra, [3, 12], passes=7, seed=1)) == 2


@pytest.mark.parametrize(("passes", "size"), [(15, 4), (7, 8), (100, 1), (33, 1), (32, 2)])
def test_groups_hold_every_star_once_and_each_place_once(passes, size):
    for rows in (np.arange(100), 5 + np.arange(7), np.random.default_rng(0).permutation(300)[:101], [3], [3, 3 + 8]):
        groups = groups_of(rows, passes)
        np.testing.assert_array_equal(np.sort(np.concatenate(groups)), np.arange(len(rows)))
        places = [np.asarray(rows)[group] % size for group in groups]
        assert all(len(np.unique(one)) == len(one) for one in places)
        assert len(groups) == np.bincount(np.asarray(rows) % size).max()  # as few as there can be
    assert {len(group) for group in groups_of(np.arange(64), passes)} == {size}
    assert groups_of([], passes) == []


def test_stars_and_passes_have_different_masks_and_the_seed_matters():
    model = model_of(SMALL)
    spectra = np.repeat(spectra_for(model, 1), 3, axis=0)
    a = inference.predict(model, spectra, passes=10, seed=1, progress=False)
    b = inference.predict(model, spectra, passes=10, seed=2, progress=False)
    assert len({*a.fakemag, *b.fakemag}) == 6
    assert np.all(a.model_error > 0)


def test_network_with_one_convolution_is_refused_with_the_remedy():
    model = model_of(dataclasses.replace(SMALL, conv_filters=(2,)))
    with pytest.raises(ValueError, match="predict_reference"):
        FastDropout.from_model(model.get_layer("luminosity"))


def test_the_matrix_library_has_one_thread_for_each_star_and_then_its_own_again():
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        assert matrix_threads() == {2}
        assert each_star(matrix_threads, range(3)) == [{1}] * 3
        assert matrix_threads() == {2}
        with pytest.raises(ZeroDivisionError):
            each_star(lambda i: 1 / i, [1, 0])
        assert matrix_threads() == {2}


OVERLAPPING = """
import threading, time
from concurrent.futures import ThreadPoolExecutor
from matrix_library import matrix_threads
from apogaia.model.fast.dropout_cpu import each_star

started = threading.Event()

def first(_):
    started.set()
    time.sleep(0.2)
    return matrix_threads()

def second(_):
    time.sleep(0.4)
    return matrix_threads()

before = matrix_threads()
with ThreadPoolExecutor(2) as callers:
    one = callers.submit(each_star, first, range(1))
    assert started.wait(10)
    two = callers.submit(each_star, second, range(1))
    print(before, one.result(), two.result(), matrix_threads())
"""


@pytest.mark.skipif(usable_cores() < 2, reason="the matrix library has one thread on one core")
def test_calls_from_several_threads_leave_the_matrix_library_as_it_was():
    """In a process of its own, whose library starts with two threads: the tests' has one."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "2", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", OVERLAPPING], env=environment, capture_output=True, text=True)
    assert done.stdout == "{2} [{1}] [{1}] {2}\n", done.stderr


@pytest.mark.parametrize("passes", [10, 100])
def test_bits_do_not_depend_on_the_threads_of_the_matrix_library(passes):
    """At the paper's width: OpenBLAS does not divide a small product among threads."""
    model = model_of(DR14, n_pixels=7514)
    fast, spectra = FastDropout.from_model(model.get_layer("luminosity")), spectra_for(model, 2)
    found = []
    for threads in (1, 2):
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            found.append(fast.moments(spectra, np.arange(2), passes=passes, seed=1))
    np.testing.assert_array_equal(*found)


def test_each_star_keeps_the_order_of_the_rows():
    assert each_star(lambda a, b: (a, b), range(50), range(50, 100)) == [(i, 50 + i) for i in range(50)]
