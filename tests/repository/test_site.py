"""The site is built without a warning and without another host, and shows what the code and a survey have."""

import argparse
import base64
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import build_site
import pytest
import site_pages
import survey_pages

from apogaia.cli import commands
from apogaia.distances import catalogue
from apogaia.files import write_json
from apogaia.survey import SECTIONS, load_survey, survey_names
from apogaia.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
PICTURE = bytes.fromhex(  # one pixel
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A repository with a small survey's products: a notebook, two figures, one with its caption, and an explorer."""
    folder = tmp_path_factory.mktemp("site")
    pages = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "CITATION.cff")
    for name in ("docs", "notebooks", "data/README.md", *pages):
        source = ROOT / name
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, folder / name)
    shutil.copyfile(ROOT / "Dockerfile", folder / "Dockerfile")
    workspace = Workspace(load_survey("smoke"), folder)
    notebook = workspace.executed_notebook("01_data_reduction")
    notebook.parent.mkdir(parents=True)
    cells = json.loads((ROOT / "notebooks" / notebook.name).read_text())
    cells["cells"][0]["source"] += ["\n\nSee [the design](../docs/design.md) and `apogaia.fakemag_to_pc`."]
    picture = {"data": {"image/png": base64.b64encode(PICTURE).decode()}, "output_type": "display_data"}
    shown = next(cell for cell in cells["cells"] if cell["cell_type"] == "code")
    shown["outputs"] = [picture | {"metadata": {"image/png": {"alt": "What a notebook's\npicture shows."}}}]
    notebook.write_text(json.dumps(cells))
    for name in ("01_kiel", "01_samples"):
        workspace.figure(name, "png").parent.mkdir(parents=True, exist_ok=True)
        workspace.figure(name, "png").write_bytes(PICTURE)
    workspace.figure("01_kiel", "txt").write_text("Stars by Teff and log g; <few> of them.\n")
    notebook.with_name("explorer.html").write_text("<!doctype html><title>stars</title><p>explored</p>")
    return folder


@pytest.fixture(scope="module")
def built(root, tmp_path_factory):
    """The folder of the built site, and what the command said; no network may be used where this can be held."""
    folder = tmp_path_factory.mktemp("built") / "site"
    program = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import build_site;"
        "sys.exit(build_site.build('smoke', pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])))"
    )
    alone = ["unshare", "--map-root-user", "--net"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True).returncode:
        alone = []
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment["PYTHONPATH"] = str(ROOT / "src")
    command = [*alone, sys.executable, "-c", program, str(ROOT / "tools"), str(folder), str(root)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stderr


class _Page(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.pictures: list[dict] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag in ("script", "img", "iframe", "source", "link") and (found.get("src") or found.get("href")):
            self.loaded.append(found.get("src") or found["href"])
        if tag == "img":
            self.pictures.append(found)


@pytest.fixture(scope="module")
def html(built):
    """Parsed pages by their place."""
    folder, _ = built
    return {
        path.relative_to(folder).as_posix(): _Page(path.read_text(encoding="utf-8"))
        for path in folder.rglob("*.html")
        if "_static" not in path.parts
    }


def test_every_page_is_there(html):
    written = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")]
    assert {path.as_posix() for path in written} <= set(html)
    assert {"notebooks/01_data_reduction.html", "results/gallery.html", "reference/api/physics.html"} <= set(html)


def test_no_page_asks_another_host_for_anything(built, html):
    for place, page in html.items():
        outside = [link for link in page.loaded if urlsplit(link).netloc]
        assert not outside, f"{place}: {outside}"
    folder, _ = built
    for path in (folder / "_static").rglob("*.css"):
        assert not re.search(r"(@import\s+|url\()[\"']?(https?:)?//", path.read_text(encoding="utf-8")), path.name
    assert (folder / "_static" / "mathjax" / "tex-chtml.js").is_file()


def test_no_page_tells_where_it_was_made(built, root):
    for path in built[0].rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert str(ROOT) not in text and str(root) not in text and str(Path.home()) not in text, path.name


def test_every_link_of_the_site_leads_somewhere(built, html):
    folder, _ = built
    for place, page in html.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or place == "explorer.html":
                continue
            wanted = (
                os.path.normpath(os.path.join(os.path.dirname(place), unquote(parts.path))) if parts.path else place
            )
            assert (folder / wanted).exists(), f"{place}: {link}"
            if parts.fragment and wanted in html and not wanted.startswith(("genindex", "search")):
                assert unquote(parts.fragment) in html[wanted].ids, f"{place}: {link}"


def test_pages_of_the_repository_lead_to_pages_of_the_site(html):
    (design,) = {link for link in html["notebooks/01_data_reduction.html"].links if link.endswith("design.html")}
    assert design == "../design.html"
    assert any("luminosity.fakemag_to_pc" in link for link in html["notebooks/01_data_reduction.html"].links)
    assert any("files.html" in link or "raw_files" in link for link in html["how_to/add_survey.html"].links)


def test_every_page_with_results_of_a_test_run_says_so(built):
    folder, _ = built
    for page in ("index", "notebooks/01_data_reduction", "results/gallery"):
        assert "This is a test run: its numbers mean nothing" in (folder / f"{page}.html").read_text(encoding="utf-8")


def test_pictures_of_notebooks_have_their_alternative_text(html):
    pictures = html["notebooks/01_data_reduction.html"].pictures
    assert [picture["alt"] for picture in pictures if "_images" in picture["src"]] == [
        "What a notebook's picture shows."
    ]


def test_figures_have_captions_and_what_is_missing_is_said(built, html):
    folder, said = built
    pictures = {Path(picture["src"]).name: picture["alt"] for picture in html["results/gallery.html"].pictures}
    assert pictures == {
        "01_kiel.png": "Stars by Teff and log g; <few> of them.",
        "01_samples.png": "Samples. Paper, Figure 2.",
    }
    assert said.splitlines() == ["Not in the site, because smoke has none: results. Remedy: make all SURVEY=smoke"]
    assert "explored" in (folder / "explorer.html").read_text()
    assert html["results/explorer.html"].loaded.count("../explorer.html") == 1
    assert "test run" in (folder / "index.html").read_text(encoding="utf-8")


def test_command_line_page_has_every_command_and_option():
    text = site_pages.command_line()
    parser = commands.parser()
    choices = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction)).choices
    for name, command in choices.items():
        section = text.partition(f"\n## apogaia {name}\n")[2].partition("\n## ")[0]
        assert section
        for action in command._actions:
            assert all(option in section for option in action.option_strings), f"{name}: {action.option_strings}"


