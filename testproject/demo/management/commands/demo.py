"""manage.py demo: start the site, feed it tasks, and show what happens to them."""

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import time
import uuid
from argparse import ArgumentParser
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, connections

from autotask import embedded
from autotask.acts import keys
from autotask.conf import settings as autotask_settings
from autotask.models import Result, Schedule, TaskRecord, Worker
from autotask.task import CANCELLED, DONE
from demo.show import watch
from demo.show.cases import Case, Course, once, problems, stream
from demo.show.summary import Row, table
from demo.show.website import Website, WebsiteDown

#: Seconds between two looks at the tasks, and between two enqueued tasks.
LOOK = 0.25
PACE = 2.5

#: Not "admin", who may exist in a database that was given to the demo.
USER = "demo"

PERIODIC = "demo.tasks.count_mails"
CRON = "demo.tasks.ring_the_minute"


class Call(NamedTuple):
    """A call that the site has made: its task, and whether it is a new one."""

    id: uuid.UUID
    created: bool


class Failed(Exception):
    """The demo failed."""


class Command(BaseCommand):
    """The demo."""

    help = "Start the test project with runserver, feed it tasks of every kind, and show what happens to them."
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Define the options."""
        parser.add_argument(
            "--once", action="store_true", help="Enqueue one task of each kind, wait for them, and report the results."
        )
        parser.add_argument("--port", type=int, help="Port of the site on 127.0.0.1; a free one by default.")
        parser.add_argument("--timeout", type=float, default=90, help="Seconds that --once waits. Default: %(default)s")

    def handle(self, *, once: bool, port: int | None, timeout: float, **options: Any) -> None:
        """Run until Ctrl-C or, with --once, until the tasks have finished."""
        _end_like_ctrl_c()
        site = Website(settings.BASE_DIR, settings.DEMO_OUTPUT / "runserver.log", port)
        try:
            with _alone(), contextlib.ExitStack() as stack:
                stack.callback(_stop_database)
                self._prepare()
                site.key = _new_key()
                stack.callback(self._see_companions_off)
                stack.enter_context(site)
                stack.enter_context(_undisturbed_end())
                self._greet(site)
                if once:
                    self._once(site, timeout)
                else:
                    self._go_on(site)
        except KeyboardInterrupt:
            self._say("\nStopped.")
            if once:
                raise
        except (Failed, WebsiteDown) as failed:
            raise CommandError(f"{site.last_words()}\n\n{failed}") from failed

    def _say(self, text: str = "") -> None:
        self.stdout.write(text)
        self.stdout.flush()

    def _prepare(self) -> None:
        self._companions: dict[uuid.UUID, int] = {}
        for folder in ("charts", "mail", "reports"):
            shutil.rmtree(settings.DEMO_OUTPUT / folder, ignore_errors=True)
        self._say("Preparing the database; that takes some seconds …")
        call_command("migrate", verbosity=0, interactive=False)
        self._password = secrets.token_urlsafe(9)
        user, _ = get_user_model().objects.get_or_create(
            username=USER, defaults={"is_staff": True, "is_superuser": True}
        )
        user.set_password(self._password)
        user.save()
        self._since = _database_clock()
        self._watch = watch.Watch(self._since)

    def _greet(self, site: Website) -> None:
        self._say("Starting runserver …")
        site.wait_until_up()
        companion = self._wait_for_companion(site)
        self._say(f"""
