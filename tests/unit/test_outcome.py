"""The record for each way in which a call can end."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from autotask.control import Cancel, Discard, Retry, Snooze
from autotask.exceptions import PayloadRefused, UnknownTask, WorkerStopping
from autotask.options import Options
from autotask.store.finish import Outcome
from autotask.task import ClaimedTask, State, new_id
from autotask.worker import outcome
from autotask.worker.outcome import Released

TASK = ClaimedTask(
    id=new_id(),
    fence=7,
    name="shop.tasks.send",
    queue="default",
    priority=0,
    attempt=3,
    failures=1,
    lost=1,
    retries=2,
    unknown_for=None,
    ready_at=datetime(2026, 7, 1, tzinfo=UTC),
    scheduled_for=None,
    payload=b"",
)


def claimed(**changes):
    return TASK._replace(**changes)


PLAIN = Options()


def failed(error, options: Options | None = PLAIN, task=TASK, cancelled=False, **kwargs):
    return outcome.failed(
        task, error, options, cancelled=cancelled, base_delay=2.0, ended_at=50.0, seconds=1.5, **kwargs
    )


def raised(error):
    """Return an exception with a traceback, as a task raises it."""
    try:
        raise error
    except BaseException as caught:  # noqa: B036 - whatever it is
        return caught


class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


class Rude(Exception):
    def __str__(self):
        raise SystemExit(3)

    __repr__ = __str__


class Bodiless(Exception):
    @property
    def __traceback__(self):
        raise RuntimeError("no traceback")


def test_a_call_that_returned_is_done():
    assert outcome.succeeded(TASK, b"value", ended_at=50.0, seconds=1.5) == Outcome(
        id=TASK.id, fence=7, state=State.DONE, ended_at=50.0, seconds=1.5, value=b"value"
    )


def test_a_failure_with_retries_left_is_tried_again():
    ended = failed(ValueError("no"), Options(backoff=5.0))
    assert (ended.id, ended.fence, ended.state, ended.delay) == (TASK.id, 7, State.RETRY, 5.0)
    assert (ended.ended_at, ended.seconds) == (50.0, 1.5)
    assert (ended.error_type, ended.error_message) == ("builtins.ValueError", "ValueError: no")


def test_a_failure_without_retries_left_is_an_error():
    ended = failed(ValueError("no"), task=claimed(failures=2))
    assert (ended.state, ended.delay) == (State.ERROR, 0.0)


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_only_failures_use_up_retries(failures, retries, lost, attempt):
    ended = failed(ValueError(), task=claimed(failures=failures, retries=retries, lost=lost, attempt=attempt))
    assert (ended.state is State.RETRY) is (failures < retries)


@pytest.mark.parametrize(("failures", "delay"), [(0, 2.0), (1, 4.0), (2, 8.0)])
def test_the_first_failure_waits_for_the_base_delay(failures, delay):
    ended = failed(ValueError(), task=claimed(failures=failures, retries=9))
    assert ended.delay == pytest.approx(delay, rel=0.1)


def test_an_exception_that_is_not_to_be_retried_is_an_error():
    assert failed(ValueError(), Options(no_retry_on=(ValueError,))).state is State.ERROR
    assert failed(ValueError(), Options(retry_on=(OSError,))).state is State.ERROR
    assert failed(ConnectionError(), Options(retry_on=(OSError,))).state is State.RETRY


def test_a_call_that_was_not_reached_is_not_tried_again():
    assert failed(PayloadRefused(id=TASK.id, reason="altered"), options=None).state is State.ERROR


def test_a_failure_after_somebody_asked_to_cancel_is_a_cancellation():
    ended = failed(ValueError("no"), cancelled=True)
    assert (ended.state, ended.delay, ended.error_message) == (State.CANCELLED, 0.0, "ValueError: no")


@pytest.mark.parametrize(
    ("returned", "told"),
    [(-1, "ValueError: The backoff function must return"), (None, "TypeError"), ("x", "TypeError")],
)
def test_a_backoff_function_that_returns_nonsense_makes_it_an_error_that_shows_both(returned, told):
    ended = failed(raised(KeyError("first")), Options(backoff=lambda *_: returned))
    assert ended.state is State.ERROR
    assert ended.error_message.startswith(f"KeyError: 'first' (and its backoff function raised {told}")
    assert "its backoff function raised" in ended.traceback
    assert told in ended.traceback
    # Each once, and without a line of autotask.
    assert ended.traceback.count("KeyError: 'first'") == 1
    assert "/autotask/retry.py" not in ended.traceback


def test_a_backoff_function_that_raises_makes_it_an_error_that_tells_both():
    def backoff(error, attempt):
        try:
            raise LookupError("between")
        except LookupError:
            raise OSError("second")  # noqa: B904

    ended = failed(raised(KeyError("first")), Options(backoff=backoff))
    assert ended.state is State.ERROR
    assert ended.error_message == "KeyError: 'first' (and its backoff function raised OSError: second)"
    assert ended.traceback.count("KeyError: 'first'") == 1
    assert "LookupError: between" in ended.traceback
    assert "OSError: second" in ended.traceback
    assert "/autotask/worker/outcome.py" not in ended.traceback


def test_a_backoff_function_may_raise_the_same_exception_again():
    def backoff(error, attempt):
        raise error

    assert failed(raised(KeyError("first")), Options(backoff=backoff)).traceback.count("KeyError: 'first'") == 2


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_an_exception_that_ends_programs_is_a_failure_of_the_task_like_any_other(error):
    assert failed(error).state is State.RETRY
    assert failed(error).error_type == f"builtins.{type(error).__name__}"


@pytest.mark.parametrize("kind", [Speechless, Rude])
def test_an_exception_without_words_is_written_down(kind):
    ended = failed(raised(kind()))
    assert ended.state is State.RETRY
    assert ended.error_message.startswith(f"{kind.__name__}: (its text cannot be shown: __str__ raised ")
    assert kind.__name__ in ended.traceback


def test_an_exception_without_traceback_is_written_down():
    ended = failed(Bodiless("no"))
    assert ended.error_message == "Bodiless: no"
    assert "Bodiless: no" in ended.traceback


def test_the_traceback_tells_where_and_why():
    # Given
    try:
        try:
            raise KeyError("cause")
        except KeyError as cause:
            raise ValueError("effect") from cause
    except ValueError as error:
        # When
        told = failed(error).traceback

    # Then
    assert "KeyError: 'cause'" in told
    assert "ValueError: effect" in told
    assert "test_the_traceback_tells_where_and_why" in told


def test_the_traceback_of_an_endless_recursion_is_short():
    # Given two functions, because equal lines are summed up anyway
    def there():
        here()

    def here():
        there()

    try:
        there()
    except RecursionError as error:
        # When
        ended = failed(error)

    # Then
    assert ended.error_type == "builtins.RecursionError"
    assert ended.error_message.startswith("RecursionError: maximum recursion depth exceeded")
    assert len(ended.traceback.splitlines()) < 300


# --- what the function says itself ----------------------------------------------------------------------------------


def test_a_retry_counts_and_waits_as_long_as_it_says():
    ended = failed(raised(Retry(delay=30, reason="their server is busy")))
    assert (ended.state, ended.delay) == (State.RETRY, 30.0)
    assert ended.error_message == "Retry: their server is busy"


def test_a_retry_without_a_delay_waits_as_the_task_does():
    ended = failed(raised(Retry()), Options(backoff=7.0))
    assert (ended.state, ended.delay) == (State.RETRY, 7.0)


@pytest.mark.parametrize("options", [Options(retry_on=(OSError,)), Options(no_retry_on=(Exception,))])
def test_a_retry_is_one_whatever_is_retried_else(options):
    assert failed(raised(Retry(delay=1)), options).state is State.RETRY


def test_a_retry_without_retries_left_is_an_error_that_says_so():
    ended = failed(raised(Retry(reason="busy")), task=claimed(failures=2, retries=2))
    assert ended.state is State.ERROR
    assert ended.error_message == "Retry: busy (no retries are left: retries=2)"


def test_a_retry_shows_the_error_that_it_answers():
    def busy():
        try:
            raise ConnectionError("503")
        except ConnectionError as error:
            raise Retry(delay=1) from error

    with pytest.raises(Retry) as caught:
        busy()
    assert "ConnectionError: 503" in failed(caught.value).traceback


@pytest.mark.parametrize("retries", [0, 5])
def test_cancel_ends_a_task_with_its_reason_alone(retries):
    ended = failed(raised(Cancel("the order was paid")), task=claimed(retries=retries))
    assert (ended.state, ended.error_message) == (State.CANCELLED, "the order was paid")


def test_discard_ends_a_task_quietly():
    ended = failed(raised(Discard("the user is gone")))
    assert (ended.state, ended.error_message, ended.traceback) == (State.CANCELLED, "discarded: the user is gone", "")


@pytest.mark.parametrize("error", [Retry(delay=1), Snooze(1)], ids=repr)
def test_a_task_that_was_to_be_cancelled_is_not_run_again_whatever_it_raises(error):
    assert failed(raised(error), cancelled=True).state is State.CANCELLED


def test_a_task_that_runs_at_most_once_is_not_run_again_when_its_worker_stops():
    ended = failed(raised(WorkerStopping("its worker stops")), task=claimed(retries=0, failures=0, at_most_once=True))
    assert ended.state is State.ERROR
    assert ended.error_message == "its worker stops; at_most_once: it is not run again"


def test_an_expired_task_is_cancelled_and_was_no_attempt():
    ended = outcome.expired(claimed(late=12.345), ended_at=50.0)
    assert (ended.state, ended.began, ended.traceback) == (State.CANCELLED, False, "")
    assert ended.error_message == "expired: it was claimed 12.3 seconds too late"


UNKNOWN = UnknownTask(name="x", suggestion="")


def test_a_task_that_is_not_known_is_left_for_a_newer_worker():
    released = outcome.unknown(TASK, UNKNOWN, patience=600, now=50.0)
    assert released == Released(TASK, delay=outcome.UNKNOWN_DELAY, unknown=f"UnknownTask: {UNKNOWN}")


def test_it_is_released_as_long_as_there_is_patience():
    released = outcome.unknown(claimed(unknown_for=599.9), UNKNOWN, patience=600, now=50.0)
    assert isinstance(released, Released)


@pytest.mark.parametrize(("waited", "patience"), [(600.0, 600), (10_000.0, 600), (0.0, 0), (0.1, 0)])
def test_a_task_that_was_not_known_for_too_long_ends_in_an_error_that_says_so(waited, patience):
    ended = outcome.unknown(
        claimed(unknown_for=waited), UnknownTask(name="shop.x", suggestion=""), patience=patience, now=50.0
    )
    assert (ended.state, ended.ended_at, ended.seconds) == (State.ERROR, 50.0, 0.0)
    assert "No task named 'shop.x' is known here" in ended.error_message


def test_without_patience_it_is_released_once_all_the_same():
    # Only the database's clock says since when it is not known; the first worker that finds out sets it
    assert isinstance(outcome.unknown(TASK, UNKNOWN, patience=0, now=50.0), Released)


def test_an_unknown_task_has_no_traceback_and_a_module_that_cannot_be_imported_has_one():
    def traceback_of(error: Exception) -> str:
        try:
            raise error
        except Exception as raised:
            return outcome.unknown(claimed(unknown_for=9.0), raised, patience=1.0, now=50.0).traceback

    assert traceback_of(UnknownTask(name="x", suggestion="")).startswith(
        "autotask.exceptions.UnknownTask: No task named"
    )
    assert "in traceback_of" in traceback_of(ImportError("no module"))
