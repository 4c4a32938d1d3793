"""Tests mirror the package: one finds the tests of a module by its name."""

import ast
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "tests"
PACKAGE = ROOT / "src" / "apogaia"

# Modules, or whole folders, without a test file of their name, and the file that tests them
TESTED_BY = {
    "archive/estimate.py": "cli/test_commands.py",
    "archive/http/server_responses.py": "archive/http/test_download.py",
    "archive/http/partial_files.py": "archive/http/test_download_survival.py",
    "archive/http/transfers.py": "archive/http/test_download.py",
    "archive/own_folder.py": "archive/test_fetch.py",
    "archive/pull.py": "archive/test_fetch.py",
    "archive/star_spectra.py": "archive/test_fetch.py",
    "archive/tap_jobs.py": "archive/test_gaia.py",
    "cli/astra_commands.py": "parameters/test_parameters_model.py",
    "cli/checks.py": "cli/test_commands.py",
    "cli/distance_command.py": "test_trained_model.py",
    "cli/help_texts.py": "cli/test_commands.py",
    "model/model_origin.py": "model/test_model_file.py",
    "cli/options.py": "cli/test_commands.py",
    "cli/survey_commands.py": "cli/test_commands.py",
    "cli/zero_point_command.py": "zero_point/test_gaia_tables.py",
    "closure": "closure/test_run.py",
    "findings": "findings/test_sentences.py",
    "formats/fits_columns.py": "reduction/test_reduce_damaged_input.py",
    "formats/releases.py": "surveys/test_dr17.py",
    "formats/stars_h5_columns.py": "reduction/test_reduce.py",
    "model/batches.py": "model/test_training.py",
    "model/training_set.py": "model/test_training.py",
    "physics/hydrogen_lines.py": "simulate/test_synthesis.py",
    "physics/sun.py": "physics/test_galaxy.py",
    "plots": "plots/test_plots.py",
    "reduction/stars_h5.py": "reduction/test_reduce.py",
    "published/archive_members.py": "published/test_keras3_file.py",
    "published/keras_layers.py": "published/test_model_folder.py",
    "published/network_parts.py": "published/test_import_model.py",
    "refit/principal_components.py": "refit/test_least_squares.py",
    "refit/spectral_features.py": "refit/test_least_squares.py",
    "refit/splines.py": "refit/test_least_squares.py",
    "simulate": "simulate/test_run.py",
    "workspace.py": "repository/test_repository.py",
    "zero_point/quadratic_summaries.py": "zero_point/test_offset_posterior.py",
}
MODULES = sorted(
    path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py") if not path.name.startswith("__")
)
FILES = sorted(path.relative_to(TESTS).as_posix() for path in TESTS.rglob("*.py"))


def own_test(module: str) -> str:
    folder, _, name = module.rpartition("/")
    return f"{folder}/test_{name}".lstrip("/")


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_its_test_file(module):
    if own_test(module) in FILES:
        assert module not in TESTED_BY, "it has a test file of its own now: leave it out of the list"
    else:
        folders = [parent.as_posix() for parent in Path(module).parents]
        assert any(name in TESTED_BY for name in (module, *folders)), f"tests/{own_test(module)} is missing"


def test_the_list_names_modules_and_files_that_exist():
    assert all((PACKAGE / name).exists() for name in TESTED_BY)
    assert set(TESTED_BY.values()) <= set(FILES)


@pytest.mark.parametrize("file", FILES)
def test_files_that_others_import_are_helpers(file):
    """So that each test file runs alone, and what several need has one place."""
    names = {Path(other).stem for other in FILES if not other.startswith("helpers/") or "/test_" in other}
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    imported = set()
    for node in [node for part in (tree, *parsed(texts)) for node in ast.walk(part)]:
        if isinstance(node, ast.Import):
            imported |= {part for alias in node.names for part in alias.name.split(".")}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith("apogaia"):
            imported |= {*node.module.split("."), *(alias.name for alias in node.names)}
    assert not imported & names
    is_test = Path(file).name.startswith("test_")
    assert is_test or file.startswith("helpers/") or file == "conftest.py", "helpers belong in tests/helpers"


def parsed(texts):
    """Texts that are scripts."""
    for text in texts:
        if "import " in text:
            try:
                yield ast.parse(textwrap.dedent(text))
            except SyntaxError:
                continue
