"""What a worker holds, while the same task is let go and claimed again."""

import threading

import pytest

from autotask.worker.loop import Worker, WorkerOptions
from tests.integration.store.shapes import put, sign_on, take

pytestmark = pytest.mark.django_db(transaction=True)


class Slow(dict):
    """Lets something happen right after one look for a key."""

    happens = None

    def get(self, key, default=None):
        found = super().get(key, default)
        happens, self.happens = self.happens, None
        if happens:
            happens()
        return found


def test_the_end_of_a_former_claim_does_not_let_go_of_the_newer_one(transactional_db):
    # Given a task that is claimed, given back and claimed again
    worker = Worker(WorkerOptions(threads=1))
    worker._pool.submit = lambda task: None
    (id,) = put()
    (former,) = take(sign_on())
    newer = former._replace(fence=former.fence + 1)
    worker._submit([former], worker._pool)

    # When the newer claim comes while the end of the former one is at work
    worker._held = held = Slow(worker._held)
    claiming = threading.Thread(target=worker._submit, args=([newer], worker._pool))

    def happens():
        claiming.start()
        claiming.join(0.2)

    held.happens = happens
    worker._let_go([former])
    claiming.join(10)

    # Then
    assert held == {id: newer}
    assert worker._burden.held() == len(newer.payload)
