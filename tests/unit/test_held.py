"""The tasks that a worker holds, also while one is let go and claimed again."""

import threading

import pytest

from autotask.task import new_id
from autotask.worker.burden import Burden
from autotask.worker.held import HeldTasks
from tests.unit.test_outcome import claimed


@pytest.fixture
def held():
    return HeldTasks()


def task(fence, **changes):
    return claimed()._replace(**{"id": new_id(), "fence": fence, "payload": b"12345", **changes})


def test_claims_are_held_until_they_are_let_go(held):
    one, two = task(1), task(2)
    held.add([one, two])
    assert (len(held), held.ids(), held.fences()) == (2, {one.id, two.id}, [1, 2])
    assert held.let_go([one]) == 5
    assert (held.has((one.id, 1)), held.has((two.id, 2))) == (False, True)
    assert held.let_go([one, two]) == 5
    assert not held


def test_the_end_of_a_former_claim_does_not_let_go_of_the_newer_one(held):
    # Given a task that is claimed, released and claimed again
    burden, former = Burden(), task(1)
    newer = former._replace(fence=2)
    for claims in ([former], [newer]):
        burden.take(claims)
        held.add(claims)

    # When
    burden.let_go(held.let_go([former]))

    # Then
    assert (held.fences(), held.ids()) == ([2], {newer.id})
    assert burden.held() == len(newer.payload)


def test_the_loop_adds_while_the_recorder_lets_go(held):
    # Given
    rounds = [[task(100 * number + fence) for fence in range(100)] for number in range(100)]
    bytes_over = []
    held.add(rounds[0])

    # When
    def let_go():
        for tasks in rounds:
            while not all(held.has((each.id, each.fence)) for each in tasks):
                pass
            bytes_over.append(held.let_go(tasks))

    recorder = threading.Thread(target=let_go)
    recorder.start()
    for tasks in rounds[1:]:
        held.add(tasks)
    recorder.join(10)

    # Then
    assert bytes_over == [500] * 100
    assert not held


def test_only_held_tasks_are_cancelled_unless_others_may_be_on_their_way(held):
    mine, other = task(1), task(2)
    held.add([mine])
    held.cancel([mine.id, other.id], others=False)
    assert (held.is_cancelled(mine), held.is_cancelled(other)) == (True, False)
    held.cancel([other.id], others=True)
    assert held.is_cancelled(other)


def test_a_request_to_cancel_ends_with_the_claim(held):
    asked = task(1, cancel_requested=True)
    held.add([asked, task(2)])
    assert held.is_cancelled(asked)
    held.let_go([asked])
    assert not held.is_cancelled(asked)


def test_a_request_to_cancel_outlasts_a_former_claim(held):
    former = task(1)
    newer = former._replace(fence=2, cancel_requested=True)
    held.add([former])
    held.add([newer])
    held.let_go([former])
    assert held.is_cancelled(newer)


def test_a_request_to_cancel_a_former_claim_does_not_reach_the_newer_one(held):
    # Given a task that is cancelled, and retried by hand before its former claim is let go
    former = task(1)
    newer = former._replace(fence=2)
    held.add([former])
    held.cancel([former.id], others=False)

    # When
    held.add([newer])

    # Then
    assert not held.is_cancelled(newer)
    held.let_go([former])
    assert not held.is_cancelled(newer)


def test_requests_are_forgotten_once_nothing_is_held(held):
    one, coming = task(1), task(2)
    held.add([one])
    held.cancel([coming.id], others=True)
    held.forget_requests()
    assert held.is_cancelled(coming)
    held.let_go([one])
    held.forget_requests()
    assert not held.is_cancelled(coming)


def test_a_task_that_is_given_up_is_known_by_its_claim(held):
    one = task(1)
    held.give_up(one)
    assert held.given_up == {one.fence}
