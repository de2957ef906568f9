"""Held tasks with real workers: limits, rates, and tasks that do not wait where a limit is full."""

import time

import pytest

from autotask.exceptions import TaskCancelled
from autotask.store.connection import current, execute, rows
from autotask.store.survey import Chore
from autotask.task import CANCELLED, DONE, RUNNING, WAITING
from autotask.worker.chores import Chores
from autotask.worker.sweeper import Sweeper
from tests import gates
from tests.helpers import ended, wait_until
from tests.integration.worker import limited

pytestmark = pytest.mark.django_db(transaction=True)


def most_at_once(spans):
    """Return how many of the spans, pairs of start and end, overlap at most."""
    steps = sorted([(start, 1) for start, _ in spans] + [(end, -1) for _, end in spans])
    most = count = 0
    for _, step in steps:
        count += step
        most = max(most, count)
    return most


def drained(*handles):
    for handle in handles:
        assert ended(handle) == DONE, handle.error_message
    names = [handle.name for handle in handles]
    left = "SELECT count(*) FROM autotask_live WHERE name = ANY(%(names)s)"
    assert rows(current(), left, {"names": names}) == [(0,)]


@pytest.mark.parametrize("name", ["two_at_a_time", "two_coroutines_at_a_time", "two_atomic_at_a_time"])
def test_a_limit_holds_for_all_workers_together(start_worker, name):
    # Given
    task = getattr(limited, name)
    limited.spans.clear()

    # When
    handles = task.enqueue_many([(number,) for number in range(30)])
    for _ in range(3):
        start_worker(threads=4)

    # Then
    drained(*handles)
    assert most_at_once(limited.spans) == 2
    assert len(limited.spans) == 30


def test_each_key_has_slots_of_its_own(start_worker):
    limited.spans.clear()
    start_worker(threads=8)
    first = limited.one_for_each_account(1, "first")
    wait_until(lambda: first.status == RUNNING)
    second, other = limited.one_for_each_account(1, "second"), limited.one_for_each_account(2, "other")
    wait_until(lambda: other.status == RUNNING)
    assert second.status == WAITING
    for name in ("first", "other", "second"):
        gates.gate(name).set()
    drained(first, second, other)


def test_tasks_that_share_a_limit_wait_for_each_other(start_worker, settings):
    settings.AUTOTASK_LIMITS = {"shared": 1}
    start_worker(threads=4)
    first = limited.share("first")
    wait_until(lambda: first.status == RUNNING)
    second = limited.share_too("second")
    time.sleep(0.3)
    assert second.status == WAITING
    gates.gate("second").set()
    gates.gate("first").set()
    drained(first, second)


def test_a_limit_of_everything_holds_for_tasks_without_options(start_worker, settings):
    settings.AUTOTASK_MAX_COUNT = 2
    limited.spans.clear()
    start_worker(threads=8)
    drained(*limited.unlimited.enqueue_many([(number,) for number in range(20)]))
    assert most_at_once(limited.spans) == 2


def test_failures_and_retries_keep_the_limit(start_worker, settings):
    settings.AUTOTASK_RETRY_BASE = 0.05
    limited.spans.clear()
    start_worker(threads=8)
    drained(*limited.fails_once.enqueue_many([(number,) for number in range(10)]))
    assert most_at_once(limited.spans) == 1
    assert len(limited.spans) == 20


def test_a_task_that_does_not_wait_is_dropped_where_the_limit_is_full(start_worker):
    start_worker(threads=4)
    first = limited.dropped("first")
    wait_until(lambda: first.status == RUNNING)
    second = limited.dropped("second")
    assert ended(second) == CANCELLED
    assert second.error_message == "limit reached"
    with pytest.raises(TaskCancelled, match="limit reached"):
        second.wait(1)
    gates.gate("first").set()
    drained(first)


