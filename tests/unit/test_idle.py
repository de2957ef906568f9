"""How long the loop sleeps while it finds nothing to do."""

import itertools

from autotask.worker.idle import FIRST_SLEEP, LOCKED_SLEEP, IdleSleep


def test_each_sleep_is_twice_as_long_up_to_the_limit():
    sleep, seen = IdleSleep(), []
    for _ in range(6):
        seen.append(sleep.seconds)
        sleep.slept_through(0.2)
    assert seen == [FIRST_SLEEP, 2 * FIRST_SLEEP, 4 * FIRST_SLEEP, 0.2, 0.2, 0.2]


def test_after_a_wake_up_it_looks_again_soon():
    sleep = IdleSleep()
    sleep.slept_through(1.0)
    sleep.was_woken()
    assert sleep.seconds == FIRST_SLEEP


def test_while_others_hold_the_locks_it_looks_more_often():
    sleep = IdleSleep()
    seen = [sleep.while_locked() for _ in range(8)]
    assert seen[:3] == [LOCKED_SLEEP, 2 * LOCKED_SLEEP, 4 * LOCKED_SLEEP]
    assert seen[-1] == FIRST_SLEEP
    assert all(former <= later for former, later in itertools.pairwise(seen))


def test_work_makes_all_sleeps_short_again():
    sleep = IdleSleep()
    sleep.slept_through(1.0)
    sleep.while_locked()
    sleep.found_work()
    assert (sleep.seconds, sleep.while_locked()) == (FIRST_SLEEP, LOCKED_SLEEP)
