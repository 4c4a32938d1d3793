"""Pages of the site that show one survey: notebooks, figures, numbers, ledger, explorer, as far as they exist."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import ledger
from site_pages import code, escaped, table

from apogaia.files import read_json
from apogaia.workspace import Workspace

TEST_RUN = "\n\n```{warning}\nThis is a test run: its numbers mean nothing. For real numbers run `make all`.\n```"

__all__ = ["TEST_RUN", "Shown", "data_counts", "model_metrics", "pages"]


@dataclass
class Shown:
    """Pages by their place in the site, files to copy, and a line for all that is missing."""

    pages: dict[str, str] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def pages(workspace: Workspace) -> Shown:
    """The survey's pages; what has not been made is told on its page and in `missing`, and nothing is computed."""
    shown = Shown()
    survey = workspace.survey
    name = survey.name
    about = f"Figures, numbers and notebooks of this site are those of the survey `{name}` ({escaped(survey.title)})."
    if workspace.survey.is_test_run:
        about += TEST_RUN
    shown.pages["generated/survey.md"] = about + "\n"
    made = {
        "executed notebooks": _notebooks(workspace, shown),
        "figures": _gallery(workspace, shown),
        "results": _numbers(workspace, shown),
    }
    lost = [what for what, there in made.items() if not there]
    if lost:
        shown.missing.append(
            f"Not in the site, because {name} has none: {', '.join(lost)}. Remedy: make all SURVEY={name}"
        )
    if not _explorer(workspace, shown):
        shown.missing.append(f"Not in the site, because {name} has none: the explorer. Remedy: apogaia explore {name}")
    return shown


def _absent(workspace: Workspace, what: str) -> str:
    return (
        f"The survey `{workspace.survey.name}` has no {what} yet: `make all SURVEY={workspace.survey.name}` makes them,"
        " `make site` then shows them.\n"
    )


def _notebooks(workspace: Workspace, shown: Shown) -> bool:
    found = sorted(workspace.executed_notebook("x").parent.glob("[0-9]*.ipynb"))
    lines = ["# Notebooks", "", "```{include} /generated/survey.md", "```", ""]
    rows = []
    for path in found:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        first = "".join(next(cell["source"] for cell in cells if cell["cell_type"] == "markdown"))
        question = next((line for line in first.splitlines() if line.startswith("*")), "")
        rows.append((f"[{first.splitlines()[0].lstrip('# ')}](../notebooks/{path.name})", question.strip("*")))
    if rows:
        lines += ["Each notebook is shown as `make all` ran it.", "", table(("notebook", "question"), rows), ""]
        lines += ["```{toctree}", ":hidden:", "", *(f"../notebooks/{path.name}" for path in found), "```"]
    else:
        lines.append(_absent(workspace, "executed notebooks"))
    shown.pages["results/notebooks.md"] = "\n".join(lines) + "\n"
    return bool(rows)


def _gallery(workspace: Workspace, shown: Shown) -> bool:
    found = sorted(workspace.figure("x").parent.glob("[0-9]*.png"))
    of_paper = {file: number for number, _, file in ledger.FIGURES if number}
    lines = ["# Figures", "", "```{include} /generated/survey.md", "```", ""]
    lines.append(
        f"PDFs of these figures are in `figures/{workspace.survey.name}/`." if found else _absent(workspace, "figures")
    )
    chapter = ""
    for path in found:
        number = path.stem.partition("_")[0]
        notebook = next((each for _, each, _ in ledger.FIGURES if each.startswith(number)), "")
        if number != chapter:
            chapter = number
            lines += ["", f"## {notebook.replace('_', ' ').strip() or number}", ""]
        title = path.stem.partition("_")[2].replace("_", " ").capitalize()
        text = path.with_suffix(".txt")
        if text.is_file():
            caption = " ".join(text.read_text(encoding="utf-8").split())
        else:
            caption = f"{title}." + (f" Paper, Figure {of_paper[path.stem]}." if path.stem in of_paper else "")
        shown.files[f"figures/{path.name}"] = path
        lines += ["", f"### {title}", "", f"````{{figure}} ../figures/{path.name}", f":alt: {caption}", ""]
        lines += [f"{escaped(caption)} `{path.stem}`", "````"]
    shown.pages["results/gallery.md"] = "\n".join(lines) + "\n"
    return bool(found)


