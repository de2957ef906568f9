"""Followers: who begins in whose slot, and who is named as its heir."""

import itertools
import uuid
from datetime import UTC, datetime

import pytest

from autotask.flow import Flow, LimitGate, RateGate
from autotask.store.finish import Outcome
from autotask.task import ClaimedTask, State
from autotask.worker import followers as module
from autotask.worker.followers import MOST_EACH, PATIENCE, SHORT, Followers
from autotask.worker.outcome import Lost, Released

GATE = LimitGate("limit:a", "a", 5)
FLOW = Flow((GATE,)).stored

fences = itertools.count(1)


def task(flow=FLOW, queue="default"):
    now = datetime.now(UTC)
    return ClaimedTask(uuid.uuid4(), next(fences), "a", queue, 0, 1, 0, 0, 0, None, now, None, b"", flow=flow)


def done(task, state=State.DONE, seconds=0.0001, **changes):
    return Outcome(task.id, task.fence, state, 0.0, seconds, **changes)


def claim(task):
    return task.id, task.fence


class Site:
    """Followers, and what they have started."""

    def __init__(self, threads=4):
        self.started, self.wakes = [], 0
        self.followers = Followers(self.started.append, self.wake, threads)

    def wake(self):
        self.wakes += 1

    def hold(self, number=1):
        """Hold slots at a gate where short tasks wait."""
        earlier, *held = (task() for _ in range(number + 1))
        self.followers.hold([earlier])
        self.end(earlier)
        self.followers.forget([earlier])
        self.followers.recorded({}, (), ["limit:a"])
        self.followers.hold(held)
        return held

    def follow(self, number):
        """Have so many followers wait, of those that are wanted."""
        wanted, _ = self.followers.wanted()
        tasks = [task() for _ in range(number)]
        self.followers.add(wanted, {"limit:a": tasks})
        return tasks

    def end(self, task, ended=None):
        self.followers.ended(task, ended or done(task))


@pytest.fixture
def site():
    return Site()


# --- when -----------------------------------------------------------------------------------------------------------


def test_nobody_follows_a_task_that_is_to_be_cancelled(site):
    # Given: it may be ready without a slot
    (held,) = site.hold()
    site.end(held)
    cancelled = task()._replace(cancel_requested=True)

    # When
    site.followers.hold([cancelled])

    # Then
    assert site.followers.wanted() == ([], set())


def test_nobody_follows_before_short_tasks_were_seen_to_wait(site):
    # Given
    first, second = task(), task()
    site.followers.hold([first])
    assert site.followers.wanted() == ([], set())

    # When
    site.end(first)
    site.followers.hold([second])

    # Then: nobody has waited
    assert site.followers.wanted() == ([], set())

    # When
    site.followers.recorded({}, (), ["limit:a"])

    # Then
    assert site.followers.wanted() == ([("limit:a", MOST_EACH, 5)], {"default"})


def test_the_longer_the_tasks_the_fewer_follow(site):
    (first,) = site.hold()
    site.end(first, done(first, seconds=SHORT))
    site.followers.hold([task()])
    assert [wanted.number for wanted in site.followers.wanted()[0]] == [4]
    (second,) = site.hold()
    site.end(second, done(second, seconds=2 * SHORT))
    site.followers.hold([task()])
    assert site.followers.wanted() == ([], set())


def test_more_are_claimed_when_half_are_left_and_none_once_nobody_waits_at_the_gate(site):
    # Given
    (runner,) = site.hold()
    for follower in site.follow(MOST_EACH):
        # When
        assert site.followers.wanted() == ([], set()) or site.wakes == 1
        site.end(runner)
        runner = follower

    # Then
    assert site.wakes == 1
    assert site.followers.wanted()[0] == [("limit:a", MOST_EACH, 5)]
    site.follow(MOST_EACH - 1)
    for _ in range(MOST_EACH - 1):
        site.end(runner)
        runner = site.started[-1]
    assert site.followers.wanted() == ([], set())


def test_many_slots_need_no_followers(site):
    site.hold(module.FEW_SLOTS + 1)
    assert site.followers.wanted() == ([], set())


def test_tasks_with_other_gates_have_no_followers(site):
    rate = RateGate("rate:a", "a", 1.0, 1.0)
    for flow in (
        None,
        Flow((GATE, rate)).stored,
        Flow((rate,)).stored,
        Flow((GATE._replace(when_full="drop"),)).stored,
    ):
        site.followers.hold([task(flow)])
        site.followers.recorded({}, (), ["limit:a"])
        assert site.followers.wanted() == ([], set())


# --- inheriting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.DONE, State.ERROR, State.CANCELLED])
def test_a_follower_begins_when_a_task_with_a_slot_has_ended(site, state):
    (first,) = site.hold()
    follower, other = site.follow(2)
    assert site.started == []
    site.end(first, done(first, state))
    assert site.started == [follower]
    site.end(first)  # put again, since its row was locked
    assert site.started == [follower]
    assert site.followers.take_back() == [other]


