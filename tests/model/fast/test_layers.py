"""Layers written for speed give the numbers of plain ones."""

import dataclasses

import keras
import numpy as np
import pytest
from backends import Interpreter
from keras import ops
from small_networks import SMALL

from apogaia.model import networks
from apogaia.model.fast import layers


def numbers(tensor):
    return ops.convert_to_numpy(tensor)


@pytest.mark.parametrize(
    ("filters", "width", "pool", "pixels"),
    [
        *[((2, 4), 8, 4, 7514), ((2, 4), 8, 4, 61), ((3, 5), 5, 3, 23), ((2,), 4, 7, 48), ((2, 3, 2), 3, 2, 31)],
        *[((2, 4), 6, 3, 40), ((3,), 6, 6, 31), ((2, 2), 4, 1, 33), ((2, 2), 8, 8, 64), ((2, 1), 9, 3, 70)],
    ],
)
def test_blocked_convolutions_equal_plain_ones_in_outputs_and_gradients(filters, width, pool, pixels):
    tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(2)
    network = dataclasses.replace(SMALL, conv_filters=filters, conv_width=width, pool_width=pool, dropout=0.0)
    spectrum = keras.Input((pixels,))
    blocked = keras.Model(spectrum, networks._convolutions(network, pixels, spectrum))
    x = keras.layers.Reshape((pixels, 1))(spectrum)
    for n in filters:
        x = keras.layers.Conv1D(n, width, padding="same", activation="relu")(x)
    plain = keras.Model(spectrum, keras.layers.MaxPooling1D(pool)(x))
    weights = [rng.normal(0.1, 0.5, w.shape) for w in plain.get_weights()]
    inputs = tf.constant(rng.normal(size=(3, pixels)), "float32")
    results = []
    for model in (plain, blocked):
        model.set_weights(weights)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = model(inputs)
            target = tf.reduce_mean(tf.sin(outputs))
        variables = [w.value for w in model.trainable_weights]
        results.append([outputs, *tape.gradient(target, [inputs, *variables])])
    assert results[0][0].shape == (3, pixels // pool, filters[-1])
    for expected, found in zip(*results, strict=True):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 6, 8])
def test_one_of_equal_values_gets_the_gradient(parts):
    tf = pytest.importorskip("tensorflow")
    values = np.random.default_rng(1).integers(0, 3, (50, parts * 5)).astype("float32")
    weights = np.arange(1.0, 251.0, dtype="float32").reshape(50, 5)
    given = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(given)
        largest = layers.largest_part(given, parts)
        target = tf.reduce_sum(largest * weights)
    sorted_parts = values.reshape(50, parts, 5)
    np.testing.assert_array_equal(largest, sorted_parts.max(axis=1))
    gradient = tape.gradient(target, given).numpy().reshape(50, parts, 5)
    assert np.count_nonzero(gradient) == 250
    np.testing.assert_array_equal(gradient.sum(axis=1), weights)
    assert np.all(sorted_parts[gradient > 0] == np.repeat(sorted_parts.max(axis=1)[:, None], parts, 1)[gradient > 0])


GRADIENTS = """
from apogaia.model.fast.layers import largest_part

values = np.random.default_rng(0).normal(size=(4, 12)).astype("float32")
weights = np.arange(1.0, 13.0, dtype="float32").reshape(4, 3)
if keras.backend.backend() == "jax":
    import jax
    found = jax.jit(jax.grad(lambda values: (largest_part(values, 4) * weights).sum()))(values)
else:
    import torch
    given = torch.tensor(values, requires_grad=True)
    (largest_part(given, 4) * torch.tensor(weights)).sum().backward()
    found = given.grad
parts = values.reshape(4, 4, 3)
expected = (parts == parts.max(axis=1, keepdims=True)) * weights[:, None]
np.testing.assert_array_equal(np.asarray(found).reshape(4, 4, 3), expected)
"""


def test_jax_takes_the_gradient(jax_process):
    jax_process.run(GRADIENTS)


def test_torch_takes_the_gradient():
    pytest.importorskip("torch")
    torch = Interpreter("torch")
    try:
        torch.run(GRADIENTS)
    finally:
        torch.close()


