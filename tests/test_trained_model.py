"""A model file in use: distances of single stars from real and broken files, the command line."""

import numpy as np
import pytest
import tiny_survey as tiny
from astropy.io import fits
from astropy.table import Table
from damaged_spectra import KINDS
from real_files import APSTAR

from apogaia.cli import commands
from apogaia.distances.catalogue import Flags
from apogaia.formats.apstar import read_apstar
from apogaia.model import model_file, networks
from apogaia.physics.luminosity import extinction_correction, fakemag_to_parallax, fakemag_to_pc
from apogaia.survey import load_survey
from apogaia.trained_model import TrainedModel
from apogaia.workspace import Workspace

GIANT = "apStar-r5-2M00004994+1621552.fits"


@pytest.fixture(scope="module")
def survey():
    return load_survey("smoke")


@pytest.fixture(scope="module")
def model_path(tmp_path_factory, survey):
    """An untrained model: what is tested here is the way from file to distance, not the distance."""
    model = networks.build_joint_network(
        survey.network, "constant", mean_spectrum=np.ones(7514, np.float32), parallax_scale=1.0
    )
    path = tmp_path_factory.mktemp("model") / "constant.keras"
    model_file.save_model(model, path, {"survey": survey.name, "settings": survey.settings()})
    return path


@pytest.fixture
def broken(realdata, tmp_path):
    """A blank, a cut, a NaN-error and a non-APOGEE file, and one that is not there."""
    with fits.open(realdata / GIANT) as hdus:
        hdus[1].data[:] = 0
        hdus.writeto(tmp_path / "blank.fits")
    with fits.open(realdata / GIANT) as hdus:
        hdus[2].data[:] = np.nan
        hdus.writeto(tmp_path / "nan_error.fits")
    (tmp_path / "cut.fits").write_bytes((realdata / GIANT).read_bytes()[:60000])
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.ones(100))]).writeto(tmp_path / "other.fits")
    return {name: tmp_path / f"{name}.fits" for name in ("blank", "nan_error", "cut", "other", "absent")}


def test_real_spectra_have_consistent_distances(realdata, model_path):
    paths = sorted(realdata.glob("apStar*.fits"))
    table = TrainedModel.load(model_path).distances(paths, passes=5)
    assert list(table["apogee_id"]) == [path.stem.split("-")[-1] for path in paths]
    assert set(table["status"]) == {"OK"} and set(table["reason"]) == {""}
    k0 = extinction_correction([fits.getheader(path)["K"] for path in paths], np.nan)
    dist, dist_error = fakemag_to_pc(table["fakemag"], k0, table["fakemag_error"])
    np.testing.assert_allclose(table["dist"], dist)
    np.testing.assert_allclose(table["dist_error"], dist_error)
    np.testing.assert_allclose(table["nn_parallax"], fakemag_to_parallax(table["fakemag"], k0))
    np.testing.assert_allclose(np.hypot(table["dist_model_error"], table["dist_predictive_error"]), table["dist_error"])
    assert np.all(table["flags"] & Flags.MISSING_EXTINCTION)  # these headers are older than the card AKTARG


def test_extinction_of_the_header_is_used(realdata, tmp_path, model_path):
    with fits.open(realdata / GIANT) as hdus:
        hdus[0].header["AKTARG"] = 0.5
        hdus.writeto(tmp_path / GIANT)
    table = TrainedModel.load(model_path).distances([realdata / GIANT, tmp_path / GIANT], passes=5)
    k0_without, k0_with = (float(fits.getheader(realdata / GIANT)["K"]) - a_k for a_k in (0, 0.5))
    np.testing.assert_allclose(
        np.asarray(table["dist"]), fakemag_to_pc(np.asarray(table["fakemag"]), np.array([k0_without, k0_with]))
    )
    assert not table["flags"][1] & Flags.MISSING_EXTINCTION
    k_mag = float(fits.getheader(realdata / GIANT)["K"])
    assert table["k_mag"].tolist() == [pytest.approx(k_mag)] * 2 and table["a_k_mag"][1] == 0.5
    assert np.isnan(table["a_k_mag"][0])  # with which a distance of another extinction is found


def test_broken_files_keep_their_rows_and_the_rest_its_results(realdata, broken, model_path):
    paths = [broken["blank"], realdata / GIANT, *(broken[name] for name in ("nan_error", "cut", "other", "absent"))]
    table = TrainedModel.load(model_path).distances(paths, passes=5)
    assert np.isfinite(table["dist"][1]) and table["reason"][1] == ""
    bad = [0, 2, 3, 4, 5]
    assert np.all(np.isnan(table["dist"][bad])) and np.all(table["flags"][bad] & Flags.NO_RESULT)
    assert len(set(table["status"][bad])) == 5  # each fault has its own status
    for row in bad:
        assert paths[row].name in table["reason"][row]


def test_every_kind_of_damage_keeps_its_row(model_path, tmp_path):
    flux, error, mask = tiny.spectrum(np.random.default_rng(8))
    paths = []
    for i, kind in enumerate(KINDS):
        paths.append(tmp_path / str(i) / "apStar-r8-2M00000017+0000017.fits")
        tiny.write_apstar(paths[-1], "2M00000017+0000017", flux, error, mask, visits=3, unread_rows=1)
        kind.damage(paths[-1])
    table = TrainedModel.load(model_path).distances(paths, passes=5)
    assert list(table["status"]) == [kind.status.name for kind in KINDS]
    good = np.array([kind.status == 0 for kind in KINDS])
    np.testing.assert_array_equal(np.isfinite(table["fakemag"]), good)
    np.testing.assert_array_equal(table["flags"] & Flags.NO_RESULT != 0, ~good)
    assert all(reason.startswith(f"{path}: ") for path, reason in zip(paths, table["reason"], strict=True) if reason)
    np.testing.assert_array_equal(table["reason"] != "", ~good)


