"""What other libraries are told when apogaia is imported."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import apogaia
from apogaia import environment as module
from apogaia.environment import (
    compute_on_gpu,
    keep_caches_where_they_can_be_written,
    keep_memory_of_tensorflow,
)


def test_tensorflow_is_loaded_without_its_notices_but_with_its_errors(tmp_path):
    package = tmp_path / "tensorflow"
    package.mkdir()
    notices = "WARNING: All log messages before absl::InitializeLog() is called\nI0000 00:00:1.5 1 port.cc:153] on\n"
    said = (notices + "E0000 00:00:1.5 1 cuda.cc:1] no device\n").encode()
    (package / "__init__.py").write_text(f"import os\nos.write(2, {said!r})\nname = __spec__.name\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(apogaia.__file__).parents[1]}"}
    script = "import apogaia, tensorflow; print(tensorflow.name)"
    for level, seen in (("3", "E0000 00:00:1.5 1 cuda.cc:1] no device\n"), ("0", said.decode())):
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
        assert (done.stdout, done.stderr) == ("tensorflow\n", seen)
    script = "import sys; sys.modules.pop('tensorflow', None); import apogaia\nimport no_such_module"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert "No module named 'no_such_module'" in done.stderr


def test_tensorflow_is_told_to_say_no_more_than_errors():
    environment = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    script = "import apogaia, os; print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    for level in ({}, {"TF_CPP_MIN_LOG_LEVEL": "0"}):
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment | level)
        assert done.stdout.strip() == level.get("TF_CPP_MIN_LOG_LEVEL", "3")


def test_tensorflow_keeps_the_memory_of_a_step_unless_told_otherwise():
    environment = {}
    keep_memory_of_tensorflow(environment)
    assert environment.pop("TF_CPU_ALLOCATOR_USE_BFC") == "true"
    megabytes = int(environment.pop("TF_CPU_BFC_MEM_LIMIT_IN_MB"))
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert megabytes == pytest.approx(int(total.split()[1]) / 1024, rel=0.01) and environment == {}
    for chosen in ({"TF_CPU_ALLOCATOR_USE_BFC": "false"}, {"TF_CPU_ALLOCATOR_USE_BFC": "1"}):
        environment = dict(chosen)
        keep_memory_of_tensorflow(environment)
        assert environment == chosen
    environment = {"TF_CPU_BFC_MEM_LIMIT_IN_MB": "1000"}
    keep_memory_of_tensorflow(environment)
    assert environment["TF_CPU_BFC_MEM_LIMIT_IN_MB"] == "1000"


def test_an_operation_that_is_repeated_takes_few_pages_from_the_system():
    """With apogaia imported first: a tenth of the pages that the system must clear where memory is given back."""
    script = """
import apogaia, resource
import tensorflow as tf
step = tf.function(lambda x: tf.reduce_sum(tf.nn.relu(x * 2.0) + tf.sin(x)))
x = tf.ones((4000, 2000))
for _ in range(3): step(x)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10): step(x)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    pages = {}
    unset = {name: value for name, value in os.environ.items() if not name.startswith("TF_CPU")}
    for keep, told in (("by default", {}), ("false", {"TF_CPU_ALLOCATOR_USE_BFC": "false"})):
        environment = unset | told | {"KERAS_BACKEND": "tensorflow"}
        done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        pages[keep] = int(done.stdout)
    assert pages["by default"] < 0.1 * pages["false"]


@pytest.mark.parametrize(
    ("chosen", "driver", "plugin", "backend"),
    [
        (None, True, True, "jax"),
        (None, True, False, None),  # a GPU that JAX cannot use: TensorFlow, as Keras has it
        (None, False, True, None),
        ("tensorflow", True, True, "tensorflow"),
    ],
)
def test_a_gpu_is_used_without_anybody_setting_a_variable(monkeypatch, tmp_path, chosen, driver, plugin, backend):
    monkeypatch.setattr(module, "find_spec", lambda name: plugin or None)
    path = tmp_path / "version"
    if driver:
        path.touch()
    environment = {} if chosen is None else {"KERAS_BACKEND": chosen}
    compute_on_gpu(environment, path)
    assert environment.get("KERAS_BACKEND") == backend
    assert ("XLA_PYTHON_CLIENT_PREALLOCATE" in environment) == (backend == "jax")


@pytest.fixture
def closed(tmp_path, monkeypatch):
    """A place in which nobody can make a file, not even a superuser; temporary files go elsewhere."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    (tmp_path / "closed").touch()
    return tmp_path / "closed"


@pytest.mark.parametrize("name", ["HOME", "XDG_CACHE_HOME", "package", "NUMBA_CACHE_DIR"])
def test_numba_keeps_its_cache_where_it_can_be_written(monkeypatch, closed, tmp_path, name):
    environment = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "package"), str(closed / "x"))
    monkeypatch.setenv("HOME", environment["HOME"])
    package = Path(environment.pop("package"))
    keep_caches_where_they_can_be_written(package, environment)
    own = Path(environment["NUMBA_CACHE_DIR"])
    assert own.is_dir() and own.is_relative_to(tmp_path / "temporary") and own.parent.stat().st_mode & 0o777 == 0o700
    # one place that can be written is enough, and then nothing changes
    one = {key: str(closed / "x") for key in environment} | {name: str(tmp_path / "open")}
    if name == "HOME":
        del one["XDG_CACHE_HOME"]
    monkeypatch.setenv("HOME", one["HOME"])
    package = Path(one.pop("package", closed / "x"))
    before = one["NUMBA_CACHE_DIR"]
    keep_caches_where_they_can_be_written(package, one)
    assert one["NUMBA_CACHE_DIR"] == before


def test_a_temporary_folder_that_another_user_can_write_is_not_used(monkeypatch, closed, tmp_path):
    planted = tmp_path / "temporary" / f"apogaia-{os.getuid()}"
    planted.mkdir()
    planted.chmod(0o777)
    assert module._own_temporary_folder() not in (planted, planted.parent)


def test_a_read_only_package_and_home_run(closed, tmp_path):
    """As from a read-only installation, by a user without a home."""
    installed = tmp_path / "installed" / "apogaia"
    shutil.copytree(Path(apogaia.__file__).parent, installed, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [installed, *(path for path in installed.rglob("*") if path.is_dir())]:
        (folder / "__pycache__").touch()  # no superuser makes a folder of that name either
    script = (
        "from apogaia.simulate.synthesis import voigt; import matplotlib;"
        "print(round(voigt(0.1, 0.0), 2), matplotlib.get_configdir())"
    )
    environment = os.environ | {
        "HOME": str(closed / "home"),
        "PYTHONPATH": str(installed.parent),
        "TMPDIR": str(tmp_path / "temporary"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR"):
        environment.pop(name, None)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    value, settings = done.stdout.split()
    assert value == "0.9" and Path(settings).is_relative_to(tmp_path / "temporary") and done.stderr == ""
    assert list((tmp_path / "temporary").rglob("*.nbi"))  # compiled code is kept
