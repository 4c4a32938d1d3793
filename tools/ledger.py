"""Results of this analysis compared with the paper's: the ledger, and the README's picture and table.

``python tools/ledger.py SURVEY`` writes them from the results of a survey into its report in build/ (`make report`),
and with ``--docs`` into README.md and docs/ (`make readme`). A tolerance is what a reproduction with the real data
(`dr14`) must meet; simulated surveys are held to the truth that was put in instead.
"""

from __future__ import annotations

import argparse
import re
import shutil
import textwrap
from dataclasses import dataclass
from pathlib import Path

from apogaia.files import atomic, read_json
from apogaia.physics.literature import FIELD_FLOOR_UAS
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

__all__ = [
    "ENTRIES",
    "FIGURES",
    "Entry",
    "figure_table",
    "floor_sentence",
    "ledger",
    "replace_block",
    "result_lines",
]


@dataclass(frozen=True)
class Entry:
    """One published number: where the paper has it, and which key of which results file is ours."""

    quantity: str
    paper: float
    unit: str
    tolerance: float  # absolute, for the real survey
    where: str  # in the paper; N: in the notebooks released with it
    result: str  # results file
    key: tuple[str, ...]
    truth: tuple[str, ...] = ()  # key of the injected value in the same file


_01, _02, _03, _04, _07 = (
    "01_data_reduction",
    "02_joint_training",
    "03_offset_analysis",
    "04_inference_catalogue",
    "07_milky_way_maps",
)
_09 = "09_comparisons"
_MAY_BE_ABSENT = (_09,)  # from results of runs that are older than the notebook
_FIGURE_8 = "distance_against_gaia"  # Gaia's error below 5 %

ENTRIES = (
    Entry("stars in the catalogue", 277371, "", 0, "abstract", _01, ("stars",)),
    Entry("stars with a Gaia parallax and Ks", 265761, "", 500, "section 3.2", _01, ("with_parallax_and_ks",)),
    Entry("median parallax SNR of these", 15.4, "", 0.2, "section 3.2", _01, ("median_parallax_snr",)),
    Entry("training set", 35112, "", 200, "section 3.3", _01, ("training",)),
    Entry("training set of the multivariate model", 26033, "", 200, "N", _01, ("training_multivariate",)),
    Entry("nine tenths of it, for the gradient", 23430, "", 200, "N", _02, ("multivariate", "gradient_stars")),
    Entry("test set", 33468, "", 200, "section 3.3", _01, ("test",)),
    Entry("constant zero point", -52.3, "uas", 4.0, "section 4", _03, ("constant", "value_uas"), ("injected_uas",)),
    Entry("its error from dropout", 2.0, "uas", 1.0, "section 4", _03, ("constant", "error_uas")),
    Entry(
        "constant zero point, refit",
        -52.3,
        "uas",
        6.0,
        "section 4",
        _03,
        ("calibrated", "value_uas"),
        ("injected_uas",),
    ),
    Entry(
        "mean multivariate zero point",
        -50,
        "uas",
        5,
        "section 4",
        _03,
        ("multivariate", "mean_uas"),
        ("injected_uas",),
    ),
    Entry("stars with dist / dist_model_error > 10", 155226, "", 5000, "N", _04, ("within_10_percent",)),
    *(
        Entry(
            f"(NN - Gaia) / Gaia distance, {name}", paper, "%", tolerance, "section 5.1", _04, (_FIGURE_8, sample, key)
        )
        for name, paper, tolerance, sample, key in (
            ("giants: robust scatter", 8, 1, "giants", "robust_scatter_percent"),
            ("giants: median", 2.5, 1, "giants", "median_offset_percent"),
            ("log g < 2.2: robust scatter", 9, 1, "luminous_giants", "robust_scatter_percent"),
            ("log g < 2.2: median", 5, 2, "luminous_giants", "median_offset_percent"),
        )
    ),
    *(
        Entry(f"(NN - {name}) / {name} distance, {what}", paper, "%", tolerance, "section 5.2", _09, (kind, key))
        for name, kind, values in (
            ("APOGEE-RC", "apogee_rc", ((1, 1), (6, 1))),
            ("BPG", "bpg", ((-5, 2), (10, 2))),
            ("Hogg", "hogg_eilers_rix", ((3, 2), (10, 2))),
        )
        for (paper, tolerance), what, key in zip(
            values,
            ("median" if kind == "bpg" else "median without its sign", "robust scatter"),
            (f"{'' if kind == 'bpg' else 'absolute_'}median_offset_percent", "robust_scatter_percent"),
            strict=True,
        )
    ),
    Entry("stars in the [Fe/H] map", 52476, "", 1500, "section 6", _07, ("stars", "fe")),
    *(
        Entry(f"stars in the [{name}/Fe] map", count, "", 1500, "N", _07, ("stars", name.lower()))
        for name, count in {
            "C": 52404,
            "N": 52371,
            "O": 52432,
            "Na": 15833,
            "Mg": 52447,
            "Al": 49739,
            "Si": 52476,
            "S": 52310,
            "K": 51529,
            "Ca": 52475,
            "TiII": 45707,
            "V": 50257,
            "Mn": 52470,
            "Co": 42242,
            "Ni": 52476,
        }.items()
    ),
)


