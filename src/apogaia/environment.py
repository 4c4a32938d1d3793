"""What other libraries are told when apogaia is imported: where to compute and keep caches, and to load quietly.

They read their settings when they are first imported, which is after this package. Nothing that a user has set changes.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

__all__ = [
    "compute_on_gpu",
    "keep_caches_where_they_can_be_written",
    "keep_memory_of_tensorflow",
    "load_tensorflow_quietly",
]


def compute_on_gpu(
    environment: MutableMapping[str, str] = os.environ, driver: Path = Path("/proc/driver/nvidia/version")
) -> None:
    """Have Keras run on JAX where there is an NVIDIA GPU and JAX can use it, unless the user has chosen a backend.

    Keras reads the variable when it is first imported, which is after this package. JAX takes memory as it needs it,
    not three quarters of the GPU at its start, so that a second notebook finds room.
    """
    if "KERAS_BACKEND" not in environment and driver.exists() and find_spec("jax_cuda12_plugin"):
        environment["KERAS_BACKEND"] = "jax"
        environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def keep_memory_of_tensorflow(environment: MutableMapping[str, str] = os.environ) -> None:
    """Have TensorFlow keep the memory of a training step for the next one, on the CPU.

    Its default takes some 200 MB from the system in each step and gives them back, and the system clears every page
    anew: up to half of a step's time (`python -m benchmarks --only kept_memory`). It may keep up to all of the
    machine's memory, instead of the allocator's own limit of 64 GB.
    """
    if "TF_CPU_ALLOCATOR_USE_BFC" not in environment:
        environment["TF_CPU_ALLOCATOR_USE_BFC"] = "true"
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        environment.setdefault("TF_CPU_BFC_MEM_LIMIT_IN_MB", str(memory >> 20))


def keep_caches_where_they_can_be_written(package: Path, environment: MutableMapping[str, str] = os.environ) -> None:
    """Let numba and matplotlib keep their caches in a temporary folder where neither package nor home can be written.

    Numba refuses to compile a function whose code it cannot keep, and astropy a user without a home. All of them read
    the environment when they are first imported, which is after this package.
    """
    needed = {}
    if os.path.expanduser("~") == "~":  # no HOME, and a user whom the system does not know: as in containers
        needed["HOME"] = ""
    home = Path(os.path.expanduser("~"))
    caches = Path(environment.get("XDG_CACHE_HOME") or home / ".cache")
    settings = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    chosen = [Path(environment[name]) for name in ("NUMBA_CACHE_DIR",) if environment.get(name)]
    if not any(map(_writable, (*chosen, package / "__pycache__", caches))):
        needed["NUMBA_CACHE_DIR"] = "numba"
    if "MPLCONFIGDIR" not in environment and not (_writable(settings) and _writable(caches)):
        needed["MPLCONFIGDIR"] = "matplotlib"
    if not needed:
        return
    try:
        folder = _own_temporary_folder()
    except OSError:  # no folder at all can be written: whoever needs one says so
        return
    for name, below in needed.items():
        (folder / below).mkdir(exist_ok=True)
        environment[name] = str(folder / below)


def _writable(folder: Path) -> bool:
    """Whether a file can be made in a folder, or where the folder itself is to be made."""
    folder = folder.absolute()
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    try:
        tempfile.TemporaryFile(dir=there).close()  # permissions alone do not tell
    except OSError:
        return False
    return True


def _own_temporary_folder() -> Path:
    """A folder for all processes of this user, into which no other user can put code that would be run."""
    folder = Path(tempfile.gettempdir()) / f"apogaia-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022:
        return folder
    return Path(tempfile.mkdtemp(prefix="apogaia-"))


def load_tensorflow_quietly() -> None:
    """Have TensorFlow loaded without its notices, unless TF_CPP_MIN_LOG_LEVEL is 0; its errors are shown."""
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") != "0":
        sys.meta_path.insert(0, _QuietTensorFlow())


class _QuietTensorFlow(MetaPathFinder):
    """Loads TensorFlow without its notices, which a notebook shows in red; no setting turns them off (2.21)."""

    def find_spec(self, fullname, path=None, target=None):
        """Find TensorFlow as Python does, and nothing else."""
        spec = PathFinder.find_spec(fullname, path) if fullname == "tensorflow" else None
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_quietly(module):
            with _without_notices():
                execute(module)

        spec.loader.exec_module = execute_quietly  # type: ignore[method-assign]
        return spec


_NOTICE = re.compile(r"WARNING: All log messages before absl::InitializeLog|I\d{4} ")


@contextmanager
def _without_notices() -> Iterator[None]:
    """Hold back what C++ libraries write to standard error, and write it afterwards, but for their notices."""
    try:
        kept, said = os.dup(2), tempfile.TemporaryFile()  # noqa: SIM115 (closed below)
    except OSError:  # no standard error, or no folder can be written: whatever is said is shown
        yield
        return
    with said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            said.seek(0)
            for line in said.read().decode(errors="replace").splitlines(keepends=True):
                if not _NOTICE.match(line):
                    sys.stderr.write(line)
