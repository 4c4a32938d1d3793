"""The benchmarks run, give the numbers that their tables promise, and write a page that keeps other machines' blocks.

Nothing here asserts how fast anything is.
"""

import importlib
import json
import math
import platform
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from apogaia.files import write_json
from apogaia.model import networks
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks/ is beside the package, not in it

from benchmarks import __main__ as command
from benchmarks import apstar_reading, continuum, gpu, linear_growth, measuring, report, stages, training_step
from benchmarks.measuring import Quantity

MAY_BE_NEGATIVE = {
    *("memory_growth_mib", "long_table_memory_growth_mib", "interpolation_error_uas"),
    *("parent_growth_kib_per_star", "worker_growth_mib"),
}
SHARES = {"kept_system_share", "given_back_system_share"}  # 0 where the system's clock is too coarse for a short run


@pytest.mark.parametrize(
    "name",
    [
        *("training_step", "kept_memory", "mc_dropout", "mc_dropout_labels", "linear_growth"),
        *("continuum", "apstar_reading", "reduction", "zero_point"),
    ],
)
def test_a_quick_run_gives_every_promised_number(name):
    module = importlib.import_module(f"benchmarks.{name}")
    values = module.measure(quick=True)
    promised = {quantity.key for quantity in module.QUANTITIES}
    if name == "linear_growth":  # the sizes are part of the names
        promised = {"seconds_32", "seconds_96", "peak_mib_32", "peak_mib_96", "memory_growth_mib"}
    assert promised <= set(values)
    for key in promised:
        assert math.isfinite(values[key]), key
        if key in SHARES:
            assert 0 <= values[key] < 1, key
        else:
            assert values[key] > 0 or key in MAY_BE_NEGATIVE, key


def test_the_continua_compared_are_the_same():
    assert continuum.measure_here(quick=True)["largest_difference"] < 1e-4


def test_the_networks_compared_are_the_same():
    network, pixels = load_survey("dr14").network, 60
    rng = np.random.default_rng(2)
    mean = rng.uniform(0.9, 1.1, pixels).astype("float32")
    scales = (12.0, 1.3, 4800.0), (1.0, 0.3, 300.0)
    ours = networks.build_joint_network(
        network, "multivariate", mean_spectrum=mean, parallax_scale=0.5, offset_mean=scales[0], offset_sd=scales[1]
    )
    plain = training_step.plain_network(network, mean, 0.5, *scales)
    plain.set_weights(_in_order_of(plain, ours))
    inputs, _ = training_step.random_sample(5, pixels).arrays("multivariate")
    np.testing.assert_allclose(plain.predict(inputs, verbose=0), ours.predict(inputs, verbose=0), rtol=1e-4)


def _in_order_of(plain, ours):
    """Weights of the package's model in the order of the plain one, matched by shape, in order among equals."""
    pools = {}
    for weight in ours.trainable_variables:
        pools.setdefault(tuple(weight.shape), []).append(np.asarray(weight))
    trained = {id(weight) for weight in plain.trainable_variables}
    return [
        pools[tuple(weight.shape)].pop(0) if id(weight) in trained else np.asarray(weight) for weight in plain.weights
    ]


def test_flops_of_a_step_are_those_counted_by_hand():
    network = SimpleNamespace(conv_filters=(2, 3), conv_width=5, pool_width=2, hidden_units=(7,))
    forward = 2 * (10 * 5 * 1 * 2 + 10 * 5 * 2 * 3 + (5 * 3) * 7 + 7 * 2)
    assert training_step.flops_per_star(network, 10) == 3 * forward - 2 * 10 * 5 * 1 * 2


def test_spectra_on_disk_do_not_depend_on_the_blocks_written(tmp_path):
    linear_growth.write_spectra(tmp_path / "s.h5", 7, block=3)
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["spectrum"].shape == (7, 7514)
        assert np.isfinite(file["spectrum"]).all()
        assert len(np.unique(file["spectrum"][:, 0])) == 7


def test_faulty_files_are_left_out_of_the_reading(tmp_path):
    raw = apstar_reading.simulate(tmp_path, 4)
    files = sorted(raw.rglob("a[ps]Star*-*.fits"))
    files[0].write_bytes(files[0].read_bytes()[:5000])
    assert apstar_reading._measure(raw, files=10, runs=1)["files"] == len(files) - 1


def test_without_a_gpu_that_benchmark_is_skipped(monkeypatch):
    monkeypatch.setattr(gpu, "gpu_name", lambda: None)
    skipped = gpu.measure(quick=True)
    assert "no GPU" in skipped["skipped"]


