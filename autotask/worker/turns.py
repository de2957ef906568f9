"""Turns at making a large claim. Workers that are forks of one process share them."""

import mmap
import os
import struct
import time

from autotask.worker.shared import Shared

#: The fewest tasks in a large claim. A smaller one locks so few rows that others read past them in no time.
LARGE = 100

#: The turns at a time: two, since the commit of a claim waits for the disk; more where many processors claim and run tasks.
TURNS = max(2, (os.cpu_count() or 1) // 2)

#: Seconds after which a turn is over in any case: its worker may be paused, or dead.
LONGEST = 0.25

#: The worker whose turn it is, and since when, on the monotonic clock, which the processes of a host share.
_TURN = struct.Struct("=8sd")
_NOBODY = bytes(8)

MEMORY = Shared(TURNS * _TURN.size)


class Turns:
    """The turns, and that of this worker. Only the loop calls this.

    A claim reads past all rows that others have locked and not committed yet, which takes as long as to claim as many. On a busy
    machine the claims of many workers would all be under way at the same time, and each would read past those of all others.

    There is no lock. Of two processes that take the same turn at the same time, both have it, so one claim more is under way.

    :param memory: what others share.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self._memory = memory
        self._me = os.urandom(8)
        self._mine: int | None = None

    def begin(self, tasks: int) -> bool:
        """Take a turn for a claim, if it needs one; return False if it has to wait for that.

        :param tasks: how many tasks it asks for.
        """
        if tasks < LARGE:
            return True
        now = time.monotonic()
        for place in range(0, len(self._memory), _TURN.size):
            who, since = _TURN.unpack_from(self._memory, place)
            if who == _NOBODY or not 0 <= now - since < LONGEST:
                _TURN.pack_into(self._memory, place, self._me, now)
                self._mine = place
                return True
        return False

    def end(self) -> None:
        """Leave the turn to others, if there is one."""
        place, self._mine = self._mine, None
        if place is not None and _TURN.unpack_from(self._memory, place)[0] == self._me:
            _TURN.pack_into(self._memory, place, _NOBODY, 0.0)
