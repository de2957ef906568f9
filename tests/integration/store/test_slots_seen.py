"""A slot goes to the task of one session only, also if the session that decides looks at an old state of it."""

import threading

import pytest

from autotask.flow import Flow, LimitGate
from autotask.store import enqueue, finish, gates, promote
from autotask.store.connection import current, execute, rows
from autotask.store.gates import Present
from autotask.task import State
from tests.helpers import wait_until
from tests.integration.store.shapes import new_task, outcome, sign_on, take, waiting_for_locks

pytestmark = pytest.mark.django_db(transaction=True)

FLOW = Flow((LimitGate("limit:one", "one", 1),))

# Pauses a session that takes a mark, if it has asked for that, after its statement has taken its snapshot.
PAUSE = """
CREATE FUNCTION pause_at_mark() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('tests.pauses', true) = 'yes' THEN PERFORM pg_advisory_xact_lock(15); END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER pause_at_mark BEFORE DELETE ON autotask_mark FOR EACH ROW EXECUTE FUNCTION pause_at_mark();
"""


@pytest.fixture
def pausing(other_connection):
    execute(current(), PAUSE)
    execute(other_connection, "SELECT set_config('tests.pauses', 'yes', false)")
    yield other_connection
    execute(current(), "DROP FUNCTION pause_at_mark CASCADE")


def put_flowing(**options):
    task = new_task(retries=3, **options)._replace(flow=FLOW)
    enqueue.insert_flowing(current(), [task])
    return task.id


def test_a_slot_that_went_back_to_the_task_that_had_it_before_is_not_given_to_another(pausing):
    # Given: a task had the slot, gave it up for a retry, and waits again before another one
    worker = sign_on()
    first = put_flowing(priority=1)
    gates.admit(current(), Present(), room={"": 10})
    (claimed,) = take(worker)
    finish.retry(current(), [outcome(claimed, State.RETRY)], now=0.0)
    execute(current(), "UPDATE autotask_task SET run_at = now()")
    promote.promote(current())
    second = put_flowing()
    execute(current(), "INSERT INTO autotask_mark (gate, at) SELECT gate, at FROM autotask_mark LIMIT 1")

    # When: one session has looked at the tables, and another one admits the first task before it goes on
    execute(current(), "SELECT pg_advisory_lock(15)")
    slow = threading.Thread(target=gates.admit, args=(pausing, Present()), kwargs={"room": {"": 10}})
    slow.start()
    wait_until(waiting_for_locks)
    execute(current(), "INSERT INTO autotask_mark (gate, at) VALUES ('limit:one', now())")
    gates.admit(current(), Present(), room={"": 10})
    execute(current(), "SELECT pg_advisory_unlock(15)")
    slow.join()

    # Then
    states = dict(rows(current(), "SELECT id, state FROM autotask_live"))
    assert states == {first: State.READY, second: State.HELD}
