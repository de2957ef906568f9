"""Outcomes that are set aside."""

from datetime import UTC, datetime

from autotask.store.finish import Outcome
from autotask.task import ClaimedTask, State, new_id
from autotask.worker import aside
from autotask.worker.aside import Aside

ERROR = ValueError("refused")


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def record(fence, value=b"x"):
    now = datetime.now(UTC)
    task = ClaimedTask(new_id(), fence, "shop.task", "default", 0, 1, 0, 0, 0, None, now, None, b"")
    return task, Outcome(task.id, fence, State.DONE, ended_at=0.0, seconds=0.0, value=value)


def test_it_is_tried_again_after_a_while_and_less_and_less_often(caplog):
    # Given
    clock, kept = Clock(), record(1)
    odd = Aside(clock)
    odd.put(kept, ERROR)

    # Then
    assert odd.due() == []
    for seconds in (30, 60, 120, 240, 480, 900, 900):
        clock.now += seconds - 1
        assert odd.due() == []
        clock.now += 1
        assert odd.due() == [kept]
        assert odd.due() == []
        odd.put(kept, ERROR)
    assert len(caplog.records) == 1


def test_it_is_forgotten_when_it_is_recorded():
    # Given
    clock, first, second = Clock(), record(1), record(2)
    odd = Aside(clock)
    odd.put(first, ERROR)
    odd.put(second, ERROR)

    # When
    odd.forget([first[0]])

    # Then
    assert odd.fences() == [2]
    clock.now += 30
    assert odd.due() == [second]


def test_a_limited_number_is_kept_but_the_claims_of_all_are_known(monkeypatch):
    # Given
    monkeypatch.setattr(aside, "MOST_KEPT", 3)
    monkeypatch.setattr(aside, "MOST_BYTES", 10)
    clock = Clock()
    odd = Aside(clock)

    # When
    for fence in range(5):
        odd.put(record(fence, b"1234"), ERROR)

    # Then
    clock.now += 30
    assert [outcome.fence for _, outcome in odd.due()] == [3, 4]
    assert odd.fences() == [0, 1, 2, 3, 4]


def test_whether_it_was_set_aside_a_while_ago_is_known():
    # Given
    clock, kept = Clock(), record(1)
    odd = Aside(clock)
    assert not odd.has_long(kept[0])

    # When
    odd.put(kept, ERROR)

    # Then
    assert not odd.has_long(kept[0])
    clock.now += 30
    assert odd.has_long(kept[0])
