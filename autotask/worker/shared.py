"""Memory that workers share which are forks of one process."""

import mmap
import os


class Shared:
    """A piece of memory for one purpose: each process has its own, unless its parent has shared one before it forked."""

    def __init__(self, size: int) -> None:
        self._size = size
        #: The process whose forks share memory, and that memory.
        self._family: tuple[int, mmap.mmap] | None = None

    def share(self) -> None:
        """Have the future forks of this process share the memory."""
        self._family = os.getpid(), self.new()

    def of_worker(self) -> mmap.mmap:
        """Return the memory of this worker: that of its family, if it is a fork."""
        return self._family[1] if self._family and self._family[0] != os.getpid() else self.new()

    def new(self) -> mmap.mmap:
        """Return memory that nobody has written to."""
        return mmap.mmap(-1, self._size)
