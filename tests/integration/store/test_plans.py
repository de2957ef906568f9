"""What the statements of the store read of large tables: a few pages, found by indexes, whatever the planner knows."""

import dataclasses
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import pytest

from autotask import lines, on_end
from autotask.flow import Flow
from autotask.store import (
    begin_step,
    bring_forward,
    cancel,
    claim,
    enqueue,
    expiring,
    find,
    finish,
    follow,
    forgotten,
    gates,
    gates_read,
    gauges,
    hasten,
    held,
    many,
    notices,
    paused_tasks,
    pauses,
    promote,
    prune,
    read,
    release,
    requeue,
    rescue,
    schedule_runs,
    schedules,
    steps,
    survey,
    tally,
    unique,
    workers,
)
from autotask.store.claim import Lane
from autotask.store.connection import current, execute, rows
from autotask.store.finish import Outcome
from autotask.store.follow import Wanted
from autotask.store.gates import Present
from autotask.store.situation import read_situation
from autotask.task import ClaimedTask, State
from tests.integration.store import crowd
from tests.integration.store.crowd import SATURATED, Crowd
from tests.integration.store.plans import assert_cheap, assert_not_compiled, explained
from tests.integration.store.shapes import count, new_task, outcome, put, sign_on, state, take

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module", params=crowd.STATISTICS)
def crowded(request, django_db_setup, django_db_blocker):
    """Large tables; each test undoes what it does to them."""
    with django_db_blocker.unblock(), crowd.own_schema():
        yield crowd.gather(request.param)


@dataclass(frozen=True)
class Act:
    """What a worker or a web process asks of the store.

    :ivar index: what it must use; "" if there is nothing to look for.
    :ivar buffers: pages that it may read.
    :ivar avoids: what it must not use.
    :ivar before: what is done first, at no cost.
    :ivar result: what is returned, if that shows how much was done.
    """

    do: Callable[[Crowd], object]
    index: str
    buffers: int
    avoids: str = ""
    before: Callable[[Crowd], object] = id
    result: object = None


def ended(tasks: list[ClaimedTask], state: State = State.DONE) -> list[Outcome]:
    return [outcome(task, state) for task in tasks]


def end(tasks: list[ClaimedTask], state: State) -> int:
    return finish.end(current(), ended(tasks, state), now=time.monotonic(), error_ttl=9.0)


def retry(c: Crowd) -> int:
    return finish.retry(current(), ended(c.held, State.RETRY), now=time.monotonic())


def release_all(c: Crowd) -> int:
    return len(release.release(current(), [release.Release(task.id, task.fence) for task in c.held]))


def advance(c: Crowd) -> int:
    ends = [steps.StepEnd(task.id, task.fence, 1, b"x", 0.1, 0.0) for task in c.held]
    return steps.advance(current(), ends, now=0.0)


def recorded(c: Crowd) -> object:
    return finish.recorded(current(), ended(c.held[:20]))


def newest(c: Crowd) -> object:
    return read.newest(current())


def make_due(c: Crowd) -> None:
    crowd.multiply("autotask_task", c.future, 1000, run_at="clock_timestamp() - n * interval '1 s'")


SCHEDULES = ("one", "other")


def make_schedules_due(c: Crowd) -> None:
    due = schedules.now(current()) - timedelta(minutes=1)
    schedules.register(current(), [(name, "tests.task", "daily", due) for name in SCHEDULES], abandoned=60)


RETURN = unique.Terms()
REPLACE = unique.Terms(on_conflict="replace", renew=lambda task, id, former: task._replace(id=id))


def unique_call(key: str, terms: unique.Terms = RETURN) -> dict[uuid.UUID, unique.Stored]:
    """Make a call that is unique."""
    return unique.store(current(), [new_task()._replace(flow=Flow((), key))], terms)


def tell_ends(c: Crowd) -> None:
    some = "SELECT id FROM autotask_result ORDER BY id LIMIT 300"
    execute(current(), f"UPDATE autotask_result SET on_end = %(on_end)s WHERE id IN ({some})", {"on_end": ON_END})


def be_free(c: Crowd) -> None:
    """Have a worker that is handed tasks: one that holds no claim, while others hold many."""
    free = sign_on()
    execute(
        current(),
        "UPDATE autotask_worker SET line = %(mark)s WHERE id = %(id)s",
        {"mark": lines.current().mark, "id": free},
    )


def enqueue_deliveries(c: Crowd) -> int:
    return notices.begin(current(), [notices.Delivery(each, new_task()) for each in notices.find(current())])


