"""Tasks that log, have steps, call others, are coroutines or run in processes. All return the fence of their claim."""

import asyncio
import logging

from autotask.tasks import TaskContext, cron_task, delayed_task, periodic_task
from autotask.workflows import step
from tests.faults.witness import current

KEPT = 86400

logger = logging.getLogger("tour")


@periodic_task(seconds=1, start_now=True, ttl=KEPT)
def tick() -> int:
    """Run each second."""
    return current().fence


@cron_task(cron="0 4 * * *", tz="Europe/Berlin", ttl=KEPT)
def at_night() -> int:
    """Run each night."""
    return current().fence


@delayed_task(ttl=KEPT)
def log(line: str) -> int:
    """Log a line."""
    logger.warning("%s", line)
    return current().fence


@delayed_task(ttl=KEPT, retries=2, backoff=0.05)
def go_on() -> int:
    """Fail after the first step, and go on there."""
    step("first", list)
    if current().failures == 0:
        raise ValueError("the first attempt fails")
    step("second", list)
    return current().fence


@delayed_task(ttl=KEPT)
def call_next(left: int) -> int:
    """Call itself that many times."""
    if left:
        call_next(left - 1)
    return current().fence


@delayed_task(ttl=KEPT, takes_context=True)
def report(context: TaskContext) -> int:
    """Report progress."""
    context.progress(1, 2)
    return current().fence


@delayed_task(ttl=KEPT)
async def doze() -> None:
    """Wait on the event loop."""
    await asyncio.sleep(0.01)


@delayed_task(ttl=KEPT, executor="process")
def elsewhere() -> None:
    """Run in a child process."""
