"""``manage.py autotask``: what it prints, what it does, and how it ends."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from types import SimpleNamespace

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.db.backends.postgresql.features import DatabaseFeatures
from django.utils.timezone import get_default_timezone

from autotask import registry
from autotask.management import examination
from autotask.management.commands.autotask import Command
from autotask.management.diagnosis import Patient, Verdict
from autotask.management.subcommands import worker as worker_command
from autotask.schedules import zone_data
from autotask.store import enqueue, health, read, workers
from autotask.store.connection import execute
from autotask.store.enqueue import Kind, NewTask
from autotask.store.workers import WorkerIdentity
from autotask.task import CANCELLED, DONE, RUNNING, new_id
from autotask.tasks import Cancel, TaskContext, delayed_task
from autotask.worker.identity import make_identity
from tests import zones
from tests.helpers import ROOT, environment, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

_may_end = threading.Event()


@delayed_task
def add(x: int, y: int) -> int:
    return x + y


@delayed_task(ttl=0)
def forget() -> None:
    """Is not kept."""


@delayed_task(queue="bad")
def misbehave() -> None:
    raise ValueError("\x1b[2Jgone\nsecond \x9b31mline")


@delayed_task(takes_context=True, at_most_once=True)
def give_up(context: TaskContext, number: int) -> None:
    context.progress(3, 4)
    raise Cancel(f"nobody wants {number} any more")


@delayed_task
def hold() -> None:
    _may_end.wait(30)


@pytest.fixture(autouse=True)
def _own_definitions(monkeypatch):
    # Those of other tests may be such as the system checks complain of.
    monkeypatch.setattr(registry, "_definitions", {task.name: task for task in (add, forget, misbehave, give_up, hold)})
    monkeypatch.setattr(registry, "_duplicates", [])


@pytest.fixture
def held(start_worker):
    """A task that runs until the end of the test."""
    _may_end.clear()
    handle = hold()
    start_worker()
    wait_until(lambda: handle.status == RUNNING)
    yield handle
    _may_end.set()


class Outcome:
    """What a command did: its exit code, what it printed, what it complained of."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self):
        return json.loads(self.out)


def manage(*words: object) -> Outcome:
    """Call the command in this process."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command(Command(), *words, stdout=out, stderr=err)
    except CommandError as error:
        return Outcome(error.returncode, out.getvalue(), err.getvalue() + str(error))
    return Outcome(0, out.getvalue(), err.getvalue())


def start(*words: str, **more: str) -> subprocess.Popen:
    """Start the command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "manage.py", *words],
        cwd=ROOT / "testproject",
        env=environment(**more),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def process(*words: str, **more: str) -> Outcome:
    """Run the command in a process of its own, to its end."""
    started = start(*words, **more)
    out, err = started.communicate(timeout=60)
    return Outcome(started.returncode, out, err)


def insert(id: uuid.UUID, queue: str = "default") -> None:
    """Store a task that nobody can run."""
    enqueue.insert(
        connection,
        NewTask(
            id,
            Kind(name="some.name", queue=queue, priority=0, delay=0, run_after=None, retries=0, ttl=60),
            arguments="",
            payload=b"",
        ),
    )


def sign_on(queues: tuple[str, ...] = ()) -> None:
    """Register a worker that lives for a minute and takes nothing."""
    identity = WorkerIdentity(
        id=uuid.uuid4(),
        kind="worker",
        host="elsewhere",
        boot_id="x",
        pid=7,
        pid_started=0,
        serves_pid=None,
        queues=queues,
        threads=3,
        version="1",
    )
    workers.sign_on(connection, identity, 60)


# --- status -----------------------------------------------------------------------------------------------------------


def test_status_shows_queues_and_workers_in_columns():
    # Given
    add(1, 2)
    add.using(delay=60)(1, 2)
    add.using(queue="mail")(1, 2).cancel()
    sign_on(("default", "mail"))

    # When
    shown = manage("status")

    # Then
    assert shown.code == 0
    assert re.search(r"^QUEUE +SCHEDULED +READY +RUNNING +OLDEST WAIT$", shown.out, re.M)
    assert re.search(r"^default +1 +1 +0 +\d\.\d s$", shown.out, re.M)
    assert "Ended in the last hour: 0 done, 0 error, 1 cancelled\n" in shown.out
    assert re.search(r"^ +7  elsewhere  worker +-  default,mail +3 +0 +\d\.\d s ago  alive$", shown.out, re.M)


