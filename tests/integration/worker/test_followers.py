"""Tasks that follow each other in the slots of a worker: the limit holds, and nothing is lost."""

import time

import pytest
from django.db import transaction

from autotask.acts import pausing
from autotask.handle import TaskHandle
from autotask.store import gates
from autotask.store.connection import current, execute, rows
from autotask.store.gates import Present
from autotask.task import CANCELLED, RUNNING, State
from autotask.worker.slots_here import FEW_SLOTS
from tests.helpers import ended, patient, wait_until
from tests.integration.store.shapes import count
from tests.integration.worker import limited
from tests.integration.worker.test_gates import drained, most_at_once

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_spans():
    limited.spans.clear()


def count_followers(worker):
    """Have a worker note how many followers it claims; return the list."""
    numbers, keep = [], worker.claimer.claims.follow

    def follow(*args):
        found = keep(*args)
        numbers.append(sum(map(len, found.values())))
        return found

    worker.claimer.claims.follow = follow
    return numbers


def states():
    found = rows(current(), "SELECT state, attempt FROM autotask_live WHERE name = %(name)s", {"name": NAME})
    return {(State(state), attempt) for state, attempt in found}


NAME = limited.three_short_at_a_time.name


def test_short_tasks_follow_each_other_and_the_limit_holds(start_worker):
    # Given
    workers = [start_worker(threads=4) for _ in range(2)]
    followers = [count_followers(worker) for worker in workers]

    # When
    handles = limited.three_short_at_a_time.enqueue_many([(number,) for number in range(1500)])

    # Then
    drained(*handles)
    assert most_at_once(limited.spans) == 3
    assert len(limited.spans) == 1500
    assert sum(map(sum, followers)) > 100


def test_very_short_tasks_with_many_keys_follow_each_other_and_the_limit_of_each_key_holds(start_worker):
    # Given: many more slots than a worker gives followers again and again
    accounts, rounds = 4 * FEW_SLOTS, 15
    workers = [start_worker(threads=4) for _ in range(2)]
    followers = [count_followers(worker) for worker in workers]
    limited.most_with_one_key.clear()

    # When
    handles = limited.one_very_short_each.enqueue_many([(number % accounts,) for number in range(accounts * rounds)])

    # Then
    drained(*handles)
    assert limited.most_with_one_key == [1] * len(handles)
    assert sum(map(sum, followers)) > 100
    wait_until(lambda: count("autotask_claim") == 0, what="the end of all claims")


def test_the_limit_of_each_of_many_keys_holds_when_tasks_fail_or_are_cancelled_and_a_worker_stops(start_worker):
    # Given
    accounts, rounds = 4 * FEW_SLOTS, 15
    workers = [start_worker(threads=4) for _ in range(3)]
    followers = [count_followers(worker) for worker in workers]
    limited.most_with_one_key.clear()

    # When
    calls = [(number % accounts, number) for number in range(accounts * rounds)]
    handles = limited.one_very_short_each_some_fail.enqueue_many(calls)
    wait_until(lambda: sum(map(sum, followers)) > 100, what="followers")
    workers[0].stop()
    for handle in handles[::50]:
        handle.cancel()

    # Then
    wait_until(lambda: all(handle.ready for handle in handles[-accounts:]), 60, "the end of the last calls")
    drained(*[handle for handle in handles if handle.status is not CANCELLED])
    assert set(limited.most_with_one_key) == {1}
    wait_until(lambda: count("autotask_claim") == 0, what="the end of all claims")


def test_after_very_short_tasks_with_many_keys_a_worker_claims_as_many_others_as_before(worker, monkeypatch):
    # Given
    followers, accounts, seen = worker.claimer.followers, 4 * FEW_SLOTS, []
    hold = followers.hold
    monkeypatch.setattr(followers, "hold", lambda *of, **more: (hold(*of, **more), seen.append(followers.leads_many())))

    def lead():
        drained(*limited.one_very_short_each.enqueue_many([(number,) for number in range(accounts)]))
        return seen[-1]

    wait_until(lead, what="many slots in use when the last ones came")

    # When
    drained(*limited.unlimited.enqueue_many([(number,) for number in range(50)]))

    # Then
    assert not followers.leads_many()


