"""What the benchmarks share: the stopwatch, medians over runs, the machine, and processes of their own."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("apogaia", "keras", "tensorflow", "tensorflow-cpu", "jax", "numpy", "numba", "h5py", "astropy", "pyarrow")


@dataclass(frozen=True)
class Quantity:
    """A measured number as docs/performance.md shows it, and the bound it is held to."""

    key: str
    text: str
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None


def run(name: str, quick: bool = False) -> dict:
    """Measure one benchmark in a new process; all but `gpu` on the CPU, even where there is a GPU."""
    started = {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "load_average": os.getloadavg()[0]}
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return started | {"values": pool.submit(_measure, name, quick).result()}


def _measure(name: str, quick: bool) -> dict:
    if name != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # read when the backend is imported
    return importlib.import_module(f"benchmarks.{name}").measure(quick)


def seconds(function: Callable) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Median of each number over the runs, how many there were, and each run; a ratio must be of numbers of one run."""
    middle = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    return {"runs": len(runs), "each_run": list(runs)} | middle


def sgemm_flops_per_second(size: int = 2048) -> float:
    """The best of five products of two square matrices in single precision, on all cores."""
    a, b = np.random.default_rng(0).random((2, size, size), np.float32)
    out = np.empty_like(a)
    return 2 * size**3 / min(seconds(lambda: np.matmul(a, b, out=out)) for _ in range(5))


def peak_mib() -> float:
    """The most memory that this process has held [MiB]; getrusage would count the parent's before the exec, too."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def in_new_process(module: str, *arguments: str | int, environment: Mapping[str, str] | None = None) -> dict:
    """Run ``python -m benchmarks.<module>``; its last line is JSON.

    Raises
    ------
    RuntimeError
        If it fails; the message ends with what it said.
    """
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"benchmarks.{module} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def machine() -> dict:
    """CPU model, its widest vectors, which decide its speed, usable cores, memory [GiB], and the GPU's name or None."""
    cpu, vectors = processor(Path("/proc/cpuinfo").read_text())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": cpu,
        "vectors": vectors,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "gpu": gpu_name(),
    }


def processor(cpuinfo: str) -> tuple[str, str]:
    """Model of the first core, or the architecture where Linux names none; "AVX-512", "AVX2" or no vectors."""
    told: dict[str, str] = {}
    for name, _, value in (line.partition(":") for line in cpuinfo.splitlines()):
        told.setdefault(name.strip(), value.strip())
    flags = told.get("flags", "").split()
    vectors = {"AVX-512": "avx512f", "AVX2": "avx2"}
    return told.get("model name", platform.machine()), next((v for v, flag in vectors.items() if flag in flags), "")


def kind(machine: Mapping) -> str:
    """Of machine: those of one kind share a block of docs/performance.md."""
    vectors = machine.get("vectors", "")
    return "gpu" if machine["gpu"] else f"cpu-{vectors.lower()}" if vectors else "cpu"


def gpu_name() -> str | None:
    """Name of the first NVIDIA GPU, None where there is none."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout.strip() else None


def versions() -> dict[str, str]:
    """Versions of Python and of those of `PACKAGES` that are installed."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
