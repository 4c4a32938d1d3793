"""The joint network: architecture, units, likelihood, and the layers that are written for speed."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from apogaia.model import model_file, networks
from apogaia.model.jacobian import jacobian
from apogaia.survey import load_survey

DR14 = load_survey("dr14").network
SMALL = dataclasses.replace(DR14, hidden_units=(12, 6), offset_hidden_units=(6, 4), fakemag_scale=10.0)


def small_model(offset, n_pixels=61, **kwargs):
    keras.utils.set_random_seed(3)
    mean_spectrum = np.linspace(0.8, 1.0, n_pixels)
    return networks.build_joint_network(SMALL, offset, mean_spectrum=mean_spectrum, parallax_scale=1.5, **kwargs)


def inputs_for(model, n=5, seed=0):
    rng = np.random.default_rng(seed)
    values = {
        "spectrum": rng.normal(0.9, 0.1, (n, model.get_layer("luminosity").input_shape[1])),
        "k_mag": rng.uniform(7, 13, (n, 1)),
        "g_mag": rng.uniform(9, 16, (n, 1)),
        "bp_rp": rng.uniform(1, 2, (n, 1)),
        "teff": rng.uniform(4000, 5500, (n, 1)),
    }
    return {x.name: values[x.name].astype(np.float32) for x in model.inputs}


def numbers(tensor):
    return ops.convert_to_numpy(tensor)


def trainable(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


@pytest.mark.parametrize(("offset", "offset_parameters"), [("none", 0), ("constant", 673), ("multivariate", 673)])
def test_the_papers_network_has_the_right_number_of_parameters(offset, offset_parameters):
    model = networks.build_joint_network(DR14, offset, mean_spectrum=np.ones(7514), parallax_scale=1.41247)
    convolutions = (8 * 1 * 2 + 2) + (8 * 2 * 4 + 4)
    dense = (7514 // 4 * 4 * 164 + 164) + (164 * 64 + 64) + 2 * (64 + 1)
    assert trainable(model) == convolutions + dense + offset_parameters
    assert trainable(model) == 1_242_908 + offset_parameters
    assert 673 == (3 * 32 + 32) + (32 * 16 + 16) + (16 + 1)
    fixed = 7514 + (6 if offset == "multivariate" else 0)
    assert model.count_params() == 1_242_908 + offset_parameters + fixed


def test_the_dr17_distance_network_has_its_number_of_weights():
    network = load_survey("dr17").network
    assert network.hidden_units == (192, 64)
    model = networks.build_joint_network(network, "none", mean_spectrum=np.ones(7514), parallax_scale=1.0)
    assert trainable(model) == 1_455_064


def test_layers_have_the_papers_order_and_regularisation():
    network = small_model("none").get_layer("luminosity")
    names = [layer.name for layer in network.layers if not isinstance(layer, keras.layers.InputLayer)]
    assert network.get_layer("conv_2").pool_width == 4
    assert names[:12] == [
        *("mean_subtraction", "blocks", "conv_1", "conv_dropout_1", "conv_2", "pixels", "used_pixels", "flat"),
        *("hidden_dropout_1", "hidden_1", "hidden_dropout_2", "hidden_2"),
    ]
    assert all(layer.rate == 0.3 for layer in network.layers if isinstance(layer, keras.layers.Dropout))
    for name in ("conv_1", "conv_2", "hidden_1", "hidden_2"):
        layer = network.get_layer(name)
        assert layer.activation is keras.activations.relu
        assert float(layer.kernel_regularizer.l2) == pytest.approx(5e-9)
    assert network.get_layer("scaled_fakemag").kernel_regularizer is None
    kernel = numbers(network.get_layer("hidden_1").kernel)
    assert kernel.std() == pytest.approx(0.05, rel=0.1)
    heads = [numbers(network.get_layer(name).kernel) for name in ("scaled_fakemag", "scaled_log_variance")]
    assert not np.allclose(*heads)  # an initialiser used twice would make them equal


def test_all_weights_start_from_the_normal_distribution_of_the_settings():
    """The heads, too: Keras' own start (Glorot) would give them a standard deviation of 0.18 and 0.34."""
    keras.utils.set_random_seed(5)
    model = networks.build_joint_network(DR14, "constant", mean_spectrum=np.ones(61), parallax_scale=1.4)
    kernels = {w.path: numbers(w) for w in model.trainable_weights if w.ndim > 1}
    assert len(kernels) == 6 + 3
    for path, kernel in kernels.items():
        sd, error = np.sqrt(np.mean(kernel**2)), DR14.initial_weight_sd / np.sqrt(2 * kernel.size)
        assert abs(sd - DR14.initial_weight_sd) < 4 * error, path
    assert all(not numbers(w).any() for w in model.trainable_weights if w.ndim == 1)  # biases