def test_status_says_so_when_there_is_nothing():
    shown = manage("status").out
    assert "No task waits or runs.\n" in shown and "None is registered." in shown


def test_status_as_json_has_the_documented_keys():
    # Given
    add(1, 2)
    sign_on(("mail", "-slow"))

    # When
    shown = manage("status", "--json").json

    # Then
    assert list(shown) == ["at", "queues", "ended", "workers"]
    [queue], [worker] = shown["queues"], shown["workers"]
    assert list(queue) == ["queue", "scheduled", "ready", "running", "oldest_wait_seconds"]
    assert (queue["queue"], queue["ready"]) == ("default", 1)
    assert shown["ended"] == {"seconds": 3600, "done": 0, "error": 0, "cancelled": 0}
    assert (worker["pid"], worker["queues"], worker["exclude_queues"]) == (7, ["mail"], ["slow"])
    assert (worker["alive"], worker["stopping"], worker["running"]) == (True, False, 0)


def test_status_looks_again_and_again_also_when_a_connection_breaks():
    watching = start("autotask", "status", "--json", "--interval", "0.1")
    try:
        # Given: one document a line
        first = json.loads(watching.stdout.readline())

        # When
        broken = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        execute(connection, broken + " AND pid <> pg_backend_pid()")
        complaint = watching.stderr.readline()

        # Then
        second = json.loads(watching.stdout.readline())
        assert first["at"] < second["at"]
        assert complaint.startswith("The database cannot be asked now: ")
    finally:
        watching.send_signal(signal.SIGINT)
        _, err = watching.communicate(timeout=30)
    assert (watching.returncode, err) == (0, "")


def test_a_reader_that_has_seen_enough_is_no_error():
    watching = start("autotask", "status", "--interval", "0.1")
    watching.stdout.readline()
    watching.stdout.close()
    watching.stdout = None
    _, err = watching.communicate(timeout=30)
    assert (watching.returncode, err) == (0, "")


# --- list and show ----------------------------------------------------------------------------------------------------


def test_list_shows_the_newest_first_and_no_more_than_asked_for():
    # Given: ids that are made within one millisecond are in no order
    first, second, third = (uuid.UUID(int=new_id().int + milliseconds * 2**80) for milliseconds in (0, 60_000, 120_000))
    for id in (second, first, third):
        insert(id)

    # Then
    shown = manage("list", "--limit", 2).out.splitlines()
    assert [line.split()[0] for line in shown] == ["ID", str(third), str(second)]
    assert str(first) in manage("list").out


def test_list_is_narrowed_by_state_queue_and_name():
    # Given
    waiting, scheduled, cancelled = add(1, 1), add.using(delay=60)(1, 1), add(1, 1)
    cancelled.cancel()
    elsewhere = misbehave()

    # Then
    def ids(*words: str) -> set[str]:
        return {task["id"] for task in manage("list", "--json", *words).json["tasks"]}

    assert ids("--state", "cancelled") == {str(cancelled.id)}
    assert ids("--state", "waiting", "--queue", "default") == {str(waiting.id), str(scheduled.id)}
    assert ids("--name", misbehave.name) == ids("--queue", "bad") == {str(elsewhere.id)}
    assert ids("--state", "running") == set()


def test_tasks_are_listed_by_tag_and_shown_with_their_tags():
    # Given
    bill, plain = add.using(tags=["billing", "eu"])(1, 1), add(1, 1)
    cancelled = add.using(tags=("eu",))(1, 1)
    cancelled.cancel()

    # Then
    def ids(tag: str) -> set[str]:
        return {task["id"] for task in manage("list", "--json", "--tag", tag).json["tasks"]}

    assert ids("billing") == {str(bill.id)}
    assert ids("eu") == {str(bill.id), str(cancelled.id)}
    assert manage("list", "--tag", "bill").err == "There is no such task.\n"
    assert manage("show", bill.id, "--json").json["tags"] == ["billing", "eu"]
    assert manage("show", plain.id, "--json").json["tags"] == []
    assert re.search(r"^tags +billing, eu$", manage("show", bill.id).out, re.M)


