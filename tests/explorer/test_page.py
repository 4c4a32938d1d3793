"""The page as a file: whole, self-contained, and honest about what it leaves out."""

import json
import re
from dataclasses import replace

import explorer_files
import numpy as np
import pytest

from apogaia.explorer.page import command_line, notes, write_page
from apogaia.explorer.spectra import EmbeddedSpectra
from apogaia.explorer.table import read_table, sampled
from apogaia.survey import load_survey

MAPS = load_survey("smoke").maps


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return read_table(explorer_files.write_catalogue(tmp_path_factory.mktemp("explorer")), MAPS)


@pytest.fixture(scope="module")
def page(tmp_path_factory, table) -> str:
    rows = np.array([3, 8])
    flux = explorer_files.spectra()[rows]
    path = tmp_path_factory.mktemp("page") / "new" / "explorer.html"
    options = {
        "title": "<mine> & yours",
        "simulated": True,
        "notes": ["a </script> note"],
        "command": "apogaia explore x",
    }
    write_page(path, table, EmbeddedSpectra(rows, flux, 3 * flux, "m.keras"), MAPS, **options)
    assert [found.name for found in path.parent.iterdir()] == ["explorer.html"]
    return path.read_text(encoding="utf-8")


def test_the_page_needs_no_other_file_and_no_network(page):
    own = re.sub(r"<script[^>]*>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.search(r"<script[^>]+src=|<link|<img|@import|url\(", own) and "<script src" not in page
    assert "http" not in own


def test_texts_from_outside_are_written_as_texts(page):
    assert "&lt;mine&gt; &amp; yours" in page and "<mine>" not in page and "a &lt;/script&gt; note" in page


def test_the_script_is_told_of_columns_flags_and_spectra(page, table):
    facts = json.loads(re.search(r'id="facts">(.*?)</script>', page)[1])
    assert facts["stars"] == len(table) and set(facts["columns"]) == set(table.columns)
    assert facts["columns"]["dist"] | {"low": 0, "high": 0} == {
        "label": "distance (network)", "unit": "pc", "group": "Distance", "decimals": 0, "error": "dist_error",
        "low": 0, "high": 0,
    }  # fmt: skip
    assert set(facts["spectra"]) == {"3", "8"} and facts["command"] == "apogaia explore x"
    for data in ("ids", "flags", "column-dist", "spectrum-3", "spectrum-8", "wavelength"):
        assert f'id="data-{data}"' in page
    assert "Simulated survey" in page


def test_a_page_without_spectra_says_so(tmp_path, table):
    path = tmp_path / "e.html"
    write_page(path, table, None, MAPS, title="t", simulated=False, notes=[], command="")
    text = path.read_text(encoding="utf-8")
    assert "This page holds no spectra." in text and "Simulated survey" not in text


def test_the_notes_count_what_is_shown_and_what_is_not(table):
    said = "\n".join(notes(table, None, MAPS))
    assert f"All {len(table)} rows of apogee_nn_dist.fits" in said and "random sample" not in said
    shown = np.isfinite(table.values("x")).sum()
    assert f"{shown} stars are on the map; the others have no distance" in said
    assert f"{table.bad.sum()} stars are flagged" in said
    assert "Error bars" in said
    rc = replace(table, columns={"dist": table.columns["dist"]})
    spectrum = EmbeddedSpectra(np.array([3]), np.ones((1, 9)), np.ones((1, 9)), "m.keras")
    said_of_rc = "\n".join(notes(rc, spectrum, MAPS))
    assert "those with the highest SNR" in said_of_rc and "Error bars" not in said_of_rc and "m.keras" in said_of_rc
    few = sampled(table, 40)
    assert f"A random sample of 40 of the {len(table)} rows" in notes(few, None, MAPS)[0]
    without = replace(table, columns={key: one for key, one in table.columns.items() if key != "logg"})
    assert "No stars are in the Kiel diagram: the catalogue has no Teff or log g." in notes(without, None, MAPS)


def test_the_command_can_be_pasted_into_a_shell():
    assert command_line("my file.fits", {"data": "a b", "parameters": None}) == (
        "apogaia explore 'my file.fits' --data 'a b'"
    )
