"""Recognises processes that serve; one function for each server.

Each function is called while Django is being set up, which servers do when they load the application. It returns whether
the process belongs to its server, and if so, has called *start*, or will do so in the processes that answer requests.
Most servers are recognized by the modules whose functions are being executed. A module that is merely imported proves
nothing: a project may import a server, or a part of it, for any reason.
"""

import functools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from types import FrameType
from typing import Any, Protocol

from autotask.companion import first_request

logger = logging.getLogger("autotask.companion")

#: Seconds between two checks whether a worker of gunicorn has booted.
BOOT_LOOK = 0.02


class Start(Protocol):
    """Starts a companion for this process."""

    def __call__(self, *, has_siblings: bool = False) -> bool:
        """Start it; return whether there is one now.

        :param has_siblings: whether the process is one of several of a server, whose companions can share memory.
        """


def call_where_served(start: Start) -> None:
    """Call *start* in this process if it serves, or later in those of its forks that do.

    For an unknown server, the first request calls it. Commands and tests do not serve, even if they answer requests.
    """
    running = {module for module, _ in _running()}
    if not any(server(running, start) for server in SERVERS) and not (is_command(running) or is_test(running)):
        first_request.call(start)


def runserver(running: Collection[str], start: Start) -> bool:
    """``manage.py runserver``: without autoreload the process itself, else the child that it replaces."""
    if not _is_command("runserver", running):
        return False
    if not _asks_for_help() and ("--noreload" in sys.argv or os.environ.get("RUN_MAIN") == "true"):
        start()
    return True


def runserver_plus(running: Collection[str], start: Start) -> bool:
    """``manage.py runserver_plus`` of django-extensions: the same, by the reloader of Werkzeug."""
    if not _is_command("runserver_plus", running):
        return False
    if not _asks_for_help() and ("--noreload" in sys.argv or os.environ.get("WERKZEUG_RUN_MAIN") == "true"):
        start()
    return True


def gunicorn(running: Collection[str], start: Start) -> bool:
    """gunicorn: each worker loads the application; with ``--preload``, the arbiter does, and then forks workers."""
    if "gunicorn.arbiter" not in running:
        return False
    if "gunicorn.workers.base" in running:
        start(has_siblings=_gunicorn_has_several())
    else:
        os.register_at_fork(after_in_child=functools.partial(_in_fork_of_arbiter, os.getpid(), start))
        first_request.call(start)  # in case a later gunicorn forks in another way
    return True


def uvicorn(running: Collection[str], start: Start) -> bool:
    """uvicorn: the process that serves loads the application: the only one, one of several, or one with reload."""
    return _if("uvicorn.server" in running, start, has_siblings="uvicorn.supervisors.multiprocess" in running)


def hypercorn(running: Collection[str], start: Start) -> bool:
    """hypercorn: each worker; with ``--reload`` the parent loads the application too, to find its files."""
    return _if("hypercorn.asyncio.run" in running, start)


def daphne(running: Collection[str], start: Start) -> bool:
    """daphne: its only process."""
    return _if("daphne.cli" in running, start)


def granian(running: Collection[str], start: Start) -> bool:
    """granian: each worker; its parent never loads the application."""
    return _if("granian.server.mp" in running or "granian.server.mt" in running, start)


def waitress(running: Collection[str], start: Start) -> bool:
    """``waitress-serve``: its only process."""
    return _if("waitress.runner" in running, start)


def uwsgi(running: Collection[str], start: Start) -> bool:
    """uWSGI: the master loads the application and forks workers; with ``lazy-apps`` each worker does it for itself.

    uWSGI forks without Python's knowledge, but calls a hook of its own in each worker, even in one without a master. If the
    hook is replaced, the first request starts the companion.
    """
    server: Any = sys.modules.get("uwsgi")
    if not hasattr(server, "worker_id"):
        return False
    if server.worker_id():
        _start_in_worker_of_uwsgi(start)
    else:
        server.post_fork_hook = functools.partial(_in_fork_of_uwsgi, getattr(server, "post_fork_hook", None), start)
        first_request.call(start)
    return True


