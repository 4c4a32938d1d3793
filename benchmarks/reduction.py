"""The reduction of 3,000 and of 30,000 stars on two processes, and its tables at the sizes of DR14 and DR17.

Simulated surveys of these sizes (0.33 MB a star) are reduced in a separate process, first with none of their files in
the system's cache (cold), then again (warm). Memory: the peak of the process itself and of its largest worker, and the
peak of the sum over all of them. Fractions are of the time that one process takes for a star, warm unless marked cold.
The tables are read, matched and written at full size without spectra, allStar with 4 kB a row.
Projections hold for two processes on this machine and its disk, and for files of the simulated size.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from benchmarks.measuring import Quantity, in_new_process, peak_mib, seconds

SIZES = {"small": 3_000, "large": 30_000}
SURVEYS = {"dr14": 277_371, "dr17": 733_901}  # rows of allStar
PROCESSES = 2
NEEDED_GB = 15
SAMPLE = 1_000  # files for the shares


def _quantities() -> tuple[Quantity, ...]:
    found = []
    for size, n in SIZES.items():
        found += [
            Quantity(f"stars_per_second_cold_{size}", f"{n:,} stars, cold", "stars/s"),
            Quantity(f"stars_per_second_warm_{size}", f"{n:,} stars, warm", "stars/s"),
            Quantity(f"parent_mib_{size}", f"{n:,} stars: peak memory of the process", "MiB"),
            Quantity(f"worker_mib_{size}", f"{n:,} stars: peak memory of its largest worker", "MiB"),
            Quantity(f"sum_mib_{size}", f"{n:,} stars: peak of the sum", "MiB"),
        ]
    found += [
        Quantity("parent_growth_kib_per_star", "growth of the process' peak memory", "KiB per star", at_most=2),
        Quantity("worker_growth_mib", "growth of the largest worker's", "MiB", at_most=50),
        Quantity("ms_per_star", "one process: read and normalise", "ms per star"),
        Quantity("share_reading", "of that, `read_apstar`"),
        Quantity("share_bytes", "of that, `read` of the same files"),
        Quantity("share_bytes_cold", "`read` of the same files cold, over that"),
        Quantity("cold_fraction", "of their bytes came from the disk then"),
    ]
    for name, n in SURVEYS.items():
        found += [
            Quantity(f"tables_s_{name}", f"tables of {n:,} stars", "s"),
            Quantity(f"tables_mib_{name}", f"tables of {n:,} stars: peak memory", "MiB", at_most=3072),
            Quantity(f"hours_{name}", f"projected for {n:,} stars, cold", "h"),
            Quantity(f"disk_gb_{name}", f"disk for {n:,} stars: stars.h5 and chunks", "GB"),
        ]
    return tuple(found)


QUANTITIES = _quantities()


def measure(quick: bool = False) -> dict:
    sizes = {"small": 12, "large": 36} if quick else SIZES
    surveys = dict.fromkeys(SURVEYS, 500) if quick else SURVEYS
    values = {"processes": PROCESSES, "sizes": sizes}
    with tempfile.TemporaryDirectory(prefix="apogaia-reduction-") as folder:
        free = shutil.disk_usage(folder).free / 1e9
        if free < NEEDED_GB and not quick:
            return {"skipped": f"needs {NEEDED_GB} GB under {Path(folder).parent}, of which {free:.0f} are free"}
        for size, n in sizes.items():
            root = Path(folder) / size
            values |= {f"{key}_{size}": value for key, value in reduce_simulated(root, n, quick).items()}
            if size == "large":
                values |= in_new_process("reduction", "shares", root, min(n, SAMPLE))
            shutil.rmtree(root)
        for name, n in surveys.items():
            root = Path(folder) / name
            values |= {f"{key}_{name}": value for key, value in in_new_process("reduction", "tables", root, n).items()}
            shutil.rmtree(root)
    step = sizes["large"] - sizes["small"]
    values["parent_growth_kib_per_star"] = (values["parent_mib_large"] - values["parent_mib_small"]) * 1024 / step
    values["worker_growth_mib"] = values["worker_mib_large"] - values["worker_mib_small"]
    for name, n in SURVEYS.items():
        values[f"hours_{name}"] = n / values["stars_per_second_cold_large"] / 3600
        values[f"disk_gb_{name}"] = 2 * n * values["product_bytes_large"] / sizes["large"] / 1e9
    return values


# --- surveys that are simulated ---------------------------------------------------------------------------------------


def survey_of(root: Path, n: int):
    """A survey of `n` simulated stars and its workspace."""
    import dataclasses

    from apogaia.survey import load_survey
    from apogaia.workspace import Workspace

    survey = load_survey("smoke")
    survey = dataclasses.replace(survey, simulation=dataclasses.replace(survey.simulation, n_stars=n))
    return survey, Workspace(survey, root)


def reduce_simulated(root: Path, n: int, quick: bool) -> dict:
    """Simulate, reduce cold and warm."""
    from apogaia.simulate.run import simulate_survey

    survey, workspace = survey_of(root, n)
    simulate_survey(survey, workspace, progress=False, processes=1 if quick else None)
    raw = [path for path in workspace.raw.rglob("*") if path.is_file()]
    values = {"raw_bytes": sum(path.stat().st_size for path in raw)}
    for state in ("cold", "warm"):
        if state == "cold":
            forget(raw)
        values[f"load_average_{state}"] = os.getloadavg()[0]
        with Memory() as memory:
            done = in_new_process("reduction", "reduce", root, n, 4 if quick else 0)
        values[f"stars_per_second_{state}"] = n / done["seconds"]
        values[f"seconds_{state}"] = done["seconds"]
        values["parent_mib"] = max(done["peak_mib"], values.get("parent_mib", 0))
        values["worker_mib"] = max(memory.worker_mib, values.get("worker_mib", 0))
        values["sum_mib"] = max(memory.sum_mib, values.get("sum_mib", 0))
        values["product_bytes"] = workspace.stars.stat().st_size
        workspace.stars.unlink()
    return values


def forget(paths: list[Path]) -> None:
    """Have the system drop files from its cache; what is not on the disk yet cannot be dropped."""
    os.sync()
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


class Memory:
    """Watches the processes below this one, ten times a second: the workers' peaks [MiB] and the sum's."""

    def __enter__(self):
        self.worker_mib = self.sum_mib = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        import psutil

        this = psutil.Process()
        while not self._end.wait(0.1):
            total = 0.0
            for child in this.children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, TypeError):  # it has just ended
                    total += child.memory_info().rss / 2**20
                    if child.ppid() != this.pid:
                        status = Path(f"/proc/{child.pid}/status").read_text()
                        peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024
                        self.worker_mib = max(self.worker_mib, peak)
            self.sum_mib = max(self.sum_mib, total)


def reduce(root: str, n: str, chunk: str) -> dict:
    """In a new process: one run; `chunk` 0 is the package's own."""
    from apogaia.reduction import reduce

    survey, workspace = survey_of(Path(root), int(n))
    reduce.CHUNK_ROWS = int(chunk) or reduce.CHUNK_ROWS
    took = seconds(lambda: reduce.reduce_survey(survey, workspace, processes=PROCESSES, progress=False))
    return {"seconds": took, "peak_mib": peak_mib()}


