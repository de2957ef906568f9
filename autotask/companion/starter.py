"""Decide whether this Django process should have a companion, and start the supervisor."""

import functools
import logging
import os
import threading

from autotask import django_setup
from autotask.companion import first_request, servers
from autotask.companion.shortage import daemon_threads_are_refused, is_shortage
from autotask.companion.supervisor import Supervisor
from autotask.conf import settings

logger = logging.getLogger("autotask.companion")

#: Seconds after which a request may try again to start the companion.
TRY_AGAIN = 10.0

_failures = 0
_logged = False
_supervisor: Supervisor | None = None
_lock = threading.Lock()


def start_if_serving() -> None:
    """Start a companion as soon as this process or a fork of it serves. Never raises."""
    try:
        if not is_worker():
            servers.call_where_served(_start_or_try_again)
    except Exception:  # whatever it is, the server must start
        logger.exception("The companion was not started")


def start(*, has_siblings: bool = False) -> bool:
    """See :func:`autotask.companion.start`.

    :param has_siblings: whether this is one of several processes of a server.
    """
    global _supervisor
    if not _is_wanted() or _has_obstacle():
        return False
    with _lock:
        if _supervisor is None or _supervisor.pid != os.getpid():
            supervisor = Supervisor(has_siblings=has_siblings)
            supervisor.start()
            _supervisor = supervisor
    return True


def _is_wanted() -> bool:
    return settings.IS_ACTIVE and settings.COMPANION != "off" and not is_worker()


def _has_obstacle() -> bool:
    """Whether this process can never have a companion; if so, log the reason once."""
    global _logged
    if daemon_threads_are_refused():
        why = (
            "its sub-interpreter of Python refuses daemon threads. Serve the site in the main interpreter (mod_wsgi: "
            "WSGIApplicationGroup %{GLOBAL}), or run dedicated workers: python manage.py autotask worker"
        )
    elif django_setup.cannot_be_repeated():
        why = django_setup.ADVICE
    else:
        return False
    if not _logged:
        logger.error("This process has no companion: %s", why)
    _logged = True
    return True


def is_worker() -> bool:
    """Whether this process is a worker, or was started by one."""
    return "AUTOTASK_GUARD" in os.environ or "AUTOTASK_WORKER" in os.environ


def _start_or_try_again(*, has_siblings: bool = False) -> bool:
    """Like :func:`start`, for a process that serves. Never raises, and does not take long."""
    global _failures
    try:
        return start(has_siblings=has_siblings)
    except Exception as error:  # no memory, no more threads or files: the server continues to serve
        _failures += 1
        log = logger.error if _failures == 1 else logger.debug
        explain = _failures == 1 and not is_shortage(error)
        log("The companion was not started, will try again: %s", error, exc_info=explain)
        first_request.call(functools.partial(_start_or_try_again, has_siblings=has_siblings), wait=TRY_AGAIN)
        return False


def _forget_in_fork() -> None:
    global _supervisor, _lock
    _lock = threading.Lock()
    supervisor, _supervisor = _supervisor, None
    if supervisor is not None:
        supervisor.forget()


os.register_at_fork(after_in_child=_forget_in_fork)