def mod_wsgi(running: Collection[str], start: Start) -> bool:
    """mod_wsgi: Apache's processes load the application when they serve it, embedded or as daemons.

    There is a package of the same name for tools. The module inside Apache is recognized by its attributes.
    """
    return _if(hasattr(sys.modules.get("mod_wsgi"), "process_group"), start)


SERVERS = (runserver, runserver_plus, gunicorn, uvicorn, hypercorn, daphne, granian, waitress, uwsgi, mod_wsgi)


def is_command(running: Collection[str]) -> bool:
    """Whether this is a management command."""
    program = os.path.basename(sys.argv[0]) if sys.argv else ""
    return "django.core.management" in running or program in ("manage.py", "django-admin", "django-admin.py")


def is_test(running: Collection[str]) -> bool:
    """Whether Django is set up for tests, some of which may start servers of their own."""
    return any(module.partition(".")[0] in ("_pytest", "pytest", "unittest") for module in running)


def _is_command(name: str, running: Collection[str]) -> bool:
    return sys.argv[1:2] == [name] and is_command(running)


def _asks_for_help() -> bool:
    return bool({"-h", "--help", "--version"} & set(sys.argv))


def _if(serves: bool, start: Start, *, has_siblings: bool = False) -> bool:
    if serves:
        start(has_siblings=has_siblings)
    return serves


def _in_fork_of_arbiter(arbiter: int, start: Start) -> None:
    # The arbiter forks other processes too; and a worker may fork, but its forks do not serve.
    if os.getppid() != arbiter or ("gunicorn.arbiter", "spawn_worker") not in _running():
        return
    start = functools.partial(start, has_siblings=_gunicorn_has_several())
    worker = _local_of_arbiter("worker")
    if _changes_user(getattr(worker, "cfg", None)):
        # It still has the rights of the arbiter, which its companion, and so all tasks, would keep.
        threading.Thread(target=_start_when_booted, args=(worker, start), name="autotask-boot", daemon=True).start()
    else:
        start()


def _gunicorn_has_several() -> bool:
    """Whether the arbiter, whose copy in this fork is on the call stack, keeps more than one worker."""
    return bool(getattr(_local_of_arbiter("self"), "num_workers", 1) > 1)


def _local_of_arbiter(name: str) -> Any:
    """Return a local variable of the function of the arbiter that is being executed; None if there is none."""
    for frame in _frames():
        if frame.f_globals.get("__name__") == "gunicorn.arbiter":
            return frame.f_locals.get(name)
    return None


def _changes_user(options: Any) -> bool:
    """Whether a worker of gunicorn will work as another user, or with other groups, than the arbiter."""
    user, group = getattr(options, "uid", os.geteuid()), getattr(options, "gid", os.getegid())
    return (user, group) != (os.geteuid(), os.getegid()) or bool(getattr(options, "initgroups", False))


def _start_when_booted(worker: Any, start: Start) -> None:
    """Start as soon as a worker of gunicorn is about to serve; if it never says so, its first request starts the companion."""
    while not getattr(worker, "booted", False):
        time.sleep(BOOT_LOOK)
    start()


def _in_fork_of_uwsgi(former_hook: Callable[[], object] | None, start: Start) -> None:
    if former_hook is not None:
        former_hook()
    _start_in_worker_of_uwsgi(start)


def _start_in_worker_of_uwsgi(start: Start) -> None:
    server: Any = sys.modules["uwsgi"]
    number = server.worker_id()  # 0: a mule or a spooler
    # Since 2.0.27 it has threads by default. Either option is enough, whatever its value.
    threads = server.version_info[:3] >= (2, 0, 27) or bool({"enable-threads", "threads"} & server.opt.keys())
    if number and start(has_siblings=getattr(server, "numproc", 1) > 1) and number == 1 and not threads:
        logger.warning(
            "uWSGI runs no Python threads outside requests. There is a companion, but it may not be replaced as soon as "
            "it dies. Add to the options of uWSGI: enable-threads = true"
        )


def _running() -> Iterator[tuple[str, str]]:
    """Yield module and name of each function that is being executed in this thread."""
    return ((frame.f_globals.get("__name__", ""), frame.f_code.co_name) for frame in _frames())


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back
