"""Run one notebook for one survey with papermill, and keep the result only if it ran to the end.

The executed copy goes to build/<survey>/; while it runs it has a temporary name, and it stays under that name if a cell
fails, so that it can be opened and read. What the kernel prints beside its cells' outputs goes to a .log file there.
Epochs and progress bars are shown in the terminal, too.
"""

import argparse
import errno
import os
import re
import sys
import time
from pathlib import Path

import papermill
from tqdm import tqdm

from apogaia.files import BusyError, alone
from apogaia.survey import load_survey
from apogaia.workspace import Workspace

ROOT = Path(__file__).resolve().parents[1]
SECONDS_BETWEEN = 10.0  # lines of progress: short epochs and bars must not flood the terminal
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
PROGRESS = re.compile(r"epoch \d+/\d+ |.*\d%\|")  # the lines of model/fitting.py, and tqdm's bars


class Progress:
    """Shows in the terminal what the output of a cell, written here, says of its progress."""

    def __init__(self, notebook: str):
        self.notebook, self.shown_at = notebook, float("-inf")

    def write(self, text: str) -> None:
        """Show a line of progress of `text`, the last, unless one has just been shown."""
        lines = [line.strip() for line in re.split(r"[\r\n]", text) if PROGRESS.match(line)]
        if lines and time.monotonic() >= self.shown_at + SECONDS_BETWEEN:
            self.shown_at = time.monotonic()
            tqdm.write(f"{self.notebook}: {lines[-1]}", file=sys.stderr)  # above papermill's own bar
            sys.stderr.flush()

    def flush(self) -> None:
        """Do nothing: a file has this method."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("notebook", help="name without suffix, for instance 01_data_reduction")
    parser.add_argument("--survey", required=True, help="name of a survey, or the path of a .toml file")
    parser.add_argument("--products", nargs="*", default=[], type=Path, help="files that the notebook must write")
    options = parser.parse_args(arguments)
    if options.survey.endswith(".toml"):
        options.survey = str(Path(options.survey).resolve())  # the notebook runs in another folder
    workspace = Workspace(load_survey(options.survey), ROOT)
    notebook = ROOT / "notebooks" / f"{options.notebook}.ipynb"
    executed = workspace.executed_notebook(options.notebook)
    running = executed.with_suffix(".running.ipynb")
    try:
        executed.parent.mkdir(parents=True, exist_ok=True)
        # one make runs a notebook once: only another one can be at it
        with alone(executed.with_name(f".{options.notebook}.lock"), f"another make is running {executed}"):
            return run(options, workspace, notebook, executed, running)
    except BusyError as busy:
        print(busy, file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in NOT_WRITABLE:
            raise
        folders = "build, data, figures and results must be writable folders with enough disk space"
        print(f"{error}: {folders}", file=sys.stderr)
        return 2


def run(options: argparse.Namespace, workspace: Workspace, notebook: Path, executed: Path, running: Path) -> int:
    """Execute the notebook as `running`, and name it `executed` in the end; returns the exit status."""
    print(f"{options.notebook} ({workspace.survey.name}) ...", flush=True)
    start, progress = time.perf_counter(), Progress(options.notebook)
    sys.stderr = os.fdopen(os.dup(2), "w")  # messages and the progress bar still reach the terminal
    with open(running.with_suffix(".log"), "w") as log:
        os.dup2(log.fileno(), 2)  # the kernel inherits this
    try:
        papermill.execute_notebook(
            # papermill would replace what stands in braces
            *(str(path).replace("{", "{{").replace("}", "}}") for path in (notebook, running)),
            parameters={"survey": options.survey},
            cwd=str(ROOT / "notebooks"),
            progress_bar=sys.stderr.isatty(),
            stdout_file=progress,
            stderr_file=progress,
        )
    except KeyboardInterrupt:
        print(f"{options.notebook} interrupted; run make again to resume", file=sys.stderr)
        return 130
    except papermill.PapermillExecutionError as error:
        print(f"{error}\n{options.notebook} failed for survey {options.survey}; see {running}", file=sys.stderr)
        return 1
    for product in options.products:
        if not product.is_file():
            print(f"{options.notebook} ran, but did not write {product}", file=sys.stderr)
            return 1
        os.utime(product)  # a product that was current already counts as made now
    os.replace(running, executed)
    print(f"{options.notebook} ({workspace.survey.name}): {time.perf_counter() - start:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
