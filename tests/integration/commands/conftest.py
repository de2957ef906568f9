"""What the tests of the commands have in common."""

import pytest
from django.db import connection

from autotask import registry
from autotask.store.connection import execute
from autotask.task import RUNNING
from tests.helpers import wait_until
from tests.integration.commands.tasks import add, forget, give_up, hold, may_end, misbehave


@pytest.fixture(autouse=True)
def _own_definitions(monkeypatch):
    # Those of other tests may be such as the system checks complain of.
    monkeypatch.setattr(registry, "_definitions", {task.name: task for task in (add, forget, misbehave, give_up, hold)})
    monkeypatch.setattr(registry, "_duplicates", [])


@pytest.fixture
def held(start_worker):
    """A task that runs until the end of the test."""
    may_end.clear()
    handle = hold()
    start_worker()
    wait_until(lambda: handle.status == RUNNING)
    yield handle
    may_end.set()


@pytest.fixture
def _without_tables(transactional_db):
    execute(connection, "ALTER TABLE autotask_worker RENAME TO autotask_gone")
    yield
    execute(connection, "ALTER TABLE autotask_gone RENAME TO autotask_worker")
