"""A look at a gate that lets through less than it might asks for another look."""

import pytest

from autotask.flow import Flow, LimitGate, RateGate
from autotask.store import enqueue, gates
from autotask.store.connection import current
from autotask.store.gates import Present
from tests.integration.store.shapes import count, new_task

pytestmark = pytest.mark.django_db(transaction=True)

#: The tokens of a bucket. It keeps those of gates.LATE seconds back, here 40: the others are enough for all tasks.
BURST = 200.0


@pytest.mark.parametrize("room", [1, 5, 40])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("gate", [LimitGate("limit:x", "x", 80), RateGate("rate:x", "x", 0.001, BURST)])
def test_all_who_may_pass_do_so_after_some_looks(gate, room, known):
    # Given
    tasks = [new_task()._replace(flow=Flow((gate,))) for _ in range(60)]
    enqueue.insert_flowing(current(), tasks)
    present = Present({"x": 80}, {"x": (0.001, BURST)}) if known else Present()

    # When
    for _ in range(200):
        if not gates.admit(current(), present, room={"": room}).more:
            break

    # Then
    assert count("autotask_live WHERE state = 8") == 0
