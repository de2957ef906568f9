"""Look by each rule whether there is an incident. All reads are short, however many tasks there are."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta

from django.conf import settings as django_settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone, translation
from django.utils.translation import gettext, ngettext

from autotask.alert_rules import Rule
from autotask.conf import settings
from autotask.store import gauges, incidents, pauses, schedule_runs, statistics
from autotask.store.incidents import Found
from autotask.store.pauses import Kind
from autotask.texts import localized
from autotask.texts.lines import one_line
from autotask.texts.localized import in_words

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


def _found(rule: Rule, subject: str, text: str) -> Found:
    key = ":".join(filter(None, (rule.when, rule.of, subject)))
    return Found(key, rule.key, one_line(text, 500), recipients(rule), rule.quiet)


def _failures(site: Site, rule: Rule) -> Iterator[Found]:
    # A moment less than the longest window, which would count whole hours when its end has become "now".
    since = datetime.now(UTC) - timedelta(seconds=rule.window - 1)
    totals = statistics.totals(site.connection, since, by="name", name=rule.of or None)
    for of, counts in list(totals.items()):
        ended = counts.succeeded + counts.failed
        if ended >= rule.least and counts.failed / ended >= rule.limit:
            words = ngettext(
                "%(name)s: %(failed)d of %(number)d task (%(share)s) failed within %(time)s",
                "%(name)s: %(failed)d of %(number)d tasks (%(share)s) failed within %(time)s",
                ended,
            )
            share = localized.share(counts.failed / ended)
            facts = {"name": of.name, "failed": counts.failed, "number": ended, "share": share}
            yield _found(rule, of.name, words % {**facts, "time": in_words(rule.window)})


def _age(site: Site, rule: Rule) -> Iterator[Found]:
    waiting = {queue: oldest for queue, (_, oldest) in site.ready.items() if rule.of in ("", queue)}
    queue = max(waiting, key=lambda name: waiting[name], default="")
    if waiting and waiting[queue] > rule.limit:
        words = gettext("the oldest ready task has waited %(time)s (queue %(queue)s)")
        yield _found(rule, "", words % {"time": in_words(waiting[queue]), "queue": queue})


def _length(site: Site, rule: Rule) -> Iterator[Found]:
    ready = sum(number for queue, (number, _) in site.ready.items() if rule.of in ("", queue))
    if ready <= rule.limit:
        return
    if rule.of:
        words = ngettext(
            "%(number)d task ready in the queue %(queue)s", "%(number)d tasks ready in the queue %(queue)s", ready
        )
    else:
        words = ngettext("%(number)d task ready", "%(number)d tasks ready", ready)
    yield _found(rule, "", words % {"number": ready, "queue": rule.of})


def _workers(site: Site, rule: Rule) -> Iterator[Found]:
    alive = sum(gauges.workers(site.connection).values())
    if alive >= rule.limit:
        return
    words = ngettext("%(number)d worker alive", "%(number)d workers alive", alive) % {"number": alive}
    said = words if alive else gettext("no worker is alive")
    if rule.limit > 1:
        said = gettext("%(workers)s, at least %(number)d needed") % {"workers": said, "number": rule.limit}
    yield _found(rule, "", said)


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
    words = gettext("the schedule %(name)s has missed its tick of %(tick)s")
    return _found(rule, name, words % {"name": name, "tick": localized.moment(timezone.localtime(tick), zone=True)})


_LOOKS: dict[str, Callable[[Site, Rule], Iterator[Found]]] = {
    "failures": _failures,
    "age": _age,
    "length": _length,
    "workers": _workers,
    "missed": _missed,
}
