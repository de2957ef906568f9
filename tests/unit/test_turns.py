"""The turns at making large claims, which workers that are forks of one process share."""

import os
import subprocess
import sys

import pytest

from autotask.worker import turns as turns_module
from autotask.worker.turns import LARGE, LONGEST, MEMORY, TURNS, Turns


@pytest.fixture
def clock(monkeypatch):
    """Set the monotonic clock."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr(turns_module.time, "monotonic", lambda: Clock.now)
    return Clock


@pytest.fixture
def workers():
    """Return the turns of one worker more than may claim at a time."""
    memory = MEMORY.new()
    return [Turns(memory) for _ in range(TURNS + 1)]


def test_only_some_make_large_claims_at_a_time(workers, clock):
    # Given
    *first, last = workers
    assert all(each.begin(LARGE) for each in first)
    assert not last.begin(LARGE)

    # When, then
    first[1].end()
    assert last.begin(LARGE)
    assert not first[1].begin(LARGE)


def test_a_small_claim_needs_no_turn(workers, clock):
    *first, last = workers
    assert all(each.begin(LARGE) for each in first)
    assert last.begin(LARGE - 1)
    last.end()
    assert not last.begin(LARGE)


def test_the_turn_of_a_worker_that_is_paused_goes_to_another_which_it_does_not_end(workers, clock):
    # Given
    *first, last = workers
    assert all(each.begin(LARGE) for each in first)
    clock.now += 0.9 * LONGEST
    assert not last.begin(LARGE)

    # When
    clock.now += 0.2 * LONGEST
    assert last.begin(LARGE)
    assert all(each.begin(LARGE) for each in first[1:])
    first[0].end()

    # Then
    assert not first[0].begin(LARGE)


def test_a_time_that_is_not_to_come_for_long_is_none(workers, clock):
    *first, last = workers
    assert all(each.begin(LARGE) for each in first)
    clock.now -= 1.0
    assert last.begin(LARGE)


_KILLED = """
import os, signal, time
from autotask.worker.turns import LARGE, MEMORY, TURNS, Turns

MEMORY.share()
if not (pid := os.fork()):
    if not (pid := os.fork()):
        for _ in range(TURNS):
            assert Turns(MEMORY.of_worker()).begin(LARGE)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    turns = Turns(MEMORY.of_worker())
    print(turns.begin(LARGE), flush=True)
    while not turns.begin(LARGE):
        time.sleep(0.01)
    print("a turn", flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""


def test_the_turns_of_a_worker_that_is_killed_go_to_others():
    program = [sys.executable, "-c", _KILLED]
    done = subprocess.run(program, capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.splitlines() == ["False", "a turn"]
