"""The checks of a probe: does the database answer, are workers alive, do ready tasks wait too long, are there too many."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.conf import settings
from autotask.exceptions import TablesMissing
from autotask.store import gauges, pauses, tables
from autotask.store.pauses import Kind
from autotask.texts import advice
from autotask.texts.durations import in_words
from autotask.texts.lines import describe, one_line
from autotask.texts.render import count

#: Seconds that a ready task may wait by default.
MAX_AGE = 60.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """The conditions that count as healthy.

    :ivar max_age: seconds that the oldest ready task may have waited; None: any time.
    :ivar max_backlog: how many tasks may be ready; None: any number.
    :ivar min_workers: how many workers have to live.
    """

    max_age: float | None = MAX_AGE
    max_backlog: int | None = None
    min_workers: int = 1


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    :ivar figures: what was found, and the bound, for the document.
    :ivar error: what the database says, which may name its host and user: only for those who run the site.
    """

    name: str
    ok: bool
    text: str
    figures: dict[str, Any]
    error: str = ""

    @property
    def in_full(self) -> str:
        """The text with the error."""
        return f"{self.text}: {self.error}" if self.error else self.text


def of_site(connect: Callable[[], BaseDatabaseWrapper], bounds: Bounds) -> list[Check]:
    """Examine the site: its database, its workers, and its ready tasks apart from those of paused queues.

    If the database cannot be reached, that is the only check.

    :param connect: returns the connection.
    """
    return _checked(connect, lambda connection: _of_site(connection, bounds))


def of_host(connect: Callable[[], BaseDatabaseWrapper], min_workers: int) -> list[Check]:
    """Examine this host: whether it has workers that are alive. A container is a host of its own."""

    def look(connection: BaseDatabaseWrapper) -> Iterator[Check]:
        host = socket.gethostname()
        yield _workers(gauges.workers_of_host(connection, host), min_workers, f" on {one_line(host, 60)}")

    return _checked(connect, look)


def is_healthy(checks: list[Check]) -> bool:
    """Whether all checks are well."""
    return all(check.ok for check in checks)


def document(checks: list[Check], *, in_full: bool) -> dict[str, Any]:
    """Return the JSON document of an examination.

    :param in_full: with errors of the database.
    """
    return {
        "status": "ok" if is_healthy(checks) else "failing",
        "checks": {
            check.name: {"ok": check.ok, "text": check.in_full if in_full else check.text, **check.figures}
            for check in checks
        },
    }


def _checked(
    connect: Callable[[], BaseDatabaseWrapper], look: Callable[[BaseDatabaseWrapper], Iterator[Check]]
) -> list[Check]:
    try:
        connection = connect()
        if not tables.are_there(connection):
            return [
                Check(
                    "database",
                    False,
                    one_line(str(TablesMissing(alias=settings.DATABASE, command=advice.migrate(settings.DATABASE)))),
                    {},
                )
            ]
        return [Check("database", True, "the database answers", {}), *look(connection)]
    except (DatabaseError, InterfaceError) as error:
        return [Check("database", False, "the database does not answer", {}, one_line(describe(error).strip()))]


def _of_site(connection: BaseDatabaseWrapper, bounds: Bounds) -> Iterator[Check]:
    yield _workers(sum(gauges.workers(connection).values()), bounds.min_workers, "")
    paused = {(pause.kind, pause.name) for pause in pauses.read(connection)}
    most = gauges.MOST_READY if bounds.max_backlog is None else bounds.max_backlog + 1
    found = {} if (Kind.EVERYTHING, "") in paused else gauges.ready(connection, most)
    waiting = {name: each for name, each in found.items() if (Kind.QUEUE, name) not in paused}
    yield _age(waiting, bounds.max_age)
    yield _backlog(sum(number for number, _ in waiting.values()), most, bounds.max_backlog)


def _workers(alive: int, least: int, where: str) -> Check:
    text = f"{count(alive, 'worker')} alive{where}, at least {least} needed"
    return Check("workers", alive >= least, text, {"alive": alive, "min": least})


def _age(waiting: dict[str, tuple[int, float]], most: float | None) -> Check:
    if not waiting:
        return Check("age", True, "no ready task waits", {"seconds": 0.0, "max": most})
    queue, (_, seconds) = max(waiting.items(), key=lambda item: item[1][1])
    text = f"the oldest ready task has waited {in_words(seconds)} (queue {one_line(queue, 60)})"
    figures = {"seconds": round(seconds, 3), "max": most, "queue": queue}
    return Check("age", most is None or seconds <= most, text, figures)


def _backlog(ready: int, counted: int, most: int | None) -> Check:
    text = f"{count(ready, 'task')} ready" + (" or more" if ready >= counted else "")
    return Check("backlog", most is None or ready <= most, text, {"ready": ready, "max": most})
