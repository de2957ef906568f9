"""The task that sends the notices of one ended task, again and again until all are out or given up."""

import logging
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

from autotask import decorating
from autotask.conf import settings
from autotask.context import TaskContext
from autotask.control import Retry, Snooze
from autotask.delayed import DelayedTask
from autotask.exceptions import NoticeNotSent
from autotask.notifications.ended import Ended
from autotask.on_end import Notice, NoticeState, notices
from autotask.options import Options
from autotask.store import notices as store
from autotask.store.connection import current
from autotask.store.enqueue import NewTask
from autotask.store.read import StoredTask
from autotask.texts.lines import describe, one_line
from autotask.texts.render import count

logger = logging.getLogger("autotask")

#: Seconds until the second try; each further wait is twice as long, up to the longest.
FIRST_WAIT = 5.0
LONGEST_WAIT = 600.0

#: Attempts that may fail for other reasons, for example because the database is away.
SPARE = 20

#: Seconds that one attempt may take. Each server has to answer within a minute.
TIMEOUT = 3600.0


def _deliver(context: TaskContext, task_id: str) -> str:
    """Send what should be sent of the end of a task.

    :returns: what was done, as text.
    :raises Retry: some could not be sent yet.
    :raises NoticeNotSent: some were given up.
    """
    id = uuid.UUID(task_id)
    task = store.read(current(), id, context.id)
    if task is None:
        return "nothing to send: the task was retried, or others look after its notices"
    planned = notices(task.on_end, task.notices, task.state.status)
    if task.settled_at is not None:
        planned = _reopened(context, task, planned)
    ended = Ended.of(task)
    done = [_tried(context, ended, notice) if notice.state is NoticeState.WAITING else notice for notice in planned]
    waiting = [notice for notice in done if notice.state is NoticeState.WAITING]
    if waiting:
        raise Retry(wait_after(min(notice.tries for notice in waiting)), _failures(waiting))
    failed = [notice for notice in done if notice.state is NoticeState.GIVEN_UP]
    # Somebody should see what was given up.
    store.settle(current(), id, context.id, keep=settings.ERROR_TTL if failed else 0)
    if failed:
        raise NoticeNotSent(id=id, name=task.name, failures=_failures(failed))
    return ", ".join(notice.to for notice in done if notice.state is NoticeState.SENT)


def wait_after(tries: int) -> float:
    """Return the seconds to wait after that many tries."""
    return min(FIRST_WAIT * 2.0 ** min(tries - 1, 20), LONGEST_WAIT)


def _reopened(context: TaskContext, task: StoredTask, planned: Sequence[Notice]) -> list[Notice]:
    """Return the notices of a delivery that was retried after it had given some up: these are tried again."""
    again = [
        notice._replace(state=NoticeState.WAITING, tries=0) if notice.state is NoticeState.GIVEN_UP else notice
        for notice in planned
    ]
    if again != planned:
        store.reopen(current(), task.id, context.id, again)
    return again


def _tried(context: TaskContext, ended: Ended, notice: Notice) -> Notice:
    """Return a notice after a try, which is noted."""
    if context.should_stop:
        raise Snooze(0)
    problem = ""
    try:
        _send(ended, notice)
    except Exception as error:  # backends of mail raise anything
        problem = one_line(describe(error)) or type(error).__name__
    # If this worker dies before the note, the notice is sent again.
    tried = store.tried(notice, datetime.now(UTC), problem, settings.MAIL_TRIES)
    store.note(current(), ended.task.id, context.id, tried)
    if tried.state is NoticeState.GIVEN_UP:
        logger.error(
            "%s %s: the %s to %s is given up after %s: %s",
            ended.task.name,
            ended.task.id,
            tried.kind,
            tried.to,
            count(tried.tries, "try", "tries"),
            problem,
        )
    return tried


def _send(ended: Ended, notice: Notice) -> None:
    # Imported here: a worker of a site that sends nothing needs none of it.
    if notice.webhook is None:
        from autotask.notifications import mail

        mail.send(ended, notice.to)
    else:
        from autotask.notifications import webhook

        webhook.send(ended, notice.webhook)


def _failures(failed: Sequence[Notice]) -> str:
    return "; ".join(f"{notice.to}: {notice.error}" for notice in failed)


# The name begins with that of this module, so that any worker finds it.
deliver: DelayedTask[[str], str] = decorating.define(
    DelayedTask,
    _deliver,
    f"{__name__}.deliver",
    Options.of(__name__, takes_context=True, no_retry_on=NoticeNotSent, timeout=TIMEOUT),
    __name__,
)


def calls(ids: Sequence[uuid.UUID]) -> list[NewTask]:
    """Return tasks that send the notices of ended tasks."""
    definition = deliver.using(retries=settings.MAIL_TRIES + SPARE)
    return [definition.new_call((str(id),), {}) for id in ids]
