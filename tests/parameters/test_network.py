"""The censored network: sizes, what each element sees and what it is told, start values, and the model file."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops
from small_censored import MEAN, N_PIXELS, NETWORK, PARAMETERS, PUBLISHED, SD, WINDOWS, small_model, small_spectra
from small_networks import DR14

from apogaia.formats.pixel_grid import element_window
from apogaia.formats.stars_h5_columns import ELEMENTS, LABELS
from apogaia.model import likelihood, model_file
from apogaia.parameters.network import CENSORED_ELEMENTS, WIDE_WINDOWS, build_censored_network

COLUMN = {element: f"{element.lower()}_h" for element in ELEMENTS}


def full_model(parameters=PUBLISHED):
    spread = {"label_mean": np.zeros(22), "label_sd": np.ones(22)}
    return build_censored_network(DR14, parameters, mean_spectrum=np.ones(7514), **spread)


@pytest.fixture(scope="module")
def model():
    return small_model()


@pytest.fixture(scope="module")
def published():
    keras.utils.set_random_seed(8)
    return full_model()


def numbers(tensor):
    return ops.convert_to_numpy(tensor)


def trainable(model):
    return sum(int(np.prod(w.shape)) for w in model.trainable_weights)


def with_kernels(model):
    return [layer for layer in model.layers if hasattr(layer, "kernel")]


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_the_network_of_2019_has_its_number_of_weights(published):
    assert trainable(published) == 3_499_122
    assert published.count_params() == 3_499_122 + 7514 + 2 * 22


@pytest.mark.parametrize(("hidden_units", "weights"), [((192, 96), 3_505_554), ((256, 96), 3_992_530)])
def test_the_networks_of_astra_and_of_dr17_have_their_number_of_weights(hidden_units, weights):
    assert trainable(full_model(dataclasses.replace(PUBLISHED, hidden_units=hidden_units))) == weights


def test_sizes_of_the_layers_of_each_element(published):
    assert set(ELEMENTS) - set(CENSORED_ELEMENTS) == {"Fe"} and WIDE_WINDOWS == ("C", "N")
    for element in CENSORED_ELEMENTS:
        name, pixels = element.lower(), int(element_window(element).sum())
        first, second = (256, 64) if element in ("C", "N") else (32, 16)
        shapes = [published.get_layer(f"{name}_hidden_{i}").kernel.shape for i in (1, 2)]
        assert shapes == [(pixels, first), (first, second)]
        for end in ("", "_log_variance"):
            assert published.get_layer(f"standardised_{COLUMN[element]}{end}").kernel.shape == (second + 2 + 3, 1)


# --- what the layers compute ------------------------------------------------------------------------------------------


def in_numpy(model, spectrum):
    """(n, 22, 2) labels and log variances by the network's definition."""
    weights = {layer.name: [numbers(w) for w in layer.weights] for layer in model.layers if layer.weights}

    def dense(name, x):
        return x @ weights[name][0] + weights[name][1]

    subtracted = spectrum - np.linspace(0.8, 1.0, N_PIXELS)
    x = subtracted[:, :, None]
    for name in ("conv_1", "conv_2"):
        padded = np.pad(x, ((0, 0), (3, 4), (0, 0)))
        frames = np.lib.stride_tricks.sliding_window_view(padded, 8, axis=1)
        x = np.maximum(np.einsum("npcw,wcf->npf", frames, weights[name][0]) + weights[name][1], 0)
    x = x.reshape(len(x), 30, 4, 4).max(axis=2).reshape(len(x), -1)
    for name in ("hidden_1", "hidden_2"):
        x = np.maximum(dense(name, x), 0)
    ends = ("", "_log_variance")
    made = {label: [dense(f"standardised_{label}{end}", x) for end in ends] for label in ("teff", "logg", "fe_h")}
    told = [dense("auxiliary", x), made["teff"][0], made["logg"][0], made["fe_h"][0]]
    for element in CENSORED_ELEMENTS:
        name = element.lower()
        own = subtracted[:, WINDOWS[element]]
        for i in (1, 2):
            own = np.maximum(dense(f"{name}_hidden_{i}", own), 0)
        known = np.hstack([own, *told])
        made[f"{name}_h"] = [dense(f"standardised_{name}_h{end}", known) for end in ends]
    labels, log_variances = (np.hstack([made[label][i] for label in LABELS]) for i in (0, 1))
    return np.stack([MEAN + SD * labels, log_variances + 2 * np.log(SD)], axis=-1)


