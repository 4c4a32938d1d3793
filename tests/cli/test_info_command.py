"""``apogaia info``: files are told by what they hold."""

import gzip

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from catalogue_rows import prediction, stars
from parameter_models import write_luminosity_model, write_parameters_model
from real_files import APSTAR
from tiny_survey import spectra, write_apstar

from apogaia.cli.commands import main
from apogaia.distances.catalogue import build_catalogue, provenance, write_catalogue
from apogaia.reduction.stars_h5 import write_stars
from apogaia.survey import load_survey


@pytest.fixture
def said(capsys):
    def of(*paths, code=0):
        assert main(["info", *map(str, paths)]) == code
        output = capsys.readouterr()
        return output.err if code else output.out

    return of


TAUGHT = {
    "gradient_stars": 90,
    "validation_stars": 10,
    "seed": 3,
    "history": {"loss": [1.0, 0.5]},
    "versions": {"keras": "3.0"},
}


def test_a_model_says_what_taught_it(tmp_path, said):
    survey = load_survey("smoke")
    text = said(write_luminosity_model(tmp_path / "none.keras", survey))
    assert text.startswith(f"{tmp_path / 'none.keras'}: a model of apogaia: luminosities, zero point: none\n")
    assert survey.title in text and "simulated stars: not for use on real ones" in text
    assert "no star is flagged as outside" in text
    text = said(write_parameters_model(tmp_path / "p.keras", survey, **TAUGHT))
    assert "a model of apogaia: Teff, log g and abundances" in text
    assert "trained on 90 stars, validated on 10, 2 epochs, seed 3" in text and "written by keras 3.0" in text
    (tmp_path / "other.keras").write_text("no archive")
    assert "not a model that apogaia wrote" in said(tmp_path / "other.keras", code=2)


@pytest.mark.parametrize(("fixed", "how"), [(False, "refit of 500 stars"), (True, "stated in the survey file")])
def test_a_models_zero_point_comes_with_its_origin(tmp_path, said, fixed, how):
    calibration = {"fixed": fixed, "stars": 500, "value_uas": -51.94, "error_uas": 4.06}
    model = write_parameters_model(tmp_path / "calibrated.keras", calibration=calibration)
    assert f"zero point -51.9 +- 4.1 uas ({how})" in said(model)


def test_a_published_network_is_not_said_to_be_trained_here(tmp_path, said):
    model = write_parameters_model(tmp_path / "p.keras", imported={"layout": "a model folder"})
    assert "a published network, a model folder; spectra as in survey smoke" in (text := said(model))
    assert "trained on" not in text


def test_a_catalogue_counts_its_flags(tmp_path, said):
    survey = load_survey("smoke")
    table = stars(4, k_mag=np.float32([10.1, np.nan, 10.1, 10.1]))
    catalogue = build_catalogue(table, prediction([20, 20, 20, np.nan]), -0.05, survey.inference)
    (tmp_path / "m.keras").write_text("x")
    write_catalogue(catalogue, tmp_path / "c.fits", provenance(survey, tmp_path / "m.keras", -0.05))
    text = said(tmp_path / "c.fits")
    assert "a catalogue of apogaia: 4 rows, 2 with a distance, 2 of these without a bad flag" in text
    assert f"survey smoke: {survey.title}" in text and "zero point -50.0 uas" in text
    assert "       1 MISSING_PHOTOMETRY: no Ks" in text and "NO_GAIA_MATCH" not in text


def test_stars_h5_counts_what_became_of_the_spectra(tmp_path, said):
    from apogaia.formats.stars_h5_columns import COLUMNS

    n = 3
    table = Table({c.name: np.zeros(n, c.kind if c.kind != "str" else "U1") for c in COLUMNS})
    table["status"] = [0, 0, 1]
    write_stars(tmp_path / "stars.h5", table, [np.ones((n, 7514), np.float32)])
    text = said(tmp_path / "stars.h5")
    assert "of 3 stars, 7514 pixels each" in text and "2 OK: spectrum is good" in text and "1 NO_FILE" in text