def test_list_says_on_stderr_when_there_is_nothing():
    shown = manage("list")
    assert (shown.code, shown.out, shown.err) == (0, "", "There is no such task.\n")


def test_what_an_error_says_cannot_drive_the_terminal(autotask_immediate):
    # Given
    handle = misbehave()

    # Then
    for words in (["list"], ["show", handle.id], ["list", "--json"], ["show", handle.id, "--json"]):
        shown = manage(*words)
        assert "gone" in shown.out
        assert set(re.findall(r"[^\x20-\x7e]", shown.out)) <= {"\n"}
    assert "\x1b[2Jgone" in manage("show", handle.id, "--json").json["error_message"]


def test_show_reads_the_last_attempts_only(monkeypatch):
    # Given
    handle = add(1, 1)
    execute(
        connection,
        """INSERT INTO autotask_attempt (task_id, number, fence, state, ended_at, error_message, traceback)
        SELECT %s, number, number, 6, now(), 'error ' || number, 'traceback ' || number
        FROM generate_series(1, 25) AS number""",
        [handle.id],
    )
    execute(connection, "UPDATE autotask_task SET failures = 25")

    # Then
    shown = manage("show", handle.id).out
    assert "The last 20 attempts that did not succeed; there were earlier ones." in shown
    assert "traceback 25" in shown and "traceback 6\n" in shown and "traceback 5\n" not in shown
    document = manage("show", handle.id, "--json").json
    assert [attempt["number"] for attempt in document["attempts"]] == list(range(6, 26))
    assert handle.error_message == "error 25"
    assert len(handle.failed_attempts) == 25


def test_show_tells_everything_but_the_result(autotask_immediate):
    # Given
    handle = misbehave()

    # When
    shown, document = manage("show", handle.id), manage("show", handle.id, "--json").json

    # Then
    assert re.search(r"^state +error$", shown.out, re.M)
    assert re.search(r"^attempts +1 started, 1 failed, 0 lost; 0 retries allowed$", shown.out, re.M)
    assert re.search(r"^Attempt 1: error after \d\.\d s, ", shown.out, re.M)
    assert "  Traceback (most recent call last):\n" in shown.out
    assert list(document) == [
        *("id", "name", "queue", "priority", "tags", "status", "state", "arguments"),
        *("created_at", "run_at", "started_at", "ended_at", "kept_until"),
        *("attempt", "failures", "lost", "retries", "timeout", "executor", "scheduled_for"),
        *("expires_at", "at_most_once", "progress"),
        *("worker_id", "cancel_requested", "error_message", "attempts"),
    ]
    [attempt] = document["attempts"]
    assert list(attempt) == [
        *("number", "state", "started_at", "ended_at", "error_type", "error_message", "traceback"),
    ]
    assert (document["status"], attempt["state"]) == ("error", "error")


@pytest.mark.parametrize(
    ("executor", "timeout", "words"),
    [("", None, ("thread", "4 h (AUTOTASK_TIMEOUT)")), ("process", 90.0, ("process", "1 m 30 s"))],
)
def test_show_tells_where_a_task_runs_and_how_long_it_may_take(executor, timeout, words):
    # Given
    handle = add.using(delay=60)(1, 2)
    execute(connection, "UPDATE autotask_task SET executor = %s, timeout = %s", (executor, timeout))

    # When
    shown, document = manage("show", handle.id).out, manage("show", handle.id, "--json").json

    # Then
    assert (document["executor"], document["timeout"]) == (executor or "thread", timeout)
    assert re.search(rf"^executor +{words[0]}$", shown, re.M)
    assert re.search(rf"^time limit +{re.escape(words[1])}$", shown, re.M)


