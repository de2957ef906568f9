"""What the keeper of a worker decides: how long to wait before the next worker, and how the last one ended."""

import os
import signal
import subprocess
import sys
import uuid

import pytest
from hypothesis import given, strategies as st

from autotask.companion.guard import Guard
from autotask.companion.pipes import Pipes
from autotask.companion.served import DjangoProcess
from autotask.offer import Offers
from autotask.processes.exit_status import MISCONFIGURED, how_it_ended
from autotask.processes.supervised import FIRST_WAIT, LONGEST_WAIT, MISCONFIGURED_WAIT, wait_before_start

chances = st.floats(0, 1)


@given(st.integers(0, 1), st.sampled_from([0, 1, -9, -11, 3]), chances)
def test_after_the_first_death_the_next_worker_starts_at_once(deaths, status, chance):
    assert wait_before_start(deaths, status, chance) == 0


@pytest.mark.parametrize(("deaths", "seconds"), [(2, 0.5), (3, 1), (4, 2), (7, 16), (8, 30), (9, 30), (10_000, 30)])
def test_the_wait_doubles_with_each_early_death_up_to_half_a_minute(deaths, seconds):
    assert wait_before_start(deaths, 1, 0.5) == pytest.approx(seconds)


@given(st.integers(2, 10**6), st.integers(-64, 255).filter(lambda status: status != MISCONFIGURED), chances)
def test_chance_moves_the_wait_by_a_fifth_at_most(deaths, status, chance):
    wait = wait_before_start(deaths, status, chance)
    assert 0.79 * FIRST_WAIT <= wait <= 1.21 * LONGEST_WAIT
    assert wait == pytest.approx(wait_before_start(deaths, status, 0.5) * (0.8 + 0.4 * chance))


@given(st.integers(0, 10**6), chances)
def test_what_is_misconfigured_is_tried_again_calmly_from_the_first_time_on(deaths, chance):
    assert wait_before_start(deaths, MISCONFIGURED, chance) == MISCONFIGURED_WAIT


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0, "exit status 0"),
        (1, "exit status 1"),
        (78, "exit status 78"),
        (-9, "signal 9 (SIGKILL)"),
        (-11, "signal 11 (SIGSEGV)"),
        (-250, "signal 250"),
    ],
)
def test_an_exit_status_is_told_in_words(status, words):
    assert how_it_ended(status) == words


@given(st.integers(-(2**31), 2**31))
def test_every_exit_status_can_be_told(status):
    assert str(abs(status)) in how_it_ended(status)


def test_every_signal_has_its_name():
    for signum in signal.Signals:
        assert how_it_ended(-signum) == f"signal {signum.value} ({signum.name})"


def test_the_guard_needs_the_standard_library_only():
    # It has to start fast, and must not fail because of a project's code
    code = (
        "import sys; import autotask.companion.guard;"
        "print([name for name in sys.modules if name.startswith(('django', 'psycopg', 'cronsim'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def serve(django):
    """What keeps a worker for a Django process."""
    guard = Guard(django.pid)
    guard.serve(django)
    [served] = guard._served
    return served


def test_the_guard_removes_the_offer_of_a_worker_that_is_dead():
    pipes = Pipes()
    try:
        offers = Offers(pipes.offers)
        offers.open(uuid.uuid4())
        offers.make()
        served = serve(DjangoProcess(os.getpid(), pipes.life, pipes.wake, pipes.offers, grace=1.0))
        served._drop_offer()
        assert pipes.take_offer() is None
        served._drop_offer()  # There may be none.
    finally:
        pipes.close()


def test_the_guard_of_an_older_process_passes_on_no_offers():
    pipes = Pipes()
    try:
        start = serve(DjangoProcess(os.getpid(), pipes.life, pipes.wake, (), grace=1.0))._worker._launch
        assert "AUTOTASK_OFFER_FDS" not in start._environment
        assert start._pass_fds == (pipes.wake,)
    finally:
        pipes.close()
