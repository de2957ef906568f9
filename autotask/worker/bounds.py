"""The lower bounds of lanes: how far each was claimed, and when it was searched from further back. Forks of one process share them."""

import hashlib
import mmap
import struct
import uuid
import zlib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

from autotask.store.claim import BEFORE_ALL, BoundedLane, Lane
from autotask.worker.shared import Shared

#: Rows that become visible up to this much later than their ready_at do not have to wait for a search of everything.
SLACK = timedelta(seconds=5)

#: Seconds between two searches of the slack: where an old transaction keeps dead entries alive, it holds all tasks
#: claimed in the last seconds. A row that it would have found sooner is found when the lane runs dry.
SLACK_EVERY = 1.0

#: Seconds between two searches of everything, for rows that became visible later still.
UNBOUNDED_EVERY = 10.0

#: The digest of a lane, and its :class:`_Known`; a checksum follows.
_RECORD = struct.Struct("=8sq16sdd")
_SUM = struct.Struct("=I")
_SIZE = _RECORD.size + _SUM.size

#: Of two lanes that belong in the same place, the one that was written last is known, and the other one is searched as a whole each
#: time. So there are many places; those of no lane take no memory.
PLACES = 65_521

MEMORY = Shared(PLACES * _SIZE)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

#: A task: when it became ready, and its id.
Position = tuple[datetime, uuid.UUID]


class _Known(NamedTuple):
    """The facts about a lane.

    :ivar at: when its last claimed task became ready, in microseconds; 0: none was claimed.
    :ivar id: the bytes of the id of that task.
    :ivar slack_at: when the slack was searched the last time, on the monotonic clock, which the processes of a host share.
    :ivar all_at: when everything was.
    """

    at: int = 0
    id: bytes = BEFORE_ALL.bytes
    slack_at: float = float("-inf")
    all_at: float = float("-inf")

    @property
    def position(self) -> Position:
        """The last claimed task."""
        return _EPOCH + self.at * _MICROSECOND, uuid.UUID(bytes=self.id)


class Bounds:
    """The facts about each lane. A lower bound lets a claim skip the dead entries of tasks claimed before, and nothing more.

    There is no lock. Of two processes that write at the same time, one may be ignored, so a bound is lower, or a search is made
    twice. If their bytes are mixed, the checksum is wrong, and nothing is known.

    :param memory: what others share; by default nobody does.
    """

    def __init__(self, memory: mmap.mmap | None = None) -> None:
        self._memory = MEMORY.new() if memory is None else memory

    def begin(self, lane: Lane, now: float, *, unbounded: bool) -> tuple[BoundedLane, Position | None]:
        """Return the place to search a lane from now, and its bound if that is further back; other workers then need not do so.

        :param now: the monotonic clock.
        :param unbounded: whether to search everything in any case.
        """
        known = self._read(lane)
        if unbounded or now - known.all_at >= UNBOUNDED_EVERY:
            self._write(lane, known._replace(slack_at=now, all_at=now))
            return BoundedLane(lane, None), known.position
        if not known.at:
            return BoundedLane(lane, None), None
        since, after = known.position
        if now - known.slack_at >= SLACK_EVERY:
            self._write(lane, known._replace(slack_at=now))
            return BoundedLane(lane, since - SLACK), known.position
        return BoundedLane(lane, since, after), None

    def reached(self, lane: Lane, last: Position) -> None:
        """Raise the bound of a lane to the last claimed task."""
        known, at = self._read(lane), (last[0] - _EPOCH) // _MICROSECOND
        if (at, last[1].bytes) > (known.at, known.id):
            self._write(lane, known._replace(at=at, id=last[1].bytes))

    def again(self, lane: Lane, *, everything: bool) -> None:
        """Have the slack of a lane, or everything, searched at the next claim, whichever worker makes it."""
        known = self._read(lane)
        never = float("-inf")
        self._write(lane, known._replace(all_at=never) if everything else known._replace(slack_at=never))

    def _read(self, lane: Lane) -> _Known:
        digest, place = _place(lane)
        record = self._memory[place : place + _SIZE]
        kept, *known = _RECORD.unpack_from(record)
        (checksum,) = _SUM.unpack_from(record, _RECORD.size)
        return _Known(*known) if kept == digest and checksum == zlib.crc32(record[: _RECORD.size]) else _Known()

    def _write(self, lane: Lane, known: _Known) -> None:
        digest, place = _place(lane)
        record = _RECORD.pack(digest, *known)
        self._memory[place : place + _SIZE] = record + _SUM.pack(zlib.crc32(record))


@lru_cache(maxsize=1000)
def _place(lane: Lane) -> tuple[bytes, int]:
    """Return a digest of a lane, and where its record begins."""
    digest = hashlib.sha256(repr(lane).encode()).digest()
    return digest[:8], int.from_bytes(digest[8:16]) % PLACES * _SIZE
