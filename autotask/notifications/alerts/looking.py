"""Look by each rule whether there is an incident. All reads are short, however many tasks there are."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from django.conf import settings as django_settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import translation

from autotask.alert_rules import Rule
from autotask.conf import settings
from autotask.notifications.alerts import words
from autotask.store import gauges, incidents, pauses, schedule_runs, statistics
from autotask.store.incidents import Found
from autotask.store.pauses import Kind

#: The most incidents of one rule for all tasks or schedules.
MOST = 100


class Site:
    """The figures that rules look at, each read once."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection

    @functools.cached_property
    def ready(self) -> dict[str, tuple[int, float]]:
        """The number of ready tasks in each queue that is not paused, and the age of the oldest, in seconds."""
        paused = {(pause.kind, pause.name) for pause in pauses.read(self.connection)}
        if (Kind.EVERYTHING, "") in paused:
            return {}
        found = gauges.ready(self.connection)
        return {queue: each for queue, each in found.items() if (Kind.QUEUE, queue) not in paused}


def look(connection: BaseDatabaseWrapper) -> tuple[list[str], list[str]]:
    """Look by all rules, note what is found, and return the texts of new incidents, and of those that are over."""
    rules = settings.ALERTS
    site = Site(connection)
    with translation.override(django_settings.LANGUAGE_CODE):
        found = [each for rule in rules for each in _LOOKS[rule.when](site, rule)]
    return incidents.note(connection, found, [rule.key for rule in rules])


def missed(connection: BaseDatabaseWrapper, ticks: Mapping[str, datetime], now: datetime) -> list[str]:
    """Note ticks that a worker handles late, or not at all: soon they are over, and no look would find them.

    :param ticks: the first one of each schedule that was missed.
    :returns: the texts of new incidents.
    """
    rules = [rule for rule in settings.ALERTS if rule.when == "missed"]
    with translation.override(django_settings.LANGUAGE_CODE):
        found = [
            _missed_tick(rule, name, tick)
            for rule in rules
            for name, tick in ticks.items()
            if rule.of in ("", name) and now - tick > timedelta(seconds=rule.limit)
        ]
    return incidents.add(connection, found[:MOST]) if found else []


def recipients(rule: Rule) -> Sequence[str]:
    """Return the recipients of the messages: mail addresses and URLs."""
    if rule.to:
        return rule.to
    # Pairs of a name and an address before Django 6.
    return [each if isinstance(each, str) else each[1] for each in django_settings.ADMINS]


def _found(rule: Rule, subject: str, **facts: object) -> Found:
    key, known = ":".join(filter(None, (rule.when, rule.of, subject))), {"when": rule.when, **facts}
    return Found(key, rule.key, words.of(known), known, recipients(rule), rule.quiet)


def _failures(site: Site, rule: Rule) -> Iterator[Found]:
    # A moment less than the longest window, which would count whole hours when its end has become "now".
    since = datetime.now(UTC) - timedelta(seconds=rule.window - 1)
    totals = statistics.totals(site.connection, since, by="name", name=rule.of or None)
    for of, counts in list(totals.items()):
        ended = counts.succeeded + counts.failed
        if ended >= rule.least and counts.failed / ended >= rule.limit:
            yield _found(rule, of.name, name=of.name, failed=counts.failed, ended=ended, window=rule.window)


def _age(site: Site, rule: Rule) -> Iterator[Found]:
    waiting = {queue: oldest for queue, (_, oldest) in site.ready.items() if rule.of in ("", queue)}
    queue = max(waiting, key=lambda name: waiting[name], default="")
    if waiting and waiting[queue] > rule.limit:
        yield _found(rule, "", seconds=waiting[queue], queue=queue)


def _length(site: Site, rule: Rule) -> Iterator[Found]:
    ready = sum(number for queue, (number, _) in site.ready.items() if rule.of in ("", queue))
    if ready > rule.limit:
        yield _found(rule, "", ready=ready, queue=rule.of)


def _workers(site: Site, rule: Rule) -> Iterator[Found]:
    alive = sum(gauges.workers(site.connection).values())
    if alive < rule.limit:
        yield _found(rule, "", alive=alive, needed=int(rule.limit))


def _missed(site: Site, rule: Rule) -> Iterator[Found]:
    now = datetime.now(UTC)
    late = [
        each
        for each in schedule_runs.every(site.connection)
        if rule.of in ("", each.name)
        and each.paused_at is None
        and now - each.next_tick > timedelta(seconds=rule.limit)
    ]
    for each in late[:MOST]:
        yield _missed_tick(rule, each.name, each.next_tick)


def _missed_tick(rule: Rule, name: str, tick: datetime) -> Found:
    return _found(rule, name, name=name, tick=tick.isoformat())


_LOOKS: dict[str, Callable[[Site, Rule], Iterator[Found]]] = {
    "failures": _failures,
    "age": _age,
    "length": _length,
    "workers": _workers,
    "missed": _missed,
}
