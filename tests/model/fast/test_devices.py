"""Which device computes; and TensorFlow on several of them."""

import keras
import pytest
from backends import Interpreter

from apogaia.model.fast import devices


def test_the_device_is_taken_where_there_is_one_and_refused_without_jax(jax_process):
    jax_process.run("""
        import jax
        assert not devices.uses_device()  # JAX has the CPU alone
        assert devices.uses_device(True) and not devices.uses_device(False)
        patch.setattr(jax, "default_backend", lambda: "gpu")
        assert devices.uses_device() and not devices.uses_device(False)
    """)
    if keras.backend.backend() != "jax":
        assert not devices.uses_device()
        with pytest.raises(ValueError, match="KERAS_BACKEND=jax"):
            devices.uses_device(True)


@pytest.fixture
def tensorflow_process():
    pytest.importorskip("tensorflow")
    interpreter = Interpreter("tensorflow")
    yield interpreter
    interpreter.close()


@pytest.fixture(params=["numpy", "torch"])
def other_process(request):
    pytest.importorskip(request.param)
    interpreter = Interpreter(request.param)
    yield interpreter
    interpreter.close()


@pytest.mark.slow
def test_other_backends_predict_and_train_or_say_what_does(other_process, tmp_path):
    other_process.run(f"""
        import pytest
        model, sample = model_of(SMALL, "multivariate"), synthetic_stars(60)
        origin = model_file.provenance(small_survey(), sample, "multivariate")
        model_file.save_model(model, "{tmp_path}/m.keras", origin)
        model = model_file.load_network("{tmp_path}/m.keras")
        spectra = spectra_for(model, 2)
        assert np.isfinite(inference.predict(model, spectra, passes=4, seed=1, progress=False).fakemag).all()
        inputs = dict.fromkeys(("g_mag", "bp_rp", "teff"), np.ones(2))
        assert offset_draws(model, inputs, draws=3, seed=1).shape == (3, 2)
        if keras.backend.backend() == "torch":
            assert np.isfinite(jacobian(model, spectra)).all()
            assert len(training.train(small_survey(), sample, "none", verbose=False)[1]["loss"]) == 2
        else:
            for run in (lambda: jacobian(model, spectra), lambda: training.train(small_survey(), sample, "none")):
                with pytest.raises(ValueError, match="KERAS_BACKEND=numpy has none.* tensorflow, jax or torch$"):
                    run()
    """)


def test_tensorflow_divides_batches_among_its_devices_and_learns_the_same(tensorflow_process):
    tensorflow_process.run("""
        import tensorflow as tf

        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        survey = small_survey(epochs=3, batch_size=256)  # one batch an epoch: its order does not matter
        survey = dataclasses.replace(survey, network=dataclasses.replace(survey.network, dropout=0.0, l2=1e-3))
        sample = synthetic_stars(284)
        with double_precision():  # see test_training_jax.py
            single, expected = training.train(survey, sample, "none", verbose=False)
            devices._tensorflow_gpus = lambda: ["CPU:0", "CPU:1"]
            with devices.training_scope():
                assert tf.distribute.get_strategy().num_replicas_in_sync == 2
            model, history = training.train(survey, sample, "none", verbose=False)
        for name in expected:
            np.testing.assert_allclose(history[name], expected[name], rtol=1e-6)
        for a, b in zip(model.get_weights(), single.get_weights()):
            assert a.dtype == np.float64
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    """)
