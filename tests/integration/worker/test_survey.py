"""The survey: one statement says which rare chores have anything to do."""

import uuid

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext

from autotask import on_end
from autotask.store import survey
from autotask.store.connection import current, execute
from autotask.store.survey import Chore
from autotask.task import State
from autotask.worker.chores import Chores
from autotask.worker.notifier import Notifier
from autotask.worker.options import WorkerOptions
from autotask.worker.pauser import Pauser
from autotask.worker.pruner import Pruner
from autotask.worker.registration import Registration
from autotask.worker.rescuer import Rescuer
from autotask.worker.statistics import Statistics
from autotask.worker.surveyor import EVERY, Surveyor
from autotask.worker.sweeper import Sweeper
from autotask.worker.worker import Worker
from tests.integration.admin.pages import ended
from tests.integration.held import pause
from tests.integration.store.shapes import edit, let_run, put, sign_on, take as claim

pytestmark = pytest.mark.django_db(transaction=True)

#: The services whose chores a survey finds.
KINDS = (Surveyor, Rescuer, Pauser, Pruner, Sweeper, Notifier, Statistics)


def hold(gate):
    put(1)
    edit("UPDATE autotask_task SET state = 8, gate = %(gate)s, ready_at = NULL", {"gate": gate})


def found(worker_id=None):
    return survey.look(current(), worker_id or uuid.uuid4()).chores


FINDINGS = {
    "nothing": (lambda: None, set()),
    "tasks that wait, and results that are kept": (lambda: (put(2), ended(State.DONE)), set()),
    "a claim of another worker": (lambda: let_run(*put(1), worker=sign_on()), set()),
    "a claim of nobody": (lambda: let_run(*put(1)), {Chore.ORPHANS}),
    "a pause": (lambda: pause("queue", "mail"), {Chore.PAUSES}),
    "a task that a pause has held": (lambda: hold("pause:tests.task"), {Chore.PAUSES, Chore.HELD}),
    "a task at a limit": (lambda: hold("limit:tests.task"), {Chore.HELD}),
    "a mark": (
        lambda: execute(current(), "INSERT INTO autotask_mark (gate, at) VALUES ('rate:tests.hourly', now())"),
        {Chore.HELD},
    ),
    "a bucket": (
        lambda: execute(current(), "INSERT INTO autotask_bucket (gate, full_at) VALUES ('rate:tests.hourly', now())"),
        {Chore.GATES},
    ),
    "a notice": (
        lambda: ended(State.DONE, on_end=on_end.stored(["anna@example.com"], None)),
        {Chore.NOTICES},
    ),
    "an old result": (lambda: ended(State.DONE, kept_until="2026-01-01T00:00Z"), {Chore.RESULTS}),
}


@pytest.mark.parametrize("name", FINDINGS)
def test_a_survey_finds_what_there_is_to_do(name):
    prepare, chores = FINDINGS[name]
    prepare()
    assert found() == chores


def test_a_survey_finds_the_claims_in_the_name_of_a_worker():
    mine, other = sign_on(), sign_on()
    put(1)
    claim(mine)
    assert (found(mine), found(other)) == ({Chore.CLAIMS}, set())


class Turns:
    """The services of a worker, each of which runs again when its time has come within a minute."""

    def __init__(self, worker):
        self.waits = {each: 0.0 for each in worker.services.others._services if isinstance(each, KINDS)}
        assert {type(each) for each in self.waits} == set(KINDS)

    def turn(self):
        """Run those once, and return the statements."""
        with CaptureQueriesContext(connection) as captured:
            for service, wait in self.waits.items():
                if isinstance(service, Pauser):
                    service._due = float("-inf")
                if wait <= 60:
                    self.waits[service] = service.run_once(connection)
        return [query["sql"] for query in captured]


def test_where_there_is_nothing_to_do_all_rare_chores_together_cost_one_statement():
    turns = Turns(Worker(WorkerOptions()))
    turns.turn()
    assert len(turns.turn()) == 1
    assert next(iter(turns.waits.values())) <= EVERY


def test_a_chore_that_has_something_to_do_is_done_soon():
    worker = Worker(WorkerOptions())
    turns = Turns(worker)
    turns.turn()
    old = ended(State.DONE, kept_until="2026-01-01T00:00Z")
    assert len(turns.turn()) == 2
    assert worker.services.others._hurried >= {Pruner}
    with pytest.raises(type(old).DoesNotExist):
        old.refresh_from_db()


def test_a_chore_that_has_failed_is_done_again(other_connection):
    chores = Chores([Chore.NOTICES])
    notifier = Notifier(chores, lambda: None)
    with other_connection.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE autotask_result IN ACCESS EXCLUSIVE MODE")
        execute(current(), "SET lock_timeout = '50ms'")
        with pytest.raises(DatabaseError):
            notifier.run_once(current())
        assert Chore.NOTICES in chores
        cursor.execute("ROLLBACK")
    notifier.run_once(current())
    assert Chore.NOTICES not in chores


def test_if_a_table_is_locked_all_chores_are_done_each_by_itself(other_connection):
    chores, hurried = Chores(), []
    registration = Registration(WorkerOptions(), ())
    surveyor = Surveyor(registration, chores, hurried.extend, lambda clock, at: None)
    with other_connection.cursor() as cursor:
        cursor.execute("BEGIN; LOCK TABLE autotask_pause IN ACCESS EXCLUSIVE MODE")
        execute(current(), "SET lock_timeout = '50ms'")
        with pytest.raises(DatabaseError):
            surveyor.run_once(current())
        cursor.execute("ROLLBACK")
    assert set(hurried) == set(Chore)
    assert all(chore in chores for chore in Chore)
