"""Published networks in every layout give the outputs of an independent forward pass, and what a model file needs."""

import hashlib
import json

import numpy as np
import pytest
from published_networks import LAYOUTS, network, spectra, state_of, write_folder, write_torch

from apogaia.model.model_file import ModelFileError, load_network, read_domain, read_provenance, training_survey
from apogaia.parameters.parameters_model import ParametersModel
from apogaia.published.import_model import build_network, import_model, read_published
from apogaia.survey import load_survey
from apogaia.trained_model import TrainedModel
from apogaia.zero_point.gaia_tables import load_zero_point
from apogaia.zero_point.offset_posterior import OffsetPosterior

COUNTS = {  # weights of the published networks
    ("ApogeeBCNN", (164, 64)): 1_242_908,
    ("ApogeeBCNN", (192, 64)): 1_455_064,
    ("ApogeeDR14GaiaDR2BCNN", (164, 64, 32, 16)): 1_242_908 + 673,
    ("ApogeeBCNNCensored", (192, 96, 32, 16, 2)): 3_505_554,
    ("ApogeeBCNNCensored", (192, 64, 32, 16, 2)): 3_499_122,
    ("ApogeeBCNNCensored", (256, 96, 32, 16, 2)): 3_992_530,
}
AUXILIARY = {"input_mean": [9.1547, 11.58, 1.348, 4851.6], "input_std": [1.0, 1.184, 0.4828, 425.0]}


def multivariate(net):
    """What a joint network of a multivariate offset states: pixels and Ks are not scaled, mode 2."""
    return {
        "input_mean": [*net.mean.tolist(), *AUXILIARY["input_mean"]],
        "input_std": [*np.ones(len(net.mean)).tolist(), *AUXILIARY["input_std"]],
        "input_norm_mode": 2,
    }


def written(tmp_path, net, layout):
    if layout != "torch":
        return write_folder(tmp_path / "folder", net, layout)
    return write_torch(tmp_path / "network.pt", state_of(net), transposed=("dense_1.weight",))


def close(found, expected):
    assert np.max(np.abs(np.asarray(found) - expected) / np.maximum(1, np.abs(expected))) < 1e-5


@pytest.mark.parametrize("layout", [*LAYOUTS, "torch"])
def test_luminosities(tmp_path, layout):
    net, x = network(), spectra()
    imported = import_model(written(tmp_path, net, layout), tmp_path / "model.keras")
    fakemag, log_variance = net.fakemag(x, 100.745 if layout == "torch" else 94.0)
    assert fakemag.std() > 0.01 * fakemag.mean()
    for model in (imported.network, load_network(tmp_path / "model.keras")):
        close(model.get_layer("luminosity")(x), np.stack([fakemag, log_variance], axis=1))


@pytest.mark.parametrize("layout", ["2018", "torch"])
def test_labels_and_the_six_heads_without_names(tmp_path, layout):
    """Each head has weights of its own, so that no two could be exchanged unseen."""
    net, x = network("ApogeeBCNNCensored"), spectra()
    imported = import_model(written(tmp_path, net, layout), tmp_path / "model.keras")
    labels, log_variances = net.labels(x)
    found = np.asarray(imported.network({"spectrum": x}))
    close((found[..., 0] - net.labels_mean) / net.labels_std, (labels - net.labels_mean) / net.labels_std)
    close(found[..., 1], log_variances)
    assert len({round(float(value), 3) for value in (labels - net.labels_mean)[0] / net.labels_std}) == 22


@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_the_other_layouts_give_the_same_labels(tmp_path, layout):
    net = network("ApogeeBCNNCensored")
    first, other = (read_published(write_folder(tmp_path / name, net, name)) for name in ("2018", layout))
    assert first.weights.keys() == other.weights.keys()
    for name, dense in first.weights.items():
        assert all(map(np.array_equal, dense, other.weights[name])), name
    for name in ("mean_spectrum", "label_mean", "label_sd"):
        assert np.array_equal(getattr(first, name), getattr(other, name))


