"""Adam in one operation gives the weights of Keras' own."""

import keras
import numpy as np
import pytest

from apogaia.model.fast.adam import FusedAdam


def steps(optimizer, n=20, rates=()):
    """Weights after n steps with given gradients; the rate changes on the way."""
    rng = np.random.default_rng(1)
    variables = [keras.Variable(rng.normal(size=shape).astype("float32")) for shape in ((5, 3), (7,), ())]
    optimizer.build(variables)
    for step in range(n):
        if step in dict(rates):
            optimizer.learning_rate = dict(rates)[step]
        gradients = [keras.ops.convert_to_tensor(rng.normal(size=v.shape).astype("float32")) for v in variables]
        optimizer.apply(gradients, variables)
    moments = [*optimizer._momentums, *optimizer._velocities]
    return [keras.ops.convert_to_numpy(v) for v in [*variables, *moments, optimizer.iterations]]


@pytest.mark.parametrize("settings", [{}, {"beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3}, {"amsgrad": True}])
def test_weights_and_moments_are_those_of_keras_adam(settings):
    rates = ((5, 3e-2), (12, 1e-4))
    wanted = steps(keras.optimizers.Adam(1e-2, **settings), rates=rates)
    found = steps(FusedAdam(1e-2, **settings), rates=rates)
    for one, two in zip(wanted, found, strict=True):
        # 1 - 0.999 in single precision is off by 5e-5
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=3e-6)


def test_a_network_trains_to_the_same_weights_and_its_optimiser_is_told_from_keras_own():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(256, 6)).astype("float32")
    y = (x @ rng.normal(size=(6, 1))).astype("float32")
    weights = []
    for optimizer in (keras.optimizers.Adam(1e-2), FusedAdam(1e-2)):
        keras.utils.set_random_seed(3)
        hidden = {
            "kernel_constraint": keras.constraints.MaxNorm(0.5),
            "kernel_regularizer": keras.regularizers.L2(1e-2),
        }
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, "tanh", **hidden), keras.layers.Dense(1)])
        model.compile(optimizer=optimizer, loss="mse")
        model.fit(x, y, epochs=3, batch_size=32, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5)
    assert np.linalg.norm(weights[1][0], axis=0).max() <= 0.5 + 1e-5
    assert isinstance(keras.optimizers.deserialize(keras.optimizers.serialize(FusedAdam(1e-3))), FusedAdam)


def test_accumulated_gradients_which_are_applied_in_a_branch_give_the_same_weights():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(128, 6)).astype("float32"), rng.normal(size=(128, 1)).astype("float32")
    weights = []
    for kind in (keras.optimizers.Adam, FusedAdam):
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(8, "tanh"), keras.layers.Dense(1)])
        model.compile(optimizer=kind(1e-2, gradient_accumulation_steps=2), loss="mse")
        model.fit(x, y, epochs=3, batch_size=32, shuffle=False, verbose=0)
        weights.append(model.get_weights())
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5)