def test_survey_keys_have_units_values_and_sources():
    text = site_pages.survey_keys()
    assert set(re.findall(r"^## \[([a-z_]+)\]$", text, re.M)) == set(SECTIONS)
    row = next(line for line in text.splitlines() if line.startswith("| `match_radius`"))
    assert "arcsec" in row and '`"2 arcsec"`' in row and "P section 3.2" in row
    survey = load_survey("mock-dr14")
    for section in SECTIONS:
        for key in survey.settings(section)[section]:
            line = next(line for line in text.splitlines() if line.startswith(f"| `{key}`"))
            assert line.replace("\\|", "").count("|") == 6, line
    for section, key in site_pages.stated("dr14"):
        assert not section or key in survey.settings(section)[section]


@pytest.mark.parametrize("name", survey_names())
def test_survey_files_are_read_as_they_are_written(name):
    """What a page says that a file states is what the survey has."""
    survey = load_survey(name)
    values = {place: value for place, value in site_pages.stated(name).items() if place[0]}
    assert values or name == "dr14"
    for (section, key), value in values.items():
        assert hasattr(getattr(survey, section), key)
        assert value.value and not value.value.endswith("#")


def test_catalogue_page_has_every_column_and_flag():
    tables = site_pages.catalogue_tables()
    assert len(tables["catalogue_columns"].splitlines()) == 2 + len(catalogue.COLUMNS)
    for flag in catalogue.Flags:
        assert f"| {flag.bit_length() - 1} | {int(flag)} | `{flag.name}` |" in tables["flags"]


def test_text_of_the_code_stands_on_a_page_as_it_is():
    assert site_pages.escaped("data/<survey>, 1 * 2 | $HOME `a_b<c>` x_y") == (
        "data/\\<survey\\>, 1 \\* 2 \\| \\$HOME `a_b<c>` x\\_y"
    )


def test_numbers_of_the_cards_are_those_of_the_results(tmp_path):
    workspace = Workspace(load_survey("mock"), tmp_path)
    shown = survey_pages.pages(workspace)
    assert "make all SURVEY=mock" in shown.pages["generated/model_metrics.md"]
    assert [line.count("\n") for line in shown.missing] == [0, 0] and "results" in shown.missing[0]
    counts = dict.fromkeys(
        ("stars", "with_spectrum", "with_gaia_match", "with_parallax_and_ks", "training", "training_multivariate"),
        12345,
    )
    write_json(workspace.result("01_data_reduction"), counts | {"test": 777, "statuses": {"OK": 1, "BLANK": 22}})
    table = survey_pages.data_counts(workspace)
    assert (
        "| training set | 12,345 |" in table
        and "| test set | 777 |" in table
        and "| no spectrum: `BLANK` | 22 |" in table
    )
    distance = {"stars": 10, "median_offset_percent": 1.23, "robust_scatter_percent": None}
    truth = {f"{prefix}{key}": value for prefix in ("", "weighted_") for key, value in distance.items()}
    truth |= {"coverage_68": 0.685, "weighted_coverage_68": 0.5}
    results = {
        "02_joint_training": {"calibrated": {"gradient_stars": 3456, "validation_stars": 78}},
        "03_offset_analysis": {"calibrated": {"value_uas": -51.23, "error_uas": 4.56}},
        "04_inference_catalogue": {
            "stars": 99,
            "with_distance": 88,
            "outside_training_set": 7,
            "truth": truth,
            "distance_against_gaia": {"giants": distance},
        },
    }
    for name, values in results.items():
        write_json(workspace.result(name), values)
    table = survey_pages.model_metrics(workspace)
    assert "3,456" in table and "-51.2 ± 4.6 µas" in table and "median 1.2 %, scatter unknown" in table
    assert "truth within the error for 50 %" in table


def test_pages_that_are_gone_leave_the_source(root, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "page.md").write_text("# Old\n")
    build_site.assemble("smoke", tmp_path, root)
    assert not (tmp_path / "old").exists() and (tmp_path / "index.md").is_file()


def test_make_site_runs_no_analysis():
    planned = subprocess.run(["make", "-n", "site", "SURVEY=smoke"], cwd=ROOT, capture_output=True, text=True).stdout
    assert "tools/build_site.py smoke" in planned and "run_notebook" not in planned
