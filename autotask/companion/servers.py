"""Which serving process this is, and where a companion may start; one function a server."""

import os
import sys
from collections.abc import Iterator


def is_serving() -> bool:
    """Whether this process, as it is now, serves requests by a server that is known."""
    return runserver() or gunicorn_worker()


def forks_later() -> bool:
    """Whether this process will not serve itself, but forks others that will."""
    return gunicorn_preloading()


def runserver() -> bool:
    """Whether this is ``manage.py runserver``: without autoreload the process itself, else the child that reloads."""
    words = sys.argv[1:]
    if words[:1] != ["runserver"] or {"-h", "--help", "--version"} & set(words):
        return False
    return "--noreload" in words or os.environ.get("RUN_MAIN") == "true"


def gunicorn_worker() -> bool:
    """Whether this is a worker of gunicorn that is loading the application, or is just being forked to serve it."""
    return "gunicorn.arbiter" in sys.modules and bool({"gunicorn.workers.base", "spawn_worker"} & set(_on_stack()))


def gunicorn_preloading() -> bool:
    """Whether this is the arbiter of gunicorn, loading the application before it forks workers (``--preload``)."""
    return "gunicorn.arbiter" in sys.modules and not gunicorn_worker()


def _on_stack() -> Iterator[str]:
    """Yield the names of the modules, and of gunicorn's functions, that are being executed."""
    frame = sys._getframe()
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        yield module
        if module == "gunicorn.arbiter":
            yield frame.f_code.co_name
        frame = frame.f_back  # type: ignore[assignment]  # None ends the loop
