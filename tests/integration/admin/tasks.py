"""Tasks for the pages to show."""

import threading

from autotask.tasks import delayed_task, periodic_task

stop = threading.Event()
broken = threading.Event()


@delayed_task
def add(x: int, y: int) -> int:
    return x + y


@delayed_task(queue="elsewhere")
def fail(reason: str) -> None:
    raise ValueError(reason)


@delayed_task
def fail_while_broken(n: int) -> int:
    if broken.is_set():
        raise ValueError("still broken")
    return n


@delayed_task
def log_in(user: str, password: str) -> None:
    pass


@delayed_task
def wait_for_stop() -> None:
    stop.wait(20)


@periodic_task(seconds=3600, tags=["housekeeping"])
def tidy() -> None:
    pass
