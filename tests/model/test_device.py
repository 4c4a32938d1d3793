"""The ways that JAX compiles for a device, held to their references on the CPU; and TensorFlow on several GPUs.

One process of the tests has one Keras backend, so each test runs a script of its own; scripts take `TOOLS` first.
"""

import os
import subprocess
import sys
import textwrap

import keras
import pytest

from apogaia.model.fast import devices

TOOLS = """
    import dataclasses
    import keras, numpy as np
    from apogaia.model import inference, training
    from apogaia.model.predictions import Prediction
    from apogaia.model.fast import devices, dropout_jax, training_jax
    from apogaia.model.fast.dropout_cpu import FastDropout
    from small_networks import DR14, ODD, SMALL, assert_same_distribution, model_of, spectra_for
    from small_networks import small_survey, synthetic_stars

    def fast_network(model):
        return FastDropout.from_model(model.get_layer("luminosity"))
"""


def run(script: str, backend: str = "jax") -> None:
    """Run a script with this Keras backend and no accelerator."""
    pytest.importorskip(backend)
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiling takes longer than these small networks do
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    code = textwrap.dedent(TOOLS) + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-4000:]


def test_device_passes_are_those_of_the_cpu_whatever_the_batch():
    run("""
        for network, n_pixels, passes in ((SMALL, 61, 20), (ODD, 62, 7)):
            model = model_of(network, n_pixels=n_pixels)
            spectra = spectra_for(model, 7)
            spectra[2, 5], spectra[4, 0] = np.nan, np.inf
            arguments = dict(passes=passes, progress=False)
            cpu = inference.predict(model, spectra, seed=1, device=False, **arguments)
            device = inference.predict(model, spectra, seed=1, device=True, **arguments)
            for a, b in zip(cpu, device):
                assert np.isnan(b).nonzero()[0].tolist() == [2, 4]
                np.testing.assert_allclose(b, a, rtol=1e-5)  # the same masks: one wrong bit changes the third digit
            parts = dropout_jax.moments(fast_network(model), spectra, passes=passes, seed=1, batch_size=3)
            np.testing.assert_allclose(parts[0], device.fakemag, rtol=1e-6)
            np.testing.assert_allclose(np.sqrt(parts[1:]), device[1:3], rtol=1e-5)
        again = inference.predict(model, spectra, seed=1, device=True, **arguments)
        np.testing.assert_array_equal(np.array(device), np.array(again))
        other = inference.predict(model, spectra, seed=2, device=True, **arguments)
        assert not np.any(other.fakemag == device.fakemag)
    """)


def test_device_passes_have_the_distribution_of_the_keras_model():
    run("""
        import jax

        model, passes = model_of(SMALL), 4000
        spectra = spectra_for(model, 3)
        device = inference.predict(model, spectra, passes=passes, seed=1, progress=False, device=True)
        # the plain reference, a hundred copies of each star at a time
        copies = np.repeat(spectra, 100, axis=0)
        network = model.get_layer("luminosity")
        trainable = [variable.value for variable in network.trainable_variables]
        seeds = [variable.value for variable in network.non_trainable_variables]
        call = jax.jit(lambda seeds: network.stateless_call(trainable, seeds, copies, training=True))
        draws = []
        for _ in range(passes // 100):
            draw, seeds = call(seeds)
            draws.append(draw)
        draws = np.array(draws, float).reshape(-1, 3, 100, 2).transpose(1, 0, 2, 3).reshape(3, -1, 2)
        spread, predictive = draws[..., 0].std(axis=1), np.sqrt(np.exp(draws[..., 1]).mean(axis=1))
        reference = Prediction(draws[..., 0].mean(axis=1), spread, predictive, None)
        assert_same_distribution(device, reference, passes)
    """)


