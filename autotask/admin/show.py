"""Parts of pages, all escaped: states, moments, durations, text."""

import functools
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from django.contrib import admin
from django.utils import timezone
from django.utils.dateformat import format as date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import Truncator
from django.utils.translation import gettext, gettext_lazy, pgettext_lazy

from autotask.context import Progress
from autotask.task import BACKGROUND, COROUTINE, PROCESS, REMOTE, THREAD, State
from autotask.texts import localized

#: Shown where there is nothing to show.
NOTHING = "–"

STATE_WORDS = {
    State.SCHEDULED: pgettext_lazy("state of a task", "scheduled"),
    State.READY: pgettext_lazy("state of a task", "waiting"),
    State.HELD: pgettext_lazy("state of a task", "held"),
    State.RUNNING: pgettext_lazy("state of a task", "running"),
    State.DONE: pgettext_lazy("state of a task", "done"),
    State.ERROR: pgettext_lazy("state of a task", "error"),
    State.CANCELLED: pgettext_lazy("state of a task", "cancelled"),
    State.RETRY: pgettext_lazy("outcome of an attempt", "failed, to be retried"),
    State.LOST: pgettext_lazy("outcome of an attempt", "worker lost"),
}

EXECUTOR_WORDS = {
    THREAD: gettext_lazy("a thread"),
    PROCESS: gettext_lazy("a child process"),
    COROUTINE: gettext_lazy("a coroutine"),
    BACKGROUND: gettext_lazy("a background worker"),
    REMOTE: gettext_lazy("a worker, when a client from outside starts the step"),
}

STATE_HELP = {
    State.SCHEDULED: gettext_lazy("due later"),
    State.READY: gettext_lazy("due, and waiting for a worker"),
    State.HELD: gettext_lazy("due, and waiting for a slot, for tokens or for the end of a pause"),
    State.RETRY: gettext_lazy("this attempt failed, and another one was due"),
    State.LOST: gettext_lazy("the worker of this attempt died"),
}


def pill(word: object, kind: str, title: object = "") -> SafeString:
    """Return a word on a coloured ground; *kind* names the colour in the style sheet."""
    return format_html('<span class="autotask-pill autotask-{}" title="{}">{}</span>', kind, title, word)


def state(value: int, title: str = "") -> SafeString:
    """Return a state as a word with its colour, and a title or its meaning to hover over."""
    known = State(value)
    return pill(STATE_WORDS[known], known.name.lower(), title or STATE_HELP.get(known, ""))


def duration(time: timedelta | None) -> str:
    """Return a duration in its one or two largest units; a negative one as zero, because clocks differ a little."""
    return NOTHING if time is None else localized.precisely(time.total_seconds())


def relative(value: datetime) -> str:
    """Return the time since or until a moment, in one unit."""
    seconds = (_now_like(value) - value).total_seconds()
    words = gettext("%(time)s ago") if seconds >= 0 else gettext("in %(time)s")
    return words % {"time": roughly(abs(seconds))}


def roughly(seconds: float) -> str:
    """Return a duration in one unit."""
    for size, words in (
        (86400, gettext("%(number)d d")),
        (3600, gettext("%(number)d h")),
        (60, gettext("%(number)d min")),
    ):
        if seconds >= size:
            return words % {"number": round(seconds / size)}
    return gettext("%(number)d s") % {"number": seconds}


def progress(said: Progress | None) -> str:
    """Return the progress of a task as numbers, with a bar if its total is known."""
    if said is None:
        return NOTHING
    numbers = "/".join(localized.amount(each) for each in (said.done, said.total) if each is not None)
    if said.fraction is None:
        return numbers
    return format_html('<progress class="autotask-progress" value="{}" max="1"></progress> {}', said.fraction, numbers)


def moment(value: datetime | None, words: str | None = None) -> str:
    """Return a moment as a short text, with the exact time to hover over."""
    if value is None:
        return NOTHING
    local = _local(value)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        local.isoformat(),
        localized.moment(local, digits=3, zone=True),
        relative(value) if words is None else words,
    )


def clock(value: datetime) -> str:
    """Return the time of a moment; with the day, unless that is today."""
    local, today = _local(value), _local(_now_like(value)).date()
    return f"{local:%H:%M:%S}" if local.date() == today else localized.moment(local)


def exact_moment(value: datetime | None) -> str:
    """Return a moment to the millisecond, and how long ago it was."""
    if value is None:
        return NOTHING
    local = _local(value)
    words = localized.moment(local, digits=3, zone=True)
    return format_html('<time datetime="{}">{}</time> ({})', local.isoformat(), words, relative(value))


def moment_in(value: datetime, zone: tzinfo) -> str:
    """Return an aware moment to the second in a time zone, with the day of the week, and how far off it is."""
    local = value.astimezone(zone)
    words = f"{date_format(local, 'D')} {localized.moment(local, zone=True)}"
    return format_html('<time datetime="{}">{}</time> ({})', local.isoformat(), words, relative(value))


def labelled(label: object, shown: object) -> SafeString:
    """Return a value with its label, which is seen only where the table is shown as cards, without a head."""
    return format_html('<span class="autotask-label" aria-hidden="true">{}</span>{}', label, shown)


def column(label: Any) -> Callable[[Callable[[Any, Any], object]], Callable[[Any, Any], SafeString]]:
    """Return a decorator for a method that shows a column: its cells have labels where the table is shown as cards."""

    def decorate(method: Callable[[Any, Any], object]) -> Callable[[Any, Any], SafeString]:
        @functools.wraps(method)
        def shown(page: Any, obj: Any) -> SafeString:
            return labelled(label, method(page, obj))

        return admin.display(description=label)(shown)

    return decorate


def shortened(text: str, longest: int) -> str:
    """Return the beginning of a text, with more of it to hover over."""
    return format_html('<span title="{}">{}</span>', text, Truncator(text).chars(longest)) if text else ""


@functools.lru_cache(maxsize=1000)  # a page has few, in each of its rows
def name(text: str) -> str:
    """Return a dotted name, in which lines may break after dots and underscores."""
    return format_html('<span class="autotask-name">{}</span>', breakable(text))


def breakable(text: str) -> SafeString:
    """Return a text in which lines may break after dots and underscores as well."""
    return format_html_join(mark_safe("<wbr>"), "{}", ((part,) for part in re.findall(r"[^._]*[._]+|[^._]+", text)))


def preformatted(text: str) -> str:
    """Return a text as it is, line by line."""
    return format_html('<pre class="autotask-text">{}</pre>', text) if text else NOTHING


def link(address: str | None, text: object) -> str:
    """Return a link, or only its text if there is no address."""
    return str(text) if address is None else format_html('<a href="{}">{}</a>', address, text)


def _now_like(value: datetime) -> datetime:
    # Moments of models have no zone if USE_TZ is False; those of the store always have one.
    return datetime.now(UTC) if timezone.is_aware(value) else timezone.now()


def _local(value: datetime) -> datetime:
    return timezone.localtime(value) if timezone.is_aware(value) else value
