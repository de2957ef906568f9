"""A pipe on which a loop sleeps: any thread, a signal or another process can wake it."""

import os
import struct

from autotask.processes import readable

#: Another process writes this when it has enqueued a task.
WORD = b"\0"

#: It writes this to hand a task over: a sign, the length of the rest, and the rest.
_SIGN = 1
_HEAD = struct.Struct("=BH")


def handing(body: bytes) -> bytes:
    """Return the bytes to write to hand a task over: at once, at most :data:`select.PIPE_BUF`."""
    return _HEAD.pack(_SIGN, len(body)) + body


class Wakeup:
    """A pipe from a process to itself.

    :param also: the read end of a pipe into which another process writes when it has enqueued a task, or hands it over.
    :ivar called: whether a task was enqueued, in this process or the other one. The reader resets it.
    :ivar handed: the bytes that were handed over. The reader removes them.
    """

    def __init__(self, also: int | None = None) -> None:
        self._read, self.write_fd = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self.write_fd, False)
        self._also = also
        self.called = False
        self.handed: list[bytes] = []
        if also is not None:
            os.set_blocking(also, False)

    def wake(self) -> None:
        """End the current sleep of the loop, or the next one."""
        try:
            os.write(self.write_fd, b"\0")
        except BlockingIOError:
            pass  # It is full of reasons to wake up.
        except OSError:
            pass  # The loop has ended.

    def call(self) -> None:
        """Like :meth:`wake`, because a task was enqueued in this process."""
        self.called = True
        self.wake()

    def sleep(self, seconds: float, listener: int | None = None) -> bool:
        """Sleep until woken, until *listener* is readable, or until the time is over.

        :param listener: the file descriptor of a listening connection; its notifications are left for the caller to read.
        :returns: whether it was woken.
        """
        ready = self.wait(seconds, listener)
        for fd in ready:
            if fd != listener:
                self._empty(fd)
        return bool(ready)

    def wait(self, seconds: float, listener: int | None = None) -> set[int]:
        """Wait as :meth:`sleep` does, but read nothing; return the file descriptors that are readable."""
        return readable.wait([fd for fd in (self._read, self._also, listener) if fd is not None], seconds)

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._read)
        os.close(self.write_fd)

    def _empty(self, fd: int) -> None:
        try:
            words = os.read(fd, 65536)
        except BlockingIOError:
            return
        if fd == self._also:
            self._take_in(words)

    def _take_in(self, words: bytes) -> None:
        if not words:
            self._also = None  # The other side is gone; another pipe shows that to those that need to know.
        at = 0
        while at < len(words):
            if words[at] == _SIGN and at + _HEAD.size <= len(words):
                length = _HEAD.unpack_from(words, at)[1]
                at += _HEAD.size
                self.handed.append(words[at : at + length])
                at += length
            else:
                self.called = True
                at += 1
