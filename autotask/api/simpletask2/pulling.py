"""get_a_task: wait for a task of some channels, and offer it."""

import time
from collections.abc import Sequence
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.api.simpletask2 import offers
from autotask.api.simpletask2.problems import BadRequest
from autotask.conf import settings
from autotask.store import notify
from autotask.store.connection import current, shares_sessions
from autotask.store.notify import ChannelListener, PollingOnly
from autotask.task import DEFAULT_QUEUE

#: Seconds between two looks without a notification: an offer may have lapsed, or a step be overdue.
LOOK = 1.0


def wanted(channels: Any) -> list[str]:
    """Return the channels that a client asks for: names joined by commas, or a list of names.

    :raises BadRequest: it is neither.
    """
    names = channels.split(",") if isinstance(channels, str) else channels
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadRequest
    return [name.strip() for name in names if name.strip()] or [DEFAULT_QUEUE]


def pulled(channels: Sequence[str]) -> str | None:
    """Wait for a task of some channels, and return it as ``app.model:key``; None if none comes in time."""
    connection = current()
    deadline = time.monotonic() + settings.PULL_TIMEOUT
    offered = _offered(connection, channels)
    if offered is not None or settings.PULL_TIMEOUT == 0:
        return offered
    listener = PollingOnly() if shares_sessions() else ChannelListener(connection, notify.REMOTE_CHANNEL)
    try:
        return _wait(connection, channels, listener, deadline)
    finally:
        listener.close()


def fill(channels: Sequence[str]) -> None:
    """Take the next tasks of some channels in advance, if clients ask often."""
    offers.offers.fill(current(), channels)


def _wait(
    connection: BaseDatabaseWrapper,
    channels: Sequence[str],
    listener: ChannelListener | PollingOnly,
    deadline: float,
) -> str | None:
    while (offered := _offered(connection, channels)) is None:
        left = deadline - time.monotonic()
        if left <= 0:
            break
        listener.wait(min(LOOK, left))
    return offered


def _offered(connection: BaseDatabaseWrapper, channels: Sequence[str]) -> str | None:
    offered = offers.offers.take(connection, channels)
    return None if offered is None else offered.task_info
