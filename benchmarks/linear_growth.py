"""Monte-Carlo dropout of 1,000, 10,000 and 100,000 spectra from a file, each in a separate process: time and memory.

Ten passes a spectrum. The files are HDF5, as stars.h5 is, and removed afterwards; the largest takes 3 GB.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from benchmarks.measuring import Quantity, in_new_process, medians, peak_mib, seconds

SIZES = {1_000: 5, 10_000: 5, 100_000: 1}  # spectra -> runs
PASSES = 10

QUANTITIES = (
    *(
        quantity
        for size in SIZES
        for quantity in (
            Quantity(f"seconds_{size}", f"{size:,} spectra", "s"),
            Quantity(f"peak_mib_{size}", f"{size:,} spectra, peak memory", "MiB"),
        )
    ),
    Quantity("time_per_spectrum_last_over_first", "time per spectrum, 100,000 / 1,000", at_most=1.2),
    Quantity("memory_growth_mib", "peak memory, 100,000 - 1,000", "MiB", at_most=100),
)


def measure(quick: bool = False) -> dict:
    sizes = {32: 1, 96: 1} if quick else SIZES
    values = {"passes": PASSES}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spectra.h5"
        for size, runs in sizes.items():
            write_spectra(path, size)
            each = medians([in_new_process("linear_growth", path, PASSES) for _ in range(runs)])
            values |= {f"{key}_{size}": value for key, value in each.items() if key != "each_run"}
    first, last = min(sizes), max(sizes)
    values["time_per_spectrum_last_over_first"] = (
        values[f"seconds_{last}"] / last / (values[f"seconds_{first}"] / first)
    )
    values["memory_growth_mib"] = values[f"peak_mib_{last}"] - values[f"peak_mib_{first}"]
    return values


def write_spectra(path: Path, n: int, block: int = 1000) -> None:
    import h5py

    from benchmarks.mc_dropout import random_spectra

    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("spectrum", (n, 7514), "float32")
        for start in range(0, n, block):
            dataset[start : start + block] = random_spectra(min(block, n - start), seed=start)


def measure_file(path: str, passes: int) -> dict:
    """Seconds and peak memory of one run over a file."""
    import h5py

    from apogaia.model import inference
    from benchmarks.mc_dropout import random_spectra, untrained_model

    model = untrained_model()
    inference.predict(model, random_spectra(2), passes=2, seed=1, progress=False)  # compiles
    with h5py.File(path) as file:
        took = seconds(lambda: inference.predict(model, file["spectrum"], passes=passes, seed=1, progress=False))
    return {"seconds": took, "peak_mib": peak_mib()}


if __name__ == "__main__":
    print(json.dumps(measure_file(sys.argv[1], int(sys.argv[2]))))
