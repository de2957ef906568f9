"""Task functions that do not stop by themselves, for the tests of time limits, cancellation and the end of workers."""

import asyncio
import faulthandler
import io
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import ClassVar

from django.contrib.contenttypes.models import ContentType

from autotask.tasks import delayed_task
from tests.gates import gate


def mark(path: str, line: str) -> None:
    """Append one line to a file that the test reads."""
    with open(path, "a") as file:
        file.write(line + "\n")


@delayed_task
def spin(path: str) -> None:
    """Run code of Python without end."""
    mark(path, f"began {os.getpid()}")
    try:
        while True:
            pass
    finally:
        mark(path, "cleaned up")


@delayed_task
def sleep(path: str, seconds: float) -> None:
    """Wait in one call of C, which no exception can interrupt."""
    mark(path, f"began {os.getpid()}")
    time.sleep(seconds)
    mark(path, "woke up")


@delayed_task
def swallow(path: str, end: str) -> None:
    """Catch whatever comes, and go on until there is such a file."""
    mark(path, f"began {os.getpid()}")
    while not Path(end).exists():
        try:
            while not Path(end).exists():
                time.sleep(0.01)
        except BaseException as error:
            mark(path, f"swallowed {type(error).__name__}")
    mark(path, "went on to the end")


@delayed_task
def turn_into_another(path: str) -> None:
    """Raise something else when interrupted."""
    mark(path, f"began {os.getpid()}")
    try:
        while True:
            pass
    except BaseException as error:
        raise ValueError("could not finish") from error


@delayed_task
def return_when_interrupted(path: str) -> str:
    """Come to a good end when interrupted."""
    mark(path, f"began {os.getpid()}")
    try:
        while True:
            pass
    except BaseException:
        return "as far as I came"


@delayed_task(takes_context=True)
def ask(context, path: str) -> str:
    """Stop when asked to."""
    mark(path, f"began {os.getpid()}")
    while not context.should_stop:
        time.sleep(0.01)
    mark(path, context.stop_reason)
    return context.stop_reason


@delayed_task
async def doze(path: str, seconds: float) -> None:
    """Wait on the event loop."""
    mark(path, f"began {os.getpid()}")
    try:
        await asyncio.sleep(seconds)
    finally:
        mark(path, "cleaned up")


@delayed_task
def quick(value: int) -> int:
    return value


@delayed_task
async def quick_coroutine(value: int) -> int:
    return value


@delayed_task(executor="process")
def quick_in_process(value: int) -> int:
    return value


def lines(path: Path) -> list[str]:
    """Return what was written so far."""
    return path.read_text().splitlines() if path.exists() else []


def began(path: Path) -> bool:
    """Whether a task has begun to write."""
    return any(line.startswith("began") for line in lines(path))


def pids(path: Path) -> list[int]:
    """Return the processes in which tasks have begun to write."""
    return [int(line.split()[1]) for line in lines(path) if line.startswith("began")]


@delayed_task
async def block(seconds: float) -> None:
    """Hold up the event loop."""
    time.sleep(seconds)


@delayed_task
async def shrug(path: str, seconds: float) -> None:
    """Wait on, whatever comes."""
    mark(path, f"began {os.getpid()}")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            await asyncio.sleep(end - time.monotonic())
        except asyncio.CancelledError:
            mark(path, "shrugged")
        except GeneratorExit:
            mark(path, "destroyed")
            raise
    mark(path, "went on to the end")


@delayed_task
async def meet(path: str, count: int) -> int:
    """Return when *count* of them have begun."""
    mark(path, "here")
    while (present := len(Path(path).read_text().split())) < count:
        await asyncio.sleep(0.01)
    return present


@delayed_task
async def count_rows() -> int:
    """Use the database."""
    return await ContentType.objects.acount()


@delayed_task(takes_context=True)
async def ask_in_coroutine(context, path: str) -> str:
    """Stop when asked to, although cancelled."""
    mark(path, f"began {os.getpid()}")
    try:
        await asyncio.sleep(60)
    finally:
        mark(path, f"{context.should_stop} {context.stop_reason}")
    return "never"


@delayed_task(executor="process")
def process_id() -> int:
    return os.getpid()


@delayed_task(executor="process")
def spin_in_process(path: str) -> None:
    """Run code of Python without end, in a process of its own."""
    mark(path, f"began {os.getpid()}")
    while True:
        pass


@delayed_task(executor="process")
def sleep_in_process(path: str, seconds: float) -> str:
    """Wait in one call of C, in a process of its own."""
    mark(path, f"began {os.getpid()}")
    time.sleep(seconds)
    return "slept"


@delayed_task(executor="process")
def stay_in_process(path: str, end: str) -> str:
    """Run until there is such a file, in a process of its own."""
    return _stay(path, end)


@delayed_task(executor="process")
def hold_the_interpreter(path: str) -> None:
    """Run one call of C without end that lets no other thread run."""
    mark(path, f"began {os.getpid()}")
    deque(repeat(None), maxlen=0)


@delayed_task(executor="process")
def segfault(path: str) -> None:
    mark(path, f"began {os.getpid()}")
    faulthandler._sigsegv()


@delayed_task(executor="process")
def exit_hard(path: str, status: int) -> None:
    mark(path, f"began {os.getpid()}")
    os._exit(status)


@delayed_task(executor="process")
def die_once(path: str) -> str:
    """Kill the process the first time."""
    first = not Path(path).exists()
    mark(path, f"began {os.getpid()}")
    if first:
        os.kill(os.getpid(), signal.SIGKILL)
    return "second time"


