"""Run the benchmarks: each in a process of its own, then results/benchmarks/<kind>.json and docs/performance.md."""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

from apogaia.files import atomic, read_json, write_json
from benchmarks import measuring, report

NAMES = (
    "training_step",
    "kept_memory",
    "mc_dropout",
    "mc_dropout_labels",
    "linear_growth",
    "continuum",
    "apstar_reading",
    "reduction",
    "zero_point",
    "stages",
    "gpu",
)


def keep(root: Path, measured: dict) -> Path:
    """Add measurements to the JSON of this kind of machine, and write its block of docs/performance.md."""
    machine = measuring.machine()
    kind = measuring.kind(machine)
    path = root / "results" / "benchmarks" / f"{kind}.json"
    before = read_json(path)["benchmarks"] if path.is_file() else {}
    versions = measuring.versions()
    write_json(path, {"kind": kind, "machine": machine, "versions": versions, "benchmarks": {**before, **measured}})
    modules = {name: importlib.import_module(f"benchmarks.{name}") for name in NAMES}
    page = root / "docs" / "performance.md"
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    block = report.section(read_json(path), modules)
    with atomic(page) as temporary:
        temporary.write_text(report.replace_section(text, kind, block), encoding="utf-8")
    return page


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=NAMES, action="append", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="a trial: tiny sizes, printed and not kept")
    options = parser.parse_args(arguments)
    for name in options.only or NAMES:
        print(f"{name} ...", flush=True)
        measured = measuring.run(name, options.quick)
        print(json.dumps(measured, indent=1), flush=True)
        if not options.quick:
            print(f"kept in {keep(measuring.ROOT, {name: measured})}", flush=True)


if __name__ == "__main__":
    main()
