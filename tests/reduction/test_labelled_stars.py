"""stars.h5 with other labels: everything else, and the spectra, are those of stars.h5."""

import shutil

import numpy as np
import pytest
from astropy.table import Table

from apogaia.formats.releases import RELEASES
from apogaia.formats.stars_h5_columns import COLUMNS, LABELS
from apogaia.reduction import stars_h5
from apogaia.reduction.labelled_stars import LABEL_COLUMNS, label_with_aspcap, write_labelled_stars

N = 7


@pytest.fixture
def stars(tmp_path):
    rng = np.random.default_rng(4)
    texts = {"apogee_id": [f"2M{i}" for i in range(N)], "reason": ["", "größer", *[""] * (N - 2)]}
    table = Table()
    for column in COLUMNS:
        values = texts.get(column.name, [""] * N) if column.kind == "U" else rng.integers(1, 99, N)
        table[column.name] = np.asarray(values).astype(str if column.kind == "U" else column.kind)
    path = tmp_path / "survey" / "stars.h5"
    path.parent.mkdir()
    stars_h5.write_stars(path, table, [rng.normal(1, 0.1, (N, 7514)).astype(np.float32)])
    return path


def labels(seed=5):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(1, 0.1, N) for name in LABEL_COLUMNS}


def test_labels_alone_are_others(stars):
    given, path = labels(), stars.with_name("labelled_stars.h5")
    given["mg_h_error"][2] = np.nan
    given["teff"][3] = np.nan
    write_labelled_stars(path, stars, path, given)
    with stars_h5.open_stars(path) as new, stars_h5.open_stars(stars) as old:
        assert new.table.colnames == old.table.colnames
        for name in set(new.table.colnames) - set(LABEL_COLUMNS):
            assert np.array_equal(new.table[name], old.table[name]), name
            assert new.table[name].unit == old.table[name].unit
        np.testing.assert_array_equal(new.spectra[:], old.spectra[:])
        np.testing.assert_array_equal(new.spectra_of(np.array([1, 4])), old.spectra[:][[1, 4]])
        for label in LABELS:
            known = np.isfinite(given[label]) & np.isfinite(given[f"{label}_error"])
            for name in (label, f"{label}_error"):
                wanted = np.where(known, given[name], np.nan).astype(np.float32)
                np.testing.assert_array_equal(new.table[name], wanted)
        assert np.isnan(new.table["mg_h"][2]) and np.isnan(new.table["teff_error"][3])


def test_the_two_files_can_be_moved_together_and_a_missing_one_is_named(stars, tmp_path):
    path = stars.with_name("labelled_stars.h5")
    write_labelled_stars(stars.with_name(".temporary.h5"), stars, path, labels())
    stars.with_name(".temporary.h5").rename(path)
    moved = tmp_path / "moved"
    shutil.move(stars.parent, moved)
    with stars_h5.open_stars(moved / path.name) as opened:
        assert np.isfinite(opened.spectra[:]).all()
    (moved / "stars.h5").unlink()
    gone = "labelled_stars.h5: stars.h5, which has its spectra, is missing"
    with pytest.raises(FileNotFoundError, match=gone), stars_h5.open_stars(moved / path.name):
        pass


def test_labels_that_are_missing_or_of_other_stars_are_refused(stars):
    path, given = stars.with_name("labelled_stars.h5"), labels()
    fewer = {name: values for name, values in given.items() if name != "ni_h"}
    with pytest.raises(ValueError, match="labels lack ni_h"):
        write_labelled_stars(path, stars, path, fewer)
    with pytest.raises(ValueError, match=r"c_h has the shape \(3,\), but .*stars.h5 has 7 stars"):
        write_labelled_stars(path, stars, path, given | {"c_h": np.ones(3)})


def test_the_labels_of_aspcap_are_those_of_its_reader(stars, tmp_path, monkeypatch):
    given, path = labels(), stars.with_name("labelled_stars.h5")
    asked = []

    def read(allstar, release):
        asked.append((allstar, release))
        return Table(given)

    monkeypatch.setattr("apogaia.reduction.labelled_stars.read_aspcap_labels", read)
    label_with_aspcap(path, stars, path, tmp_path / "allStar.fits", RELEASES["dr17"])
    assert asked == [(tmp_path / "allStar.fits", RELEASES["dr17"])]
    with stars_h5.open_stars(path) as opened:
        np.testing.assert_array_equal(opened.table["co_h"], given["co_h"].astype(np.float32))