ON_END = on_end.stored(["a@example.org"], None)

#: The index of what may be claimed. It is full of dead entries: who ends tasks need not look at it.
READY = "autotask_ready_pkey"

WANTED = [Wanted(SATURATED.key, 20, SATURATED.most)]

LANES = [Lane("urgent", 100), Lane("mail", 10), Lane("nothing", 5), Lane("default", 0), Lane("mail", 0)]

#: Whatever the planner knows: with no statistics at all as after an upgrade of the server, and with wrong ones.
ACTS = {
    "claim ten": Act(lambda c: len(take(c.worker, limit=10, lanes=LANES)), READY, 200, result=10),
    "claim a hundred": Act(lambda c: len(take(c.worker, limit=100, lanes=LANES)), READY, 2000, result=100),
    "claim a hundred of bounded bytes": Act(
        lambda c: len(take(c.worker, limit=100, lanes=LANES, most_bytes=2**20)),
        READY,
        2000,
        result=100,
    ),
    "claim where nothing is": Act(
        lambda c: take(c.worker, lanes=[Lane("nothing", number) for number in range(10)]), READY, 40
    ),
    "claim a suspect where none is": Act(
        lambda c: take(c.worker, limit=1, lanes=[Lane("default", 0)], which=claim.SUSPECT), "autotask_suspect", 10
    ),
    "claim with unknown names": Act(
        lambda c: len(take(c.worker, limit=10, lanes=LANES, unknown_names=["tests.newer"])),
        READY,
        300,  # They are read past, by the row.
        result=10,
    ),
    "claim followers": Act(
        lambda c: len(follow.follow(current(), c.worker, WANTED, queues=["default"], slots={})[SATURATED.key]),
        "autotask_held_pkey",
        800,
        result=20,
    ),
    "admit to a full limit": Act(
        lambda c: gates.admit(current(), Present(), room={}).ready,
        "autotask_held_pkey",
        1000,
        before=lambda c: gates.mark(current(), [SATURATED.key]),
        result=0,
    ),
    "find lanes": Act(lambda c: claim.find_lanes(current()), READY, 40),
    "find lanes with unknown names": Act(
        lambda c: claim.find_lanes(current(), unknown_names=["tests.newer"]), READY, 60
    ),
    "find lanes with paused names": Act(
        lambda c: claim.find_lanes(current(), paused_names=["tests.paused"]), READY, 60
    ),
    "look at pauses": Act(lambda c: paused_tasks.look(current()).exists, "autotask_held_pkey", 10, result=False),
    "hold where nothing is paused": Act(
        # Each of five hundred tasks is looked up.
        lambda c: paused_tasks.hold(current(), "default", 0, "")[1],
        READY,
        2500,
        result=0,
    ),
    "hold what is paused": Act(
        lambda c: paused_tasks.hold(current(), "default", 0, "")[1],
        READY,
        9000,
        before=lambda c: pause_all(),
        result=paused_tasks.PIECE,
    ),
    # Twenty pages for each: it is found, locked, found again, written, and entered in two indexes of some depth.
    "let go": Act(
        lambda c: paused_tasks.let_go(current(), "pause:tests.task"),
        "autotask_held_pkey",
        10_000,
        before=lambda c: (
            pause_all(),
            paused_tasks.hold(current(), "default", 0, ""),
            execute(current(), "DELETE FROM autotask_pause"),
        ),
        result=paused_tasks.PIECE,
    ),
    "hold those with slots where nothing is paused": Act(
        lambda c: paused_tasks.hold_slots(current())[1], "autotask_task_pkey", 200, result=0
    ),
    "hold those with slots of a paused queue": Act(
        lambda c: paused_tasks.hold_slots(current())[1],
        "autotask_task_pkey",
        200,
        before=lambda c: pauses.pause(current(), pauses.Kind.QUEUE, "default", until=None, reason="", by=""),
        result=0,  # They run.
    ),
    "end no pause": Act(lambda c: paused_tasks.end(current()), "", 10, result=0),
    # A descent for each of the gates, and a mark for those of the limit.
    "end the pause of a limit": Act(
        lambda c: paused_tasks.end(current()),
        "autotask_held_pkey",
        12 * crowd.KEYS,
        before=lambda c: end_pause(),
        result=1,
    ),
    "reconcile": Act(
        lambda c: len(forgotten.reconcile(current(), c.worker, [task.fence for task in c.held[10:]])),
        "autotask_task_pkey",
        400,
        avoids=READY,
        result=10,
    ),
    "promote where nothing is due": Act(lambda c: promote.promote(current()), "autotask_due", 20),
    "promote what is due": Act(
        lambda c: promote.promote(current())[0], "autotask_due", 10_000, before=make_due, result=500
    ),
    "end two hundred": Act(lambda c: end(c.held, State.DONE), "autotask_task_pkey", 2000, avoids=READY, result=197),
    "end two hundred in errors": Act(
        lambda c: end(c.held, State.ERROR), "autotask_task_pkey", 2000, avoids=READY, result=197
    ),
    "end one": Act(lambda c: end(c.held[:1], State.DONE), "autotask_task_pkey", 20, avoids=READY, result=1),
    "end a few": Act(lambda c: end(c.held[:10], State.DONE), "autotask_task_pkey", 200, avoids=READY, result=10),
    "end one in an error": Act(
        lambda c: end(c.held[:1], State.ERROR), "autotask_task_pkey", 40, avoids=READY, result=1
    ),
    "retry two hundred": Act(retry, "autotask_task_pkey", 4000, avoids=READY, result=197),
    "end two hundred steps": Act(advance, "autotask_task_pkey", 6000, avoids=READY, result=197),
    "keep a step of a function": Act(
        lambda c: steps.keep(current(), c.held[0].id, c.held[0].fence, "a", None, 0.1),
        "autotask_task_pkey",
        40,
        avoids=READY,
        result=True,
    ),
    "find the last step": Act(lambda c: steps.last(current(), c.held[0].id), "autotask_step_pkey", 20),
    "release two hundred": Act(release_all, "autotask_task_pkey", 4000, avoids=READY, result=197),
    "rescue a hundred": Act(
        lambda c: rescue.rescue(current(), [], reason="gone", max_crashes=3, error_ttl=9.0),
        "autotask_task_pkey",
        4000,
        avoids=READY,
        result=(1, 100, 0),
    ),
    "prune a thousand": Act(lambda c: prune.prune(current()).results, "autotask_result_kept", 10_000, result=1000),
    "survey": Act(
        lambda c: sorted(chore.name for chore in survey.look(current(), c.worker).chores),
        "autotask_result_kept",
        60,
        avoids=READY,
        result=["CLAIMS", "GATES", "HELD", "RESULTS"],
    ),
    "look for ends to notify where there are none": Act(
        lambda c: notices.find(current()), "autotask_result_to_tell", 10, result=[]
    ),
    "look for ends to notify": Act(
        lambda c: len(notices.find(current())), "autotask_result_to_tell", 4000, before=tell_ends, result=200
    ),
    "enqueue deliveries": Act(enqueue_deliveries, "autotask_result_pkey", 8000, before=tell_ends, result=200),
    "settle": Act(lambda c: notices.settle(current(), c.failed, None), "autotask_result_pkey", 60),
    # A page of an index that is full is cleared of dead entries first, for which their rows are looked at.
    "enqueue": Act(lambda c: enqueue.insert(current(), new_task()), "", 80),
    "enqueue as claimed": Act(lambda c: enqueue.insert_claimed(current(), new_task(), c.worker), "", 80),
    "enqueue and hand over": Act(lambda c: enqueue.insert_handing(current(), new_task(), ""), "", 80, before=be_free),
    "enqueue a hundred": Act(lambda c: many.insert_many(current(), [new_task() for _ in range(100)]), "", 1500),
    "look for what is due": Act(
        lambda c: len(schedules.look(current(), dict.fromkeys(SCHEDULES, "daily")).due),
        "autotask_of_schedule",
        40,
        before=make_schedules_due,
        result=2,
    ),
    "last runs of schedules": Act(
        lambda c: len(schedule_runs.last_runs(current(), SCHEDULES)), "autotask_result_of_schedule", 40
    ),
    "runs of a schedule": Act(
        lambda c: len(schedule_runs.runs(current(), SCHEDULES[0])), "autotask_result_of_schedule", 40
    ),
    "find by the beginning of the id": Act(
        lambda c: find.between(current(), c.waiting, c.waiting), "autotask_task_pkey", 20
    ),
    "find the states of two": Act(
        lambda c: len(find.states(current(), [c.waiting, c.failed])), "autotask_task_pkey", 30, result=2
    ),
    "cancel": Act(lambda c: cancel.cancel(current(), c.waiting), "autotask_task_pkey", 40),
    # With a look for the table of its row, about ten pages, since there are model tasks here.
    "cancel what runs": Act(lambda c: cancel.cancel(current(), c.held[0].id), "autotask_task_pkey", 80),
    "cancel what has ended": Act(lambda c: cancel.cancel(current(), c.failed), "autotask_task_pkey", 40),
    "insert a unique one": Act(lambda c: len(unique_call("tests.task(1)")), "", 60, result=0),
    "insert a unique one whose key is taken": Act(
        lambda c: len(unique_call("tests.task(2)")),
        "",
        40,
        before=lambda c: unique_call("tests.task(2)"),
        result=1,
    ),
    "find who has a unique key": Act(
        lambda c: rows(current(), unique.FIND, {"key": "{tests.task(2)}"}), "autotask_unique", 20
    ),
    "replace a unique one": Act(
        lambda c: len(unique_call("tests.task(3)", REPLACE)),
        "autotask_task_pkey",
        100,
        before=lambda c: unique_call("tests.task(3)"),
        result=1,
    ),
    "ask who has a unique key": Act(lambda c: requeue.holder(current(), c.failed), "autotask_result_pkey", 20),
    "requeue": Act(lambda c: requeue.requeue(current(), c.failed), "autotask_result_pkey", 40),
    # With the claims, whose table has some pages.
    "read what waits": Act(lambda c: read.task(current(), c.waiting), "autotask_task_pkey", 30),
    "read what has ended": Act(lambda c: read.task(current(), c.failed), "autotask_result_pkey", 20),
    "read the attempts": Act(lambda c: read.attempts(current(), c.failed), "autotask_attempt_task", 10),
    "read the last attempts": Act(lambda c: read.last_attempts(current(), c.failed, 20), "autotask_attempt_task", 10),
    "read what waits for its handle": Act(lambda c: read.seen(current(), c.waiting), "autotask_task_pkey", 30),
    "read what has ended for its handle": Act(lambda c: read.seen(current(), c.failed), "autotask_result_pkey", 20),
    "read a task with its attempts": Act(lambda c: read.history(current(), c.failed), "autotask_attempt_task", 40),
    "ask to be told": Act(lambda c: read.ask_to_be_told(current(), c.waiting), "autotask_task_pkey", 20),
    "list the newest": Act(newest, "autotask_task_pkey", 60, before=newest),
    "list the newest of a queue": Act(lambda c: read.newest(current(), queue="default"), "autotask_task_pkey", 60),
    # Ten thousand entries of an index are counted.
    "end held tasks that have expired": Act(
        lambda c: expiring.end(current()), "autotask_expiring", 20_000, before=lambda c: expire(), result=expiring.PIECE
    ),
    "look for held tasks that expire": Act(
        lambda c: rows(current(), expiring.UNTIL_NEXT)[0][0] < 0,
        "autotask_expiring",
        20,
        before=lambda c: expire(),
        result=True,
    ),
    "look at a gate": Act(
        lambda c: gates_read.seen(current(), SATURATED.key).taken, "autotask_held_pkey", 12_000, result=20
    ),
    "list the holders of slots": Act(
        lambda c: len(gates_read.holders(current(), SATURATED.key)), "autotask_task_pkey", 120, result=20
    ),
    "list the tasks about a subject": Act(
        lambda c: len(read.newest(current(), subject="shop.order:7")),
        "autotask_result_subject",
        60,
        before=lambda c: about(),
        result=1,
    ),
    "list the newest of a gate": Act(
        lambda c: len(read.newest(current(), gates=["limit:some(key=7)"])), "autotask_held_pkey", 60, result=1
    ),
    "beat": Act(lambda c: workers.beat(current(), c.worker, lease=30.0, stopping=False), "", 20),
    # Three to five pages for each task that runs: nearly two hundred of this worker, and over a thousand of all.
    "what is to be cancelled": Act(
        lambda c: workers.to_be_cancelled(current(), c.worker), "autotask_task_pkey", 1000, avoids=READY, result=[]
    ),
    "list the workers": Act(lambda c: read.workers(current()), "autotask_task_pkey", 6000, avoids=READY),
}