@pytest.mark.parametrize(("offset", "layout"), [*zip(["constant", "multivariate"] * 2, LAYOUTS, strict=True)])
def test_joint_networks(tmp_path, layout, offset):
    net, x = network("ApogeeDR14GaiaDR2BCNN"), spectra()
    changes = multivariate(net) if offset == "multivariate" else {}
    folder = write_folder(tmp_path / "folder", net, layout, changes)
    imported = import_model(folder, tmp_path / "model.keras", offset_at="zeros")
    k_mag = np.array([8.0, 9.3, 11.0])
    columns = {
        "g_mag": np.array([10.0, 12, 14]),
        "bp_rp": np.array([0.9, 1.3, 1.8]),
        "teff": np.array([5200, 4700, 4e3]),
    }
    inputs = {"spectrum": x, "k_mag": k_mag[:, None].astype("float32")}
    if offset == "multivariate":
        inputs |= {name: values[:, None].astype("float32") for name, values in columns.items()}
    raw = np.stack(list(columns.values()), axis=1)
    seen = (raw - AUXILIARY["input_mean"][1:]) / AUXILIARY["input_std"][1:]
    zero_point = net.offset(seen if offset == "multivariate" else np.zeros((3, 3)), 1.41)
    fakemag, log_variance = net.fakemag(x, 73.85 * 1.41)
    # the factor from fakemag to parallax enters the variance once: right where 73.85 * 10^(-0.2 Ks) is 1
    log_variance = log_variance - 0.4 * np.log(10) * k_mag - np.log(73.85 * 10 ** (-0.2 * k_mag))
    close(imported.network(inputs), np.stack([fakemag * 10 ** (-0.2 * k_mag) + zero_point, log_variance], axis=1))


def test_the_constant_offset_is_read_at_ones_and_at_zeros_and_both_are_told(tmp_path):
    net = network("ApogeeDR14GaiaDR2BCNN")
    net.weights["offset_output"][0][:] *= 0.05
    folder = write_folder(tmp_path / "folder", net)
    for at in ("ones", "zeros"):
        imported = import_model(folder, tmp_path / f"{at}.keras", offset_at=at)
        told = read_provenance(tmp_path / f"{at}.keras")["imported"]["constant_offset"]
        offset = imported.network.get_layer("offset")(np.ones((1, 3), "float32"))
        close(offset, [[net.offset(np.full((1, 3), float(at == "ones")), 1.41)[0]]])
        zero_point = load_zero_point(tmp_path / f"{at}.keras")
        assert zero_point.in_uas() == pytest.approx(told[at])
        assert told["ones"]["value_uas"] != pytest.approx(told["zeros"]["value_uas"], abs=1)
        text = "\n".join(imported.lines())
        assert all(f"{told[place]['value_uas']:.1f} +- {told[place]['error_uas']:.1f}" in text for place in told)
        assert f"{told[at]['value_uas']:.1f}" in next(line for line in imported.lines() if "in this file" in line)
    with pytest.raises(ValueError, match="ones or zeros"):
        import_model(folder, tmp_path / "model.keras", offset_at="twos")


def test_a_multivariate_offset_holds_over_what_mean_and_sd_say(tmp_path):
    net = network("ApogeeDR14GaiaDR2BCNN")
    folder = write_folder(tmp_path / "folder", net, "2018", multivariate(net))
    import_model(folder, tmp_path / "model.keras")
    posterior = load_zero_point(tmp_path / "model.keras", exact=True, draws=400)
    assert isinstance(posterior, OffsetPosterior)
    assert posterior.ranges[0] == pytest.approx((11.58 - 2.576 * 1.184, 11.58 + 2.576 * 1.184))
    value, error = posterior.at([11.58, 11.58, 20.0], [1.348] * 3, [4851.6] * 3)
    assert np.isfinite(value[:2]).all() and np.isnan(value[2]) and error[0] > 0


@pytest.mark.parametrize(("mode", "mean", "sd"), [(1, 0.9, 0.3), (0, 0.0, 1.0), (255, 0.0, 255.0)])
def test_luminosities_of_spectra_divided_by_one_number(tmp_path, mode, mean, sd):
    net, x = network(), spectra()
    net.mean[:] = mean
    changes = {"input_mean": [mean], "input_std": [sd], "input_norm_mode": mode}
    published = read_published(write_folder(tmp_path, net, "2021", changes))
    imported = build_network(published, load_survey("dr14"))
    close(imported.network.get_layer("luminosity")(x)[:, 0], net.fakemag(x, 94.0, sd)[0])


def test_labels_of_spectra_divided_by_one_number(tmp_path):
    net, x = network("ApogeeBCNNCensored"), spectra()
    changes = {"input_std": [0.3], "input_norm_mode": 2}
    published = read_published(write_folder(tmp_path, net, "2021", changes))
    labels = np.asarray(build_network(published, load_survey("dr17")).network({"spectrum": x}))[..., 0]
    close(labels / net.labels_std, net.labels(x, 0.3)[0] / net.labels_std)


