"""Fixtures that several test files share."""

import os
from pathlib import Path

import backends
import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores: one thread each, set before numpy and Keras load
    THREADS = "OMP OPENBLAS MKL NUMBA".split()
    os.environ |= {f"{name}_NUM_THREADS": "1" for name in THREADS}
    os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}

REALDATA = Path(__file__).resolve().parents[2] / "shared" / "realdata"


@pytest.fixture(scope="session")
def realdata() -> Path:
    """Folder of a few real APOGEE files; tests that read them are skipped where it is absent."""
    if not REALDATA.is_dir():
        pytest.skip("the real APOGEE files (../shared/realdata) are not here")
    return REALDATA


@pytest.fixture(scope="session")
def jax_process():
    """Runs scripts with Keras on JAX, in one process for all tests: it takes 10 s to start."""
    pytest.importorskip("jax")
    interpreter = backends.Interpreter("jax")
    yield interpreter
    interpreter.close()


# Whole files go to the processes of xdist in this order, so that no long one is left for the end.
SLOWEST_FIRST = (
    *("02_joint_training", "04_inference_catalogue", "03_offset_analysis", "05_jacobian", "07_milky_way_maps"),
    *("test_benchmarks", "test_dropout_jax", "test_training_jax", "test_devices", "test_gaia_tables", "test_fetch"),
    *("test_reduce_survival", "01_data_reduction", "test_reduce_damaged_input", "test_training", "test_networks"),
    *("test_gaia", "test_plots", "test_dask_cluster", "test_training_domain", "test_commands", "test_synthesis"),
)


def pytest_collection_modifyitems(items: list) -> None:
    rank = {name: i for i, name in enumerate(SLOWEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))
