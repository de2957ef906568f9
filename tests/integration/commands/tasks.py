"""Tasks for the commands to show, retry and cancel."""

import threading

from autotask.tasks import Cancel, TaskContext, delayed_task

may_end = threading.Event()


@delayed_task
def add(x: int, y: int) -> int:
    return x + y


@delayed_task(ttl=0)
def forget() -> None:
    """Is not kept."""


@delayed_task(queue="bad")
def misbehave() -> None:
    raise ValueError("\x1b[2Jgone\nsecond \x9b31mline")


@delayed_task(takes_context=True, at_most_once=True)
def give_up(context: TaskContext, number: int) -> None:
    context.progress(3, 4)
    raise Cancel(f"nobody wants {number} any more")


@delayed_task
def hold() -> None:
    may_end.wait(30)
