"""``apogaia explore``: what it writes where, and what it refuses in one line."""

import shutil

import explorer_files
import pytest

from apogaia.cli.commands import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    explorer_files.write_catalogue(folder)
    explorer_files.write_stars_h5(folder)
    explorer_files.write_parameters(folder)
    return folder


def test_a_catalogue_becomes_a_page_with_spectra_and_abundances(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    star = explorer_files.star_rows()["apogee_id"][42]
    assert main(["explore", str(folder / "apogee_nn_dist.fits"), "--spectra", "20", "--star", star]) == 0
    said = capsys.readouterr()
    assert "written: explorer.html, 300 stars, 2" in said.out
    assert "does not hold the model that the catalogue was made with" in said.err  # there is none
    page = (tmp_path / "explorer.html").read_text(encoding="utf-8")
    assert page.count('id="data-spectrum-') in (20, 21) and 'id="data-spectrum-42"' in page
    assert "[Mg/Fe]" in page and "Simulated survey" in page


def test_a_survey_is_named_and_its_page_is_in_its_folder(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("APOGAIA_ROOT", str(tmp_path))
    assert main(["explore", "smoke"]) == 2
    assert "make all SURVEY=smoke" in capsys.readouterr().err
    shutil.copytree(folder, tmp_path / "data" / "smoke")
    assert main(["explore", "smoke", "--spectra", "0", "--stars", "100", "--parameters", "none"]) == 0
    page = (tmp_path / "build" / "smoke" / "explorer.html").read_text(encoding="utf-8")
    assert "A random sample of 100 of the 300 rows" in page and "[Mg/Fe]" not in page
    assert "apogaia explore smoke --parameters none" in page


def test_without_stars_h5_the_page_says_that_it_has_no_spectra(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    path = explorer_files.write_catalogue(tmp_path)
    assert main(["explore", str(path)]) == 0
    assert "stars.h5 is missing" in capsys.readouterr().err
    assert "The page has no spectra, since" in (tmp_path / "explorer.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["none.fits"], "none.fits is missing"),
        (["--output", "x.txt"], "--output x.txt: the suffix must be"),
        (["--stars", "0"], "--stars 0 must be at least 1"),
        (["--spectra", "-1"], "--spectra -1 must be at least 0"),
        (["--data", "nowhere"], "--data nowhere: no such folder"),
        (["--data", ".", "--spectra", "5"], "stars.h5 is missing: name the folder that has it with --data"),
        (["--star", "2M12000007+100001"], "do you mean 2M12000007+1000013?"),
        (["--parameters", "none.fits"], "none.fits is missing"),
    ],
)
def test_what_cannot_be_done_is_one_line(folder, tmp_path, monkeypatch, capsys, more, says):
    monkeypatch.chdir(tmp_path)
    catalogue = [] if more[0].endswith(".fits") else [str(folder / "apogee_nn_dist.fits")]
    assert main(["explore", *catalogue, *more]) == 2
    said = capsys.readouterr().err
    assert said.startswith("apogaia explore: ") and says in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_name_that_is_neither_file_nor_survey_is_told_with_the_surveys(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["explore", "mok"]) == 2
    assert "mok: no such file, and no survey of that name; there are dr14" in capsys.readouterr().err
