"""Claims: each task is taken once, in order, within limits, and only by workers that live."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from autotask.store import claim, forgotten
from autotask.store.claim import BoundedLane, Lane
from autotask.store.connection import current, execute
from autotask.task import State
from tests.integration.store.shapes import let_be_ready, now, put, sign_on, state, stored, take

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_claim_takes_a_task_and_says_all_about_it():
    # Given
    worker = sign_on()
    (id,) = put(queue="mail", priority=5, retries=2, payload=b"\x00\xff")

    # When
    (task,) = take(worker)

    # Then
    assert (task.id, task.name, task.queue, task.priority) == (id, "tests.task", "mail", 5)
    assert (task.attempt, task.failures, task.lost, task.retries) == (1, 0, 0, 2)
    assert (task.unknown_for, task.scheduled_for, task.payload) == (None, None, b"\x00\xff")
    row = stored(id)
    assert (row.state, row.fence, row.worker_id, row.attempt) == (State.RUNNING, task.fence, worker, 1)
    assert row.started_at >= row.created_at


def test_each_claim_has_a_fence_of_its_own():
    worker = sign_on()
    put(20)
    fences = [task.fence for task in take(worker)]
    assert len(set(fences)) == 20


def test_what_is_not_due_is_not_taken():
    worker = sign_on()
    put(3, delay=60)
    assert take(worker) == []


@pytest.mark.parametrize("lease", [0.0, -0.001, -100.0])
def test_a_worker_whose_lease_has_run_out_takes_nothing(lease):
    put(3)
    assert take(sign_on(lease=lease)) == []


def test_a_worker_that_is_not_registered_takes_nothing():
    (id,) = put()
    assert take(uuid.uuid4()) == []
    assert state(id) is State.READY


# --- races ----------------------------------------------------------------------------------------------------------


def test_a_claim_passes_over_what_another_is_just_taking(transaction):
    # Given
    mine, other = sign_on(), sign_on()
    ids = put(10)
    taken = take(other, limit=4, connection=transaction)

    # When
    rest = take(mine)

    # Then nobody waited, and all are taken once
    assert len(taken) == 4
    assert len(rest) == 6
    assert {task.id for task in taken + rest} == set(ids)


def test_what_a_claim_that_was_rolled_back_took_can_be_taken(transaction):
    mine, other = sign_on(), sign_on()
    put(10)
    take(other, connection=transaction)
    assert take(mine) == []
    execute(transaction, "ROLLBACK")
    assert [task.attempt for task in take(mine)] == [1] * 10


def test_claims_at_the_same_time_never_take_the_same_task(in_threads):
    # Given
    ids = [id for queue in "abc" for priority in (0, 5) for id in put(50, queue=queue, priority=priority)]
    workers = [sign_on() for _ in range(4)]

    # When
    def take_all(connection, number):
        taken = []
        while found := take(workers[number], limit=7, per_lane=3, connection=connection):
            taken += found
        return taken

    taken = [task for tasks in in_threads(take_all, times=4) for task in tasks]

    # Then
    assert sorted(task.id for task in taken) == sorted(ids)
    assert len({task.fence for task in taken}) == 300
    assert {task.attempt for task in taken} == {1}


# --- limits and order -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
@pytest.mark.parametrize("lanes", [1, 40])
def test_a_claim_takes_exactly_as_many_as_asked_for(limit, lanes):
    # Given
    worker = sign_on()
    ids = [id for number in range(lanes) for id in put(120 // lanes, queue=f"q{number}", priority=number % 3)]

    # When
    taken = take(worker, limit=limit)

    # Then
    assert len(taken) == limit
    assert sum(state(id) is State.RUNNING for id in ids) == limit


def test_a_claim_takes_no_more_of_one_lane_than_its_share():
    worker = sign_on()
    for queue in "abc":
        put(20, queue=queue)
    taken = [task.queue for task in take(worker, limit=30, per_lane=10)]
    assert sorted(taken) == ["a"] * 10 + ["b"] * 10 + ["c"] * 10


def test_a_lane_that_has_less_than_its_share_leaves_its_place_to_later_ones():
    worker = sign_on()
    put(2, queue="a")
    put(20, queue="b")
    taken = [task.queue for task in take(worker, limit=10, per_lane=9)]
    assert sorted(taken) == ["a"] * 2 + ["b"] * 8


def test_the_oldest_of_a_lane_is_taken_first():
    worker = sign_on()
    ids = [put()[0] for _ in range(10)]
    assert [task.id for task in take(worker, limit=4)] == ids[:4]
    assert [task.id for task in take(worker)] == ids[4:]


def test_larger_priorities_are_taken_first_also_when_they_came_later():
    worker = sign_on()
    low, normal, high = put(3, priority=-100), put(3), put(3, priority=100)
    assert [{task.id for task in take(worker, limit=3)} for _ in range(3)] == [set(high), set(normal), set(low)]


def test_what_is_taken_is_returned_best_first():
    worker = sign_on()
    for priority in (0, 100, -100, 5):
        put(2, priority=priority)
    assert [task.priority for task in take(worker)] == [100, 100, 5, 5, 0, 0, -100, -100]


def test_a_lower_bound_hides_what_became_ready_before_it():
    # Given
    worker = sign_on()
    (old,) = put()
    lane = Lane("default", 0)
    since = stored(old).created_at + timedelta(hours=1)

    # When, then
    assert claim.claim(current(), worker, [BoundedLane(lane, since)], per_lane=5, limit=5) == []
    assert len(claim.claim(current(), worker, [BoundedLane(lane, None)], per_lane=5, limit=5)) == 1


def test_a_lower_bound_hides_one_task_of_several_that_became_ready_at_its_moment_and_those_before_it():
    # Given
    worker, lane = sign_on(), Lane("default", 0)
    first, second, third = sorted(put(3))
    execute(current(), "UPDATE autotask_task SET ready_at = '2026-07-01 12:00+00'")
    execute(current(), "UPDATE autotask_ready SET ready_at = '2026-07-01 12:00+00'")
    noon = datetime(2026, 7, 1, 12, tzinfo=UTC)

    # When, then
    after_first = claim.claim(current(), worker, [BoundedLane(lane, noon, first)], per_lane=1, limit=1)
    assert [task.id for task in after_first] == [second]
    at_noon = claim.claim(current(), worker, [BoundedLane(lane, noon)], per_lane=5, limit=5)
    assert [task.id for task in at_noon] == [first, third]


def test_lanes_without_a_bound_are_searched_also_where_null_in_an_array_is_a_text():
    # Given a session that a pooler shares, which workers cannot set up
    ids = [*put(), *put(queue="mail")]
    worker = sign_on()
    lanes = [BoundedLane(Lane("default", 0), None), BoundedLane(Lane("mail", 0), now() - timedelta(minutes=1))]
    execute(current(), "SET array_nulls = off")

    # When
    try:
        claimed = claim.claim(current(), worker, lanes, per_lane=9, limit=9)
    finally:
        execute(current(), "RESET array_nulls")

    # Then
    assert [task.id for task in claimed] == ids


def test_lanes_that_are_empty_or_unknown_are_no_error():
    worker = sign_on()
    put()
    lanes = [Lane("nothing", 0), Lane("default", 7), Lane("default", 0)]
    assert len(take(worker, lanes=lanes)) == 1
    assert take(worker, lanes=[]) == []


def test_the_lanes_that_exist_are_found():
    sign_on()
    put(3, queue="b", priority=5)
    put(3, queue="b", priority=-5)
    put(3, queue="a")
    put(3, queue="later", delay=60)
    assert claim.find_lanes(current())[:3] == ([Lane("a", 0), Lane("b", -5), Lane("b", 5)], [], False)


def test_beside_lanes_that_are_sure_to_have_tasks_all_others_are_found():
    # Given lanes before, between and after two of which nobody knows whether they have any by now
    lanes = [Lane("a", 0), Lane("b", -1), Lane("b", 0, "process"), Lane("b", 1), Lane("d", 0)]
    for lane in lanes:
        put(queue=lane.queue, priority=lane.priority, executor=lane.executor)
    put(queue="b", priority=0)

    # When, then
    sure = [Lane("c", 0), Lane("b", 0)]
    assert sorted(claim.find_lanes(current(), sure=sure).lanes, key=order) == sorted(lanes + sure, key=order)
    assert set(claim.find_lanes(current(), sure=lanes).lanes) == {*lanes, Lane("b", 0)}


def order(lane):
    return lane.queue, lane.priority, lane.executor


def test_the_lanes_of_suspects_are_found_beside_the_others():
    put(2, queue="a")
    (suspect,) = put(queue="b")
    let_be_ready(suspect, lost=1)
    assert claim.find_lanes(current())[:3] == ([Lane("a", 0), Lane("b", 0)], [Lane("b", 0)], False)


def test_the_next_task_that_is_due_is_found_with_the_lanes():
    # Given
    assert claim.find_lanes(current()).due is None
    put(delay=100.0)
    put(delay=50.0)

    # Then
    assert 40 < claim.find_lanes(current()).due <= 50
    execute(current(), "UPDATE autotask_task SET run_at = run_at - interval '60 s'")
    assert claim.find_lanes(current()).due < 0


def test_suspects_are_claimed_only_by_who_asks_for_them_until_they_have_waited_for_long():
    # Given
    worker = sign_on()
    suspect, innocent = put(2)
    let_be_ready(suspect, lost=1)
    lanes = [BoundedLane(Lane("default", 0), None)]

    # Then
    assert [task.id for task in take(worker)] == [innocent]

    # When
    found = claim.claim(current(), worker, lanes, per_lane=1, limit=1, which=claim.SUSPECT)

    # Then
    assert [task.id for task in found] == [suspect]

    # When: nobody finds an idle moment for another one
    (other,) = put()
    let_be_ready(other, lost=1, ready_at=now() - timedelta(minutes=1))

    # Then
    assert [task.id for task in take(worker)] == [other]


def test_what_was_given_back_as_unknown_is_left_to_others_by_who_does_not_know_it():
    # Given: two tasks of one name, one of which was given back as unknown, and another one of its own queue
    worker = sign_on()
    unknown, known = put(2)
    (alone,) = put(queue="newer", name="tests.newer")
    let_be_ready(unknown, alone, unknown_since=now(), lost=1)
    unknown_names = ["tests.task", "tests.newer"]
    lanes = [BoundedLane(Lane("default", 0), None), BoundedLane(Lane("newer", 0), None)]

    # When
    found, suspected, *_ = claim.find_lanes(current(), unknown_names=unknown_names)
    kinds = {"per_lane": 9, "limit": 9, "which": claim.ALL}
    claimed = claim.claim(current(), worker, lanes, unknown_names=unknown_names, **kinds)

    # Then
    assert (found, suspected) == ([Lane("default", 0)], [])
    assert [task.id for task in claimed] == [known]
    assert {task.id for task in claim.claim(current(), worker, lanes, **kinds)} == {unknown, alone}


def test_no_lanes_are_found_where_there_is_no_work():
    assert claim.find_lanes(current())[:3] == ([], [], False)


# --- claims that got no answer --------------------------------------------------------------------------------------


def test_what_runs_under_a_worker_s_name_without_its_knowing_is_given_back():
    # Given
    mine, other = sign_on(), sign_on()
    put(4)
    held, *unknown = take(mine, limit=3)
    (of_other,) = take(other)

    # When
    given_back = forgotten.reconcile(current(), mine, [held.fence])

    # Then
    assert set(given_back) == {task.id for task in unknown}
    assert {(stored(task.id).state, stored(task.id).attempt) for task in unknown} == {(State.READY, 0)}
    assert state(held.id) is State.RUNNING
    assert state(of_other.id) is State.RUNNING


def test_a_worker_that_holds_nothing_gets_rid_of_everything():
    worker = sign_on()
    put(3)
    take(worker)
    assert len(forgotten.reconcile(current(), worker, [])) == 3
    assert len(take(worker)) == 3


# --- what has expired -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("expires", "late"), [(None, None), (60.0, None), (-5.0, 5.0)])
def test_a_claim_tells_by_how_much_it_comes_too_late(expires, late):
    put(expires=expires)
    (task,) = take(sign_on())
    assert task.late == (late and pytest.approx(late, abs=1))


def test_a_claim_tells_whether_the_task_may_run_once_only():
    put(at_most_once=True)
    put()
    assert sorted(task.at_most_once for task in take(sign_on())) == [False, True]


# --- pools ----------------------------------------------------------------------------------------------------------


def test_tasks_of_different_pools_are_in_different_lanes():
    # Given
    (thread,), (process,) = put(), put(executor="process", timeout=5.0)
    worker = sign_on()

    # When
    lanes, *_ = claim.find_lanes(current())

    # Then
    assert lanes == [Lane("default", 0, ""), Lane("default", 0, "process")]
    assert [task.id for task in take(worker, lanes=lanes[:1])] == [thread]
    assert [(task.id, task.timeout) for task in take(worker, lanes=lanes[1:])] == [(process, 5.0)]


def test_a_claim_takes_as_many_bytes_of_arguments_as_it_is_told():
    # Given
    ids = put(5, payload=b"x" * 1000) + put(1, payload=b"x" * 100_000)
    worker = sign_on()

    # When, then: the one that goes beyond the bound is the last
    assert [task.id for task in take(worker, most_bytes=2500)] == ids[:3]
    assert [state(id) for id in ids] == [State.RUNNING] * 3 + [State.READY] * 3
    assert [task.id for task in take(worker, most_bytes=2000)] == ids[3:5]


def test_a_claim_takes_one_task_however_large_its_arguments_are():
    put(2, payload=b"x" * 100_000)
    worker = sign_on()
    assert [len(take(worker, most_bytes=1)) for _ in range(3)] == [1, 1, 0]


def test_a_claim_of_bounded_bytes_prefers_urgent_tasks():
    (usual,), (urgent,) = put(1, payload=b"x" * 1000), put(1, payload=b"x" * 1000, priority=5)
    assert [task.id for task in take(sign_on(), most_bytes=500)] == [urgent]
    assert state(usual) is State.READY
