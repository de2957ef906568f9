"""Tasks that return the fence of their claim, take a while, fail, or kill their worker."""

import asyncio
import faulthandler
import itertools
import os
import signal
import sys
import threading
import time
from collections import deque
from pathlib import Path

from asgiref.sync import sync_to_async
from django.db import connection, transaction

from autotask.tasks import delayed_task
from tests import leftovers
from tests.faults.witness import current

KEPT = 86400


@delayed_task(ttl=KEPT)
def note(seconds: float = 0.0) -> int:
    """Take a while, and return the fence of the claim."""
    if seconds:
        time.sleep(seconds)
    return current().fence


@delayed_task(ttl=KEPT, atomic=True)
def note_atomically() -> int:
    """Return the fence of the claim, from inside a transaction."""
    return current().fence


@delayed_task(ttl=KEPT, retries=20, backoff=0.05)
def fail_first() -> int:
    """Fail at the first attempt."""
    if current().failures == 0:
        raise ValueError("the first attempt fails")
    return current().fence


@delayed_task(ttl=KEPT)
def wait_for(file: str) -> int:
    """Wait until the file exists."""
    while not Path(file).exists():
        time.sleep(0.02)
    return current().fence


@delayed_task(ttl=KEPT, executor="process")
def wait_for_in_process(file: str) -> int:
    """Wait until the file exists."""
    return wait_for.call(file)


@delayed_task(ttl=KEPT)
async def wait_for_in_coroutine(file: str) -> None:
    """Wait until the file exists."""
    while not Path(file).exists():
        await asyncio.sleep(0.02)


@delayed_task(ttl=KEPT)
def spin() -> None:
    """Run Python code without end."""
    while True:
        pass


@delayed_task(ttl=KEPT, executor="process")
def spin_in_process() -> None:
    """Run Python code without end."""
    while True:
        pass


@delayed_task(ttl=KEPT)
async def doze() -> None:
    """Wait on the event loop without end."""
    await asyncio.sleep(3600)


@delayed_task(ttl=KEPT)
async def block(seconds: float) -> None:
    """Block the event loop."""
    time.sleep(seconds)


@delayed_task(ttl=KEPT)
def sleep_in_c(seconds: float) -> None:
    """Wait in one call of C, which no exception can interrupt."""
    time.sleep(seconds)


@delayed_task(ttl=KEPT, executor="process")
def hold_the_gil_in_process() -> None:
    """Never return from C."""
    deque(itertools.repeat(None), maxlen=0)


@delayed_task(ttl=KEPT)
def hold_the_gil() -> None:
    """Never return from C: no other thread of the worker runs, nor a signal handler."""
    deque(itertools.repeat(None), maxlen=0)


@delayed_task(ttl=KEPT)
def kill_the_worker() -> None:
    """Kill the whole process."""
    os.kill(os.getpid(), signal.SIGKILL)


@delayed_task(ttl=KEPT)
def end_the_process(how: str) -> None:
    """End the process, or try to."""
    if how == "_exit":
        os._exit(0)
    elif how == "exit":
        sys.exit(3)
    faulthandler._sigsegv()  # type: ignore[attr-defined]


@delayed_task(ttl=KEPT)
def take_memory() -> int:
    """Take memory until there is none."""
    hoard = []
    while True:
        hoard.append(bytearray(16 * 2**20))


