"""Sites whose router sends reads to a replica."""

import copy

import pytest
from django.db import connections, transaction

from autotask.exceptions import RowBusy
from demo.models import Inspection
from tests.integration.model_tasks.test_admin import act, root  # noqa: F401 - a fixture
from tests.integration.store.shapes import let_run

REPLICA = "replica"


class ReplicaRouter:
    """Reads from the replica, writes to the other database."""

    def db_for_read(self, model, **hints):
        return REPLICA

    def db_for_write(self, model, **hints):
        return "default"

    def allow_relation(self, one, other, **hints):
        return True


@pytest.fixture
def replica(transactional_db, settings):
    """A second connection to the same database, which refuses to write, as a standby does."""
    entry = copy.deepcopy(connections.settings["default"])
    entry["CONN_MAX_AGE"] = None
    entry["OPTIONS"] = {**entry["OPTIONS"], "options": "-c default_transaction_read_only=on"}
    connections.settings[REPLICA] = entry
    connections[REPLICA].connect()  # A test may not connect by itself to what it has not declared.
    settings.DATABASE_ROUTERS = [ReplicaRouter()]
    yield
    connections[REPLICA].close()
    del connections[REPLICA], connections.settings[REPLICA]


@pytest.fixture
def read(replica):
    """A row that comes from the replica."""
    row = Inspection.objects.get(pk=Inspection.objects.create(machine="lathe").pk)
    assert row._state.db == REPLICA
    return row


def test_a_row_from_a_replica_is_started_again(read):
    before = read.task_id
    read.start_again()

    assert read.task_id != before
    assert Inspection.objects.get(pk=read.pk).task_id == read.task_id


def test_a_row_from_a_replica_is_marked_as_done(read):
    read.mark_done()

    assert Inspection.objects.get(pk=read.pk).done_time is not None


def test_a_row_from_a_replica_that_runs_is_busy(read):
    let_run(read.task_id)
    with pytest.raises(RowBusy):
        read.mark_done()


def test_the_admin_acts_on_rows_from_a_replica(read, root):  # noqa: F811 - the fixture
    assert act(root, "start_again", read) == ["Started again from step 1. (1)"]
    assert act(root, "mark_done", read) == ["Marked as done. (1)"]
    assert root.get(f"/admin/demo/inspection/{read.pk}/change/").status_code == 200


@pytest.mark.parametrize("using", [{}, {"using": "default"}], ids=["by the router", "by name"])
def test_a_row_from_a_replica_is_saved_without_the_columns_of_workers(read, using):
    Inspection.objects.using("default").filter(pk=read.pk).update(current_step=2)
    read.machine = "drill"
    read.save(**using)

    found = Inspection.objects.get(pk=read.pk)
    assert (found.machine, found.current_step) == ("drill", 2)


def test_a_row_that_only_the_other_database_has_is_copied_as_it_is(read):
    Inspection.objects.using("default").filter(pk=read.pk).delete()
    read.save(using="default")

    assert Inspection.objects.get(pk=read.pk).task_id == read.task_id


def test_a_new_row_that_was_read_again_from_a_replica_is_inserted_if_that_was_rolled_back(replica):
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        row = Inspection.objects.create(machine="lathe")
        row._state.db = REPLICA  # as after refresh_from_db()
        1 / 0  # noqa: B018 - it raises
    row.save()

    assert Inspection.objects.get(pk=row.pk).machine == "lathe"
