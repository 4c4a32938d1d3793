"""`make environment`: uv where it is available, pip elsewhere, hashes checked by both, and complete only at its end."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]
specification = importlib.util.spec_from_file_location("environment", ROOT / "tools" / "environment.py")
environment = importlib.util.module_from_spec(specification)
specification.loader.exec_module(environment)

# A stand-in for uv or pip: writes down its arguments and a few variables, and fails at what $FAILS names.
STAND_IN = """#!/bin/sh
name=$(basename "$0")
echo "$name $* INDEX=${UV_DEFAULT_INDEX-} DOWNLOADS=${UV_PYTHON_DOWNLOADS-}" >> "$CALLS"
case "$*" in
  --version) what=version;;
  "-m pip config list") echo "global.index-url='https://mirror.example/simple'"; what=config;;
  *requirements-uv.lock) what=pinned; case $FAILS in *pinned*) ;; *) cp "$0" "$(dirname "$0")/uv";; esac;;
  *) what=$name;;
esac
case " $FAILS " in *" $what "*) exit 1;; esac
"""


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Run `create` with stand-ins for uv and for the new environment's Python; returns what was called."""
    log, tools = tmp_path / "calls", tmp_path / "tools"
    tools.mkdir()

    def stand_in(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(STAND_IN)
        path.chmod(0o755)

    def new_folder(folder, **_):
        assert [item.name for item in folder.iterdir()] == [environment.MARK]  # what an earlier set-up left is gone
        stand_in(folder / "bin" / "python")

    monkeypatch.setattr(environment.venv, "create", new_folder)
    for variable in [name for name in os.environ if name.startswith(("UV_", "PIP_"))]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    monkeypatch.setenv("CALLS", str(log))

    def run(*arguments: str, fails: str = "", uv: bool = True) -> tuple[int, list[str]]:
        monkeypatch.setenv("FAILS", fails)
        log.unlink(missing_ok=True)
        (tools / "uv").unlink(missing_ok=True)
        if uv:
            stand_in(tools / "uv")
        (tmp_path / "venv").mkdir(exist_ok=True)
        (tmp_path / "venv" / ".complete").touch()  # of an earlier version
        status = environment.main([str(tmp_path / "venv"), "requirements.lock", *arguments])
        assert (status == 0) == (tmp_path / "venv" / ".complete").exists()
        return status, log.read_text().splitlines()

    return run


def installs(lines: list[str]) -> list[str]:
    return [line for line in lines if "pip install" in line]


def test_an_installed_uv_installs_everything_from_pips_index(calls, tmp_path):
    status, lines = calls()
    packages, project = installs(lines)
    assert status == 0
    assert packages.startswith("uv pip install") and "--require-hashes --requirement requirements.lock" in packages
    assert f"--python {tmp_path}/venv/bin/python" in packages and "DOWNLOADS=never" in packages
    assert "INDEX=https://mirror.example/simple" in packages
    assert project.startswith("uv pip install") and f"--no-deps --no-build-isolation --editable {ROOT}" in project


@pytest.mark.parametrize("uv", [False, True], ids=["no uv", "a shim without uv"])
def test_without_uv_the_pinned_one_is_installed_with_hashes(calls, tmp_path, uv):
    status, lines = calls(uv=uv, fails="version")
    pinned, packages, project = installs(lines)
    assert status == 0
    assert pinned.startswith("python -m pip install") and "--require-hashes" in pinned
    assert str(ROOT / "requirements-uv.lock") in pinned
    assert packages.startswith("uv pip install") and project.startswith("uv pip install")
    assert (tmp_path / "venv" / "bin" / "uv").exists()


@pytest.mark.parametrize(
    ("fails", "why"),
    [("uv", "uv failed"), ("version pinned", "uv is not available"), ("", "")],
    ids=["uv fails", "no uv", "pip was asked for"],
)
def test_pip_takes_over_and_says_so(calls, capfd, fails, why):
    status, lines = calls(*([] if fails else ["--installer", "pip"]), fails=fails)
    packages, project = [line for line in installs(lines) if line.startswith("python") and "uv.lock" not in line]
    assert status == 0
    assert "--require-hashes --requirement requirements.lock" in packages
    assert f"--editable {ROOT}" in project
    printed = capfd.readouterr().out
    assert "pip installs requirements.lock" in printed and why in printed
    assert why or not any(line.startswith("uv") for line in lines)


def test_an_environment_that_failed_is_not_complete(calls, capfd):
    status, lines = calls(fails="uv python")
    assert status == 1 and not any("--editable" in line for line in lines)
    assert "not complete" in capfd.readouterr().err


def test_an_interrupted_set_up_is_not_complete(calls, monkeypatch, capfd):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(environment, "install_with_uv", interrupted)
    with pytest.raises(FileNotFoundError):  # nothing was called
        calls()
    assert "starts over" in capfd.readouterr().err


def test_it_says_how_much_it_downloads_and_how_far_it_is(calls, monkeypatch, capfd):
    monkeypatch.setattr(environment, "SECONDS_BETWEEN", 0.01)
    free = iter(range(50_000_000_000, 0, -100_000_000))
    usage = lambda _: SimpleNamespace(free=next(free))  # noqa: E731
    monkeypatch.setattr(environment.shutil, "disk_usage", usage)
    monkeypatch.setattr(environment.subprocess, "Popen", Slow)
    status, _ = calls()
    printed = capfd.readouterr().out
    download, disk = environment.SIZES["requirements.lock"]
    assert status == 0
    assert f"downloads {download:.1f} GB unless cached, uses {disk:.1f} GB of 50 GB free" in printed
    assert re.search(r"  +0 s, 0\.1 GB written", printed)


class Slow(subprocess.Popen):
    def wait(self, timeout=None):
        if timeout is not None and not getattr(self, "waited", False):
            self.waited = True
            raise subprocess.TimeoutExpired(self.args, timeout)
        return super().wait(timeout)


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-cuda.lock"])
def test_a_disk_that_is_too_full_is_told_before_anything_is_written(tmp_path, monkeypatch, capsys, lock):
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda _: SimpleNamespace(free=1e9))
    assert environment.main([str(tmp_path / "new" / "venv"), lock]) == 1
    said = capsys.readouterr().err
    assert f"takes {environment.SIZES[lock][1]:.1f} GB, but its disk has 1.0 GB free" in said and "VENV=" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["thesis_results.txt", "pyvenv.cfg"])