class Unshowable(Exception):
    """An exception without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class Rude(Exception):
    """An exception that exits when its text is needed."""

    def __str__(self) -> str:
        raise SystemExit(4)


class Parting:
    """A value that exits when it is pickled."""

    def __reduce__(self) -> tuple[()]:
        raise SystemExit(5)


class Unreducible(Exception):
    """An exception that cannot be pickled."""

    def __reduce__(self) -> tuple[()]:
        raise RuntimeError("not to be moved")


@delayed_task(ttl=KEPT)
def misbehave(how: str) -> object:
    """Return or raise something that cannot be stored, pickled or shown."""
    if how == "unpicklable result":
        return lambda: None
    if how == "unreducible result":
        return [Unreducible()]
    if how == "parting result":
        return Parting()
    if how == "large result":
        return bytes(100 * 2**20)
    if how == "recursion":
        return misbehave.call(how)
    raise {
        "unshowable": Unshowable(),
        "unreducible": Unreducible(),
        "rude": Rude(),
        "SystemExit": SystemExit(3),
        "KeyboardInterrupt": KeyboardInterrupt(),
        "GeneratorExit": GeneratorExit(),
        "BaseException": BaseException("bare"),
        "surrogates": ValueError("\ud800\0 and so on" * 10_000),
    }[how]


@delayed_task(ttl=KEPT)
def leave_a_mess(how: str) -> None:
    """Leave something behind that may disturb the next task."""
    if how == "open transaction":
        transaction.atomic().__enter__()
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS left_behind ()")
    elif how == "search path":
        with connection.cursor() as cursor:
            cursor.execute("SET search_path = nowhere")
    elif how == "closed connection":
        connection.ensure_connection()
        connection.connection.close()
    elif how == "broken transaction":
        connection.set_autocommit(False)
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
    else:
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()


@delayed_task(ttl=KEPT)
def leave_behind(what: str) -> int:
    """Leave something behind that an interpreter waits for before it exits."""
    leftovers.leave(what, 3600)
    return current().fence


@delayed_task(ttl=KEPT)
def look_around() -> dict[str, object]:
    """Return the state of the process and its connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('search_path'), to_regclass('left_behind') IS NULL")
        path, clean = cursor.fetchone()
    return {"path": path, "clean": clean, "in_transaction": connection.in_atomic_block, "pid": os.getpid()}


def _write(text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO written (text) VALUES (%s)", [text])


def _leave_open(text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
    _write(text)


async def _write_in_coroutine(text: str) -> None:
    await asyncio.sleep(0.001)
    await sync_to_async(_write)(text)


async def _leave_open_in_coroutine(text: str) -> None:
    await sync_to_async(_leave_open)(text)
    await asyncio.sleep(0.01)
    await sync_to_async(_write)(text)


#: For each pool a task that writes a row, and one that does so in a transaction that it leaves open.
WRITERS = {
    where: (
        delayed_task(name=f"faults.write_in_{where}", ttl=KEPT, executor=executor)(write),
        delayed_task(name=f"faults.leave_open_in_{where}", ttl=KEPT, executor=executor)(leave),
    )
    for where, executor, write, leave in (
        ("thread", None, _write, _leave_open),
        ("process", "process", _write, _leave_open),
        ("coroutine", None, _write_in_coroutine, _leave_open_in_coroutine),
    )
}


class Canary:
    """Writes a file when it is unpickled: it sings."""

    def __init__(self, file: str) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, ...]:
        return _sing, (self.file,)


def _sing(file: str) -> None:
    Path(file).touch()


@delayed_task(ttl=KEPT)
def take(value: object) -> int:
    """Take anything."""
    return current().fence


class Heavy(int):
    """A number that takes many bytes."""

    data: bytes

    def __new__(cls, number: int, data: bytes) -> "Heavy":
        """Make one from a number and its bytes."""
        self = super().__new__(cls, number)
        self.data = data
        return self

    def __reduce__(self) -> tuple[type["Heavy"], tuple[int, bytes]]:
        return Heavy, (int(self), self.data)


@delayed_task(ttl=KEPT)
def give(size: int) -> Heavy:
    """Return that many bytes."""
    return Heavy(current().fence, os.urandom(size))


@delayed_task(ttl=KEPT)
def reach_the_limit_of_threads(seconds: float) -> int:
    """Keep threads from starting in this process for a while: their stacks would be too large."""
    former = threading.stack_size(1 << 47)
    timer = time.monotonic() + seconds
    while time.monotonic() < timer:
        time.sleep(0.05)
    threading.stack_size(former)
    return current().fence
