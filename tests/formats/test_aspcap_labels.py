"""Labels of ASPCAP: [X/H] in the network's order, and everything that is no label is NaN."""

import dataclasses

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from apogaia.formats.aspcap_labels import read_aspcap_labels
from apogaia.formats.fits_columns import ReductionError
from apogaia.formats.releases import RELEASES
from apogaia.formats.stars_h5_columns import ELEMENTS, LABELS
from apogaia.simulate.design import design_survey
from apogaia.simulate.files import write_tables
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

NAMES = {element: "FE_H" if element == "Fe" else f"{element.upper()}_FE" for element in ELEMENTS}


def allstar(n=4):
    """[X/Fe] of element k of star i is 0.01 k + 0.1 i, [Fe/H] is -0.5 + 0.1 i."""
    star = np.arange(n)
    table = Table(
        {"TEFF": 4500.0 + star, "TEFF_ERR": np.full(n, 30.0), "LOGG": 2.0 + star, "LOGG_ERR": np.full(n, 0.1)}
    )
    for k, name in enumerate(NAMES.values()):
        table[name] = (-0.5 if name == "FE_H" else 0.01 * k) + 0.1 * star
        table[f"{name}_ERR"] = np.full(n, 0.01 * (k + 1))
        table[f"{name}_FLAG"] = np.zeros(n, np.int32)
    table["ASPCAPFLAG"] = np.zeros(n, np.int32)
    return table


@pytest.fixture
def read(tmp_path):
    def written(table, release="dr14"):
        table.write(tmp_path / "allStar.fits", overwrite=True)
        return read_aspcap_labels(tmp_path / "allStar.fits", RELEASES[release])

    return written


def test_labels_are_x_over_h_in_the_order_of_the_network(read):
    labels = read(allstar())
    assert [name for name in labels.colnames if name in LABELS] == list(LABELS)
    assert set(labels.colnames) == {*LABELS, *(f"{label}_error" for label in LABELS), "aspcapflag"}
    star = np.arange(4)
    assert labels["teff"] == pytest.approx(4500 + star) and labels["logg"] == pytest.approx(2 + star)
    for k, element in enumerate(ELEMENTS):
        label = f"{element.lower()}_h"
        expected = -0.5 + 0.1 * star + (0 if element == "Fe" else 0.01 * k + 0.1 * star)
        assert labels[label] == pytest.approx(expected, abs=1e-6), element
        assert labels[f"{label}_error"] == pytest.approx(np.full(4, 0.01 * (k + 1)))


TRAPS = {
    "the fill of DR14": ("MG_FE", -9999.0),
    "the fill of DR16": ("MG_FE", -9999.99),
    "not a number": ("MG_FE", np.nan),
    "not finite": ("MG_FE", np.inf),
    "a fill in the error": ("MG_FE_ERR", -9999.0),
    "the fill of errors in DR16": ("MG_FE_ERR", -999.99),
    "no error": ("MG_FE_ERR", 0.0),
    "an error that is no number": ("MG_FE_ERR", np.nan),
    "a warning": ("MG_FE_FLAG", 1 << 9),
    "a bad fit": ("MG_FE_FLAG", 1),
    "a placeholder of the flag": ("MG_FE_FLAG", 999999),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_what_is_no_label_is_nan_with_its_error(read, trap):
    column, value = TRAPS[trap]
    table = allstar()
    table[column][1] = value
    labels = read(table)
    for name in ("mg_h", "mg_h_error"):
        assert np.isnan(labels[name]).tolist() == [False, True, False, False]
    others = [name for name in labels.colnames if not name.startswith("mg_h")]
    assert all(np.isfinite(labels[name]).all() for name in others)


@pytest.mark.parametrize("column", ["TEFF", "LOGG", "TEFF_ERR", "LOGG_ERR"])
@pytest.mark.parametrize("fill", [-9999.0, -9999.99, np.nan])
def test_fills_of_teff_and_logg(read, column, fill):
    table = allstar()
    table[column][2] = fill
    name = column.removesuffix("_ERR").lower()
    labels = read(table)
    assert np.isnan(labels[name][2]) and np.isnan(labels[f"{name}_error"][2])
    assert sum(np.isnan(np.asarray(labels[column])).sum() for column in labels.colnames) == 2


def test_without_iron_no_element_is_known_and_a_flag_of_iron_is_about_iron(read):
    table = allstar()
    table["FE_H"][0] = -9999.99
    table["FE_H_FLAG"][1] = 512
    labels = read(table)
    elements = [f"{element.lower()}_h" for element in ELEMENTS]
    assert all(np.isnan(labels[name][0]) for name in elements)
    assert [name for name in elements if np.isnan(labels[name][1])] == ["fe_h"]
    assert np.isfinite(labels["teff"]).all()


def test_flags_are_kept_and_an_unknown_one_is_none(read):
    table = allstar()
    table["ASPCAPFLAG"] = np.array([0, 1 << 23, -9999, 8], np.int64)
    assert read(table)["aspcapflag"].tolist() == [0, 1 << 23, -1, 8]


def test_missing_columns_are_named_at_once_and_dr19_has_none(read):
    table = allstar()
    table.remove_columns(["NI_FE", "P_FE_ERR", "ASPCAPFLAG"])
    with pytest.raises(ReductionError, match=r"allStar\.fits has no column NI_FE, P_FE_ERR, ASPCAPFLAG"):
        read(table)
    table = allstar()
    table["MG_FE"] = np.zeros((4, 2))
    with pytest.raises(ReductionError, match=r"column MG_FE holds 2 values a row"):
        read(table)
    with pytest.raises(ReductionError, match="not in this release's table"):
        read(allstar(), "dr19")


@pytest.mark.parametrize("name", ["allStar-l31c.2-rows-DR14-binaries.fits", "allStar-rows-DR16.fits"])
def test_real_rows_have_labels_and_no_placeholder(realdata, name):
    """The sums of the named columns are the array X_H, where the survey recommends the value."""
    labels = read_aspcap_labels(realdata / name)
    with fits.open(realdata / name) as hdus:
        x_h, x_h_error = (np.asarray(hdus[1].data[column], float) for column in ("X_H", "X_H_ERR"))
        flag = np.asarray(hdus[1].data["ELEMFLAG"])
    for k, element in enumerate(ELEMENTS):
        value, error = (np.asarray(labels[f"{element.lower()}_h{end}"]) for end in ("", "_error"))
        known = np.isfinite(value)
        assert known.any() and np.array_equal(known, np.isfinite(error))
        assert np.abs(value[known]).max() < 5 and error[known].min() > 0 and error[known].max() < 5
        assert value[known] == pytest.approx(x_h[known, k], abs=1e-6)
        assert error[known] == pytest.approx(x_h_error[known, k])
        assert not np.isin(flag[known, k], [0, 999999], invert=True).any()
    assert np.nanmin(labels["teff"]) > 3000 and np.nanmin(labels["logg"]) > -1


@pytest.mark.parametrize("name", ["smoke", "smoke-dr17"])
def test_simulated_surveys_have_labels(tmp_path, name):
    survey = load_survey(name)
    survey = dataclasses.replace(survey, simulation=dataclasses.replace(survey.simulation, n_stars=60))
    workspace, design = Workspace(survey, tmp_path), design_survey(survey)
    write_tables(design, workspace)
    labels = read_aspcap_labels(workspace.allstar, workspace.release)
    known = np.isfinite(labels["mg_h"])
    assert len(labels) == 60 and known.mean() > 0.8
    truth = np.asarray(design.stars["teff"])
    assert np.nanmedian(np.abs(labels["teff"] - truth)) < 150
