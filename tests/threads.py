"""A fixture with which a test has the system refuse new threads."""

import threading
from collections.abc import Callable, Iterator

import pytest

#: A stack larger than what a process can address: the system refuses each new thread, as it does at the limit of them.
TOO_LARGE = 1 << 47


@pytest.fixture
def limit() -> Iterator[Callable[[bool], None]]:
    """Call it with True, and no thread can be started in this process any more; with False, and it can again."""
    former = threading.stack_size()

    def limit(reached: bool) -> None:
        threading.stack_size(TOO_LARGE if reached else former)

    yield limit
    limit(False)