def test_a_claim_lasts_until_its_tasks_with_slots_have_ended_though_the_others_end_first(worker):
    # Given: tasks with slots begin only when all others of their claim have ended
    followers = worker.claimer.followers
    hold, placed = followers.hold, []

    def later(tasks, *of, **more):
        wait_until(lambda: not worker.held, what="the ends of the others")
        placed.append((len(tasks), count("autotask_result")))
        hold(tasks, *of, **more)

    followers.hold = later

    # When
    with transaction.atomic():
        limited_ones = limited.three_short_at_a_time.enqueue_many([(number,) for number in range(2)])
        gates.admit(current(), Present(), room={})
        others = limited.unlimited.enqueue_many([(number,) for number in range(2)])

    # Then
    drained(*others, *limited_ones)
    assert placed == [(2, 2)]
    assert worker.recorder.refused == 0


def test_retries_among_them_keep_the_limit(start_worker):
    followers = count_followers(start_worker(threads=4))
    handles = limited.three_short_some_fail.enqueue_many([(number,) for number in range(600)])
    drained(*handles)
    assert most_at_once(limited.spans) == 3
    assert sum(followers) > 0
    assert {handle.attempts for handle in handles} == {1, 2}


def test_nobody_follows_a_task_that_is_to_be_cancelled_and_has_no_slot(start_worker):
    # Given: every tenth task has failed just when it was to be cancelled, so it is due without a slot
    handles = limited.three_short_at_a_time.enqueue_many([(number,) for number in range(1500)])
    refused = [handle.id for handle in handles[::10]]
    sql = """
        UPDATE autotask_task t SET cancel_requested = true, state = 0, run_at = clock_timestamp() + o.n * interval '0.01 s'
        FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS o(id, n) WHERE t.id = o.id
    """
    execute(current(), sql, {"ids": refused})

    # When
    followers = count_followers(start_worker(threads=8))

    # Then
    for handle in handles:
        ended(handle)  # The last of those that are refused may be due only after all others have ended.
    drained(*[handle for handle in handles if handle.id not in refused])
    assert {TaskHandle[object](id).status for id in refused} == {CANCELLED}
    assert most_at_once(limited.spans) == 3
    assert sum(followers) > 0


def test_a_worker_that_stops_gives_its_followers_back(start_worker):
    # Given
    worker = start_worker(threads=4)
    followers = count_followers(worker)
    handles = limited.three_short_at_a_time.enqueue_many([(number,) for number in range(3000)])
    wait_until(lambda: sum(followers) > 100)

    # When
    worker.stop()
    wait_until(lambda: not rows(current(), "SELECT 1 FROM autotask_worker"), what="the sign-off")

    # Then
    assert states() <= {(State.HELD, 0), (State.READY, 0)}
    assert worker.recorder.refused == 0
    start_worker(threads=4)
    drained(*handles)
    assert most_at_once(limited.spans) == 3
    assert len(limited.spans) == 3000


def test_followers_are_released_when_the_limit_is_paused(start_worker):
    followers = count_followers(start_worker(threads=4))
    handles = limited.three_short_at_a_time.enqueue_many([(number,) for number in range(2000)])
    wait_until(lambda: sum(followers) > 100)
    pausing.pause(limit=NAME)
    wait_until(lambda: states() == {(State.HELD, 0)}, what="the end of what ran")
    pausing.resume(limit=NAME)
    drained(*handles)
    assert most_at_once(limited.spans) == 3


def test_followers_of_a_task_that_turns_out_to_be_long_are_released(start_worker):
    # Given: short tasks, one long one, and short ones behind it
    followers = count_followers(start_worker(threads=4))
    times = [0.0] * 200 + [patient(1.5)] * 3 + [0.0] * 100
    handles = limited.three_at_a_time_for.enqueue_many([(seconds,) for seconds in times])

    # When
    sql = "SELECT count(*) FROM autotask_live WHERE state = 2 AND name = %(name)s"
    wait_until(lambda: handles[200].status is RUNNING, what="the long ones")

    # Then: nobody waits behind them in the worker
    name = limited.three_at_a_time_for.name
    wait_until(lambda: rows(current(), sql, {"name": name}) == [(3,)], what="the release of the followers")
    assert sum(followers) > 0
    drained(*handles)
    assert most_at_once(limited.spans) == 3


def test_the_tasks_of_a_worker_without_a_lease_are_run_by_another(start_worker, settings):
    # Given
    worker = start_worker(threads=4)
    followers = count_followers(worker)
    handles = limited.three_short_at_a_time.enqueue_many([(number,) for number in range(2000)])
    wait_until(lambda: sum(followers) > 100)

    # When: it is taken for dead
    execute(current(), "UPDATE autotask_worker SET lease_until = now() - interval '1 s'")
    start_worker(threads=4)

    # Then
    for handle in handles:
        handle.wait(patient(30))
    until = time.monotonic() + patient(10)
    while rows(current(), "SELECT 1 FROM autotask_live WHERE name = %(name)s", {"name": NAME}):
        assert time.monotonic() < until
