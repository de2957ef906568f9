"""What statements read of a table that was drained and vacuumed and is full again: statistics say that it is empty."""

import time

import pytest

from autotask.store import finish, prepared, pull, release
from autotask.store.connection import current, execute
from autotask.store.release import Release
from autotask.task import REMOTE, State
from tests.integration.store import crowd
from tests.integration.store.plans import assert_cheap, explained
from tests.integration.store.shapes import outcome, put, sign_on, take

pytestmark = pytest.mark.django_db(transaction=True)

#: PostgreSQL plans a prepared statement for its values five times before it may keep one plan for any values.
MORE_THAN_CUSTOM = 8


def end(tasks, state=State.DONE):
    outcomes = [outcome(task, state) for task in tasks]
    assert finish.end(current(), outcomes, now=time.monotonic(), error_ttl=9.0) == len(tasks)


def end_in_errors(tasks):
    end(tasks, State.ERROR)


def retry(tasks):
    outcomes = [outcome(task, State.RETRY, error_message="no") for task in tasks]
    assert finish.retry(current(), outcomes, now=time.monotonic()) == len(tasks)


def offered(count):
    """Return whether a statement that offers up to four tasks offers so many."""
    return len(pull.take(current(), ["default"], ["tests.task"], most=4, seconds=0.0)) == count


def release_all(tasks):
    assert len(release.release(current(), [Release(task.id, task.fence) for task in tasks])) == len(tasks)


def test_outcomes_find_their_rows_by_the_primary_key():
    find_their_rows([end, end_in_errors, retry, release_all])


def test_prepared_outcomes_find_their_rows_by_the_primary_key(generic):
    find_their_rows([end, end_in_errors])


def find_their_rows(acts):
    """Assert that each act on two hundred tasks finds them by the primary key."""
    with crowd.own_schema():
        # Given
        (first,) = put()
        crowd.multiply("autotask_task", first, 20_000, ready_at="t.ready_at + n * interval '1 us'")
        claimed = [take(sign_on(), limit=200) for _ in acts]
        crowd.analyze()
        execute(
            current(),
            "UPDATE pg_class SET reltuples = 0 WHERE oid IN ('autotask_task'::regclass, 'autotask_ready'::regclass)",
        )

        for act, tasks in zip(acts, claimed, strict=True):
            # When
            with explained(current()) as found:
                act(tasks)

            # Then
            assert_cheap(found, index="autotask_task_pkey", buffers=5000)
            assert sum(plan.discarded for plan in found) <= 1000, (act, found)


def test_tasks_are_offered_by_indexes_although_the_statement_was_planned_while_there_were_few():
    current().close()
    with crowd.own_schema():
        # Given
        (first,) = put(executor=REMOTE)
        crowd.analyze()
        for _ in range(prepared.OFTEN + MORE_THAN_CUSTOM):
            assert offered(1)
        crowd.multiply("autotask_task", first, 5_000, ready_at="t.ready_at + n * interval '1 us'")

        # When
        with explained(current()) as found:
            assert offered(4)

        # Then
        assert_cheap(found, index="autotask_ready_pkey", buffers=1000)
        assert sum(plan.discarded for plan in found) <= 1000, found
