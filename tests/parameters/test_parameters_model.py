"""From apStar files to labels: one row for each spectrum, whatever is wrong with it; the command line."""

import numpy as np
import pytest
import tiny_survey as tiny
from astropy.io import fits
from astropy.table import Table
from damaged_spectra import KINDS
from parameter_models import CALIBRATION, PRESENCE, SHIFT, write_luminosity_model, write_parameters_model
from real_files import APSTAR

from apogaia.cli import commands
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.model.inference import predict
from apogaia.model.model_file import ModelFileError, load_network
from apogaia.parameters.inference import predict_labels
from apogaia.parameters.parameters_model import ParametersModel
from apogaia.reduction.normalised_spectra import read_spectra
from apogaia.trained_model import TrainedModel

STAR = "2M00000017+0000017"


@pytest.fixture(scope="module")
def model_path(tmp_path_factory):
    calibration = {"label_shift": SHIFT, "error_calibration": CALIBRATION}
    return write_parameters_model(tmp_path_factory.mktemp("model") / "parameters.keras", **calibration)


@pytest.fixture(scope="module")
def model(model_path):
    return ParametersModel.load(model_path)


@pytest.fixture(scope="module")
def luminosity_path(tmp_path_factory):
    return write_luminosity_model(tmp_path_factory.mktemp("model") / "none.keras")


def files_of(folder, n, visits=1):
    paths = [folder / f"apStar-r8-2M{i:08d}+0000000.fits" for i in range(n)]
    for i, path in enumerate(paths):
        spectrum = tiny.spectrum(np.random.default_rng(i))
        tiny.write_apstar(path, path.stem.split("-")[-1], *spectrum, visits, unread_rows=1, layout="dr17")
    return paths


def test_labels_of_files_have_units_and_both_kinds_of_errors(model, tmp_path):
    paths = files_of(tmp_path, 2)
    table = model.parameters(paths)
    assert list(table["file"]) == [str(path) for path in paths] and set(table["status"]) == {"OK"}
    assert list(table["apogee_id"]) == ["2M00000000+0000000", "2M00000001+0000000"]
    assert str(table["teff"].unit) == "K" and str(table["mg_h_error"].unit) == "dex"
    for name in LABELS:
        np.testing.assert_allclose(table[name] - table[f"{name}_raw"], 0.25, rtol=1e-6)
        np.testing.assert_allclose(table[f"{name}_error"], 2 * table[f"{name}_raw_error"], rtol=1e-6)
        assert (table[f"{name}_model_error"] <= table[f"{name}_error"]).all() and np.isfinite(table[name]).all()
    assert (table["visit"] == 0).all() and (table["mjd"] == -1).all()


def test_predictions_of_spectra_are_calibrated(model):
    spectra = 1.0 + 0.05 * np.random.default_rng(3).standard_normal((3, 7514)).astype(np.float32)
    raw = model.predict_raw(spectra, seed=2, progress=False)
    found = model.predict(spectra, np.full(3, 100.0), seed=2, progress=False)
    np.testing.assert_allclose(found.label, raw.label + 0.25, rtol=1e-6)
    np.testing.assert_allclose(found.total_error, 2 * raw.total_error, rtol=1e-6)


def test_errors_of_labels_that_such_stars_do_not_have_grow_after_the_calibration(model, tmp_path):
    calibration = {"label_shift": SHIFT, "error_calibration": CALIBRATION, "label_presence": PRESENCE}
    knows = ParametersModel.load(write_parameters_model(tmp_path / "parameters.keras", **calibration))
    spectra = 1.0 + 0.05 * np.random.default_rng(3).standard_normal((3, 7514)).astype(np.float32)
    snr = np.full(3, 100.0)
    plain, found = (one.predict(spectra, snr, seed=2, progress=False) for one in (model, knows))
    np.testing.assert_array_equal(found.label, plain.label)
    logg = LABELS.index("logg")
    np.testing.assert_allclose(found.total_error[:, logg], np.hypot(plain.total_error[:, logg], 0.8), rtol=1e-6)
    others = np.arange(len(LABELS)) != logg
    np.testing.assert_array_equal(found.total_error[:, others], plain.total_error[:, others])
    paths = files_of(tmp_path, 2)
    before, after = (one.parameters(paths)["logg_error"] for one in (model, knows))
    np.testing.assert_allclose(after, np.hypot(before, 0.8), rtol=1e-6)
    np.testing.assert_allclose(knows.astra_table(paths)["e_logg"], after, rtol=1e-6)


@pytest.mark.parametrize("member", ["label_shift", "error_calibration", "label_presence"])
def test_a_part_of_a_calibration_that_is_not_known_is_refused(member, tmp_path):
    with pytest.raises(ModelFileError, match="its calibration was written by another version"):
        ParametersModel.load(write_parameters_model(tmp_path / "parameters.keras", **{member: {"knots": [1.0]}}))


