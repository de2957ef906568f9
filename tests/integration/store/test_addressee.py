"""Of a task, one of several idle workers is told; where few are idle, all workers are."""

import contextlib
import uuid

import pytest
from django.db import DatabaseError, transaction

from autotask.own_worker import own
from autotask.store import addressee, enqueue, hearing, notify, workers
from autotask.store.addressee import FEWEST, WORK_CHANNEL, idle_channel
from autotask.store.connection import current, execute, rows
from autotask.task import THREAD
from autotask.tasks import delayed_task
from tests.helpers import wait_until
from tests.integration.store.shapes import new_task, sign_on

pytestmark = pytest.mark.django_db(transaction=True)

#: So many draws that each of a few workers is told at least once, except once in a million runs.
DRAWS = 80

CHANNEL = f"SELECT {addressee.channel('%(queue)s::text', '%(executor)s::text')}"


@delayed_task
def greet(name): ...


@pytest.fixture(autouse=True)
def telling(monkeypatch):
    """Let each call tell workers."""
    monkeypatch.setattr(own, "wake", None)
    monkeypatch.setattr(notify, "_last_sent", float("-inf"))
    monkeypatch.setattr(notify, "_blind_until", float("-inf"))


def idle(**changes):
    """Enter an idle worker in the register, and return its id."""
    id = sign_on(**changes)
    workers.beat(current(), id, lease=30.0, idle=True)
    return id


def told(queue="default", executor=THREAD):
    """Return the channels that are notified of tasks."""
    return {rows(current(), CHANNEL, {"queue": queue, "executor": executor})[0][0] for _ in range(DRAWS)}


def test_where_few_workers_are_idle_all_workers_are_told():
    for _ in range(FEWEST - 1):
        idle()
    assert told() == {WORK_CHANNEL}


def test_of_several_idle_workers_each_is_told_in_turn():
    ids = [idle() for _ in range(FEWEST)]
    assert told() == {idle_channel(id) for id in ids}


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({"queues": ("mail",)}, {}),
        ({"queues": ("-default",)}, {}),
        ({"queues": ("default", "-default")}, {}),
        ({}, {"idle": "false"}),
        ({}, {"stopping": "true"}),
        ({}, {"seen_at": "clock_timestamp() - interval '15 s'", "lease_until": "clock_timestamp() + interval '15 s'"}),
    ],
    ids=["other queues", "without this queue", "both", "busy", "stopping", "missed a beat"],
)
def test_a_worker_that_would_not_take_the_task_is_not_told(options, changes):
    # Given
    ids = [idle() for _ in range(FEWEST)]
    other = idle(**options)
    for name, value in changes.items():
        execute(current(), f"UPDATE autotask_worker SET {name} = {value} WHERE id = %(id)s", {"id": other})

    # Then
    assert told() == {idle_channel(id) for id in ids}


@pytest.mark.parametrize("queues", [("default", "mail"), ("-mail",), ("default", "-mail")])
def test_a_worker_that_serves_the_queue_by_name_or_does_not_exclude_it_is_told(queues):
    ids = [idle(queues=queues) for _ in range(FEWEST)]
    assert told() == {idle_channel(id) for id in ids}
    assert told("mail") == ({WORK_CHANNEL} if "-mail" in queues else told())


def test_a_worker_without_the_pool_of_a_task_is_not_told():
    # Given
    idle()
    ids = [idle(executors=("coroutine", "process")) for _ in range(FEWEST)]

    # Then
    assert told(executor="coroutine") == {idle_channel(id) for id in ids}
    assert told(executor="heavy") == {WORK_CHANNEL}