def test_the_gradient_is_the_same_however_keras_backends_call_it(monkeypatch):
    """PyTorch's passes the values, too, and the gradient by name; this needs no PyTorch."""
    kept = []

    def custom_gradient(function):
        def call(values):
            result, gradient = function(values)
            kept.append((values, gradient))
            return result

        return call

    monkeypatch.setattr(layers.ops, "custom_gradient", custom_gradient)
    layers.largest_part(ops.convert_to_tensor([[1.0, 5.0, 3.0, 2.0]]), 2)
    ((values, gradient),) = kept
    upstream = ops.convert_to_tensor([[10.0, 20.0]])
    for found in (gradient(upstream), gradient(values, upstream=upstream)):
        np.testing.assert_array_equal(numbers(found), [[0.0, 20.0, 10.0, 0.0]])


def test_pools_that_do_not_fit_into_a_block_are_refused():
    with pytest.raises(ValueError, match="pools of 3 pixels do not fit into blocks of 8"):
        layers.BlockedConv1D(2, 8, first_pixel=0, pixels=64, pool_width=3)


def test_pools_partly_outside_the_spectrum_are_zero():
    layer = layers.BlockedConv1D(2, 8, first_pixel=0, pixels=61, pool_width=4, bias_initializer="ones")
    pools = numbers(layer(np.zeros((1, 9, 8), np.float32))).reshape(16, 2)
    np.testing.assert_array_equal(pools[:15], 1.0)
    np.testing.assert_array_equal(pools[15], 0.0)


def test_layers_of_older_model_files_did_not_pool():
    config = layers.BlockedConv1D(2, 8, first_pixel=0, pixels=64).get_config()
    del config["pool_width"]
    assert layers.BlockedConv1D.from_config(config).pool_width == 1


@pytest.mark.parametrize(("width", "pool"), [(8, 4), (4, 7), (4, 4), (3, 1)])
def test_the_width_of_a_networks_pools_is_found_wherever_it_pools(width, pool):
    network = dataclasses.replace(SMALL, conv_filters=(2, 2), conv_width=width, pool_width=pool)
    spectrum = keras.Input((61,))
    model = keras.Model(spectrum, networks._convolutions(network, 61, spectrum))
    assert layers.pool_width(model) == pool
    assert layers.pool_width(keras.Model.from_config(model.get_config())) == pool


@pytest.mark.parametrize("shape", [(400, 51, 2), (400, 101)])
def test_bit_dropout_keeps_the_rate_the_mean_and_independence(shape):
    layer = layers.BitDropout(0.3, seed=5)
    x = np.ones(shape, np.float32)
    y = numbers(layer(x, training=True))
    kept = y > 0
    assert np.unique(y) == pytest.approx([0, 1 / 0.7], rel=1e-6)
    assert kept.mean() == pytest.approx(0.7, abs=5 * np.sqrt(0.21 / y.size))
    flat = kept.reshape(len(x), -1)
    # pairs that share a random integer, neighbours in another, and stars
    for a, b in [(flat[:, 0:-1:2], flat[:, 1::2]), (flat[:, 1:-1:2], flat[:, 2::2]), (flat[:-1], flat[1:])]:
        n = min(a.shape[1], b.shape[1])
        correlation = np.corrcoef(a[:, :n].ravel(), b[:, :n].ravel())[0, 1]
        assert abs(correlation) < 5 / np.sqrt(a[:, :n].size)
    assert (numbers(layer(x, training=True)) > 0).mean() == pytest.approx(0.7, abs=0.01)
    assert not np.array_equal(numbers(layer(x, training=True)), y)
    assert np.array_equal(numbers(layer(x)), x)


def test_dropout_is_on_in_the_validation_for_a_while_only():
    model = keras.Sequential([keras.Input((500,)), layers.BitDropout(0.5)])
    model.compile(loss="mse")
    ones = np.ones((40, 500), np.float32)
    with layers.dropout_in_validation(model):
        assert model.evaluate(ones, ones, verbose=0) == pytest.approx(1.0, abs=0.05)  # values of 0 and 2
        assert not np.array_equal(model.predict_on_batch(ones), ones)
    assert model.evaluate(ones, ones, verbose=0) == 0.0
    np.testing.assert_array_equal(model.predict_on_batch(ones), ones)
    assert "always" not in model.layers[0].get_config()