def test_rounding_of_the_matrix_products_lies_far_below_the_model_error():
    run("""
        import jax
        from jax import numpy as jnp

        def rounded(a):  # to the 10 bits of TensorFloat-32, which CPUs do not have
            bits = jax.lax.bitcast_convert_type(jnp.asarray(a, "float32"), "uint32")
            return jax.lax.bitcast_convert_type((bits + np.uint32(0x1000)) & np.uint32(0xFFFFE000), "float32")

        model = model_of(DR14, n_pixels=7514)
        network, spectra = fast_network(model), spectra_for(model, 4)
        arguments = dict(passes=20, seed=1)
        exact = dropout_jax.moments(network, spectra, precision="float32", **arguments)
        np.testing.assert_allclose(exact, network.moments(spectra, np.arange(4), **arguments), rtol=1e-5)
        bfloat16 = dropout_jax.moments(network, spectra, precision="bfloat16", **arguments)
        product = dropout_jax._product
        dropout_jax._product = lambda a, b, dtype, precision: product(rounded(a), rounded(b), dtype, "float32")
        tensorfloat32 = dropout_jax.moments(network, spectra, precision="float32", **arguments)
        for approximate, tolerance in ((tensorfloat32, 2e-3), (bfloat16, 2e-2)):
            assert not np.array_equal(approximate, exact)
            error = np.sqrt(exact[1])
            assert np.max(np.abs(approximate[0] - exact[0]) / error) < tolerance
            np.testing.assert_allclose(np.sqrt(approximate[1:]), np.sqrt(exact[1:]), rtol=tolerance)
    """)


@pytest.mark.parametrize(
    ("offset", "dropout", "stars"), [("constant", 0.3, 284), ("none", 0.0, 333)], ids=["dropout", "last batch"]
)
def test_compiled_epochs_equal_fit(offset, dropout, stars):
    """256 gradient stars are whole batches, so that the masks are the same; 300 leave a smaller last batch."""
    run(f"""
        survey = small_survey(epochs=3, plateau_threshold=1e9, plateau_patience=1)
        survey = dataclasses.replace(survey, network=dataclasses.replace(survey.network, dropout={dropout}, l2=1e-3))
        sample = synthetic_stars({stars})
        assert survey.training.batch_size == 64
        fit = training_jax.fit

        def same_order(model, batches, validation_batches, **arguments):
            batches.on_epoch_begin()  # Keras' fit looks at a batch before its first epoch
            return fit(model, batches, validation_batches, **arguments)

        training_jax.fit = same_order
        reference, expected = training.train(survey, sample, "{offset}", verbose=False, device=False)
        model, history = training.train(survey, sample, "{offset}", verbose=False, device=True)
        assert list(history) == list(expected)
        for name in expected:
            np.testing.assert_allclose(history[name], expected[name], rtol=1e-4)
        assert history["learning_rate"][0] == 2 * history["learning_rate"][2]
        for a, b in zip(model.get_weights(), reference.get_weights()):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * np.abs(b).max())
        if {dropout} == 0:
            again, _ = training.train(survey, sample, "{offset}", verbose=False, device=True)
            assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), again.get_weights()))
    """)


def test_the_device_is_taken_where_there_is_one_and_refused_without_jax():
    run("""
        import jax
        assert not devices.uses_device()  # JAX has the CPU alone
        assert devices.uses_device(True) and not devices.uses_device(False)
        jax.default_backend = lambda: "gpu"
        assert devices.uses_device() and not devices.uses_device(False)
    """)
    if keras.backend.backend() != "jax":
        assert not devices.uses_device()
        with pytest.raises(ValueError, match="KERAS_BACKEND=jax"):
            devices.uses_device(True)


def test_tensorflow_divides_batches_among_its_devices_and_learns_the_same():
    run(
        """
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        survey = small_survey(epochs=3, batch_size=256)  # one batch an epoch: its order does not matter
        survey = dataclasses.replace(survey, network=dataclasses.replace(survey.network, dropout=0.0, l2=1e-3))
        sample = synthetic_stars(284)
        single, expected = training.train(survey, sample, "none", verbose=False)
        devices._tensorflow_gpus = lambda: ["CPU:0", "CPU:1"]
        with devices.training_scope():
            assert tf.distribute.get_strategy().num_replicas_in_sync == 2
        model, history = training.train(survey, sample, "none", verbose=False)
        for name in expected:
            np.testing.assert_allclose(history[name], expected[name], rtol=1e-3)
        for a, b in zip(model.get_weights(), single.get_weights()):
            np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-4 * np.abs(b).max())
        """,
        backend="tensorflow",
    )
