"""Pure decision: given how the call ended and the options, what to write down."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass

from autotask.options import Options
from autotask.payload import describe
from autotask.retry import delay_after
from autotask.store.finish import Outcome
from autotask.task import ClaimedTask, State

#: Frames kept of a traceback; a recursion has thousands.
_MOST_FRAMES = 50


@dataclass(frozen=True, slots=True)
class GiveBack:
    """A task that this worker will not run; *delay* is 0, or seconds for which nobody here needs to look at it again."""

    task: ClaimedTask
    delay: float = 0.0


def succeeded(task: ClaimedTask, value: bytes | None, *, ended_at: float, seconds: float) -> Outcome:
    """Return the outcome of a call that returned; *value* is its signed result."""
    return Outcome(id=task.id, fence=task.fence, state=State.DONE, ended_at=ended_at, seconds=seconds, value=value)


def failed(
    task: ClaimedTask,
    error: BaseException,
    options: Options | None,
    *,
    cancelled: bool,
    base_delay: float,
    ended_at: float,
    seconds: float,
    delay_after: Callable[..., float] = delay_after,
) -> Outcome:
    """Return the outcome of a call that raised.

    :param options: of its definition; None when the call was not reached and trying again is no use.
    :param cancelled: whether somebody asked to cancel the task while it ran.
    :param base_delay: the first exponential delay, in seconds.
    """
    state, delay, told = State.ERROR, 0.0, _shown(error)
    if cancelled:
        state = State.CANCELLED
    elif options is not None and task.failures < task.retries and options.retries_on(error):
        try:
            delay = delay_after(options.backoff, exception=error, failures=task.failures + 1, base=base_delay)
            state = State.RETRY
        except Exception as second:  # a backoff function of the user
            told += f"\n\nand its backoff function raised:\n\n{_shown(second)}"
    return Outcome(
        id=task.id,
        fence=task.fence,
        state=state,
        ended_at=ended_at,
        seconds=seconds,
        error_type=f"{type(error).__module__}.{type(error).__qualname__}",
        error_message=describe(error),
        traceback=told,
        delay=delay,
    )


def unknown(task: ClaimedTask, error: Exception, *, patience: float, now: float) -> Outcome | GiveBack:
    """Return what becomes of a task whose function, or whose form of payload, is not known here.

    It may be known to a newer worker, so it is left for one; after *patience* seconds it ends in ERROR.
    """
    waited = task.unknown_for or 0.0
    if task.unknown_for is not None and waited >= patience:
        return failed(task, error, None, cancelled=False, base_delay=0.0, ended_at=now, seconds=0.0)
    return GiveBack(task, delay=min(10.0, 1.0 + waited / 10))


def _shown(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error, limit=-_MOST_FRAMES))
    except BaseException as second:  # noqa: B036 - __str__ and __repr__ may raise anything
        return f"{describe(error)}\n(its traceback cannot be shown: {type(second).__name__})"