Site:       {site.url}/
Admin:      {site.url}/admin/    user {USER}, password {self._password}
API:        curl -H "Authorization: Bearer {site.key}" {site.url}/api/
Companion:  process {companion.pid}, started by runserver, {companion.threads} threads
Files:      {settings.DEMO_OUTPUT}
""")
        self._say()

    def _wait_for_companion(self, site: Website, seconds: float = 30) -> Worker:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            site.check()
            if companions := self._living_companions(site):
                return companions[0]
            time.sleep(LOOK / 5)
        raise Failed(f"runserver has no companion after {seconds:g} s")

    def _living_companions(self, site: Website) -> list[Worker]:
        found = [worker for worker in Worker.objects.filter(stopping=False) if site.owns(worker.serves_pid)]
        self._companions |= {worker.id: worker.pid for worker in found}
        return found

    def _see_companions_off(self) -> None:
        """Wait until the workers have noticed that runserver is gone, and exited: they need the database for that."""
        deadline = time.monotonic() + autotask_settings.SHUTDOWN_GRACE + 5
        while any(_is_running(pid) for pid in self._companions.values()) and time.monotonic() < deadline:
            time.sleep(0.05)

    def _look(self, site: Website) -> None:
        site.check()
        self._living_companions(site)
        for line in self._watch.changes():
            self._say(line)

    def _go_on(self, site: Website) -> None:
        under_tox = (
            " tox then says that it was interrupted, and that its evaluation failed."
            if "TOX_ENV_NAME" in os.environ
            else ""
        )
        self._say(f"Ctrl-C stops everything.{under_tox}")
        self._say()
        for case in stream():
            with contextlib.suppress(OSError):  # runserver restarts when a file changes
                _enqueue(site, case)
            next_one = time.monotonic() + PACE
            while time.monotonic() < next_one:
                self._look(site)
                time.sleep(LOOK)

    def _once(self, site: Website, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        calls = []
        for case in once():
            calls += [(case, call) for call in _enqueue(site, case)]
            self._look(site)
        while not self._ended({call.id for _, call in calls}) and time.monotonic() < deadline:
            self._look(site)
            time.sleep(LOOK)
        self._look(site)
        rows = [self._row(case, call) for case, call in calls] + [self._periodic_row(), self._cron_row()]
        self._say("\n" + table(rows))
        failed = sum(bool(row.problems) for row in rows)
        if failed:
            raise Failed(f"{failed} of {len(rows)} not as expected")
        self._say(f"\nAll {len(rows)} as expected.")

    def _ended(self, ids: Collection[uuid.UUID]) -> bool:
        ended = TaskRecord.objects.filter(id__in=ids, ended_at__isnull=False).count()
        unsent = Result.objects.filter(id__in=ids, on_end__isnull=False, settled_at__isnull=True)
        return ended == len(ids) and not unsent.exists() and self._ticks(PERIODIC).exists()

    def _ticks(self, schedule: str) -> Any:
        return TaskRecord.objects.filter(name=schedule, created_at__gte=self._since, ended_at__isnull=False)

    def _row(self, case: Case, call: Call) -> Row:
        record = TaskRecord.objects.get(id=call.id)
        course = self._course(record, call.created)
        return _shown(case.task, str(case), record, course, problems(case, course, settings.DEMO_OUTPUT))

    def _course(self, record: TaskRecord, created: bool = True) -> Course:
        waited = (record.started_at - record.created_at).total_seconds() if record.started_at else None
        ours = record.worker_id in self._companions
        return Course(watch.status(record), record.attempt, watch.text(record), waited, ours, created)

    def _periodic_row(self) -> Row:
        name, expected = PERIODIC.removeprefix("demo.tasks."), "periodic, a tick done"
        record = self._ticks(PERIODIC).order_by("created_at").first()
        if record is None:
            return Row(name, expected, "-", None, None, "", ["no tick in time"])
        course = self._course(record)
        case = Case(name, status=DONE, says="mails in the outbox")
        return _shown(name, expected, record, course, problems(case, course, settings.DEMO_OUTPUT))

    def _cron_row(self) -> Row:
        name, expected = CRON.removeprefix("demo.tasks."), "cron, next tick known"
        schedule = Schedule.objects.filter(task=CRON).first()
        if schedule is None:
            return Row(name, expected, "-", None, None, "", ["the schedule is not registered"])
        # A tick at this very moment is as good.
        in_seconds = (schedule.next_tick - _database_clock()).total_seconds()
        near = abs(in_seconds) <= 60
        wrong = [] if near else ["the next tick is not within a minute"]
        return Row(name, expected, "-", None, None, f"next in {max(0, in_seconds):.0f} s", wrong)


def _shown(name: str, expected: str, record: TaskRecord, course: Course, wrong: list[str]) -> Row:
    seconds = (record.ended_at - record.created_at).total_seconds() if record.ended_at else None
    return Row(name, expected, course.status, course.attempts, seconds, course.text, wrong)


def _new_key() -> str:
    """Return a key for the HTTP API; that of an earlier demo is valid no more."""
    keys.revoke(USER)
    return keys.create(USER, ["submit", "read", "cancel", "retry"]).secret


def _enqueue(site: Website, case: Case) -> list[Call]:
    if case.api:
        answer = site.post("/api/", {"name": f"demo.tasks.{case.task}"})
        return [Call(uuid.UUID(answer["id"]), True)]
    answer = site.post(f"/enqueue/{case.task}/", case.body)
    calls = [Call(uuid.UUID(handle["id"]), handle["created"]) for handle in answer.get("handles", [answer])]
    if case.status is CANCELLED:
        for call in calls:
            site.post(f"/tasks/{call.id}/cancel/")
    return calls


def _database_clock() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
        return moment


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _end_like_ctrl_c() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, signal.default_int_handler)


@contextlib.contextmanager
def _undisturbed_end() -> Iterator[None]:
    """After the block, a second Ctrl-C does not interrupt the clean-up."""
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Refuse to run while another demo uses the same folder."""
    settings.DEMO_OUTPUT.mkdir(parents=True, exist_ok=True)
    with (settings.DEMO_OUTPUT / "demo.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError("A demo is already running here.") from None
        yield


def _stop_database() -> None:
    """Stop the PostgreSQL of the demo, if it started one; it would stop by itself a little later."""
    connections.close_all()
    embedded.stop(settings.DEMO_PGDATA)
