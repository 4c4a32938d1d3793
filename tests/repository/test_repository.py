"""The repository's own promises: one set of versions everywhere, thin notebooks, make's dependencies."""

import ast
import errno
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import lab_copies
import pytest

from apogaia import files
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))


def locked(name: str) -> dict[str, set[str]]:
    """Package -> versions of a lock file (more than one where Python versions differ)."""
    versions: dict[str, set[str]] = {}
    for line in (ROOT / name).read_text().splitlines():
        if match := re.match(r"([a-z0-9.-]+)==([^ ;]+)", line):
            versions.setdefault(match[1], set()).add(match[2])
    return versions


def test_both_lock_files_agree_but_for_tensorflow():
    cpu, cuda = locked("requirements.lock"), locked("requirements-cuda.lock")
    assert cpu.pop("tensorflow-cpu") == cuda.pop("tensorflow")
    assert {name: cuda[name] for name in cpu} == cpu
    assert all(name.startswith(("nvidia-", "jax-cuda")) for name in set(cuda) - set(cpu))


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-cuda.lock"])
def test_lock_files_are_hashed_and_name_no_index(name):
    text = (ROOT / name).read_text()
    entries = re.split(r"\n(?=[a-z0-9])", text)
    assert len(entries) > 100
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"://|--(extra-)?index-url|--find-links", text)


def test_lock_holds_every_declared_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = project["dependencies"] + extras["cpu"] + extras["notebooks"] + extras["docs"] + extras["test"]
    names = {re.match(r"[A-Za-z0-9.-]+", item)[0].lower() for item in declared}
    assert names <= set(locked("requirements.lock"))


def test_conda_container_and_project_use_the_same_python_and_lock():
    conda = (ROOT / "environment.yml").read_text()
    docker = (ROOT / "Dockerfile").read_text()
    version = re.search(r"python=(3\.\d+)", conda)[1]
    assert re.search(r"FROM python:(3\.\d+)", docker)[1] == version
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].startswith(f">={version}")
    assert "-r requirements.lock" in conda
    assert "LOCK=requirements-cuda.lock" in docker


