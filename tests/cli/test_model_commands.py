"""`apogaia models` and `apogaia import-model`, and the other commands on what they make."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.table import Table
from published_networks import N_PIXELS, network, state_of, write_folder, write_torch

from apogaia.cli import commands
from apogaia.published import registry
from apogaia.reduction.normalised_spectra import read_spectra
from apogaia.simulate.run import simulate_survey
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

RANGE = {"mean": [9.15, 11.58, 1.348, 4851.6], "sd": [1.0, 1.184, 0.4828, 425.0]}


def said(capsys, *arguments):
    code = commands.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if "oneDNN" not in line and "absl" not in line]
    return code, out, lines


def imported(tmp_path, capsys, net, name, changes=None, *options):
    folder = write_folder(tmp_path / f"{name}_folder", net, "2018", changes)
    code, out, lines = said(capsys, "import-model", folder, "--output", tmp_path / f"{name}.keras", *options)
    assert code == 0 and not lines and f"written: {tmp_path / name}.keras" in out
    return tmp_path / f"{name}.keras", out


@pytest.fixture(scope="module")
def apstar(tmp_path_factory):
    """One simulated star's file, with a spectrum and Ks."""
    survey = load_survey("smoke")
    survey = replace(survey, simulation=replace(survey.simulation, n_stars=5, seed=5, max_visits=1))
    workspace = Workspace(survey, tmp_path_factory.mktemp("simulated"))
    simulate_survey(survey, workspace, processes=1, progress=False)
    files = sorted(workspace.raw.rglob("apStar*.fits"))
    read = read_spectra(files, survey.spectra)
    good = [status == 0 and header.get("k_mag") for status, header in zip(read.status, read.headers, strict=True)]
    return next(file for file, usable in zip(files, good, strict=True) if usable)


def test_the_list_names_every_model_with_its_citation(capsys):
    code, out, _ = said(capsys, "models")
    assert code == 0
    for model in registry.published_models():
        assert all(text in out for text in (model.name, model.about, model.page, model.citation, model.licence))


def test_fetching_without_a_network_is_one_line(capsys, tmp_path, monkeypatch):
    models = registry.published_models()

    def refuse(*_, **__):
        raise registry.FetchError("the network cannot be reached")

    monkeypatch.setattr(registry, "fetch_files", refuse)
    code, _, lines = said(capsys, "models", "fetch", models[0].name, "--folder", tmp_path / "here")
    assert code == 2 and lines == ["apogaia models: the network cannot be reached"]
    code, _, lines = said(capsys, "models", "fetch")
    assert code == 2 and lines[0].startswith("apogaia models: name the network to fetch: one of dr14-no-offset")
    code, _, lines = said(capsys, "models", "list", "dr14-constant")
    assert code == 2 and "apogaia models fetch NAME" in lines[0]


def test_a_fetched_model_is_followed_by_the_command_to_import_it(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "fetch_model", lambda model, folder: folder)
    code, out, _ = said(capsys, "models", "fetch", "dr17-distances", "--folder", tmp_path / "a b")
    assert code == 0 and "import-model '" in out and "--survey dr17 --output 'a b.keras'" in out


def test_constant_and_multivariate_offsets_are_zero_points_of_gaia_tables(capsys, tmp_path):
    net = network("ApogeeDR14GaiaDR2BCNN")
    net.weights["offset_output"][0][:] *= 0.03
    table = tmp_path / "gaia.csv"
    g_mag = np.array([10.5, 11.58, 12.5, 25.0])
    columns = {"phot_g_mean_mag": g_mag, "bp_rp": [1.1, 1.348, 1.6, 1.3], "teff_val": [5000.0, 4851.6, 4500, 4800]}
    Table({**columns, "parallax": [1.0, 2.0, 3.0, 4.0]}).write(table)

    model, out = imported(tmp_path, capsys, net, "constant")
    assert "zero point at ones: " in out and "zero point at zeros: " in out
    output = tmp_path / "constant.csv"
    code, _, _ = said(capsys, "zeropoint", table, "--model", model, "--constant", "--output", output)
    found = Table.read(output)
    at_ones = float(out.partition("zero point at ones: ")[2].split()[0])
    assert code == 0 and 1000 * found["zero_point"] == pytest.approx(at_ones, abs=0.06)
    assert np.allclose(found["parallax_corrected"], found["parallax"] - found["zero_point"])
    zeros, _ = imported(tmp_path, capsys, net, "zeros", None, "--constant-at", "zeros")
    said(capsys, "zeropoint", table, "--model", zeros, "--constant", "--output", tmp_path / "zeros.csv")
    at_zeros = float(out.partition("zero point at zeros: ")[2].split()[0])
    assert 1000 * Table.read(tmp_path / "zeros.csv")["zero_point"] == pytest.approx(at_zeros, abs=0.06)

    changes = {
        "input_mean": [*net.mean.tolist(), *RANGE["mean"]],
        "input_std": [*np.ones(N_PIXELS).tolist(), *RANGE["sd"]],
        "input_norm_mode": 2,
    }
    model, out = imported(tmp_path, capsys, net, "multivariate", changes)
    assert "zero point for g_mag from 8.53 to 14.63" in out
    output = tmp_path / "multivariate.csv"
    code, said_out, _ = said(capsys, "zeropoint", table, "--model", model, "--exact", "--output", output)
    found = Table.read(output)
    assert code == 0 and "3 of 4 stars with a zero point" in said_out and found["zero_point_domain"][3] == 8
    inputs = np.stack([np.asarray(values, float) for values in columns.values()], axis=1)
    inputs = (inputs - RANGE["mean"][1:]) / RANGE["sd"][1:]
    without_dropout = net.offset(inputs[:3], 1.41)  # the mean over dropout is near it, as tanh is nearly linear there
    assert np.all(np.abs(found["zero_point"][:3] - without_dropout) < 3 * found["zero_point_error"][:3])
    assert np.ptp(without_dropout) > 0


