"""Products of a whole survey: one row for each spectrum, the same bytes however often a run was killed."""

import dataclasses

import numpy as np
import pytest
import tiny_survey as tiny
from astropy.io import fits
from astropy.table import Table
from parameter_models import CALIBRATION, SHIFT, quick, write_luminosity_model, write_parameters_model

from apogaia.cli import astra_commands, commands
from apogaia.formats.apstar import MAX_ROWS, Status
from apogaia.formats.stars_h5_columns import LABELS
from apogaia.model.inference import predict_calibrated, read_error_calibration
from apogaia.model.model_file import load_network
from apogaia.parameters import survey_products
from apogaia.parameters.parameters_model import ParametersModel
from apogaia.parameters.survey_products import (
    ProductError,
    write_all_star_astronn,
    write_all_star_astronn_dist,
    write_all_visit_astronn,
)
from apogaia.processes import WorkerDiedError
from apogaia.reduction.reduce import reduce_survey
from apogaia.reduction.stars_h5 import open_stars

QUIET = {"progress": False}


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    """A survey of twenty stars, some of them damaged, in parts of eight; both its models."""
    survey, workspace = tiny.write_tiny_survey(tmp_path_factory.mktemp("survey"))
    flux, error, mask = tiny.spectrum(np.random.default_rng(2))
    good = workspace.apstar("2M00000019+0000019", 4400)  # of three visits; the others' visits are blank
    tiny.write_apstar(good, "2M00000019+0000019", flux, error, mask, visits=3, layout="dr17")
    reduce_survey(survey, workspace, processes=1, progress=False)
    models = workspace.data / "models"
    models.mkdir()
    calibration = {"label_shift": SHIFT, "error_calibration": CALIBRATION}
    write_parameters_model(models / "parameters.keras", survey, **calibration)
    write_luminosity_model(models / "none.keras", survey)
    return quick(survey), workspace


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(survey_products, "PART_STARS", 8)


@pytest.fixture(scope="module")
def loaded(reduced):
    return ParametersModel.load(model_of(reduced[1], "parameters"))


@pytest.fixture(autouse=True)
def _loaded_once(loaded, monkeypatch):
    """Loading takes seconds."""

    def load(path, survey):
        return dataclasses.replace(loaded, survey=survey)

    monkeypatch.setattr(survey_products.ParametersModel, "load", load)


@pytest.fixture(scope="module")
def table(reduced):
    with open_stars(reduced[1].stars) as opened:
        return opened.table


def read(path) -> Table:
    return Table.read(path, hdu=2, mask_invalid=False)


def model_of(workspace, name):
    return workspace.data / "models" / f"{name}.keras"


def write_stars(reduced, path, **more):
    survey, workspace = reduced
    model = model_of(workspace, "parameters")
    return write_all_star_astronn(survey, workspace.stars, model, path, **QUIET, **more)


def write_visits(reduced, path, **more):
    survey, workspace = reduced
    options = {"processes": 1, **QUIET, **more}
    return write_all_visit_astronn(survey, workspace, model_of(workspace, "parameters"), path, **options)


def write_distances(reduced, path):
    survey, workspace = reduced
    return write_all_star_astronn_dist(survey, workspace.stars, model_of(workspace, "none"), path, **QUIET)


def test_all_stars_have_a_row_and_those_with_a_spectrum_a_result(reduced, table, loaded, tmp_path):
    product = read(write_stars(reduced, tmp_path / "a.fits.gz"))
    assert list(product["obj"]) == list(table["apogee_id"]) and len(product) == tiny.N_STARS
    np.testing.assert_array_equal(product["status"], table["status"])
    good = np.asarray(table["status"]) == 0
    assert 0 < good.sum() < len(good)
    np.testing.assert_array_equal(np.isfinite(product["teff"]), good)
    np.testing.assert_array_equal(product["result_flags"] & 2048 != 0, ~good)
    np.testing.assert_allclose(product["e_c_1_h"][good], 2 * product["raw_e_c_1_h"][good], rtol=1e-5)
    np.testing.assert_allclose((product["c_1_h"] - product["raw_c_1_h"])[good], 0.25, rtol=1e-4)
    np.testing.assert_array_equal(product["gaia_dr2_source_id"] == -1, np.asarray(table["gaia_source_id"]) == 0)
    assert set(product["release"]) == {"dr14"} and set(product["apred"]) == {"r8"} and set(product["healpix"]) == {-1}
    assert set(product["gaia_dr3_source_id"]) == set(product["task_pk"]) == {-1} and set(product["created"]) == {""}
    with open_stars(reduced[1].stars) as opened:  # the second part, by itself
        model = dataclasses.replace(loaded, survey=reduced[0])
        alone = survey_products._predicted(model, opened.spectra[8:16], 8)
    np.testing.assert_allclose(product["raw_teff"][8:16], alone.label[:, 0], rtol=1e-5)


