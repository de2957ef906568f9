"""Statements that act on many tasks lock their rows in one order, so that no two sessions wait for each other."""

import contextlib
import random
import threading
import time
from collections import Counter

import pytest
from django.db import OperationalError, connections, transaction as transactions

from autotask.acts import tasks as acts
from autotask.flow import Flow, LimitGate
from autotask.handle import TaskHandle
from autotask.store import (
    claim,
    enqueue,
    find,
    finish,
    forgotten,
    gates,
    paused_tasks,
    pauses,
    promote,
    release,
    rescue,
    task_logs,
    unique,
)
from autotask.store.connection import current, dedicated, execute, rows
from autotask.store.errors import is_locked
from autotask.store.finish import HandingOn
from autotask.store.gates import Present
from autotask.store.pauses import Kind
from autotask.store.release import Release
from autotask.store.unique import Terms
from autotask.task import State
from autotask.worker.recorder import LOCK_TIMEOUT
from autotask.worker.unfinished import Unfinished
from tests.helpers import LONG, patient, wait_until
from tests.integration.store.shapes import new_task, outcome, put, sign_on, take, waiting_for_locks
from tests.integration.store.test_everything_at_once import MISPLACED

pytestmark = pytest.mark.django_db(transaction=True)

REPLACE = Terms(on_conflict="replace", renew=lambda task, id, payload: task._replace(id=id))

#: Seconds for which everybody acts at once, and how many claim and how many call then.
SECONDS = 60.0 if LONG else 4.0
CLAIMERS = CALLERS = 8


def with_key(key, **changes):
    return new_task(**changes)._replace(flow=Flow((), key))


def store(*tasks):
    """Store tasks, and return their ids."""
    enqueue.insert_flowing(current(), tasks)
    return [task.id for task in tasks]


def claimed(worker, *ids):
    """Claim just these tasks with one claim."""
    which = f"r.id IN ({', '.join(repr(str(id)) for id in ids)})"
    found = take(worker, which=which)
    assert len(found) == len(ids)
    return found


@contextlib.contextmanager
def deadlocks_counted():
    """Give a function that says, after the block, how many deadlocks there were in it."""
    before = deadlocks()
    yield lambda: deadlocks() - before


def deadlocks():
    """Return how many deadlocks the server has counted in this database; those of living sessions may be missing."""
    execute(current(), "SELECT pg_stat_clear_snapshot()")
    return rows(current(), "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")[0][0]


class Session:
    """A thread with a connection of its own that does one thing."""

    def __init__(self, act):
        self._result = self._error = None
        self._thread = threading.Thread(target=self._run, args=(act,))
        self._thread.start()

    def _run(self, act):
        try:
            self._result = act()
        except BaseException as error:  # noqa: B036 - it is raised where it is joined
            self._error = error
        finally:
            connections.close_all()

    def result(self):
        self._thread.join(patient(20))
        assert not self._thread.is_alive(), "it hangs"
        if self._error:
            raise self._error
        return self._result


@pytest.fixture
def at_once(transaction):
    """Start sessions one after the other, each as soon as the one before waits for a lock, with a row of a task locked.

    The first one to start is the first one to get it.
    """

    def run(table, id, *actions):
        execute(transaction, f"SELECT FROM {table} WHERE id = %(id)s FOR UPDATE", {"id": id})
        with deadlocks_counted() as counted:
            sessions = []
            for number, act in enumerate(actions, 1):
                sessions.append(Session(act))
                wait_until(lambda number=number: waiting_for_locks() >= number, what="a session that waits")
            execute(transaction, "ROLLBACK")
            results = [session.result() for session in sessions]
        assert counted() == 0
        return results

    return run


# --- two of them ----------------------------------------------------------------------------------------------------


def test_tasks_get_a_priority_in_the_order_in_which_they_are_cancelled(at_once):
    # Given: two ready tasks, whose keys are in another order than their ids
    ids = store(with_key("b"), with_key("a"))

    # When
    cancelled, moved = at_once("autotask_ready", ids[1], lambda: acts.cancel(ids), lambda: acts.prioritize(ids, 5))

    # Then
    assert [answer.refused for answer in cancelled] == [None, None]
    assert {answer.refused for answer in moved} <= {None, State.CANCELLED}


def test_scheduled_tasks_are_made_due_in_the_order_in_which_calls_replace_them(at_once):
    # Given
    ids = store(with_key("b", delay=3600), with_key("a", delay=3600))
    calls = [with_key("a", delay=3600), with_key("b", delay=3600)]

    # When
    replaced, due = at_once(
        "autotask_task",
        ids[1],
        lambda: unique.store(current(), calls, REPLACE),
        lambda: acts.run_now(ids),
    )

    # Then
    assert {one.id for one in replaced.values()} == set(ids)
    assert [answer.refused for answer in due] == [None, None]


