"""Carriers, and the same task for each of the pools, for the tests of carried values."""

import asyncio
import threading
import time
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace

from asgiref.sync import sync_to_async
from django.utils import timezone, translation

from autotask.carriers import Carrier
from autotask.exceptions import AutotaskError
from autotask.tasks import delayed_task, periodic_task

DESK = f"{__name__}.Desk"
BRANCH = f"{__name__}.Branch"
BROKEN = f"{__name__}.Broken"
ALL = ["autotask.carriers.Language", "autotask.carriers.TimeZone", DESK]

_thread = threading.local()
branch = ContextVar("branch", default=None)


class Desk(Carrier):
    """Something that belongs to a thread, as a schema belongs to the connection of a thread."""

    def carry(self):
        return desk()

    @contextmanager
    def restore(self, value):
        if value == "gone":
            raise LookupError("no such desk")
        before, _thread.desk = desk(), value
        try:
            yield
        finally:
            _thread.desk = before
            if value == "sticky":
                raise RuntimeError("the desk sticks")


class Branch(Carrier):
    """A context variable, without saying so."""

    def carry(self):
        return "north"

    @contextmanager
    def restore(self, value):
        token = branch.set(value)
        try:
            yield
        finally:
            branch.reset(token)


class Broken(Carrier):
    """Fails, or carries what it cannot."""

    answer: object = RuntimeError("out of order")

    def carry(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class NotEvenAlmost:
    """Is no carrier."""


class Noted:
    """An argument that tells where it was loaded."""

    def __reduce__(self):
        return seen, ()


def desk():
    """Return what belongs to this thread."""
    return getattr(_thread, "desk", None)


@contextmanager
def at(name):
    """Have something in this thread."""
    before, _thread.desk = desk(), name
    try:
        yield
    finally:
        _thread.desk = before


def seen():
    """Return what there is here: language, time zone, and what belongs to the thread."""
    return translation.get_language(), timezone.get_current_timezone_name(), desk()


def _look(loaded):
    return loaded, seen()


async def _look_too(loaded):
    return loaded, await sync_to_async(seen)()


def _fail_at_first(path):
    with Path(path).open("a") as file:
        print(seen(), file=file)
    if len(Path(path).read_text().splitlines()) == 1:
        raise AutotaskError


@delayed_task
async def say_branch():
    """Return it as the coroutine itself sees it, and as its synchronous code does."""
    return branch.get(), await sync_to_async(branch.get)()


async def _meet(folder, number):
    """Wait for another one, and look around before and after."""
    before = await sync_to_async(desk)()
    (Path(folder) / before).touch()
    until = time.monotonic() + 20
    while len(list(Path(folder).iterdir())) < number and time.monotonic() < until:
        await asyncio.sleep(0.01)
    return before, await sync_to_async(desk)()


def _tasks(where, executor=None, function=_look):
    return SimpleNamespace(look=delayed_task(name=f"{__name__}.look_in_{where}", executor=executor)(function))


thread = _tasks("thread")
process = _tasks("process", "process")
coroutine = _tasks("coroutine", None, _look_too)
executor = _tasks("executor", "everywhere")
POOLS = {"thread": thread, "process": process, "coroutine": coroutine, "executor": executor}

fail_at_first = delayed_task(retries=1, backoff=0)(_fail_at_first)
meet = delayed_task(_meet)


@periodic_task(seconds=3600)
def hourly():
    return seen()