def shares(root: str, n: str) -> dict:
    """In a new process, with one thread: what a star's time is made of."""
    from apogaia.formats.apstar import SpectrumError, read_apstar
    from apogaia.reduction import reduce

    survey, workspace = survey_of(Path(root), int(n))
    paths = sorted(workspace.raw.rglob("a[ps]Star*-*.fits"))[: int(n)]
    forget(paths)
    before = _bytes_from_disk()
    cold = seconds(lambda: [path.read_bytes() for path in paths])
    fraction = (_bytes_from_disk() - before) / sum(path.stat().st_size for path in paths)

    def read() -> None:
        for path in paths:
            with contextlib.suppress(SpectrumError):
                read_apstar(path)

    read()
    plain = min(seconds(lambda: [path.read_bytes() for path in paths]) for _ in range(3))
    reading = min(seconds(read) for _ in range(3))
    whole = min(seconds(lambda: reduce.reduce_spectra(paths, survey.spectra)) for _ in range(3))
    return {
        "ms_per_star": 1000 * whole / len(paths),
        "share_reading": reading / whole,
        "share_bytes": plain / whole,
        "share_bytes_cold": cold / whole,
        "cold_fraction": fraction,
    }


def _bytes_from_disk() -> int:
    return int(re.search(r"^read_bytes: (\d+)", Path("/proc/self/io").read_text(), re.MULTILINE)[1])