FIXED = "fixed in the survey file, not measured"

# Figure of the paper, our notebook, our file.
FIGURES = (
    ("2", "01_data_reduction", "01_samples"),
    ("", "01_data_reduction", "01_kiel"),
    ("1", "02_joint_training", "02_network"),
    ("", "02_joint_training", "02_learning_curves"),
    ("", "02_joint_training", "02_fit_residuals"),
    ("", "02_joint_training", "02_density_shift"),
    ("3", "03_offset_analysis", "03_parallax_difference"),
    ("", "03_offset_analysis", "03_published"),
    ("4, left", "03_offset_analysis", "03_offset_dependence"),
    ("4, right", "03_offset_analysis", "03_offset_maps"),
    ("5", "03_offset_analysis", "03_distances"),
    ("6", "04_inference_catalogue", "04_snr_gain"),
    ("7, top", "04_inference_catalogue", "04_precision_kiel"),
    ("7, bottom", "04_inference_catalogue", "04_precision"),
    ("8", "04_inference_catalogue", "04_distance_against_gaia"),
    ("", "04_inference_catalogue", "04_zero_point_consistency"),
    ("", "04_inference_catalogue", "04_truth"),
    ("", "05_jacobian", "05_jacobian"),
    ("", "06_stellar_parameters", "06_recovery"),
    ("", "06_stellar_parameters", "06_coverage"),
    ("", "06_stellar_parameters", "06_occlusion"),
    ("", "06_stellar_parameters", "06_stars"),
    ("10", "07_milky_way_maps", "07_fe_h"),
    ("", "07_milky_way_maps", "07_fe_h_truth"),
    ("11", "07_milky_way_maps", "07_x_fe"),
    ("", "07_milky_way_maps", "07_face_on"),
    ("9", "09_comparisons", "09_catalogues"),
    ("", "09_comparisons", "09_offsets"),
    ("", "09_comparisons", "09_injected"),
)


def figure_table(workspace: Workspace) -> str:
    """Paper figure -> notebook -> file, as Markdown."""
    lines = [f"| paper figure | notebook | file in `figures/{workspace.survey.name}/` |"]
    lines.append("|---|---|---|")
    for figure, notebook, name in FIGURES:
        if notebook in _MAY_BE_ABSENT and not workspace.executed_notebook(notebook).is_file():
            continue
        lines.append(f"| {figure or '-'} | {notebook} | `{name}.pdf` |")
    return "\n".join(lines) + "\n"


def result_lines(workspace: Workspace) -> str:
    """What the survey's run found, as Markdown for the README."""
    offset = read_json(workspace.result("03_offset_analysis"))
    inference = read_json(workspace.result("04_inference_catalogue"))
    zero_point, refit, truth = offset["constant"], offset["calibrated"], inference["truth"]
    labels = read_json(workspace.result("06_stellar_parameters"))["recovery"]
    teff, logg, fe_h = (labels[name]["scatter"] for name in ("teff", "logg", "fe_h"))
    maps = read_json(workspace.result("07_milky_way_maps"))["map_against_truth"]
    how = FIXED if refit.get("fixed") else "refit (error: see docs/closure.md)"
    return (
        "| quantity | this run | truth |\n|---|---|---|\n"
        f"| constant zero point, the paper's recipe (error: dropout alone) | {zero_point['value_uas']:.1f}"
        f" ± {zero_point['error_uas']:.1f} µas | {offset['injected_uas']:.1f} µas |\n"
        f"| constant zero point, {how} | {refit['value_uas']:.1f}"
        f" ± {refit['error_uas']:.1f} µas | {offset['injected_uas']:.1f} µas |\n"
        f"| distances of the test stars: median difference | {truth['median_offset_percent']:+.1f} % | 0 |\n"
        f"| distances of the test stars: robust scatter | {truth['robust_scatter_percent']:.1f} % | |\n"
        f"| truth within the quoted error | {100 * truth['coverage_68']:.0f} % of the stars | 68 % |\n"
        f"| scatter of Teff, log g, [Fe/H] about the truth, SNR above 100 | {teff:.0f} K,"
        f" {logg:.2f}, {fe_h:.3f} dex | |\n"
        f"| [Fe/H] map minus its truth: median and scatter of {maps['bins']} bins |"
        f" {_dex(maps['median_difference'], '+')}, {_dex(maps['scatter'])} dex | 0 |\n"
    )


