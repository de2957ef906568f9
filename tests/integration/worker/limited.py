"""Tasks with limits and rates; they note when they ran, in this process."""

import asyncio
import time

from autotask.tasks import Limit, Rate, RateLimited, delayed_task
from tests import gates
from tests.helpers import patient

#: Start and end of each run, on the monotonic clock.
spans: list[tuple[float, float]] = []

#: When tasks with a rate began.
starts: list[float] = []


#: The numbers of the calls of ``note``, in the order in which they ran.
noted: list[int] = []


def _run(seconds=0.01):
    start = time.monotonic()
    time.sleep(seconds)
    spans.append((start, time.monotonic()))


@delayed_task(concurrency=2)
def two_at_a_time(number):
    _run()


@delayed_task
def note(number):
    noted.append(number)


@delayed_task(concurrency=2)
async def two_coroutines_at_a_time(number):
    start = time.monotonic()
    await asyncio.sleep(0.01)
    spans.append((start, time.monotonic()))


@delayed_task(concurrency=2, atomic=True)
def two_atomic_at_a_time(number):
    _run()


@delayed_task
def unlimited(number):
    _run()


@delayed_task(concurrency=Limit(1, key="account"))
def one_for_each_account(account, gate):
    gates.wait_at(gate)


@delayed_task(concurrency="shared")
def share(gate):
    gates.wait_at(gate)


@delayed_task(concurrency="shared")
def share_too(gate):
    gates.wait_at(gate)


@delayed_task(concurrency=1, retries=1, takes_context=True)
def fails_once(context, number):
    _run()
    if context.attempt == 1:
        raise ValueError("the first time")


@delayed_task(concurrency=1, when_full="drop")
def dropped(gate):
    gates.wait_at(gate)


@delayed_task(concurrency=1, when_full="cancel_running")
def latest(gate):
    while not gates.gate(gate).is_set():
        time.sleep(0.01)  # only between two steps of Python can it be interrupted


@delayed_task(rate="50/s")
def fifty_a_second(number):
    starts.append(time.monotonic())


@delayed_task(rate=Rate("100/s", burst=20, key="account"))
def refused_once(account, refuse=True):
    starts.append(time.monotonic())
    if refuse and len(starts) < 3:
        raise RateLimited(retry_after=patient(1.5))


@delayed_task(concurrency=3)
def three_short_at_a_time(number):
    _run(0.0005)


#: The keys of calls of ``one_very_short_each`` that run, and the most that ran with the same one.
running: dict[int, int] = {}
most_with_one_key: list[int] = []


@delayed_task(concurrency=Limit(1, key="account"))
def one_very_short_each(account):
    running[account] = running.get(account, 0) + 1
    most_with_one_key.append(running[account])
    running[account] -= 1


@delayed_task(concurrency=Limit(1, key="account"), retries=2, backoff=0, takes_context=True)
def one_very_short_each_some_fail(context, account, number):
    running[account] = running.get(account, 0) + 1
    most_with_one_key.append(running[account])
    running[account] -= 1
    if number % 7 == context.attempt:
        raise ConnectionError


@delayed_task(concurrency=3, retries=1, backoff=0, takes_context=True)
def three_short_some_fail(context, number):
    _run(0.0005)
    if context.attempt == 1 and number % 20 == 0:
        raise ValueError("the first time")


@delayed_task(concurrency=3)
def three_at_a_time_for(seconds):
    _run(seconds)
