"""Create the Python environment from a lock file: with uv where it is available, else with pip. Hashes are checked.

    python tools/environment.py .venv requirements.lock [--installer pip]

Runs with the standard library alone, under the Python that the environment is to have. An installed ``uv`` is used if
there is one; otherwise the version pinned in requirements-uv.lock is installed into the new environment. The file
``.complete`` is written last: an interrupted set-up leaves none, so that make starts over. It holds what was installed:
a file that is newer, but not another, costs nothing, and a change of pyproject.toml alone installs the project alone. A
folder that holds something else than an environment made here is left alone.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MARK = ".apogaia-environment"  # written first: what a folder that bears it holds was made here
UV_LOCK = ROOT / "requirements-uv.lock"
PROJECT = ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]

# GB to download, and GB on the disk: of the wheels of Python 3.11 on x86-64 Linux, 2026-11-26
SIZES = {"requirements.lock": (0.8, 3.1), "requirements-cuda.lock": (3.7, 9.6)}
SECONDS_BETWEEN = 15.0  # lines of progress

# pip's settings that decide where packages come from, and uv's names for them. uv does not read pip's.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
}
# uv's older names: whoever sets one of them has configured uv already.
SYNONYMS = {"UV_DEFAULT_INDEX": "UV_INDEX_URL", "UV_INDEX": "UV_EXTRA_INDEX_URL"}


def pip_settings(listing: str) -> dict[str, str]:
    """The settings in the output of ``pip config list``: the environment's before `install`'s before `global`'s."""
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if section in found:
            found[section][option.removeprefix("default-")] = ast.literal_eval(value)
    return found["global"] | found["install"] | found[":env:"]


