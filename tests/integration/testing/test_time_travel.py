"""The clock of the test says what is due, by whatever it was moved."""

from datetime import UTC, datetime, timedelta

import freezegun
import pytest
import time_machine

from autotask.task import CANCELLED, DONE, ERROR, WAITING
from autotask.testing import captured_tasks
from tests.integration.testing import tasks

pytestmark = pytest.mark.django_db

PAST, FUTURE = datetime(2020, 1, 1, tzinfo=UTC), datetime(2050, 1, 1, tzinfo=UTC)


def _travel(moment):
    traveller = time_machine.travel(moment, tick=False)
    return traveller.start(), traveller.stop


def _travel_ticking(moment):
    traveller = time_machine.travel(moment)
    return traveller.start(), traveller.stop


def _freeze(moment):
    freezer = freezegun.freeze_time(moment)
    return freezer.start(), freezer.stop


@pytest.fixture(params=[_travel, _travel_ticking, _freeze], ids=["time_machine", "time_machine ticking", "freezegun"])
def stop_the_clock(request):
    """Call it to stop the clock at a moment; what it returns has ``move_to()``."""
    stops = []

    def stop(moment):
        clock, end = request.param(moment)
        stops.append(end)
        return clock

    yield stop
    for end in stops:
        end()


@pytest.mark.parametrize("start", [PAST, FUTURE], ids=["past", "future"])
def test_a_delay_is_over_when_the_clock_of_the_test_says_so(stop_the_clock, start, autotask_captured):
    # Given
    clock = stop_the_clock(start)
    after_delay = tasks.add.using(delay=3600)(1)
    at_a_moment = tasks.add.using(run_after=start + timedelta(hours=2))(2)
    assert autotask_captured.run_pending() == []
    assert (autotask_captured[0].due - start) // timedelta(minutes=1) == 60

    # When, Then
    clock.move_to(start + timedelta(minutes=59))
    assert autotask_captured.run_pending() == []
    clock.move_to(start + timedelta(minutes=61))
    assert autotask_captured.run_pending() == [after_delay]
    assert autotask_captured.run_pending(until=start + timedelta(hours=2)) == [at_a_moment]


def test_retries_follow_the_clock_of_the_test(stop_the_clock, autotask_captured):
    clock = stop_the_clock(PAST)
    handle = tasks.fail()
    for minutes, expected in ((0, 1), (9, 1), (11, 2), (20, 2), (22, 3)):
        if minutes:
            clock.move_to(PAST + timedelta(minutes=minutes))
        autotask_captured.run_pending()
        assert len(tasks.ran) == expected
    assert handle.status is ERROR


def test_what_has_expired_by_the_clock_of_the_test_is_not_run(stop_the_clock, autotask_captured):
    clock = stop_the_clock(PAST)
    late, early = (tasks.add.using(expires=timedelta(hours=hours))(1) for hours in (1, 3))
    clock.move_to(PAST + timedelta(hours=2))
    autotask_captured.run_pending()
    assert (late.status, early.status) == (CANCELLED, DONE)


def test_a_moment_to_expire_at_is_one_of_the_clock_of_the_test(stop_the_clock, autotask_captured):
    # Long ago for the database
    clock = stop_the_clock(PAST)
    handle = tasks.add.using(expires=PAST + timedelta(hours=1))(1)
    clock.move_to(PAST + timedelta(minutes=30))
    autotask_captured.run_pending()
    assert handle.status is DONE


def test_the_clock_may_stand_still_for_a_part_of_the_test_only():
    with captured_tasks() as captured:
        handle = tasks.add.using(delay=60)(1)
        with freezegun.freeze_time(datetime.now(UTC) + timedelta(seconds=30)):
            captured.run_pending()
            assert handle.status is WAITING
        with freezegun.freeze_time(datetime.now(UTC) + timedelta(seconds=61)):
            captured.run_pending()
            assert handle.status is DONE
