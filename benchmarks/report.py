"""The table in docs/performance.md: one block per kind of machine, of which a run replaces its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import ModuleType

from benchmarks.measuring import Quantity

HEAD = """# Performance

Written by `make bench` (`python -m benchmarks`). Numbers are medians over the runs stated; the two sides of a ratio
were measured in turns within the same run. A bound is a promise of this project; whether it was met is computed.
"""


def section(record: Mapping, modules: Mapping[str, ModuleType]) -> str:
    """One machine's measurements, ``results/benchmarks/<kind>.json``, as Markdown."""
    machine, versions = record["machine"], record["versions"]
    gpu, vectors = machine["gpu"], machine.get("vectors", "")
    lines = [
        "## GPU host" if gpu else f"## CPU host with {vectors}" if vectors else "## CPU host",
        "",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:.0f} GiB memory, {gpu or 'no GPU'}.",
        ", ".join(f"{name} {number}" for name, number in versions.items()) + ".",
    ]
    for name, module in modules.items():
        if name in record["benchmarks"]:
            lines += ["", *_benchmark(module, record["benchmarks"][name])]
    return "\n".join(lines) + "\n"


def replace_section(text: str, kind: str, block: str) -> str:
    """The document with the block of this kind of machine replaced, or added at the end."""
    begin, end = f"<!-- {kind}: begin -->\n", f"<!-- {kind}: end -->\n"
    text = text or HEAD
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(text):
        return f"{text}\n{begin}{block}{end}"
    return pattern.sub(lambda _: begin + block + end, text)


def _benchmark(module: ModuleType, measured: Mapping) -> list[str]:
    title, _, explanation = module.__doc__.strip().partition("\n\n")
    values = measured["values"]
    lines = [f"### {title.rstrip('.')}", "", *explanation.strip().split("\n"), ""]
    if "skipped" in values:
        return [*lines, f"Skipped: {values['skipped']}."]
    load = measured["load_average"]
    circumstances = f"{measured['date']}, load average before the start {load:.1f}"
    if "runs" in values:
        circumstances += f", {values['runs']} runs"
    lines += [circumstances + ".", "", "| quantity | measured | range of the runs | bound |", "|---|---|---|---|"]
    for quantity in module.QUANTITIES:
        if quantity.key in values:
            each = [one[quantity.key] for one in values.get("each_run", ()) if quantity.key in one]
            lines.append(_row(quantity, values[quantity.key], each))
    return lines


def _row(quantity: Quantity, value: float, each: Sequence[float] = ()) -> str:
    spread = f"{number(min(each))} to {number(max(each))}" if len(set(each)) > 1 else ""
    return f"| {quantity.text} | {f'{number(value)} {quantity.unit}'.strip()} | {spread} | {_bound(quantity, value)} |"


def _bound(quantity: Quantity, value: float) -> str:
    if quantity.at_least is not None:
        return f"at least {number(quantity.at_least)}: {'met' if value >= quantity.at_least else 'NOT met'}"
    if quantity.at_most is not None:
        return f"at most {number(quantity.at_most)}: {'met' if value <= quantity.at_most else 'NOT met'}"
    return ""


def number(value: float) -> str:
    """Three significant digits, and whole numbers from a hundred on."""
    return f"{value:,.0f}" if abs(value) >= 100 or float(value).is_integer() else f"{value:.3g}"
