"""The messages between a worker and its child processes, and the form in which they go through a pipe."""

import os
import pickle
import struct
from dataclasses import dataclass
from typing import Any

_LENGTH = struct.Struct("!Q")


@dataclass(frozen=True, slots=True)
class Begun:
    """The message of a child that begins a job."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The message of a child that has finished a job.

    :ivar value: its result.
    """

    value: Any


@dataclass(frozen=True, slots=True)
class Stop:
    """The message to a child whose job should stop."""

    why: str


def frame(message: Any) -> bytes:
    """Return the bytes that carry a message through a pipe."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(body)) + body


class Frames:
    """The messages that come through a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._buffer = bytearray()

    def read(self) -> bool:
        """Read what is there, or wait for it; return False at the end of the pipe."""
        data = os.read(self._descriptor, 1 << 20)
        self._buffer += data
        return bool(data)

    def next(self) -> Any:
        """Return the next complete message, or None."""
        if len(self._buffer) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(self._buffer)[0]
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return pickle.loads(body)  # from a child of this process, by a pipe that nobody else has