@pytest.mark.parametrize("act", ["replace", "merge", "prioritize"])
def test_a_ready_task_is_not_locked_before_a_scheduled_one_that_comes_first(at_once, act):
    # Given
    ids = store(with_key("a", delay=3600), with_key("b"))
    calls = [with_key("a", delay=3600), with_key("b")]
    merging = Terms(on_conflict="replace", renew=REPLACE.renew, merges=True)

    def cancel_both():
        with transactions.atomic():
            return [TaskHandle(id).cancel() for id in ids]

    def act_on_both():
        if act == "prioritize":
            return acts.prioritize(ids, 5)
        return unique.store(current(), calls, merging if act == "merge" else REPLACE)

    # When
    cancelled, _ = at_once("autotask_task", ids[0], cancel_both, act_on_both)

    # Then
    assert cancelled == [True, True]


def test_tasks_are_retried_although_their_claims_were_made_in_another_order(at_once):
    # Given: tasks that have failed, two each of two claims with a third one that still runs
    worker, (one, two, three, four) = sign_on(), put(4)
    others = put(2)
    claims = [claimed(worker, two, three, others[0]), claimed(worker, one, four, others[1])]
    ended = [outcome(task, State.ERROR) for task in (*claims[0], *claims[1]) if task.id not in others]
    finish.end(current(), ended, now=time.monotonic(), error_ttl=60.0)

    # When
    answers = at_once("autotask_result", two, lambda: acts.retry([one, two]), lambda: acts.retry([three, four]))

    # Then
    assert [answer.refused for found in answers for answer in found] == [None] * 4


def test_the_oldest_lines_are_deleted_in_the_order_in_which_those_of_discarded_tasks_are(at_once):
    # Given: pieces of two tasks that were cancelled, of which the later one has the smaller address
    ids = put(2)
    acts.cancel(ids)
    sql = "INSERT INTO autotask_log (id, first_id, last_id, at, text) OVERRIDING SYSTEM VALUE VALUES (%(n)s, %(id)s, %(id)s, now(), %(t)s)"
    for number, id in ((2, ids[1]), (1, ids[0])):
        execute(current(), sql, {"n": number, "id": id, "t": task_logs.marked(id.int, 1, "line\n")})

    # When
    discarded, _ = at_once(
        "autotask_log",
        1,
        lambda: acts.discard(ids),
        lambda: task_logs.forget(current(), [(id, 1, 1) for id in ids]),
    )

    # Then
    assert [answer.refused for answer in discarded] == [None, None]
    assert rows(current(), "SELECT id FROM autotask_log") == []


# --- everybody ------------------------------------------------------------------------------------------------------

GATE = LimitGate("limit:some", "some", 3)

KEYS = [f"{until}key({number})" for until in ("", "waiting:") for number in range(8)]


class Tasks:
    """The ids of the newest tasks, which all actors share."""

    def __init__(self):
        self._ids = []

    def add(self, ids):
        self._ids = [*self._ids[-60:], *ids]

    def some(self, chance):
        """Return some of them, in any order."""
        ids = list(dict.fromkeys(self._ids))
        return chance.sample(ids, min(len(ids), chance.randint(2, 12)))