def about():
    """Let tasks be about something: a thousand of them, each about another one."""
    for table in ("autotask_task", "autotask_result"):
        chosen = (
            f"SELECT id, row_number() OVER () AS number FROM (SELECT id FROM {table} ORDER BY id LIMIT 500) AS first"
        )
        subject = "'shop.order:' || number" if table == "autotask_result" else "'shop.item:' || number"
        execute(current(), f"UPDATE {table} t SET subject = {subject} FROM ({chosen}) AS chosen WHERE chosen.id = t.id")


def pause_all():
    """Pause the tasks of the crowd."""
    pauses.pause(current(), pauses.Kind.TASK, "tests.task", until=None, reason="", by="")


def expire():
    """Let one task at each of many gates be too late."""
    sql = "UPDATE autotask_held SET expires_at = now() - interval '1 s' WHERE gate <> %(gate)s"
    execute(current(), sql, {"gate": SATURATED.key})


def end_pause():
    """Pause a limit, and resume it."""
    pauses.pause(current(), pauses.Kind.LIMIT, "some", until=None, reason="", by="")
    pauses.resume(current(), pauses.Kind.LIMIT, "some")


#: What is rare, or asked for by people, may depend on statistics.
WITH_STATISTICS = {
    "look for what is recorded": Act(recorded, "autotask_attempt_task", 2000),
    # Hundreds of gates, and the tasks of one of them up to their number.
    "find the busiest gates": Act(
        lambda c: gates_read.busiest(current())[0].key, "autotask_held_pkey", 20_000, result=SATURATED.key
    ),
    "find what waits for too long": Act(lambda c: len(gauges.ready(current(), 1000)), READY, 3000),
    # By an index, their order is that of the rows, hardly more than a page for each forty.
    "count what has ended lately": Act(
        lambda c: tally.ended_lately(current(), 10.0, newest=1000), "autotask_result_pkey", 1100
    ),
    "count what can be pruned": Act(lambda c: prune.prunable(current()), "autotask_result_kept", crowd.ROWS // 100),
}


def cost(act: Act, crowded: Crowd) -> None:
    """Assert that an act costs no more than it may."""
    act.before(crowded)
    with explained(current()) as plans:
        result = act.do(crowded)
    assert_cheap(plans, index=act.index, buffers=act.buffers, avoids=act.avoids)
    assert act.result in (None, result)


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_an_act_reads_little_of_large_tables(crowded, act):
    cost(act, crowded)


def test_gauges_are_read_from_indexes(crowded):
    # Where the planner knows that there are hardly more tasks of a state than are counted, it may sort these.
    with explained(current()) as plans:
        gauges.queues(current())
    assert not any(plan.walked for plan in plans), f"whole tables were read: {plans}"
    assert sum(plan.buffers for plan in plans) <= 40_000, plans
    assert_not_compiled(plans, times=4)


def test_a_task_is_explained_from_indexes(crowded):
    # More than a thousand tasks that workers run are looked up, and ten thousand entries of an index are counted.
    with explained(current()) as plans:
        found = [
            read_situation(current(), id)
            for id in (crowded.behind, crowded.waiting, crowded.held[0].id, crowded.failed)
        ]
    assert found[0].place == min(crowd.ROWS // 5, gates_read.COUNTED + 1)
    assert not any(plan.walked for plan in plans), f"whole tables were read: {plans}"
    assert [plan.buffers <= most for plan, most in zip(plans, (26_000, 6000, 6000, 6000), strict=True)] == [True] * 4, (
        plans
    )
    assert_not_compiled(plans)


def test_the_place_of_the_first_task_at_a_gate_is_counted_without_reading_those_behind_it(crowded):
    first = f"SELECT id FROM autotask_held h WHERE gate = %(gate)s ORDER BY {held.ORDER} LIMIT 1"
    place = f"SELECT count(*) FROM autotask_task t CROSS JOIN LATERAL ({held.BEFORE}) AS before WHERE t.id = ({first})"
    with explained(current()) as plans:
        found = rows(current(), place, {"gate": SATURATED.key})
    assert found == [(0,)]
    assert_cheap(plans, index="autotask_held_pkey", buffers=40)


#: What a worker does again and again.
REPEATED = {
    name: act
    for name, act in ACTS.items()
    if name.startswith(("claim", "admit", "find lanes", "promote", "end one", "end a few", "end two hundred"))
}


@pytest.mark.parametrize("act", REPEATED.values(), ids=REPEATED)
def test_a_prepared_act_reads_little(crowded, generic, act):
    # Without statistics a generic plan may read dead entries by a bitmap, which does not clear them away.
    cost(dataclasses.replace(act, buffers=act.buffers + 500), crowded)


#: Looks up tasks of one state by their ids.
BY_ID = {
    "cancel": lambda id: cancel.cancel(current(), id),
    "hasten": lambda id: hasten.hasten(current(), id),
    "make due": lambda id: bring_forward.make_due(current(), [id]),
    "promote these": lambda id: rows(current(), promote.PROMOTE_THESE, {"id": [id]}),
    "put back": lambda id: begin_step.put_back(current(), id, 9.0),
}


@pytest.fixture
def unexpected():
    """Very many tasks that are scheduled, and as many at a gate, of which the planner has learned nothing; return one of each."""
    with crowd.own_schema():
        (ready,) = put()
        crowd.multiply("autotask_task", ready, 1000)
        crowd.analyze()
        (scheduled,) = put(delay=crowd.DAY)
        crowd.multiply("autotask_task", scheduled, 5000, run_at="t.run_at + n * interval '1 s'")
        (waiting,) = enqueue.insert_flowing(current(), [new_task()._replace(flow=Flow((SATURATED,)))])
        crowd.multiply("autotask_task", waiting, 5000)
        yield scheduled, waiting


@pytest.mark.parametrize("act", BY_ID.values(), ids=BY_ID)
def test_a_task_is_looked_up_by_its_id_however_many_others_have_come_into_its_state(unexpected, act):
    for id in unexpected:
        with explained(current()) as plans:
            act(id)
        assert sum(plan.buffers for plan in plans) <= 80, plans
        assert not {"autotask_due", "autotask_at_gate"} & {index for plan in plans for index in plan.indexes}, plans


@pytest.mark.parametrize("crowded", ["fresh statistics"], indirect=True)
@pytest.mark.parametrize("act", WITH_STATISTICS.values(), ids=WITH_STATISTICS)
def test_with_statistics_an_act_reads_little_of_large_tables(crowded, act):
    cost(act, crowded)


#: Without their indexes, these would read the table once for each gate or row, which takes hours with millions of rows.
ENDLESS = ("find the busiest gates", "end the pause of a limit", "enqueue deliveries")
GUARDED = {name: act for name, act in {**ACTS, **WITH_STATISTICS}.items() if act.index and name not in ENDLESS}


@pytest.mark.parametrize("crowded", ["fresh statistics"], indirect=True)
@pytest.mark.parametrize("act", GUARDED.values(), ids=GUARDED)
def test_without_its_index_an_act_is_found_to_be_dear(crowded, act):
    # Given
    if act.index.endswith("_pkey"):
        execute(current(), f"ALTER TABLE {act.index.removesuffix('_pkey')} DROP CONSTRAINT {act.index}")
    else:
        execute(current(), f"DROP INDEX {act.index}")

    # When, then
    with pytest.raises(AssertionError, match="whole tables were read|other indexes were used"):
        cost(act, crowded)


@pytest.mark.parametrize("crowded", ["fresh statistics"], indirect=True)
@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("SELECT count(name) FROM autotask_task", "whole tables were read"),
        ("SELECT 1 FROM autotask_task WHERE id = gen_random_uuid()", "whole tables were read"),  # a volatile condition
        ("SELECT count(*) FROM autotask_result WHERE kept_until < now()", "other indexes were used"),
        ("SELECT count(*) FROM autotask_ready WHERE queue = 'nothing'", "autotask_ready_pkey was used"),
        ("SELECT ready_at FROM autotask_ready WHERE queue = 'default' ORDER BY ready_at LIMIT 1", "a table was sorted"),
        ("SELECT count(suspect) FROM autotask_ready WHERE queue = 'default'", "more than 40 pages"),
    ],
)
def test_what_is_dear_is_found(crowded, sql, found):
    # Given
    if "whole" not in found:
        execute(current(), "SET LOCAL enable_seqscan = off")

    # When
    with explained(current()) as plans:
        rows(current(), sql)

    # Then
    with pytest.raises(AssertionError, match=found):
        assert_cheap(plans, index=READY, buffers=40, avoids=READY if "was used" in found else "")


def test_an_act_that_executes_nothing_is_no_cheap_one():
    with pytest.raises(AssertionError, match="no statement"):
        assert_cheap([], index="", buffers=0)


def test_what_is_explained_is_done_once():
    # Given
    before = count("autotask_task")

    # When
    with explained(current()) as plans:
        (id,) = put()
        execute(current(), "SET LOCAL enable_seqscan = on")

    # Then
    assert len(plans) == 1
    assert count("autotask_task") == before + 1
    assert state(id) is State.READY
