"""The process pool gives results as they finish, or in the order of the tasks."""

import time

import pytest

from apogaia.processes import run_in_processes

SECONDS = (1.0, 0.0, 0.0, 0.0)  # the first task is the slowest


def wait(index, seconds):
    time.sleep(seconds)
    return index


@pytest.mark.parametrize("processes", [1, 2])
def test_ordered_results_arrive_in_the_order_of_the_tasks(processes):
    tasks = enumerate(SECONDS)
    assert list(run_in_processes(wait, tasks, processes, ordered=True)) == [0, 1, 2, 3]


def test_other_results_arrive_as_they_finish():
    found = list(run_in_processes(wait, enumerate(SECONDS), 2))
    assert sorted(found) == [0, 1, 2, 3] and found[0] != 0


def test_ordered_tasks_are_read_as_results_arrive():
    taken = []
    tasks = ((taken.append(i) or i, 0.0) for i in range(30))
    for done, _ in enumerate(run_in_processes(wait, tasks, 2, ordered=True), 1):
        assert len(taken) <= done + 4
