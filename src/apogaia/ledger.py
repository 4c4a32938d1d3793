"""The ledger: each number that the paper publishes beside the one that this analysis gives (`docs/ledger.md`).

``python -m apogaia.ledger mock`` writes it from the results of a survey. A tolerance is what a reproduction with the real
data (`dr14`) must meet; simulated surveys are held to the truth that was put in instead.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from apogaia.files import atomic, read_json
from apogaia.survey import load_survey
from apogaia.workspace import Workspace, find_root

__all__ = ["ENTRIES", "Entry", "ledger", "write_ledger"]


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


_01, _03, _04, _07 = "01_data_reduction", "03_offset_analysis", "04_inference_catalogue", "07_milky_way_maps"

ENTRIES = (
    Entry("stars in the catalogue", 277371, "", 0, "abstract", _01, ("stars",)),
    Entry("stars with a Gaia parallax and Ks", 265761, "", 500, "section 3.2", _01, ("with_parallax_and_ks",)),
    Entry("median parallax SNR of these", 15.4, "", 0.2, "section 3.2", _01, ("median_parallax_snr",)),
    Entry("training set", 35112, "", 200, "section 3.3", _01, ("training",)),
    Entry("test set", 33468, "", 200, "section 3.3", _01, ("test",)),
    Entry("constant zero point", -52.3, "uas", 4.0, "section 4", _03, ("constant", "value_uas"), ("injected_uas",)),
    Entry("its error from dropout", 2.0, "uas", 1.0, "section 4", _03, ("constant", "error_uas")),
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
    Entry("robust scatter, giants", 8, "%", 1, "section 5.1", _04, ("giants", "robust_scatter_percent")),
    Entry("median offset, giants", 2.5, "%", 1, "section 5.1", _04, ("giants", "median_offset_percent")),
    Entry("robust scatter, log g < 2.2", 9, "%", 1, "section 5.1", _04, ("luminous_giants", "robust_scatter_percent")),
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


def ledger(workspace: Workspace) -> str:
    """The ledger of a survey as Markdown.

    Raises
    ------
    FileNotFoundError
        If a notebook whose results are needed has not run.
    """
    survey = workspace.survey
    results = {name: read_json(workspace.result(name)) for name in sorted({entry.result for entry in ENTRIES})}
    simulated = survey.sources.kind == "simulated"
    lines = [
        "# Ledger",
        "",
        f"Each number that Leung & Bovy (2019b) publish beside that of the survey `{survey.name}` ({survey.title}).",
        "Written by `make report`; N: from the notebooks released with the paper.",
    ]
    if simulated:
        lines.append("This survey is simulated: its counts are its own, and its zero point is compared with the truth.")
    lines += ["", "| quantity | paper | here | truth | tolerance with real data | where |", "|---|---|---|---|---|---|"]
    for entry in ENTRIES:
        ours = _look_up(results[entry.result], entry.key)
        truth = _look_up(results[entry.result], entry.truth) if entry.truth and simulated else None
        cells = [_number(value, entry.unit) for value in (entry.paper, ours, truth, entry.tolerance)]
        lines.append(f"| {entry.quantity} | {' | '.join(cells)} | {entry.where} |")
    return "\n".join(lines) + "\n"


def write_ledger(workspace: Workspace, path: Path) -> None:
    """Write `ledger` to a file."""
    with atomic(path) as temporary:
        temporary.write_text(ledger(workspace), encoding="utf-8")


def _look_up(values, key: tuple[str, ...]):
    for part in key:
        values = (values or {}).get(part)
    return values


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    text = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
    return f"{text} {unit}".strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("survey")
    write_ledger(Workspace(load_survey(parser.parse_args().survey)), find_root() / "docs" / "ledger.md")


if __name__ == "__main__":
    main()
