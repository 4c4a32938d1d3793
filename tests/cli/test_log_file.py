"""``--log``: what a command prints stays in a file."""

import re
import sys

from apogaia.cli.commands import main
from apogaia.cli.log_file import logged

TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d "


def lines_of(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert all(re.match(TIME, line) for line in lines)
    return [re.sub(TIME, "", line, count=1) for line in lines]


def test_output_and_errors_are_kept_with_the_command(tmp_path, capsys):
    log = tmp_path / "x.log"
    assert main(["--log", str(log), "info", "nothing.fits"]) == 2
    first, second = lines_of(log)
    assert first.startswith("apogaia ") and first.endswith(f"apogaia --log {log} info nothing.fits")
    assert second == "apogaia info: nothing.fits: no such file"
    assert capsys.readouterr().err.strip() == second  # and it is shown as ever
    main(["--log", str(log), "models"])
    assert lines_of(log)[:2] == [first, second] and len(lines_of(log)) > 10  # it is added to


def test_of_a_bar_that_is_redrawn_its_last_state_is_a_line(tmp_path, capsys):
    log = tmp_path / "x.log"
    with logged(log, ["fetch", "dr14"]):
        for percent in (0, 50, 100):
            sys.stderr.write(f"\r{percent} %")
        sys.stderr.write("\nwhole\nnot finished")
    assert lines_of(log)[1:] == ["100 %", "whole", "not finished"]
    assert capsys.readouterr().err == "\r0 %\r50 %\r100 %\nwhole\nnot finished"


def test_a_log_that_cannot_be_written_is_said(tmp_path, capsys):
    assert main(["--log", str(tmp_path / "no" / "x.log"), "models"]) == 2
    assert "apogaia: --log: " in (said := capsys.readouterr().err) and "x.log" in said


def test_without_it_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["models"]) == 0 and not list(tmp_path.iterdir())
