"""Copy the outputs of the checked cells (tag nbval-check-output) from the executed smoke notebooks into notebooks/.

Run it after `make smoke` when a checked number has changed on purpose; all other outputs and counts are cleared. 08 is
no part of `make smoke`: it stays as it is, unless tools/run_notebook.py has run it for the smoke survey.
"""

from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        if path.stem == "08_closure" and not (ROOT / "build" / "smoke" / path.name).is_file():
            continue
        executed = nbformat.read(ROOT / "build" / "smoke" / path.name, as_version=4)
        outputs = {cell["source"]: cell["outputs"] for cell in executed.cells if cell["cell_type"] == "code"}
        for count, cell in enumerate((cell for cell in notebook.cells if cell["cell_type"] == "code"), start=1):
            checked = "nbval-check-output" in cell["metadata"].get("tags", [])
            cell["outputs"] = outputs[cell["source"]] if checked else []
            cell["execution_count"] = count if checked else None  # nbval takes a cell without one as never run
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
