"""Tables of a survey: labels under any of their names, and memory that does not grow with columns nobody reads."""

import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import tiny_survey as tiny
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning
from astropy.table import Table
from mutations import mutate_table

from apogaia.formats import fits_columns, survey_tables
from apogaia.simulate.design import design_survey
from apogaia.simulate.files import write_tables
from apogaia.survey import load_survey
from apogaia.workspace import Workspace


def label_table(n=3):
    """A catalogue as DR17's: label k of star i is 100 i + k."""
    table = Table({"APOGEE_ID": [f"2M{i}" for i in range(n)]})
    for k, label in enumerate(survey_tables.LABELS):
        table[label.upper()] = np.arange(n) * 100.0 + k
        table[f"{label.upper()}_ERR"] = np.full(n, 0.01 * (k + 1), np.float32)
    return table


def read_labels(table, path):
    table.write(path, overwrite=True)
    return survey_tables.read_stellar_parameters(path, Table({"apogee_id": [f"2M{i}" for i in range(len(table))]}))


def test_both_forms_of_the_catalogue_give_the_same_labels(tmp_path):
    single = label_table()
    values = np.stack([single[label.upper()] for label in survey_tables.LABELS], axis=1)
    errors = np.stack([single[f"{label.upper()}_ERR"] for label in survey_tables.LABELS], axis=1)
    arrays = Table({"APOGEE_ID": single["APOGEE_ID"], "astroNN": values, "astroNN_error": errors})
    first, second = read_labels(single, tmp_path / "a.fits"), read_labels(arrays, tmp_path / "b.fits")
    assert first.colnames and set(first.colnames) == set(second.colnames)
    for name in first.colnames:
        np.testing.assert_array_equal(first[name], second[name])
    assert first["tiii_h"][2] == 215 and first["ci_h_error"][0] == pytest.approx(0.04)


@pytest.mark.parametrize("carbon, titanium", [("C1_H", "TI2_H"), ("C_1_H", "TI_2_H"), ("c_1_h", "ti2_h")])
@pytest.mark.parametrize("error", ["{}_ERR", "E_{}"])
def test_known_spellings_of_labels(tmp_path, carbon, titanium, error):
    table = label_table()
    for old, new in (("CI_H", carbon), ("TIII_H", titanium)):
        table.rename_columns([old, f"{old}_ERR"], [new, error.format(new)])
    labels = read_labels(table, tmp_path / "catalogue.fits")
    assert labels["ci_h"][1] == 103 and labels["tiii_h"][1] == 115 and labels["tiii_h_error"][0] > 0


@pytest.mark.parametrize("name", ["TIII_H", "CI_H_ERR", "TEFF_ERR"])
def test_a_label_that_is_missing_or_never_filled_is_an_error(tmp_path, name):
    table = label_table()
    table.remove_column(name)
    with pytest.raises(fits_columns.ReductionError, match=rf"no column {name}"):
        read_labels(table, tmp_path / "catalogue.fits")
    for unknown in (np.nan, -9999.0):
        table = label_table()
        table[name] = np.full(3, unknown)
        with pytest.raises(fits_columns.ReductionError, match=f"column {name} holds no value"):
            read_labels(table, tmp_path / "catalogue.fits")
    table[name][1] = 5.0
    assert np.isnan(read_labels(table, tmp_path / "catalogue.fits")[name.lower().replace("err", "error")][[0, 2]]).all()


