"""The statement that records the success of a step that was handed over alone, and writes it to its row."""

import json
import time
import uuid

import pytest
from django.db import connection

from autotask.store import begin_step, claims, finish, rescue
from autotask.store.finish import Outcome, RowEnds
from autotask.task import State
from tests.integration.st2app.models import HelloTask


@pytest.fixture
def claimed(tables):
    """A row whose step was stored as claimed, and the claim."""
    row = HelloTask.objects.create(name="Ann")
    key = row.task_definition.key_of(str(row.pk))
    return row, begin_step.claim(connection, key, uuid.uuid4(), step=1, payload=None, largest=2000)


def recorded(row, claim, *, over):
    outcome = Outcome(claim.id, claim.fence, State.DONE, ended_at=time.monotonic(), seconds=0.1)
    row_ends = RowEnds(row.task_definition.table(), {claim.id: json.dumps("Hello")}, 1)
    now = time.monotonic()
    return finish.end(connection, [outcome], now=now, error_ttl=60.0, row_ends=row_ends, over=over), row_ends.missed


def left():
    with connection.cursor() as cursor:
        cursor.execute("SELECT (SELECT count(*) FROM autotask_claim), (SELECT count(*) FROM autotask_task)")
        return cursor.fetchone()


@pytest.mark.parametrize("is_known", [True, False], ids=["known to be the last", "perhaps not the last"])
def test_the_end_is_in_the_row_and_the_claim_is_gone(claimed, is_known):
    row, claim = claimed
    assert recorded(row, claim, over=[claims.number(claim.fence)] if is_known else []) == (1, 0)
    row.refresh_from_db()
    assert (row.success, row.result) == (True, "Hello")
    assert left() == (0, 0)


def test_a_claim_that_is_no_longer_in_force_records_nothing(claimed):
    row, claim = claimed
    rescue.lose(connection, [(claim.id, claim.fence, "it died")], max_crashes=3, error_ttl=60.0)
    assert recorded(row, claim, over=[claims.number(claim.fence)]) == (0, 0)
    row.refresh_from_db()
    assert row.done_time is None
    assert left() == (0, 1)
