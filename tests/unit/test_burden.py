"""How many bytes a worker holds, and how many more it may claim."""

import time

import pytest

from autotask.task import State
from autotask.worker import burden
from autotask.worker.burden import Burden, weight
from autotask.worker.outcome import Released, failed, succeeded
from tests.unit.test_outcome import claimed as task


@pytest.fixture
def small(settings, monkeypatch):
    """A burden that may be 10,000 bytes."""
    monkeypatch.setattr(burden, "MOST", 10_000)
    settings.AUTOTASK_MAX_PAYLOAD = 1024
    return Burden()


def claimed(size):
    return task()._replace(payload=b"x" * size)


def done(size):
    return succeeded(task(), b"x" * size, ended_at=0.0, seconds=0.0)


def test_arguments_are_held_until_the_claim_is_over(small):
    tasks = [claimed(4000), claimed(5000)]
    small.take(tasks)
    assert (small.held(), small.is_bearable()) == (9000, True)
    small.take([claimed(2000)])
    assert (small.held(), small.is_bearable()) == (11_000, False)
    small.let_go(4000)
    assert (small.held(), small.is_bearable()) == (7000, True)


def test_results_are_held_until_they_are_written(small):
    small.put(11_000)
    assert not small.is_bearable()
    small.written(11_000)
    assert small.is_bearable()


def test_a_claim_is_bounded_only_if_it_can_bring_too_many_bytes(small):
    assert small.most_claimed(9) is None
    assert small.most_claimed(10) == 10_000
    small.put(6000)
    assert small.most_claimed(3) is None
    assert small.most_claimed(9) == 4000


def test_some_of_the_largest_may_be_held_however_large_they_may_be(small, settings):
    settings.AUTOTASK_MAX_PAYLOAD = 5000
    small.put(20_000)
    assert small.is_bearable()
    small.put(1)
    assert not small.is_bearable()


def test_few_tasks_wait_for_a_place_while_results_are_large(small):
    # Given
    assert small.most_ahead(10) is None

    # When
    small.put(5000)

    # Then: a thousand bytes a task, and room for five thousand
    assert small.most_ahead(5) == 5

    # When
    small.written(5000)

    # Then
    assert small.most_ahead(0) == 10
    for _ in range(12):
        small.most_ahead(5)
    assert small.most_ahead(5) is None


def test_an_outcome_weighs_as_much_as_its_result_and_its_texts():
    error = failed(task(), ValueError("x" * 500), None, cancelled=False, base_delay=1.0, ended_at=0.0, seconds=0.0)
    assert weight(done(3000)) == 3000
    assert weight(done(300)) == 0
    assert weight(succeeded(task(), None, ended_at=0.0, seconds=0.0)) == 0
    assert weight(Released(task())) == 0
    assert 1000 < weight(error) < 3000
    assert error.state is State.ERROR


def test_an_exception_with_an_endless_text_is_not_held_as_a_whole():
    error = ValueError("x" * 10_000_000)
    ended = failed(task(), error, None, cancelled=False, base_delay=1.0, ended_at=time.monotonic(), seconds=0.0)
    assert weight(ended) < 250_000