def test_the_image_holds_the_repository_and_nothing_else():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git repository")
    allowed = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    top = {name.split("/")[0] for name in listed.stdout.splitlines()}
    hidden = {".dockerignore", ".github", ".gitignore", ".pre-commit-config.yaml"}
    assert {line[1:] for line in allowed} == (top - hidden) | {"data/README.md"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_thin(path):
    cells = json.loads(path.read_text())["cells"]
    assert len(cells) <= 25
    for cell in cells:
        if cell["cell_type"] == "code":
            assert len("".join(cell["source"]).splitlines()) <= 30
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    assert len(tagged) == 1 and "".join(tagged[0]["source"]).strip() == 'survey = "smoke"'


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_stores_only_checked_outputs(path):
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code" and "nbval-check-output" not in cell["metadata"].get("tags", []):
            assert cell["outputs"] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_a_checked_cell(path):
    tags = [cell["metadata"].get("tags", []) for cell in json.loads(path.read_text())["cells"]]
    assert any("nbval-check-output" in each for each in tags)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_opens_with_its_question_and_ends_with_what_was_found(path):
    cells = json.loads(path.read_text())["cells"]
    opening, end = "".join(cells[0]["source"]), "".join(cells[-1]["source"])
    assert re.search(r"^\*.+\?\*$", opening, re.MULTILINE) and re.search(r"paper", opening, re.IGNORECASE)
    assert re.search(r"^Markdown\(.+\)$", end, re.MULTILINE)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_imports_no_keras_before_the_package(path):
    """Which chooses Keras' backend, and silences TensorFlow."""
    first = next(cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code")
    assert not re.search(r"^(import|from) (keras|tensorflow|jax|torch)\b", "".join(first["source"]), re.MULTILINE)


def test_make_knows_what_each_notebook_imports():
    printed = subprocess.run(
        [sys.executable, "tools/dependencies.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    lines = dict(line.split(" := ") for line in printed.splitlines())
    for path in NOTEBOOKS:
        code = "\n".join(
            "".join(c["source"]) for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"
        )
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("apogaia."):
                stem = "src/" + node.module.replace(".", "/")
                assert f"{stem}.py" in lines[f"SOURCES_{path.stem}"] or f"{stem}/" in lines[f"SOURCES_{path.stem}"]
    assert "galaxy.py" in lines["SOURCES_07_milky_way_maps"]
    assert "networks.py" not in lines["SOURCES_01_data_reduction"]  # a change of the networks reduces nothing again
    assert "/archive/" not in lines["SOURCES_02_joint_training"]
    assert lines["SURVEY_FILES_smoke"].split() == [
        f"src/apogaia/surveys/{name}.toml" for name in ("smoke", "mock", "mock-dr14", "dr14")
    ]


@pytest.fixture
def run_notebook():
    specification = importlib.util.spec_from_file_location("run_notebook", ROOT / "tools" / "run_notebook.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_notebooks_run_for_a_users_own_survey_file(tmp_path, monkeypatch, run_notebook):
    """make runs in the root and notebooks in their folder: a relative path of a survey must mean the same in both."""
    tmp_path = tmp_path / "größer als {alles}"  # papermill replaces what stands in braces
    tmp_path.mkdir()
    (tmp_path / "my.toml").write_text('extends = "smoke"\ntitle = "mine"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(run_notebook, "ROOT", tmp_path)
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    monkeypatch.setattr(run_notebook.sys, "stderr", run_notebook.sys.stderr)
    seen = {}

    def execute(notebook, running, parameters, **_):
        seen.update(parameters, notebook=notebook.format())
        Path(running.format()).write_text("{}")

    monkeypatch.setattr(run_notebook.papermill, "execute_notebook", execute)
    assert run_notebook.main(["01_data_reduction", "--survey", "my.toml"]) == 0
    assert seen["survey"] == str(tmp_path / "my.toml")
    assert seen["notebook"] == str(tmp_path / "notebooks" / "01_data_reduction.ipynb")
    assert (tmp_path / "build" / "my" / "01_data_reduction.ipynb").is_file()


@pytest.mark.parametrize(("number", "says"), [(errno.EROFS, "Read-only file system"), (errno.ENOSPC, "No space left")])
def test_where_nothing_can_be_written_make_says_so_in_a_line(tmp_path, monkeypatch, run_notebook, capsys, number, says):
    monkeypatch.setattr(run_notebook, "ROOT", tmp_path)

    def fail(*_):
        raise OSError(number, os.strerror(number), "01_data_reduction.running.log")

    monkeypatch.setattr(run_notebook, "run", fail)
    assert run_notebook.main(["01_data_reduction", "--survey", "smoke"]) == 2
    said = capsys.readouterr().err
    assert says in said and "running.log" in said and "writable folders" in said and said.count("\n") == 1
    number = errno.EIO  # what nobody expects keeps its traceback
    with pytest.raises(OSError, match="Input/output"):
        run_notebook.main(["01_data_reduction", "--survey", "smoke"])


def test_a_second_make_of_the_same_notebook_is_told_so(tmp_path, monkeypatch, run_notebook, capsys):
    monkeypatch.setattr(run_notebook, "ROOT", tmp_path)
    monkeypatch.setattr(run_notebook, "run", lambda *_: pytest.fail("it runs twice"))
    with files.alone(tmp_path / "build" / "smoke" / ".02_joint_training.lock", ""):
        assert run_notebook.main(["02_joint_training", "--survey", "smoke"]) == 2
    assert re.search(
        r"another make is running .*02_joint_training.ipynb: wait for it, or stop it", capsys.readouterr().err
    )


def test_notebooks_that_the_lab_saves_are_copies(tmp_path):
    source, folder = tmp_path / "notebooks", tmp_path / "lab"
    source.mkdir()
    for name in ("01", "02"):
        (source / f"{name}.ipynb").write_text(f"{name}, first")
    assert lab_copies.copy_notebooks(source, folder) == []
    (folder / "01.ipynb").write_text("my work")
    assert lab_copies.copy_notebooks(source, folder) == []
    assert (folder / "01.ipynb").read_text() == "my work"
    for name in ("01", "02"):
        (source / f"{name}.ipynb").write_text(f"{name}, second")
    (said,) = lab_copies.copy_notebooks(source, folder)
    assert "01.ipynb has your changes" in said and "01.new.ipynb" in said
    found = {path.name: path.read_text() for path in folder.glob("*.ipynb")}
    assert found == {"01.ipynb": "my work", "01.new.ipynb": "01, second", "02.ipynb": "02, second"}
    assert lab_copies.copy_notebooks(source, folder) == []  # and said once
    said = planned("lab")
    assert "--notebook-dir build/lab" in said and "--notebook-dir notebooks" not in said


def test_make_report_of_any_survey_leaves_the_readme_alone():
    assert re.search(r"tools/ledger.py smoke$", planned("report", "SURVEY=smoke"), re.MULTILINE)
    assert re.search(r"tools/ledger.py mock --docs$", planned("readme", "SURVEY=mock"), re.MULTILINE)


def test_clean_needs_a_word_more_where_days_of_work_would_go(tmp_path):
    own = tmp_path / "clean-test.toml"
    own.write_text('extends = "dr14"\ntitle = "mine"\n[sources]\nkind = "folder"\nfolder = "x"\n')
    clean = ["make", "--no-print-directory", "clean", f"SURVEY={own}"]
    done = subprocess.run(clean, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "rm -rf" not in done.stdout and f"SURVEY={own} SURE=yes" in done.stdout
    done = subprocess.run([*clean, "SURE=yes"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "rm -rf build/clean-test" in done.stdout


def test_a_long_notebook_shows_epochs_and_bars_in_the_terminal(tmp_path, monkeypatch, run_notebook, capsys):
    """What the cells print of their progress, and nothing else of it, some lines in a while."""
    now = [0.0]
    monkeypatch.setattr(run_notebook, "ROOT", tmp_path)
    monkeypatch.setattr(os, "dup2", lambda *_: None)
    monkeypatch.setattr(os, "fdopen", lambda *_: sys.stderr)
    monkeypatch.setattr(run_notebook.time, "monotonic", lambda: now[0])

    def execute(notebook, running, stdout_file, stderr_file, **_):
        stdout_file.write("survey smoke\n")
        for epoch in range(1, 61):
            now[0] += 1.0
            stdout_file.write(f"epoch {epoch}/60  none  loss {1 / epoch:.2f}  {60 - epoch} s left\n")
            stdout_file.flush()
        now[0] += 60.0
        stderr_file.write("\rspectra:  10%|#         | 60/600\rspectra:  45%|####      | 270/600 [00:10<00:12]")
        stderr_file.write("TqdmWarning: IProgress not found")
        Path(running).write_text("{}")

    monkeypatch.setattr(run_notebook.papermill, "execute_notebook", execute)
    assert run_notebook.main(["02_joint_training", "--survey", "smoke"]) == 0
    shown = capsys.readouterr().err.splitlines()
    assert shown[0] == "02_joint_training: epoch 1/60  none  loss 1.00  59 s left"
    assert [line.split()[2] for line in shown[:-1]] == [f"{epoch}/60" for epoch in range(1, 61, 10)]
    assert shown[-1] == "02_joint_training: spectra:  45%|####      | 270/600 [00:10<00:12]"


def test_data_readme_names_the_files_that_the_code_reads():
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    table = text.partition("<!-- files: begin")[2].partition("<!-- files: end")[0]
    for survey in (load_survey("dr14"), load_survey("dr17")):
        workspace = Workspace(survey, ROOT)
        release = workspace.release
        assert (
            f"| `{release.allstar.name}` | `{release.allstar.folder}/` | SHA-1 {survey.archive.allstar_sha1} |" in table
        )
        assert release.n_rows == survey.counts.rows and f"{release.n_rows:,}" in table
        for listed in (release.stellar_parameters, *release.comparisons):
            assert f"`{listed.name}`" in table and f"{listed.rows or 0:,}" in table + "0"
            assert not listed.folder or f"`{listed.folder}/`" in table
        assert f"`{release.spectra_folder}/" in table and f"`{release.reduction}_stars_" in table
        assert f"`{workspace.gaia.name}`" in table and f"`{workspace.gaia_release.table}`" in table
    dr19 = Workspace(load_survey("dr19"), ROOT).release
    for listed in (dr19.allstar, dr19.stellar_parameters):
        assert f"| `{listed.name}` (HDU {listed.hdu}) | `{listed.folder}/` |" in table
    place = dr19.spectrum("<OBJ>", "<TELESCOPE>", healpix=0, reduction="<APRED>").replace(
        "/0/0/", "/<HEALPIX // 1000>/<HEALPIX>/"
    )
    assert f"| `{place}` | `{dr19.spectra_folder}/<APRED>/stars/...` |" in table
    assert all(f"`{path.name}`" in table for path in Workspace(load_survey("dr14-light"), ROOT).released_spectra)
    assert load_survey("dr14").archive.sas in text and load_survey("dr14").archive.zenodo.rpartition("/")[2] in table


def planned(*arguments: str) -> str:
    """What make would do."""
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    command = ["make", "-n", *arguments]
    return subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=True).stdout


def test_make_all_does_two_things_at_once_unless_told_otherwise(tmp_path):
    nothing_made = tmp_path / "nothing_made_yet.toml"
    nothing_made.write_text('extends = "smoke"\ntitle = "mine"\n')
    # dr14's network of stellar parameters is no input of 02: both would be trained at once
    for survey, trainings in ((nothing_made, 2), ("dr14", 1)):
        before, _, after = planned("all", f"SURVEY={survey}", "NVIDIA=").partition("--jobs 2 notebooks")
        assert f"--jobs {trainings} catalogues" in before
        assert all(f"run_notebook.py {name}" in before for name in ("06_stellar", "02_joint", "04_inference"))
        assert "run_notebook.py 07_milky" in after and "run_notebook.py 07_milky" not in before
    assert "--jobs 1 catalogues" in planned("all", f"SURVEY={nothing_made}", "NVIDIA=a GPU")
    assert "--jobs" not in planned("-j3", "all", f"SURVEY={nothing_made}")


def test_make_trains_what_needs_no_labels_beside_the_network_of_the_labels(tmp_path):
    nothing_made = tmp_path / "nothing_made_yet.toml"
    nothing_made.write_text('extends = "smoke"\ntitle = "mine"\n')

    def said(target: str) -> str:
        return planned(target.replace("here", "nothing_made_yet"), f"SURVEY={nothing_made}", "NVIDIA=")

    trains, half = f"apogaia train {nothing_made} --model ", "half_of_the_cores.sh "
    labels = trains + "parameters\n"
    for name in ("none", "constant"):
        alone = said(f"data/here/models/{name}.keras")
        assert trains + name in alone and "run_notebook.py 01_" in alone and labels not in alone and half in alone
    # `constant` would otherwise take the place of `calibrated`, which waits for the labels
    assert trains + "none\n" in said("data/here/models/constant.keras")
    calibrated = said("data/here/models/calibrated.keras")
    assert trains + "calibrated" in calibrated and labels in calibrated and "run_notebook.py 06_" not in calibrated
    networks = ("none\n", "constant\n", "calibrated\n", "none --model multivariate\n")
    stellar_parameters = said("build/here/06_stellar_parameters.ipynb")
    assert labels in stellar_parameters and not any(trains + name in stellar_parameters for name in networks)
    for notebook in ("02_joint_training", "03_offset_analysis"):
        assert all(trains + name in said(f"build/here/{notebook}.ipynb") for name in networks)
    # of two that are ready at one time the first starts first: most waits for the labels, nothing for notebook 06
    order = said("catalogues")
    starts = [order.index(what) for what in (labels, *(trains + name for name in networks), "run_notebook.py 06_")]
    assert starts == sorted(starts)
    nothing_made.write_text('extends = "smoke"\ntitle = "mine"\n[labels]\nsource = "aspcap"\n')
    alone = said("build/here/04_inference_catalogue.ipynb")
    assert trains + "calibrated\n" in alone and trains + "parameters" not in alone
    order = said("catalogues")  # nothing but notebook 06 waits for a network of labels that nobody else uses
    assert order.index("run_notebook.py 04_") < order.index(labels) < order.index("run_notebook.py 06_")
    real = planned("all", "SURVEY=dr14", "NVIDIA=")
    assert half not in real and "apogaia train dr14 --model calibrated" in real
    assert half not in planned("all", f"SURVEY={nothing_made}", "NVIDIA=a GPU")
    assert all(module in sources_of("train") for module in ("networks.py", "model/training.py", "refit_zero_point.py"))
    assert "labelled_stars.py" in sources_of("train") and "parameters/" not in sources_of("train")
    assert all(f"parameters/{module}.py" in sources_of("labels") for module in ("network", "label_shift", "catalogue"))


def test_a_training_beside_another_has_half_of_the_cores():
    def threads(cores: int) -> set[str]:
        script = f"nproc() {{ echo {cores}; }}; . tools/half_of_the_cores.sh env"
        told = subprocess.run(["sh", "-c", script, "sh", "env"], cwd=ROOT, capture_output=True, text=True, check=True)
        return {line for line in told.stdout.splitlines() if "_THREADS=" in line}

    libraries = ("TF_NUM_INTRAOP", "TF_NUM_INTEROP", "OMP_NUM", "OPENBLAS_NUM", "NUMBA_NUM")
    for cores, half in ((1, 1), (2, 1), (5, 3), (16, 8)):
        assert {f"{library}_THREADS={half}" for library in libraries} <= threads(cores)
    failing = subprocess.run(["tools/half_of_the_cores.sh", "sh", "-c", "exit 7"], cwd=ROOT)
    assert failing.returncode == 7


def test_make_predicts_the_stars_beside_what_the_catalogue_does_not_wait_for(tmp_path):
    nothing_made = tmp_path / "nothing_made_yet.toml"
    nothing_made.write_text('extends = "smoke"\ntitle = "mine"\n')

    def said(target: str, *more: str) -> str:
        return planned(target.replace("here", "nothing_made_yet"), f"SURVEY={nothing_made}", "NVIDIA=", *more)

    predicts, trains = f"apogaia predict {nothing_made}\n", f"apogaia train {nothing_made} --model "
    alone = said("data/here/predictions/calibrated.npz")
    assert predicts in alone and trains + "calibrated" in alone
    assert not any(name in alone for name in (trains + "none", "run_notebook.py 03_"))
    assert predicts in said("build/here/04_inference_catalogue.ipynb")
    assert predicts not in said("build/here/02_joint_training.ipynb") + said("build/here/03_offset_analysis.ipynb")
    nothing_made.write_text('extends = "smoke"\ntitle = "mine"\n[calibration]\nmodel = "constant"\n')
    alone = said("data/here/predictions/constant.npz")
    assert predicts in alone and trains + "constant" in alone and trains + "calibrated" not in alone
    assert all(module in sources_of("predict") for module in ("model/inference.py", "dropout_cpu.py"))
    assert "zero_point/" not in sources_of("predict")
    # of two that are ready at one time the first starts first: the catalogue waits for 03, nothing for 02
    order = planned("catalogues", f"SURVEY={nothing_made}", "NVIDIA=")
    assert order.index("run_notebook.py 03_") < order.index("run_notebook.py 02_")


def sources_of(what: str) -> str:
    """The files that a rule of make rests on."""
    told = subprocess.run(
        [sys.executable, "tools/dependencies.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return dict(line.split(" := ") for line in told.splitlines())[f"SOURCES_{what}"]


def test_make_asks_at_every_run_whether_a_real_survey_is_complete(tmp_path):
    own = tmp_path / "mine.toml"
    own.write_text('extends = "dr14"\ntitle = "mine"\n[sources]\nkind = "folder"\nfolder = "x"\n')
    simulated = tmp_path / "sim.toml"
    simulated.write_text('extends = "smoke"\ntitle = "mine"\n')
    for survey in ("dr14", "dr17", str(own)):
        said = planned("data", f"SURVEY={survey}", "FETCH=--limit 5")
        assert f"apogaia data {survey} --limit 5" in said and "touch" not in said.partition("apogaia data")[2]
    assert "touch data/sim/raw/manifest.json" in planned("data", f"SURVEY={simulated}")


def test_long_functions_say_what_they_do():
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 60:
                assert ast.get_docstring(node), f"{path.relative_to(ROOT)}: {node.name} has no docstring"


def test_few_modules_stand_beside_the_parts_of_the_pipeline():
    beside = sorted(p.name for p in (ROOT / "src" / "apogaia").glob("*.py") if not p.name.startswith("__"))
    assert len(beside) <= 8, beside


@pytest.mark.parametrize(
    "survey", ["dr14 test.toml", "", "smoke mock", "..", ".", "../..", "../smoke", "no-such", "/", "surveys/", "/.toml"]
)
@pytest.mark.parametrize("target", ["clean", "all"])
def test_make_refuses_what_is_not_one_survey_before_anything_happens(survey, target):
    command = ["make", "--dry-run", target, f"SURVEY={survey}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "SURVEY" in done.stderr
    assert "rm -rf" not in done.stdout and "apogaia data" not in done.stdout


@pytest.mark.parametrize("character", "'\"`$%*?[]{}<>|&;:\\()=#")
def test_make_refuses_a_survey_whose_name_it_would_take_for_something_else(character):
    command = ["make", "--no-print-directory", "--dry-run", "clean", f"SURVEY=my{character}x.toml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and f"SURVEY=my{character}x.toml: make takes" in done.stderr
    assert not done.stdout and len(done.stderr.splitlines()) == 1


def test_make_finds_a_python_in_a_folder_of_any_name(tmp_path):
    folder = tmp_path / "größer als alles"
    folder.mkdir()
    (folder / "python3.11").symlink_to(sys.executable)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    environment["PATH"] = f"{folder}:/usr/bin:/bin"
    printing = ["make", "--no-print-directory", "--file", "Makefile", "--file", "-", "print"]
    done = subprocess.run(
        printing, cwd=ROOT, env=environment, input='print: ; @echo "$(PYTHON)"', capture_output=True, text=True
    )
    assert done.stdout.strip() == str(folder / "python3.11"), done.stderr


def test_make_lets_python_keep_compiled_modules():
    """Importing TensorFlow from its sources takes 15 s longer, in every notebook."""
    done = subprocess.run(
        ["make", "--no-print-directory", "--file", "Makefile", "--file", "-", "print"],
        cwd=ROOT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        input='print: ; @echo "$${PYTHONDONTWRITEBYTECODE-unset}"',
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "unset", done.stderr


@pytest.mark.parametrize("survey", ["smoke", "my.toml", "elsewhere/my.survey.toml", "größer/Übersicht+1.toml"])
def test_make_cleans_the_folders_of_one_survey(survey):
    done = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "clean", f"SURVEY={survey}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    name = Path(survey).name.removesuffix(".toml")
    removed = next(line for line in done.stdout.splitlines() if line.startswith("rm -rf")).split()[2:]
    assert removed[:3] == [f"build/{name}", f"results/{name}", f"figures/{name}"]
    assert all(f"/{name}" in path for path in removed)


def test_an_unknown_model_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"must be one of none, constant, .*, parameters, not 'joint'"):
        Workspace(load_survey("smoke")).model("joint")
