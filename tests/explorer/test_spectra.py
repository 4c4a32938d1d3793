"""Whose spectra the page holds, and whether they are those stars'."""

import hashlib
import re

import explorer_files
import numpy as np
import pytest

from apogaia.explorer.spectra import choose_stars, find_model, read_spectra
from apogaia.explorer.table import read_table, sampled
from apogaia.survey import load_survey

MAPS = load_survey("smoke").maps


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return read_table(explorer_files.write_catalogue(tmp_path_factory.mktemp("explorer")), MAPS)


def test_stars_are_chosen_from_each_cell_before_a_second_of_any(table):
    available = np.ones(len(table), bool)
    available[20:40] = False
    good = np.flatnonzero(available & ~table.bad)
    cells = np.column_stack([table.values("teff") // 250, table.values("logg") // 0.25])
    n_cells = len(np.unique(cells[good], axis=0))
    rows = choose_stars(table, available, n_cells)
    assert len(np.unique(cells[rows], axis=0)) == n_cells and set(rows) <= set(good)
    for row in rows:
        mates = [other for other in good if np.array_equal(cells[other], cells[row])]
        assert table.values("snr")[row] == table.values("snr")[mates].max()
    assert np.array_equal(choose_stars(table, available, 10**6), good)
    assert not len(choose_stars(table, np.zeros(len(table), bool), 5))


@pytest.mark.parametrize("reversed_rows", [False, True])
def test_each_spectrum_is_that_of_its_star(tmp_path, table, reversed_rows):
    order = np.arange(len(table))[::-1] if reversed_rows else None
    path = explorer_files.write_stars_h5(tmp_path, order)
    few = sampled(table, 120)
    found = read_spectra(few, path, None, 30, [17])
    assert 30 <= len(found.rows) <= 31 and 17 in found.rows and found.sensitivity is None
    flux = explorer_files.spectra()
    for row, one in zip(found.rows, found.flux, strict=True):
        assert np.array_equal(one, flux[few.rows[row]]) or few.rows[row] in explorer_files.REPEATED


def test_a_star_without_a_spectrum_cannot_be_asked_for(tmp_path, table):
    path = explorer_files.write_stars_h5(tmp_path)
    with pytest.raises(ValueError, match=re.escape(f"no spectrum of {table.ids[explorer_files.NO_SPECTRUM]}")):
        read_spectra(table, path, None, 3, [explorer_files.NO_SPECTRUM])
    assert explorer_files.NO_SPECTRUM not in read_spectra(table, path, None, 300).rows


def test_the_sensitivity_is_the_models_jacobian(tmp_path, table):
    from apogaia.model.jacobian import jacobian
    from apogaia.model.model_file import load_network

    model = explorer_files.write_model(tmp_path)
    found = read_spectra(table, explorer_files.write_stars_h5(tmp_path), model, 4)
    assert found.model == "calibrated.keras"
    assert found.sensitivity == pytest.approx(jacobian(load_network(model), found.flux))


def test_the_model_is_the_one_that_made_the_catalogue(tmp_path):
    (tmp_path / "calibrated.keras").write_bytes(b"a")
    (tmp_path / "constant.keras").write_bytes(b"b")
    assert find_model(tmp_path, hashlib.sha256(b"b").hexdigest()).name == "constant.keras"
    assert find_model(tmp_path, hashlib.sha256(b"c").hexdigest()) is None
    assert find_model(tmp_path, None).name == "calibrated.keras"
    assert find_model(tmp_path / "absent", None) is None