def test_all_missing_columns_are_named_at_once_with_those_that_may_be_unknown(tmp_path):
    _, workspace = tiny.write_tiny_survey(tmp_path)

    def fault(read, path, *names):
        table = Table.read(path)
        table.remove_columns(names)
        table.write(path, overwrite=True)
        with pytest.raises(fits_columns.ReductionError) as caught:
            read(path)
        return str(caught.value)

    said = fault(survey_tables.read_allstar, workspace.allstar, "SNR", "AK_TARG", "K", "GLON")
    assert said.startswith(f"{workspace.allstar} has no columns SNR, KS or K, AK_TARG: fetch or make it again.")
    assert "own AK_TARG may hold NaN in every row, and TELESCOPE, FIELD," in said and "GLON, GLAT" in said
    assert said.endswith("may be absent: data/README.md says what is then left out")
    said = fault(survey_tables.read_gaia, workspace.gaia, "parallax", "pmra", "visibility_periods_used", "bp_rp")
    assert " has no columns PMRA, PARALLAX, VISIBILITY_PERIODS_USED: " in said
    assert "own PMRA may hold NaN in every row, and PHOT_G_MEAN_MAG, " in said and "BP_RP" in said.partition("and")[2]
    said = fault(survey_tables.read_gaia, workspace.gaia, "parallax_error")
    assert " PARALLAX, PARALLAX_ERROR, " in said


def test_all_missing_labels_are_named_at_once(tmp_path):
    table = label_table()
    table.remove_columns(["MG_H", "CI_H_ERR", "NI_H"])
    with pytest.raises(
        fits_columns.ReductionError, match=r"no columns CI_H_ERR or .*, MG_H, NI_H: .*values may be NaN.*astroNN_error"
    ):
        read_labels(table, tmp_path / "catalogue.fits")
    with pytest.raises(fits_columns.ReductionError, match="no columns astroNN, astroNN_error: "):
        read_labels(table["APOGEE_ID", "LOGG"], tmp_path / "catalogue.fits")


@pytest.mark.parametrize("names", [("bp_rp",), ("bp_rp", "phot_g_mean_mag", "pmra_error", "astrometric_chi2_al")])
def test_what_the_luminosity_does_not_need_may_be_absent_from_gaias_table(tmp_path, names):
    _, workspace = tiny.write_tiny_survey(tmp_path)
    whole, table = survey_tables.read_gaia(workspace.gaia), Table.read(workspace.gaia)
    table.remove_columns(names)
    table.write(workspace.gaia, overwrite=True)
    read = survey_tables.read_gaia(workspace.gaia)
    ours = {name.replace("phot_g_mean_mag", "g_mag") for name in names}
    for name in whole.colnames:
        if name in ours:
            assert np.isnan(read[name]).all()
        else:
            np.testing.assert_array_equal(read[name], whole[name])


def test_labels_of_another_star_are_an_error(tmp_path):
    table = label_table()
    table["APOGEE_ID"][2] = "2M7"
    with pytest.raises(fits_columns.ReductionError, match="row 2 is 2M7"):
        read_labels(table, tmp_path / "catalogue.fits")


READER = """
import re, sys
from pathlib import Path
from apogaia import files
from apogaia.formats import survey_tables
survey_tables.BLOCK_ROWS = 1000
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024
def read(path):
    table = survey_tables.read_allstar(path)
    survey_tables.read_stellar_parameters(path, table)
    files.fingerprint({}, [path])
    return len(table)
read(sys.argv[1])
before = peak()
print(read(sys.argv[2]), peak() - before)
"""


