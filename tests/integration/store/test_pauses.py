"""Pauses in the store: who is barred, what is held, and what follows when a pause is over; nothing is lost in between."""

from datetime import UTC, datetime, timedelta

import pytest

from autotask.flow import Flow, LimitGate, RateGate
from autotask.store import claim, enqueue, gates, notify, paused_tasks, pauses, schedules
from autotask.store.connection import current, execute, rows
from autotask.store.gates import Present
from autotask.store.paused_tasks import PIECE
from autotask.store.pauses import Kind
from autotask.task import THREAD, State
from tests.integration.store.shapes import count, new_task, put, sign_on, state, take

pytestmark = pytest.mark.django_db(transaction=True)

A = LimitGate("limit:a", "a", 1)
KEYED = LimitGate("limit:shop.sync(account_id=7)", "shop.sync", 1)
OTHER_KEY = LimitGate("limit:shop.sync(account_id=8)", "shop.sync", 1)
RATE = RateGate("rate:shop.mail", "shop.mail", 1.0, 5.0)
SECOND = timedelta(seconds=1)


def pause(kind=Kind.TASK, name="tests.paused", *, until=None, reason="", by="ada", connection=None):
    return pauses.pause(connection or current(), kind, name, until=until, reason=reason, by=by)


def resume(kind=Kind.TASK, name="tests.paused"):
    return pauses.resume(current(), kind, name)


def pass_the_time_of(name):
    """Have the time of a pause be over."""
    sql = "UPDATE autotask_pause SET until = clock_timestamp() - interval '1 s' WHERE name = %(name)s"
    assert execute(current(), sql, {"name": name}) == 1


def put_with(*gates, count=1, **changes):
    tasks = [new_task(**changes)._replace(flow=Flow(gates)) for _ in range(count)]
    enqueue.insert_flowing(current(), tasks)
    return [task.id for task in tasks]


def hold_all():
    """Walk through all ready tasks once; return how many are held."""
    total = 0
    for lane in claim.find_lanes(current()).lanes:
        after = "-infinity"
        while after is not None:
            after, held = paused_tasks.hold(current(), lane.queue, lane.priority, lane.executor, after)
            total += held
    return total


def hold_slots():
    """Walk through all slots once; return how many tasks are held."""
    total, after = 0, paused_tasks.FIRST
    while after is not None:
        after, held = paused_tasks.hold_slots(current(), after)
        total += held
    return total


def tend():
    """Do all that a worker does about pauses, until there is nothing more to do."""
    for _ in range(20):
        look = paused_tasks.look(current())
        if look.is_over:
            paused_tasks.end(current())
        moved = sum([paused_tasks.let_go(current(), gate) for gate in look.released])
        held = (look.holds_slots and hold_slots()) + (look.holds and hold_all())
        if not moved and not held and not look.is_over:
            return


def admit():
    ready = 0
    while (admitted := gates.admit(current(), Present(), room={THREAD: 100})).more:
        ready += admitted.ready
    return ready


def gate(id):
    return rows(current(), "SELECT gate, passed FROM autotask_live WHERE id = %(id)s", {"id": id})[0]


def found():
    return [(each.kind, each.name, each.paused_by, each.reason, each.until) for each in pauses.read(current())]


# --- pause, resume, read --------------------------------------------------------------------------------------------


def test_a_pause_is_read_with_who_when_why_and_until():
    # Given
    before, until = schedules.now(current()), datetime.now(UTC) + timedelta(hours=2)

    # When
    pause(Kind.QUEUE, "mail", until=until, reason="the provider is down", by="ada")
    pause(Kind.EVERYTHING, "")

    # Then
    everything, mail = pauses.read(current())
    assert (everything.kind, everything.name, everything.until) == (Kind.EVERYTHING, "", None)
    assert (mail.kind, mail.name, mail.paused_by, mail.reason) == (Kind.QUEUE, "mail", "ada", "the provider is down")
    assert mail.until == until
    assert before <= mail.paused_at <= schedules.now(current())


def test_pausing_again_replaces_the_end_and_the_reason_and_keeps_the_beginning():
    first = pause(until=datetime.now(UTC) + SECOND * 60, reason="one")
    began = pauses.read(current())[0].paused_at
    assert pause(reason="two", by="eve") == first
    (found,) = pauses.read(current())
    assert (found.reason, found.paused_by, found.until, found.paused_at) == ("two", "eve", None, began)


