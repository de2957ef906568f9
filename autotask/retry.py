"""The delay before the next attempt."""

import random
from collections.abc import Callable, Sequence
from datetime import timedelta

from autotask.task import LONGEST_TIME

#: The spacing of retries: a name, seconds, a list of seconds (the last repeats), or ``f(exception, attempt) -> seconds``.
Backoff = str | float | Sequence[float] | Callable[[BaseException, int], float | timedelta]

EXPONENTIAL = "exponential"

#: No exponential delay is longer than this many seconds.
LONGEST_DELAY = 600.0

#: Delays vary by this share, so that tasks that failed together do not come back together.
JITTER = 0.1


def exponential(failures: int, base: float) -> float:
    """Return min(600, base * 2^(failures - 1)) seconds for the given number of failures (from 1)."""
    # The exponent is capped because 2.0**1024 overflows.
    return min(LONGEST_DELAY, base * 2.0 ** min(failures - 1, 64))


def delay_after(
    backoff: Backoff | None,
    *,
    exception: BaseException,
    failures: int,
    base: float,
    chance: Callable[[], float] = random.random,
) -> float:
    """Return the seconds to wait before the next attempt.

    :param backoff: the policy; None means exponential.
    :param exception: the exception of the last attempt; passed to a callable policy.
    :param failures: how many attempts have failed so far, from 1.
    :param base: the first exponential delay, in seconds (``AUTOTASK_RETRY_DELAY``).
    :param chance: a source of numbers from 0 to 1.
    :raises ValueError: a callable policy returned a negative number, or more than a century.
    :raises TypeError: a callable policy returned neither a number nor a timedelta.
    """
    if backoff is None or backoff == EXPONENTIAL:
        return exponential(failures, base) * (1 + JITTER * (2 * chance() - 1))
    if callable(backoff):
        return _checked(backoff(exception, failures))
    if isinstance(backoff, Sequence) and not isinstance(backoff, str):
        return float(backoff[min(failures, len(backoff)) - 1])
    return float(backoff)


def _checked(returned: float | timedelta) -> float:
    seconds = returned.total_seconds() if isinstance(returned, timedelta) else returned
    if not 0 <= seconds <= LONGEST_TIME:
        raise ValueError(f"The backoff function must return 0 or more seconds, but returned {returned!r}.")
    return float(seconds)