# --- tables at full size ----------------------------------------------------------------------------------------------


def tables(root: str, n: str) -> dict:
    """In a new process: everything that is not spectra, from files written for it."""
    from apogaia import files
    from apogaia.formats import survey_tables
    from apogaia.reduction import reduce, stars_h5

    survey, workspace = survey_of(Path(root), int(n))
    in_new_process("reduction", "write", root, n)
    raw = [workspace.allstar, workspace.gaia, workspace.stellar_parameters]
    forget(raw)
    start = time.perf_counter()
    allstar = survey_tables.read_allstar(workspace.allstar)
    files.fingerprint({}, raw)
    table = reduce.star_table(allstar, survey, workspace)
    table["status"] = np.zeros(len(table), np.int8)
    table["reason"] = np.array(["" if i % 20 else f"a reason of some length, {i}" for i in range(len(table))], object)
    with contextlib.suppress(ValueError):  # the spectra, which are left out here, are missed at the end
        stars_h5.write_stars(workspace.stars, table, ())
    return {"tables_s": time.perf_counter() - start, "tables_mib": peak_mib()}


def write(root: str, n: str) -> dict:
    """In a new process: raw tables of so many stars, with columns that nobody reads."""
    from astropy.io import fits

    workspace = survey_of(Path(root), int(n))[1]
    workspace.raw.mkdir(parents=True)
    n, rng = int(n), np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, n), np.degrees(np.arcsin(rng.uniform(-1, 1, n)))
    names = np.char.add("2M", np.char.zfill(np.arange(n).astype(str), 16)).astype("S18")
    floats = "J H K K_ERR GLON GLAT SNR VHELIO_AVG VSCATTER AK_TARG TEFF LOGG".split()
    allstar = {"APOGEE_ID": names, "UNREAD_1": (">f4", 500), "RA": ra, "DEC": dec, "LOCATION_ID": np.full(n, 4400)}
    allstar |= {name: rng.uniform(0.1, 10, n).astype("f4") for name in floats}
    allstar |= {"TELESCOPE": np.full(n, b"apo25m"), "FIELD": np.full(n, b"060+00"), "UNREAD_2": (">f4", 500)}
    allstar |= {"NVISITS": np.ones(n, "i4"), "STARFLAG": np.zeros(n, "i4")}
    _write_in_blocks(workspace.allstar, allstar, n, fits)
    gaia = {name: rng.uniform(0.1, 10, n) for name in workspace.gaia_release.columns}
    gaia |= {"source_id": np.arange(n), "ra": ra, "dec": dec, "visibility_periods_used": np.full(n, 12)}
    _write_in_blocks(workspace.gaia, gaia, n, fits)
    labels = {"APOGEE_ID": names, "astroNN": (">f8", 22), "astroNN_error": (">f8", 22), "UNREAD": (">f4", 200)}
    _write_in_blocks(workspace.stellar_parameters, labels, n, fits)
    return {}


def _write_in_blocks(path: Path, columns: dict, n: int, fits, block: int = 20_000) -> None:
    """A FITS table; a column given as (type, length of a row) is zeros."""
    kinds = [
        (name, *given) if isinstance(given, tuple) else (name, given.dtype.newbyteorder(">"))
        for name, given in columns.items()
    ]
    dtype = np.dtype(kinds)
    header = fits.BinTableHDU(np.zeros(1, dtype)).header
    header["NAXIS2"] = n
    with open(path, "wb") as file:
        file.write(f"{fits.PrimaryHDU().header.tostring()}{header.tostring()}".encode("ascii"))
        for start in range(0, n, block):
            rows = np.zeros(min(block, n - start), dtype)
            for name, given in columns.items():
                if not isinstance(given, tuple):
                    rows[name] = given[start : start + block]
            file.write(rows.tobytes())
        file.write(bytes(-n * dtype.itemsize % 2880))


if __name__ == "__main__":
    print(
        json.dumps({"reduce": reduce, "shares": shares, "tables": tables, "write": write}[sys.argv[1]](*sys.argv[2:]))
    )
