"""A training that is killed goes on, and ends as if nothing had been."""

import dataclasses
import os
import sys

import keras
import kill_runs
import kill_trainings
import numpy as np
import pytest
from kill_trainings import PATIENCE, ROWS, SETTINGS, Killed, assert_same, fitted, killed, network, noisy_line

from apogaia.model import checkpoint, likelihood, networks
from apogaia.model.checkpoint import Checkpoint, remove_checkpoint, training_key


@pytest.fixture(scope="module")
def whole():
    """The training that nobody kills; what the tests rest on is true of it."""
    weights, history = fitted()
    rates = np.round(np.array(history["learning_rate"]) / history["learning_rate"][0], 3)
    np.testing.assert_array_equal(rates, [1, 1, 1, 1, 1, 0.5, 0.5, 0.25])
    assert int(np.argmin(history["val_loss"])) == 2
    return weights, history


def test_a_training_killed_twice_ends_as_if_nothing_had_been(tmp_path, monkeypatch, whole, capsys):
    """Killed before the rate falls and after, with the best weights behind; patience ends it at the same epoch."""
    place = tmp_path / "m.training"
    killed(monkeypatch, place, 2)
    killed(monkeypatch, place, 6)
    capsys.readouterr()
    assert_same(fitted(place, verbose=True), whole)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "noisy: resumes after epoch 6 of 12"
    assert [line.split()[1] for line in lines[1:]] == ["7/12", "8/12"]
    assert os.listdir(tmp_path) == ["m.training"]
    remove_checkpoint(place)
    assert os.listdir(tmp_path) == []


def test_a_cosine_goes_on_at_its_rate(tmp_path, monkeypatch):
    settings = dataclasses.replace(SETTINGS, schedule="cosine")
    whole = fitted(settings=settings)
    place = tmp_path / "m.training"
    killed(monkeypatch, place, 1, settings=settings)  # while it rises
    killed(monkeypatch, place, 3, settings=settings)
    resumed = fitted(place, settings=settings)
    assert_same(resumed, whole)
    assert len(set(whole[1]["learning_rate"])) == len(whole[1]["learning_rate"]) > 3


def test_a_training_that_patience_has_ended_does_not_go_on(tmp_path, monkeypatch, whole):
    def kill(*_, **__):
        raise Killed

    place = tmp_path / "m.training"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoint, "EVERY_S", 0.0)
        patch.setattr(keras.callbacks.EarlyStopping, "on_train_end", kill)
        fitted(place)
    assert_same(fitted(place), whole)


def test_without_patience_the_last_weights_stay(tmp_path, monkeypatch):
    settings = dataclasses.replace(SETTINGS, epochs=3)
    killed(monkeypatch, tmp_path / "m.training", 2, patience=None, settings=settings)
    found = fitted(tmp_path / "m.training", patience=None, settings=settings)
    assert_same(found, fitted(patience=None, settings=settings))
    assert len(found[1]["loss"]) == 3


@pytest.mark.slow
def test_a_process_killed_by_a_signal_ends_as_if_nothing_had_been(tmp_path, whole):
    place = tmp_path / "m.training"
    kill = kill_runs.kill_at_random([sys.executable, kill_trainings.__file__, place], (0, 2), 1, begun=place.exists)
    assert kill.hit
    assert Checkpoint(place, place.read_bytes().split()[0].decode(), [], 12).says.startswith("resumes after epoch ")
    assert_same(fitted(place), whole)


@pytest.mark.parametrize("device", [True, False])
def test_killed_trainings_on_jax_end_as_if_nothing_had_been(jax_process, device):
    """With epochs that JAX compiles, and with Keras' own."""
    jax_process.run(f"""
        import pathlib, tempfile
        from kill_trainings import assert_same, fitted, killed

        whole = fitted(device={device})
        assert len(whole[1]["loss"]) < 12 and 0.03 < whole[1]["learning_rate"][0] != whole[1]["learning_rate"][-1]
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder) / "m.training"
            killed(patch, place, 2, device={device})
            killed(patch, place, 6, device={device})
            assert_same(fitted(place, device={device}), whole)
    """)