def test_show_and_list_tell_how_far_a_task_has_come_and_why_it_was_cancelled(autotask_immediate):
    # Given
    handle = give_up(7)

    # Then
    shown, document = manage("show", handle.id), manage("show", handle.id, "--json").json
    assert re.search(r"^progress +3/4 \(75%\)$", shown.out, re.M)
    assert re.search(r"^reason +nobody wants 7 any more$", shown.out, re.M)
    assert re.search(r"^attempts +1 started, 0 failed, 0 lost; at most once$", shown.out, re.M)
    assert document["progress"] == {"done": 3, "total": 4}
    assert (document["status"], document["error_message"]) == ("cancelled", "nobody wants 7 any more")
    assert document["at_most_once"] is True
    assert re.search(r" 3/4 .* nobody wants 7 any more$", manage("list").out, re.M)


def test_show_tells_when_a_task_expires():
    handle = add.using(expires=3600)(1, 2)
    shown, document = manage("show", handle.id), manage("show", handle.id, "--json").json
    assert re.search(r"^expires +20\d\d-", shown.out, re.M)
    assert document["expires_at"] > document["run_at"]
    assert document["progress"] is None


def test_a_task_is_found_by_the_beginning_of_its_id():
    handle = add(1, 2)
    assert manage("show", handle.id.hex[:20].upper(), "--json").json["id"] == str(handle.id)
    assert manage("show", str(handle.id)[:30], "--json").json["id"] == str(handle.id)


def test_a_beginning_that_several_ids_have_is_refused():
    # Given
    one = new_id()
    insert(one)
    insert(uuid.UUID(int=one.int ^ 1))

    # When
    shown = manage("cancel", one.hex[:31])

    # Then
    assert (shown.code, shown.out) == (1, "")
    assert "several tasks" in shown.err


@pytest.mark.parametrize("command", ["show", "retry", "cancel"])
@pytest.mark.parametrize(
    "id", ["01930f3e", "0193b0a4-0000-7000-8000-000000000000", "nonsense", "1930f3e", "\x1b[2J", "0" * 33, ""]
)
def test_an_id_of_no_task_ends_with_4(command, id):
    shown = manage(command, id)
    assert (shown.code, shown.out) == (4, "")
    assert shown.err and "\x1b" not in shown.err


# --- retry, cancel, prune ---------------------------------------------------------------------------------------------


def test_retry_puts_a_cancelled_task_back(start_worker):
    # Given
    handle = add(1, 2)
    handle.cancel()

    # When
    shown = manage("retry", handle.id)

    # Then
    assert (shown.code, shown.out) == (0, f"{handle.id} will be run again\n")
    start_worker()
    handle.refresh()
    assert handle.wait(20) == 3


def test_retry_refuses_what_has_not_failed():
    shown = manage("retry", add(1, 2).id)
    assert (shown.code, shown.out) == (1, "")
    assert "cannot be retried: it is waiting" in shown.err


def test_what_cannot_be_done_with_one_task_is_done_with_the_others():
    # Given
    first, second = add(1, 2), add(1, 2)

    # When
    shown = manage("cancel", first.id, "nonsense", uuid.uuid4(), second.id)

    # Then
    assert shown.code == 4
    assert first.status == second.status == CANCELLED
    assert shown.out.splitlines() == [f"{first.id} is cancelled", f"{second.id} is cancelled"]
    assert "2 of 4 could not be done." in shown.err


def test_cancel_asks_the_worker_of_a_task_that_runs(held):
    shown = manage("cancel", held.id)
    assert (shown.code, shown.out) == (0, f"{held.id} runs; its worker is asked to stop it\n")
    assert manage("show", held.id, "--json").json["cancel_requested"] is True


def test_cancel_refuses_what_has_ended():
    handle = add(1, 2)
    handle.cancel()
    shown = manage("cancel", handle.id)
    assert (shown.code, shown.out) == (1, "")
    assert "it has ended as cancelled" in shown.err


def test_prune_deletes_what_is_past_its_time_to_live():
    # Given
    old, kept = forget(), add(1, 2)
    for handle in (old, kept):
        handle.cancel()

    # Then
    assert manage("prune", "--older-than", "1h").out == "0 results deleted.\n"
    assert manage("prune", "--dry-run").out == "1 result would be deleted.\n"
    assert manage("show", old.id).code == 0
    assert manage("prune").out == "1 result deleted.\n"
    assert (manage("show", old.id).code, manage("show", kept.id).code) == (4, 0)


# --- worker -----------------------------------------------------------------------------------------------------------


