"""The record of an attempt, by how it ended: an outcome, or the release of the task. All of it is pure."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass

from autotask.control import Cancel, Discard, Retry
from autotask.exceptions import ObjectGone, TaskInterrupted, UnknownTask, WorkerStopping
from autotask.options import Options
from autotask.retry import delay_after
from autotask.store.finish import Outcome
from autotask.store.steps import StepEnd
from autotask.task import ClaimedTask, State
from autotask.texts import tracebacks
from autotask.texts.lines import describe

#: Seconds until an unknown task is ready again: the next worker may not know it either. This one leaves it alone for longer.
UNKNOWN_DELAY = 0.25

#: Frames kept of a traceback; a recursion has thousands.
_MOST_FRAMES = 50

#: Characters kept of a traceback and of a message. They are cut again, and marked as cut, when they are stored; an exception
#: can have a text of any length, which must not be held as a whole until then.
_LONGEST = 100_001


_DONE = State.DONE
#: The fields of a success after its value.
_WITHOUT_ERROR = tuple(Outcome._field_defaults.values())[1:]


class ResultRefused(Exception):
    """The function has returned, but its result cannot be stored; the cause says why."""


class RunAgain(Exception):
    """Nothing of the attempt was committed, through no fault of its function; the cause says why."""


@dataclass(frozen=True, slots=True)
class Released:
    """A task to be released, as if it had not been claimed.

    :ivar delay: seconds until it becomes ready again.
    :ivar unknown: what this worker does not know of it, if that is the reason; else "".
    :ivar known: whether this worker knows its function. With neither, nobody has looked.
    :ivar why: the reason, for the receivers of the end of the attempt.
    :ivar seconds: how long the attempt took; None: neither its start nor its end is reported to receivers.
    :ivar log: the log line about the task; "" for none.
    :ivar closes: whether nobody may pass the gate of its rate during the delay.
    """

    task: ClaimedTask
    delay: float = 0.0
    unknown: str = ""
    known: bool = False
    why: str = ""
    seconds: float | None = None
    log: str = ""
    closes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced(Released):
    """A task whose step has ended well, and which waits for its next one.

    :ivar step: the step that has ended.
    :ivar recorded: whether the transaction of the function has recorded it already.
    """

    step: StepEnd
    recorded: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """A task whose process has died, while its worker is alive.

    :ivar reason: how the process died, as text.
    """

    task: ClaimedTask
    reason: str


def succeeded(task: ClaimedTask, value: bytes | None, ended_at: float, seconds: float) -> Outcome:
    """Return the outcome of a call that returned; *value* is its signed result."""
    # Not by a call of the class, which takes twice as long: nearly every task ends here.
    return tuple.__new__(Outcome, (task.id, task.fence, _DONE, ended_at, seconds, value, *_WITHOUT_ERROR))


def advanced(task: ClaimedTask, step: StepEnd) -> Advanced:
    """Return the release of a task that waits for its next step."""
    why = f"step {step.number} has ended; the next one follows"
    return Advanced(task=task, delay=step.delay, known=True, why=why, seconds=step.seconds, step=step)


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

    :param options: of its definition; None when the function was not called and trying again is no use.
    :param cancelled: whether somebody asked to cancel the task while it ran.
    :param base_delay: the first exponential delay, in seconds.
    """
    state, delay, unwilling = _verdict(task, error, options, cancelled), 0.0, ""
    # Discarding a task says that there is nothing to look into.
    shown = "" if isinstance(error, Discard) else _shown(error)
    if state is State.RETRY:
        assert options is not None  # there is no second try without them
        try:
            delay = _delay(error, options, task.failures + 1, base_delay, delay_after)
        except Exception as second:  # a backoff function of the user
            state = State.ERROR
            shown += f"\n\nand its backoff function raised:\n\n{_shown(_without(error, second))}"
            unwilling = f" (and its backoff function raised {describe(second)})"
    return Outcome(
        id=task.id,
        fence=task.fence,
        state=state,
        ended_at=ended_at,
        seconds=seconds,
        error_type=f"{type(error).__module__}.{type(error).__qualname__}",
        error_message=(_message(task, error, state) + unwilling)[:_LONGEST],
        traceback=shown[:_LONGEST],
        delay=delay,
    )


def expired(task: ClaimedTask, *, ended_at: float) -> Outcome:
    """Return the outcome of a task that no worker claimed in time."""
    return Outcome(
        id=task.id,
        fence=task.fence,
        state=State.CANCELLED,
        ended_at=ended_at,
        seconds=0.0,
        error_message=f"expired: it was claimed {task.late or 0.0:.3g} seconds too late",
        began=False,
    )


def unknown(task: ClaimedTask, error: Exception, *, patience: float, now: float) -> Outcome | Released:
    """Return the record of an unknown task: it is left for a newer worker, and ends in ERROR after *patience* seconds."""
    if task.unknown_for is not None and task.unknown_for >= patience:
        if isinstance(error, UnknownTask):
            error.__traceback__ = None  # It has frames of autotask only, for each of perhaps very many tasks.
        return failed(task, error, None, cancelled=False, base_delay=0.0, ended_at=now, seconds=0.0)
    return Released(task, delay=UNKNOWN_DELAY, unknown=describe(error))


def gone(error: ObjectGone, options: Options) -> tuple[BaseException, Options | None]:
    """Return the exception that stands for a missing model instance in the arguments, and the options for :func:`failed`."""
    if options.on_missing == "discard":
        return Discard(str(error)), options
    if options.on_missing == "error":
        return error, None
    again = Retry(reason=str(error))
    again.__cause__ = error
    return again, options


def _verdict(task: ClaimedTask, error: BaseException, options: Options | None, cancelled: bool) -> State:
    if cancelled or isinstance(error, (Cancel, Discard)):
        return State.CANCELLED
    again = options is not None and (isinstance(error, Retry) or options.retries_on(error))
    return State.RETRY if again and task.failures < task.retries else State.ERROR


def _message(task: ClaimedTask, error: BaseException, state: State) -> str:
    if isinstance(error, WorkerStopping) and state is State.ERROR:
        return f"{error}; at_most_once: it is not run again"
    if isinstance(error, (Cancel, Discard, TaskInterrupted)):
        return str(error)
    if isinstance(error, Retry) and state is State.ERROR and task.failures >= task.retries:
        return f"{describe(error)} (no retries are left: retries={task.retries})"
    return describe(error)


def _delay(
    error: BaseException, options: Options, failures: int, base_delay: float, delay_after: Callable[..., float]
) -> float:
    if isinstance(error, Retry) and error.delay is not None:
        return error.delay
    return delay_after(options.backoff, exception=error, failures=failures, base=base_delay)


def _without(first: BaseException, second: BaseException) -> BaseException:
    """Return the second exception without the frames of autotask, and without the first one, which is shown already."""
    second.__traceback__ = tracebacks.of_others(second.__traceback__)
    last = second
    while last.__context__ not in (None, first):
        last = last.__context__
    if last is not first:
        last.__context__ = None
    return second


def _shown(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error, limit=-_MOST_FRAMES))
    except BaseException as second:  # noqa: B036 - __str__ and __repr__ may raise anything
        return f"{describe(error)}\n(its traceback cannot be shown: {type(second).__name__})"
