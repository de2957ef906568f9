"""What statements read while an old transaction keeps all that has ended since it began: no more than before."""

import time

import pytest

from autotask.store import claim, finish, promote
from autotask.store.claim import Lane
from autotask.store.connection import current, execute, rows
from autotask.task import ClaimedTask, State
from autotask.worker.lanes import Lanes
from tests.integration.store import crowd
from tests.integration.store.plans import assert_cheap, explained
from tests.integration.store.shapes import outcome, put, sign_on

pytestmark = pytest.mark.django_db(transaction=True)

#: Tasks that are drained while an old transaction sees them still.
DRAINED = min(20_000, crowd.ROWS // 10)


@pytest.mark.parametrize(
    "ready_at",
    [
        pytest.param("t.ready_at - interval '10 days' + n * interval '1 s'", id="enqueued one by one"),
        pytest.param("t.ready_at + n * interval '1 us'", id="enqueued at once"),
    ],
)
def test_a_claim_stays_cheap_while_an_old_transaction_keeps_what_has_ended(other_connection, ready_at):
    with crowd.own_schema():
        # Given
        (first,) = put(payload=b"x" * 200)
        crowd.multiply("autotask_task", first, DRAINED + 100, ready_at=ready_at)
        execute(other_connection, "BEGIN ISOLATION LEVEL REPEATABLE READ")
        assert rows(other_connection, "SELECT 1") == [(1,)]
        drain = Drain()

        # When
        drain.batches(DRAINED // 50)

        # Then
        with explained(current()) as claiming:
            tasks = drain.claim(10)
        with explained(current()) as finishing:
            end(tasks)
        with explained(current()) as promoting:
            promote.promote(current())
        with explained(current()) as looking:
            lanes = claim.find_lanes(current(), sure=drain.sure()).lanes
        assert len(tasks) == 10
        assert_cheap(claiming, index="autotask_ready_pkey", buffers=200)
        assert_cheap(finishing, index="autotask_task_pkey", buffers=200, avoids="autotask_ready_pkey")
        assert_cheap(promoting, index="autotask_due", buffers=20, avoids="autotask_ready_pkey")
        assert_cheap(looking, index="autotask_ready_pkey", buffers=40)
        assert lanes == drain.sure() == [Lane("default", 0)]


class Drain:
    """Claims and finishes as a worker does, which remembers what it has claimed last."""

    def __init__(self) -> None:
        self._worker = sign_on()
        self._lanes = Lanes(lambda queue: True)
        self._lanes.found(claim.find_lanes(current())[0])

    def claim(self, limit: int) -> list[ClaimedTask]:
        tasks = claim.claim(current(), self._worker, self._lanes.in_order(), per_lane=limit, limit=limit)
        self._lanes.claimed(tasks, full=len(tasks) == limit)
        return tasks

    def sure(self) -> list[Lane]:
        return list(self._lanes.sure)

    def batches(self, number: int) -> None:
        for _ in range(number):
            assert end(self.claim(50)) == 50
        self._lanes.in_order(unbounded=True)  # The next claim is none of those that now and then look at everything.


def end(tasks: list[ClaimedTask]) -> int:
    return finish.end(current(), [outcome(task, State.DONE) for task in tasks], now=time.monotonic(), error_ttl=9.0)
