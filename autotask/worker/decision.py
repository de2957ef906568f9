"""Pure decision: the outcome of an attempt that raised, at whichever of its steps."""

from dataclasses import replace
from typing import Any, NamedTuple

from autotask.control import RateLimited, Snooze
from autotask.definition import Definition
from autotask.exceptions import ObjectGone, PayloadTooNew, UnknownCarrier, UnknownTask, WorkerStopping
from autotask.options import Options
from autotask.payload import Arguments
from autotask.store.errors import is_outage
from autotask.store.finish import Outcome
from autotask.task import ClaimedTask
from autotask.texts.lines import describe
from autotask.worker import outcome
from autotask.worker.outcome import Released, ResultRefused, RunAgain


class Raised(NamedTuple):
    """An attempt that raised.

    :ivar definition: of its task; None if it was not found.
    :ivar arguments: as they are stored; None if they could not be loaded, so the function was not called.
    :ivar cancelled: whether somebody asked to cancel the task while it ran.
    :ivar seconds: how long the attempt took.
    :ivar ended_at: when it raised, on the monotonic clock.
    """

    task: ClaimedTask
    error: BaseException
    definition: Definition[Any, Any] | None
    arguments: Arguments | None
    cancelled: bool
    seconds: float
    ended_at: float


class Rules(NamedTuple):
    """The settings for a decision.

    :ivar base_delay: the first exponential delay, in seconds; also that after an outage.
    :ivar patience: for how many seconds an unknown task is left for newer workers.
    """

    base_delay: float
    patience: float


class Decision(NamedTuple):
    """The outcome of an attempt, and the exception that counts as the reason."""

    ended: Outcome | Released
    error: BaseException


def decide(raised: Raised, rules: Rules) -> Decision:
    """Decide by the step that raised, and by its exception."""
    error, definition = raised.error, raised.definition
    options = None if definition is None else definition.options
    if raised.arguments is None:
        return _not_called(raised, options, rules)
    if isinstance(error, ResultRefused):
        # Another attempt can help only while the function has not returned.
        return stopped(raised._replace(error=error.__cause__ or error), None, rules)
    # Calls that do not fit the function are refused where they are made. So one that does not fit here was made by different
    # code from this worker's, and its function was not reached.
    if isinstance(error, TypeError) and definition is not None and not definition.accepts(*raised.arguments):
        decision = _unknown(raised, error, rules)
        if isinstance(ended := decision.ended, Outcome):
            return decision
        return decision._replace(ended=replace(ended, why=ended.unknown, seconds=0.0))
    return stopped(raised, options, rules)


def stopped(raised: Raised, options: Options | None, rules: Rules) -> Decision:
    """Decide on an attempt whose function was called, or could not be called for good.

    :param options: of its definition; None when another attempt is no use.
    """
    task, error, cancelled = raised.task, raised.error, raised.cancelled
    known = options is not None
    if isinstance(error, RunAgain):
        error = error.__cause__ or error
        if not cancelled:
            log = "is released: its connection was cut, and nothing was committed"
            released = Released(
                task, rules.base_delay, known=known, why=describe(error), seconds=raised.seconds, log=log
            )
            return Decision(released, error)
    if isinstance(error, Snooze) and known and not cancelled:
        return Decision(Released(task, error.seconds, known=True, why=str(error), seconds=raised.seconds), error)
    if isinstance(error, RateLimited) and known and not cancelled:
        released = Released(task, error.retry_after, known=True, why=str(error), seconds=raised.seconds, closes=True)
        return Decision(released, error)
    if isinstance(error, WorkerStopping) and not (cancelled or task.at_most_once):
        log = "was interrupted because its worker has to stop; it is released"
        return Decision(Released(task, known=known, why=str(error), seconds=raised.seconds, log=log), error)
    ended = outcome.failed(
        task,
        error,
        options,
        cancelled=cancelled,
        base_delay=rules.base_delay,
        ended_at=raised.ended_at,
        seconds=raised.seconds,
    )
    return Decision(ended, error)


def _not_called(raised: Raised, options: Options | None, rules: Rules) -> Decision:
    error = raised.error
    if isinstance(error, (UnknownTask, PayloadTooNew, UnknownCarrier)):
        return _unknown(raised, error, rules)
    if is_outage(error) and not raised.cancelled:
        log = "is released: it needs the database, which is not available"
        released = Released(raised.task, rules.base_delay, why=describe(error), seconds=raised.seconds, log=log)
        return Decision(released, error)
    if isinstance(error, ObjectGone) and options is not None:
        counts_as, options = outcome.gone(error, options)
        return stopped(raised._replace(error=counts_as), options, rules)
    return stopped(raised, None, rules)


def _unknown(raised: Raised, error: Exception, rules: Rules) -> Decision:
    return Decision(outcome.unknown(raised.task, error, patience=rules.patience, now=raised.ended_at), error)
