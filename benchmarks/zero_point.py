"""Zero points for tables: stars per second of the network, the grid and the whole way from Parquet to Parquet.

``python -m benchmarks.zero_point [STARS]`` prints one run on a table of that many stars (default 20 million).
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

GAIA_STARS = 139_847_389  # inside APOGEE's colour-magnitude range, section 4
RANGES = {"g_mag": [9.0, 16.5], "bp_rp": [0.7, 3.0], "teff": [3700.0, 5800.0]}


def measure(quick: bool = False) -> dict:
    """Medians over five runs [stars per second]; the ratio is of two numbers of one run."""
    from apogaia import gaia_tables

    table_stars, exact_stars = (200_000, 2_000) if quick else (5_000_000, 20_000)
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        gaia, output = folder / "gaia.parquet", folder / "out.parquet"
        model = write_model(folder / "multivariate.keras")
        write_table(gaia, table_stars)
        surface = gaia_tables.load_zero_point(model)
        posterior = gaia_tables.load_zero_point(model, exact=True)
        stars = _stars(np.random.default_rng(1), table_stars)
        few = [column[:exact_stars] for column in stars]
        surface.at(*few)  # compiles
        for _ in range(5):
            network = exact_stars / _seconds(lambda: posterior.at(*few))
            grid = table_stars / _seconds(lambda: surface.at(*stars))
            setup = _seconds(lambda: gaia_tables.load_zero_point(model))
            whole = _seconds(lambda: gaia_tables.add_zero_point_to_file(gaia, output, model, progress=False))
            stream = table_stars / (whole - setup)
            runs.append((network, grid, grid / network, setup, stream, setup + GAIA_STARS / stream))
    network, grid, ratio, setup, stream, projected = map(statistics.median, zip(*runs, strict=True))
    return {
        "runs": len(runs),
        "stars": table_stars,
        "cores": os.cpu_count(),
        "network_stars_per_second": network,
        "grid_stars_per_second_one_core": grid,
        "grid_over_network": ratio,
        "interpolation_error_uas": 1000 * surface.interpolation_error,
        "setup_seconds": setup,  # model and grid, once per table
        "parquet_to_parquet_stars_per_second": stream,
        "projected_seconds_139847389_stars": projected,
    }


def measure_long_table(stars: int) -> dict:
    """One run on a long table, and the memory it takes."""
    from apogaia import gaia_tables

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model = write_model(folder / "multivariate.keras")
        write_table(folder / "gaia.parquet", stars)
        gaia_tables.load_zero_point(model)
        before = _peak_mib()
        seconds = _seconds(
            lambda: gaia_tables.add_zero_point_to_file(folder / "gaia.parquet", folder / "out.parquet", model)
        )
        rows = pq.ParquetFile(folder / "out.parquet").metadata.num_rows
    return {
        "stars": rows,
        "seconds": seconds,
        "stars_per_second": rows / seconds,
        "projected_seconds_139847389_stars": GAIA_STARS / (rows / seconds),
        "peak_memory_before_mib": before,
        "peak_memory_mib": _peak_mib(),
        "cores": os.cpu_count(),
    }


def write_model(path: Path) -> Path:
    """A model with 1000 draws whose zero point bends by some 100 uas over `RANGES`; it is not trained."""
    from apogaia import networks, training
    from apogaia.survey import load_survey

    survey = load_survey("dr14")
    model = networks.build_joint_network(
        survey.network,
        "multivariate",
        mean_spectrum=np.ones(64, "float32"),
        parallax_scale=1.4,
        offset_mean=(11.6, 1.35, 4850.0),
        offset_sd=(1.2, 0.48, 425.0),
    )
    rng = np.random.default_rng(1)
    for name, sd in (("offset_hidden_1", 0.3), ("offset_hidden_2", 0.25), ("scaled_offset", 0.02)):
        layer = model.get_layer("offset").get_layer(name)
        layer.set_weights([rng.normal(0, sd, weights.shape) for weights in layer.get_weights()])
    training.save_model(
        model,
        path,
        {"survey": survey.name, "offset": "multivariate", "settings": survey.settings(), "training_range": RANGES},
    )
    return path


def write_table(path: Path, stars: int) -> None:
    """Gaia sources as the archive gives them: source_id, parallax and its error, and the inputs."""
    rng = np.random.default_rng(0)
    writer, written = None, 0
    while written < stars:
        n = min(1 << 20, stars - written)
        g_mag, bp_rp, teff = (column.astype("f4") for column in _stars(rng, n))
        table = pa.table(
            {
                "source_id": rng.integers(0, 2**62, n),
                "parallax": rng.normal(1, 0.5, n),
                "parallax_error": rng.uniform(0.02, 0.1, n).astype("f4"),
                "phot_g_mean_mag": g_mag,
                "bp_rp": bp_rp,
                "teff_gspphot": teff,
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
        written += n
    writer.close()


def _stars(rng, n: int) -> list[np.ndarray]:
    return [rng.uniform(low, high, n) for low, high in RANGES.values()]


def _seconds(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    print(json.dumps(measure_long_table(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000_000), indent=1))