def _numbers(workspace: Workspace, shown: Shown) -> bool:
    simulated = workspace.survey.sources.kind == "simulated"
    try:
        tables = [ledger.result_lines(workspace)] if simulated else []
        shown.pages["ledger.md"] = ledger.ledger(workspace)
        shown.pages["generated/results.md"] = "\n".join([*tables, ledger.floor_sentence(workspace)])
        shown.pages["generated/figures.md"] = ledger.figure_table(workspace)
        shown.pages["generated/model_metrics.md"] = model_metrics(workspace)
        shown.pages["generated/data_counts.md"] = data_counts(workspace)
    except FileNotFoundError:
        for name in ("results", "figures", "model_metrics", "data_counts"):
            shown.pages[f"generated/{name}.md"] = _absent(workspace, "results")
        return False
    return True


def model_metrics(workspace: Workspace) -> str:
    """How the model of distances of this survey was trained, and what it reaches."""
    training = read_json(workspace.result("02_joint_training"))
    offset = read_json(workspace.result("03_offset_analysis"))
    inference = read_json(workspace.result("04_inference_catalogue"))
    name = workspace.survey.calibration.model
    refit, model = offset["calibrated"], training[name]
    rows = [
        ("model", f"`{workspace.model(name).name}`"),
        ("training stars (gradient)", f"{model['gradient_stars']:,}"),
        ("validation stars", f"{model['validation_stars']:,}"),
        ("zero point, mean over the stars", f"{refit['value_uas']:.1f} ± {refit['error_uas']:.1f} µas"),
        ("rows of the catalogue", f"{inference['stars']:,}"),
        ("rows with a distance", f"{inference['with_distance']:,}"),
        ("rows outside the training set (flagged)", f"{inference['outside_training_set']:,}"),
    ]
    for sample, found in inference["distance_against_gaia"].items():
        quantity = f"distance against Gaia's, {sample.replace('_', ' ')} ({found['stars']:,} stars)"
        rows.append((quantity, _median_and_scatter(found)))
    for key, sample in (("truth", "test stars"), ("truth_trained", "training stars")):
        for prefix, distance in (("", "network's distance"), ("weighted_", "weighted distance")):
            if truth := inference.get(key):
                quantity = f"{distance} against the truth, {sample} ({truth[prefix + 'stars']:,})"
                within = f"truth within the error for {100 * truth[prefix + 'coverage_68']:.0f} %"
                rows.append((quantity, f"{_median_and_scatter(truth, prefix)}, {within}"))
    return table(("quantity", f"survey `{workspace.survey.name}`"), rows)


def _median_and_scatter(found: dict, prefix: str = "") -> str:
    values = (found[f"{prefix}{name}_percent"] for name in ("median_offset", "robust_scatter"))
    return "median {}, scatter {}".format(*("unknown" if value is None else f"{value:.1f} %" for value in values))


def data_counts(workspace: Workspace) -> str:
    """How many stars the survey has, and how many are left after each cut."""
    counts = read_json(workspace.result("01_data_reduction"))
    rows = [
        ("rows of allStar", f"{counts['stars']:,}"),
        ("with a usable spectrum", f"{counts['with_spectrum']:,}"),
        *((f"no spectrum: {code(name)}", f"{n:,}") for name, n in counts["statuses"].items() if name != "OK"),
        ("with a Gaia source", f"{counts['with_gaia_match']:,}"),
        ("with a parallax and Ks", f"{counts['with_parallax_and_ks']:,}"),
        ("training set", f"{counts['training']:,}"),
        ("training set of the multivariate model", f"{counts['training_multivariate']:,}"),
        ("test set", f"{counts['test']:,}"),
    ]
    return table(("stars", f"survey `{workspace.survey.name}`"), rows)


def _explorer(workspace: Workspace, shown: Shown) -> bool:
    made = workspace.executed_notebook("x").with_name("explorer.html")
    lines = ["# Explorer", ""]
    if made.is_file():
        shown.files["whole/explorer.html"] = made
        lines += [
            f"The catalogue of the survey `{workspace.survey.name}`: select stars in one panel to see them in the"
            " others.",
            "",
            "```{raw} html",
            '<p><a href="../explorer.html">Open it in a window of its own</a></p>',
            '<iframe class="explorer" src="../explorer.html" title="Explorer of the catalogue"></iframe>',
            "```",
        ]
    else:
        name = workspace.survey.name
        lines += [
            f"The survey `{name}` has no explorer yet: `apogaia explore {name}` makes it, `make site` then shows it.",
        ]
    shown.pages["results/explorer.md"] = "\n".join(lines) + "\n"
    return made.is_file()