def test_a_new_call_cancels_the_running_one(start_worker):
    start_worker(threads=4)
    first = limited.latest("first")
    wait_until(lambda: first.status == RUNNING)
    second = limited.latest("second")
    third = limited.latest("third")
    gates.gate("third").set()
    assert ended(first) == CANCELLED
    wait_until(lambda: third.status == DONE)
    gates.gate("second").set()
    assert ended(second) in (CANCELLED, DONE)

    # Then each says why
    was_given = f"cancelled: its slot of {first.name} was given to task "
    first.refresh()
    assert first.error_message in (was_given + str(second.id), was_given + str(third.id))
    if second.status == CANCELLED:
        instead = f"cancelled: task {third.id} waits for a slot of {first.name} instead"
        assert second.error_message in (instead, was_given + str(third.id))

    # And no more once it was cancelled for another reason
    first.retry()
    wait_until(lambda: rows(current(), "SELECT 1 FROM autotask_live WHERE state = 2"))
    first.cancel()
    assert ended(first) == CANCELLED
    assert first.error_message == "cancelled while it ran"


def test_a_task_that_expires_while_it_is_held_ends_before_its_turn(start_worker):
    # Given
    first = limited.one_for_each_account(1, "first of account")
    second = limited.one_for_each_account.using(expires=3)(1, "second of account")
    third = limited.one_for_each_account(1, "third of account")

    # When
    start_worker()

    # Then
    assert ended(second) == CANCELLED
    assert second.error_message == "expired: it was held for longer than its time"
    assert (first.status, third.status) == (RUNNING, WAITING)
    gates.gate("third of account").set()
    gates.gate("first of account").set()
    drained(first, third)


def test_a_rate_is_kept_over_several_workers(start_worker):
    # Given
    limited.starts.clear()
    for _ in range(2):
        start_worker(threads=4)

    # When
    began = time.monotonic()
    handles = limited.fifty_a_second.enqueue_many([(number,) for number in range(60)])
    drained(*handles)

    # Then: ten at once, and fifty in a second after that
    assert time.monotonic() - began >= 0.9
    starts = sorted(limited.starts)
    for first, last in zip(starts, starts[35:], strict=False):
        assert last - first > 0.4, "more than 35 tasks began within 0.4 seconds"


def test_a_sweep_wakes_nobody_for_a_bucket_that_is_empty_for_long(transactional_db):
    # Given
    woken = []
    chores = Chores(Chore)
    sweeper = Sweeper(chores, lambda: woken.append(True))
    sql = "INSERT INTO autotask_mark (gate, at) VALUES ('rate:tests.hourly', now() + interval '1 h')"
    execute(current(), sql)

    # Then it is looked at once, since the rate may have changed
    sweeper.run_once(current())
    assert len(woken) == 1
    execute(current(), "DELETE FROM autotask_mark")
    execute(current(), sql)
    chores.add(Chore)
    sweeper.run_once(current())
    assert len(woken) == 1


def test_a_task_closes_the_rate_for_all_of_its_key(start_worker):
    limited.starts.clear()
    start_worker(threads=4)
    refused, other = limited.refused_once("a"), limited.refused_once("b", refuse=False)
    assert ended(other) == DONE
    wait_until(
        lambda: rows(current(), "SELECT FROM autotask_bucket WHERE closed_until > now()"), what="the closed rate"
    )
    later = limited.refused_once("a", refuse=False)
    time.sleep(0.5)
    assert (later.status, refused.status) == (WAITING, WAITING)
    drained(refused, later)
    assert refused.attempts == 1


def test_a_raised_limit_is_noticed_without_any_end(start_worker, settings):
    settings.AUTOTASK_LEASE = 3
    settings.AUTOTASK_LIMITS = {"shared": 1}
    start_worker(threads=4)
    first, second = limited.share("first"), limited.share("second")
    wait_until(lambda: first.status == RUNNING)
    settings.AUTOTASK_LIMITS = {"shared": 2}
    wait_until(lambda: second.status == RUNNING)
    gates.gate("first").set()
    gates.gate("second").set()
    drained(first, second)


def test_what_is_left_of_slots_and_buckets_is_deleted(start_worker, settings):
    settings.AUTOTASK_CLEAN_INTERVAL = 1
    settings.AUTOTASK_LEASE = 2
    drained_before = limited.two_at_a_time(1)
    execute(current(), "INSERT INTO autotask_bucket (gate, full_at) VALUES ('rate:old', now() - interval '2 h')")
    start_worker(threads=2)
    drained(drained_before)
    left = "SELECT (SELECT count(*) FROM autotask_slot) + (SELECT count(*) FROM autotask_bucket)"
    wait_until(lambda: rows(current(), left) == [(0,)])