def _dex(value: float | None, sign: str = "") -> str:
    return "unknown" if value is None else f"{value:{sign}.3f}"


def floor_sentence(workspace: Workspace) -> str:
    """Our error beside what the field knows, as a sentence for the README."""
    refit = read_json(workspace.result("03_offset_analysis"))["calibrated"]
    low, high = FIELD_FLOOR_UAS
    sentence = (
        f"Published zero points for the same Gaia release differ by {low:.0f} to {high:.0f} µas, and parallaxes of"
        f" neighbours on the sky share errors of that size: this is how well Gaia's zero point is known. This run's"
        f" error, {refit['error_uas']:.1f} µas, is that of the method alone, and does not include this floor."
    )
    return textwrap.fill(sentence, 120) + "\n"


def replace_block(text: str, name: str, block: str) -> str:
    """The text with what stands between ``<!-- name: begin -->`` and ``<!-- name: end -->`` replaced."""
    pattern = re.compile(rf"(<!-- {name}: begin[^>]*-->\n).*?(<!-- {name}: end -->)", re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"the page has no block '{name}'")
    return pattern.sub(lambda match: match[1] + block + match[2], text)


def ledger(workspace: Workspace) -> str:
    """The ledger of a survey as Markdown.

    Raises
    ------
    FileNotFoundError
        If a notebook whose results are needed has not run.
    """
    survey = workspace.survey
    title = re.sub(r"([\\`*_{}\[\]<>$|#~&])", r"\\\1", " ".join(survey.title.split()))  # as it is, in one line
    names = sorted({entry.result for entry in ENTRIES})
    results = {name: _read(workspace, name) for name in names}
    simulated = survey.sources.kind == "simulated"
    lines = [
        "# Ledger",
        "",
        f"Each number that Leung & Bovy (2019b) publish, and that of the survey `{survey.name}` ({title}).",
        "Written by the analysis; N: from the notebooks released with the paper.",
    ]
    if simulated:
        lines.append("This survey is simulated: its counts are its own, and its zero point is compared with the truth.")
    if (survey.sources.apogee_release, survey.sources.gaia_release) != ("dr14", "dr2"):
        lines.append("The paper's numbers are those of APOGEE DR14 and Gaia DR2: here they are for reference only.")
    lines += ["", "| quantity | paper | here | truth | tolerance with real data | where |", "|---|---|---|---|---|---|"]
    for entry in ENTRIES:
        first = results[entry.result].get(entry.key[0])
        first = first if isinstance(first, dict) else {}
        quantity = f"constant zero point, {FIXED}" if first.get("fixed") else entry.quantity
        ours = _look_up(results[entry.result], entry.key)
        truth = _look_up(results[entry.result], entry.truth) if entry.truth and simulated else None
        cells = [_number(value, entry.unit) for value in (entry.paper, ours, truth, entry.tolerance)]
        if "left_out" in first:
            cells[1] = "left out"
        lines.append(f"| {quantity} | {' | '.join(cells)} | {entry.where} |")
    return "\n".join(lines) + "\n"


def _read(workspace: Workspace, name: str) -> dict:
    path = workspace.result(name)
    return {} if name in _MAY_BE_ABSENT and not path.is_file() else read_json(path)


def _look_up(values, key: tuple[str, ...]):
    for part in key:
        values = (values or {}).get(part)
    return values


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    text = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
    return f"{text} {unit}".strip()


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("survey")
    parser.add_argument("--docs", action="store_true", help="write README.md, docs/ledger.md and docs/truth.png")
    options = parser.parse_args(arguments)
    workspace = Workspace(load_survey(options.survey))
    if not options.docs:
        report = workspace.root / "build" / workspace.survey.name / "report" / "ledger.md"
        parts = [ledger(workspace), figure_table(workspace)]
        if workspace.survey.sources.kind == "simulated":
            parts.insert(1, result_lines(workspace))  # beside the truth
        _write(report, "\n".join(parts))
        return
    _write(workspace.root / "docs" / "ledger.md", f"{ledger(workspace)}\n## Figures\n\n{figure_table(workspace)}")
    with atomic(workspace.root / "docs" / "truth.png") as temporary:
        shutil.copyfile(workspace.figure("04_truth", "png"), temporary)
    readme = workspace.root / "README.md"
    text = readme.read_text(encoding="utf-8")
    text = replace_block(text, "floor", floor_sentence(workspace))
    _write(readme, replace_block(text, "results", result_lines(workspace)))


def _write(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
