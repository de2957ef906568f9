"""Followers: who begins in whose slot, and who is named as its heir."""

import itertools
import uuid
from datetime import UTC, datetime

import pytest

from autotask.flow import Flow, LimitGate, RateGate
from autotask.store import claims
from autotask.store.finish import Outcome
from autotask.task import ClaimedTask, State
from autotask.worker import followers as module
from autotask.worker.followers import LEADERS, MOST_WITH_MANY, PATIENCE, ROUND, Followers
from autotask.worker.outcome import Lost, Released
from autotask.worker.slots_here import DEPTH, FEW_SLOTS, MOST_EACH, SHORT, VERY_SHORT, WORK

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
        self.started, self.at_once, self.wakes = [], [], 0
        self.followers = Followers(self.start, self.wake, threads)

    def start(self, task, at_once):
        self.started.append(task)
        self.at_once.append(at_once)

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
    assert site.followers.wanted() == ([("limit:a", MOST_EACH, 5, FLOW)], {"default"})


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
    assert site.followers.wanted()[0] == [("limit:a", MOST_EACH, 5, FLOW)]
    site.follow(MOST_EACH - 1)
    for _ in range(MOST_EACH - 1):
        site.end(runner)
        runner = site.started[-1]
    assert site.followers.wanted() == ([], set())


# --- with many slots ------------------------------------------------------------------------------------------------


MANY = FEW_SLOTS + 10


def keyed(number):
    return task(Flow((GATE._replace(key=f"limit:a({number})"),)).stored)


def hold_many(site, number=MANY, seconds=0.0001):
    """Hold a slot at each of many gates where tasks wait, as before."""
    earlier = [keyed(number) for number in range(number)]
    site.followers.hold(earlier)
    for each in earlier:
        site.end(each, done(each, seconds=seconds))
    site.followers.forget(earlier)
    site.followers.recorded({}, (), [f"limit:a({number})" for number in range(number)])
    held = [keyed(number) for number in range(number)]
    site.followers.hold(held)
    return held


def follow_many(site, held, most=MOST_WITH_MANY):
    wanted, _ = site.followers.wanted(most, held[:LEADERS])
    found = {each.gate: [task() for _ in range(each.number)] for each in wanted}
    site.followers.add(wanted, found)
    return found


def test_with_many_slots_each_gets_a_few_followers_once(site):
    # Given
    held = hold_many(site)
    assert site.followers.leads_many()

    # When
    found = follow_many(site, held)

    # Then
    assert [len(tasks) for tasks in found.values()] == [DEPTH] * LEADERS
    assert site.followers.ahead() == DEPTH * LEADERS
    assert site.followers.wanted() == site.followers.wanted(held=held[:LEADERS]) == ([], set())

    # When
    runner = held[0]
    for follower in found["limit:a(0)"]:
        site.end(runner)
        assert site.started[-1] is follower
        runner = follower
    site.end(runner)

    # Then: the slot goes on to whoever is next in the database
    assert site.followers.heirs([held[0]]) == {}
    assert site.at_once == [True] * DEPTH
    assert site.wakes == 0
    assert site.followers.wanted() == site.followers.wanted(held=[runner]) == ([], set())


def test_with_many_slots_only_very_short_tasks_get_followers(site):
    assert follow_many(site, hold_many(site, seconds=VERY_SHORT)) == {}


def test_with_many_slots_there_are_no_more_followers_than_tasks_may_be_claimed_ahead(site):
    assert sum(map(len, follow_many(site, hold_many(site), most=100).values())) == 100


def test_with_many_slots_the_loop_is_woken_when_few_followers_are_left(site):
    # Given
    held = hold_many(site)
    follow_many(site, held)
    site.followers.wake_when(DEPTH * LEADERS - 2)

    # When
    site.end(held[0])
    assert site.wakes == 0
    site.end(held[1])
    site.end(held[2])

    # Then
    assert site.wakes == 1


def come(site, claimed, each, more=True):
    """Claim *claimed* tasks with slots, and *each* followers of each of them."""
    held = [keyed(number) for number in range(claimed)]
    site.followers.hold(held, claimed, more=more)
    wanted, _ = site.followers.wanted(held=held)
    site.followers.add(wanted, {one.gate: [task() for _ in range(each)] for one in wanted})
    site.followers.take_back()


def test_with_many_slots_as_many_are_claimed_as_are_a_round_with_their_followers(site):
    # Given
    assert site.followers.most_claimed() == claims.MOST
    hold_many(site)
    assert site.followers.most_claimed() == LEADERS

    # When: there are three followers for each, for as many as are asked for at a time
    for _ in range(20):
        site.followers.recorded({}, (), [f"limit:a({number})" for number in range(MANY)])
        come(site, MANY, 3)

    # Then
    assert site.followers.most_claimed() in (ROUND // 4 - 1, ROUND // 4)

    # When: there are none
    for _ in range(20):
        come(site, MANY, 0)

    # Then
    assert site.followers.most_claimed() >= claims.MOST - 1


def test_with_many_slots_others_that_come_without_slots_are_claimed_in_large_numbers_again(site):
    hold_many(site)
    for _ in range(20):
        site.followers.hold([], LEADERS, more=True)
    assert site.followers.most_claimed() >= claims.MOST - 1


def test_with_many_slots_as_many_as_ever_are_claimed_while_nobody_may_follow(site):
    hold_many(site)
    site.followers.rest(60)
    for _ in range(20):
        come(site, LEADERS, 0)
    assert site.followers.most_claimed() >= claims.MOST - 1


def test_many_slots_are_in_use_as_long_as_there_are_more_where_the_last_ones_came_from(site):
    # Given
    held = hold_many(site)
    for each in held:
        site.end(each)
    site.followers.hold([keyed(1)], LEADERS, more=True)
    assert site.followers.leads_many()

    # When
    site.followers.hold([keyed(2)], 1, more=False)

    # Then
    assert not site.followers.leads_many()


def test_with_many_slots_a_task_that_has_waited_for_a_processor_keeps_nobody_from_following(site):
    # Given
    held = hold_many(site)
    (follower, *_), *_ = follow_many(site, held).values()

    # When
    site.end(held[0], done(held[0], seconds=2 * VERY_SHORT))

    # Then
    assert site.started == [follower]


def test_with_many_slots_nobody_follows_once_tasks_are_no_longer_very_short(site):
    # Given
    held = hold_many(site)
    follow_many(site, held)

    # When
    for each in held[LEADERS : LEADERS + 10]:
        site.end(each, done(each, seconds=SHORT))
    site.end(held[0])

    # Then
    assert site.started == []


def test_with_many_slots_followers_of_a_long_task_are_left_to_others_at_once(site):
    # Given
    held = hold_many(site)
    found = follow_many(site, held)
    assert site.followers.take_back(module.time.monotonic()) == []

    # When
    site.end(held[0], done(held[0], seconds=WORK))

    # Then
    assert (site.started, site.wakes) == ([], 1)
    assert site.followers.take_back(module.time.monotonic()) == found["limit:a(0)"]


def test_with_few_slots_followers_take_turns_with_others(site):
    (held,) = site.hold()
    site.follow(2)
    site.end(held)
    assert site.at_once == [False]
    assert site.followers.ahead() == 0


# --- where else -----------------------------------------------------------------------------------------------------


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
