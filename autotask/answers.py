"""Answers of a worker to the threads of the process that it serves: what has come of tasks that these have handed to it.

They come through sockets with abstract addresses, which only Linux has. One may get lost, so a thread that waits also looks.
Anybody on this machine can send one. So what one says counts only if it is signed.
"""

import atexit
import contextlib
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator

from autotask.processes import readable

#: The fence of the claim that is over; the rest is what has come of it.
_HEAD = struct.Struct("=q")

#: Bytes that an answer may have; Linux takes more at once.
LARGEST = 60_000


class Box:
    """The place where one thread gets its answers.

    :ivar address: the text by which the worker finds it.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind("")  # Linux chooses an address: a NUL and five hexadecimal digits. Source: unix(7).
        self.address = bytes(self._socket.getsockname()[1:]).decode("ascii")

    def wait(self, fence: int, seconds: float) -> bytes | None:
        """Return the answer about a claim; None if none comes in time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if readable.wait([self._socket.fileno()], left) and (come := self._received(fence)) is not None:
                return come
        return None

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _received(self, fence: int) -> bytes | None:
        """Return the answer that has come; None if it is one to an earlier question, for which nobody waits."""
        try:
            come = self._socket.recv(LARGEST + _HEAD.size)
        except OSError:
            return None
        return come[_HEAD.size :] if come[: _HEAD.size] == _HEAD.pack(fence) else None


_free: list[Box] = []
_sender: socket.socket | None = None


@contextlib.contextmanager
def box() -> Iterator[Box | None]:
    """Lend a box to this thread until the end of the block; None: there are none on this system, or no more descriptors."""
    try:
        lent = _free.pop() if _free else (Box() if sys.platform == "linux" else None)
    except OSError:
        lent = None
    try:
        yield lent
    finally:
        if lent is not None:
            _free.append(lent)


def send(address: str, fence: int, words: bytes) -> None:
    """Answer. Never raises: the thread may be gone, or have more answers than it can take."""
    global _sender
    with contextlib.suppress(OSError):
        if _sender is None:
            _sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            _sender.setblocking(False)
        _sender.sendto(_HEAD.pack(fence) + words, f"\0{address}")


def _close() -> None:
    # In a fork, too: what comes there is for the threads of the parent.
    global _sender
    while _free:
        _free.pop().close()
    if _sender is not None:
        _sender.close()
        _sender = None


os.register_at_fork(after_in_child=_close)
atexit.register(_close)
