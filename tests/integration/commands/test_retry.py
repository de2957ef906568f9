"""``manage.py autotask retry``."""

import pytest

from tests.integration.commands.command import manage
from tests.integration.commands.tasks import add

pytestmark = pytest.mark.django_db(transaction=True)


def test_retry_puts_a_cancelled_task_back(start_worker):
    # Given
    handle = add(1, 2)
    handle.cancel()

    # When
    shown = manage("retry", handle.id)

    # Then
    assert (shown.code, shown.out) == (0, f"{handle.id} will run again\n")
    start_worker()
    handle.refresh()
    assert handle.wait(20) == 3


def test_retry_refuses_what_has_not_failed():
    shown = manage("retry", add(1, 2).id)
    assert (shown.code, shown.out) == (1, "")
    assert "cannot be retried: it is waiting" in shown.err
