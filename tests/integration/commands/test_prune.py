"""``manage.py autotask prune``."""

import pytest

from tests.integration.commands.command import manage
from tests.integration.commands.tasks import add, forget

pytestmark = pytest.mark.django_db(transaction=True)


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
    assert "gone since" in manage("show", old.id).out
    assert "gone since" not in manage("show", kept.id).out