def test_worker_passes_its_options_on_and_marks_its_process(monkeypatch, settings):
    # Given
    settings.AUTOTASK_THREADS = 9
    monkeypatch.setenv("AUTOTASK_WORKER", "")  # so that what the command sets is taken back after the test
    monkeypatch.delenv("AUTOTASK_WORKER")
    seen = []

    def run_worker(options):
        seen.append((options, os.environ["AUTOTASK_WORKER"]))
        return 0

    monkeypatch.setattr(worker_command, "run_worker", run_worker)

    # When
    assert manage("worker", "--queues", "a,b", "--exclude-queues", "b", "--threads", "2", "--burst").code == 0
    assert manage("worker").code == 0

    # Then
    (asked, mark), (default, _) = seen
    assert (asked.kind, asked.queues, asked.exclude_queues) == ("worker", ("a", "b"), ("b",))
    assert (asked.threads, asked.burst, mark) == (2, True, str(os.getpid()))
    assert (default.threads, default.queues, default.burst) == (9, (), False)


def test_worker_refuses_to_serve_nothing():
    assert manage("worker", "--queues", "a", "--exclude-queues", "a,b").code == 2


def test_worker_refuses_to_reload_and_to_end():
    shown = manage("worker", "--reload", "--burst")
    assert shown.code == 2 and "choose one of them" in shown.err


def test_worker_refuses_to_start_where_the_checks_find_an_error(settings):
    settings.AUTOTASK_LEASE = 1
    shown = manage("worker", "--burst")
    assert shown.code == 1 and "autotask.E006" in shown.err


def test_worker_runs_what_is_there_and_ends_with_burst():
    # Given
    handle = delayed_task(name="demo.tasks.take_note")(lambda topic, text: None)("one", "two")

    # When
    ended = process("autotask", "worker", "--burst", "--settings", "testproject.settings")

    # Then
    assert ended.code == 0, ended.err
    assert handle.status == DONE
    assert ended.out == ""


def test_worker_stops_when_it_is_told_to():
    started = start("autotask", "worker", "--exclude-queues", "slow")
    try:
        [worker] = wait_until(lambda: manage("status", "--json").json["workers"])
        assert (worker["pid"], worker["kind"], worker["exclude_queues"]) == (started.pid, "worker", ["slow"])
    finally:
        started.terminate()
        started.communicate(timeout=30)
    assert started.returncode == 0
    assert manage("status", "--json").json["workers"] == []


# --- doctor -----------------------------------------------------------------------------------------------------------


def diagnosis(*words: str) -> tuple[int, dict[str, tuple[str, str, str]]]:
    """Return the exit code of the doctor, and verdict, text and fix of each check by its name."""
    shown = manage("doctor", "--json", *words)
    assert shown.json["healthy"] is (shown.code == 0)
    return shown.code, {
        check["name"]: (check["verdict"], check["text"], check["fix"]) for check in shown.json["checks"]
    }


def problems(*words: str) -> dict[str, str]:
    """Return text and fix of what the doctor finds wrong; it must end with 3."""
    code, found = diagnosis(*words)
    assert code == 3
    return {name: f"{text} {fix}" for name, (verdict, text, fix) in found.items() if verdict == "problem"}


def skipped() -> set[str]:
    return {name for name, (verdict, _, _) in diagnosis()[1].items() if verdict == "skipped"}


def test_the_doctor_finds_nothing_wrong_where_nothing_is(worker):
    # Given
    add(1, 2).wait(20)

    # When
    shown = manage("doctor")

    # Then
    assert (shown.code, shown.err) == (0, "")
    assert [line.split()[:2] for line in shown.out.splitlines()] == [[str(n), "OK"] for n in range(1, 16)]
    assert manage("doctor", "--quiet").out == ""


