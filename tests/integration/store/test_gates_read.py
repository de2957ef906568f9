"""What people can read about gates: who waits there, who has the slots, and when tokens come."""

from datetime import timedelta

import pytest

from autotask.store import cancel, gates_read, read, tally
from autotask.store.connection import current, execute
from autotask.task import State
from tests.integration.held import OPENAI, RATE, draw, give, hold, own
from tests.integration.store.shapes import edit

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_gate_has_the_number_of_tasks_that_wait_and_of_slots_that_are_taken():
    # Given
    give(OPENAI, *hold(OPENAI, count=2))
    hold(OPENAI, RATE, count=3)
    hold(own())

    # Then
    seen = gates_read.seen(current(), OPENAI.key)
    assert (seen.waiting, seen.taken, seen.terms) == (3, 2, OPENAI)


def test_a_slot_is_not_taken_by_a_task_that_has_ended_or_has_to_pass_again():
    # Given
    ended, again = ids = hold(OPENAI, count=2)
    give(OPENAI, *ids)

    # When
    cancel.cancel(current(), ended)
    edit("UPDATE autotask_task SET passed = 0, state = 0 WHERE id = %(id)s", {"id": again})

    # Then
    assert gates_read.seen(current(), OPENAI.key).taken == 0
    assert gates_read.holders(current(), OPENAI.key) == []


def test_the_tasks_that_wait_are_counted_up_to_a_number(monkeypatch):
    hold(OPENAI, count=5)
    monkeypatch.setattr(gates_read, "SEEN", gates_read.SEEN.replace(f"LIMIT {gates_read.COUNTED + 1}", "LIMIT 4"))
    assert gates_read.seen(current(), OPENAI.key).waiting == 4


def test_a_gate_nobody_knows_is_an_empty_one():
    seen = gates_read.seen(current(), "limit:nothing")
    assert (seen.waiting, seen.taken, seen.terms, seen.full_at) == (0, 0, None, None)


def test_the_terms_of_a_gate_are_those_of_the_task_that_passes_next():
    hold(RATE)
    hold(RATE._replace(cost=5.0), priority=9)
    assert gates_read.seen(current(), RATE.key).terms.cost == 5


def test_a_bucket_is_read_in_utc():
    # Given
    hold(RATE)
    draw(RATE, 10, closed=60)

    # Then
    seen = gates_read.seen(current(), RATE.key)
    assert seen.full_at - seen.at == pytest.approx(timedelta(seconds=6), abs=timedelta(seconds=1))
    assert seen.closed_until - seen.at == pytest.approx(timedelta(seconds=60), abs=timedelta(seconds=1))


def test_the_holders_of_slots_come_with_their_states_longest_running_first():
    # Given
    ready, running, waiting = ids = hold(OPENAI, RATE, count=3)
    give(OPENAI, *ids)
    give(own(), running, state=State.RUNNING, seconds=60)
    sql = "UPDATE autotask_task SET state = 8, gate = %(gate)s, ready_at = NULL WHERE id = %(id)s"
    edit(sql, {"gate": RATE.key, "id": waiting})

    # Then
    first, second, third = gates_read.holders(current(), OPENAI.key)
    assert (first.id, first.state, first.seconds) == (running, State.RUNNING, pytest.approx(60, abs=5))
    assert (second.id, second.state, second.seconds) == (ready, State.READY, None)
    assert (third.id, third.state, third.gate, third.seconds) == (waiting, State.HELD, RATE.key, None)
    assert [each.id for each in gates_read.holders(current(), OPENAI.key, limit=1)] == [running]


def test_the_busiest_gates_come_first():
    # Given
    hold(own("account_id=1"), count=2)
    hold(OPENAI, count=5)
    hold(RATE, count=3)

    # Then
    assert [(gate.key, gate.waiting) for gate in gates_read.busiest(current())] == [
        (OPENAI.key, 5),
        (RATE.key, 3),
        ("limit:shop.sync(account_id=1)", 2),
    ]
    assert [gate.key for gate in gates_read.busiest(current(), limit=1)] == [OPENAI.key]


def test_the_busiest_of_very_many_gates_is_found_by_the_statistics_of_the_table(monkeypatch):
    # Given: only the first gates by name are looked at
    for number in range(5):
        hold(own(f"account_id={number}"))
    hold(own("zone=1"), count=50)
    sql = gates_read.BUSIEST.replace(f"found.number < {gates_read.LOOKED_AT}", "found.number < 3")
    monkeypatch.setattr(gates_read, "BUSIEST", sql)

    # When
    execute(current(), "ANALYZE autotask_held")

    # Then
    assert gates_read.busiest(current())[0].waiting == 50


def test_without_held_tasks_there_are_no_gates():
    assert gates_read.busiest(current()) == []


def test_held_tasks_are_counted_by_queue_and_listed_by_gate():
    # Given
    hold(OPENAI, count=2, queue="mail")
    (id,) = hold(own(), queue="mail")

    # Then
    (counts,) = tally.counts(current())
    assert (counts.queue, counts.held, counts.ready) == ("mail", 3, 0)
    assert [task.id for task in read.newest(current(), gates=[own().key, "rate:nothing"])] == [id]
    assert len(read.newest(current(), states=[State.HELD])) == 3


def test_a_result_keeps_the_gates_and_the_key_of_its_task():
    # Given
    (id,) = hold(OPENAI, unique="shop.sync(account_id=7)")

    # When
    cancel.cancel(current(), id)

    # Then
    task = read.task(current(), id)
    assert (task.state, task.gate, task.passed) == (State.CANCELLED, None, None)
    assert "shop.sync(account_id=7)" in task.flow
