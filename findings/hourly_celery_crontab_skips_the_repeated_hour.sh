#!/bin/sh
# The two nights at which daylight saving time begins and ends (Celery 5.7.0, APScheduler 3.11.3, croniter 7.0.0, cronsim 2.8), in
# Europe/Berlin, where 2:00 to 3:00 is skipped in March and comes twice in October.
#
# Belief: "0 * * * *" runs each real hour, whatever clocks show, and "30 2 * * *" runs once on each day, as with cron. Whoever reads a
#   crontab line in a time zone has thought of that, so the libraries agree.
# Seen: each line, taken by itself, has at least two answers in October. Celery runs the hourly line at 2:00 and next at 3:00, two
#   hours later; the others run it at both 2:00. APScheduler and croniter run the daily line at both 2:30, two runs of one
#   day; Celery and cronsim run it once. In March it runs at 3:30, 3:30, 3:00 and 3:00. Only cronsim does in all
#   cases what cron does. A schedule that moves is looked at for both nights.
# Exits with 0 while this is so, and with 1 when it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check celery==5.7.0 apscheduler==3.11.3 croniter==7.0.0 cronsim==2.8
venv/bin/python - <<'PYTHON'
import sys
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from itertools import takewhile
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger
from celery import Celery
from celery.schedules import crontab
from croniter import croniter
from cronsim import CronSim

BERLIN, UTC, MINUTE = ZoneInfo("Europe/Berlin"), timezone.utc, timedelta(minutes=1)
app = Celery()
app.conf.timezone = "Europe/Berlin"


def of_celery(line, start):
    """Yield the minutes at which beat, which asks each schedule whether it is due, gets yes for an answer."""
    schedule = crontab.from_string(line)
    schedule.app = app
    last = now = start.astimezone(UTC)
    schedule.nowfun = lambda: now.astimezone(app.timezone)
    while True:
        now += MINUTE
        if schedule.is_due(last).is_due:
            last = now
            yield now


def of_apscheduler(line, start):
    trigger = CronTrigger.from_crontab(line, timezone=BERLIN)
    last, now = None, start
    while True:
        last = trigger.get_next_fire_time(last, now)
        now = (last.astimezone(UTC) + timedelta(microseconds=1)).astimezone(BERLIN)
        yield last


def of_croniter(line, start):
    runs = croniter(line, start)
    while True:
        yield runs.get_next(datetime)


LIBRARIES = {"celery": of_celery, "apscheduler": of_apscheduler, "croniter": of_croniter, "cronsim": CronSim}
NIGHTS = {"March": datetime(2027, 3, 28, tzinfo=BERLIN), "October": datetime(2027, 10, 31, tzinfo=BERLIN)}


def runs(library, line, start):
    """Return the runs between 1:00 and 4:00 of a night, in real time, as Berlin's clocks show them."""
    first, end = start.astimezone(UTC) + 59 * MINUTE, start.replace(hour=4).astimezone(UTC)
    times = takewhile(lambda at: at < end, (at.astimezone(UTC) for at in LIBRARIES[library](line, start)))
    return " ".join(f"{at.astimezone(BERLIN):%H:%M%z}"[:8] for at in times if at > first)


seen = {}
for night, start in NIGHTS.items():
    for line in ("0 * * * *", "30 2 * * *"):
        print(f"{start:%d %B %Y}, {line}")
        for library in LIBRARIES:
            seen[night, line, library] = runs(library, line, start)
            print(f"    {library:11} {version(library):7} {seen[night, line, library]}")


def of(night, line):
    return [seen[night, line, library] for library in LIBRARIES]


each_hour = "01:00+02 02:00+02 02:00+01 03:00+01"
twice, once = "02:30+02 02:30+01", "02:30+02"
right = of("October", "0 * * * *") == ["01:00+02 02:00+02 03:00+01", each_hour, each_hour, each_hour]
right &= of("October", "30 2 * * *") == [once, twice, twice, once]
right &= of("March", "0 * * * *") == ["01:00+01 03:00+02"] * 4
right &= of("March", "30 2 * * *") == ["03:30+02", "03:30+02", "03:00+02", "03:00+02"]
print("belief:", "wrong" if right else "has to be looked at again")
sys.exit(0 if right else 1)
PYTHON
