"""Tasks with limits, rates and unique keys. All return the fence of their claim."""

import time
from pathlib import Path

from autotask.tasks import Debounce, Limit, Rate, RateLimited, delayed_task
from tests.faults.witness import current

KEPT = 86400

#: Tokens a second of the tasks with a rate, and how many can be saved up.
RATE, BURST = 20, 5


def _work(seconds: float, failing: bool = False) -> int:
    time.sleep(seconds)
    if failing and current().failures == 0:
        raise ValueError("the first attempt fails")
    return current().fence


@delayed_task(ttl=KEPT, retries=20, backoff=0.05, concurrency=2)
def two_at_a_time(seconds: float, failing: bool = False) -> int:
    """Take a while; no more than two at a time."""
    return _work(seconds, failing)


@delayed_task(ttl=KEPT, retries=20, backoff=0.05, concurrency=Limit(1, key="account"))
def by_account(account: int, seconds: float, failing: bool = False) -> int:
    """Take a while; one at a time for each account."""
    return _work(seconds, failing)


@delayed_task(ttl=KEPT, retries=20, backoff=0.05, concurrency="shared")
def share(seconds: float, failing: bool = False) -> int:
    """Take a while; shares its limit with another task."""
    return _work(seconds, failing)


@delayed_task(ttl=KEPT, retries=20, backoff=0.05, concurrency="shared")
def share_too(seconds: float, failing: bool = False) -> int:
    """Take a while; shares its limit with another task."""
    return _work(seconds, failing)


@delayed_task(ttl=KEPT, retries=20, backoff=0.05, queue="narrow", concurrency=Limit(1, key="account"))
def in_narrow_queue(account: int, seconds: float, failing: bool = False) -> int:
    """Take a while; limited by its account and by its queue."""
    return _work(seconds, failing)


@delayed_task(ttl=KEPT, concurrency=Limit(1, key="account"))
def wait_in_line(account: int, file: str) -> int:
    """Wait until the file exists, and keep the slot of the account until then."""
    while not Path(file).exists():
        time.sleep(0.02)
    return current().fence


@delayed_task(ttl=KEPT, unique="account")
def once(account: int, seconds: float = 0.0) -> int:
    """Take a while; one live task for each account."""
    return _work(seconds)


@delayed_task(ttl=KEPT, unique="account", unique_for="waiting", retries=20, backoff=0.05)
def once_waiting(account: int, seconds: float = 0.0, failing: bool = False) -> int:
    """Take a while; one task that waits for each account."""
    return _work(seconds, failing)


@delayed_task(ttl=KEPT, unique="account", on_conflict="replace")
def newest(account: int, seconds: float = 0.0) -> int:
    """Take a while; a further call replaces the arguments of the task that waits."""
    return _work(seconds)


@delayed_task(ttl=KEPT, unique="account", on_conflict="raise")
def once_or_error(account: int, seconds: float = 0.0) -> int:
    """Take a while; a further call raises an error."""
    return _work(seconds)


@delayed_task(ttl=KEPT, debounce=Debounce(0.3, key="account", at_most=2))
def debounced(account: int, seconds: float = 0.0) -> int:
    """Take a while; calls that follow each other quickly become one task."""
    return _work(seconds)


@delayed_task(ttl=KEPT, throttle=Rate("2/s", key="account"))
def throttled(account: int, seconds: float = 0.0) -> int:
    """Take a while; calls beyond the rate become no tasks."""
    return _work(seconds)


@delayed_task(ttl=KEPT, rate=Rate(f"{RATE}/s", burst=BURST))
def rated(seconds: float = 0.0) -> int:
    """Take a while, so many a second."""
    return _work(seconds)


@delayed_task(ttl=KEPT, rate=Rate(f"{RATE}/s", burst=BURST, key="account"))
def rated_by_account(account: int, seconds: float = 0.0) -> int:
    """Take a while, so many a second for each account."""
    return _work(seconds)


@delayed_task(ttl=KEPT, rate=Rate(f"{RATE}/s", burst=BURST, key="account"))
def close_bucket(account: int, file: str, seconds: float) -> int:
    """Close the bucket of the account once, and then no more."""
    if not Path(file).exists():
        Path(file).touch()
        raise RateLimited(retry_after=seconds)
    return current().fence