def test_a_calibration_of_another_version_is_refused(tmp_path):
    older = {
        "snr_knots": [2.0, 4.0, 6.0],
        "teff_knots": [3000.0, 7000.0],
        "log_growth": [[0.0] * 12] * 22,
        "stars": 300,
    }
    path = write_parameters_model(tmp_path / "parameters.keras", error_calibration=older)
    with pytest.raises(ModelFileError, match="its calibration was written by another version"):
        ParametersModel.load(path)


def test_astras_columns_hold_the_same_numbers(model, tmp_path):
    paths = files_of(tmp_path, 2)
    ours, astras = model.parameters(paths, seed=5), model.astra_table(paths, seed=5)
    for name, theirs in {"teff": "teff", "ci_h": "c_1_h", "tiii_h": "ti_2_h", "fe_h": "fe_h"}.items():
        np.testing.assert_allclose(astras[theirs], ours[name], rtol=1e-6)
        np.testing.assert_allclose(astras[f"raw_{theirs}"], ours[f"{name}_raw"], rtol=1e-6)
        np.testing.assert_allclose(astras[f"e_{theirs}"], ours[f"{name}_error"], rtol=1e-6)
        np.testing.assert_allclose(astras[f"raw_e_{theirs}"], ours[f"{name}_raw_error"], rtol=1e-6)
    np.testing.assert_array_equal(astras["result_flags"], ours["result_flags"])


def test_every_kind_of_damage_keeps_its_row(model, tmp_path):
    flux, error, mask = tiny.spectrum(np.random.default_rng(8))
    paths = []
    for i, kind in enumerate(KINDS):
        paths.append(tmp_path / str(i) / f"apStar-r8-{STAR}.fits")
        tiny.write_apstar(paths[-1], STAR, flux, error, mask, visits=3, unread_rows=1)
        kind.damage(paths[-1])
    table = model.parameters(paths)
    assert list(table["status"]) == [kind.status.name for kind in KINDS]
    good = np.array([kind.status == 0 for kind in KINDS])
    np.testing.assert_array_equal(np.isfinite(table["teff"]), good)
    np.testing.assert_array_equal(table["result_flags"] & 2048 != 0, ~good)
    np.testing.assert_array_equal([bool(reason) for reason in table["reason"]], ~good)


def test_visits_follow_their_combination(model, tmp_path):
    paths = files_of(tmp_path, 2, visits=2)
    with fits.open(paths[0], mode="update") as hdus:
        hdus[1].data[3] = 0  # the second visit
        hdus[0].header["SFILE1"], hdus[0].header["SNRVIS1"] = "apVisit-dr17-6560-56584-200.fits", 31.5
    table = model.parameters([paths[0], tmp_path / "nothing.fits", paths[1]], visits=True)
    assert list(table["visit"]) == [0, 1, 2, 0, 0, 1, 2]
    assert list(table["status"]) == ["OK", "OK", "BLANK", "NO_FILE", "OK", "OK", "OK"]
    assert table["mjd"][1] == 56584 and table["snr"][1] == 31.5 and table["snr"][0] == 100
    assert list(np.flatnonzero(table["result_flags"] & 2048)) == [2, 3]
    assert str(paths[0]) in table["reason"][2] and table["apogee_id"][2] == "2M00000000+0000000"


def test_a_batch_of_one_and_of_many_give_the_same_numbers(tmp_path):
    """With hardly any dropout, whose masks follow from the row (tests of the inference hold the batch size to that)."""
    model = ParametersModel.load(write_parameters_model(tmp_path / "parameters.keras", dropout=1e-9))
    paths = files_of(tmp_path, 4)
    spectra = read_spectra(paths, model.survey.spectra).flux
    together = predict_labels(
        model.network, np.tile(spectra, (64, 1)), passes=2, seed=1, batch_size=256, progress=False
    )
    for i, path in enumerate(paths):
        alone = model.parameters(path)
        for k, name in enumerate(LABELS):
            np.testing.assert_allclose(together.label[i::4, k], alone[name][0], rtol=1e-4, atol=1e-4)
            np.testing.assert_allclose(together.total_error[i::4, k], alone[f"{name}_raw_error"][0], rtol=1e-4)


def test_distances_do_not_depend_on_the_batch(luminosity_path, tmp_path):
    model = TrainedModel.load(luminosity_path)
    paths = files_of(tmp_path, 4)
    for path, k_mag in zip(paths, (7.0, 9.0, 11.0, 99.999), strict=True):
        fits.setval(path, "K", value=k_mag)
    together = model.astra_distances([paths[i % 4] for i in range(256)])
    ratio = np.asarray(together["dist"]) * np.asarray(together["L_fakemag"])
    for i, k_mag in enumerate((7.0, 9.0, 11.0)):  # each with its own Ks, not the first one's
        np.testing.assert_allclose(ratio[i::4], 1000 * 10 ** (0.2 * k_mag), rtol=1e-5)
    assert np.isnan(together["dist"][3::4]).all() and (together["result_flags"][3::4] & 2 == 2).all()
    first = model.astra_distances(paths[0])
    assert first["L_fakemag"][0] == together["L_fakemag"][0] and first["dist"][0] == together["dist"][0]


