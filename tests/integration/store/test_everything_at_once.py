"""Everything that changes where tasks are, at once and in any order: each task stays in just one place, and none is lost."""

import random
import threading
import time

import pytest
from django.db import connections

from autotask.flow import Flow, LimitGate
from autotask.store import (
    begin_step,
    bring_forward,
    cancel,
    claim,
    enqueue,
    finish,
    follow,
    forgotten,
    gates,
    paused_tasks,
    pauses,
    promote,
    pull,
    release,
    requeue,
    rescue,
    steps,
    unique,
)
from autotask.store.connection import current, rows
from autotask.store.follow import Wanted
from autotask.store.gates import Present
from autotask.store.pauses import Kind
from autotask.store.release import Release
from autotask.store.steps import StepEnd
from autotask.store.unique import Terms
from autotask.task import PROCESS, REMOTE, THREAD, State
from autotask.worker.unfinished import Unfinished
from tests.helpers import LONG
from tests.integration.store.shapes import new_task, outcome, sign_on, take

pytestmark = pytest.mark.django_db(transaction=True)

#: How many threads act, and how often each does.
THREADS, ACTS = 8, 2000 if LONG else 250

GATE = LimitGate("limit:some", "some", 3)

NAMES = ("tests.one", "tests.two")

#: Tasks in two places or in none, rows of the ready table without their tasks, and ids that are nowhere any more.
MISPLACED = """
SELECT 'place', t.id FROM autotask_task t
WHERE t.state <> 0 AND (SELECT count(*) FROM autotask_ready r WHERE r.id = t.id)
                     + (SELECT count(*) FROM autotask_held h WHERE h.id = t.id)
                     + (SELECT count(*) FROM autotask_running r WHERE r.id = t.id) <> 1
UNION ALL
SELECT 'waits', t.id FROM autotask_task t JOIN autotask_running r USING (id) WHERE t.state = 0
UNION ALL
SELECT 'ready', r.id FROM autotask_ready r
WHERE NOT EXISTS (
    SELECT FROM autotask_task t WHERE t.state = 1
       AND (r.queue, r.priority, r.executor, r.ready_at, r.id) = (t.queue, t.priority, t.executor, t.ready_at, t.id)
)
UNION ALL
SELECT 'held', h.id FROM autotask_held h
WHERE NOT EXISTS (
    SELECT FROM autotask_task t WHERE t.state = 8 AND (h.gate, h.rank, h.run_at, h.id) = (t.gate, -t.priority, t.run_at, t.id)
)
"""