def test_the_doctor_tells_which_rules_of_time_zones_are_used_and_that_newer_ones_are_installed(settings, tmp_path):
    # Given: a zone that only these data have
    settings.TIME_ZONE = "Europe/Atlantis"
    old = zones.write(tmp_path / "old", "9998a", Europe__Atlantis="<+01>-1", Europe__Berlin="CET-1")
    new = zones.write(tmp_path / "new", "9999a", Europe__Atlantis="<+02>-2", Europe__Berlin="CET-1")
    with zones.looked_for_in(old, new):
        get_default_timezone.cache_clear()

        # When
        text = problems()["zones"]

        # Then
        assert re.search(rf"9998a of {old}; Europe/Atlantis has other rules in 9999a of {new}, from \d{{4}}-", text)
        assert f"Start everything with PYTHONTZPATH={new}." in text
    with zones.looked_for_in(new, old):
        get_default_timezone.cache_clear()
        assert diagnosis()[1]["zones"][:2] == ("ok", f"9999a of {new}")


def test_the_doctor_finds_workers_that_use_other_rules_of_time_zones():
    sign_on()
    execute(connection, "UPDATE autotask_worker SET zone_data = '1999a of /usr/share/zoneinfo', pid = 77, host = 'old'")
    text = problems()["zones"]
    assert "but pid 77 on old uses 1999a of /usr/share/zoneinfo" in text
    assert "Install the same version everywhere" in text


def register_this_process() -> None:
    """Register this process as a worker that lives for a minute."""
    workers.sign_on(connection, make_identity(kind="worker", serves_pid=None, queues=(), threads=1), 60)


def test_the_doctor_compares_versions_of_time_zones_only_where_they_are_known(tmp_path):
    folder = zones.write(tmp_path / "zones", "9999a", Europe__Berlin="CET-1")
    (folder / "tzdata.zi").unlink()
    with zones.looked_for_in(folder):
        register_this_process()
        assert read.workers(connection)[0].zone_data == f"unknown version of {folder}"
        assert diagnosis()[1]["zones"][0] == "ok"
    assert diagnosis()[1]["zones"][0] == "ok"


@pytest.fixture
def no_zones(monkeypatch):
    """No data of time zones, as in an image of Alpine Linux."""
    monkeypatch.setitem(sys.modules, "tzdata", None)
    zone_data._imported.cache_clear()
    get_default_timezone.cache_clear()
    with zones.looked_for_in():
        zones.look_in()
        yield
    monkeypatch.undo()
    zone_data._imported.cache_clear()
    get_default_timezone.cache_clear()


def test_a_worker_starts_where_there_is_no_data_of_time_zones_and_the_doctor_says_so(no_zones):
    register_this_process()
    assert read.workers(connection)[0].zone_data == ""
    assert "pip install tzdata" in problems()["zones"]


def test_a_worker_registers_which_rules_of_time_zones_it_uses(worker):
    [registered] = wait_until(lambda: read.workers(connection))
    assert registered.zone_data == str(zone_data.in_use(get_default_timezone()))


def test_the_doctor_misses_a_worker_and_says_how_to_start_one():
    add(1, 2)
    assert list(problems()) == ["workers"]
    assert "python manage.py autotask worker" in problems()["workers"]
    assert skipped() == {"queues", "waiting", "pruning"}


def test_the_doctor_names_each_problem_with_its_number_and_fix():
    shown = manage("doctor", "--quiet")
    assert shown.code == 3
    assert re.fullmatch(r" 6  PROBLEM  workers +none lives\n +fix: .*manage.py autotask worker\n", shown.out)
    assert shown.err == "1 problem found."


def test_the_doctor_takes_a_worker_without_a_lease_for_dead():
    sign_on()
    execute(
        connection, "UPDATE autotask_worker SET lease_until = now() - interval '1 s', seen_at = now() - interval '90 s'"
    )
    assert re.search(r"last seen 1 m 3\d s ago", problems()["workers"])


def test_a_database_that_cannot_be_reached_is_one_problem():
    shown = process("autotask", "doctor", DATABASE_URL="postgres://nobody:hush@127.0.0.1:1/none")
    assert shown.code == 3
    assert shown.out.count("PROBLEM") == 1 and shown.out.count("SKIPPED") == 11
    assert "Traceback" not in shown.err and "hush" not in shown.out + shown.err


def test_a_database_that_is_not_known_is_told_as_such(settings):
    settings.AUTOTASK_DATABASE = "nowhere"
    assert set(problems()) == {"database", "settings"}
    assert "autotask.E002" in problems()["settings"]