def test_the_network_equals_its_definition_in_numpy(model):
    given = small_spectra()
    predicted = numbers(model({"spectrum": given}))
    expected = in_numpy(model, given)
    assert predicted.shape == (4, 22, 2)
    assert (predicted[..., 0] - MEAN) / SD == pytest.approx((expected[..., 0] - MEAN) / SD, rel=1e-3, abs=1e-3)
    assert predicted[..., 1] == pytest.approx(expected[..., 1], rel=1e-4, abs=1e-4)


def test_labels_are_teff_logg_and_the_elements_in_the_stated_order(model):
    """Found by moving the bias of each label's layer, and of its log variance's."""
    elements = "C CI N O Na Mg Al Si P S K Ca Ti TiII V Cr Mn Fe Co Ni".split()
    assert list(LABELS) == ["teff", "logg", *(f"{element.lower()}_h" for element in elements)]
    given = {"spectrum": small_spectra(1)}
    before = numbers(model(given))[0]
    scale = np.stack([SD, np.ones(22)], axis=-1)
    for i, name in enumerate(LABELS):
        for j, end in enumerate(("", "_log_variance")):
            bias = model.get_layer(f"standardised_{name}{end}").bias
            kept = numbers(bias).copy()
            bias.assign(kept + 1.0)
            moved = (numbers(model(given))[0] - before) / scale
            bias.assign(kept)
            assert moved[i, j] == pytest.approx(1.0, rel=1e-3), name
            told_to_the_elements = name in ("teff", "logg", "fe_h") and j == 0
            assert np.count_nonzero(moved) == (1 + 2 * 19 if told_to_the_elements else 1), name