def test_a_pause_whose_time_is_over_is_none_and_another_one_begins_at_its_own_time():
    pause(until=datetime.now(UTC) + SECOND * 60)
    began = pauses.read(current())[0].paused_at
    pass_the_time_of("tests.paused")
    assert pauses.read(current()) == []
    assert claim.find_lanes(current()).paused == frozenset()
    assert not resume()
    pause()
    assert pauses.read(current())[0].paused_at > began


def test_only_what_is_paused_can_be_resumed():
    assert not resume()
    pause()
    assert not resume(Kind.QUEUE)
    assert resume()
    assert not resume()
    assert found() == []


def test_workers_are_notified_after_the_commit(other_connection):
    # Given
    listeners = [
        notify.ChannelListener(other_connection, channel) for channel in (notify.WORK_CHANNEL, notify.SCHEDULES_CHANNEL)
    ]

    # When
    pause()

    # Then
    listeners[0].wait(5)
    assert any(listener.has_heard for listener in listeners)


# --- tasks of paused names ------------------------------------------------------------------------------------------


def test_a_look_for_work_finds_pauses_and_claims_leave_paused_names():
    # Given
    worker = sign_on()
    put(2, name="tests.paused")
    (other,) = put(name="tests.other")

    # When
    pause()

    # Then
    assert claim.find_lanes(current()).paused == {("task", "tests.paused")}
    assert [task.id for task in take(worker, paused_names=["tests.paused"])] == [other]
    assert claim.find_lanes(current(), paused_names=["tests.paused"]).lanes == []


def test_a_task_that_is_to_be_cancelled_is_claimed_all_the_same():
    worker = sign_on()
    (id,) = put(name="tests.paused")
    pause()
    execute(current(), "UPDATE autotask_task SET cancel_requested = true")
    assert hold_all() == 0
    assert [task.id for task in take(worker, paused_names=["tests.paused"])] == [id]


def test_ready_tasks_of_a_paused_name_are_held_and_are_ready_again_in_their_order():
    # Given
    worker = sign_on()
    (first,), (second,) = put(name="tests.paused"), put(name="tests.paused")
    (urgent,) = put(name="tests.paused", priority=5)
    (other,) = put(name="tests.other")
    pause()

    # When
    tend()

    # Then
    assert [state(id) for id in (first, second, urgent, other)] == [State.HELD] * 3 + [State.READY]
    assert gate(first) == ("pause:tests.paused", None)
    assert [task.id for task in take(worker)] == [other]

    # When
    assert resume()
    tend()

    # Then
    assert gate(first) == (None, None)
    assert [task.id for task in take(worker)] == [urgent, first, second]
    assert count("autotask_pause") == 0


def test_many_are_held_and_let_go_in_pieces_past_those_of_others():
    # Given
    put(PIECE + 10, name="tests.other")
    put(PIECE + 10, name="tests.paused")
    pause()

    # Then
    after, held = paused_tasks.hold(current(), "default", 0, "")
    assert held == 0
    assert paused_tasks.hold(current(), "default", 0, "", after)[1] == PIECE - 10
    assert hold_all() == 20
    assert hold_all() == 0
    resume()
    assert paused_tasks.look(current()).released == ["pause:tests.paused"]
    assert [paused_tasks.let_go(current(), "pause:tests.paused") for _ in range(3)] == [PIECE, 10, 0]


def test_a_row_that_somebody_has_locked_holds_up_nobody(transaction):
    first, second = put(2, name="tests.paused")
    pause()
    execute(transaction, "SELECT 1 FROM autotask_ready WHERE id = %(id)s FOR UPDATE", {"id": first})
    assert hold_all() == 1
    execute(transaction, "COMMIT")
    assert hold_all() == 1
    assert [state(id) for id in (first, second)] == [State.HELD, State.HELD]


def test_a_task_that_is_held_without_a_pause_is_found_by_any_worker():
    # Given: a worker has held it while the pause was being ended
    (id,) = put(name="tests.paused")
    pause()
    tend()
    execute(current(), "DELETE FROM autotask_pause")

    # Then
    assert paused_tasks.look(current()).released == ["pause:tests.paused"]
    tend()
    assert state(id) is State.READY
    assert not paused_tasks.look(current()).exists