def test_the_variance_over_passes_is_divided_by_their_number(luminosity_path, model):
    """Of two passes a and b the model error is |a - b| / 2; with N - 1 it would be larger by a factor 1.41."""
    spectra = np.random.default_rng(3).normal(0.9, 0.1, (3, 7514)).astype(np.float32)
    network = load_network(luminosity_path)
    one, two = (predict(network, spectra, passes=n, seed=3, progress=False) for n in (1, 2))
    np.testing.assert_allclose(two.model_error, np.abs(two.fakemag - one.fakemag), rtol=1e-4)
    first, both = (predict_labels(model.network, spectra, passes=n, seed=3, progress=False) for n in (1, 2))
    np.testing.assert_allclose(both.model_error, np.abs(both.label - first.label), rtol=1e-2, atol=1e-3)


def test_extinction_is_the_headers_else_the_given_one(luminosity_path, tmp_path):
    model = TrainedModel.load(luminosity_path)
    paths = files_of(tmp_path, 3)
    fits.setval(paths[0], "AKTARG", value=0.3517)
    fits.setval(paths[1], "AKTARG", value=-9999.99)
    table = model.astra_distances(paths, ebv=0.5)
    np.testing.assert_allclose(table["ebv"], [1, 0.5, 0.5], rtol=1e-6)
    np.testing.assert_allclose(table["a_k_mag"], 0.3517 * np.array([1, 0.5, 0.5]), rtol=1e-6)
    assert not (table["result_flags"] & 4).any()
    unknown = model.astra_distances(paths)
    assert list(unknown["result_flags"] & 4) == [0, 4, 4] and list(unknown["flag_warn"]) == [False, True, True]
    assert np.isfinite(unknown["dist"]).all()


def test_a_model_of_distances_is_refused(luminosity_path):
    with pytest.raises(ModelFileError, match="a model of distances, not of stellar parameters"):
        ParametersModel.load(luminosity_path)


# --- command line -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".ecsv", ".fits", ".fits.gz"])
def test_the_command_writes_all_columns_and_says_what_is_wrong(model_path, tmp_path, suffix, capsys):
    output = tmp_path / f"out{suffix}"
    paths = [str(path) for path in files_of(tmp_path, 2, visits=2)]
    command = ["parameters", "--model", str(model_path), "--output", str(output), "--visits", *paths]
    assert commands.main(command) == 0
    said = capsys.readouterr()
    assert "2M00000001+0000000" in said.out and "trained on simulated stars" in said.err
    assert "UNCERTAIN_FE_H: |raw_e_fe_h / raw_fe_h| > 0.12" in said.out
    table = Table.read(output, **({} if suffix == ".ecsv" else {"hdu": 2}))
    assert len(table) == 6 and list(table["visit"]) == [0, 1, 2] * 2 and {"teff", "raw_e_c_1_h"} <= set(table.colnames)
    assert commands.main([*command, str(tmp_path / "nothing.fits")]) == 1
    said = capsys.readouterr()
    assert "nothing.fits" in said.out and "nothing.fits: there is no apStar file" in said.err
    assert "NO_RESULT" in said.out


@pytest.mark.parametrize(("schema", "error"), [("dr19", "dist_err"), ("dev", "e_dist")])
def test_distances_in_astras_form_from_the_command_line(luminosity_path, tmp_path, schema, error, capsys):
    output = tmp_path / "out.fits.gz"
    paths = [str(path) for path in files_of(tmp_path, 2)]
    command = ["distance", "--product", "astra", "--schema", schema, "--ebv", "0.2", "--model", str(luminosity_path)]
    assert commands.main([*command, "--passes", "5", "--output", str(output), *paths]) == 0
    table = Table.read(output, hdu=2)
    assert np.isfinite(table["dist"]).all() and error in table.colnames and np.allclose(table["ebv"], 0.2)
    assert fits.getheader(output, 2)["NPASSES"] == 5
    fits.setval(paths[0], "K", value=-9999.99)
    assert commands.main([*command, *paths]) == 1
    assert "MISSING_PHOTOMETRY" in capsys.readouterr().out


def test_real_files_go_through_both_commands(realdata, model_path, luminosity_path, capsys):
    paths = [str(realdata / name) for name in APSTAR]
    assert commands.main(["parameters", "--visits", "--model", str(model_path), *paths]) == 0
    said = capsys.readouterr().out
    assert "2M00004994+1621552" in said and "56584" in said
    assert commands.main(["distance", "--product", "astra", "--model", str(luminosity_path), *paths]) == 0
    assert "MISSING_EXTINCTION" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["parameters", "a.fits", "--output", "a.csv"], "the suffix must be .ecsv, .fits or .fits.gz"),
        (["parameters", "a.fits", "--passes", "1"], "needs at least 2 passes"),
        (["parameters", "a.fits"], "parameters.keras: no such model"),
        (["distance", "a.fits", "--product", "astra"], "none.keras: no such model"),
        (["distance", "a.fits", "--ebv", "0.1"], "--ebv is for --product astra"),
        (["astra", "smoke"], "run `apogaia reduce smoke` first"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_done(tmp_path, monkeypatch, arguments, message, capsys):
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path))
    assert commands.main(arguments) == 2
    assert message in capsys.readouterr().err
