"""Tasks that are put into situations, to be explained."""

import asyncio

from autotask.tasks import Debounce, Limit, Rate, RateLimited, Snooze, delayed_task
from autotask.workflows import astep, step
from tests import gates

#: The queue of the worker that is there from the beginning, and that of none.
SERVED, UNSERVED = "explained", "explained_by_nobody"


def _act(how: str) -> str:
    if how == "fail":
        raise ValueError("as asked")
    if how == "snooze":
        raise Snooze(3600)
    if how == "rate limited":
        raise RateLimited(3600)
    if how == "snooze after a step":
        step("one", str, how)
        raise Snooze(3600)
    if how.startswith("step at gate"):
        step("one", gates.wait_at, how.removeprefix("step at "))
    if how.startswith("gate"):
        gates.wait_at(how)
    return how


@delayed_task(queue=SERVED, concurrency=Limit(1, key="key"), backoff=3600)
def plain(key: str, how: str, bucket: str) -> str:
    """Do as asked."""
    return _act(how)


@delayed_task(queue=SERVED, concurrency=Limit(1, key="key"), rate=Rate("1000/s", key="bucket"), backoff=3600)
def rated(key: str, how: str, bucket: str) -> str:
    """Do as asked, at a rate that only a task that closes it makes wait."""
    return _act(how)


@delayed_task(queue=SERVED, debounce=Debounce(3600, key="key"), backoff=3600)
def debounced(key: str, how: str, bucket: str) -> str:
    """Do as asked, an hour after the last call."""
    return _act(how)


@delayed_task(queue=SERVED, concurrency=Limit(1, key="key"), backoff=3600)
async def coroutine(key: str, how: str, bucket: str) -> str:
    """Do as asked, on an event loop."""
    if how == "snooze after a step":
        await astep("one", str, how)
        raise Snooze(3600)
    if how.startswith("step at gate"):
        return str(await astep("one", asyncio.to_thread, gates.wait_at, how.removeprefix("step at ")))
    return await asyncio.to_thread(_act, how)


@delayed_task(queue=SERVED)
def occupy(gate: str) -> None:
    """Take a thread until the gate is opened."""
    gates.wait_at(gate)