def test_stages_come_from_the_executed_notebooks(tmp_path):
    workspace = Workspace(load_survey("smoke"), tmp_path)
    for name, took in {"01_a": 3.5, "02_b": 4.5}.items():
        write_json(workspace.executed_notebook(name), {"metadata": {"papermill": {"duration": took}}})
    found = stages.stage_seconds(workspace, ["01_a", "02_b"])
    assert found == {"smoke/01_a": 3.5, "smoke/02_b": 4.5, "smoke/total": 8}
    assert "smoke/total" not in stages.stage_seconds(workspace, ["01_a", "02_b", "03_c"])


def test_the_page_keeps_the_blocks_of_other_machines():
    page = report.replace_section("", "cpu", "one\n")
    page = report.replace_section(page, "gpu", "two\n")
    again = report.replace_section(page, "cpu", "three\n")
    assert page.startswith("# Performance") and "one" in page
    assert again == page.replace("one", "three")


def test_bounds_are_judged():
    lower, upper = Quantity("a", "A", "ms", at_least=1.6), Quantity("b", "B", at_most=100)
    assert report._row(lower, 1.6, [1.5, 1.7]) == "| A | 1.6 ms | 1.5 to 1.7 | at least 1.6: met |"
    assert "NOT met" in report._row(lower, 1.59)
    assert report._row(upper, 1234.4) == "| B | 1,234 |  | at most 100: NOT met |"
    assert report._row(Quantity("c", "C"), 0.01234) == "| C | 0.0123 |  |  |"


def test_a_processor_is_named_with_its_widest_vectors():
    two = "processor : 0\nmodel name : {}\nflags\t\t: fpu {}\n\nprocessor : 1\nmodel name : other\nflags : avx512f\n"
    assert measuring.processor(two.format("One", "avx2 avx512f")) == ("One", "AVX-512")
    assert measuring.processor(two.format("One", "avx avx2")) == ("One", "AVX2")
    assert measuring.processor(two.format("One", "avx")) == ("One", "")
    assert measuring.processor("processor : 0\nBogoMIPS : 50\n") == (platform.machine(), "")


def test_processors_with_other_vectors_have_blocks_of_their_own(tmp_path, monkeypatch):
    step = {"date": "2019-10-01", "load_average": 0.1, "values": {"runs": 5, "apogaia_ms": 20.0}}
    for vectors in ("AVX-512", "AVX2"):
        machine = {"cpu": "processor", "vectors": vectors, "cores": 2, "memory_gib": 8.0, "gpu": None}
        monkeypatch.setattr(measuring, "machine", lambda machine=machine: machine)
        page = command.keep(tmp_path, {"training_step": step})
    assert page.read_text().count("20 ms per step") == 2
    assert all(f"## CPU host with {vectors}\n" in page.read_text() for vectors in ("AVX-512", "AVX2"))
    assert measuring.kind(machine | {"gpu": "H100"}) == "gpu"


def test_a_run_is_kept_beside_the_others(tmp_path, monkeypatch):
    machine = {"cpu": "processor", "cores": 2, "memory_gib": 8.0, "gpu": None}
    monkeypatch.setattr(measuring, "machine", lambda: machine)
    step = {"date": "2019-10-01", "load_average": 0.1, "values": {"runs": 5, "apogaia_ms": 20.0}}
    page = command.keep(tmp_path, {"training_step": step})
    command.keep(tmp_path, {"gpu": {"date": "2019-10-01", "load_average": 0.1, "values": {"skipped": "no GPU"}}})
    kept = json.loads((tmp_path / "results" / "benchmarks" / "cpu.json").read_text())
    assert kept["machine"] == machine and set(kept["benchmarks"]) == {"training_step", "gpu"}
    text = page.read_text()
    assert "processor, 2 cores" in text and "Skipped: no GPU." in text
    assert "| `fit` of apogaia's network | 20 ms per step |  | at most 24: met |" in text


def test_peak_memory_is_that_of_the_process_itself(tmp_path):
    ballast = np.ones(2**26)  # 512 MiB, here and not in the child
    (tmp_path / "benchmarks").symlink_to(Path(measuring.__file__).parent)
    (tmp_path / "child.py").write_text("from benchmarks.measuring import peak_mib\nprint(peak_mib())\n")
    child = subprocess.run([sys.executable, "child.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert measuring.peak_mib() > ballast.nbytes / 2**20 > float(child.stdout)


def test_medians_are_of_each_number():
    runs = [{"a": 1}, {"a": 5}, {"a": 2}]
    assert measuring.medians(runs) == {"runs": 3, "a": 2, "each_run": runs}
