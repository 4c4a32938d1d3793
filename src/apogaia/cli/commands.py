"""The command line: ``apogaia data``, ``mock``, ``fetch``, ``reduce``, ``distance``, ... (`apogaia --help`)."""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import shtab

from apogaia import __version__
from apogaia.cli import (
    astra_commands,
    compare_command,
    distance_command,
    explore_command,
    info_command,
    model_commands,
    predict_command,
    survey_commands,
    train_command,
    zero_point_command,
)
from apogaia.cli.help_texts import COMPLETION, COMPLETION_EPILOG, EPILOG
from apogaia.cli.log_file import logged
from apogaia.cli.options import add_command

STOPPED = 130  # exit code after Ctrl-C: 128 plus the number of SIGINT
NOBODY_READS = 141  # the same of SIGPIPE
# each adds its commands, in the order of --help
COMMANDS = (
    survey_commands,
    train_command,
    predict_command,
    distance_command,
    astra_commands,
    compare_command,
    explore_command,
    zero_point_command,
    model_commands,
    info_command,
)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that a terminal cannot show ends no run
    options = parser().parse_args(arguments)
    try:
        with logged(options.log, sys.argv[1:] if arguments is None else arguments):
            return _run(options)
    except OSError as error:  # of the log
        print(f"apogaia: --log: {error}", file=sys.stderr)
        return 2


def _run(options: argparse.Namespace) -> int:
    try:
        with _workers_end_with_ctrl_c():
            code = options.run(options)
        sys.stdout.flush()  # here: a reader that has gone would otherwise be found at Python's end, with exit code 120
        return code
    except KeyboardInterrupt:
        then = "starts over" if options.command in ("distance", "parameters") else "resumes"
        print(f"apogaia {options.command}: stopped; the same command {then}", file=sys.stderr)
        return STOPPED
    except BrokenPipeError:  # as of `| head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes
        return NOBODY_READS
    except (OSError, ValueError) as error:
        print(f"apogaia {options.command}: {error}", file=sys.stderr)
        return 2


@contextmanager
def _workers_end_with_ctrl_c() -> Iterator[None]:
    """End worker processes on Ctrl-C, so that a pool does not wait until they have finished their tasks."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield  # Ctrl-C is ignored, as by a background job of a shell, or handled by the caller
        return

    def stop(*_) -> None:
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; each command's function is its default `run`."""
    parser = argparse.ArgumentParser(
        prog="apogaia",
        description="Spectro-photometric distances for APOGEE stars and the Gaia parallax zero point.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"apogaia {__version__}")
    parser.add_argument(
        "--log", type=Path, metavar="FILE", help="add what the command prints to this file, with the time of each line"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    for module in COMMANDS:
        module.add(commands)
    completion = add_command(commands, "completion", _completion, "completion of commands and options for your shell")
    completion.description, completion.epilog = COMPLETION, COMPLETION_EPILOG
    completion.add_argument("shell", choices=shtab.SUPPORTED_SHELLS, help="which shell")
    return parser


def _completion(options: argparse.Namespace) -> int:
    print(shtab.complete(parser(), shell=options.shell))
    return 0