def test_a_folder_that_does_not_tell_the_range_is_imported_with_a_note(capsys, tmp_path):
    net = network("ApogeeDR14GaiaDR2BCNN")
    changes = {"input_mean": [*net.mean.tolist(), *RANGE["mean"]]}
    model, out = imported(tmp_path, capsys, net, "multivariate", changes)
    assert "note: no spread of G, BP-RP and Teff is stated" in out
    star = {"phot_g_mean_mag": [11.0], "bp_rp": [1.0], "teff_val": [5000.0], "parallax": [1.0]}
    Table(star).write(tmp_path / "g.csv")
    code, _, lines = said(capsys, "zeropoint", tmp_path / "g.csv", "--model", model)
    assert code == 2 and "does not state the range" in lines[0]


def test_distances_of_a_file_in_both_products(capsys, tmp_path, apstar):
    model, out = imported(tmp_path, capsys, network(), "distances")
    assert "errors: as the network states them; no training domain" in out
    code, out, lines = said(capsys, "distance", apstar, "--model", model, "--passes", 10)
    assert code == 0 and lines == [
        f"warning: {model} does not hold its training domain: no star is flagged as outside it"
    ]
    path = write_torch(tmp_path / "network.pt", state_of(network()))
    code, _, _ = said(capsys, "import-model", path, "--output", tmp_path / "torch.keras")
    assert code == 0
    arguments = ("--model", tmp_path / "torch.keras", "--passes", 10, "--output", tmp_path / "d.fits.gz")
    code, out, lines = said(capsys, "distance", "--product", "astra", apstar, *arguments)
    assert code == 0 and not lines and (tmp_path / "d.fits.gz").is_file()


def test_labels_of_a_file(capsys, tmp_path, apstar):
    model, _ = imported(tmp_path, capsys, network("ApogeeBCNNCensored"), "parameters")
    output = tmp_path / "labels.fits"
    code, _, lines = said(capsys, "parameters", apstar, "--model", model, "--passes", 10, "--output", output)
    found = Table.read(output, hdu=2)
    assert code == 0 and not lines and np.isfinite(found["teff"]).all()
    code, _, lines = said(capsys, "distance", apstar, "--model", model)
    assert code == 2 and "a model of stellar parameters" in lines[0]
    Table({"parallax": [1.0]}).write(tmp_path / "gaia.csv")
    for options, reason in (((), "trained without an offset"), (("--constant",), "its offset is not constant")):
        code, _, lines = said(capsys, "zeropoint", tmp_path / "gaia.csv", "--model", model, *options)
        assert code == 2 and len(lines) == 1 and reason in lines[0]


def test_faults_are_one_line_and_nothing_is_written(capsys, tmp_path):
    output = tmp_path / "model.keras"
    folder = write_folder(tmp_path / "folder", network())
    for source, options, match in (
        (tmp_path / "nowhere", (), "nowhere: no such folder or file"),
        (folder / "astroNN_model_parameter.json", ("--output", tmp_path / "m.h5"), "the suffix must be"),
        (folder, ("--survey", "dr99"), "dr99"),
    ):
        code, _, lines = said(capsys, "import-model", source, "--output", output, *options)
        assert code == 2 and len(lines) == 1 and match in lines[0]
    (folder / "model_weights.h5").write_bytes(b"cut")
    code, _, lines = said(capsys, "import-model", folder, "--output", output)
    assert code == 2 and len(lines) == 1 and "damaged, cut short" in lines[0] and not output.exists()
