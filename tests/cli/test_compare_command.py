"""``apogaia compare``: a user's own pair of catalogues, and what is refused in one line."""

import json

import numpy as np
import pytest
from astropy.table import Table

from apogaia.cli.commands import main


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(3)
    names, true = [f"2M{i:08d}+0000000" for i in range(500)], rng.uniform(0.5, 5, 500)
    ours = 1000 * true * np.exp(0.08 * rng.normal(size=500))
    Table({"apogee_id": names, "dist": ours, "dist_error": 0.08 * ours, "snr": rng.uniform(30, 500, 500)}).write(
        tmp_path / "mine.ecsv"
    )
    Table({"APOGEE_ID": names[::-1], "RC_DIST": 1.05 * true[::-1], "LOGG": np.full(500, 2.5)}).write(
        tmp_path / "rc.fits"
    )
    return tmp_path


def test_two_files_are_compared_printed_written_and_drawn(files, capsys):
    output, figure = files / "c.json", files / "c.png"
    arguments = [str(files / "mine.ecsv"), str(files / "rc.fits"), "--output", str(output), "--figure", str(figure)]
    assert main(["compare", *arguments]) == 0
    said = capsys.readouterr().out
    numbers = json.loads(output.read_text())
    assert numbers["stars"] == 500 and numbers["files"] == arguments[:2]
    assert numbers["median_offset_percent"] == pytest.approx(-4.8, abs=4 * numbers["median_offset_error"])
    assert f"{numbers['median_offset_percent']:+7.2f}" in said and "distances against APOGEE-RC: 500 of 500" in said
    assert len(numbers["by"]["snr"]) == 6 and figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["none.fits"], "none.fits is missing"),
        (["rc.fits", "--output", "x.txt"], "--output x.txt: the suffix must be"),
        (["rc.fits", "--figure", "x.gif"], "--figure x.gif: the suffix must be"),
        (["rc.fits", "--max-error", "0"], "--max-error 0.0 must be above 0"),
        (["rc.fits", "--radius", "nan"], "--radius nan must be above 0"),
    ],
)
def test_what_cannot_be_done_is_one_line(files, monkeypatch, capsys, more, says):
    monkeypatch.chdir(files)
    assert main(["compare", "mine.ecsv", *more]) == 2
    said = capsys.readouterr().err
    assert said.startswith("apogaia compare: ") and says in said and said.count("\n") == 1


def test_the_help_names_every_kind_of_catalogue(capsys):
    from apogaia.formats.distance_catalogues import FORMS

    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    said = capsys.readouterr().out.lower()
    for form in FORMS:
        if form.kind not in ("apokasc", "table"):
            assert all(mark in said for mark in form.marks)