def test_nothing_is_let_go_once_the_name_is_paused_again():
    (id,) = put(name="tests.paused")
    pause()
    tend()
    resume()
    pause()
    assert paused_tasks.let_go(current(), "pause:tests.paused") == 0
    tend()
    assert state(id) is State.HELD


def test_tasks_whose_pause_is_over_are_let_go_and_the_pause_is_deleted():
    (id,) = put(name="tests.paused")
    pause(until=datetime.now(UTC) + SECOND * 60)
    tend()
    assert 50 < paused_tasks.look(current()).seconds < 60
    pass_the_time_of("tests.paused")
    tend()
    assert (state(id), count("autotask_pause")) == (State.READY, 0)


def test_only_pauses_of_tasks_are_gates():
    # Names that a collation sorts close to "pause:"
    put_with(LimitGate("limit:pause:x", "pause:x", 1))
    put_with(LimitGate("rate:pause", "pause", 1))
    assert not paused_tasks.look(current()).exists


# --- with gates -----------------------------------------------------------------------------------------------------


def test_a_paused_task_frees_its_slot_for_others_and_passes_its_gates_again_later():
    # Given
    (mine,) = put_with(A, name="tests.paused")
    (other,) = put_with(A, name="tests.other")
    assert (admit(), state(mine), state(other)) == (1, State.READY, State.HELD)

    # When
    pause()
    tend()

    # Then
    assert gate(mine) == ("pause:tests.paused", 0)
    assert (admit(), state(other)) == (1, State.READY)

    # When
    resume()
    tend()

    # Then it waits for the slot again
    assert (state(mine), gate(mine)) == (State.HELD, ("limit:a", 0))
    assert admit() == 0
    execute(current(), "DELETE FROM autotask_task WHERE id = %(id)s", {"id": other})
    execute(current(), "INSERT INTO autotask_mark (gate, at) VALUES ('limit:a', clock_timestamp())")
    assert (admit(), state(mine)) == (1, State.READY)


@pytest.mark.parametrize(
    ("name", "barred"),
    [
        ("shop.sync", [KEYED, OTHER_KEY]),
        ("shop.sync(account_id=7)", [KEYED]),
        ("a", [A]),
        ("shop.mail", [RATE]),
        ("shop", []),
        ("limit:a", []),
    ],
    ids=lambda value: str(value)[:25],
)
def test_a_paused_limit_lets_nobody_pass_until_it_is_resumed(name, barred):
    # Given
    pause(Kind.LIMIT, name)
    ids = {gate: put_with(gate)[0] for gate in (A, KEYED, OTHER_KEY, RATE)}

    # Then
    assert admit() == 4 - len(barred)
    assert [gate for gate in ids if state(ids[gate]) is State.HELD] == barred

    # When
    assert resume(Kind.LIMIT, name)
    tend()

    # Then
    assert admit() == len(barred)
    assert {state(id) for id in ids.values()} == {State.READY}


def test_a_limit_whose_pause_is_over_lets_tasks_pass_that_came_meanwhile():
    pause(Kind.LIMIT, "a", until=datetime.now(UTC) + SECOND * 60)
    (id,) = put_with(A)
    assert admit() == 0
    pass_the_time_of("a")
    tend()
    assert (admit(), state(id)) == (1, State.READY)


def test_a_task_that_comes_while_a_limit_is_being_resumed_is_not_overlooked(transaction):
    # Given: a transaction that has resumed it, and has yet to commit
    pause(Kind.LIMIT, "a")
    execute(transaction, "UPDATE autotask_pause SET until = clock_timestamp()")

    # When a task comes, and a worker takes its mark while the pause is in force
    (id,) = put_with(A)
    assert (admit(), count("autotask_mark")) == (0, 0)
    assert paused_tasks.end(current()) == 0
    execute(transaction, "COMMIT")

    # Then
    tend()
    assert (admit(), state(id)) == (1, State.READY)


# --- queues with gates ----------------------------------------------------------------------------------------------

MAIL = "pause:queue mail"
SITE = LimitGate("limit:*", "*", 1)


