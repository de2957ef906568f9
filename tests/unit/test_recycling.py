"""When a worker is recycled."""

import psutil
import pytest

from autotask.worker import recycling
from autotask.worker.recycling import Recycling, memory


def test_without_limits_a_worker_is_never_worn():
    unlimited = Recycling(None, None)
    unlimited.take(10**9)
    assert unlimited.left(200) == 200
    assert not unlimited.is_used_up()
    assert unlimited.excess() == ""


def test_a_worker_may_claim_its_number_of_tasks_and_those_that_it_releases_do_not_count():
    worn = Recycling(10, None)
    worn.take(8)
    assert worn.left(200) == 2
    worn.take(2)
    assert worn.left(200) == 0 and worn.is_used_up()
    worn.take(-3)
    assert worn.left(200) == 3 and not worn.is_used_up()


def test_memory_beyond_the_limit_is_reported_once_a_second_and_only_of_a_worker_that_has_taken_a_task():
    small = Recycling(None, 2**20)
    assert small.excess() == ""
    small = Recycling(None, 2**20)
    small.take(1)
    assert small.excess().endswith(" MiB of 1 MiB")
    assert small.excess() == ""
    large = Recycling(None, 2**40)
    large.take(1)
    assert large.excess() == ""


@pytest.mark.parametrize("measure", [memory, recycling._resident, recycling._most])
def test_each_measure_sees_memory_that_a_task_keeps(measure):
    before = measure()
    kept = bytes(range(256)) * 2**18
    assert measure() - before >= (0 if measure is recycling._most else len(kept) * 0.9)
    assert 0.2 < measure() / psutil.Process().memory_info().rss < 5
    del kept
