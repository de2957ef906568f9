"""Telemetry that writes what it is told into a file, and the same task for each of the pools."""

import json
import os
import time
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

from autotask.control import Discard, Retry
from autotask.tasks import cron_task, delayed_task
from autotask.telemetry.interface import Telemetry
from autotask.testing.runner import Runner
from tests.helpers import wait_until

PATH = f"{__name__}"
FAILING = f"{__name__}.Failing"
VARIABLE = "TOLD_PATH"

inside = ContextVar("inside", default=None)


class Told(Telemetry):
    """Writes a line of JSON for all that it is told."""

    @contextmanager
    def call(self, call):
        yield "along"
        write("call", name=call.name, queue=call.queue, ids=[str(id) for id in call.ids], bulk=call.is_bulk)

    @contextmanager
    def attempt(self, attempt, carried):
        token = inside.set(str(attempt.id))
        yield
        inside.reset(token)
        failure = None if attempt.failure is None else type(attempt.failure).__name__
        write(
            "attempt",
            id=str(attempt.id),
            number=attempt.number,
            carried=carried,
            outcome=attempt.outcome,
            failure=failure,
            here=attempt.is_here,
            arguments=attempt.arguments(),
            tick=attempt.scheduled_for is not None and attempt.timetable is not None,
        )

    def ended(self, attempt):
        write("ended", id=str(attempt.id), inside=inside.get())

    def flush(self, seconds):
        write("flush", pid=os.getpid())


class Failing(Telemetry):
    """Fails in every way."""

    @contextmanager
    def call(self, call):
        yield object()
        raise RuntimeError("after the call")

    @contextmanager
    def attempt(self, attempt, carried):
        yield
        raise RuntimeError("after the attempt")

    def ended(self, attempt):
        raise RuntimeError("at the end")

    def flush(self, seconds):
        raise RuntimeError("flushing")


telemetry = Told()


def write(kind, **facts):
    """Write one line."""
    with Path(os.environ[VARIABLE]).open("a") as file:
        file.write(json.dumps({"kind": kind, **facts}) + "\n")


def lines(kind=None):
    """Return what was written."""
    path = Path(os.environ[VARIABLE])
    found = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [line for line in found if kind in (None, line["kind"])]


def look(word, password=""):
    """Return the attempt in whose block this runs, or do as the word says."""
    match word:
        case "fail":
            raise LookupError("nothing there")
        case "again":
            raise Retry(0.01)
        case "discard":
            raise Discard("nothing to do")
        case "exit":
            os._exit(3)
        case "hang":
            time.sleep(60)
    return inside.get()


@delayed_task(retries=1, backoff=0.01)
def in_thread(word, password=""):
    """Run it in a thread."""
    return look(word)


@delayed_task(retries=1, backoff=0.01)
async def in_coroutine(word, password=""):
    """Run it in a coroutine."""
    return look(word)


@delayed_task(retries=1, backoff=0.01, executor="process")
def in_process(word, password=""):
    """Run it in a child process."""
    return look(word)


@delayed_task(executor="process", timeout=0.5)
def hang(word):
    """Run for longer than it may."""
    return look("hang")


@delayed_task(executor="process", takes_context=True)
def exit_once(context, word):
    """Take the process of the first attempt along."""
    if context.attempt == 1:
        look("exit")
    # A success keeps no arguments, and what the call has carried is with them: so the loss has to be told before.
    wait_until(lambda: [line for line in lines("attempt") if line["outcome"] == "lost"], what="the loss to be told")
    return look("look")


POOLS = {
    name: SimpleNamespace(task=task)
    for name, task in (("thread", in_thread), ("coroutine", in_coroutine), ("process", in_process))
}


@delayed_task
def outer(word):
    """Call another task."""
    return str(in_thread(word).id)


@delayed_task
def tag_in_thread(word):
    """Tell Sentry something of this task, and fail."""
    _tag(word)


@delayed_task
async def tag_in_coroutine(word):
    """The same in a coroutine."""
    _tag(word)


def _tag(word):
    import sentry_sdk

    if word:
        sentry_sdk.get_isolation_scope().set_tag("of_task", word)
    raise LookupError(word or "nothing")


@cron_task(cron="0 3 * * *", tz="Europe/Berlin", name="tests.nightly", retries=1, backoff=0.01, timeout=100)
def nightly():
    """Fail, twice."""
    raise LookupError("no night")


def run(*handles):
    """Run tasks here, with all their attempts, one after the other."""
    runner = Runner()
    with runner.signed_on():
        for handle in handles:
            while not handle.ready:
                runner.run(handle.id)
                handle.refresh()


def run_tick(schedule):
    """Run the task of a tick."""
    run(*schedule.store([schedule.tick_task(datetime.now(UTC))]))
