"""What one worker is to do: which queues it serves, how many tasks it runs at a time, and when it makes way for another."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What one worker is to do. It never changes, so every thread may read it.

    :ivar kind: "companion" or "worker", for people.
    :ivar queues: only these are served; empty means all.
    :ivar exclude_queues: these are not served.
    :ivar threads: how many tasks it runs at a time in threads.
    :ivar coroutines: how many of those it runs at a time whose function is a coroutine function.
    :ivar processes: how many of those it runs at a time that have asked for a process.
    :ivar serves_pid: the Django process whose companion it is.
    :ivar wake_fd: a pipe by whose bytes that process wakes the worker.
    :ivar offer_fds: the ends of a pipe in which it offers that process to be handed the next task.
    :ivar burst: end when there is nothing more to do.
    :ivar max_tasks: after this many tasks it makes way for a fresh one.
    :ivar max_memory: when its process uses more bytes than this, it makes way for a fresh one.
    :ivar reload: when its code changes, it makes way for one with the new code.
    :ivar yields: leave to dedicated workers what they serve.
    :ivar make_way: is called with its exit status when it takes no more tasks, so that others need not wait for its end.
    :ivar predecessor: what is known of the death of the worker before this one.
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