class Actor:
    """Acts at random, as a worker and as many others.

    :param ids: of all tasks there are, for all actors.
    """

    def __init__(self, number, ids):
        self.random = random.Random(number)
        self.ids = ids
        self.worker = sign_on()
        self.held = []
        self.unfinished = Unfinished()
        self.acts = [getattr(self, name) for name in dir(self) if name.startswith("do_")]

    def act(self):
        self.random.choice(self.acts)()

    def some(self, most=3):
        ids = list(self.ids)
        return self.random.sample(ids, min(len(ids), self.random.randint(1, most)))

    def keep(self, tasks):
        self.held += tasks
        self.unfinished.add(tasks)

    def let_go(self, most=4):
        """Return some of the tasks that it holds, and the claims that are over with them."""
        self.random.shuffle(self.held)
        gone, self.held = self.held[:most], self.held[most:]
        over = self.unfinished.over(gone)
        self.unfinished.forget(gone)
        return gone, over

    # --- calls

    def do_put(self):
        tasks = [
            new_task(
                name=self.random.choice(NAMES),
                executor=self.random.choice((THREAD, PROCESS, REMOTE)),
                delay=self.random.choice((0.0, 0.0, 0.05, 3600.0)),
                priority=self.random.choice((0, 5)),
            )._replace(flow=Flow((GATE,)) if self.random.random() < 0.3 else None)
            for _ in range(self.random.randint(1, 8))
        ]
        self.ids |= dict.fromkeys(enqueue.insert_flowing(current(), tasks))

    def do_call_unique(self):
        task = new_task(delay=self.random.choice((0.0, 0.0, 3600.0)))
        key = f"{self.random.choice(('', 'waiting:'))}key({self.random.randint(1, 3)})"
        terms = Terms(on_conflict="replace", renew=lambda task, id, former: task._replace(id=id))
        others = unique.store(current(), [task._replace(flow=Flow((), key))], terms)
        self.ids[others[task.id].id if others else task.id] = None

    # --- of a worker

    def do_claim(self):
        self.keep(take(self.worker, limit=self.random.randint(1, 6)))
        if not rows(current(), "SELECT 1 FROM autotask_worker WHERE id = %(id)s", {"id": self.worker}):
            self.worker = sign_on()

    do_claim_again = do_claim

    def do_follow(self):
        found = follow.follow(current(), self.worker, [Wanted(GATE.key, 2, 3)], queues=("default",), slots={})
        self.keep(found[GATE.key])

    def do_end(self):
        gone, over = self.let_go()
        outcomes = [outcome(task, self.random.choice((State.DONE, State.ERROR))) for task in gone]
        handing_on = finish.HandingOn({}) if any(task.flow for task in gone) else None
        finish.end(current(), outcomes, now=time.monotonic(), error_ttl=9.0, over=over, handing_on=handing_on)

    do_end_again = do_end

    def do_retry(self):
        gone, over = self.let_go()
        outcomes = [outcome(task, State.RETRY, delay=0.01) for task in gone]
        finish.retry(current(), outcomes, now=time.monotonic(), over=over)

    def do_release(self):
        gone, over = self.let_go()
        release.release(
            current(), [Release(task.id, task.fence, self.random.choice((0.0, 0.01))) for task in gone], over
        )

    def do_lose(self):
        gone, over = self.let_go()
        lost = [(task.id, task.fence, "killed") for task in gone]
        rescue.lose(current(), lost, max_crashes=3, error_ttl=9.0, over=over)

    def do_advance(self):
        gone, over = self.let_go()
        ends = [StepEnd(task.id, task.fence, 1, None, 0.0, time.monotonic()) for task in gone]
        steps.advance(current(), ends, now=time.monotonic(), over=over)

    def do_keep_a_step(self):
        for task in self.held[:1]:
            steps.keep(current(), task.id, task.fence, str(self.random.random()), None, 0.0)

    def do_reconcile(self):
        forgotten.reconcile(current(), self.worker, [task.fence for task in self.held])

    # --- of services

    def do_rescue(self):
        if self.random.random() < 0.2:
            found = [id for (id,) in rows(current(), "SELECT id FROM autotask_worker")]
            rescue.rescue(current(), [self.random.choice(found)], reason="killed", max_crashes=3, error_ttl=9.0)

    def do_promote(self):
        promote.promote(current())

    def do_admit(self):
        gates.admit(current(), Present(), room={})

    def do_pause(self):
        pauses.pause(current(), Kind.TASK, NAMES[0], until=None, reason="", by="")
        for lane in claim.find_lanes(current()).lanes:
            paused_tasks.hold(current(), lane.queue, lane.priority, lane.executor)
        paused_tasks.hold_slots(current())
        pauses.resume(current(), Kind.TASK, NAMES[0])

    def do_let_go(self):
        paused_tasks.let_go(current(), pauses.gate_of(Kind.TASK, NAMES[0]))

    # --- of people and clients

    def do_cancel(self):
        for id in self.some():
            cancel.cancel(current(), id)

    def do_prioritize(self):
        bring_forward.prioritize(current(), self.some(6), self.random.choice((0, 5)))

    def do_make_due(self):
        bring_forward.make_due(current(), self.some(6))

    def do_requeue(self):
        found = rows(current(), "SELECT id FROM autotask_result WHERE state IN (4, 5) ORDER BY random() LIMIT 3")
        for (id,) in found:
            requeue.requeue(current(), id)

    def do_pull(self):
        offered = pull.take(current(), ["default"], NAMES, most=3, seconds=self.random.choice((0.0, 0.02)))
        for each in offered:
            way = self.random.randint(1, 4)
            if way == 1:
                pull.withdraw(current(), [each])
            elif way == 2:
                begin_step.start(current(), each.id, THREAD, step=1)
            elif way == 3:
                begin_step.claim(current(), each.id, self.worker, step=1, payload=None, largest=1000)
            else:
                pull.hold(current(), each.id, behind=0, seconds=0.01)
        pull.lapse(current())


def test_each_task_stays_in_one_place_whatever_is_done_at_once():
    # Given
    ids, errors, misplaced = {}, [], []
    left = [THREADS]

    def run(number):
        try:
            actor = Actor(number, ids)
            actor.do_put()
            for _ in range(ACTS):
                actor.act()
        except Exception as error:
            errors.append(error)
        finally:
            left[0] -= 1
            connections.close_all()

    # When
    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    while left[0] and not misplaced:
        misplaced += rows(current(), MISPLACED)
    for thread in threads:
        thread.join()

    # Then
    assert errors == []
    assert misplaced + rows(current(), MISPLACED) == []
    there = {id for (id,) in rows(current(), "SELECT id FROM autotask_task UNION ALL SELECT id FROM autotask_result")}
    assert there == set(ids)