class Worker:
    """Claims, and lets go of what it has claimed in all ways there are, with the connections of a worker."""

    def __init__(self, number):
        self._chance = random.Random(number)
        self._claims, self._records = dedicated("claim"), dedicated("recorder", LOCK_TIMEOUT)
        self._id = sign_on()
        self._held = []
        self._unfinished = Unfinished()

    def act(self):
        try:
            self._claim_and_let_go()
        except OperationalError as error:  # a worker gives way, and tries again
            assert is_locked(error), error

    def _claim_and_let_go(self):
        self._serve()
        new = take(self._id, limit=self._chance.randint(1, 10), connection=self._claims.wrapper)
        self._unfinished.add(new)
        self._held += new
        self._chance.shuffle(self._held)
        end = self._chance.choice((self._end, self._end, self._retry, self._release, self._lose))
        gone, self._held = self._held[:8], self._held[8:]
        self._let_go(end, gone)
        forgotten.reconcile(self._claims.wrapper, self._id, [task.fence for task in self._held])

    def close(self):
        self._claims.close()
        self._records.close()

    def _serve(self):
        connection = self._claims.wrapper
        promote.promote(connection)
        gates.admit(connection, Present(), room={})
        if self._chance.random() < 0.1:
            pauses.pause(connection, Kind.TASK, "tests.task", until=None, reason="", by="")
            for lane in claim.find_lanes(connection).lanes:
                paused_tasks.hold(connection, lane.queue, lane.priority, lane.executor)
            paused_tasks.hold_slots(connection)
            pauses.resume(connection, Kind.TASK, "tests.task")
        paused_tasks.let_go(connection, pauses.gate_of(Kind.TASK, "tests.task"))
        if self._chance.random() < 0.1:
            alive = [id for (id,) in rows(connection, "SELECT id FROM autotask_worker")]
            rescue.rescue(connection, [self._chance.choice(alive)], reason="", max_crashes=3, error_ttl=9.0)
        if not rows(connection, "SELECT 1 FROM autotask_worker WHERE id = %(id)s", {"id": self._id}):
            self._id = sign_on()

    def _let_go(self, end, gone):
        """Do as the recorder: if somebody has locked a row, the others do not wait for it."""
        try:
            end(gone, self._unfinished.over(gone))
        except OperationalError as error:
            assert is_locked(error), error
            for task in gone if len(gone) > 1 else ():
                self._let_go(end, [task])
            if len(gone) == 1:
                self._held += gone
        else:
            self._unfinished.forget(gone)

    def _end(self, gone, over):
        outcomes = [outcome(task, self._chance.choice((State.DONE, State.ERROR))) for task in gone]
        handing_on = HandingOn({}) if any(task.flow for task in gone) else None
        now = time.monotonic()
        finish.end(self._records.wrapper, outcomes, now=now, error_ttl=9.0, over=over, handing_on=handing_on)

    def _retry(self, gone, over):
        outcomes = [outcome(task, State.RETRY, delay=0.01) for task in gone]
        finish.retry(self._records.wrapper, outcomes, now=time.monotonic(), over=over)

    def _release(self, gone, over):
        release.release(self._records.wrapper, [Release(task.id, task.fence) for task in gone], over)

    def _lose(self, gone, over):
        lost = [(task.id, task.fence, "killed") for task in gone]
        rescue.lose(self._records.wrapper, lost, max_crashes=3, error_ttl=9.0, over=over)


class Caller:
    """Calls tasks, and acts on any of them, in any order."""

    def __init__(self, number, tasks):
        self._chance = random.Random(number)
        self._tasks = tasks
        self._acts = [getattr(self, name) for name in dir(self) if name.startswith("do_")]

    def act(self):
        self._chance.choice(self._acts)()

    def close(self):
        connections.close_all()

    def do_call(self):
        flows = (None, Flow((GATE,)))
        new = [
            new_task(priority=self._chance.choice((0, 5)))._replace(flow=self._chance.choice(flows)) for _ in range(6)
        ]
        self._tasks.add(store(*new))

    def do_call_with_keys(self):
        keys = self._chance.sample(KEYS, self._chance.randint(1, 8))
        gates = self._chance.choice(((), (), (GATE,)))
        delays = self._chance.choices((0.0, 0.0, 0.02, 3600.0), k=len(keys))
        new = [new_task(delay=delay)._replace(flow=Flow(gates, key)) for key, delay in zip(keys, delays, strict=True)]
        others = unique.store(current(), new, REPLACE)
        self._tasks.add([others[task.id].id if task.id in others else task.id for task in new])

    do_call_again = do_call_with_keys

    def do_cancel(self):
        acts.cancel(self._tasks.some(self._chance))

    def do_cancel_together(self):
        with transactions.atomic():
            for id in find.in_order_of_keys(current(), self._tasks.some(self._chance)):
                TaskHandle(id).cancel()

    def do_prioritize(self):
        acts.prioritize(self._tasks.some(self._chance), self._chance.choice((0, 5)))

    def do_run_now(self):
        acts.run_now(self._tasks.some(self._chance))

    def do_retry(self):
        acts.retry(self._tasks.some(self._chance))

    def do_discard(self):
        acts.discard(self._tasks.some(self._chance)[:2])


def test_workers_and_callers_who_act_on_the_same_tasks_in_any_order_meet_in_no_deadlock():
    # Given
    tasks, stop, done, errors = Tasks(), threading.Event(), Counter(), []

    def act(actor):
        try:
            while not stop.is_set():
                actor.act()
                done[type(actor)] += 1
        except Exception as error:
            errors.append(error)
            stop.set()
        finally:
            actor.close()

    actors = [Worker(number) for number in range(CLAIMERS)] + [Caller(number, tasks) for number in range(CALLERS)]

    # When
    with deadlocks_counted() as counted:
        sessions = [Session(lambda actor=actor: act(actor)) for actor in actors]
        stop.wait(SECONDS)
        stop.set()
        for session in sessions:
            session.result()

    # Then
    assert errors == []
    assert counted() == 0
    assert rows(current(), MISPLACED) == []
    assert min(done[Worker], done[Caller]) > CALLERS
