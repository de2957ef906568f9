"""The options of one worker: its queues, how many tasks it runs at a time, and when it is recycled."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The options of one worker. They never change, so every thread may read them.

    :ivar kind: "companion" or "worker".
    :ivar queues: only these are served; empty means all.
    :ivar exclude_queues: these are not served.
    :ivar threads: how many tasks it runs at a time in threads.
    :ivar coroutines: how many it runs at a time as coroutines.
    :ivar processes: how many it runs at a time in child processes.
    :ivar serves_pid: the Django process whose companion it is.
    :ivar wake_fd: a pipe through which that process wakes the worker.
    :ivar offer_fds: the ends of a pipe in which it offers to take the next task of that process.
    :ivar burst: whether it ends when there is nothing more to do.
    :ivar max_tasks: it is recycled after this many tasks.
    :ivar max_memory: it is recycled when its process uses more bytes than this.
    :ivar reload: whether it is replaced when its code changes.
    :ivar yields: whether it leaves to dedicated workers the queues that they serve.
    :ivar make_way: called with its exit status when it takes no more tasks, so that others need not wait for its end.
    :ivar predecessor: how the worker before this one died, if known.
    """

    kind: str = "worker"
    queues: tuple[str, ...] = ()
    exclude_queues: tuple[str, ...] = ()
    threads: int = 4
    coroutines: int = 100
    processes: int = 2
    serves_pid: int | None = None
    wake_fd: int | None = None
    offer_fds: tuple[int, int] | None = None
    burst: bool = False
    max_tasks: int | None = None
    max_memory: int | None = None
    reload: bool = False
    yields: bool = False
    make_way: Callable[[int], None] = lambda status: None
    predecessor: str = ""

    def serves(self, queue: str) -> bool:
        """Whether this worker takes tasks from a queue."""
        return queue not in self.exclude_queues and (not self.queues or queue in self.queues)

    def serves_all(self) -> bool:
        """Whether this worker takes tasks from every queue."""
        return not self.queues and not self.exclude_queues
