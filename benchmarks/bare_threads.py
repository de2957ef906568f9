"""The most that Python threads can do: no queue, no database, only a function that computes for a while and sleeps."""

import sys
import threading
import time
from collections import deque

#: As workers have it, see autotask.worker.process.
_SWITCH_INTERVAL = 0.001


def rate(calls: int, threads: int, compute: float, sleep: float) -> float:
    """Return how many calls a second the threads make.

    :param compute: seconds of CPU in each call, before it sleeps.
    :param sleep: seconds.
    """
    todo = deque(range(calls))

    def work() -> None:
        while todo:
            try:
                todo.popleft()
            except IndexError:
                return
            end = time.thread_time() + compute
            while time.thread_time() < end:
                pass
            time.sleep(sleep)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    former = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    try:
        began = time.monotonic()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return calls / (time.monotonic() - began)
    finally:
        sys.setswitchinterval(former)
