"""Task functions whose ends are told."""

import time
from pathlib import Path
from typing import Any

from autotask.tasks import Retry, delayed_task, periodic_task, task


@delayed_task
def report(value: Any) -> Any:
    """Return a value."""
    return value


@delayed_task(email="always@example.org")
def always(value: Any) -> Any:
    """Return a value, to somebody whom the definition names."""
    return value


@delayed_task
def fail(*args: Any) -> None:
    """Raise an exception with secrets in its traceback."""
    secret_of_the_frame = "hunter2"
    raise ValueError(*args, len(secret_of_the_frame))


@delayed_task(retries=1, backoff=0)
def fail_once(flag: str) -> str:
    """Fail, and succeed the next time."""
    if not Path(flag).exists():
        Path(flag).touch()
        raise Retry(0)
    return "at last"


@delayed_task
def fail_unless(flag: str) -> str:
    """Fail, unless there is a file."""
    if not Path(flag).exists():
        raise ValueError("no flag")
    return "with a flag"


@delayed_task(executor="process")
def elsewhere(value: Any) -> Any:
    """Return a value from a child process."""
    return value


@delayed_task
async def coroutine(value: Any) -> Any:
    """Return a value from the event loop."""
    return value


@delayed_task(atomic=True)
def atomic(value: Any) -> Any:
    """Return a value in a transaction with the outcome."""
    return value


@delayed_task
def wait_for(until: str) -> str:
    """Take as long as it takes until there is a file."""
    while not Path(until).exists():
        time.sleep(0.02)
    return "waited"


@task(email="always@example.org")
def of_django(value: Any) -> Any:
    """Return a value, as a task of Django's own framework."""
    return value


@periodic_task(seconds=3600, email="always@example.org")
def hourly() -> str:
    """Return a word every hour."""
    return "hourly"
