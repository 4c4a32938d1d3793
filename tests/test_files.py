"""Files are whole or absent; results are JSON; products know what they were made from."""

import json
import os
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest

from apogaia import files


def left_over(folder):
    return sorted(path.name for path in folder.iterdir())


def test_atomic_writes_and_replaces(tmp_path):
    path = tmp_path / "new" / "a.txt"
    for text in ("first", "second"):
        with files.atomic(path) as temporary:
            temporary.write_text(text)
            assert temporary.parent == path.parent and temporary.suffix == ".txt"
            assert not path.exists() or path.read_text() == "first"
        assert path.read_text() == text
    assert left_over(path.parent) == ["a.txt"]


def test_atomic_under_an_exception_keeps_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="half-way"), files.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("half-way")
    assert path.read_text() == "old" and left_over(tmp_path) == ["a.txt"]


def test_atomic_without_a_written_file_is_an_error(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), files.atomic(path):
        pass
    assert path.read_text() == "old"


WRITER = """
import sys
from apogaia import files
with files.atomic(sys.argv[1]) as temporary, open(temporary, "w") as handle:
    print("writing", flush=True)
    while True:
        handle.write("new " * 1000)
        handle.flush()
"""


def test_atomic_under_sigkill_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"writing\n"
        time.sleep(0.05)
        os.kill(writer.pid, signal.SIGKILL)
        assert writer.wait() == -signal.SIGKILL
    assert path.read_text() == "old"
    # what the killed one left is out of the way of the next
    with files.atomic(path) as temporary:
        temporary.write_text("next")
    assert path.read_text() == "next"
    assert [name for name in left_over(tmp_path) if not name.startswith(".")] == ["a.txt"]


def test_json_is_sorted_plain_and_without_nan(tmp_path):
    path = tmp_path / "results" / "x.json"
    values = {
        "nan": float("nan"),
        "b": np.float32(1.5),
        "a": {"inf": -np.inf, 3: np.arange(2)},
        "list": [np.nan, (np.int64(4), True)],
        "array": np.array([[1.0, np.nan]]),
        "numpy nan": np.float64("nan"),
        "text": "µas",
        "none": None,
    }
    files.write_json(path, values)
    assert "NaN" not in path.read_text() and "Infinity" not in path.read_text()
    assert files.read_json(path) == {
        "nan": None,
        "b": 1.5,
        "a": {"inf": None, "3": [0, 1]},
        "list": [None, [4, True]],
        "array": [[1.0, None]],
        "numpy nan": None,
        "text": "µas",
        "none": None,
    }
    assert list(json.loads(path.read_text())) == sorted(values)
    before = path.read_bytes()
    files.write_json(path, dict(reversed(values.items())))
    assert path.read_bytes() == before


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})
    assert files.read_json(path) == {"a": 1} and left_over(tmp_path) == ["x.json"]


def test_reading_what_is_not_there_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"03_offset\.json.*make"):
        files.read_json(tmp_path / "03_offset.json")


@pytest.fixture
def ingredients(tmp_path):
    source, data = tmp_path / "module.py", tmp_path / "data.txt"
    source.write_text("x = 1\n")
    data.write_text("data")
    module = types.ModuleType("module")
    module.__file__ = str(source)
    return {"settings": {"network": {"dropout": 0.3}}, "inputs": [data], "modules": [module]}


def test_fingerprint_is_stable_and_changes_with_each_ingredient(ingredients, tmp_path):
    keys = [files.fingerprint(**ingredients)]
    assert keys[0] == files.fingerprint(**ingredients)
    assert keys[0] == files.fingerprint(**{**ingredients, "settings": {"network": {"dropout": np.float64(0.3)}}})
    keys.append(files.fingerprint(**{**ingredients, "settings": {"network": {"dropout": 0.2}}}))
    (tmp_path / "data.txt").write_text("Data")
    keys.append(files.fingerprint(**ingredients))
    (tmp_path / "module.py").write_text("x = 2\n")
    keys.append(files.fingerprint(**ingredients))
    (tmp_path / "data.txt").rename(tmp_path / "other.txt")
    keys.append(files.fingerprint(**{**ingredients, "inputs": [tmp_path / "other.txt"]}))
    keys.append(files.fingerprint(ingredients["settings"]))
    assert len(set(keys)) == len(keys)


def test_a_file_is_current_only_for_the_fingerprint_it_was_made_with(tmp_path):
    product = tmp_path / "product.txt"
    assert not files.is_current(product, "k1")
    files.mark_current(product, "k1", lambda path: path.write_text("one"))
    assert files.is_current(product, "k1") and not files.is_current(product, "k2")
    assert product.read_text() == "one"

    def fails(path):
        path.write_text("half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        files.mark_current(product, "k2", fails)
    # the old product stays, but nothing vouches for it
    assert product.read_text() == "one"
    assert not files.is_current(product, "k1") and not files.is_current(product, "k2")
    files.mark_current(product, "k2", lambda path: path.write_text("two"))
    product.unlink()
    assert not files.is_current(product, "k2")


def test_leftovers_of_killed_writers_are_removed_and_nothing_else(tmp_path):
    kept = [".a.h5.fingerprint", ".other.12-ab.h5", ".other.h5.12-ab.fingerprint", "a.12-ab.h5", "a.h5"]
    for name in (*kept, ".a.12-ab.h5", "..a.h5.12-ab.fingerprint"):
        (tmp_path / name).touch()
    files.remove_leftovers(tmp_path / "a.h5")
    assert left_over(tmp_path) == kept


def test_leftovers_have_the_names_that_are_looked_for(tmp_path):
    with pytest.raises(RuntimeError), files.atomic(tmp_path / "a.h5") as temporary:
        temporary.touch()
        files.remove_leftovers(tmp_path / "a.h5")
        assert left_over(tmp_path) == []
        raise RuntimeError


def test_an_input_with_a_fingerprint_counts_by_it(tmp_path):
    made = tmp_path / "made.txt"
    files.mark_current(made, "k1", lambda path: path.write_text("one"))
    first = files.fingerprint({}, [made])
    made.write_text("other bytes, same making")
    assert files.fingerprint({}, [made]) == first
    files.mark_current(made, "k2", lambda path: path.write_text("one"))
    assert files.fingerprint({}, [made]) != first
