"""Background workers of each kind, which write lines to the file that their environment names."""

import asyncio
import json
import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Executor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

from autotask.background import BackgroundAsyncWorker, BackgroundQueueWorker, BackgroundWorker, background_worker
from autotask.control import Snooze


def note(*words: Any) -> None:
    """Write one line: the time, the process, and the words. The lines of all processes are in the order of writing."""
    if path := os.environ.get("BACKGROUND_LINES"):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(descriptor, (json.dumps([time.time(), os.getpid(), *words]) + "\n").encode())
        os.close(descriptor)


def _declare(**options: Any) -> Any:
    return background_worker(autostart=False, **options)


@_declare()
def endless(**kwargs: Any) -> None:
    """Run without a condition."""
    note("endless")


@_declare(poll_delay=0)
def counts_to_three(**kwargs: Any) -> int | None:
    """Stop by itself at the third run."""
    count = counts_to_three.count = getattr(counts_to_three, "count", 0) + 1
    note("count", count)
    return {1: None, 2: 0, 3: False}[count]


@_declare(on_error=lambda error, who: note("on_error", who, str(error)), on_error_kwargs={"who": "mail"})
def failing(**kwargs: Any) -> None:
    """Raise."""
    note("failing")
    raise ValueError("as always")


@_declare(poll_delay=0.02)
async def coroutine(**kwargs: Any) -> None:
    """Say in which thread it runs, and use a timer."""
    await asyncio.sleep(0.01)
    note("coroutine", threading.current_thread().name)


@_declare(loop="io", poll_delay=0.05)
async def shares_one(**kwargs: Any) -> None:
    """Say in which thread it runs."""
    note("shares_one", threading.current_thread().name)


class SharesTwo(BackgroundAsyncWorker):
    """Runs on the same loop."""

    async def run(self, **kwargs: Any) -> None:
        """Say in which thread it runs, and block it for a while."""
        note("shares_two", threading.current_thread().name)
        time.sleep(0.3)
        note("shared")


shares_two = SharesTwo(autostart=False, loop="io", poll_delay=0.05)


@_declare(queue=True)
def handle(task: Any, **kwargs: Any) -> None:
    """Handle what was put: a dict may say how long it takes, that it raises, or that the worker stops."""
    note("handle", task)
    if isinstance(task, dict):
        if "seconds" in task:
            time.sleep(task["seconds"])
            note("handled", task)
        if "raise" in task:
            raise ValueError(task["raise"])
        if "value" in task:
            return task["value"]
    return None


class Sender(BackgroundQueueWorker):
    """A queue worker that is a class."""

    def run(self, task: Any, *args: Any) -> None:
        """Say what there is to send, without taking any other arguments."""
        note("send", task, *args)


sender = Sender(autostart=False)


@_declare(event=True)
def rebuild(task: Any, **kwargs: Any) -> None:
    """Take a while."""
    note("rebuild", task)
    kwargs["_worker"].sleep(0.5)
    note("rebuilt")


@_declare(interval=0.5)
def tick(seconds: float = 0, **kwargs: Any) -> None:
    """Take as long as the start has said."""
    note("tick", kwargs["_name"], kwargs["o"])
    if seconds:
        kwargs["_worker"].sleep(seconds)
        note("ticked")


@_declare(delay=0.5)
async def pause(**kwargs: Any) -> None:
    """Take a while."""
    note("pause")
    await asyncio.sleep(0.3)


@_declare(delay_before=0.3)
def pause_before() -> None:
    """Take no arguments at all."""
    note("before")


@_declare(per="host", poll_delay=0.1)
def of_host(**kwargs: Any) -> None:
    """Run on each host."""
    note("of_host")


@_declare(per="process", poll_delay=0.1)
def of_process(**kwargs: Any) -> None:
    """Run in each worker."""
    note("of_process")


@_declare()
def patient(**kwargs: Any) -> None:
    """Wait for the end."""
    note("patient")
    if not patient.sleep(60):
        note("asked")


@_declare()
def stubborn(**kwargs: Any) -> None:
    """Do not listen."""
    note("stubborn")
    try:
        while True:
            time.sleep(0.01)
    finally:
        note("interrupted")


@_declare()
async def endless_coroutine(**kwargs: Any) -> None:
    """Do not listen either."""
    note("endless_coroutine")
    try:
        await asyncio.sleep(3600)
    finally:
        note("cancelled")


@_declare(interval=0.1)
def stops_itself(**kwargs: Any) -> None:
    """Stop the worker from inside."""
    note("stops_itself")
    stops_itself.stop()


class Adder(BackgroundQueueWorker):
    """Runs in a process of its own."""

    @staticmethod
    def run(task: Any, **kwargs: Any) -> Any:
        """Say where it runs; None makes it die, "wait" lets it wait to be stopped."""
        note("add", task, kwargs["o"])
        if task is None:
            os.kill(os.getpid(), signal.SIGKILL)
        if task == "wait":
            return note("asked", kwargs["_worker"].sleep(60))
        return task + 1

    def process_result(self, result: Any) -> bool | None:
        """Say what was returned."""
        note("added", result)
        return result != 100


adder = Adder(autostart=False, on_error=lambda error: note("add_error", str(error)))


@_declare(interval=0.2, executor="pool")
def in_pool(**kwargs: Any) -> int:
    """Say in which process it runs."""
    note("in_pool")
    return os.getpid()


def pool() -> Executor:
    """Make the executor of AUTOTASK_EXECUTORS."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


@_declare(queue=True, concurrency=3)
def three(task: Any) -> None:
    """Take a while."""
    note("three", task)
    time.sleep(0.2)
    note("three_ended", task)


@_declare(queue=True, per="process")
def shared(task: Any) -> None:
    """Take a moment."""
    note("shared", task)
    time.sleep(0.02)


@_declare(event=True, per="process")
def everywhere(**kwargs: Any) -> None:
    """Take a while."""
    note("everywhere")
    kwargs["_worker"].sleep(0.3)


@_declare(event=True, per="host")
def of_host_for_long() -> None:
    """Run until it is interrupted."""
    note("for_long")
    while True:
        time.sleep(0.02)


@_declare(interval=60, per="host")
def of_host_by_clock() -> None:
    """Run seldom."""
    note("by_clock")


@_declare(queue=True)
def again(task: float) -> None:
    """Put it off for so many seconds, once."""
    note("again", task)
    if Path(os.environ["BACKGROUND_LINES"]).read_text().count('"again"') == 1:
        raise Snooze(task)


if starts := os.environ.get("BACKGROUND_STARTS"):
    globals()[starts].start()

ALL: list[BackgroundWorker] = [each for each in globals().values() if isinstance(each, BackgroundWorker)]
