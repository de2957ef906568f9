#!/bin/sh
# A worker of django-tasks-db that is killed (django-tasks-db 0.13.0, Django 6.0.10).
#
# Belief: a queue in a database outlives its workers, so the task of a worker that is killed (out of memory, a deploy that does not
#   wait) runs again, or becomes FAILED after a while.
# Seen: it stays RUNNING. No other worker takes it, prune_db_task_results leaves it, and result.refresh() reports RUNNING for as
#   long as anyone asks: no row says which workers live, so nobody can tell.
# Exits with 0 while this is so, and with 1 when it has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for python in python3.14 python3.13 python3.12 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9].*/bin/python; do # for Django 6
    if "$python" -c "import ensurepip" 2>/dev/null; then break; fi
done
"$python" -m venv venv
venv/bin/pip install -q --disable-pip-version-check django==6.0.10 django-tasks-db==0.13.0
mkdir site
cat > site/settings.py <<'PYTHON'
import pathlib

INSTALLED_APPS = ["django_tasks_db", "shop"]
DATABASES = {
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(pathlib.Path(__file__).with_name("db.sqlite3"))}
}
TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
USE_TZ = True
SECRET_KEY = "finding"
PYTHON
mkdir site/shop
touch site/shop/__init__.py
cat > site/shop/tasks.py <<'PYTHON'
import time

from django.tasks import task


@task
def long():
    time.sleep(600)


@task
def short():
    return "done"
PYTHON
cat > site/try.py <<'PYTHON'
import subprocess
import sys
import time
from importlib.metadata import version

import django
from django.core.management import call_command

django.setup()
call_command("migrate", verbosity=0)
from django.tasks import TaskResultStatus
from shop.tasks import long, short

print("django", version("django"), "django-tasks-db", version("django-tasks-db"))
WORKER = [sys.executable, "-m", "django", "db_worker", "--interval", "0.1", "--no-startup-delay"]


def wait_for(result, status):
    for _ in range(300):
        result.refresh()
        if result.status == status:
            return True
        time.sleep(0.1)
    return False


interrupted = long.enqueue()
worker = subprocess.Popen(WORKER)
right = wait_for(interrupted, TaskResultStatus.RUNNING)
worker.kill()
worker.wait()
next_one = short.enqueue()
other = subprocess.Popen(WORKER)
right &= wait_for(next_one, TaskResultStatus.SUCCESSFUL)
time.sleep(10)
other.kill()
other.wait()
call_command("prune_db_task_results", "--min-age-days", "0", "--failed-min-age-days", "0", verbosity=0)
interrupted.refresh()
print("the next task, of another worker:", next_one.status)
print("the task of the killed worker, 10 s later: believed READY, RUNNING again or FAILED; seen", interrupted.status,
      "after", len(interrupted.worker_ids), "attempt")
sys.exit(0 if right and interrupted.status == TaskResultStatus.RUNNING and len(interrupted.worker_ids) == 1 else 1)
PYTHON
cd site
DJANGO_SETTINGS_MODULE=settings PYTHONPATH=. ../venv/bin/python try.py
