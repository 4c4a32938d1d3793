"""Print, as make variables, which package files each notebook rests on, and what make must know of each survey.

That is its files, kind, source of labels, and the network of its catalogue; with the path of a survey file, the last
three alone. Needs the standard library alone: make runs this before there is an environment.
"""

import importlib.util
import json
import sys
import tomllib
from pathlib import Path

PACKAGE = Path("src/apogaia")
MODULES = {  # that rules of make without a notebook start from
    "simulate": ["simulate/run.py"],
    "labels": ["parameters/training.py", "parameters/catalogue.py"],
    "train": ["zero_point/calibrated_training.py", "reduction/labelled_stars.py"],
    "predict": ["model/inference.py"],
}
VALUES = {"KIND": ("sources", "kind"), "LABELS": ("labels", "source"), "MODEL": ("calibration", "model")}


def _code_dependencies():
    """The package's module of that name, loaded by itself: the package may not be installed yet."""
    specification = importlib.util.spec_from_file_location("code_dependencies", PACKAGE / "code_dependencies.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def notebook_source(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    lines = [line for cell in cells if cell["cell_type"] == "code" for line in "".join(cell["source"]).splitlines()]
    return "\n".join(line if not line.lstrip().startswith(("%", "!")) else "pass" for line in lines)


def survey_chain(path: Path) -> list[str]:
    base = tomllib.loads(path.read_text(encoding="utf-8")).get("extends")
    return [str(path), *(survey_chain(path.with_name(f"{base}.toml")) if base else [])]


def survey_value(path: Path, section: str, key: str) -> str:
    """A text of a survey file, from the file that it extends if it says nothing."""
    values = tomllib.loads(path.read_text(encoding="utf-8"))
    if key in values.get(section, {}):
        return values[section][key]
    base = f"{values['extends']}.toml"
    base_path = path.with_name(base) if path.with_name(base).is_file() else PACKAGE / "surveys" / base
    return survey_value(base_path, section, key)


def main() -> None:
    if len(sys.argv) > 1:
        print(*(survey_value(Path(sys.argv[1]), *place) for place in VALUES.values()))
        return
    code = _code_dependencies()
    for path in sorted(Path("notebooks").glob("*.ipynb")):
        files = code.closure(code.imported_modules(notebook_source(path), PACKAGE), PACKAGE)
        print(f"SOURCES_{path.stem} := {' '.join(map(str, files))}")
    for name, modules in MODULES.items():
        files = code.closure([PACKAGE / module for module in modules], PACKAGE)
        print(f"SOURCES_{name} := {' '.join(map(str, files))}")
    for path in sorted((PACKAGE / "surveys").glob("*.toml")):
        print(f"SURVEY_FILES_{path.stem} := {' '.join(survey_chain(path))}")
        for name, place in VALUES.items():
            print(f"{name}_{path.stem} := {survey_value(path, *place)}")


if __name__ == "__main__":
    main()
