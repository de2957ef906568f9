"""step(): a part of a task that is not run again once it has ended."""

import time
from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

from asgiref.sync import sync_to_async

from autotask import context, payload
from autotask.context import TaskContext
from autotask.exceptions import ClaimOver, InvalidOptionType, StepRepeated
from autotask.store import steps
from autotask.store.connection import current
from autotask.values import plain_name

P = ParamSpec("P")
R = TypeVar("R")


def step(name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a part of the task that runs here, and keep what it returns; if that was kept before, return it, and run nothing.

    ::

        @delayed_task(retries=5)
        def order(order_id):
            payment = step("charge", charge, order_id)
            step("ship", ship, order_id, payment)

    If the attempt fails or its worker dies, the next attempt continues after the last step that has ended. The values are signed
    pickles, as results are. Outside of tasks, the function is simply called.

    The value is kept when the function has returned. If the worker dies in between, the step is run again. If its effect is in
    the database of autotask, make both one transaction::

        with transaction.atomic():
            step("charge", charge, order_id)

    :param name: of the step: 1 to 200 letters, digits and ``_ . : < > -``; each step of a task needs a name of its own.
    :param function: is called with the rest of the arguments.
    :raises InvalidOption: the name is none.
    :raises InvalidOptionType: the name is no string, or the function cannot be called.
    :raises StepRepeated: this attempt has had a step of that name before.
    :raises ClaimOver: the task is no longer this worker's, so nothing was kept.
    :raises UnpicklableResult: the value cannot be pickled.
    :raises PayloadTooLarge: the value takes more than ``AUTOTASK_MAX_PAYLOAD`` bytes.
    """
    _refuse_unfit(name, function, "step()")
    running = context.current()
    if running is None or running.fence is None:
        return function(*args, **kwargs)
    found, value = _begin(running, name)
    if found:
        return value  # type: ignore[no-any-return]  # of the same function
    began = time.monotonic()
    value = function(*args, **kwargs)
    _keep(running, name, value, time.monotonic() - began)
    return value


async def astep(name: str, function: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
    """Like :func:`step`, for a coroutine function."""
    _refuse_unfit(name, function, "astep()")
    running = context.current()
    if running is None or running.fence is None:
        return await function(*args, **kwargs)
    found, value = await sync_to_async(_begin)(running, name)
    if found:
        return value  # type: ignore[no-any-return]  # of the same function
    began = time.monotonic()
    value = await function(*args, **kwargs)
    await sync_to_async(_keep)(running, name, value, time.monotonic() - began)
    return value


class _Steps:
    """The steps of one attempt; of one run of its function, where its transaction is run again.

    :ivar kept: the signed values of those that earlier attempts have ended.
    :ivar used: the names that this attempt has had.
    """

    def __init__(self, running: TaskContext) -> None:
        self.kept = {each.name: each.value for each in steps.named(current(), running.id)}
        self.used: set[str] = set()


def _refuse_unfit(name: object, function: object, where: str) -> None:
    plain_name(name, "name", where)
    if not callable(function):
        kind, expected = type(function).__name__, "a function, followed by its arguments"
        raise InvalidOptionType(option="function", where=where, expected=expected, value=function, type=kind)


def _begin(running: TaskContext, name: str) -> tuple[bool, Any]:
    """Return whether a step has ended before, and its value."""
    if running.steps is None:
        running.steps = _Steps(running)
    here: _Steps = running.steps
    if name in here.used:
        raise StepRepeated(name=name, task=running.name)
    here.used.add(name)
    if name not in here.kept:
        return False, None
    return True, payload.load_step(here.kept[name], id=running.id, step=steps.word(0, name))


def _keep(running: TaskContext, name: str, value: Any, seconds: float) -> None:
    signed = payload.dump_step(value, id=running.id, step=steps.word(0, name), name=running.name)
    assert running.fence is not None
    if not steps.keep(current(), running.id, running.fence, name, signed, seconds):
        raise ClaimOver(name=running.name, id=running.id)