def end(id):
    """End a task, and have the gates looked at."""
    execute(current(), "DELETE FROM autotask_task WHERE id = %(id)s", {"id": id})
    execute(current(), "INSERT INTO autotask_mark (gate, at) VALUES ('limit:*', clock_timestamp())")


def test_a_task_of_a_paused_queue_frees_its_slot_for_others_and_others_of_it_get_none():
    # Given
    (mine,), (next_one,) = put_with(SITE, queue="mail"), put_with(SITE, queue="mail")
    (other,) = put_with(SITE)
    (plain,) = put(queue="mail")
    assert (admit(), state(mine), state(other)) == (1, State.READY, State.HELD)

    # When
    pause(Kind.QUEUE, "mail")
    tend()

    # Then
    assert (admit(), state(other)) == (1, State.READY)
    (late,) = put_with(SITE, queue="mail")
    end(other)
    assert admit() == 0
    assert [gate(id) for id in (mine, next_one, late)] == [(MAIL, 0)] * 3
    assert state(plain) is State.READY

    # When
    assert resume(Kind.QUEUE, "mail")
    tend()

    # Then they come in their order
    came = []
    for _ in range(3):
        assert admit() == 1
        came += [id for id in (mine, next_one, late) if id not in came and state(id) is State.READY]
        end(came[-1])
    assert came == [mine, next_one, late]
    assert not paused_tasks.look(current()).exists


def test_a_slot_of_a_narrow_limit_is_not_kept_while_the_queue_of_its_task_is_paused():
    # Given: one that waits for the site with the slot of its own limit
    (busy,) = put_with(SITE)
    assert admit() == 1
    (mine,) = put_with(A, SITE, queue="mail")
    (other,) = put_with(A)
    assert (admit(), gate(mine), state(other)) == (0, ("limit:*", 1), State.HELD)

    # When
    pause(Kind.QUEUE, "mail")
    tend()

    # Then
    assert gate(mine) == (MAIL, 0)
    assert (admit(), state(other), state(busy)) == (1, State.READY, State.READY)


def test_a_task_of_a_paused_queue_that_runs_keeps_its_slot():
    worker = sign_on()
    (mine,) = put_with(SITE, queue="mail")
    assert admit() == 1
    assert [task.id for task in take(worker)] == [mine]
    (other,) = put_with(SITE)
    pause(Kind.QUEUE, "mail")
    tend()
    assert (admit(), state(mine), state(other)) == (0, State.RUNNING, State.HELD)


def test_the_tasks_of_a_paused_queue_take_no_tokens():
    # Given
    one = RateGate("rate:shop.mail", "shop.mail", 3600.0, 1.0)
    paused = put_with(one, queue="mail", count=3)
    pause(Kind.QUEUE, "mail")
    (other,) = put_with(one)

    # Then
    assert (admit(), state(other)) == (1, State.READY)
    assert [gate(id) for id in paused] == [(MAIL, 0)] * 3


def test_the_slots_of_many_are_looked_through_in_pieces():
    keys = [LimitGate(f"limit:shop.sync(account_id={number})", "shop.sync", 1) for number in range(PIECE + 20)]
    enqueue.insert_flowing(
        current(),
        [new_task(queue="mail" if n % 2 else "default")._replace(flow=Flow((key,))) for n, key in enumerate(keys)],
    )
    assert admit() == PIECE + 20
    pause(Kind.QUEUE, "mail")
    after, held = paused_tasks.hold_slots(current())
    assert 0 < held < PIECE
    assert held + paused_tasks.hold_slots(current(), after)[1] == PIECE // 2 + 10
    assert hold_slots() == 0


def test_a_task_whose_name_and_queue_are_paused_waits_for_the_end_of_both():
    # Given
    (mine,) = put_with(SITE, name="tests.paused", queue="mail")
    pause()
    pause(Kind.QUEUE, "mail")
    assert (admit(), gate(mine)) == (0, ("pause:tests.paused", 0))

    # Then
    resume()
    tend()
    assert (admit(), gate(mine)) == (0, (MAIL, 0))
    resume(Kind.QUEUE, "mail")
    tend()
    assert (admit(), state(mine)) == (1, State.READY)
