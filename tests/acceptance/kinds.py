"""The ways to run each server, and what is to be expected of them."""

import importlib.metadata
import os
import shlex
import sys
from dataclasses import dataclass

WSGI = "testproject.wsgi:application"
ASGI = "testproject.asgi:application"

#: A server of its own making, which autotask cannot know: one that serves by itself, or forks children that do.
UNKNOWN = f"""
import contextlib, os
from wsgiref.simple_server import make_server
from {WSGI.replace(":", " import ")}

PID = os.getpid()
server = make_server("127.0.0.1", {{port}}, application)
with contextlib.suppress(KeyboardInterrupt):
    for _ in range({{forks}}):
        if os.fork() == 0:
            break
    else:
        for _ in range({{forks}}):
            os.wait()
    if not {{forks}} or os.getpid() != PID:
        server.serve_forever()
"""


@dataclass(frozen=True)
class Kind:
    """A server with some options.

    :ivar name: what a user would call it.
    :ivar needs: the distribution it comes from; empty: it is always there.
    :ivar command: the words after ``python``; ``{port}`` stands for the port.
    :ivar serving: how many processes serve.
    :ivar shares: whether these share a guard, on Linux.
    :ivar respawns: whether a serving process that dies is replaced.
    :ivar on_request: whether the companion is started by the first request only.
    :ivar noisy: whether it prints a traceback at Ctrl-C by itself, without a companion too.
    :ivar quick: whether it is tested in the quick suite too.
    :ivar apps: what has to be the first of the installed apps.
    :ivar path: the environment variable that names a folder with another version of what is needed.
    """

    name: str
    needs: str
    command: tuple[str, ...]
    serving: int = 1
    shares: bool = False
    respawns: bool = False
    on_request: bool = False
    noisy: bool = False
    quick: bool = False
    apps: tuple[str, ...] = ()
    path: str = ""

    @property
    def guards(self) -> int:
        """How many guards there are when each process that serves has a companion."""
        return 1 if self.shares and sys.platform == "linux" else self.serving

    def version(self) -> str:
        """Return the version of the server that is installed; empty if there is none."""
        if not self.needs:
            return "any"
        try:
            if self.path:
                [found] = importlib.metadata.distributions(name=self.needs, path=[os.environ[self.path]])
                return found.version
            return importlib.metadata.version(self.needs)
        except (KeyError, ValueError, importlib.metadata.PackageNotFoundError):
            return ""


def _kind(name: str, needs: str, command: str, **more: object) -> Kind:
    return Kind(name, needs, tuple(shlex.split(command)), **more)  # type: ignore[arg-type]


_GUNICORN = "-m gunicorn --no-control-socket --workers=2 --bind=127.0.0.1:{port}"
_HYPERCORN = "-m hypercorn --bind 127.0.0.1:{port}"
_GRANIAN = "-m granian --host 127.0.0.1 --port {port}"
_UWSGI = "-c 'import pyuwsgi; pyuwsgi.run()' --need-app --http-socket 127.0.0.1:{port} --module " + WSGI
_UVICORN = f"-m uvicorn {ASGI} --port {{port}}"

#: Its workers have no threads beside requests.
OLD_UWSGI = _kind(
    "uWSGI without threads", "pyuwsgi", f"{_UWSGI} --master --processes 2", serving=2, shares=True, path="OLD_UWSGI"
)

KINDS = (
    _kind("runserver", "django", "{manage} runserver 127.0.0.1:{port}"),
    _kind("runserver --noreload", "django", "{manage} runserver --noreload 127.0.0.1:{port}"),
    _kind("runserver with daphne", "daphne", "{manage} runserver 127.0.0.1:{port}", apps=("daphne",)),
    _kind(
        "runserver_plus", "django-extensions", "{manage} runserver_plus 127.0.0.1:{port}", apps=("django_extensions",)
    ),
    _kind("gunicorn", "gunicorn", f"{_GUNICORN} {WSGI}", serving=2, shares=True, respawns=True),
    _kind("gunicorn --preload", "gunicorn", f"{_GUNICORN} --preload {WSGI}", serving=2, shares=True, respawns=True),
    _kind(
        "gunicorn gthread",
        "gunicorn",
        f"{_GUNICORN} -k gthread --threads=4 {WSGI}",
        serving=2,
        shares=True,
        respawns=True,
    ),
    _kind(
        "gunicorn gevent", "gevent", f"{_GUNICORN} -k gevent {WSGI}", serving=2, shares=True, respawns=True, noisy=True
    ),
    _kind("gunicorn asgi", "gunicorn", f"{_GUNICORN} -k asgi {ASGI}", serving=2, shares=True, respawns=True),
    _kind(
        "gunicorn with uvicorn",
        "uvicorn-worker",
        f"{_GUNICORN} -k uvicorn_worker.UvicornWorker {ASGI}",
        serving=2,
        shares=True,
        respawns=True,
    ),
    _kind("uvicorn", "uvicorn", _UVICORN, quick=True),
    _kind("uvicorn --workers 2", "uvicorn", f"{_UVICORN} --workers 2", serving=2, shares=True, respawns=True),
    _kind("uvicorn --reload", "uvicorn", f"{_UVICORN} --reload"),
    _kind("daphne", "daphne", f"-m daphne -b 127.0.0.1 -p {{port}} {ASGI}"),
    _kind("hypercorn", "hypercorn", f"{_HYPERCORN} {ASGI}"),
    _kind("hypercorn --workers 0", "hypercorn", f"{_HYPERCORN} --workers 0 {ASGI}"),
    _kind("hypercorn --workers 2", "hypercorn", f"{_HYPERCORN} --workers 2 {ASGI}", serving=2),
    _kind("hypercorn --reload", "hypercorn", f"{_HYPERCORN} --reload {ASGI}"),
    # Its workers do not end by themselves when they are interrupted together with their parent.
    _kind(
        "granian wsgi",
        "granian",
        f"{_GRANIAN} --interface wsgi --workers 2 --workers-kill-timeout 1 {WSGI}",
        serving=2,
    ),
    _kind(
        "granian asgi",
        "granian",
        f"{_GRANIAN} --interface asginl --workers 2 --respawn-failed-workers {ASGI}",
        serving=2,
        respawns=True,
    ),
    _kind("waitress", "waitress", f"-m waitress --listen=127.0.0.1:{{port}} {WSGI}"),
    _kind("uWSGI", "pyuwsgi", f"{_UWSGI} --master --processes 2", serving=2, shares=True, respawns=True),
    _kind("uWSGI without master", "pyuwsgi", _UWSGI),
    _kind(
        "uWSGI lazy-apps",
        "pyuwsgi",
        f"{_UWSGI} --master --processes 2 --lazy-apps",
        serving=2,
        shares=True,
        respawns=True,
    ),
    # With Python 3.12, a worker that this version starts anew answers nothing, with and without a companion.
    _kind(
        "uWSGI before 2.0.27",
        "pyuwsgi",
        f"{_UWSGI} --master --processes 2 --enable-threads",
        serving=2,
        shares=True,
        path="OLD_UWSGI",
    ),
    _kind("cheroot", "cheroot", f"-m cheroot --bind 127.0.0.1:{{port}} {WSGI}", on_request=True, noisy=True),
    Kind("an unknown server", "", ("-c", UNKNOWN.replace("{forks}", "0")), on_request=True, quick=True),
    Kind("an unknown server that forks", "", ("-c", UNKNOWN.replace("{forks}", "2")), serving=2, on_request=True),
)

#: Those that replace the process that serves when code changes.
RELOADING = [kind for kind in KINDS if kind.name in ("runserver", "uvicorn --reload")]