@pytest.mark.parametrize(
    "end",
    [
        lambda task: done(task, State.RETRY),
        lambda task: done(task, recorded=True),
        Released,
        lambda task: Lost(task, "killed"),
    ],
)
def test_a_slot_that_is_given_up_otherwise_goes_to_nobody_here(site, end):
    (first,) = site.hold()
    follower, other = site.follow(2)
    site.end(first)
    site.end(follower, end(follower))
    assert site.started == [follower]
    assert site.followers.heirs([first, follower]) == {}
    assert site.followers.take_back() == [other]


def test_no_more_run_than_there_are_slots(site):
    running = set(site.hold(3))
    site.follow(60)
    while running:
        ended = min(running, key=lambda task: task.fence % 7)
        running.remove(ended)
        before = len(site.started)
        site.end(ended)
        running |= set(site.started[before:])
        assert len(running) <= 3
    assert len(site.started) == 60


def test_longer_tasks_leave_slots_without_a_thread_to_others():
    site = Site(threads=1)
    first, second = site.hold(2)
    site.follow(4)
    site.end(first, done(first, seconds=SHORT / 2))
    assert site.started == []
    site.end(second)
    assert len(site.started) == 1


# --- heirs ----------------------------------------------------------------------------------------------------------


def test_the_heir_is_the_one_that_runs_when_the_outcome_is_written(site):
    # Given
    (first,) = site.hold()
    second, third, fourth = site.follow(3)
    assert site.followers.heirs([first]) == {}

    # When
    site.end(first)
    assert site.followers.heirs([first]) == {first.fence: claim(second)}
    site.end(second)
    site.end(third)

    # Then: each may be the one that the slot names
    assert site.followers.heirs([first, second, third]) == dict.fromkeys(
        (first.fence, second.fence, third.fence), claim(fourth)
    )

    # When: all have ended
    site.end(fourth)
    assert site.followers.heirs([first, second, third, fourth]) == {}


def test_outcomes_may_be_recorded_out_of_order(site):
    # Given
    (first,) = site.hold()
    second, third, fourth = site.follow(3)
    site.end(first)
    site.end(second)

    # When: the second has no slot in the database yet, so nothing is inherited
    heirs = site.followers.heirs([second])
    site.followers.recorded(heirs, (), ())
    site.followers.forget([second])

    # Then: the first still has it
    assert site.followers.heirs([first]) == {first.fence: claim(third)}
    site.end(third)
    assert site.started == [second, third, fourth]
    assert site.followers.heirs([first]) == {first.fence: claim(fourth)}


def test_nobody_begins_in_a_slot_that_was_not_inherited(site):
    (first,) = site.hold()
    second, _ = site.follow(2)
    site.end(first)
    site.followers.recorded(site.followers.heirs([first]), (), ())
    site.end(second)
    assert site.started == [second]


def test_the_slot_goes_on_after_it_was_inherited(site):
    (first,) = site.hold()
    second, third = site.follow(2)
    site.end(first)
    site.followers.recorded(site.followers.heirs([first]), {second.id}, ())
    site.followers.forget([first])
    site.end(second)
    assert site.followers.heirs([second]) == {second.fence: claim(third)}


def test_nobody_begins_in_a_lost_slot(site):
    first, second = site.hold(2)
    follower, *_ = site.follow(3)
    site.followers.lose([first])
    site.end(first)
    assert site.started == []
    site.end(second)
    assert site.started == [follower]
    site.followers.lose_all()
    site.end(follower)
    assert site.started == [follower]


# --- releasing ------------------------------------------------------------------------------------------------------


def test_followers_that_wait_in_vain_are_given_back_and_no_more_are_claimed_soon(site):
    # Given
    (first,) = site.hold()
    waiting = site.follow(3)
    assert site.followers
    assert site.followers.take_back(now=0.0) == []

    # When
    moment = site.followers._gates["limit:a"].started_at + PATIENCE + 0.001  # more than the sum is rounded by
    assert site.followers.take_back(now=moment) == waiting

    # Then
    assert not site.followers
    site.end(first)
    site.followers.recorded({}, (), ["limit:a"])
    site.followers.hold([task()])
    assert site.followers.wanted() == ([], set())


def test_nothing_is_remembered_of_gates_and_tasks_that_are_gone(site, monkeypatch):
    monkeypatch.setattr(module, "MOST_GATES", 10)
    for number in range(25):
        one = task(Flow((GATE._replace(key=f"limit:a({number})"),)).stored)
        site.followers.hold([one])
        site.end(one)
        site.followers.forget([one])
    assert len(site.followers._gates) <= 10
    assert site.followers._chains == {}