def test_a_setting_that_makes_no_sense_is_told_as_such(settings):
    settings.AUTOTASK_DATABASE = settings.AUTOTASK_IS_ACTIVE = 7
    assert set(problems()) == {"database", "switch", "settings"}


def test_the_doctor_wants_the_version_that_django_wants(monkeypatch):
    sign_on()
    monkeypatch.setattr(DatabaseFeatures, "minimum_database_version", (99,))
    assert list(problems()) == ["database"]
    assert "PostgreSQL 99 or later is required" in problems()["database"]


def test_the_doctor_misses_migrations():
    execute(connection, "UPDATE django_migrations SET app = 'gone' WHERE app = 'autotask'")
    try:
        assert list(problems()) == ["tables"]
        assert "autotask.0001_initial" in problems()["tables"]
        assert "python manage.py migrate autotask" in problems()["tables"]
    finally:
        execute(connection, "UPDATE django_migrations SET app = 'autotask' WHERE app = 'gone'")


def test_the_doctor_names_missing_rights(lesser_role):
    # Given
    execute(connection, f"REVOKE UPDATE ON autotask_result FROM {lesser_role}; SET ROLE {lesser_role}")

    # Then
    finding = examination.look_at_tables(SimpleNamespace(connection=connection))
    assert "UPDATE ON TABLE autotask_result, USAGE ON SEQUENCE autotask_fence" in finding.text
    assert f'GRANT USAGE ON SEQUENCE autotask_fence TO "{lesser_role}"' in finding.fix


@pytest.fixture
def _without_tables(transactional_db):
    execute(connection, "ALTER TABLE autotask_worker RENAME TO autotask_gone")
    yield
    execute(connection, "ALTER TABLE autotask_gone RENAME TO autotask_worker")


@pytest.mark.usefixtures("_without_tables")
def test_the_doctor_misses_tables():
    assert list(problems()) == ["tables"]
    assert "search_path" in problems()["tables"]


@pytest.mark.usefixtures("_without_tables")
@pytest.mark.parametrize(
    "words", [["status"], ["list"], ["show", "0" * 32], ["retry", "x"], ["cancel", "x"], ["prune"], ["resign"]]
)
def test_without_tables_there_is_one_line_that_says_so(words):
    shown = manage(*words)
    assert (shown.code, shown.out) == (1, "")
    assert re.fullmatch(r"The tables of autotask are not in .* Run: python manage.py migrate autotask", shown.err)


def test_the_doctor_sees_that_autotask_is_switched_off(settings):
    sign_on()
    settings.AUTOTASK_IS_ACTIVE = False
    assert list(problems()) == ["switch"]


@pytest.mark.parametrize("value", [True, "raise"])
def test_the_doctor_sees_that_a_site_runs_tasks_at_the_call(settings, value):
    sign_on()
    settings.AUTOTASK_IMMEDIATE = value
    assert list(problems()) == ["switch"]
    assert f"AUTOTASK_IMMEDIATE is {value!r}" in problems()["switch"]


def test_the_doctor_repeats_what_the_system_checks_find(settings):
    sign_on()
    settings.AUTOTASK_LEASE, settings.AUTOTASK_HEARTBEAT = 30, 20
    assert list(problems()) == ["settings"]
    assert "autotask.E006" in problems()["settings"] and "60 or more" in problems()["settings"]


def test_the_doctor_leaves_out_what_the_project_has_silenced(settings):
    sign_on()
    settings.AUTOTASK_LEASE, settings.AUTOTASK_HEARTBEAT = 30, 20
    settings.SILENCED_SYSTEM_CHECKS = ["autotask.E006"]
    assert diagnosis()[0] == 0


def test_the_doctor_misses_task_functions(monkeypatch):
    sign_on()
    monkeypatch.setattr(registry, "_definitions", {})
    assert list(problems()) == ["tasks"]


@pytest.mark.parametrize("queues", [("mail",), ("-other",)])
def test_the_doctor_finds_queues_that_nobody_serves(queues):
    sign_on(queues)
    add.using(queue="other")(1, 2)
    assert list(problems()) == ["queues"]
    assert "no worker serves other" in problems()["queues"]
    assert "worker --queues other" in problems()["queues"]


