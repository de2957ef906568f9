"""``manage.py autotask cancel``, of one task and of several."""

import uuid

import pytest

from autotask.task import CANCELLED
from tests.integration.commands.command import manage
from tests.integration.commands.tasks import add

pytestmark = pytest.mark.django_db(transaction=True)


def test_what_cannot_be_done_with_one_task_is_done_with_the_others():
    # Given
    first, second = add(1, 2), add(1, 2)

    # When
    shown = manage("cancel", first.id, "nonsense", uuid.uuid4(), second.id)

    # Then
    assert shown.code == 4
    assert first.status == second.status == CANCELLED
    assert shown.out.splitlines() == [f"{first.id} is cancelled", f"{second.id} is cancelled"]
    assert "2 of 4 failed." in shown.err


def test_cancel_asks_the_worker_of_a_task_that_runs(held):
    shown = manage("cancel", held.id)
    assert (shown.code, shown.out) == (0, f"{held.id} is running; its worker was asked to stop it\n")
    assert manage("show", held.id, "--json").json["cancel_requested"] is True


def test_cancel_refuses_what_has_ended():
    handle = add(1, 2)
    handle.cancel()
    shown = manage("cancel", handle.id)
    assert (shown.code, shown.out) == (1, "")
    assert "it has finished as cancelled" in shown.err
