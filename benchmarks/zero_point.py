"""Zero points for Gaia-size tables: the network, the grid, and all steps from Parquet to Parquet.

Projections are for the 139,847,389 stars inside APOGEE's colour-magnitude range (Leung & Bovy 2019b, section 4). The
long table and a tenth of it are each processed in a separate process, so that their peak memories can be compared.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measuring import Quantity, in_new_process, medians, peak_mib, seconds

GAIA_STARS = 139_847_389  # inside APOGEE's colour-magnitude range, section 4
LONG_TABLE = 20_000_000
RANGES = {"g_mag": [9.0, 16.5], "bp_rp": [0.7, 3.0], "teff": [3700.0, 5800.0]}

QUANTITIES = (
    Quantity("parquet_to_parquet_stars_per_second", "Parquet to Parquet", "stars/s", at_least=2e6),
    Quantity("setup_seconds", "model and grid, once per table", "s"),
    Quantity("projected_seconds", f"projected for {GAIA_STARS:,} stars", "s"),
    Quantity("network_stars_per_second", "the network, every star", "stars/s"),
    Quantity("grid_stars_per_second_one_core", "the grid, one core", "stars/s"),
    Quantity("grid_over_network", "grid / network"),
    Quantity("interpolation_error_uas", "largest error of the grid", "uas", at_most=0.1),
    Quantity("long_table_stars", "long table, one run", "stars"),
    Quantity("long_table_seconds", "the same, with model and grid", "s"),
    Quantity("long_table_stars_per_second", "the same, with model and grid", "stars/s"),
    Quantity("long_table_peak_mib", "the same, peak memory", "MiB"),
    Quantity("long_table_memory_growth_mib", "the same, more than for a tenth of it", "MiB", at_most=200),
)


def measure(quick: bool = False) -> dict:
    """Medians over the runs [stars per second]; the ratio is of two numbers of one run."""
    from apogaia.zero_point import gaia_tables

    table_stars, exact_stars, long_stars, runs = (
        (50_000, 500, 100_000, 2) if quick else (5_000_000, 20_000, LONG_TABLE, 5)
    )
    results = []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        gaia, output = folder / "gaia.parquet", folder / "out.parquet"
        model = write_model(folder / "multivariate.keras", draws=20 if quick else 1000)
        write_table(gaia, table_stars)
        surface = gaia_tables.load_zero_point(model)
        posterior = gaia_tables.load_zero_point(model, exact=True)
        stars = _stars(np.random.default_rng(1), table_stars)
        few = [column[:exact_stars] for column in stars]
        surface.at(*few)  # compiles
        for _ in range(runs):
            network = exact_stars / seconds(lambda: posterior.at(*few))
            grid = table_stars / seconds(lambda: surface.at(*stars))
            setup, stream = _setup_and_stream_seconds(gaia, output, model)
            results.append(
                {
                    "network_stars_per_second": network,
                    "grid_stars_per_second_one_core": grid,
                    "grid_over_network": grid / network,
                    "setup_seconds": setup,
                    "parquet_to_parquet_stars_per_second": table_stars / stream,
                    "projected_seconds": setup + GAIA_STARS / table_stars * stream,
                }
            )
        once = measure_long_table if quick else partial(in_new_process, "zero_point")
        tenth, long = once(model, long_stars // 10), once(model, long_stars)
    return {
        "stars": table_stars,
        "interpolation_error_uas": 1000 * surface.interpolation_error,
        **medians(results),
        "long_table_stars": long["stars"],
        "long_table_seconds": long["seconds"],
        "long_table_stars_per_second": long["stars"] / long["seconds"],
        "long_table_peak_mib": long["peak_mib"],
        "long_table_memory_growth_mib": long["peak_mib"] - tenth["peak_mib"],
    }


def _setup_and_stream_seconds(gaia: Path, output: Path, model: Path) -> tuple[float, float]:
    """Seconds for the model and its grid, and for the table, of one call."""
    from apogaia.zero_point import gaia_tables

    load, setup = gaia_tables.load_zero_point, []

    def timed(*arguments, **options):
        loaded = []
        setup.append(seconds(lambda: loaded.append(load(*arguments, **options))))
        return loaded[0]

    with mock.patch.object(gaia_tables, "load_zero_point", timed):
        whole = seconds(lambda: gaia_tables.add_zero_point_to_file(gaia, output, model, progress=False))
    return setup[0], whole - setup[0]


def measure_long_table(model: str, stars: int) -> dict:
    """Seconds and peak memory of one run on a table of so many stars."""
    from apogaia.zero_point import gaia_tables

    with tempfile.TemporaryDirectory() as folder:
        gaia, output = Path(folder) / "gaia.parquet", Path(folder) / "out.parquet"
        write_table(gaia, stars)
        took = seconds(lambda: gaia_tables.add_zero_point_to_file(gaia, output, model, progress=False))
        return {"stars": pq.ParquetFile(output).metadata.num_rows, "seconds": took, "peak_mib": peak_mib()}


def write_model(path: Path, draws: int = 1000) -> Path:
    """A model whose zero point bends by some 100 uas over `RANGES`; it is not trained."""
    from apogaia.model import model_file, networks
    from apogaia.survey import load_survey

    survey = load_survey("dr14")
    survey = dataclasses.replace(survey, inference=dataclasses.replace(survey.inference, offset_draws=draws))
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
    model_file.save_model(
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


if __name__ == "__main__":
    print(json.dumps(measure_long_table(sys.argv[1], int(sys.argv[2]))))
