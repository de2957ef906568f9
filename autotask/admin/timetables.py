"""When a schedule is due, in the language of the reader."""

import re

from django.utils.dates import WEEKDAYS
from django.utils.translation import get_language, gettext

from autotask.agenda import Entry
from autotask.schedules.base import Timetable
from autotask.schedules.crontab import Crontab
from autotask.schedules.every import Every
from autotask.texts.localized import amount


def of_entry(entry: Entry) -> str:
    """Return when it is due; the registered text of a timetable that the code of this process does not have."""
    return entry.in_words() if entry.timetable is None else in_words(entry.timetable)


def in_words(timetable: Timetable) -> str:
    """Return a timetable in words; a cron expression as it is, if there are no simple words but in English."""
    if isinstance(timetable, Every):
        return _every(timetable.seconds)
    if not isinstance(timetable, Crontab) or (get_language() or "en").startswith("en"):
        return timetable.in_words()
    return _cron(timetable.expression) or timetable.expression


def _every(seconds: float) -> str:
    if seconds % 86400 == 0:
        return _counted(seconds / 86400, gettext("Every day"), gettext("Every %(number)s days"))
    if seconds % 3600 == 0:
        return _counted(seconds / 3600, gettext("Every hour"), gettext("Every %(number)s hours"))
    if seconds % 60 == 0:
        return _minutes(seconds / 60)
    return _counted(seconds, gettext("Every second"), gettext("Every %(number)s seconds"))


def _minutes(number: float) -> str:
    return _counted(number, gettext("Every minute"), gettext("Every %(number)s minutes"))


def _counted(number: float, one: str, many: str) -> str:
    return one if number == 1 else many % {"number": amount(number)}


def _cron(expression: str) -> str | None:
    """Return the most frequent kinds of expressions in words."""
    minute, hour, day, month, weekday = expression.split()
    if month != "*" or "*" not in (day, weekday):
        return None
    if hour == day == weekday == "*":
        found = re.fullmatch(r"\*(?:/(\d+))?", minute)
        if found and 60 % (step := int(found[1] or 1)) == 0:  # Others start again with each hour.
            return _minutes(step)
        return gettext("Every hour, at minute %(minute)s") % {"minute": minute} if minute.isdecimal() else None
    if not (minute.isdecimal() and hour.isdecimal()):
        return None
    time = f"{int(hour):02}:{int(minute):02}"
    if day.isdecimal():
        return gettext("Every month on day %(day)s at %(time)s") % {"day": day, "time": time}
    if day != "*":
        return None
    if weekday == "*":
        return gettext("Every day at %(time)s") % {"time": time}
    days = _days(weekday)
    return days and gettext("%(days)s at %(time)s") % {"days": days, "time": time}


def _days(weekday: str) -> str | None:
    """Return the names of days; Sunday is 0 or 7 there, and 6 in Django."""
    if not re.fullmatch(r"[0-7](-[0-7])?(,[0-7](-[0-7])?)*", weekday):
        return None
    parts = [part.split("-") for part in weekday.split(",")]
    return ", ".join(" – ".join(str(WEEKDAYS[(int(day) - 1) % 7]) for day in part) for part in parts)
