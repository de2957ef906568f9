#!/bin/sh
# Schedules that name a day of the month and a day of the week (Celery 5.7.0, huey 3.5.4, APScheduler 3.11.3; cronsim 2.7 and croniter
# 7.0.0 as cron has it).
#
# Belief: crontab("0 7 13 * fri") means what it means to cron, which runs on each 13th and on each Friday, if both fields are
#   restricted (crontab(5)). So it runs about 64 times a year.
# Seen: Celery (even from the string, with crontab.from_string), huey and APScheduler (CronTrigger.from_crontab) run only on a Friday
#   that is the 13th: once or twice a year. cronsim and croniter follow cron. A line that moves from one to the other changes its
#   meaning without an error.
# Exits with 0 while this is so, and with 1 when it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check celery==5.7.0 huey==3.5.4 apscheduler==3.11.3 cronsim==2.7 croniter==7.0.0
venv/bin/python - <<'PYTHON'
import sys
from datetime import datetime, timedelta, timezone
from importlib.metadata import version

from apscheduler.triggers.cron import CronTrigger
from celery.schedules import crontab as celery_crontab
from croniter import croniter
from cronsim import CronSim
from huey import crontab as huey_crontab

LINE = "0 7 13 * 5"
start = datetime(2027, 1, 1, tzinfo=timezone.utc)
mornings = [start + timedelta(days=day, hours=7) for day in range(365)]


def runs_celery(at):
    """Whether the next run after the second before *at* is *at*."""
    before = at - timedelta(seconds=1)
    schedule = celery_crontab.from_string(LINE)
    schedule.nowfun = lambda: before
    return schedule.remaining_estimate(before) == timedelta(seconds=1)


def of_huey():
    runs = huey_crontab(minute="0", hour="7", day="13", day_of_week="5")
    return [at for at in mornings if runs(at)]


def of_apscheduler():
    # It counts the days of the week from Monday, so Friday is named.
    trigger = CronTrigger.from_crontab("0 7 13 * fri", timezone="UTC")
    return [at for at in mornings if trigger.get_next_fire_time(None, at) == at]


def following(iterator):
    found = []
    for at in iterator:
        if at.year != 2027:
            return found
        found.append(at)


seen = {
    "celery": [at for at in mornings if runs_celery(at)],
    "huey": of_huey(),
    "apscheduler": of_apscheduler(),
    "cronsim": following(CronSim(LINE, start)),
    "croniter": following(iter(lambda it=croniter(LINE, start, datetime): it.get_next(), None)),
}
for name, runs in seen.items():
    print(f"{name:12} {version(name):8} runs in 2027: {len(runs):2}, the first on {runs[0]:%a %d %b}")
both = {name for name, runs in seen.items() if all(at.day == 13 and at.weekday() == 4 for at in runs)}
sys.exit(0 if both == {"celery", "huey", "apscheduler"} and len(seen["cronsim"]) == len(seen["croniter"]) == 64 else 1)
PYTHON
