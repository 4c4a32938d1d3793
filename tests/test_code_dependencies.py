"""Products know all code that they rest on: a change deep down makes just the right ones stale."""

import ast
import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from apogaia import code_dependencies, products
from apogaia.closure import run
from apogaia.code_dependencies import closure, code_digest, imported_modules, module_file
from apogaia.survey import SECTIONS, load_survey
from apogaia.workspace import Workspace

# What computes each product. `test_products_are_made_by_these` holds the first part to the code.
MAKERS = {
    "raw survey": "apogaia.simulate.run",
    "stars.h5": "apogaia.reduction.reduce",
    "joint models": "apogaia.model.training",
    "calibrated model": "apogaia.zero_point.calibrated_training",
    "predictions": "apogaia.model.inference",
    "labels of aspcap": "apogaia.reduction.labelled_stars",
    "parameters model": "apogaia.parameters.training",
    "labels": "apogaia.parameters.catalogue",
    "learning curve": "apogaia.parameters.learning_curve",
    "closure sample": "apogaia.closure.sample",
    "refit trials": "apogaia.closure.recipes.refit",
    "paper trials": "apogaia.closure.recipes.paper",
    "causes trial": "apogaia.closure.recipes.paper_causes",
    "distances trial": "apogaia.closure.recipes.distances",
    "size trials": "apogaia.closure.recipes.sample_sizes",
    "experiments": "apogaia.closure.recipes.bias_experiments",
}
TRIALS = {name for name in MAKERS if "trial" in name} | {"experiments"}
MODELS = {"joint models", "calibrated model", "predictions", "paper trials", "distances trial"}
PARAMETERS = {"parameters model", "labels", "learning curve"}
SIMULATED = {"raw survey", "closure sample"} | TRIALS

