"""``manage.py autotask doctor``: it finds what is wrong, and only that."""

import re
import sys
from types import SimpleNamespace

import pytest
from django.db import connection
from django.db.backends.postgresql.features import DatabaseFeatures
from django.utils.timezone import get_default_timezone

from autotask import acts, registry
from autotask.doctor import examination
from autotask.doctor.diagnosis import Patient, Verdict
from autotask.schedules import zone_data
from autotask.store import health, read, workers
from autotask.store.connection import current, execute
from autotask.worker.identity import make_identity
from tests import zones
from tests.helpers import wait_until
from tests.integration.commands.command import manage, process, sign_on
from tests.integration.commands.tasks import add, forget
from tests.integration.store.shapes import edit

pytestmark = pytest.mark.django_db(transaction=True)


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
    assert [line.split()[:2] for line in shown.out.splitlines()] == [[str(n), "OK"] for n in range(1, 21)]
    assert manage("doctor", "--quiet").out == ""


def test_the_doctor_finds_tasks_that_no_worker_can_find_and_repairs_them(worker):
    # Given
    handle = add.using(delay=600)(1, 2)
    execute(current(), "UPDATE autotask_task SET state = 1, ready_at = now() WHERE id = %(id)s", {"id": handle.id})
    assert (
        f"1 task due, but neither ready nor held nor claimed, so no worker finds it: {handle.id}."
        in problems()["places"]
    )
    assert str(handle.why()).startswith("misplaced: ")

    # When
    shown = manage("doctor", "--repair")

    # Then
    assert (shown.code, shown.out.splitlines()[0]) == (0, "1 task repaired.")
    assert handle.wait(20) == 3
    assert manage("doctor", "--repair", "--json").json["repaired"] == 0


def test_the_doctor_finds_a_folder_for_log_files_that_cannot_be_written(worker, settings, tmp_path):
    # Given
    settings.AUTOTASK_LOG_DIR = tmp_path / "logs"
    assert diagnosis()[1]["logs"][:2] == ("ok", f"this user may write log files to {tmp_path / 'logs'}")
    assert not (tmp_path / "logs").exists()

    # When
    (tmp_path / "logs").write_text("a file")

    # Then
    assert "is not a folder" in problems()["logs"]


def test_the_doctor_tells_which_rules_of_time_zones_are_used_and_that_newer_ones_are_installed(settings, tmp_path):
    # Given: a zone that only these data have
    settings.TIME_ZONE = "Europe/Atlantis"
    old = zones.write(tmp_path / "old", "9998a", Europe__Atlantis="<+01>-1", Europe__Berlin="CET-1")
    new = zones.write(tmp_path / "new", "9999a", Europe__Atlantis="<+02>-2", Europe__Berlin="CET-1")
    with zones.looked_for_in(old, new):
        # When
        text = problems()["zones"]

        # Then
        assert re.search(rf"9998a of {old}; Europe/Atlantis has other rules in 9999a of {new}, from \d{{4}}-", text)
        assert f"Start everything with PYTHONTZPATH={new}." in text
    with zones.looked_for_in(new, old):
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
    with zones.looked_for_in():
        zones.look_in()
        yield
    monkeypatch.undo()
    zone_data._imported.cache_clear()


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
    assert skipped() == {"queues", "waiting", "pruning", "background"}


def test_the_doctor_names_each_problem_with_its_number_and_fix():
    shown = manage("doctor", "--quiet")
    assert shown.code == 3
    assert re.fullmatch(r" 6  PROBLEM  workers +no worker is alive\n +fix: .*manage.py autotask worker\n", shown.out)
    assert shown.err == "1 problem found."


def test_the_doctor_takes_a_worker_without_a_lease_for_dead():
    sign_on()
    execute(
        connection, "UPDATE autotask_worker SET lease_until = now() - interval '1 s', seen_at = now() - interval '90 s'"
    )
    assert re.search(r"last seen 1 min 3\d s ago", problems()["workers"])


def test_a_database_that_cannot_be_reached_is_one_problem():
    shown = process("autotask", "doctor", DATABASE_URL="postgres://nobody:hush@127.0.0.1:1/none")
    assert shown.code == 3
    assert shown.out.count("PROBLEM") == 1 and shown.out.count("SKIPPED") == 14
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


@pytest.mark.usefixtures("_without_tables")
def test_the_doctor_misses_tables():
    assert list(problems()) == ["tables"]
    assert "search_path" in problems()["tables"]


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
    edit("UPDATE autotask_task SET ready_at = ready_at - interval '2 minutes'")

    # Then
    assert list(problems()) == ["waiting"]
    assert "has waited 2 min" in problems()["waiting"]


@pytest.mark.parametrize("target", [{"queue": "default"}, {"everything": True}])
def test_paused_tasks_that_wait_are_no_problem(target):
    sign_on()
    add(1, 2)
    edit("UPDATE autotask_task SET ready_at = ready_at - interval '2 minutes'")
    acts.pause(**target, by="ada")
    assert diagnosis()[0] == 0


@pytest.mark.parametrize("executor", ["remote", "background"])
def test_tasks_that_wait_for_something_else_than_a_worker_are_no_problem(executor):
    sign_on()
    add(1, 2)
    edit(
        "UPDATE autotask_task SET ready_at = ready_at - interval '2 minutes', executor = %(executor)s",
        {"executor": executor},
    )
    assert diagnosis()[0] == 0


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
    assert re.search(r"shop\.new \(1, for up to 3 min( \d+ s)?\)", problems()["unknown"])


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
    ("keeps", "text"), [(True, "keeps sessions: LISTEN receives"), (False, "polling, within 5 s"), (None, "polling")]
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
