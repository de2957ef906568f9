"""What projects do with all tables of a site: dump and load them, make them without migrations, roll them back."""

import datetime
import os
import subprocess
import sys

import pytest
from django.core.management import call_command
from django.db import connection

from autotask import completion
from autotask.models import Attempt, Result, Task, TaskRecord
from autotask.store.connection import execute, rows
from autotask.task import DONE, ERROR, WAITING
from autotask.testing import immediate
from tests.helpers import LONG, environment
from tests.integration.testing import tasks

pytestmark = pytest.mark.django_db(transaction=True)


# --- dumpdata and loaddata --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "words"), [("json", ()), ("xml", ("--all", "--natural-primary"))])
def test_what_was_dumped_can_be_loaded(tmp_path, form, words):
    # Given
    with immediate():
        done, failed = tasks.add(1, 2), tasks.fail("broken")
    waiting = tasks.add.using(delay=60, tags=["billing", "eu"])(b"\0\xff", 4)
    file = str(tmp_path / f"tasks.{form}")
    before = contents()

    # When
    call_command("dumpdata", "autotask", *words, format=form, output=file)
    execute(
        connection,
        "TRUNCATE autotask_task, autotask_ready, autotask_held, autotask_claim, autotask_result, autotask_attempt",
    )
    call_command("loaddata", file, verbosity=0)

    # Then
    assert contents() == before
    assert [handle.status for handle in (done, failed, waiting)] == [DONE, ERROR, WAITING]
    done.refresh()
    assert done.result == 3
    assert TaskRecord.objects.count() == 3


def contents():
    """Return all rows of tasks, as far as Django keeps them: in JSON to the millisecond, in XML without space around texts."""
    return [
        [{name: comparable(value) for name, value in row.items()} for row in model.objects.order_by("pk").values()]
        for model in (Task, Result, Attempt)
    ]


def comparable(value):
    if isinstance(value, datetime.datetime):
        return value.isoformat(timespec="milliseconds")
    return bytes(value) if isinstance(value, memoryview) else value.strip() if isinstance(value, str) else value


def test_a_view_is_still_not_written_to():
    with pytest.raises(Exception, match="view"):
        TaskRecord(id=tasks.add(1, 2).id).save()


# --- without migrations -----------------------------------------------------------------------------------------------


def test_what_only_migrations_make_is_made_where_the_tables_were_made_without():
    # Given
    before = described()
    execute(connection, "DROP VIEW autotask_record, autotask_live, autotask_running; DROP SEQUENCE autotask_fence")
    execute(connection, "ALTER TABLE autotask_task RESET (fillfactor, autovacuum_vacuum_threshold)")
    execute(connection, "ALTER TABLE autotask_worker RESET (fillfactor)")
    assert described() != before

    # When
    completion.complete(using="default")

    # Then
    assert described() == before


def described():
    """Return what the database has of autotask besides what models can say."""
    return rows(
        connection,
        """SELECT relname, relkind, array(SELECT unnest(reloptions) ORDER BY 1),
                  CASE relkind WHEN 'v' THEN pg_get_viewdef(oid) END
           FROM pg_class WHERE relname LIKE 'autotask%%' ORDER BY relname""",
    )


PROJECT = """
import pytest
from django.test import TransactionTestCase
from demo.models import Note
from demo.tasks import take_note
from autotask.models import TaskRecord
from autotask.testing import immediate


class Twice(TransactionTestCase):
    serialized_rollback = True

    def run_one(self):
        with immediate():
            handle = take_note("a", "b")
        assert handle.status == "done", handle.error_message
        assert TaskRecord.objects.count() == 1

    def test_one(self):
        self.run_one()

    def test_another(self):
        self.run_one()
"""


@pytest.mark.skipif(not LONG, reason="makes databases; what is made without migrations is tested above")
@pytest.mark.parametrize("words", [["--nomigrations"], []], ids=["nomigrations", "migrated"])
def test_tests_run_without_migrations_and_with_a_serialized_rollback(tmp_path, words):
    # Given
    (tmp_path / "test_project.py").write_text(PROJECT)
    database = f"fixtures_{os.getpid()}"

    # When
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--ds=testproject.settings", f"--rootdir={tmp_path}", *words],
        **{
            "cwd": tmp_path,
            "env": environment(TEST_NAME=database),
            "capture_output": True,
            "text": True,
            "timeout": 120,
        },
    )

    # Then
    assert "2 passed" in ended.stdout, ended.stdout + ended.stderr
