"""The tools for flow control: they find limits that were exceeded and keys that two tasks had, and nothing else."""

import pytest

from autotask.flow import Flow, LimitGate
from autotask.store import enqueue
from autotask.store.connection import current, execute, rows
from autotask.task import State
from tests.faults import audit, history
from tests.faults.audit import Entry, Tenure
from tests.faults.history import Peak
from tests.faults.ledger import Event
from tests.integration.store.shapes import new_task, sign_on, take


def event(kind, at, id="a", fence=1):
    return Event(kind, at, at, 1, id, fence)


def peak(*events, lost=None):
    flow = Flow((LimitGate("limit:x(a=1)", "x", 1),))
    (found,) = history.peaks(history.executions(events, lost or {}), {"a": flow, "b": flow})
    return found


ONE = event("start", 1), event("end", 3)


def test_executions_one_after_the_other_do_not_overlap():
    assert peak(*ONE, event("start", 3, "b", 2), event("end", 4, "b", 2)) == Peak("limit:x(a=1)", 1, 1)


def test_executions_at_the_same_time_overlap():
    assert peak(*ONE, event("start", 2, "b", 2), event("end", 2.5, "b", 2)).found == 2


def test_an_execution_without_an_end_counts_until_its_claim_is_lost():
    second = event("start", 5, "b", 2)
    assert peak(event("start", 1), second).found == 2
    assert peak(event("start", 1), second, lost={("a", 1): 6.0}).found == 2
    assert peak(event("start", 1), second, lost={("a", 1): 4.0}).found == 1


def test_an_execution_that_ends_after_its_claim_was_lost_counts_until_then():
    late = event("start", 1), event("end", 9)
    assert peak(*late, event("start", 5, "b", 2), lost={("a", 1): 4.0}).found == 1


def test_the_most_moments_in_a_second_are_found_wherever_they_are():
    assert history.most_in_a_second([]) == 0
    assert history.most_in_a_second([5.0, 0.0, 0.9, 0.95, 1.8]) == 3
    assert history.most_in_a_second([0.0, 1.0, 2.0]) == 1


def entry(id, at, state, key="k"):
    return Entry(id, at, at, state, None if state is None else key, None, False)


def test_a_key_is_held_from_the_insert_to_the_end_and_one_that_is_waiting_only_until_the_claim():
    life = [entry("a", 1, State.READY), entry("a", 2, State.READY), entry("a", 3, None)]
    assert audit.tenures(life) == [Tenure("a", "k", 1, 1, 3)]
    life = [entry("a", 1, State.READY, "waiting:k"), entry("a", 2, State.READY, None), entry("a", 3, None)]
    assert audit.tenures(life) == [Tenure("a", "waiting:k", 1, 1, 2)]


@pytest.mark.parametrize("began, found", [(3, 0), (2.9, 1)])
def test_two_tasks_with_one_key_at_one_time_are_found(began, found):
    life = [Tenure("a", "k", 1, 1, 3), Tenure("b", "k", 1, began, 5), Tenure("c", "other", 1, 1, 9)]
    assert len(audit.conflicts(life)) == found


@pytest.mark.django_db(transaction=True)
def test_arguments_changed_while_a_task_runs_are_found():
    # Given
    audit.install(current())
    try:
        tasks = [new_task(), new_task()]
        enqueue.insert_flowing(current(), tasks[:1])
        take(sign_on())
        enqueue.insert_flowing(current(), tasks[1:])

        # When
        for _ in range(2):
            execute(current(), "UPDATE autotask_task SET payload = payload || 'x'::bytea")

        # Then
        found = rows(current(), "SELECT id, count(*) FROM audit WHERE altered_too_late GROUP BY id")
        assert found == [(tasks[0].id, 2)]
    finally:
        execute(current(), audit.REMOVE)
