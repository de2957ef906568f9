"""What tasks leave behind that keeps an interpreter from ending."""

import atexit
import concurrent.futures
import multiprocessing
import threading
import time

_kept: list[object] = []


def leave(what: str, seconds: float) -> None:
    """Leave a thread, an executor, a child or a function of atexit that lasts so long."""
    if what == "thread":
        threading.Thread(target=time.sleep, args=(seconds,), name="left-behind", daemon=False).start()
    elif what == "executor":
        executor = concurrent.futures.ThreadPoolExecutor()
        executor.submit(time.sleep, seconds)
        _kept.append(executor)
    elif what == "child":
        multiprocessing.get_context("spawn").Process(target=time.sleep, args=(seconds,)).start()
    else:
        atexit.register(time.sleep, seconds)
