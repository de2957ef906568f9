"""How the host of a background worker hears of what another process puts."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from autotask.store import background
from autotask.store.connection import execute
from tests.helpers import wait_until
from tests.integration.background.app import tasks
from tests.integration.background.conftest import Lines, Start


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Nobody was called lately."""
    background._called_at.clear()


def test_a_value_and_the_call_of_its_host_are_one_statement(
    start: Start, lines: Lines, django_assert_num_queries: Callable[[int], Any]
) -> None:
    start()
    tasks.handle.start()
    wait_until(tasks.handle.is_started)
    with django_assert_num_queries(1):
        tasks.handle.put(1)
    lines.wait_for("handle", 1)
    with transaction.atomic():
        tasks.handle.put(2)
        tasks.handle.put(3)
    tasks.handle.put(4)  # which comes so soon that the host needs no other call
    lines.wait_for("handle", 4)
    assert lines.words("handle") == [1, 2, 3, 4]


@pytest.mark.django_db(transaction=True)
def test_a_role_that_may_not_see_the_hosts_stores_its_values_all_the_same(lesser_role: str) -> None:
    execute(connection, f"REVOKE ALL ON autotask_background_instance FROM {lesser_role}; SET ROLE {lesser_role}")
    handles = [tasks.handle.put(number) for number in range(2)]
    execute(connection, "RESET ROLE")
    assert [handle.status.name for handle in handles if handle] == ["WAITING"] * 2


def test_a_value_whose_statement_conflicts_with_others_in_a_serializable_session_is_stored_all_the_same(
    start: Start, lines: Lines, refuse: Callable[..., Callable[[], None]]
) -> None:
    start()
    tasks.handle.start()
    wait_until(tasks.handle.is_started)
    end = refuse("autotask_claim", "INSERT", code="40001")
    tasks.handle.put(1)
    end()
    lines.wait_for("handle", 1)
