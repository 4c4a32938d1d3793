"""Files are whole or absent; results are JSON; products know what they were made from."""

import contextlib
import errno
import functools
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


def test_a_second_process_waits_for_its_turn_and_says_so(tmp_path, capsys):
    product = tmp_path / "a.npz"
    script = f"import time; from apogaia.files import in_turn\nwith in_turn({str(product)!r}):\n"
    first = subprocess.Popen(
        [sys.executable, "-c", script + "    print('in', flush=True); time.sleep(1.5)"], stdout=subprocess.PIPE
    )
    assert first.stdout.readline() == b"in\n"
    start = time.monotonic()
    with files.in_turn(product):
        assert time.monotonic() - start > 1
    assert capsys.readouterr().err == f"waiting for another process, which is making {product}\n"
    assert first.wait(timeout=60) == 0
    with files.in_turn(product):
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC])
def test_what_is_finished_can_be_read_where_nothing_can_be_written(tmp_path, monkeypatch, number):
    def refuse(path, mode):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(files, "open", refuse, raising=False)
    reached = []
    with pytest.raises(OSError, match="space") if number == errno.ENOSPC else contextlib.nullcontext():
        with files.in_turn(tmp_path / "a.npz"):
            reached.append(number)
    assert reached == [] if number == errno.ENOSPC else reached == [number]


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
    return {"settings": {"network": {"dropout": 0.3}}, "inputs": [data], "code": [module]}


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


def test_comments_docstrings_and_layout_are_no_part_of_a_fingerprint(ingredients, tmp_path):
    key = files.fingerprint(**ingredients)
    (tmp_path / "module.py").write_text('"""What it is."""\n\n# why\nx = (\n    1\n)\n')
    assert files.fingerprint(**ingredients) == key


def test_bound_arguments_do_not_hide_the_code_of_a_function():
    from apogaia.refit import splines

    plain = files.fingerprint({}, code=[splines.spline_basis])
    assert files.fingerprint({}, code=[functools.partial(functools.partial(splines.spline_basis, 1), 2)]) == plain
    assert plain == files.fingerprint({}, code=[splines]) != files.fingerprint({})


def test_a_product_is_kept_until_settings_inputs_or_code_change(tmp_path):
    source, product, made = tmp_path / "in.txt", tmp_path / "out.txt", []
    source.write_text("one")

    def make(path):
        made.append(source.read_text())
        path.write_text(made[-1])

    for settings in ({"a": 1}, {"a": 1}, {"a": 2}):
        assert files.kept(product, make, settings, [source]) == product
    source.write_text("two")
    assert files.kept(product, make, {"a": 2}, iter([source])).read_text() == "two"
    assert made == ["one", "one", "two"]


def test_parts_of_a_killed_run_are_kept_for_the_same_fingerprint_only(tmp_path):
    folder = files.parts_folder(tmp_path / "parts", "k1")
    (folder / "0.npz").touch()
    (folder / ".1.12-ab.npz").touch()
    assert left_over(files.parts_folder(tmp_path / "parts", "k1")) == ["0.npz", "fingerprint"]
    assert left_over(files.parts_folder(tmp_path / "parts", "k2")) == ["fingerprint"]


def test_a_product_made_in_parts_resumes_and_leaves_none(tmp_path):
    product, made = tmp_path / "out.txt", []

    def make(path, parts):
        for name in "abc":
            if not (parts / name).is_file():
                made.append(name)
                if made == ["a", "b"]:
                    raise KeyboardInterrupt
                (parts / name).touch()
        path.write_text("whole")

    with pytest.raises(KeyboardInterrupt):
        files.kept(product, make, {"a": 1}, in_parts=True)
    assert left_over(tmp_path) == ["out.txt.parts"]
    assert files.kept(product, make, {"a": 1}, in_parts=True).read_text() == "whole"
    assert made == ["a", "b", "b", "c"] and not (tmp_path / "out.txt.parts").exists()
    (tmp_path / "out.txt.parts").mkdir()  # of a run killed when the product was whole
    files.kept(product, make, {"a": 1}, in_parts=True)
    assert not (tmp_path / "out.txt.parts").exists()
    files.kept(product, make, {"a": 2}, in_parts=True)  # of other settings no part is taken
    assert made[4:] == ["a", "b", "c"]