def test_each_layer_of_an_element_is_followed_by_dropout_and_the_trunk_is_that_of_the_luminosity(model):
    for element in CENSORED_ELEMENTS:
        name = element.lower()
        layers = [layer for layer in model.layers if layer.name.startswith(f"{name}_")]
        order = [f"{name}_{layer}" for layer in "window hidden_1 dropout_1 hidden_2 dropout_2 known".split()]
        assert [layer.name for layer in layers] == order
        for i, inner in enumerate(order[2:], start=2):
            feeding = model.get_layer(inner)._inbound_nodes[0].parent_nodes
            assert feeding[0].operation.name == order[i - 1]
    rates = {layer.name: layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    assert set(rates.values()) == {0.3} and len(rates) == 3 + 2 * 19
    assert {name for name in rates if name[:4] in ("conv", "hidd")} == {
        *("conv_dropout_1", "hidden_dropout_1", "hidden_dropout_2")
    }


# --- what an element sees ---------------------------------------------------------------------------------------------


def derivative(function, given):
    """(units, n, pixels) derivative of each unit with respect to each star's own pixels."""
    tf = pytest.importorskip("tensorflow")
    given = tf.constant(given)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(given)
        units = tf.unstack(function(given), axis=1)
    return np.stack([tape.gradient(unit, given).numpy() for unit in units])


def test_an_elements_own_branch_sees_its_window_alone(model):
    for element in CENSORED_ELEMENTS:
        branch = keras.Model(model.inputs, model.get_layer(f"{element.lower()}_dropout_2").output)
        slope = derivative(lambda x, branch=branch: branch([x]), small_spectra(6))
        assert not slope[:, :, ~WINDOWS[element]].any(), element
        assert slope[:, :, WINDOWS[element]].any(axis=(0, 1)).all(), element


@pytest.mark.parametrize("element", ["C", "Mg", "TiII"])
def test_what_an_element_is_told_of_the_whole_spectrum_is_all_that_it_knows_outside_its_window(model, element):
    """With Teff, log g, Fe and the two auxiliary numbers held, nothing outside the window counts; else it does."""
    name, given = element.lower(), small_spectra(6)
    told = [model.get_layer(layer).output for layer in ("auxiliary", "told_teff_logg_fe_h")]
    outputs = [model.get_layer(f"standardised_{COLUMN[element]}{end}").output for end in ("", "_log_variance")]
    own = keras.Model(model.inputs, model.get_layer(f"{name}_dropout_2").output)
    whole = keras.Model(model.inputs, [*told, *outputs])
    held = [numbers(tensor) for tensor in whole([given])[:2]]
    layers = [model.get_layer(f"standardised_{COLUMN[element]}{end}") for end in ("", "_log_variance")]

    def with_the_rest_held(x):
        known = ops.concatenate([own([x]), *held], axis=1)
        return ops.concatenate([layer(known) for layer in layers], axis=1)

    assert numbers(with_the_rest_held(given)) == pytest.approx(np.hstack([numbers(x) for x in whole([given])[2:]]))
    outside = ~WINDOWS[element]
    assert not derivative(with_the_rest_held, given)[:, :, outside].any()
    assert derivative(lambda x: ops.concatenate(whole([x])[2:], axis=1), given)[:, :, outside].any()


def test_pixels_outside_the_window_reach_an_element_through_five_numbers(published):
    """With the real windows: a change outside that of Mg, which those numbers do not tell, leaves [Mg/H] as it was."""
    window = element_window("Mg")
    branch = keras.Model(published.inputs, published.get_layer("mg_dropout_2").output)
    rng = np.random.default_rng(1)
    given = rng.normal(0.9, 0.1, (2, 7514)).astype(np.float32)
    changed = np.where(window, given, rng.normal(0.9, 0.1, given.shape)).astype(np.float32)
    assert np.array_equal(numbers(branch([given])), numbers(branch([changed])))
    inside = np.where(window, changed + 0.1, given).astype(np.float32)
    assert not np.array_equal(numbers(branch([given])), numbers(branch([inside])))


def gradients(model, labels, training):
    """The largest gradient of the loss of some labels by weight; 0 where no path leads to a weight."""
    tf = pytest.importorskip("tensorflow")
    truth = np.full((6, 22, 2), np.nan, np.float32)
    truth[:, np.isin(LABELS, labels)] = [0.1, 0.02]
    with tf.GradientTape() as tape:
        predicted = model({"spectrum": small_spectra(6)}, training=training)
        loss = tf.reduce_mean(likelihood.label_loss(truth, predicted))
    found = tape.gradient(loss, model.trainable_weights)
    sizes = [0.0 if gradient is None else float(np.abs(gradient.numpy()).max()) for gradient in found]
    return {weight.path: size for weight, size in zip(model.trainable_weights, sizes, strict=True)}


STAR_HEADS = [f"standardised_{label}/{kind}" for label in ("teff", "logg", "fe_h") for kind in ("kernel", "bias")]


def test_no_element_trains_teff_logg_and_fe_but_each_is_told_them():
    model = small_model()
    found = gradients(model, [COLUMN[element] for element in CENSORED_ELEMENTS], training=True)
    assert all(found[head] == 0 for head in STAR_HEADS)
    assert all(found[f"{element.lower()}_hidden_1/kernel"] > 0 for element in CENSORED_ELEMENTS)
    for element in ("C", "Mg"):
        found = gradients(model, [COLUMN[element]], training=True)
        assert found["auxiliary/kernel"] > 0 and found["hidden_1/kernel"] > 0
        assert {e for e in CENSORED_ELEMENTS if found[f"{e.lower()}_hidden_1/kernel"]} == {element}
    found = gradients(model, ["mg_h"], training=False)  # as for the Jacobian of a trained network
    assert all(found[head] > 0 for head in STAR_HEADS)


@pytest.mark.parametrize("label", ["teff", "logg", "fe_h"])
def test_teff_logg_and_fe_train_the_trunk_and_their_own_heads_alone(model, label):
    found = gradients(model, [label], training=True)
    reached = {path for path, size in found.items() if size > 0}
    trunk = {f"{name}/{kind}" for name in ("conv_1", "conv_2", "hidden_1", "hidden_2") for kind in ("kernel", "bias")}
    own = {f"standardised_{label}{end}/{kind}" for end in ("", "_log_variance") for kind in ("kernel", "bias")}
    assert reached == trunk | own


def test_a_step_on_one_element_leaves_teff_logg_and_fe_as_they_were():
    model = small_model()
    truth = np.full((8, 22, 2), np.nan, np.float32)
    truth[:, LABELS.index("si_h")] = [[0.3, 0.02]] * 8
    before = {w.path: numbers(w).copy() for w in model.trainable_weights}
    model.compile(optimizer=keras.optimizers.SGD(1e-3), loss=likelihood.label_loss, run_eagerly=True)
    model.fit({"spectrum": small_spectra(8)}, truth, epochs=1, verbose=0)
    moved = {w.path for w in model.trainable_weights if not np.array_equal(numbers(w), before[w.path])}
    assert not moved & set(STAR_HEADS)
    assert {"auxiliary/kernel", "hidden_2/kernel", "si_hidden_1/kernel", "standardised_si_h/kernel"} <= moved
    assert np.isfinite([numbers(w).sum() for w in model.weights]).all()


# --- weights ----------------------------------------------------------------------------------------------------------


def test_training_lowers_the_loss_and_limits_the_norm_of_the_auxiliary_units_alone():
    """Some labels are missing, and one star has none."""
    rng = np.random.default_rng(2)
    given = small_spectra(96, seed=5)
    value = MEAN + SD * given[:, :22]
    value[rng.random(value.shape) < 0.2] = np.nan
    value[0] = np.nan
    truth = np.stack([value, np.broadcast_to(0.1 * SD, value.shape)], axis=-1).astype(np.float32)
    model = small_model(parameters=dataclasses.replace(PARAMETERS, dropout=0.0))
    limited = {layer.name for layer in with_kernels(model) if layer.kernel_constraint or layer.bias_constraint}
    assert limited == {"auxiliary"}
    model.compile(optimizer=keras.optimizers.Adam(1e-2), loss=likelihood.label_loss, run_eagerly=True)
    losses = model.fit({"spectrum": given}, truth, batch_size=48, epochs=4, verbose=0).history["loss"]
    assert np.isfinite(losses).all() and losses[-1] < losses[0] - 0.2
    norms = {layer.name: np.linalg.norm(numbers(layer.kernel), axis=0) for layer in with_kernels(model)}
    assert norms.pop("auxiliary").max() == pytest.approx(0.5, abs=1e-5)
    assert np.mean([norm.max() > 0.5 for norm in norms.values()]) > 0.5


NORMAL = ("conv_1", "conv_2", "hidden_1", "hidden_2", "auxiliary")


def test_trunk_and_auxiliary_units_start_normal_and_all_others_as_keras_does(published):
    for layer in with_kernels(published):
        kernel = numbers(layer.kernel)
        uniform = np.sqrt(2 / sum(kernel.shape[-2:]))  # Glorot's standard deviation
        sd = 0.05 if layer.name in NORMAL else uniform
        error = sd / np.sqrt((2 if layer.name in NORMAL else 5) * kernel.size)
        assert abs(np.sqrt(np.mean(kernel**2)) - sd) < 4.5 * error, layer.name
        assert layer.name in NORMAL or np.abs(kernel).max() <= np.sqrt(3) * uniform
        assert not numbers(layer.bias).any()


def test_trunk_and_first_layers_of_the_elements_are_penalised(published):
    penalised = {layer.name: layer.kernel_regularizer for layer in with_kernels(published) if layer.kernel_regularizer}
    assert set(penalised) == {*NORMAL[:4], *(f"{element.lower()}_hidden_1" for element in CENSORED_ELEMENTS)}
    assert all(float(regularizer.l2) == pytest.approx(5e-9) for regularizer in penalised.values())


# --- files, backends, faults ------------------------------------------------------------------------------------------


def test_model_file_comes_back_with_the_same_numbers(model, tmp_path):
    model_file.save_model(model, tmp_path / "m.keras", {"labels": LABELS})
    again = model_file.load_network(tmp_path / "m.keras")
    given = {"spectrum": small_spectra()}
    assert again.name == "censored"
    assert np.array_equal(numbers(again(given)), numbers(model(given)))
    limits = [layer.name for layer in with_kernels(again) if layer.kernel_constraint]
    assert limits == ["auxiliary"]
    found = gradients(again, ["mg_h"], training=True)
    assert found["auxiliary/kernel"] > 0 and all(found[head] == 0 for head in STAR_HEADS)
    assert not [layer for layer in again.layers if isinstance(layer, keras.layers.Lambda)]


def test_jax_gives_the_same_outputs_for_one_weight_file(model, jax_process, tmp_path):
    model_file.save_model(model, tmp_path / "m.keras", {})
    given = small_spectra()
    np.save(tmp_path / "spectra.npy", given)
    jax_process.run(f"""
        import jax
        import apogaia.parameters.network
        folder = {str(tmp_path)!r}
        model = model_file.load_network(folder + "/m.keras")
        given = np.load(folder + "/spectra.npy")
        np.save(folder + "/outputs.npy", keras.ops.convert_to_numpy(model({{"spectrum": given}})))
        layer = model.get_layer("told_teff_logg_fe_h")
        slopes = [jax.grad(lambda x: layer(x, training=on).sum())(np.ones((2, 3), "f4")) for on in (True, False)]
        assert [slope.tolist() for slope in slopes] == [[[0.0] * 3] * 2, [[1.0] * 3] * 2]
    """)
    scale = np.stack([SD, np.ones(22)], axis=-1)
    there, here = np.load(tmp_path / "outputs.npy"), numbers(model({"spectrum": given}))
    assert there / scale == pytest.approx(here / scale, rel=1e-4, abs=1e-4)


def test_wrong_windows_and_labels_are_refused():
    def build(windows=WINDOWS, mean=MEAN, sd=SD, n_pixels=N_PIXELS):
        spread = {"label_mean": mean, "label_sd": sd}
        build_censored_network(NETWORK, PARAMETERS, mean_spectrum=np.ones(n_pixels), windows=windows, **spread)

    with pytest.raises(ValueError, match="120 pixels, the elements' windows 7514"):
        build(windows=None)
    with pytest.raises(ValueError, match="windows lack Mg; needed are C, CI"):
        build({element: window for element, window in WINDOWS.items() if element != "Mg"})
    with pytest.raises(ValueError, match=r"window of Na must be .* shape is \(120,\), with 0 pixels"):
        build(WINDOWS | {"Na": np.zeros(N_PIXELS, bool)})
    with pytest.raises(ValueError, match=r"window of Na must be .* = \(119,\)"):
        build(
            WINDOWS
            | {"C": np.ones(119, bool), "CI": np.ones(119, bool), "N": np.ones(119, bool)}
            | {"O": np.ones(119, bool)},
            n_pixels=119,
        )
    with pytest.raises(ValueError, match="no mean or no spread of logg, ni_h"):
        build(sd=np.where(np.isin(LABELS, ["logg", "ni_h"]), [0.0] * 21 + [np.nan], SD))
    with pytest.raises(ValueError, match=r"label_mean must have 22 values"):
        build(mean=MEAN[:21])
