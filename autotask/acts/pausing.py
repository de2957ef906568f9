"""Pause queues, tasks, limits or everything, and resume them."""

import logging
from datetime import UTC, datetime, timedelta

from autotask.acts.answers import Log, keep_no_log
from autotask.acts.doubts import Doubt, doubt
from autotask.exceptions import InvalidPause
from autotask.store import pauses as store
from autotask.store.connection import current, in_transaction
from autotask.store.pauses import Kind, Pause
from autotask.values import PLAIN_NAME

logger = logging.getLogger("autotask")

#: Characters of the name of a limit, with its key.
LONGEST_NAME = 1000


def pause(
    *,
    queue: str | None = None,
    task: str | None = None,
    limit: str | None = None,
    everything: bool = False,
    until: datetime | timedelta | None = None,
    reason: str = "",
    by: str = "",
    log: Log[int] = keep_no_log,
) -> Doubt | None:
    """Let no further task begin: of a queue, of a name, under a limit, or at all. Running tasks continue.

    ::

        pause(queue="mail", until=timedelta(hours=2), reason="the provider is down", by="ada")

    :param task: the full name of a task.
    :param limit: the name of a limit or a rate, or of one of its keys: ``"shop.tasks.sync(account_id=7)"``.
    :param until: an aware datetime, or a timedelta from now; None: until it is resumed.
    :param reason: shown with the pause, and so is *by*.
    :param log: is called with the key of the pause, in the same transaction.
    :returns: None. If neither the code nor the settings of this process have that task or limit, which other deployments
        may have, it is paused all the same, and the answer says so as text; the log says it as well, as a warning.
    :raises InvalidPause: none or several of queue, task, limit and everything are given, or a value does not fit.
    """
    found = pause_quietly(
        queue=queue, task=task, limit=limit, everything=everything, until=until, reason=reason, by=by, log=log
    )
    if found is not None:
        logger.warning("%s %s is paused. %s", found.kind, task or limit, found)
    return found


def pause_quietly(
    *,
    queue: str | None = None,
    task: str | None = None,
    limit: str | None = None,
    everything: bool = False,
    until: datetime | timedelta | None = None,
    reason: str = "",
    by: str = "",
    log: Log[int] = keep_no_log,
) -> Doubt | None:
    """Do the same as :func:`pause`, and log no doubt, for callers that show it."""
    kind, name = target(queue, task, limit, everything)
    for word, value in (("reason", reason), ("by", by)):
        if not isinstance(value, str):
            raise InvalidPause(problem=f"{word} must be text, but is {value!r}")
    end, connection = end_of(until), current()
    found = doubt(kind, name)  # first: it reads settings, and if these are wrong, nothing is paused

    def pause_it() -> None:
        log([store.pause(connection, kind, name, until=end, reason=reason, by=by)])

    in_transaction(connection, pause_it)
    return found


def resume(
    *,
    queue: str | None = None,
    task: str | None = None,
    limit: str | None = None,
    everything: bool = False,
    log: Log[int] = keep_no_log,
) -> bool:
    """End the pause of a queue, a task, a limit, or everything; other pauses stay in force.

    :param log: is called with the key of the pause, in the same transaction, if there was one.
    :returns: whether it was paused.
    :raises InvalidPause: as for :func:`pause`.
    """
    kind, name = target(queue, task, limit, everything)
    connection = current()

    def resume_it() -> bool:
        id = store.resume(connection, kind, name)
        if id is not None:
            log([id])
        return id is not None

    return in_transaction(connection, resume_it)


def pauses() -> list[Pause]:
    """Return the pauses that are in force: ``kind``, ``name``, ``paused_at``, ``paused_by``, ``until`` and ``reason``."""
    return store.read(current())


def target(
    queue: str | None = None, task: str | None = None, limit: str | None = None, everything: bool = False
) -> tuple[Kind, str]:
    """Return the kind and the name of a target.

    :raises InvalidPause: as for :func:`pause`.
    """
    names = {Kind.QUEUE: queue, Kind.TASK: task, Kind.LIMIT: limit, Kind.EVERYTHING: "" if everything else None}
    given = [(kind, name) for kind, name in names.items() if name is not None]
    if len(given) != 1:
        raise InvalidPause(problem=f"give one of queue, task, limit and everything, not {len(given)} of them")
    ((kind, name),) = given
    if not isinstance(name, str):
        raise InvalidPause(problem=f"{kind} must be a name, but is {name!r}")
    if kind in (Kind.QUEUE, Kind.TASK) and not PLAIN_NAME.fullmatch(name):
        raise InvalidPause(problem=f"{name!r} is not the name of a {kind}: names have letters, digits and _ . : < > -")
    if kind is Kind.LIMIT and not (0 < len(name) <= LONGEST_NAME and name.isprintable()):
        raise InvalidPause(
            problem=f"{name!r} is not the name of a limit: write openai, or shop.tasks.sync(account_id=7)"
        )
    return kind, name


def end_of(until: object) -> datetime | None:
    """Return the moment at which a pause is over.

    :raises InvalidPause: it is over already, or is neither a time nor a moment with a time zone.
    """
    now = datetime.now(UTC)
    if isinstance(until, timedelta):
        until = now + until
    if until is None:
        return None
    if not isinstance(until, datetime) or until.utcoffset() is None:
        raise InvalidPause(problem=f"until must be an aware datetime or a timedelta, but is {until!r}")
    if until <= now:
        raise InvalidPause(problem=f"{until.isoformat(' ', 'seconds')} is over already")
    return until