def test_of_a_large_table_only_what_is_needed_is_in_memory(tmp_path):
    """400 MB on the disk, of which 2 % is read; peak memory [MiB] beyond that for a small file."""
    names = [name for names in survey_tables.ALLSTAR_COLUMNS.values() for name in names[-1:]]
    texts = ("APOGEE_ID", "TELESCOPE", "FIELD", "FILE")
    labels = [(name, ">f4", 22) for name in ("astroNN", "astroNN_error")]
    columns = [(name, "S4" if name in texts else ">f4") for name in names]
    dtype = np.dtype([("UNREAD", ">f4", 5000), *columns, *labels])
    paths = []
    for rows in (10, 20_000):
        header = fits.BinTableHDU(np.zeros(1, dtype)).header
        header["NAXIS2"] = rows
        paths.append(tmp_path / f"{rows}.fits")
        with open(paths[-1], "wb") as file:
            file.write(f"{fits.PrimaryHDU().header.tostring()}{header.tostring()}".encode())
            file.truncate(file.tell() + -(-rows * dtype.itemsize // 2880) * 2880)
    child = subprocess.run([sys.executable, "-c", READER, *map(str, paths)], capture_output=True, text=True, check=True)
    rows, growth = child.stdout.split()
    assert int(rows) == 20_000 and paths[-1].stat().st_size > 4e8
    assert float(growth) < 100


def test_a_table_read_in_blocks_is_that_read_at_once(tmp_path, monkeypatch):
    _, workspace = tiny.write_tiny_survey(tmp_path)
    whole = survey_tables.read_allstar(workspace.allstar)
    monkeypatch.setattr(survey_tables, "BLOCK_ROWS", 7)
    pieces = survey_tables.read_allstar(workspace.allstar)
    assert pieces.colnames == whole.colnames and len(pieces) == tiny.N_STARS
    for name in whole.colnames:
        assert pieces[name].dtype == whole[name].dtype
        np.testing.assert_array_equal(pieces[name], whole[name])


def test_an_unknown_release_of_gaia_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"release must be one of dr2, edr3.*, not 'DR2'"):
        survey_tables.read_gaia(tmp_path / "gaia.fits", "DR2")


@pytest.fixture(scope="module")
def sdss_v(tmp_path_factory):
    """Tables of DR19, simulated: path of each, and what reads it."""
    survey = load_survey("smoke-dr19")
    survey = replace(survey, simulation=replace(survey.simulation, n_stars=30))
    workspace = Workspace(survey, tmp_path_factory.mktemp("dr19"))
    write_tables(design_survey(survey), workspace)
    return workspace


def table_readers(kind, root, sdss_v):
    """A good table, the HDU that it is in, and what reads it."""
    if kind.startswith("sdss_v"):
        release = sdss_v.release
        if kind == "sdss_v allstar":
            return sdss_v.allstar, 2, lambda path: survey_tables.read_allstar(path, release)
        allstar = survey_tables.read_allstar(sdss_v.allstar, release)
        read = lambda path: survey_tables.read_stellar_parameters(path, allstar, release)  # noqa: E731
        return sdss_v.stellar_parameters, 2, read
    _, workspace = tiny.write_tiny_survey(root)
    allstar = survey_tables.read_allstar(workspace.allstar)
    return {
        "allstar": (workspace.allstar, 1, survey_tables.read_allstar),
        "gaia": (workspace.gaia, 1, survey_tables.read_gaia),
        "labels": (
            workspace.stellar_parameters,
            1,
            lambda path: survey_tables.read_stellar_parameters(path, allstar),
        ),
    }[kind]


def is_known_or_unknown(good, found):
    """Where a value is the good file's, or unknown; a text with a letter that is not ASCII may differ."""
    if good.dtype.kind == "f":
        return np.isnan(found) | np.isclose(good, found, rtol=2e-7, atol=0)
    if good.dtype.kind in "iu":
        return (found == good) | np.isin(found, (0, -1))
    return (good == found) | np.isin(found, ("", "apo25m")) | (np.char.find(found.astype(str), "nig") >= 0)


@pytest.mark.parametrize("kind", ["allstar", "gaia", "labels", "sdss_v allstar", "sdss_v labels"])
def test_a_hundred_mutated_tables_are_refused_by_name_or_read_right_or_unknown(tmp_path, sdss_v, kind):
    source, hdu, read = table_readers(kind, tmp_path, sdss_v)
    good, path, refused = read(source), tmp_path / "mutated.fits", 0
    for seed in range(100):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of astropy, about what is written here
            done = mutate_table(source, path, np.random.default_rng([seed, len(kind)]), hdu)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", VerifyWarning)  # names the odd column
            warnings.simplefilter("ignore", ResourceWarning)
            try:
                found = read(path)
            except fits_columns.ReductionError as fault:
                assert path.name in str(fault) and "\n" not in str(fault), done
                refused += 1
                continue
        assert len(found) == len(good), done
        for name in good.colnames:
            assert is_known_or_unknown(np.asarray(good[name]), np.asarray(found[name])).all(), (done, name)
    assert 10 < refused < 90