def test_the_doctor_finds_tasks_that_wait_too_long():
    # Given
    sign_on()
    add(1, 2)
    assert diagnosis()[0] == 0

    # When
    execute(connection, "UPDATE autotask_task SET ready_at = ready_at - interval '2 minutes'")

    # Then
    assert list(problems()) == ["waiting"]
    assert "has waited 2 m" in problems()["waiting"]


def test_the_doctor_finds_results_that_nobody_prunes():
    # Given
    sign_on()
    forget().cancel()
    assert diagnosis()[0] == 0

    # When
    execute(connection, "UPDATE autotask_result SET kept_until = kept_until - interval '1 hour'")

    # Then
    assert list(problems()) == ["pruning"]
    assert "1 result " in problems()["pruning"] and "autotask prune" in problems()["pruning"]


def test_the_doctor_finds_tasks_that_workers_do_not_know():
    # Given
    sign_on()
    add(1, 2)
    assert diagnosis()[0] == 0

    # When
    execute(connection, "UPDATE autotask_task SET name = 'shop.new', unknown_since = now() - interval '3 minutes'")

    # Then
    assert list(problems()) == ["unknown"]
    assert re.search(r"shop\.new \(1, for up to 3 m( \d+ s)?\)", problems()["unknown"])


def test_the_doctor_finds_a_transaction_that_holds_back_vacuum(monkeypatch, other_connection):
    # Given
    monkeypatch.setattr(examination, "LONG_TRANSACTION", 0.0)
    other_connection.set_autocommit(False)
    with other_connection.cursor() as cursor:
        cursor.execute("SET application_name = 'left \x1b[2J open'")
        cursor.execute("CREATE TEMPORARY TABLE hush_hush (id int)")
        cursor.execute("SELECT pg_backend_pid()")
        [pid] = cursor.fetchone()

    # When
    found = manage("doctor", "--json").json["checks"][12]

    # Then
    assert found["verdict"] == "problem"
    assert f"pid {pid} (" in found["text"] and "last query at" in found["text"]
    assert f"pg_terminate_backend({pid})" in found["fix"]
    assert "hush" not in str(found) and "\x1b" not in str(found)
    other_connection.rollback()
    other_connection.set_autocommit(True)


def test_a_connection_that_listens_hears(other_connection):
    assert health.hears(other_connection)
    assert health.hears(other_connection)


@pytest.mark.parametrize(
    ("keeps", "text"), [(True, "keeps sessions: LISTEN hears"), (False, "polling, within 5 s"), (None, "polling")]
)
def test_a_pooler_is_no_problem_but_is_told(other_connection, keeps, text):
    class ThroughPooler(Patient):
        connection = other_connection
        pooled = True

        def hears(self):
            return keeps

    finding = examination.look_at_listening(ThroughPooler())
    assert finding.verdict is Verdict.OK
    assert text in finding.text


def test_a_statement_that_fails_is_a_problem_of_its_check_only(monkeypatch):
    sign_on()
    monkeypatch.setattr(health, "OLD_TRANSACTIONS", "SELECT 1 / 0")
    assert list(problems()) == ["transactions"]


# --- exit codes of real processes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["status"], 0),
        ([], 2),
        (["prune", "--older-than", "soon"], 2),
        (["doctor"], 3),
        (["show", "00000000-0000-0000-0000-000000000000"], 4),
    ],
)
def test_the_process_ends_with_the_documented_code(words, code):
    assert process("autotask", *words).code == code


def test_text_that_the_terminal_has_no_letters_for_is_no_error():
    handle = delayed_task(name="some.name")(lambda text: None)("漢字 ü")
    shown = process("autotask", "show", str(handle.id), PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (shown.code, shown.err) == (0, "")
    assert re.search(r"^arguments +text='\?\? \?'$", shown.out, re.M)


def test_wrong_settings_do_not_keep_manage_py_check_from_telling():
    wrong = dict.fromkeys(("TASKS_MODULE", "IS_ACTIVE", "COMPANION", "DATABASE"), "5")
    shown = process("check", **{f"AUTOTASK_{name}": value for name, value in wrong.items()})
    assert shown.code == 1
    assert shown.err.count("(autotask.E003)") == 4
    assert "Traceback" not in shown.err
