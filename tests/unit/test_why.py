"""Why a task does not run: what is decided from a situation."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from autotask.flow import Flow, LimitGate, RateGate
from autotask.store.gates_read import Holder, SeenGate
from autotask.store.pauses import Kind, Pause
from autotask.store.read import StoredTask
from autotask.store.situation import Background, Failure, Locker, SeenWorker, Situation, Typical
from autotask.task import State, new_id
from autotask.why import Code, engine
from autotask.why.site import Site

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
ID = uuid.UUID("01930f3e-6b1c-7c3a-9d5e-2f8a1b4c6d7e")
WORKER = uuid.UUID("11111111-1111-4111-8111-111111111111")

OPENAI = LimitGate("limit:openai", "openai", 2)
RATE = RateGate("rate:shop.sync", "shop.sync", 2.0, 1)
SITE = Site(
    clock=NOW,
    active=True,
    companions=True,
    sizes={"coroutine": 100, "process": 2, "dask": 10},
    poll=5.0,
    beat=5.0,
    patience=600.0,
    timeout=14400.0,
    database="default",
)


@pytest.fixture(autouse=True)
def _in_utc():
    with timezone.override(UTC):
        yield


def at(seconds):
    return NOW + timedelta(seconds=seconds)


def a_task(**fields):
    plain = {
        "id": ID,
        "name": "shop.sync",
        "queue": "mail",
        "executor": "",
        "retries": 0,
        "lost": 0,
        "failures": 0,
        "attempt": 0,
    }
    plain |= {"state": State.READY, "run_at": at(-1), "error_message": "", "cancel_requested": False, "passed": 0}
    return StoredTask(**dict.fromkeys(StoredTask.__dataclass_fields__) | plain | fields)


def a_worker(**fields):
    plain = {
        "kind": "worker",
        "host": "web-1",
        "pid": 7,
        "queues": "",
        "threads": 4,
        "executors": ("coroutine", "process"),
    }
    plain |= {"stopping": False, "alive": True, "seen": 1.0, "running": {}, "active": None, "alone": None, "id": WORKER}
    return SeenWorker(**plain | fields)


def situation(task=(), **fields):
    plain = {"id": ID, "now": NOW, "task": a_task(**dict(task)), "ready_at": at(-1), "workers": (a_worker(),)}
    return Situation(**plain | fields)


def held(gate, **fields):
    return {"state": State.HELD, "gate": gate.key, "flow": Flow((gate,)).stored} | fields


def seen(gate, **fields):
    plain = {"key": gate.key, "at": NOW, "waiting": 3, "taken": 0, "full_at": None, "closed_until": None, "terms": gate}
    return SeenGate(**plain | fields)


def later(**fields):
    return {"state": State.SCHEDULED, "run_at": at(60)} | fields


QUEUE_PAUSE = Pause(Kind.QUEUE, "mail", at(-60), "ANN", None, "deploy")
HOLDER = Holder(uuid.UUID(int=1), "shop.sync", State.RUNNING, None, 3.0)
FULL = {"gate": seen(OPENAI, taken=2), "holders": (HOLDER,), "place": 2}

#: What is known, the code, and a part of the sentence.
CASES = [
    ("no worker yet", situation(workers=()), Code.NO_WORKER, "No worker is alive"),
    ("dead worker", situation(workers=(a_worker(alive=False, seen=90.0),)), Code.NO_WORKER, "last seen 1 min 30 s ago"),
    ("stopping worker", situation(workers=(a_worker(stopping=True),)), Code.NO_WORKER, "web-1:7 is stopping"),
    ("other queue", situation(workers=(a_worker(queues="reports"),)), Code.QUEUE_UNSERVED, "the running workers serve: reports"),
    ("excluded queue", situation(workers=(a_worker(queues="-mail"),)), Code.QUEUE_UNSERVED, "'mail'"),
    ("no pool", situation({"executor": "dask"}), Code.POOL_UNSERVED, "the pool 'dask'"),
    ("no threads", situation(workers=(a_worker(threads=0),)), Code.POOL_UNSERVED, "has threads"),
    ("unknown", situation(unknown_for=30.0), Code.UNKNOWN_TASK, "ends in an error after another 9 min 30 s"),
    ("busy threads", situation(workers=(a_worker(running={"": 9}),), ahead=3), Code.SLOTS_BUSY, "ahead of it: 3 other tasks"),
    ("busy pool", situation({"executor": "process"}, workers=(a_worker(running={"process": 2}),)), Code.SLOTS_BUSY, "'process'"),
    ("silent worker", situation(workers=(a_worker(seen=20.0),)), Code.WORKER_STALLED, "hangs"),
    ("idle worker", situation(ready_at=at(-40)), Code.WORKER_STALLED, "claimed nothing lately"),
    ("misplaced", situation(misplaced=True), Code.MISPLACED, "neither ready nor held nor claimed"),
    ("locked", situation(locker=Locker(9, "psql", 30.0)), Code.LOCKED, "pid 9 (psql), open for 30 s"),
    ("locked, due since now", situation(later(run_at=at(-5)), ready_at=None, locker=Locker(9, "psql", 30.0)), Code.LOCKED, "pid 9 (psql)"),
    ("locked by a worker", situation(ready_at=at(-5), locker=Locker(9, "autotask", 0.1)), Code.READY, "takes it within 5.0 s"),
    ("suspect", situation({"lost": 1}, workers=(a_worker(running={"": 1}),)), Code.SUSPECT, "1 worker died while running it"),
    ("behind a suspect", situation(ready_at=at(-90), workers=(a_worker(running={"": 1}, active=90.0, alone=HOLDER.id),)), Code.SUSPECT, f"web-1:7 runs only task {HOLDER.id}, because a worker died while running it"),
    ("beside a suspect", situation(workers=(a_worker(running={"": 1}, alone=HOLDER.id), a_worker(pid=8))), Code.READY, "takes it within 5.0 s"),
    ("ready", situation(), Code.READY, "takes it within 5.0 s"),
    ("later", situation(later()), Code.SCHEDULED, "due at 12:01:00, in 1 min"),
    ("retry", situation(later(retries=2, attempt=1), failure=Failure(1, State.RETRY, "ValueError: x", True)), Code.RETRYING, "1 of 3"),
    ("snooze", situation(later(started_at=at(-9)), failure=Failure(1, State.RETRY, "x", False)), Code.SNOOZED, "put itself off"),
    ("debounce", situation(later(flow=Flow((), "waiting:shop.sync").stored)), Code.DEBOUNCED, "another call with its key"),
    ("expired", situation({"expires_at": at(-1)}), Code.EXPIRED, "its time was over"),
    ("cancelling", situation({"cancel_requested": True}), Code.CANCELLING, "cancelled while it ran"),
    ("uncommitted", situation(uncommitted=True), Code.UNCOMMITTED, "not committed yet"),
    ("paused", situation(in_force=(QUEUE_PAUSE,)), Code.PAUSED, "The queue mail is paused by ANN: deploy."),
    ("limit", situation(held(OPENAI), **FULL), Code.HELD_BY_LIMIT, "2 of 2 taken"),
    ("rate", situation(held(RATE), gate=seen(RATE, full_at=at(2))), Code.RATE, "next at 12:00:02"),
    ("closed", situation(held(RATE), gate=seen(RATE, closed_until=at(9))), Code.RATE_CLOSED, "nobody gets any until 12:00:09"),
    ("remote", situation({"executor": "remote"}), Code.REMOTE, "a client from outside"),
    ("background", situation({"executor": "background", "name": "background:a"}, background=Background(True, True)), Code.BACKGROUND, " a "),
    ("stopped", situation({"executor": "background", "name": "background:a"}, background=Background(False, False)), Code.BACKGROUND_STOPPED, "is stopped"),
    ("running", situation({"state": State.RUNNING, "worker_id": WORKER, "started_at": at(-3)}), Code.RUNNING, "claimed it 3.0 s ago"),
    ("running, silent", situation({"state": State.RUNNING, "worker_id": WORKER, "started_at": at(-30)}, workers=(a_worker(seen=20.0),)), Code.WORKER_STALLED, "web-1:7 hangs: the last heartbeat came 20 s ago"),
    ("asked", situation({"state": State.RUNNING, "worker_id": WORKER, "started_at": at(-3), "cancel_requested": True}), Code.ASKED_TO_STOP, "has not stopped yet"),
    ("lost", situation({"state": State.RUNNING, "worker_id": uuid.uuid4(), "started_at": at(-3)}), Code.WORKER_LOST, "rescues it soon"),
    ("done", situation({"state": State.DONE, "ended_at": NOW}), Code.DONE, "Done at 12:00:00"),
    ("error", situation({"state": State.ERROR, "ended_at": NOW, "error_message": "KeyError: 7"}), Code.ERROR, "KeyError: 7"),
    ("cancelled", situation({"state": State.CANCELLED, "ended_at": NOW, "error_message": "expired"}), Code.CANCELLED, "expired"),
]  # fmt: skip


@pytest.mark.parametrize(("seen", "code", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_situation_has_one_reason(seen, code, words):
    found = engine.decide(seen, SITE)
    assert found.code == code, found
    assert words.lower() in found.sentence.lower()
    first = found.sentence.partition(" ")[0]  # the name of a host stays as it is
    assert (first[0] == first[0].upper() or ":" in first) and found.sentence.endswith(".")


def test_the_checks_before_the_first_that_failed_have_passed():
    found = engine.decide(situation(workers=(a_worker(queues="reports"),), unknown_for=30.0), SITE)
    assert [str(check)[0] for check in found.checks] == ["✓", "✓", "✓", "✓", "✗"]
    assert found.checks[-1].code == found.code
    assert found.advice == "python manage.py autotask worker --queues mail"


def test_all_checks_of_a_task_that_is_ready_have_passed():
    found = engine.decide(situation(), SITE)
    assert all(check.passed for check in found.checks)
    assert [check.code for check in found.checks] == [
        *(Code.SCHEDULED, Code.PAUSED, Code.INACTIVE, Code.NO_WORKER, Code.QUEUE_UNSERVED, Code.POOL_UNSERVED),
        *(Code.UNKNOWN_TASK, Code.WORKER_STALLED, Code.SLOTS_BUSY, Code.WORKER_STALLED),
    ]


def test_what_fails_later_is_shown_as_well():
    found = engine.decide(situation(in_force=(QUEUE_PAUSE,), workers=()), SITE)
    assert (found.code, [check.code for check in found.checks if not check.passed]) == (
        Code.PAUSED,
        [Code.PAUSED, Code.NO_WORKER],
    )


def test_a_task_at_a_limit_has_a_place_in_line_and_an_expected_wait():
    waits = situation(held(OPENAI), **FULL, typical=Typical(10.0, 5))
    found = engine.decide(waits, SITE)
    assert (found.place, found.expected_wait) == (3, 20.0)
    assert f"task {HOLDER.id} running for 3.0 s; it is number 3 in line, likely for 20 s" in found.sentence
    assert found.reason is not None and found.reason.holders == (HOLDER,)
    # Two tasks say too little.
    assert engine.decide(replace(waits, typical=Typical(10.0, 2)), SITE).expected_wait is None


def test_the_expected_wait_for_tokens_counts_those_before():
    found = engine.decide(situation(held(RATE), gate=seen(RATE, full_at=at(2)), place=2), SITE)
    assert (found.place, found.expected_wait, found.until) == (3, 6.0, at(2))


@pytest.mark.parametrize(
    ("task", "gate"),
    [
        (held(OPENAI), {"gate": seen(OPENAI, taken=1)}),
        (held(RATE), {"gate": seen(RATE)}),
        ({"state": State.HELD, "gate": "pause:shop.sync", "flow": Flow((OPENAI,)).stored}, {}),
        (later(run_at=at(-1)), {}),
    ],
    ids=["free slot", "tokens", "resumed", "due"],
)
def test_whom_nothing_holds_up_any_more_a_worker_has_to_let_go(task, gate):
    assert engine.decide(situation(task, **gate, ready_at=None), SITE).code == Code.READY
    assert engine.decide(situation(task, **gate, ready_at=None, workers=()), SITE).code == Code.NO_WORKER


@pytest.mark.parametrize(
    ("gate", "pause", "facts"),
    [
        (OPENAI, Pause(Kind.LIMIT, "openai", at(-60), "ANN", None, ""), {"gate": seen(OPENAI, taken=1)}),
        (RATE, Pause(Kind.LIMIT, "shop.sync", at(-60), "ANN", None, ""), {"gate": seen(RATE)}),
        (OPENAI._replace(key="pause:queue mail"), QUEUE_PAUSE, {}),
    ],
    ids=["limit", "rate", "queue"],
)
def test_nobody_is_said_to_let_a_task_pass_while_a_pause_is_in_force(gate, pause, facts):
    found = engine.decide(situation(held(gate), in_force=(pause,), **facts), SITE)
    assert found.code is Code.PAUSED
    assert [check.text for check in found.checks if "lets it" in check.text] == []


def test_a_switched_off_site_says_so_unless_a_worker_runs_elsewhere():
    off = replace(SITE, active=False)
    assert engine.decide(situation(workers=()), off).code == Code.INACTIVE
    assert engine.decide(situation(), off).code == Code.READY


def test_a_clock_that_is_ahead_explains_a_task_that_ought_to_be_due():
    assert engine.decide(situation(later()), replace(SITE, clock=at(61))).code == Code.CLOCK_SKEW
    assert engine.decide(situation(later()), replace(SITE, clock=at(3))).code == Code.SCHEDULED


def test_a_busy_site_is_not_stalled():
    line = situation(ready_at=at(-90), ahead=500, workers=(a_worker(running={"": 2}, active=0.1),))
    assert engine.decide(line, SITE).code == Code.READY


@pytest.mark.parametrize(
    ("id", "words"),
    [
        (None, "rolled back or is not committed yet; or"),  # one that was made just now
        (ID, "result was probably pruned"),
        (uuid.UUID(int=7), "not made by autotask"),
    ],
)
def test_an_id_tells_what_probably_became_of_its_task(id, words):
    gone = engine.decide(replace(situation(), id=id or new_id(), task=None, now=datetime.now(UTC)), SITE)
    assert gone.code == Code.ROLLED_BACK_OR_PRUNED
    assert words in gone.sentence


def test_without_tables_the_command_names_the_database():
    found = engine.unmigrated(ID, replace(SITE, database="tasks"))
    assert (found.code, found.advice) == (Code.UNMIGRATED, "python manage.py migrate autotask --database tasks")


def test_each_code_is_given():
    given = {engine.decide(case[1], SITE).code for case in CASES}
    others = {Code.CLOCK_SKEW, Code.INACTIVE, Code.ROLLED_BACK_OR_PRUNED, Code.UNMIGRATED}  # tested above
    assert given | others == set(Code)