@pytest.mark.parametrize("layout", ["dr14", "dr17"])
def test_a_spectrum_shows_what_distances_need(tmp_path, said, layout):
    path = tmp_path / "apStar-r8-2M00000000+0000000.fits"
    write_apstar(path, "2M00000000+0000000", *(array[0] for array in spectra(1)), visits=3, layout=layout)
    text = said(path)
    assert "the spectrum of 2M00000000+0000000, 3 visits combined" in text
    assert "SNR 100, Ks 10.000 mag, A(Ks) unknown" in text
    with gzip.open(f"{path}.gz", "wb") as packed:
        packed.write(path.read_bytes())
    assert "3 visits combined" in said(f"{path}.gz")


def test_a_placeholder_is_unknown(tmp_path, said):
    path = tmp_path / "apStar-r8-2M00000000+0000000.fits"
    write_apstar(path, "2M00000000+0000000", *(array[0] for array in spectra(1)))
    fits.setval(path, "AKTARG", value=-9999.99)
    fits.setval(path, "K", value=99.999)
    fits.setval(path, "SNR", value="NaN")
    assert "SNR unknown, Ks unknown, A(Ks) unknown" in (text := said(path)) and "a single visit" in text


@pytest.mark.parametrize("name", APSTAR)
def test_real_spectra_are_known(realdata, said, name):
    assert f"the spectrum of {name[10:28]}, " in said(realdata / name)


def test_real_allstar_rows_are_known(realdata, said):
    assert "an allStar file: 322 rows" in said(realdata / "allStar-l31c.2-rows-DR14-binaries.fits")


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        (("SOURCE_ID", "PARALLAX"), "a table of Gaia sources: 2 rows, 2 columns"),
        (("APOGEE_ID", "RC_DIST"), "APOGEE-RC, a catalogue of distances: 2 rows, 2 columns"),
        (("ASTRONN", "ASTRONN_ERROR"), "stellar parameters and abundances, in the format of astroNN's catalogue"),
        (("[Fe/H]", "AGE"), "of no kind known to apogaia\n    a table: 2 rows, columns [fe/h], age"),
    ],
)
def test_tables_are_told_by_their_columns(tmp_path, said, columns, what, capsys):
    hdu = fits.BinTableHDU.from_columns([fits.Column(name, "D", array=np.ones(2)) for name in columns])
    hdu.writeto(tmp_path / "t.fits", output_verify="silentfix")
    assert what in said(tmp_path / "t.fits")


def test_a_survey_file_is_summed_up(tmp_path, said):
    (tmp_path / "my.toml").write_text('extends = "smoke"\ntitle = "mine"\n')
    text = said(tmp_path / "my.toml")
    assert "a survey file: mine" in text and "raw files: simulated, APOGEE dr14 + Gaia dr2" in text
    assert "600 simulated stars" in text


@pytest.mark.parametrize("suffix", ["ecsv", "csv"])
def test_text_tables_and_names_of_surveys_are_known(tmp_path, said, suffix):
    path = tmp_path / f"t.{suffix}"
    columns = {"apogee_id": ["a"], "dist": [1.0], "dist_error": [0.1], "fakemag": [2.0], "flags": [0]}
    Table(columns).write(path, format=f"ascii.{suffix}")
    assert "this work, a catalogue of distances: 1 rows" in said(path)
    Table({"a": [1, 2]}).write(path, format=f"ascii.{suffix}", overwrite=True)
    assert "a table with 2 rows" in said(path)
    assert f"a survey file: {load_survey('smoke').title}" in said("smoke")


def test_what_is_unknown_is_said_and_the_others_are_told(tmp_path, said, capsys):
    (tmp_path / "x.fits").write_text("no FITS")
    (tmp_path / "my.toml").write_text('extends = "smoke"\ntitle = "mine"\n')
    assert main(["info", *(str(tmp_path / name) for name in ("x.fits", "x.txt", "my.toml"))]) == 2
    output = capsys.readouterr()
    assert "not a FITS file" in output.err and "x.txt: no such file" in output.err and "mine" in output.out
    (tmp_path / "x.txt").touch()
    assert "reads files that end in .keras, .h5, .toml, .fits, .ecsv, .csv" in said(tmp_path / "x.txt", code=2)