def uv_environment(settings: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Environment variables that make uv look where pip would; what the user set for uv stays."""
    chosen = {}
    for option, variable in UV_NAMES.items():
        if option in settings and SYNONYMS.get(variable, variable) not in environment:
            separator = "," if option == "find-links" else " "
            chosen[variable] = separator.join(settings[option].split())
    if "extra-index-url" in settings:
        # pip takes the best match among all indexes. The lock's hashes say which file is the right one.
        chosen["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {**chosen, **environment, "UV_PYTHON_DOWNLOADS": "never"}


def installed_uv() -> str | None:
    """A uv on the path that runs (a shim of a version manager may be there without it)."""
    uv = shutil.which("uv")
    works = uv and subprocess.run([uv, "--version"], capture_output=True, check=False).returncode == 0
    return uv if works else None


def pinned_uv(python: str) -> str | None:
    """Install the pinned uv beside this Python; None if that fails."""
    command = [python, "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", str(UV_LOCK)]
    return str(Path(python).with_name("uv")) if subprocess.run(command, check=False).returncode == 0 else None


def install_with_uv(python: str, lock: Path) -> bool:
    """Install lock file and project with uv; False, with the reason printed, if uv is not available or fails."""
    uv = installed_uv() or pinned_uv(python)
    if uv is None:
        print("uv is not available", flush=True)
        return False
    listed = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    settings = pip_settings(listed.stdout)
    environment = uv_environment(settings, os.environ)
    command = [uv, "pip", "install", "--quiet", "--python", python]
    no_index = ["--no-index"] * (settings.get("no-index", "").lower() in ("1", "true", "yes", "on"))
    for options in ([*no_index, "--require-hashes", "--requirement", str(lock)], PROJECT):
        if run_and_report([*command, *options], environment, Path(python).parents[1]):
            print(f"{uv} failed", flush=True)
            return False
    return True


def install_with_pip(python: str, lock: Path) -> None:
    """Install lock file and project with pip. Like uv, it leaves compiling to the first import."""
    for options in (["--no-compile", "--require-hashes", "--requirement", str(lock)], PROJECT):
        command = [python, "-m", "pip", "install", "--quiet", *options]
        if status := run_and_report(command, os.environ, Path(python).parents[1]):
            raise subprocess.CalledProcessError(status, command)


def run_and_report(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> int:
    """Run a command that fills the disk of `folder`, say now and then how far it is, and return its exit status."""
    start, free = time.monotonic(), shutil.disk_usage(folder).free
    process = subprocess.Popen(command, env=dict(environment))
    try:
        while True:
            try:
                return process.wait(timeout=SECONDS_BETWEEN)
            except subprocess.TimeoutExpired:
                written = max(0.0, (free - shutil.disk_usage(folder).free) / 1e9)
                print(f"  {time.monotonic() - start:4.0f} s, {written:.1f} GB written", flush=True)
    except KeyboardInterrupt:
        process.wait()  # Ctrl-C has reached it, too
        raise


class NotOursError(Exception):
    """The folder holds something else."""


class NoRoomError(Exception):
    """The disk is too full."""


def check_room(folder: Path, lock: Path) -> str:
    """Say how much is downloaded and how much room it takes.

    Raises
    ------
    NoRoomError
        If the disk has less.
    """
    if lock.name not in SIZES:
        return "gigabytes of packages"
    download, disk = SIZES[lock.name]
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free / 1e9
    if free < disk:
        remedy = "free some space, or give make VENV=a folder on another disk"
        raise NoRoomError(f"{folder} takes {disk:.1f} GB, but its disk has {free:.1f} GB free: {remedy}")
    return f"downloads {download:.1f} GB unless cached, uses {disk:.1f} GB of {free:.0f} GB free"


def make_empty(folder: Path) -> None:
    """Remove an earlier environment, and mark the folder as one.

    Raises
    ------
    NotOursError
        If it holds anything that was not made here: another environment, or files of the user.
    """
    content = list(folder.iterdir()) if folder.is_dir() else []
    if content and not any((folder / name).is_file() for name in (MARK, ".complete")):
        raise NotOursError(
            f"{folder} holds files that do not belong to an environment of apogaia, and would be emptied:"
            " give make VENV=a new folder, or remove it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    (folder / ".complete").unlink(missing_ok=True)
    for item in content:
        if item.name == MARK:
            continue
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink(missing_ok=True)


def wanted(lock: Path) -> dict[str, str]:
    """Digests of what decides which packages an environment has, and how the project is installed into it."""
    python = f"{sys.version_info[:2]}".encode()
    packages = [python, *(path.read_bytes() for path in (lock, UV_LOCK, Path(__file__)))]
    project = [str(ROOT).encode(), (ROOT / "pyproject.toml").read_bytes()]
    digests = {"packages": packages, "project": project}
    return {name: hashlib.sha256(b"\0".join(parts)).hexdigest() for name, parts in digests.items()}


def installed(folder: Path) -> dict[str, str]:
    """The same of a complete environment; empty of any other."""
    try:
        return dict(json.loads((folder / ".complete").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def bring_up_to_date(folder: Path, lock: Path, installer: str = "uv") -> None:
    """Create the environment, unless it is there and only looks older than the files that it was made from.

    Raises as `create` and `check_room` do.
    """
    folder = folder.absolute()
    ours, theirs = wanted(lock), installed(folder)
    if theirs.get("packages") != ours["packages"]:
        print(f"Creating {folder} from {lock}: {check_room(folder, lock)}; takes minutes", flush=True)
        create(folder, lock, installer)
    elif theirs != ours:
        (folder / ".complete").unlink()
        python = str(folder / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PROJECT], check=True)
    (folder / ".complete").write_text(json.dumps(ours), encoding="utf-8")


def create(folder: Path, lock: Path, installer: str = "uv") -> None:
    """Create the environment anew.

    Raises
    ------
    NotOursError
        If the folder holds something else.
    subprocess.CalledProcessError
        If neither uv nor pip can install the lock file and the project.
    """
    folder = folder.absolute()
    make_empty(folder)
    venv.create(folder, with_pip=True, symlinks=True)
    python = str(folder / "bin" / "python")
    if installer == "pip" or not install_with_uv(python, lock):
        print(f"pip installs {lock.name}: two or three minutes", flush=True)
        install_with_pip(python, lock)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Create the Python environment from a lock file.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("lock", type=Path)
    parser.add_argument("--installer", choices=("uv", "pip"), default="uv")
    options = parser.parse_args(arguments)
    try:
        bring_up_to_date(options.folder, options.lock, options.installer)
    except (NotOursError, NoRoomError) as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"The environment is not complete: {error.cmd[0]} failed (its message is above)", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped: the same command starts over", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
