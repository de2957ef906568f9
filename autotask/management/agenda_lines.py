"""Schedules as lines of text."""

from datetime import datetime, tzinfo

from autotask.agenda import Condition, Entry, Forecast
from autotask.documents import SHOWN
from autotask.schedules.crontab import Crontab
from autotask.store.read import StoredTask
from autotask.texts import render
from autotask.texts.durations import in_words
from autotask.texts.lines import one_line

#: Characters of an error that are shown.
ERROR_LENGTH = 60


def lines(entry: Entry, last: StoredTask | None, now: datetime) -> list[str]:
    """Return a schedule."""
    return [
        one_line(entry.name),
        *(
            "  " + line
            for line in render.fields(
                [
                    ("when", _when(entry)),
                    ("state", _state(entry, now)),
                    ("last", "never" if last is None else _run(last, now, entry.zone)),
                    ("next", ", ".join(moment_in(entry.zone, moment) for moment in entry.coming(now, SHOWN))),
                ]
            )
        ),
    ]


def moment_in(zone: tzinfo, moment: datetime) -> str:
    """Return a moment with the day of the week, in a time zone."""
    local = moment.astimezone(zone)
    return f"{local:%a} {local.isoformat(' ', 'seconds')}"


def from_now(moment: datetime, now: datetime) -> str:
    """Return the time until a moment."""
    return f"in {in_words((moment - now).total_seconds())}"


def _when(entry: Entry) -> str:
    if isinstance(entry.timetable, Crontab):
        return f"{entry.in_words()} ({entry.timetable.expression}), {entry.timetable.tz}"
    return entry.in_words()


def _state(entry: Entry, now: datetime) -> str:
    condition, words = entry.condition(now), entry.condition(now).value
    if condition is Condition.PAUSED:
        assert entry.stored is not None and entry.stored.paused_at is not None  # that is what makes it paused
        ago = in_words((now - entry.stored.paused_at).total_seconds())
        words = f"paused by {entry.stored.paused_by or 'an unknown user'} {ago} ago"
    elif condition is Condition.LATE:
        assert entry.stored is not None  # that is what makes it late
        words = (
            f"late by {in_words((now - entry.stored.next_tick).total_seconds())}: no running worker has it in its code"
        )
    elif condition is Condition.NEW:
        words = "not registered: no worker with this code has run yet"
    if entry.task is None:
        words += "; not in the code of this process"
    elif entry.code_differs:
        words += "; the code of this process has another timetable"
    return words


def _run(run: StoredTask, now: datetime, zone: tzinfo) -> str:
    moment = run.ended_at or run.started_at or run.created_at
    shown = f"{moment_in(zone, moment)}  {run.state.status.value}"
    if run.ended_at is not None and run.started_at is not None:
        shown += f" after {in_words((run.ended_at - run.started_at).total_seconds())}"
    if run.scheduled_for is None:
        shown += ", by hand"
    if run.error_message:
        shown += f": {one_line(run.error_message, ERROR_LENGTH)}"
    return shown


def tick_lines(seen: Forecast) -> list[str]:
    """Return ticks, each with its remarks."""
    width = len(str(len(seen.ticks)))
    return [
        "  ".join(
            (
                f"{number:>{width}}",
                moment_in(seen.entry.zone, tick),
                from_now(tick, seen.at),
                *seen.remarks.get(tick, ()),
            )
        )
        for number, tick in enumerate(seen.ticks, 1)
    ]
