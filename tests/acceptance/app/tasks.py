"""Tasks that tell where they run, take a while, or do what a worker does not survive."""

import itertools
import os
import signal
import subprocess
import time
import warnings
from collections import deque
from pathlib import Path

from autotask.tasks import TaskContext, delayed_task


@delayed_task
def who() -> int:
    """Return the process id of the worker."""
    return os.getpid()


@delayed_task
def work(seconds: float, diary: str) -> str:
    """Take a while, and write down the start and the end of it."""
    _note(diary, "started")
    time.sleep(seconds)
    _note(diary, "finished")
    return "done"


@delayed_task(at_most_once=True)
def work_once(seconds: float, diary: str) -> str:
    """Take a while, and never begin a second time."""
    return work.call(seconds, diary)


@delayed_task(atomic=True)
def write_and_work(diary: str) -> str:
    """Enqueue a task, and take a while: the first time more of it than the worker is given."""
    _note(diary, "started")
    who()
    if Path(diary).read_text().count("started") == 1:
        time.sleep(60)
    return "done"


@delayed_task(atomic=True, executor="process", takes_context=True)
def enqueue_in_a_process(context: TaskContext, succeed: bool) -> int:
    """Enqueue a task, and come to an end one way or the other."""
    who()
    context.progress(1, 2)
    if not succeed:
        raise ValueError("after the call")
    return os.getpid()


@delayed_task
def wait_for(file: str) -> None:
    """Take as long as it takes until there is such a file."""
    while not Path(file).exists():
        time.sleep(0.05)


@delayed_task
def hold_the_gil(diary: str) -> None:
    """Never come back from C, so that no other thread of the worker runs, nor a signal handler."""
    _note(diary, "started")
    deque(itertools.repeat(None), maxlen=0)


@delayed_task
def kill_the_worker() -> None:
    """Take the whole process along."""
    os.kill(os.getpid(), signal.SIGKILL)


@delayed_task
def fork_and_terminate() -> int:
    """Fork, as multiprocessing does, end the child by SIGTERM, as multiprocessing does, and return how it ended."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # The worker has threads, and Python warns of that.
        child = os.fork()
    if child == 0:
        os.write(writing, b"!")
        time.sleep(600)
        os._exit(0)
    os.read(reading, 1)
    os.kill(child, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@delayed_task
def leave_a_child(seconds: int) -> int:
    """Start a program and do not wait for its end."""
    return subprocess.Popen(["sleep", str(seconds)]).pid


def _note(diary: str, what: str) -> None:
    with Path(diary).open("a", encoding="utf-8") as file:
        file.write(f"{what}\n")