def test_unknown_offset_and_form_of_the_variance_are_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="none, constant, multivariate, not 'linear'"):
        small_model("linear")
    with pytest.raises(ValueError, match="variance_form must be one of parallax, released, not 'fakemag'"):
        small_model("none", variance_form="fakemag")


def test_luminosity_network_equals_its_definition_in_numpy():
    model = small_model("none")
    network = model.get_layer("luminosity")
    spectrum = inputs_for(model)["spectrum"]
    weights = {layer.name: [numbers(w) for w in layer.weights] for layer in network.layers if layer.weights}
    x = (spectrum - np.linspace(0.8, 1.0, 61))[:, :, None]
    for name in ("conv_1", "conv_2"):
        kernel, bias = weights[name]
        padded = np.pad(x, ((0, 0), (3, 4), (0, 0)))
        frames = np.lib.stride_tricks.sliding_window_view(padded, 8, axis=1)  # (n, pixels, channels, width)
        x = np.maximum(np.einsum("npcw,wcf->npf", frames, kernel) + bias, 0)
    x = x[:, :60].reshape(5, 15, 4, 4).max(axis=2).reshape(5, -1)
    for name in ("hidden_1", "hidden_2"):
        x = np.maximum(x @ weights[name][0] + weights[name][1], 0)
    fakemag = np.log1p(np.exp(x @ weights["scaled_fakemag"][0] + weights["scaled_fakemag"][1])) * 10.0 * 1.5
    log_variance = x @ weights["scaled_log_variance"][0] + weights["scaled_log_variance"][1] + 2 * np.log(15.0)
    assert numbers(network(spectrum)) == pytest.approx(np.hstack([fakemag, log_variance]), rel=1e-5)


def test_parallax_and_its_variance_carry_the_apparent_magnitude():
    model = small_model("none")
    inputs = inputs_for(model)
    fakemag, log_variance = numbers(model.get_layer("luminosity")(inputs["spectrum"])).T
    parallax, parallax_log_variance = numbers(model(inputs)).T
    factor = 10 ** (-0.2 * inputs["k_mag"][:, 0])
    assert parallax == pytest.approx(fakemag * factor, rel=1e-5)
    # the error is the fakemag error times the factor, hence the variance the factor squared
    assert np.exp(parallax_log_variance / 2) == pytest.approx(np.exp(log_variance / 2) * factor, rel=1e-5)


def test_constant_offset_is_the_same_for_all_stars_and_moves_the_mean_only():
    model = small_model("constant")
    model.get_layer("offset").get_layer("scaled_offset").bias.assign([-0.03])
    inputs = inputs_for(model)
    offset = numbers(model.get_layer("offset")(np.ones((1, 3))))[0, 0]
    assert offset == pytest.approx(-0.045, abs=0.02)  # tanh of about -0.03, times 1.5 mas
    fakemag, log_variance = numbers(model.get_layer("luminosity")(inputs["spectrum"])).T
    factor = 10 ** (-0.2 * inputs["k_mag"][:, 0])
    assert numbers(model(inputs))[:, 0] == pytest.approx(fakemag * factor + offset, rel=1e-5)
    assert numbers(model(inputs))[:, 1] == pytest.approx(log_variance + 2 * np.log(factor), rel=1e-5)