@pytest.mark.parametrize("in_transaction", [False, True])
def test_a_call_tells_one_idle_worker(other_connection, in_transaction):
    # Given
    ids = [idle() for _ in range(FEWEST)]
    for id in ids:
        execute(other_connection, f"LISTEN {idle_channel(id)}")
    execute(other_connection, f"LISTEN {WORK_CHANNEL}")

    # When
    with transaction.atomic() if in_transaction else contextlib.nullcontext():
        greet("Ada")

    # Then
    rows(other_connection, "SELECT 1")  # Whatever has been told has arrived before the answer to this.
    (channel,) = hearing.heard(other_connection)
    assert channel in {idle_channel(id) for id in ids}


@pytest.fixture
def blind_role(monkeypatch):
    """A role that may enqueue, and see no workers."""
    role = f"autotask_test_{uuid.uuid4().hex}"
    execute(current(), f"CREATE ROLE {role}; GRANT SELECT, INSERT ON autotask_task, autotask_ready TO {role}")
    yield role
    execute(current(), f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")


def test_a_role_that_may_not_see_the_workers_stores_its_calls_and_tells_all(blind_role, other_connection, monkeypatch):
    # Given
    execute(other_connection, f"LISTEN {WORK_CHANNEL}")
    execute(current(), f"SET ROLE {blind_role}")

    # When
    greet("Ada")

    # Then
    assert rows(current(), "SELECT count(*) FROM autotask_task") == [(1,)]
    rows(other_connection, "SELECT 1")
    assert list(hearing.heard(other_connection)) == [WORK_CHANNEL]

    # When it calls again: nothing is refused a second time
    monkeypatch.setattr(notify, "_last_sent", float("-inf"))
    monkeypatch.setattr(enqueue, "NOW_HANDING", "SELECT refused")
    greet("Bob")

    # Then
    rows(other_connection, "SELECT 1")
    assert list(hearing.heard(other_connection)) == [WORK_CHANNEL]


def test_an_error_that_is_not_about_the_workers_is_not_hidden(monkeypatch):
    monkeypatch.setattr(enqueue, "NOW_HANDING", "SELECT wrong syntax here")
    with pytest.raises(Exception, match="syntax"):
        greet("Ada")
    assert rows(current(), "SELECT count(*) FROM autotask_live") == [(0,)]


def test_the_call_after_one_that_has_failed_tells_workers(other_connection, monkeypatch):
    # Given
    monkeypatch.setattr(notify, "NOTIFY_INTERVAL", 60.0)
    execute(other_connection, f"LISTEN {WORK_CHANNEL}")
    with monkeypatch.context() as failing:
        failing.setattr(enqueue, "NOW_HANDING", "SELECT 1 / 0")
        with pytest.raises(DatabaseError, match="zero"):
            greet("Ada")

    # When
    greet("Bob")

    # Then
    rows(other_connection, "SELECT 1")
    assert list(hearing.heard(other_connection)) == [WORK_CHANNEL]


def test_a_plain_insert_tells_nobody(other_connection):
    execute(other_connection, f"LISTEN {WORK_CHANNEL}")
    enqueue.insert(current(), new_task())
    rows(other_connection, "SELECT 1")
    assert not hearing.heard(other_connection)


def test_a_worker_is_alive_although_a_call_has_looked_just_then_whether_it_is(other_connection, in_background):
    # Given
    id = sign_on()
    execute(current(), "UPDATE autotask_worker SET line = 'mark'")
    chosen = f"WITH {addressee.free('%(queue)s::text')} SELECT id FROM chosen"
    said = {"queue": "default", "mark": "mark"}
    execute(other_connection, "BEGIN")
    assert not rows(other_connection, chosen, said)
    mine = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'autotask background'"
    asked = f"SELECT count(*) {mine} AND query ILIKE '%%advisory%%'"

    # When
    alive = in_background(lambda connection: addressee.be_alive(connection, id) or connection)
    wait_until(lambda: rows(current(), asked, {}) == [(1,)], what="its statement")
    execute(other_connection, "COMMIT")

    # Then
    assert alive()
    assert rows(current(), chosen, said) == [(id,)]
