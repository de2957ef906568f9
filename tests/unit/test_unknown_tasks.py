"""How long a worker leaves tasks alone that its code does not know."""

import pytest

from autotask import registry
from autotask.exceptions import UnknownTask
from autotask.worker.unknown_tasks import FIRST_WHILE, LONGEST_WHILE, MOST_NAMES, UnknownTasks


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_worker_that_has_met_no_unknown_task_leaves_nothing_alone():
    assert UnknownTasks().names() == []


def test_an_unknown_task_is_left_alone_for_longer_each_time():
    # Given
    clock = Clock()
    unknown_tasks = UnknownTasks(clock)

    # When
    whiles = []
    for _ in range(8):
        unknown_tasks.met("shop.new", "not known")
        began = clock.now
        while unknown_tasks.names() == ["shop.new"]:
            clock.now += 0.5
        whiles.append(clock.now - began)

    # Then
    expected = [min(FIRST_WHILE * 2**n, LONGEST_WHILE) for n in range(8)]
    assert whiles == expected


def test_many_that_come_at_once_count_as_one_and_make_one_log_line(caplog):
    clock = Clock()
    unknown_tasks = UnknownTasks(clock)
    for _ in range(100):
        unknown_tasks.met("shop.new", "No task named\n'shop.new'")
    clock.now += FIRST_WHILE
    assert unknown_tasks.names() == []
    (line,) = [record.message for record in caplog.records]
    assert line.startswith("shop.new: No task named 'shop.new'. It is left for a newer worker")


def test_a_name_that_has_not_come_for_long_is_treated_as_at_first():
    # Given
    clock = Clock()
    unknown_tasks = UnknownTasks(clock)
    for _ in range(3):
        unknown_tasks.met("shop.new", "not known")
        clock.now += LONGEST_WHILE
    clock.now += 2 * LONGEST_WHILE

    # When
    unknown_tasks.met("shop.new", "not known")

    # Then
    clock.now += FIRST_WHILE
    assert unknown_tasks.names() == []


def test_no_more_names_are_remembered_than_a_statement_can_bear():
    unknown_tasks = UnknownTasks(Clock())
    for number in range(2 * MOST_NAMES):
        unknown_tasks.met(f"shop.{number}", "not known")
    assert unknown_tasks.names() == [f"shop.{number}" for number in range(MOST_NAMES, 2 * MOST_NAMES)]


@pytest.mark.parametrize("name", ["shop.tasks.make.<locals>.add", "shop.tasks.<lambda>"])
def test_a_task_that_no_import_defines_is_told_as_such(name):
    with pytest.raises(
        UnknownTask, match="since it is defined inside a function, or is a lambda. Define it at the top"
    ):
        registry.get(name)
