"""Whether this Django process should have a companion, and if so, start the supervisor."""

import functools
import logging
import os
import threading

from autotask.companion import servers
from autotask.companion.supervisor import Supervisor
from autotask.conf import settings

logger = logging.getLogger("autotask.companion")

_supervisor: Supervisor | None = None
_lock = threading.Lock()


def start_if_serving() -> None:
    """Start a companion if this process serves, or as soon as a fork of it does. Never raises."""
    try:
        if servers.is_serving():
            start()
        elif servers.forks_later():
            os.register_at_fork(after_in_child=functools.partial(_start_in_fork_of, os.getpid()))
    except Exception:  # whatever it is, the server starts all the same
        logger.exception("The companion was not started")


def start() -> bool:
    """See :func:`autotask.companion.start`."""
    global _supervisor
    if not settings.IS_ACTIVE or settings.COMPANION == "off" or is_worker():
        return False
    with _lock:
        if _supervisor is None or _supervisor.pid != os.getpid():
            supervisor = Supervisor()
            supervisor.start()
            _supervisor = supervisor
    return True


def is_worker() -> bool:
    """Whether this process is a worker, or was started by one."""
    return "AUTOTASK_GUARD" in os.environ or "AUTOTASK_WORKER" in os.environ


def _start_in_fork_of(master: int) -> None:
    # A worker of the server may fork too, but what it forks does not serve.
    if os.getppid() == master and servers.is_serving():
        start()


def _forget_in_fork() -> None:
    global _supervisor, _lock
    _lock = threading.Lock()
    supervisor, _supervisor = _supervisor, None
    if supervisor is not None:
        supervisor.forget()


os.register_at_fork(after_in_child=_forget_in_fork)