def test_a_folder_that_is_no_environment_of_ours_is_left_alone(tmp_path, capsys, name):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / name).write_text("years of work")
    assert environment.main([str(tmp_path / "precious"), "requirements.lock"]) == 1
    assert [item.name for item in (tmp_path / "precious").iterdir()] == [name]
    assert "would be emptied" in capsys.readouterr().err


def test_an_interrupted_set_up_is_still_ours(tmp_path):
    folder = tmp_path / "venv"
    environment.make_empty(folder)  # as a killed run leaves it
    (folder / "lib").mkdir()
    (folder / "lib" / "half.py").touch()
    (folder / "lib64").symlink_to("lib")
    environment.make_empty(folder)
    assert [item.name for item in folder.iterdir()] == [environment.MARK]


def test_newer_files_alone_install_nothing_and_a_changed_project_only_itself(calls, tmp_path, monkeypatch):
    assert calls()[0] == 0
    python, made = tmp_path / "venv" / "bin" / "python", []
    monkeypatch.setattr(environment, "create", lambda *_: made.append("packages"))
    monkeypatch.setattr(environment.subprocess, "run", lambda command, **_: made.append(command))
    again = [str(tmp_path / "venv"), "requirements.lock"]
    assert environment.main(again) == 0 and made == []
    states = {name: environment.wanted(Path("requirements.lock")) | {name: "other"} for name in ("project", "packages")}
    (tmp_path / "venv" / ".complete").write_text(json.dumps(states["project"]))
    assert environment.main(again) == 0
    assert made == [[str(python), "-m", "pip", "install", "--quiet", *environment.PROJECT]]
    (tmp_path / "venv" / ".complete").write_text(json.dumps(states["packages"]))
    assert environment.main(again) == 0 and made[1:] == ["packages"]
    assert environment.main(again) == 0 and len(made) == 2
    another = environment.wanted(Path("requirements-cuda.lock"))
    assert another["packages"] != states["project"]["packages"] and another["project"] != "other"


