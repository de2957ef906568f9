"""Task functions that log, for test_task_logs.py."""

import asyncio
import contextlib
import logging
import os
import signal
import threading
import time

from autotask.task_log import logger_of
from autotask.tasks import TaskContext, current, delayed_task
from tests.gates import gate


def speak(context: TaskContext, word: str) -> str:
    context.logger.info("by the context: %s", word)
    logging.getLogger(f"autotask.task.{context.id}").warning("by the id: %s", word)
    logger_of(str(context.id)).info("by the key: %s", word)
    return word


async def speak_in_a_coroutine(context: TaskContext, word: str) -> str:
    await asyncio.sleep(0)
    return speak(context, word)


def speaking(where: str, function, **options):
    """Return the task that runs there and logs its word."""
    return delayed_task(name=f"{__name__}.speak_{where}", takes_context=True, **options)(function)


EVERYWHERE = {
    "thread": speaking("thread", speak),
    "coroutine": speaking("coroutine", speak_in_a_coroutine),
    "process": speaking("process", speak, executor="process"),
    "executor": speaking("executor", speak, executor="everywhere"),
}


@delayed_task(takes_context=True, retries=1, backoff=0.01)
def fail(context: TaskContext) -> None:
    context.logger.info(
        "attempt %d\n[1] 2026-01-01 00:00:00,000 | INFO | forged | forged:1 - forged\x1b[31m", context.attempt
    )
    raise ValueError(f"of attempt {context.attempt}")


@delayed_task(takes_context=True)
def speak_in_threads(context: TaskContext) -> None:
    """Log in a thread that knows nothing of the task, by two loggers that do."""

    def work() -> None:
        assert current() is None
        context.logger.info("by the context in a thread")
        logging.getLogger(f"autotask.task.{context.id}.part").info("by the id in a thread")
        logging.getLogger("autotask.task.other").info("by nobody in a thread")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@delayed_task(takes_context=True)
async def speak_by_turns(context: TaskContext, word: str, name: str) -> None:
    """Log before and after the other task does."""
    context.logger.info("%s begins", word)
    gate(f"{name} {word}").set()
    while not all(gate(f"{name} {each}").is_set() for each in ("ping", "pong")):
        await asyncio.sleep(0.01)
    logging.getLogger("autotask.task.anything").info("%s ends", word)


@delayed_task(takes_context=True, executor="process", retries=0)
def speak_and_die(context: TaskContext) -> None:
    context.logger.info("last words")
    os.kill(os.getpid(), signal.SIGKILL)


@delayed_task(takes_context=True, executor="process", timeout=1)
def speak_and_hang(context: TaskContext) -> None:
    context.logger.info("hangs")
    time.sleep(60)


@delayed_task(takes_context=True)
def speak_and_stay(context: TaskContext, path: str) -> int:
    """Log, and in the first attempt stay until the worker is killed."""
    context.logger.info("here")
    if context.attempt == 1:
        with open(path, "w") as file:
            file.write(str(os.getpid()))
        time.sleep(60)
    return context.attempt


@delayed_task(takes_context=True)
def speak_without_end(context: TaskContext, name: str) -> None:
    """Log once more when the attempt was given up."""
    context.logger.info("begins")
    end = time.monotonic() + 20
    while not gate(name).is_set() and time.monotonic() < end:
        with contextlib.suppress(BaseException):  # It does not let itself be interrupted.
            gate(name).wait(20)
    context.logger.info("goes on")
    gate(f"{name} is over").set()