def test_a_second_process_is_kept_out_until_the_first_has_ended(tmp_path):
    lock = tmp_path / "new" / ".lock"
    with files.alone(lock, "another is at x"):
        with pytest.raises(files.BusyError, match="another is at x: wait for it"), files.alone(lock, "another is at x"):
            pytest.fail("both are in")
    with files.alone(lock, "another is at x"):
        pass


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
    assert product.read_text() == "one"
    assert files.is_current(product, "k1") and not files.is_current(product, "k2")
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


def test_an_input_with_a_fingerprint_counts_by_it_and_by_its_content(tmp_path):
    made = tmp_path / "made.txt"
    files.mark_current(made, "k1", lambda path: path.write_text("one"))
    keys = [files.fingerprint({}, [made])]
    assert files.fingerprint({}, [made]) == keys[0]
    made.write_text("two")
    keys.append(files.fingerprint({}, [made]))
    files.mark_current(made, "k2", lambda path: path.write_text("one"))
    keys.append(files.fingerprint({}, [made]))
    assert len(set(keys)) == 3


def test_a_replaced_product_is_neither_current_nor_own(tmp_path):
    product = tmp_path / "product.txt"
    assert not files.is_own(product)
    product.write_text("one")
    assert not files.is_own(product)
    files.mark_current(product, "k1", lambda path: path.write_text("one"))
    os.utime(product, (1, 1))  # as a copy has another time
    assert files.is_current(product, "k1") and files.is_own(product)
    product.write_text("two")
    assert not files.is_current(product, "k1") and not files.is_own(product)
    product.write_text("one")
    assert files.is_current(product, "k1")


def test_marks_of_earlier_versions_do_not_vouch_for_the_content(tmp_path):
    product = tmp_path / "product.txt"
    product.write_text("one")
    (tmp_path / ".product.txt.fingerprint").write_text("k1\n")
    assert not files.is_current(product, "k1") and files.is_own(product)


@pytest.mark.parametrize("at", ["product", "mark"])
def test_a_product_of_a_run_that_stopped_between_product_and_mark_is_known(tmp_path, monkeypatch, at):
    """Stopped before the new product has its name, and after that, before the last note."""
    product = tmp_path / "product.txt"
    files.mark_current(product, "k1", lambda path: path.write_text("one"))
    replace, done = os.replace, []

    def stop(source, target):
        done.append(target)
        if len(done) == {"product": 2, "mark": 3}[at]:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        files.mark_current(product, "k2", lambda path: path.write_text("two"))
    assert product.read_text() == {"product": "one", "mark": "two"}[at]
    assert files.is_own(product)
    assert not any(files.is_current(product, key) for key in ("k1", "k2", "unfinished"))


def test_large_products_are_compared_by_size_and_three_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SAMPLED_ABOVE", 1000)
    monkeypatch.setattr(files, "PIECE", 100)
    product = tmp_path / "large"
    content = bytearray(np.random.default_rng(1).bytes(5001))
    files.mark_current(product, "k1", lambda path: path.write_bytes(content))

    def still_current(place):
        changed = content.copy()
        changed[place] ^= 1
        product.write_bytes(changed)
        return files.is_current(product, "k1")

    assert [still_current(place) for place in (0, 99, 2451, 2549, 4901, 5000)] == [False] * 6
    assert still_current(1000)  # as documented: between the pieces
    product.write_bytes(content + b"x")
    assert not files.is_current(product, "k1")
    product.write_bytes(content[:1000])
    assert not files.is_current(product, "k1")
    files.mark_current(product, "k2", lambda path: path.write_bytes(content[:1000]))
    product.write_bytes(bytes([*content[:500], content[500] ^ 1, *content[501:1000]]))
    assert not files.is_current(product, "k2")
