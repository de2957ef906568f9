"""django-tasks-db: the database backend of Django's own tasks, whose worker polls for one task at a time."""

import os

# Its own settings, not those of autotask, for this process and its workers.
os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.drivers.django_tasks_db_settings"

import time  # noqa: E402

import django  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.utils.module_loading import import_string  # noqa: E402

from benchmarks.drivers.base import Driver  # noqa: E402
from benchmarks.order import Order  # noqa: E402

_TABLE = "django_tasks_database_dbtaskresult"

#: It has no call for many: this copies a task that it has stored into many rows.
_CLONE = """
INSERT INTO {table} (id, status, enqueued_at, started_at, finished_at, args_kwargs, run_after, {others})
SELECT gen_random_uuid(), %(status)s, enqueued_at + n * interval '1 us', {ended}, {ended},
       jsonb_build_object('args', jsonb_build_array(n), 'kwargs', '{{}}'::jsonb), {run_after}, {others}
FROM (SELECT * FROM {table} WHERE id = %(id)s) AS t, generate_series(%(first)s::int, %(last)s::int) AS n
"""
_DIFFERENT = {"id", "status", "enqueued_at", "started_at", "finished_at", "args_kwargs", "run_after"}


class DjangoTasksDb(Driver):
    """django-tasks-db."""

    unfinished = f"""
        SELECT EXISTS (
            SELECT 1 FROM {_TABLE}
            WHERE status IN ('READY', 'RUNNING') AND (run_after > '9000-01-01' OR run_after <= now())
        )
    """

    def __init__(self, order: Order) -> None:
        super().__init__(order)
        self.look_every = 0.05 if self.config == "fast" else 1.0

    def set_up(self) -> None:
        django.setup()
        call_command("migrate", verbosity=0)

    def connect(self) -> None:
        django.setup()
        # Django has to be set up before tasks are defined.
        self._task = import_string("benchmarks.drivers.django_tasks_db_functions.nothing")

    def enqueue(self, number: int) -> object:
        return self._task.enqueue(number)

    def fill(self, count: int) -> None:
        self._clone(self._task.enqueue(0).id, "READY", "NULL", "run_after", first=1, last=count - 1)

    def round_trip(self, number: int) -> None:
        result = self._task.enqueue(number)
        while not result.is_finished:
            time.sleep(0.005)
            result.refresh()

    def worker_command(self) -> list[str]:
        interval = ["--interval", "0.05"] if self.config == "fast" else []
        return ["-m", "django", "db_worker", "-v", "0", "--no-startup-delay", *interval]

    def prefill(self, kind: str, count: int) -> None:
        id = self._task.enqueue(0).id
        if kind == "future":
            self._clone(id, "READY", "NULL", "now() + interval '30 days'", first=1, last=count)
        else:
            self._clone(id, "SUCCESSFUL", "now()", "run_after", first=1, last=count)
        self.sql.execute(f"DELETE FROM {_TABLE} WHERE id = %(id)s", {"id": id})

    def _clone(self, id: str, status: str, ended: str, run_after: str, *, first: int, last: int) -> None:
        found = self.sql.rows(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %(table)s", {"table": _TABLE}
        )
        others = ", ".join(name for (name,) in found if name not in _DIFFERENT)
        statement = _CLONE.format(table=_TABLE, ended=ended, run_after=run_after, others=others)
        self.sql.execute(statement, {"id": id, "status": status, "first": first, "last": last})


DRIVER = DjangoTasksDb