def test_a_file_of_another_training_or_a_damaged_one_is_not_used(tmp_path, monkeypatch, whole, capsys):
    place = tmp_path / "m.training"
    killed(monkeypatch, place, 1, settings=dataclasses.replace(SETTINGS, seed=2))
    assert_same(fitted(place, verbose=True), whole)
    said = capsys.readouterr().out.splitlines()[0]
    assert said == f"noisy: starts over: {place} is of another training, with other settings, stars or code"
    content = place.read_bytes()
    key = content.split()[0].decode()
    assert Checkpoint(place, key, [], 12).first_epoch == 1
    half = len(content) // 2
    flipped = content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :]
    for damaged in (b"", content[:-1], content[:half], flipped, b"no first line", b"\xff\n\xff", content + b"x"):
        place.write_bytes(damaged)
        found = Checkpoint(place, key, [], 12)
        assert (found.first_epoch, found.found) == (0, {})
        assert found.says == f"starts over: {place} is damaged"


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A training that has just begun, and the clock."""
    now = [1000.0]
    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    item = Checkpoint(tmp_path / "m.training", "key", [], 12)
    item.set_model(network())
    item.on_train_begin()
    return item, now


def test_short_trainings_leave_no_file_and_long_ones_write_now_and_then(begun):
    item, now = begun
    written = []
    for epoch in range(12):
        now[0] += 7.0
        item.on_epoch_end(epoch, {})
        if item.path.exists():
            written.append((epoch, Checkpoint(item.path, "key", [], 12).first_epoch))
            item.path.unlink()
    assert written == [(2, 3), (5, 6), (8, 9), (11, 12)]


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_training_killed_while_it_writes_leaves_the_file_as_it_was(begun, monkeypatch, moment):
    item, now = begun

    def kill(*_):
        raise Killed

    for epoch in (0, 1):
        now[0] += 30.0
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(os, moment, kill)
            item.on_epoch_end(epoch, {})
        if epoch == 0:
            assert not item.path.exists()
            item.on_epoch_end(epoch, {})
    assert Checkpoint(item.path, "key", [], 12).first_epoch == 1
    (item.path.parent / ".m.123-abcd.training").touch()  # what a signal leaves at that moment
    (item.path.parent / "other.training").touch()
    remove_checkpoint(item.path)
    remove_checkpoint(None)
    assert os.listdir(item.path.parent) == ["other.training"]


def test_the_key_is_of_all_that_determines_a_training_and_of_nothing_else():
    def key(arrays=None, rows=ROWS, settings=SETTINGS, code=networks.trunk, patience=PATIENCE, seed=1, **changed):
        keras.utils.set_random_seed(seed)
        return training_key(network(**changed), arrays or noisy_line(), rows, settings, [code], patience=patience)

    first = key()
    inputs, targets = noisy_line()
    assert key() == first  # though Keras counts the networks of a process
    assert key(arrays=({"x": np.asfortranarray(inputs["x"])}, targets)) == first
    moved = inputs["x"].copy()
    moved[99, 19] += 1e-6
    others = [
        key(arrays=({"x": moved}, targets)),
        key(arrays=({"y": inputs["x"]}, targets)),
        key(arrays=(inputs, targets + 1)),
        key(rows=ROWS[::-1]),
        key(settings=dataclasses.replace(SETTINGS, plateau_factor=0.4)),
        key(settings=dataclasses.replace(SETTINGS, contaminant_fraction=0.1)),
        key(patience=None),
        key(code=likelihood.label_loss),
        key(dropout=0.3),
        key(rate=0.01),
        key(seed=2),  # of the first weights
    ]
    assert len({first, *others}) == 1 + len(others)