def test_every_visit_has_a_row_whatever_is_wrong_with_its_file(reduced, table, tmp_path):
    product = read(write_visits(reduced, tmp_path / "v.fits"))
    n_visits = np.asarray(table["n_visits"])
    assert len(product) == n_visits.sum()
    assert list(product["obj"]) == [
        name for name, n in zip(table["apogee_id"], n_visits, strict=True) for _ in range(n)
    ]
    assert list(product["visit"]) == [i + 1 for n in n_visits for i in range(n)]
    star = np.repeat(np.arange(tiny.N_STARS), n_visits)
    assert np.isfinite(product["teff"][star == 19]).all() and (product["status"][star == 19] == 0).all()
    np.testing.assert_allclose((product["fe_h"] - product["raw_fe_h"])[star == 19], 0.25, rtol=1e-4)
    assert (product["status"][star == tiny.CUT] == Status.UNREADABLE).all()
    assert (product["status"][star == tiny.MISSING] == Status.NO_FILE).all()
    assert (product["status"][star == tiny.OTHER_STAR] == Status.WRONG_STAR).all()
    np.testing.assert_array_equal(np.isfinite(product["teff"]), product["status"] == 0)
    np.testing.assert_array_equal(product["result_flags"] & 2048 != 0, product["status"] != 0)
    alone = np.flatnonzero((n_visits == 1) & (np.asarray(table["status"]) == 0))
    assert len(alone) and (product["status"][np.isin(star, alone)] == 0).all()


def test_distances_are_those_of_the_survey_with_each_stars_own_magnitude(reduced, table, tmp_path):
    survey, workspace = reduced
    model = model_of(workspace, "none")
    product = read(write_all_star_astronn_dist(survey, workspace.stars, model, tmp_path / "d.fits.gz", **QUIET))
    with open_stars(workspace.stars) as opened:
        errors, snr = read_error_calibration(model), np.asarray(table["snr"])
        expected = predict_calibrated(
            load_network(model), errors, opened.spectra, snr, survey.inference, progress=False
        )
    np.testing.assert_allclose(product["L_fakemag"], expected.fakemag, rtol=1e-6)
    np.testing.assert_allclose(product["k_mag"], table["k_mag"], rtol=1e-6)
    np.testing.assert_allclose(product["ebv"], np.asarray(table["a_k_mag"]) / 0.3517, rtol=1e-5)
    k0 = np.asarray(table["k_mag"], float) - np.nan_to_num(table["a_k_mag"])
    np.testing.assert_allclose(product["dist"], 1000 * 10 ** (0.2 * k0) / expected.fakemag, rtol=1e-5)
    assert product["result_flags"][tiny.NO_K] & 2 and product["result_flags"][tiny.NO_EXTINCTION] & 4
    assert np.isnan(product["dist"][tiny.NO_K]) and np.isfinite(product["L_fakemag"][tiny.NO_K])


@pytest.mark.parametrize("write", [write_stars, write_visits])
def test_a_killed_run_resumes_to_the_same_bytes(reduced, tmp_path, monkeypatch, write):
    whole = write(reduced, tmp_path / "whole.fits.gz").read_bytes()
    predicted, calls = survey_products._predicted, []

    def dying(*arguments):
        calls.append(arguments[2])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predicted(*arguments)

    path = tmp_path / "killed.fits.gz"
    monkeypatch.setattr(survey_products, "_predicted", dying)
    with pytest.raises(KeyboardInterrupt):
        write(reduced, path)
    assert not path.exists() and (tmp_path / "killed.fits.gz.parts").is_dir()
    assert write(reduced, path).read_bytes() == whole
    step = 8 * (MAX_ROWS if write is write_visits else 1)  # no two visits have the same row
    assert sorted(calls) == [0, step, step, 2 * step]  # what was finished is not predicted again
    assert sorted(file.name for file in tmp_path.iterdir() if not file.name.startswith(".")) == [
        "killed.fits.gz",
        "whole.fits.gz",
    ]
    assert write(reduced, path) == path and len(calls) == 4  # at once: it is current


def test_distances_of_a_killed_run_resume_to_the_same_bytes(reduced, tmp_path, monkeypatch):
    whole = write_distances(reduced, tmp_path / "whole.fits.gz").read_bytes()
    apply = survey_products.predict_calibrated

    def dying(*arguments, parts, **named):
        apply(*arguments, parts=parts, **named)
        assert list(parts.glob("*.npy"))
        raise KeyboardInterrupt

    path = tmp_path / "killed.fits.gz"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(survey_products, "predict_calibrated", dying)
        write_distances(reduced, path)
    parts = tmp_path / "killed.fits.gz.parts"
    for part in parts.glob("*.npy"):
        np.save(part, 0.5 * np.load(part))  # to tell that they are used
    assert write_distances(reduced, path).read_bytes() != whole and not parts.exists()
    path.unlink()
    assert write_distances(reduced, path).read_bytes() == whole


