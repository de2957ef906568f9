"""The same task functions for each of the pools, for the tests that hold in all of them."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

from autotask.tasks import RateLimited, delayed_task
from tests.integration.worker.stubborn import mark


def echo(value):
    return value


def fail() -> None:
    raise KeyError("gone")


def nap(path: str, seconds: float) -> str:
    """Sleep, in a way that can be interrupted in a thread."""
    mark(path, "began")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.01)
    mark(path, "ended")
    return "rested"


def stay(path: str, end: str) -> str:
    """Run until there is such a file, or for a minute, in a way that can be interrupted in a thread."""
    mark(path, "began")
    latest = time.monotonic() + 60
    while not Path(end).exists() and time.monotonic() < latest:
        time.sleep(0.01)
    mark(path, "ended")
    return "stayed"


def who(context) -> tuple[str, int]:
    return str(context.id), context.attempt


def return_lambda():
    return lambda: None


def hide(path):
    """Return a coroutine, as a decorator does that does not await what it decorates."""
    return async_mark(path)


def refuse() -> None:
    raise RateLimited(retry_after=3600)


async def async_mark(path):
    mark(path, "ran")


async def async_hide(path):
    return async_mark(path)


async def async_echo(value):
    return value


async def async_fail() -> None:
    raise KeyError("gone")


async def async_nap(path: str, seconds: float) -> str:
    mark(path, "began")
    await asyncio.sleep(seconds)
    mark(path, "ended")
    return "rested"


async def async_stay(path: str, end: str) -> str:
    mark(path, "began")
    latest = time.monotonic() + 60
    while not Path(end).exists() and time.monotonic() < latest:
        await asyncio.sleep(0.01)
    mark(path, "ended")
    return "stayed"


async def async_who(context) -> tuple[str, int]:
    return str(context.id), context.attempt


async def async_refuse() -> None:
    raise RateLimited(retry_after=3600)


async def async_return_lambda():
    return lambda: None


def _tasks(where, executor, functions):
    make = {
        name: delayed_task(
            name=f"{__name__}.{name}_in_{where}",
            executor=executor,
            takes_context=name == "who",
            retries=1 if name in ("fail", "hide") else 0,
            backoff=0.05,
            rate="100/s" if name == "refuse" else None,
        )
        for name in functions
    }
    return SimpleNamespace(**{name: make[name](function) for name, function in functions.items()})


FUNCTIONS = {
    "echo": echo,
    "fail": fail,
    "hide": hide,
    "nap": nap,
    "stay": stay,
    "who": who,
    "refuse": refuse,
    "return_lambda": return_lambda,
}
COROUTINES = {
    "echo": async_echo,
    "fail": async_fail,
    "hide": async_hide,
    "nap": async_nap,
    "stay": async_stay,
    "who": async_who,
    "refuse": async_refuse,
    "return_lambda": async_return_lambda,
}

thread = _tasks("thread", None, FUNCTIONS)
process = _tasks("process", "process", FUNCTIONS)
coroutine = _tasks("coroutine", None, COROUTINES)
executor = _tasks("executor", "everywhere", FUNCTIONS)

ALL = {"thread": thread, "process": process, "coroutine": coroutine, "executor": executor}


def threads() -> ThreadPoolExecutor:
    """Return an executor; see AUTOTASK_EXECUTORS."""
    return ThreadPoolExecutor(2)