@delayed_task(executor="process", at_most_once=True)
def die_at_most_once(path: str) -> None:
    mark(path, f"began {os.getpid()}")
    os.kill(os.getpid(), signal.SIGKILL)


@delayed_task(executor="process")
def fork_and_die(path: str) -> None:
    """Die, and leave somebody behind who holds the pipe open."""
    if os.fork() == 0:
        time.sleep(5)
        os._exit(0)
    mark(path, f"began {os.getpid()}")
    os._exit(1)


@delayed_task(executor="process", retries=1, backoff=0.05)
def fail_in_process() -> None:
    raise KeyError("gone")


@delayed_task(executor="process", takes_context=True)
def ask_in_process(context, path: str) -> str:
    """Stop when asked to, and report progress meanwhile."""
    mark(path, f"began {os.getpid()}")
    done = 0
    while not context.should_stop:
        done += 1
        context.progress(done, 1000)
        time.sleep(0.01)
    mark(path, context.stop_reason)
    return context.stop_reason


@delayed_task(executor="process")
def signals_of_a_program() -> str:
    """Return what a program that a task starts does about SIGTERM: the mask of ignored signals."""
    return subprocess.run(["grep", "SigIgn", "/proc/self/status"], capture_output=True, text=True, check=True).stdout


@delayed_task(executor="process")
async def double_in_process(value: int) -> int:
    return 2 * value


@delayed_task(executor="pool")
def process_of_the_pool() -> int:
    return os.getpid()


@delayed_task(executor="pool")
def nap_in_the_pool(path: str, seconds: float) -> str:
    mark(path, f"began {os.getpid()}")
    time.sleep(seconds)
    return "slept"


@delayed_task(executor="pool")
def stay_in_the_pool(path: str, end: str) -> str:
    """Run until there is such a file."""
    return _stay(path, end)


def _stay(path: str, end: str) -> str:
    mark(path, f"began {os.getpid()}")
    while not Path(end).exists():
        time.sleep(0.01)
    return "stayed"


@delayed_task(executor="pool")
def outlast_in_the_pool(path: str, other: str, seconds: float) -> None:
    """Run until another task has begun, and for a while longer."""
    mark(path, "began")
    while not lines(Path(other)):
        time.sleep(0.01)
    time.sleep(seconds)


@delayed_task(executor="pool", retries=1, backoff=0.05)
def fail_in_the_pool() -> None:
    raise KeyError("gone")


@delayed_task(executor="pool")
def kill_the_pool(path: str) -> None:
    mark(path, f"began {os.getpid()}")
    os._exit(3)


@delayed_task(executor="cluster")
def square_on_the_cluster(value: int) -> tuple[int, int]:
    return value * value, os.getpid()


@delayed_task(executor="cluster", retries=1, backoff=0.05)
def fail_on_the_cluster() -> None:
    raise KeyError("gone")


@delayed_task(executor="cluster")
def kill_the_cluster(path: str) -> None:
    mark(path, f"began {os.getpid()}")
    os._exit(3)


def pool() -> ProcessPoolExecutor:
    """Return an executor; see AUTOTASK_EXECUTORS."""
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


class LeavingPool(ThreadPoolExecutor):
    """An executor whose threads want to leave."""

    def submit(self, function, /, *args, **kwargs):
        return super().submit(sys.exit, 3)


def leaving_pool() -> ThreadPoolExecutor:
    """Return an executor; see AUTOTASK_EXECUTORS."""
    return LeavingPool(1)


def no_pool() -> ProcessPoolExecutor:
    """Fail to return an executor."""
    raise ConnectionError("the cluster cannot be reached")


class Slow:
    """An argument that is unpickled when a gate is opened, in one call of C.

    :cvar threads: those in which that was begun.
    """

    threads: ClassVar[list[threading.Thread]] = []

    def __init__(self, gate: str) -> None:
        self.gate = gate

    def __setstate__(self, state: dict[str, str]) -> None:
        self.__dict__.update(state)
        self.threads.append(threading.current_thread())
        gate(self.gate).wait(60)


@delayed_task
def take(path: str, argument: Slow) -> None:
    mark(path, "began")


@delayed_task(executor="process")
def change_the_process(folder: str) -> int:
    """Leave behind what belongs to the process, so that it would be met by the next task."""
    for timer in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF):
        signal.setitimer(timer, 0.2)
    faulthandler.dump_traceback_later(0.2, exit=True)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    faulthandler.disable()
    sys.stderr = io.StringIO()
    os.chdir(folder)
    os.umask(0o077)
    os.environ["LEFT_BEHIND"] = "yes"
    os.environ.pop("PATH", None)
    socket.setdefaulttimeout(0.5)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))
    return os.getpid()


@delayed_task(executor="process")
def look_at_the_process(seconds: float) -> dict[str, object]:
    """Take a while, and tell what is to be as it was."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass  # Not a sleep, during which the timers of computing time do not advance.
    umask = os.umask(0)
    os.umask(umask)
    return {
        "pid": os.getpid(),
        "handlers": [str(signal.getsignal(signum)) for signum in (signal.SIGUSR1, signal.SIGTERM)],
        "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
        "faulthandler": faulthandler.is_enabled(),
        "folder": os.getcwd(),
        "umask": umask,
        "environment": dict(os.environ),
        "timeout": socket.getdefaulttimeout(),
        "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    }
