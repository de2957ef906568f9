"""Wait until file descriptors can be read, whatever their numbers; standard library only."""

import select
from collections.abc import Iterable


def wait(descriptors: Iterable[int], seconds: float) -> set[int]:
    """Wait until one of the descriptors can be read, is at its end or broken, or until the time is over.

    ``select.select`` refuses descriptors from 1024 on, which a busy server process may have.

    :returns: those that can be read.
    """
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN | select.POLLPRI)
    return {descriptor for descriptor, _ in poll.poll(max(0.0, seconds) * 1000)}