def test_windows_are_those_of_the_file(tmp_path):
    net = network("ApogeeBCNNCensored")
    masks = net.windows()
    masks[4] = np.roll(masks[4], 100)
    published = read_published(write_torch(tmp_path / "n.pt", state_of(net, masks)))
    network_of_file = build_network(published, load_survey("dr17")).network
    assert np.array_equal(network_of_file.get_layer("na_window").pixels, np.flatnonzero(masks[4]))


@pytest.mark.parametrize(("kind", "hidden"), COUNTS)
def test_the_published_sizes_have_the_published_number_of_weights(tmp_path, kind, hidden):
    net = network(kind, hidden=hidden)
    published = read_published(write_folder(tmp_path / "folder", net, "2021"))
    built = build_network(published, load_survey("dr17")).network
    assert sum(int(np.prod(weight.shape)) for weight in built.trainable_weights) == COUNTS[kind, hidden]
    assert published.n_weights == net.n_weights == COUNTS[kind, hidden]


def test_the_model_file_says_where_it_comes_from_and_is_read_by_what_predicts(tmp_path):
    folder = write_folder(tmp_path / "folder", network())
    import_model(folder / "model_weights.h5", tmp_path / "distances.keras")  # a file stands for its folder
    provenance = read_provenance(tmp_path / "distances.keras")
    assert provenance["training_domain"] is False and read_domain(tmp_path / "distances.keras") is None
    weights = (folder / "model_weights.h5").read_bytes()
    assert provenance["imported"]["sha256"]["model_weights.h5"] == hashlib.sha256(weights).hexdigest()
    assert provenance["survey"] == "dr14"
    survey = training_survey(tmp_path / "distances.keras")
    assert survey.spectra == load_survey("dr14").spectra and survey.network.hidden_units == (7, 5)
    model = TrainedModel.load(tmp_path / "distances.keras")
    prediction = model.predict(spectra(), np.full(3, 100.0), passes=20, seed=1, progress=False)
    assert np.isfinite(prediction.fakemag).all() and (prediction.model_error > 0).all()
    assert model.offset == "none" and model.history == {}

    net = network("ApogeeBCNNCensored")
    import_model(write_folder(tmp_path / "censored", net, "2021"), tmp_path / "parameters.keras")
    model = ParametersModel.load(tmp_path / "parameters.keras")
    assert model.survey.name == "dr17" and model.survey.spectra.continuum_pixels == "dr17"
    labels = model.predict(spectra(), np.full(3, 100.0), passes=20, seed=1, progress=False).label
    assert labels.shape == (3, 22) and np.isfinite(labels).all()


def test_the_survey_may_be_named(tmp_path):
    folder = write_folder(tmp_path / "folder", network(), "2021")
    import_model(folder, tmp_path / "model.keras", survey="dr14")
    assert training_survey(tmp_path / "model.keras").spectra.continuum_pixels == "dr14"


def test_a_scale_of_one_is_told(tmp_path):
    changes = {"labels_std": [1.0], "labels_norm_mode": 0}
    imported = import_model(write_folder(tmp_path / "folder", network(), "2018", changes), tmp_path / "model.keras")
    assert any("labels_std is 1" in line for line in imported.lines())


def test_what_is_not_there_or_has_other_pixels(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder or file; `apogaia models`"):
        import_model(tmp_path / "nowhere", tmp_path / "model.keras")
    net = network()
    folder = write_folder(tmp_path / "folder", net)
    parameters = json.loads((folder / "astroNN_model_parameter.json").read_text())
    changed = {**parameters, "input": [7515, 1], "input_mean": [0.9] * 7515}  # as many after pooling
    (folder / "astroNN_model_parameter.json").write_text(json.dumps(changed))
    with pytest.raises(ModelFileError, match="takes 7515 pixels; APOGEE's spectra have 7514"):
        import_model(folder, tmp_path / "model.keras")


def test_layers_that_do_not_fit_each_other(tmp_path):
    state = state_of(network())
    state["dense_2.weight"], state["dense_2.bias"] = np.ones((5, 8), "f4"), np.ones(5, "f4")
    path = write_torch(tmp_path / "n.pt", state)
    with pytest.raises(ModelFileError, match=r"n.pt: hidden_2 has the shapes \(8, 5\).*ask for \(7, 5\)"):
        import_model(path, tmp_path / "model.keras")
    assert not (tmp_path / "model.keras").exists()