# A file, a change of it, and the products that must be made again.
CHANGES = [
    ("refit/splines.py", {"calibrated model", "predictions"} | PARAMETERS | TRIALS),
    ("refit/stellar_density.py", {"calibrated model"} | TRIALS - {"paper trials", "causes trial"}),
    ("model/training_domain.py", MODELS | PARAMETERS | {"size trials"}),
    ("model/fast/dropout_cpu.py", {"calibrated model", "predictions", "distances trial", "paper trials"} | PARAMETERS),
    ("model/likelihood.py", MODELS - {"predictions"} | PARAMETERS - {"labels"}),
    ("model/jacobian.py", set()),
    ("model/fast/training_jax.py", MODELS - {"predictions"} | PARAMETERS - {"labels"}),
    ("model/networks.py", MODELS | PARAMETERS),
    ("parameters/network.py", PARAMETERS),
    ("parameters/label_set.py", PARAMETERS - {"labels"}),
    ("parameters/recovery.py", set()),  # numbers about labels, of notebook 06 alone
    ("parameters/label_shift.py", PARAMETERS),
    ("parameters/learning_curve.py", {"learning curve"}),
    ("formats/aspcap_labels.py", PARAMETERS | {"labels of aspcap"}),
    ("physics/luminosity.py", set(MAKERS) - {"predictions", "labels of aspcap", "parameters model"}),
    ("formats/apogee_pixels.json", set(MAKERS)),
    ("simulate/atomic_lines.csv", SIMULATED),
    ("reduction/crossmatch.py", {"stars.h5", "closure sample"} | TRIALS),
    ("distances/catalogue.py", {"distances trial"}),
    ("plots/maps.py", set()),
    ("archive/gaia.py", set()),
    ("cli/commands.py", set()),
]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the package's files, to be changed."""
    copy = tmp_path_factory.mktemp("source") / "apogaia"
    shutil.copytree(code_dependencies.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def digests(package):
    return {name: code_digest([module_file(module, package)], package) for name, module in MAKERS.items()}


@pytest.mark.parametrize(("changed", "stale"), CHANGES, ids=[name for name, _ in CHANGES])
def test_a_change_deep_down_makes_exactly_the_right_products_stale(package, changed, stale):
    before, path = digests(package), package / changed
    content = path.read_bytes()
    try:
        path.write_bytes(content + (b"\nCHANGED = 1\n" if path.suffix == ".py" else b"\n"))
        after = digests(package)
    finally:
        path.write_bytes(content)
    assert {name for name in MAKERS if after[name] != before[name]} == stale


def test_comments_and_docstrings_make_nothing_stale(package):
    before, path = digests(package), package / "refit" / "splines.py"
    content = path.read_text()
    try:
        path.write_text("# a comment\n" + content.replace('"""', '"""Otherwise: ', 1))
        assert digests(package) == before
    finally:
        path.write_text(content)


def test_every_data_file_of_the_package_is_named_by_a_module():
    """Else a change of it would go unnoticed. Surveys are read by name, and count by their values."""
    package = code_dependencies.PACKAGE
    modules = list(package.rglob("*.py"))
    data = {path for path in package.rglob("*.*") if path.suffix not in (".py", ".pyc", ".typed")}
    assert {path for path in closure(modules) if path.suffix != ".py"} == {
        path for path in data if path.parent.name not in ("surveys", "__pycache__")
    }


def test_imports_inside_functions_count_and_those_for_type_checkers_do_not(tmp_path):
    package = tmp_path / "toy"
    for name in ("__init__.py", "a.py", "b.py", "c.py", "d/__init__.py", "d/e.py"):
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text("")
    source = (
        "from typing import TYPE_CHECKING\nimport numpy\nif TYPE_CHECKING:\n    from toy import c\n"
        "else:\n    from toy.b import x\n"
        "def f():\n    import toy.d.e\n"
    )
    found = imported_modules(source, package)
    assert {str(path.relative_to(package)) for path in found} == {"__init__.py", "b.py", "d/__init__.py", "d/e.py"}
    with pytest.raises(ValueError, match="relative import"):
        imported_modules("from . import a", package)


def test_the_closure_covers_what_python_really_loads():
    """A fresh interpreter that imports a module loads no file of the package beyond its closure."""
    module = "apogaia.reduction.reduce"
    script = f"import sys, {module}; print(*(m.__file__ for n, m in sys.modules.items() if n.startswith('apogaia')))"
    environment = {"PYTHONPATH": str(code_dependencies.PACKAGE.parent), "PATH": ""}
    loaded = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert {Path(path) for path in loaded.stdout.split()} <= set(closure([module_file(module)]))


def sections_used(module):
    """Sections of the survey that the code of a maker reads, by the names in its source."""
    used = set()
    for path in closure([module_file(module)]):
        if path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    used |= {node.attr} & set(SECTIONS) if node.value.id in ("survey", "changed") else set()
    return used


def labelled_from(source):
    survey = load_survey("smoke")
    return dataclasses.replace(survey, labels=dataclasses.replace(survey.labels, source=source))


def test_fingerprints_hold_all_settings_that_the_makers_read(monkeypatch):
    declared = {}

    def kept(product, make, settings, inputs=(), in_parts=False):
        declared[make.func.__module__] = set(settings)
        raise InterruptedError

    monkeypatch.setattr(products.files, "kept", kept)
    survey = load_survey("smoke")
    workspace = Workspace(survey, "/nowhere")
    for make in (products.trained_model, products.predicted_stars):
        with pytest.raises(InterruptedError):
            make(labelled_from("external"), workspace, "none")
    with pytest.raises(InterruptedError):
        products.calibrated_model(labelled_from("external"), workspace)
    with pytest.raises(InterruptedError):
        products.parameters_model(survey, workspace)
    assert sections_used("apogaia.zero_point.calibrated_training") >= {"cuts", "network", "calibration"}
    # the passes come as that section, not as a survey; what `model_file` reads is for a file's provenance
    declared[MAKERS["predictions"]] |= {"training"}
    for module, sections in declared.items():
        assert sections_used(module) <= sections, module
    closure_trials = sections_used("apogaia.closure.recipes.distances") - {"maps", "counts", "archive"}
    assert closure_trials <= set(run.SECTIONS)


def test_products_are_made_by_these(monkeypatch):
    makers = {}

    def kept(product, make, settings, inputs=(), in_parts=False):
        makers[product.name] = make.func.__module__
        raise InterruptedError

    monkeypatch.setattr(products.files, "kept", kept)
    survey = load_survey("smoke")
    workspace = Workspace(survey, "/nowhere")
    for call in (
        lambda: products.trained_model(labelled_from("external"), workspace, "constant"),
        lambda: products.calibrated_model(labelled_from("external"), workspace),
        lambda: products.predicted_stars(survey, workspace, "none"),
        lambda: products.parameters_model(survey, workspace),
        lambda: products.labelled_stars(labelled_from("aspcap"), workspace),
    ):
        with pytest.raises(InterruptedError):
            call()
    names = {"constant.keras": "joint models", "calibrated.keras": "calibrated model", "none.npz": "predictions"}
    names |= {"parameters.keras": "parameters model", "labelled_stars.h5": "labels of aspcap"}
    assert makers == {file: MAKERS[name] for file, name in names.items()}
    recipes = {recipe: function.__module__ for recipe, function in run.RECIPES.items()}
    assert recipes == {
        "refit": MAKERS["refit trials"],
        "paper": MAKERS["paper trials"],
        "causes": MAKERS["causes trial"],
        "distances": MAKERS["distances trial"],
        "calibrated": MAKERS["distances trial"],
        "sizes": MAKERS["size trials"],
        "ranges": MAKERS["size trials"],
        "selections": MAKERS["experiments"],
        "decomposition": MAKERS["experiments"],
    }