def test_multivariate_offset_standardises_with_the_given_mean_and_sd():
    mean, sd = np.array([11.6, 1.35, 4850.0]), np.array([1.2, 0.5, 425.0])
    model = small_model("multivariate", offset_mean=mean, offset_sd=sd)
    network = model.get_layer("offset")
    inputs = inputs_for(model)
    x = (np.hstack([inputs[name] for name in ("g_mag", "bp_rp", "teff")]) - mean) / sd
    for name in ("offset_hidden_1", "offset_hidden_2", "scaled_offset"):
        layer = network.get_layer(name)
        x = np.tanh(x @ numbers(layer.kernel) + numbers(layer.bias))
    offset = numbers(network({name: inputs[name] for name in ("g_mag", "bp_rp", "teff")}))
    assert offset == pytest.approx(1.5 * x, rel=1e-4, abs=1e-6)
    none = small_model("none")
    none.get_layer("luminosity").set_weights(model.get_layer("luminosity").get_weights())
    shift = numbers(model(inputs)) - numbers(none({name: inputs[name] for name in ("spectrum", "k_mag")}))
    assert shift == pytest.approx(np.hstack([offset, 0 * offset]), abs=1e-5)


def test_released_variance_is_right_at_one_magnitude_and_off_by_the_factor_elsewhere(tmp_path):
    scale = 70.0
    k_mag = np.array([[5 * np.log10(scale)], [7.0], [12.0]], np.float32)
    luminosity = np.array([[50.0, 3.0], [40.0, 2.0], [30.0, 1.0]], np.float32)
    right = numbers(networks.FakemagToParallax()(luminosity, k_mag))
    released = numbers(networks.FakemagToParallax(scale)(luminosity, k_mag))
    assert np.array_equal(released[:, 0], right[:, 0])
    assert released[0, 1] == pytest.approx(right[0, 1], abs=1e-5)
    # its variance has the factor once, where it belongs in twice
    excess = np.exp(right[:, 1] - released[:, 1])
    assert excess == pytest.approx(10 ** (-0.2 * k_mag[:, 0]) * scale, rel=1e-4)
    assert abs(np.log(excess[1:])).min() > 0.5
    model = small_model("constant", variance_form="released")
    assert model.get_layer("true_parallax").released_scale == SMALL.fakemag_scale
    model_file.save_model(model, tmp_path / "m.keras", {})
    again = model_file.load_network(tmp_path / "m.keras")
    assert again.get_layer("true_parallax").released_scale == SMALL.fakemag_scale
    inputs = inputs_for(model)
    assert np.array_equal(numbers(again(inputs)), numbers(model(inputs)))
    plain = small_model("constant")
    assert plain.get_layer("true_parallax").released_scale is None
    assert np.abs(numbers(plain(inputs)) - numbers(model(inputs)))[:, 1].min() > 0.05


def test_jax_gives_the_same_outputs_for_one_weight_file(jax_process, tmp_path):
    model = small_model("multivariate", offset_mean=(11.6, 1.35, 4850.0), offset_sd=(1.2, 0.5, 425.0))
    model_file.save_model(model, tmp_path / "m.keras", {})
    inputs = inputs_for(model)
    np.savez(tmp_path / "inputs.npz", **inputs)
    jax_process.run(f"""
        assert keras.backend.backend() == "jax"
        folder = {str(tmp_path)!r}
        model = model_file.load_network(folder + "/m.keras")
        inputs = dict(np.load(folder + "/inputs.npz"))
        np.savez(
            folder + "/outputs.npz",
            joint=keras.ops.convert_to_numpy(model(inputs)),
            jacobian=jacobian(model, inputs["spectrum"]),
            drawn=inference.predict_reference(model, inputs["spectrum"], passes=3, seed=1).fakemag,
        )
    """)
    outputs = np.load(tmp_path / "outputs.npz")
    assert outputs["joint"] == pytest.approx(numbers(model(inputs)), rel=1e-4)
    assert outputs["jacobian"] == pytest.approx(jacobian(model, inputs["spectrum"]), rel=1e-3, abs=1e-5)
    assert np.isfinite(outputs["drawn"]).all()
