#!/bin/sh
# The days of the week in a crontab line (APScheduler 3.11.3; Celery 5.7.0, huey 3.5.4 and cronsim 2.7 as cron has it).
#
# Belief: CronTrigger.from_crontab("0 7 * * 0") takes a line of crontab(5), in which 0 and 7 are Sunday and 1-5 are Monday to Friday.
# Seen: it takes 0 for Monday, as the fields of CronTrigger do, so "1-5" runs from Tuesday to Saturday. 7 is refused.
# Exits with 0 while this is so, and with 1 when it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check apscheduler==3.11.3 celery==5.7.0 huey==3.5.4 cronsim==2.7
venv/bin/python - <<'PYTHON'
import sys
from datetime import datetime, timedelta, timezone
from importlib.metadata import version

from apscheduler.triggers.cron import CronTrigger
from celery.schedules import crontab as celery_crontab
from cronsim import CronSim
from huey import crontab as huey_crontab

start = datetime(2027, 1, 1, tzinfo=timezone.utc)
week = [start + timedelta(days=day, hours=7) for day in range(7)]


def of_apscheduler(days):
    trigger = CronTrigger.from_crontab(f"0 7 * * {days}", timezone="UTC")
    return {f"{at:%a}" for at in week if trigger.get_next_fire_time(None, at) == at}


def of_celery(days):
    numbers = celery_crontab.from_string(f"0 7 * * {days}").day_of_week
    return {f"{at:%a}" for at in week if at.isoweekday() % 7 in numbers}


def of_huey(days):
    runs = huey_crontab(minute="0", hour="7", day_of_week=days)
    return {f"{at:%a}" for at in week if runs(at)}


def of_cronsim(days):
    runs = CronSim(f"0 7 * * {days}", start)
    return {f"{next(runs):%a}" for _ in range(7)}


different = set()
for name, of in {"apscheduler": of_apscheduler, "celery": of_celery, "huey": of_huey, "cronsim": of_cronsim}.items():
    found = {days: of(days) for days in ("0", "1-5")}
    print(name, version(name), {days: sorted(names) for days, names in found.items()})
    if found != {"0": {"Sun"}, "1-5": {"Mon", "Tue", "Wed", "Thu", "Fri"}}:
        different.add(name)
try:
    CronTrigger.from_crontab("0 7 * * 7")
    refused = False
except ValueError as error:
    print("apscheduler, 7:", error)
    refused = True
sys.exit(0 if different == {"apscheduler"} and refused else 1)
PYTHON
