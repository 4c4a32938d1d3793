"""Which part of the package may import which: pyproject.toml's contracts hold, and a reversed import breaks them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def lint_imports(folder: Path) -> subprocess.CompletedProcess:
    """Check the package in `folder` by the contracts of the pyproject.toml there."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()", "--no-cache"]
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the package's modules and contracts, to add imports to."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    return tmp_path


def test_the_package_keeps_its_contracts():
    checked = lint_imports(ROOT)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert " 0 broken" in checked.stdout


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("physics/luminosity", "from apogaia.formats import releases", "Imports point down"),
        ("reduction/continuum", "from apogaia.model import networks", "Imports point down"),
        ("distances/catalogue", "from apogaia.zero_point import offset_posterior", "Imports point down"),
        ("model/networks", "import apogaia.plots.common", "Imports point down"),
        ("files", "from apogaia.workspace import Workspace", "Imports point down"),
        ("model/fast/dropout_cpu", "from apogaia.model import inference", "Fast ways of computing"),
        ("refit/splines", "import keras", "Whoever imports one formula"),
        ("simulate/atmosphere", "from apogaia.simulate import synthesis", "No circles"),
        ("a_new_module", "import numpy", "Imports point down"),  # has no place in the order yet
    ],
)
def test_an_import_against_the_order_is_found(copy, module, line, broken):
    path = copy / "src" / "apogaia" / f"{module}.py"
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(f"{before}\n\n{line}\n", encoding="utf-8")
    checked = lint_imports(copy)
    assert checked.returncode == 1
    verdict = checked.stdout + checked.stderr
    if module == "a_new_module":
        assert module in verdict
    else:
        assert any(name.startswith(broken) and " BROKEN" in name for name in verdict.splitlines()), verdict