def test_a_refused_file_keeps_the_name_and_the_magnitude_that_it_has(model_path, tmp_path):
    flux, error, mask = tiny.spectrum(np.random.default_rng(8))
    path = tmp_path / "apStar-r8-2M00000017+0000017.fits"
    tiny.write_apstar(path, "2M00000017+0000017", 0 * flux, error, mask, unread_rows=1)
    (row,) = TrainedModel.load(model_path).distances(path, passes=5)
    assert row["status"] == "BLANK" and row["apogee_id"] == "2M00000017+0000017" and row["snr"] == 100.0
    assert row["flags"] & Flags.NO_RESULT and not row["flags"] & Flags.MISSING_PHOTOMETRY


@pytest.mark.parametrize(
    "value",
    [-9999.99, 99.999, "unknown", "", None, True, pytest.param(fits.card.Undefined(), id="undefined")],
    ids=repr,
)
def test_a_magnitude_that_is_none_leaves_the_distance_unknown(model_path, tmp_path, value):
    path = tmp_path / "apStar-r8-2M1.fits"
    tiny.write_apstar(path, "2M1", *tiny.spectrum(np.random.default_rng(8)), unread_rows=1)
    with fits.open(path, mode="update") as hdus:
        for name in ("K", "AKTARG", "SNR"):
            if value is None:
                hdus[0].header.remove(name, ignore_missing=True)
            else:
                hdus[0].header[name] = value
    (row,) = TrainedModel.load(model_path).distances([path], passes=5)
    assert row["status"] == "OK" and np.isfinite(row["fakemag"]) and np.isnan(row["dist"])
    assert row["flags"] & Flags.MISSING_PHOTOMETRY and row["flags"] & Flags.MISSING_EXTINCTION
    assert np.isnan(row["snr"]) or value == 99.999  # a good one


@pytest.mark.parametrize("name", APSTAR)
def test_a_real_file_under_sdss_vs_name_and_in_its_layout(realdata, model_path, tmp_path, name, capsys):
    star = read_apstar(realdata / name)
    apogee_id = star.header["apogee_id"]
    named = tmp_path / "named" / f"apStar-1.4-apo25m-{apogee_id}.fits"
    named.parent.mkdir()
    named.write_bytes((realdata / name).read_bytes())
    written = tmp_path / "written" / named.name
    tiny.write_apstar(written, apogee_id, star.flux, star.error, star.mask, star.n_visits, 1, layout="dr19")
    with fits.open(written, mode="update") as hdus:
        del hdus[0].header["K"]
        hdus[0].header["KMAG"], hdus[0].header["SNR"] = star.header["k_mag"], star.header["snr"]
    output = tmp_path / "out.ecsv"
    paths = [str(path) for path in (realdata / name, named, written)]
    command = ["distance", "--model", str(model_path), "--passes", "5", "--output", str(output), *paths]
    assert commands.main(command) == 0 and apogee_id in capsys.readouterr().out
    table = Table.read(output)
    assert list(table["status"]) == ["OK"] * 3 and list(table["apogee_id"]) == [apogee_id] * 3
    assert np.isfinite(table["dist"]).all()


def test_command_line_writes_the_table_and_says_what_is_wrong(realdata, broken, model_path, tmp_path, capsys):
    output = tmp_path / "out.ecsv"
    good = sorted(str(path) for path in realdata.glob("apStar*.fits"))
    arguments = ["distance", "--model", str(model_path), "--passes", "5", "--output", str(output)]
    assert commands.main([*arguments, *good]) == 0
    assert len(Table.read(output)) == len(good)
    assert "2M00004994+1621552" in capsys.readouterr().out
    assert commands.main([*arguments, *good, str(broken["blank"]), str(broken["other"])]) == 1
    printed = capsys.readouterr()
    assert "blank.fits" in printed.err and "other.fits" in printed.err
    table = Table.read(output)
    assert np.isfinite(table["dist"]).sum() == len(good)


def test_same_seed_same_distance(realdata, model_path):
    model = TrainedModel.load(model_path)
    first, second = (model.distances(realdata / GIANT, passes=5, seed=3) for _ in range(2))
    other = model.distances(realdata / GIANT, passes=5, seed=4)
    assert first["fakemag"][0] == second["fakemag"][0] != other["fakemag"][0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["distance", "star.fits", "--model", "nowhere.keras"], "nowhere.keras"),
        (["distance", "star.fits", "--output", "table.xls"], "table.xls"),
        (["mock", "dr14"], "not simulated"),
        (["reduce", "no-such-survey"], "no-such-survey"),
    ],
)
def test_command_line_errors_name_the_thing(arguments, message, capsys):
    assert commands.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_default_model_is_that_of_make_all(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path))
    assert commands.main(["distance", "star.fits"]) == 2
    assert str(Workspace(load_survey("mock")).model("calibrated")) in capsys.readouterr().err
