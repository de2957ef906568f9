"""The idempotency keys of requests."""

import uuid

import pytest

from autotask.store import idempotency
from autotask.store.connection import current, execute, rows

pytestmark = pytest.mark.django_db


def test_a_new_key_takes_away_ten_old_ones_whatever_the_planner_thinks_of_the_table():
    # Given the statistics of a moment at which the table held one key (findings/limit_1_claims_the_whole_backlog.sh)
    assert idempotency.keep(current(), "shop", "live", "f", uuid.uuid4(), 3600)
    execute(current(), "ANALYZE autotask_idempotency_key")
    for old in range(30):
        assert idempotency.keep(current(), "shop", f"old {old}", "f", uuid.uuid4(), 3600)
    execute(current(), "UPDATE autotask_idempotency_key SET until = now() WHERE key <> 'live'")
    # When a request has a new key
    assert idempotency.keep(current(), "shop", "new", "f", uuid.uuid4(), 3600)
    # Then it has taken away no more than ten
    assert rows(current(), "SELECT count(*) FROM autotask_idempotency_key") == [(22,)]