def test_spectra_that_a_killed_run_had_read_are_used(reduced, tmp_path, monkeypatch):
    whole = write_visits(reduced, tmp_path / "whole.fits.gz").read_bytes()
    read_part = survey_products.read_visit_part

    def dying(part, *arguments):
        if part.name.startswith("000000008"):
            raise WorkerDiedError("killed")
        return read_part(part, *arguments)

    path = tmp_path / "killed.fits.gz"
    with monkeypatch.context() as patch:
        patch.setattr(survey_products, "read_visit_part", dying)
        with pytest.raises(ProductError, match=r"died .*killed\.fits\.gz\.parts: run again"):
            write_visits(reduced, path)
    with monkeypatch.context() as patch:
        patch.setattr(survey_products, "_predicted", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write_visits(reduced, path)
    asked = []
    monkeypatch.setattr(
        survey_products, "read_visit_part", lambda part, *more: (asked.append(more[0]), read_part(part, *more))[1]
    )
    assert write_visits(reduced, path).read_bytes() == whole
    assert asked == [16]


def test_processes_give_the_same_bytes(reduced, tmp_path):
    one, two = (write_visits(reduced, tmp_path / f"{n}.fits.gz", processes=n).read_bytes() for n in (1, 2))
    assert one == two


def test_a_cluster_gives_the_same_bytes(reduced, tmp_path):
    distributed = pytest.importorskip("distributed")
    expected = write_visits(reduced, tmp_path / "here.fits.gz").read_bytes()
    here = {"processes": False, "protocol": "tcp://", "host": "127.0.0.1", "dashboard_address": None}
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, **here) as cluster:
        there = write_visits(reduced, tmp_path / "there.fits.gz", scheduler=cluster.scheduler_address)
    assert there.read_bytes() == expected
    with pytest.raises(ProductError, match=r"no Dask scheduler answers at nowhere.*lost\.fits\.parts: run again"):
        write_visits(reduced, tmp_path / "lost.fits", scheduler="nowhere://a")


def test_another_schema_model_or_seed_makes_the_product_anew(reduced, tmp_path):
    path = tmp_path / "a.fits.gz"
    first = write_stars(reduced, path).read_bytes()
    survey = dataclasses.replace(reduced[0], inference=dataclasses.replace(reduced[0].inference, seed=77))
    assert write_stars((survey, reduced[1]), path).read_bytes() != first
    assert "SCHEMA  = 'dev" in write_stars(reduced, tmp_path / "a.fits", schema="dev").read_bytes().decode("latin-1")
    with pytest.raises(ProductError, match="schema must be dr19 or dev, not 'old'"):
        write_stars(reduced, path, schema="old")


def test_a_survey_of_released_spectra_has_no_visits(reduced, tmp_path):
    survey, workspace = reduced
    released = dataclasses.replace(survey, sources=dataclasses.replace(survey.sources, spectra="released"))
    with pytest.raises(ProductError, match="contain no visits"):
        write_visits((released, workspace), tmp_path / "v.fits")


def test_a_missing_model_is_named(reduced, tmp_path):
    survey, workspace = reduced
    with pytest.raises(FileNotFoundError, match=r"nowhere\.keras is not there yet"):
        write_all_star_astronn(survey, workspace.stars, tmp_path / "nowhere.keras", tmp_path / "a.fits", **QUIET)


def test_one_command_writes_all_three(reduced, monkeypatch, capsys):
    survey, workspace = reduced
    monkeypatch.setattr(astra_commands, "load_survey", lambda _: survey)
    monkeypatch.setenv("APOGAIA_ROOT", str(workspace.root))
    assert commands.main(["astra", "tiny", "--processes", "1"]) == 0
    said = capsys.readouterr().out
    for name, rows in (("AllStarAstroNN", 20), ("AllVisitAstroNN", 40), ("AllStarAstroNNDist", 20)):
        path = workspace.astra_product(name)
        assert f"{path} is complete" in said and len(read(path)) == rows
        assert path.name.startswith(f"astra{name}-") and path.name.endswith(".fits.gz")


def test_labels_are_those_of_one_call_and_the_header_states_its_own_passes(reduced, tmp_path, loaded):
    survey, workspace = reduced
    model = model_of(workspace, "parameters")
    path = write_all_star_astronn(survey, workspace.stars, model, tmp_path / "a.fits", **QUIET)
    with open_stars(workspace.stars) as stars:
        raw = dataclasses.replace(loaded, survey=survey).predict_raw(stars.spectra, progress=False)
    table = Table.read(path, hdu=2)
    np.testing.assert_array_equal(table["raw_teff"], raw.label[:, 0].astype(np.float32))
    np.testing.assert_array_equal(table["raw_e_mg_h"], raw.total_error[:, LABELS.index("mg_h")].astype(np.float32))
    assert survey.parameters.passes != survey.inference.passes
    assert fits.getval(path, "NPASSES", 2) == survey.parameters.passes
    model = model_of(workspace, "none")
    path = write_all_star_astronn_dist(survey, workspace.stars, model, tmp_path / "d.fits", **QUIET)
    assert fits.getval(path, "NPASSES", 2) == survey.inference.passes
