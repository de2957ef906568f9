"""The context of a running task: what it tells the function, and what the function may say."""

import contextvars
import decimal
import fractions
import logging
import math
import threading
from datetime import UTC, datetime

import pytest

from autotask import context
from autotask.context import Progress, StopRequest, TaskContext
from autotask.task import new_id


@pytest.fixture
def reports():
    return []


@pytest.fixture
def task(reports):
    return TaskContext(new_id(), "shop.tasks.send", 2, datetime(2026, 7, 1, tzinfo=UTC), report=reports.append)


def test_it_tells_which_attempt_this_is(task):
    assert (task.name, task.attempt, task.scheduled_for) == ("shop.tasks.send", 2, datetime(2026, 7, 1, tzinfo=UTC))
    assert str(task.id) in repr(task)


# --- should_stop ----------------------------------------------------------------------------------------------------


def test_a_task_that_nobody_asks_to_stop_need_not(task):
    assert (task.should_stop, task.stop_reason) == (False, "")


def test_a_request_to_stop_is_seen_from_another_thread_and_its_first_reason_stays():
    # Given
    stop = StopRequest()
    task = TaskContext(new_id(), "x", stop=stop)

    # When
    asker = threading.Thread(target=lambda: (stop.ask("it was cancelled"), stop.ask("its worker stops")))
    asker.start()
    asker.join()

    # Then
    assert (task.should_stop, task.stop_reason) == (True, "it was cancelled")


# --- logger ---------------------------------------------------------------------------------------------------------


def test_its_log_lines_carry_name_and_id(task, caplog):
    # When
    with caplog.at_level(logging.INFO, "autotask"):
        task.logger.info("%d of %d", 1, 2, extra={"customer": 7})

    # Then
    (record,) = caplog.records
    assert record.name == "autotask.task.shop.tasks.send"
    assert record.getMessage() == f"shop.tasks.send {task.id}: 1 of 2"
    assert (record.task_id, record.task_name, record.attempt) == (str(task.id), "shop.tasks.send", 2)
    assert record.customer == 7


def test_there_is_one_logger(task):
    assert task.logger is task.logger


# --- progress -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ((1, 3), Progress(1.0, 3.0)),
        ((5,), Progress(5.0)),
        ((0, 0), Progress(0.0, 0.0)),
        ((decimal.Decimal("0.5"), fractions.Fraction(3, 2)), Progress(0.5, 1.5)),
        ((2**60, 2**61), Progress(float(2**60), float(2**61))),
    ],
)
def test_progress_is_passed_on(task, reports, said, heard):
    task.progress(*said)
    assert reports == [heard]


@pytest.mark.parametrize(
    "said",
    [("much",), (None,), ([1], 2), (1, "all"), (math.nan,), (1, math.nan), (math.inf, 1), (1, -math.inf), (10**400,)],
)
def test_what_is_no_number_is_logged_and_never_raises(task, reports, caplog, said):
    task.progress(*said)
    assert reports == []
    assert f"{task.id}: no progress" in caplog.text


def test_after_the_end_nobody_listens_any_more(task, reports):
    task.close()
    task.progress(1, 2)
    assert reports == []


@pytest.mark.parametrize(
    ("progress", "fraction", "text"),
    [
        (Progress(1.0, 4.0), 0.25, "1/4"),
        (Progress(5.0, 4.0), 1.0, "5/4"),
        (Progress(-1.0, 4.0), 0.0, "-1/4"),
        (Progress(3.0), None, "3"),
        (Progress(0.0, 0.0), None, "0/0"),
        (Progress(0.5, 12345678.0), 0.5 / 12345678, "0.5/12345678"),
    ],
)
def test_progress_has_a_share_and_a_text(progress, fraction, text):
    assert progress.fraction == fraction
    assert str(progress) == text


# --- current --------------------------------------------------------------------------------------------------------


def test_deeper_code_finds_the_context_of_the_task_that_runs_and_nothing_after_it(task):
    def run():
        context.enter(task)
        return context.current()

    assert contextvars.Context().run(run) is task
    assert context.current() is None