def test_an_exported_venv_is_not_taken_for_ours():
    """Users of environments export VENV or activate one: only the command line, or APOGAIA_VENV, chooses another."""
    command = ["make", "--no-print-directory", "--eval", "show: ; @echo $(VENV)", "show"]

    def chosen(*arguments, **variables):
        surroundings = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "VENV", "APOGAIA_VENV"))}
        done = subprocess.run(
            [*command, *arguments], cwd=ROOT, env=surroundings | variables, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    assert chosen(VENV="/home/me/precious") == ".venv"
    assert chosen("VENV=elsewhere", VENV="/home/me/precious") == "elsewhere"
    assert chosen(APOGAIA_VENV="/opt/apogaia") == "/opt/apogaia"


def test_pips_settings_are_read_in_its_order():
    listing = "\n".join(
        [
            "global.index-url='https://one/simple'",
            "global.extra-index-url='\\nhttps://two/simple\\nhttps://three/simple'",
            "install.index-url='https://four/simple'",
            "freeze.timeout='3'",
            ":env:.default-timeout='60'",
        ]
    )
    settings = environment.pip_settings(listing)
    assert settings["index-url"] == "https://four/simple" and settings["timeout"] == "60"
    chosen = environment.uv_environment(settings, {})
    assert chosen["UV_DEFAULT_INDEX"] == "https://four/simple"
    assert chosen["UV_INDEX"] == "https://two/simple https://three/simple"
    assert chosen["UV_INDEX_STRATEGY"] == "unsafe-best-match" and chosen["UV_HTTP_TIMEOUT"] == "60"
    links = environment.uv_environment({"find-links": "/a /b"}, {})
    assert links["UV_FIND_LINKS"] == "/a,/b" and "UV_INDEX_STRATEGY" not in links


@pytest.mark.parametrize("variable", ["UV_DEFAULT_INDEX", "UV_INDEX_URL"])
def test_what_the_user_set_for_uv_stays(variable):
    chosen = environment.uv_environment({"index-url": "https://pip/simple"}, {variable: "https://uv/simple"})
    assert chosen[variable] == "https://uv/simple" and "https://pip/simple" not in chosen.values()


def test_uvs_own_lock_is_hashed_and_names_no_index():
    text = (ROOT / "requirements-uv.lock").read_text()
    assert re.match(r"uv==[\d.]+ \\\n", text) and text.count("==") == 1
    assert text.count("--hash=sha256:") > 5
    assert not re.search(r"://|index-url|find-links", text)


def test_make_builds_the_environment_with_the_python_that_it_found(tmp_path):
    arguments = [f"VENV={tmp_path}/new", f"PYTHON={sys.executable}", "LOCK=requirements.lock", "INSTALLER=pip"]
    planned = subprocess.run(
        ["make", "-n", "environment", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert f'"{sys.executable}" tools/environment.py {tmp_path}/new requirements.lock --installer pip' in planned


def keras_backend(*arguments: str, **variables: str) -> str:
    """The backend that make hands to its commands on this host."""
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith(("KERAS", "MAKE", "XLA"))}
    show = 'show: ; @echo "$${KERAS_BACKEND-} $${XLA_PYTHON_CLIENT_PREALLOCATE-}"'
    command = ["make", "--no-print-directory", "-f", "Makefile", "--eval", show, "show", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env={**surroundings, **variables}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_keras_runs_on_jax_where_the_packages_for_nvidia_are_installed():
    gpu = "NVIDIA=/proc/driver/nvidia/version"
    assert keras_backend(gpu) == "jax false"
    assert keras_backend(gpu, KERAS_BACKEND="tensorflow") == "tensorflow false"
    assert keras_backend(gpu, "LOCK=requirements.lock") == ""
    assert keras_backend("NVIDIA=", "LOCK=requirements-cuda.lock") == ""
    container = (ROOT / "Dockerfile").read_text()
    assert (
        "ARG BACKEND=jax" in container
        and "KERAS_BACKEND=$BACKEND" in container
        and "XLA_PYTHON_CLIENT_PREALLOCATE=false" in container
    )
