"""Tasks in random situations, with real workers: the reason is the true one.

Each obstacle alone keeps the task from running, so the first one is its reason. Once that is taken away, the next one is; and
when there is none left, the task runs and ends. A wrong reason would name something that helps nobody.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings as hypothesis_settings, strategies as st

from autotask import acts
from autotask.delayed import DelayedTask
from autotask.handle import TaskHandle
from autotask.store import read
from autotask.store.connection import current, execute
from autotask.store.notify import wake_after_commit
from autotask.why import Code, Explanation
from autotask.worker.options import WorkerOptions
from autotask.worker.worker import Worker
from tests import gates
from tests.helpers import LONG, patient, wait_until
from tests.integration.worker import explained
from tests.integration.worker.explained import SERVED, UNSERVED

#: In the order in which they are met.
OBSTACLES = (
    *("delay", "debounce", "queue paused", "name paused", "all paused", "limit", "closed bucket"),
    *("no worker", "unserved", "no pool", "busy"),
)

#: What the task does when it runs at last, and what it is then.
ENDS = {
    "return": Code.DONE,
    "fail": Code.ERROR,
    "fail with retries": Code.RETRYING,
    "snooze": Code.SNOOZED,
    "snooze after a step": Code.SNOOZED,
    "rate limited": Code.SNOOZED,
    "gate": Code.RUNNING,
    "step at gate": Code.RUNNING,
    "unknown": Code.UNKNOWN_TASK,
}

#: The queue of those that hold up the task.
HOLDERS = f"{SERVED}_holders"

_numbers = itertools.count()

#: What may be seen in between, while workers take notice.
PASSING = {Code.READY, Code.RUNNING}


@pytest.fixture
def quick(settings, transactional_db):
    settings.AUTOTASK_HEARTBEAT = 0.2
    settings.AUTOTASK_POLL_INTERVAL = 0.2
    settings.AUTOTASK_SHUTDOWN_GRACE = 2


@given(
    obstacles=st.sets(st.sampled_from(OBSTACLES), max_size=4),
    end=st.sampled_from(sorted(ENDS)),
    in_a_coroutine=st.booleans(),
)
@hypothesis_settings(
    max_examples=200 if LONG else 32,
    derandomize=not LONG,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # To find the smallest example, each would have to run again and again.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_the_reason_of_a_task_is_the_true_one(quick, obstacles, end, in_a_coroutine):
    with situation(obstacles, end, in_a_coroutine) as made:
        # While workers take notice, the obstacle before may be seen, and one behind this one.
        around = {code for code, _ in made.obstacles}
        for code, remove in made.obstacles:
            assert first_that_failed(wait_for(made.handle, code, around)) == code
            remove()
        wait_for(made.handle, ENDS[end], around | {Code.SCHEDULED})


def wait_for(handle: TaskHandle, code: Code, around: set[Code]) -> Explanation:
    """Wait for a reason; until then, only some others may be seen, and that workers are about to look."""
    seen: list[Explanation] = []

    def is_there() -> bool:
        seen.append(handle.why())
        assert seen[-1].code in {code} | around | PASSING, (seen[-1], code)
        return seen[-1].code == code

    wait_until(is_there, what=f"the reason {code}")
    return seen[-1]


def first_that_failed(found: Explanation) -> Code | None:
    return next((check.code for check in found.checks if not check.passed), None)


# --- situations -----------------------------------------------------------------------------------------------------------


@dataclass
class Made:
    """A situation.

    :ivar obstacles: the reason that each gives, and how it is taken away, in the order in which they are met.
    """

    end: str
    function: DelayedTask[..., str]
    undo: contextlib.ExitStack
    key: str = field(default_factory=lambda: f"key-{next(_numbers)}")
    handle: TaskHandle = field(init=False)
    obstacles: list[tuple[Code, Callable[[], object]]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return "shop.tasks.newer" if self.end == "unknown" else self.function.name

    def work(self, **options) -> None:
        """Start a worker, until the end of the example."""
        worker = Worker(WorkerOptions(processes=0, **options))
        self.undo.enter_context(running(worker))
        wait_until(
            lambda: worker.id in {each.id for each in read.workers(current())}, what="the worker in the register"
        )


@contextlib.contextmanager
def running(worker: Worker) -> Iterator[None]:
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(patient(10))
        assert not thread.is_alive(), "the worker did not stop"


@contextlib.contextmanager
def situation(chosen: set[str], end: str, in_a_coroutine: bool) -> Iterator[Made]:
    """Make the situation, and leave nothing behind."""
    if "no worker" in chosen:  # which would have to take the slot and the threads, and to close the bucket
        chosen = chosen - {"limit", "busy", "closed bucket"}
    if "debounce" in chosen:  # which would hold up those that take the slot and close the bucket as well
        chosen = chosen - {"delay", "limit", "closed bucket"}
    function = _function(chosen, in_a_coroutine)
    if function is not explained.coroutine:
        chosen = chosen - {"no pool"}
    if function is explained.coroutine or "unserved" in chosen:  # It runs elsewhere than in the threads that are busy.
        chosen = chosen - {"busy"}
    with contextlib.ExitStack() as undo:
        made = Made(end, function, undo)
        undo.callback(forget)
        _make(made, chosen)
        made.obstacles = [_OBSTACLES[name](made, chosen) for name in OBSTACLES if name in chosen]
        call(made, chosen)
        yield made


def _function(chosen: set[str], in_a_coroutine: bool) -> DelayedTask[..., str]:
    if "debounce" in chosen:
        return explained.debounced
    if "closed bucket" in chosen:
        return explained.rated
    return explained.coroutine if in_a_coroutine else explained.plain


def _make(made: Made, chosen: set[str]) -> None:
    """Start what is there before the call: a worker, and tasks that take slots and threads."""
    if "no worker" not in chosen:
        _start_first(made, chosen)
    holders = ["slot"] if "limit" in chosen else []
    holders += ["one", "two"] if "busy" in chosen else []
    for name in holders:
        gate = f"gate {made.key} {name}"
        if name == "slot":
            made.function.using(queue=HOLDERS)(made.key, gate, "another")
        else:
            explained.occupy(gate)
    if holders:
        made.undo.callback(lambda: [open_gate(made, name) for name in holders])
    if {"limit", "closed bucket"} & chosen:
        made.work(queues=(HOLDERS,), threads=2, coroutines=1)
    if "closed bucket" in chosen:
        closing = made.function.using(queue=HOLDERS, priority=1)("another", "rate limited", made.key)
        wait_until(lambda: closing.why().code == Code.SNOOZED, what="the end of the task that closes the bucket")
    for name in holders:
        reached = gates.gate(f"gate {made.key} {name} reached")
        assert reached.wait(patient(20)), name


def _start_first(made: Made, chosen: set[str]) -> None:
    made.work(queues=(SERVED,), threads=2, coroutines=0 if "no pool" in chosen else 10)


def call(made: Made, chosen: set[str]) -> None:
    gate = f"gate {made.key} end"
    how = {"gate": gate, "step at gate": f"step at {gate}", "fail with retries": "fail"}.get(made.end, made.end)
    made.undo.callback(open_gate, made, "end")
    options = {"delay": 3600} if "delay" in chosen else {}
    options["queue"] = UNSERVED if "unserved" in chosen else SERVED
    call_it = made.function.using(**options, retries=2 if made.end == "fail with retries" else 0)
    if "debounce" in chosen:
        call_it(made.key, "an earlier call", made.key)
    with transaction.atomic():
        made.handle = call_it(made.key, how, made.key)
        execute(
            current(),
            "UPDATE autotask_task SET name = %(name)s WHERE id = %(id)s",
            {"name": made.name, "id": made.handle.id},
        )


def open_gate(made: Made, name: str) -> None:
    gates.gate(f"gate {made.key} {name}").set()


def forget() -> None:
    """Take away the pauses, and all tasks, which no worker has any more."""
    for what in ({"queue": SERVED}, {"queue": UNSERVED}, {"everything": True}):
        acts.resume(**what)
    execute(
        current(),
        "TRUNCATE autotask_task, autotask_ready, autotask_held, autotask_claim, autotask_result, autotask_attempt, autotask_pause, autotask_slot, "
        "autotask_bucket",
    )


# --- obstacles ------------------------------------------------------------------------------------------------------------


def _delay(made: Made, chosen: set[str]) -> tuple[Code, Callable[[], object]]:
    def remove() -> None:
        execute(current(), "UPDATE autotask_task SET run_at = now() WHERE id = %(id)s", {"id": made.handle.id})
        wake_after_commit(current())

    return (Code.DEBOUNCED if made.function is explained.debounced else Code.SCHEDULED), remove


def _closed(made: Made, chosen: set[str]) -> tuple[Code, Callable[[], object]]:
    def remove() -> None:
        execute(
            current(),
            "WITH opened AS (UPDATE autotask_bucket SET closed_until = NULL RETURNING gate) "
            "INSERT INTO autotask_mark (gate, at) SELECT gate, clock_timestamp() FROM opened",
        )
        wake_after_commit(current())

    return Code.RATE_CLOSED, remove


def _paused(**what: object) -> tuple[Code, Callable[[], object]]:
    acts.pause(**what, by="ann")
    return Code.PAUSED, lambda: acts.resume(**what)


def _no_worker(made: Made, chosen: set[str]) -> tuple[Code, Callable[[], object]]:
    return Code.NO_WORKER, lambda: _start_first(made, chosen)


def _unserved(made: Made, chosen: set[str]) -> tuple[Code, Callable[[], object]]:
    pools = 0 if "no pool" in chosen else 10
    return Code.QUEUE_UNSERVED, lambda: made.work(queues=(UNSERVED,), threads=2, coroutines=pools)


def _no_pool(made: Made, chosen: set[str]) -> tuple[Code, Callable[[], object]]:
    return Code.POOL_UNSERVED, lambda: made.work(threads=1, coroutines=10)


def _busy(made: Made, chosen: set[str]) -> tuple[Code, Callable[[], object]]:
    return Code.SLOTS_BUSY, lambda: [open_gate(made, name) for name in ("one", "two")]


_OBSTACLES: dict[str, Callable[[Made, set[str]], tuple[Code, Callable[[], object]]]] = {
    "delay": _delay,
    "debounce": _delay,
    "queue paused": lambda made, chosen: _paused(queue=UNSERVED if "unserved" in chosen else SERVED),
    "name paused": lambda made, chosen: _paused(task=made.name),
    "all paused": lambda made, chosen: _paused(everything=True),
    "limit": lambda made, chosen: (Code.HELD_BY_LIMIT, lambda: open_gate(made, "slot")),
    "closed bucket": _closed,
    "no worker": _no_worker,
    "unserved": _unserved,
    "no pool": _no_pool,
    "busy": _busy,
}
