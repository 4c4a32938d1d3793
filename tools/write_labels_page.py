"""Write the tables of docs/labels.md from docs/closure/labels.json, which `make labels` writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from ledger import replace_block

from apogaia.formats.stars_h5_columns import LABELS

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGE, NUMBERS = DOCS / "labels.md", DOCS / "closure" / "labels.json"
LOW, HIGH = 0.62, 0.74  # coverage within these limits is right


def name_of(label: str) -> str:
    spelt = {"teff": "Teff [K]", "logg": "log g", "ci_h": "[C I/H]", "tiii_h": "[Ti II/H]"}
    return spelt.get(label, f"[{label.removesuffix('_h').capitalize()}/H]")


def recovery(r: dict) -> str:
    """The text of the block, from the numbers of a run."""
    lines = [
        f"{r['gradient_stars']:,} + {r['validation_stars']:,} training and validation stars, {r['epochs']} epochs;"
        f" {r['stars']:,} test stars of SNR 100 to 200. Coverage: percent of the stars within their stated error, 68 is"
        f" right; of all stars of SNR 30 to 200, lowest and highest bin of SNR (edges"
        f" {', '.join(f'{edge:g}' for edge in r['bins']['snr'])}) and of Teff"
        f" ({', '.join(f'{edge:g}' for edge in r['bins']['teff'])} K).",
        "",
        "| label | bias | scatter | stated error | published scatter | coverage | by SNR | by Teff |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for i, label in enumerate(LABELS):
        row = r["recovery"][label]
        form = ".1f" if label == "teff" else ".3f"
        numbers = [f"{row[name]:{form}}" for name in ("bias", "scatter", "stated", "published")]
        lines.append(
            f"| {name_of(label)} | {' | '.join(numbers)} | {100 * row['coverage']:.0f} |"
            f" {lowest_and_highest(r['coverage']['snr'][i])} | {lowest_and_highest(r['coverage']['teff'][i])} |"
        )
    shares = np.array([share for bins in r["coverage"].values() for row in bins for share in row if share is not None])
    outside = r["outside"]
    lines += [
        "",
        f"{np.sum((shares >= LOW) & (shares <= HIGH))} of the {len(shares)} bins are between"
        f" {100 * LOW:.0f} and {100 * HIGH:.0f} %. Of {outside['dwarfs']} dwarfs, none with a log g to train on, the"
        f" median stated error of log g is {outside['logg_error_dwarfs']:.2f} dex, of the giants"
        f" {outside['logg_error_giants']:.3f}; the dwarfs' log g is off by {outside['logg_offset_dwarfs']:.2f} dex in"
        f" the median, and that of {100 * outside['logg_coverage_dwarfs']:.0f} % of them lies within its error.",
        "",
        f"As the network predicts, before the labels are corrected, the largest bias is"
        f" {largest_bias(r['recovery_raw']):.2f} of the scatter, after it {largest_bias(r['recovery']):.2f}; the"
        f" scatter before is {100 * (mean_scatter(r['recovery_raw']) / mean_scatter(r['recovery']) - 1):.1f} % larger,"
        " in the mean over the labels.",
    ]
    return "\n".join(lines) + "\n"


def largest_bias(recovery: dict) -> float:
    """In units of the label's scatter."""
    return max(abs(row["bias"]) / row["scatter"] for row in recovery.values())


def mean_scatter(recovery: dict) -> float:
    """Geometric, since Teff has another unit."""
    return float(np.exp(np.mean([np.log(row["scatter"]) for row in recovery.values()])))


def lowest_and_highest(shares: list[float | None]) -> str:
    known = [100 * share for share in shares if share is not None]
    return f"{min(known):.0f} to {max(known):.0f}" if known else "-"


def page(text: str) -> str:
    """The page with its block written anew."""
    return replace_block(text, "recovery", recovery(json.loads(NUMBERS.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"written: {PAGE}")
