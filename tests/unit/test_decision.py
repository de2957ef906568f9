"""The outcome of an attempt that raised, by the step that raised and the exception."""

from typing import Any

import pytest
from django.db import OperationalError

from autotask.control import Cancel, Discard, Snooze
from autotask.delayed import DelayedTask
from autotask.exceptions import ObjectGone, PayloadRefused, PayloadTooNew, UnknownCarrier, UnknownTask, WorkerStopping
from autotask.options import Options
from autotask.store.finish import Outcome
from autotask.task import State
from autotask.worker.decision import Decision, Raised, Rules, decide, stopped
from autotask.worker.outcome import Released, ResultRefused, RunAgain
from tests.unit.test_outcome import claimed

RULES = Rules(base_delay=2.0, patience=60.0)
NO_ARGUMENTS: tuple[tuple[Any, ...], dict[str, Any]] = ((), {})


def send() -> None:
    """Do nothing."""


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def decided(error, *, options=None, arguments=NO_ARGUMENTS, cancelled=False, known=True, **task) -> Decision:
    definition = DelayedTask(send, "shop.tasks.send", options or Options()) if known else None
    return decide(Raised(claimed(**task), error, definition, arguments, cancelled, 1.5, 50.0), RULES)


def not_called(error, **kwargs) -> Decision:
    return decided(error, arguments=None, **kwargs)


def state(decision: Decision) -> State:
    assert isinstance(decision.ended, Outcome)
    return decision.ended.state


def released(decision: Decision) -> Released:
    assert isinstance(decision.ended, Released)
    return decision.ended


UNKNOWN = (
    UnknownTask(name="shop.tasks.send", suggestion=""),
    PayloadTooNew(id=claimed().id, reason="it is newer"),
    UnknownCarrier(path="shop.carrier", reason="it is gone"),
)


@pytest.mark.parametrize("error", UNKNOWN, ids=lambda error: type(error).__name__)
def test_a_task_that_is_not_known_here_is_released_and_nobody_hears_of_it(error):
    back = released(not_called(error, known=False))
    assert (back.delay, back.known, back.seconds) == (0.25, False, None)
    assert back.unknown == f"{type(error).__name__}: {error}"
    assert state(not_called(error, known=False, unknown_for=60.0)) is State.ERROR


def test_a_task_whose_arguments_need_the_database_during_an_outage_is_released_unless_it_is_to_be_cancelled():
    outage = OperationalError("server closed the connection unexpectedly")
    back = released(not_called(outage))
    assert (back.delay, back.unknown, back.known, back.seconds) == (2.0, "", False, 1.5)
    assert "it needs the database" in back.log
    assert state(not_called(outage, cancelled=True)) is State.CANCELLED


def test_arguments_that_cannot_be_loaded_end_the_task_without_a_retry():
    assert state(not_called(ValueError("no"), retries=5)) is State.ERROR
    assert state(not_called(PayloadRefused(id=claimed().id, reason="no"), retries=5)) is State.ERROR


@pytest.mark.parametrize(
    ("on_missing", "expected"), [("error", State.ERROR), ("discard", State.CANCELLED), ("retry", State.RETRY)]
)
def test_an_instance_that_is_gone_ends_the_task_as_its_option_says(on_missing, expected):
    gone = ObjectGone(model="shop.Order", pk=1, database="default", others="")
    decision = not_called(gone, options=Options(on_missing=on_missing, retries=3), failures=0, retries=3)
    assert state(decision) is expected
    assert isinstance(decision.error, Discard) is (on_missing == "discard")


def test_a_result_that_cannot_be_stored_ends_the_task_without_a_retry():
    cause = ValueError("cannot be pickled")
    decision = decided(caused(ResultRefused(), cause), options=Options(retries=5), retries=5, failures=0)
    assert state(decision) is State.ERROR
    assert decision.error is cause


def test_a_call_that_does_not_fit_the_function_is_left_for_newer_code_and_its_end_is_heard():
    back = released(decided(TypeError("send() takes 0 arguments"), arguments=((1,), {})))
    assert (back.unknown, back.seconds) == ("TypeError: send() takes 0 arguments", 0.0)
    assert back.why == back.unknown
    assert state(decided(TypeError("in the function"), retries=0)) is State.ERROR


def test_a_cut_connection_releases_the_task_unless_it_is_to_be_cancelled():
    cut = caused(RunAgain(), OperationalError("gone"))
    decision = decided(cut)
    back = released(decision)
    assert (back.delay, back.known, back.why, back.seconds) == (2.0, True, "OperationalError: gone", 1.5)
    assert decision.error is cut.__cause__
    assert state(decided(cut, cancelled=True)) is State.CANCELLED


def test_a_snooze_releases_the_task_unless_it_is_to_be_cancelled():
    back = released(decided(Snooze(5)))
    assert (back.delay, back.known, back.seconds, back.log) == (5, True, 1.5, "")
    assert state(decided(Snooze(5), cancelled=True)) is State.CANCELLED


def test_a_worker_that_stops_releases_its_tasks_but_those_that_may_run_once_only():
    back = released(decided(WorkerStopping("its worker stops")))
    assert (back.delay, back.known, back.why) == (0.0, True, "its worker stops")
    assert state(decided(WorkerStopping("its worker stops"), at_most_once=True, retries=0)) is State.ERROR
    assert state(decided(WorkerStopping("its worker stops"), cancelled=True)) is State.CANCELLED


def test_other_exceptions_end_the_attempt_by_the_options():
    again = {"options": Options(retries=1), "failures": 0, "retries": 1}
    assert state(decided(ValueError("no"), **again)) is State.RETRY
    assert state(decided(ValueError("no"), **{**again, "failures": 1})) is State.ERROR
    assert state(decided(SystemExit(1), **again)) is State.RETRY
    assert state(decided(Cancel("enough"), **again)) is State.CANCELLED


def test_a_run_that_was_cut_off_counts_like_one_that_raised():
    raised = Raised(
        claimed(failures=0, retries=1), WorkerStopping("its worker has ended"), None, None, False, 1.5, 50.0
    )
    assert released(stopped(raised, None, RULES)).known is False
    assert released(stopped(raised, Options(), RULES)).known is True
