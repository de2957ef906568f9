"""Task functions that leave a transaction or a statement unfinished, for each of the pools; see test_effects.py."""

import _thread
import asyncio
import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

from asgiref.sync import sync_to_async
from django.db import DatabaseError, connection, transaction

from autotask.tasks import delayed_task
from tests.gates import gate
from tests.helpers import patient

#: Objects that tasks keep beyond their end.
kept: list[object] = []


def keep_connections() -> None:
    """Have this thread keep its connection between tasks, as with CONN_MAX_AGE."""
    connection.ensure_connection()
    connection.close_at = None


def write(text: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO effect (text) VALUES (%s)", [text])
    return text


def begin(text: str) -> None:
    connection.cursor().execute("BEGIN")
    write(text)


def _atomic(text: str) -> None:
    transaction.atomic().__enter__()
    write(text)


def _no_autocommit(text: str) -> None:
    transaction.set_autocommit(False)
    write(text)


def _aborted(text: str) -> None:
    begin(text)
    with contextlib.suppress(DatabaseError):
        connection.cursor().execute("SELECT 1 / 0")


def _copy(text: str) -> None:
    cursor = connection.connection.cursor()
    copy = cursor.copy("COPY effect FROM STDIN")
    copy.__enter__().write_row([text])
    kept.append((cursor, copy))


def _stream(text: str) -> None:
    stream = connection.connection.cursor().stream("SELECT * FROM generate_series(1, 100_000)")
    next(stream)
    kept.append(stream)


def _pipeline(text: str) -> None:
    pipeline = connection.connection.pipeline()
    pipeline.__enter__()
    connection.connection.execute("INSERT INTO effect VALUES ('piped')")
    kept.append(pipeline)


WAYS = {
    "begin": begin,
    "atomic": _atomic,
    "no_autocommit": _no_autocommit,
    "aborted": _aborted,
    "copy": _copy,
    "stream": _stream,
    "pipeline": _pipeline,
}

#: Only psycopg 3 can do these.
ONLY_PSYCOPG_3 = {"copy", "stream", "pipeline"}


def leave(way: str) -> str:
    keep_connections()
    WAYS[way](way)
    return "done"


async def async_leave(way: str) -> str:
    return await sync_to_async(leave)(way)


async def async_write(text: str) -> str:
    return await sync_to_async(write)(text)


def _tasks(where, executor, leave, write):
    return SimpleNamespace(
        leave=delayed_task(name=f"{__name__}.leave_in_{where}", executor=executor, retries=1, backoff=0.01)(leave),
        write=delayed_task(name=f"{__name__}.write_in_{where}", executor=executor)(write),
    )


ALL = {
    "thread": _tasks("thread", None, leave, write),
    "process": _tasks("process", "process", leave, write),
    "coroutine": _tasks("coroutine", None, async_leave, async_write),
    "executor": _tasks("executor", "unfinished", leave, write),
}


def one_thread() -> ThreadPoolExecutor:
    """Return an executor; see AUTOTASK_EXECUTORS."""
    return ThreadPoolExecutor(1)


async def _wait_for(name: str) -> None:
    while not gate(name).is_set():
        await asyncio.sleep(0.01)


@delayed_task
async def begin_and_wait(name: str, end: str) -> str:
    """Begin a transaction, wait in the middle of it, and end it by a statement."""
    await sync_to_async(begin)(name)
    gate(name + " begun").set()
    await _wait_for(name)
    await sync_to_async(write)(name + " again")
    if end:
        await sync_to_async(lambda: connection.cursor().execute(end))()
    return name


@delayed_task
async def begin_beside(text: str) -> None:
    """Leave a transaction open in a thread of the event loop's own."""
    await asyncio.to_thread(begin, text)


@delayed_task
async def write_beside(text: str) -> None:
    await asyncio.to_thread(write, text)


@delayed_task
def begin_under_a_loop(text: str) -> None:
    """Leave a transaction open in the thread of an event loop of one's own."""

    async def work() -> None:
        await sync_to_async(begin)(text)

    asyncio.run(work())


@delayed_task
def begin_in_a_thread_under_a_loop(text: str) -> None:
    async def work() -> None:
        await sync_to_async(begin, thread_sensitive=False)(text)

    asyncio.run(work())


def _begin_and_stay(text: str) -> None:
    begin(text)
    gate(text + " begun").set()
    gate(text).wait(patient(20))


@delayed_task(timeout=0.3)
async def begin_and_be_cut_off(text: str) -> None:
    """Be in the middle of a call that leaves a transaction open when the time is up."""
    await sync_to_async(_begin_and_stay)(text)


_behind: set[asyncio.Task[None]] = set()


def _go_on_behind(work) -> None:
    task = asyncio.get_running_loop().create_task(work)
    _behind.add(task)
    task.add_done_callback(_behind.discard)


@delayed_task
async def begin_behind(text: str) -> None:
    """Leave a transaction open in the shared thread after the end of the task, and go on there."""

    async def work() -> None:
        await _wait_for(text)
        await sync_to_async(begin)(text + " lost")
        await sync_to_async(write)(text)

    _go_on_behind(work())


@delayed_task
async def write_behind(text: str) -> None:
    """Connect in a thread of the event loop after the end of the task."""

    async def work() -> None:
        await _wait_for(text)
        await asyncio.to_thread(write, text)

    _go_on_behind(work())


# --- connections in other threads -----------------------------------------------------------------------------------

_executor = ThreadPoolExecutor(2, thread_name_prefix="of-the-project")


def _under_a_loop(**options):
    def run(text: str) -> None:
        async def work() -> None:
            await asyncio.gather(*(sync_to_async(write, **options)(text) for _ in range(3)))

        asyncio.run(work())

    return run


@delayed_task(atomic=True)
def write_on_commit(text: str) -> None:
    """Connect in another thread after the commit."""
    transaction.on_commit(lambda: _under_a_loop()(text))


def _in_threads(text: str) -> None:
    threads = [threading.Thread(target=write, args=(text,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _in_foreign_threads(text: str) -> None:
    """Work in threads that ``threading`` has not started, as those of libraries in C."""
    done = threading.Semaphore(0)

    def work() -> None:
        write(text)
        done.release()

    for _ in range(3):
        _thread.start_new_thread(work, ())
    for _ in range(3):
        done.acquire()


def _in_an_executor(text: str) -> None:
    for future in [_executor.submit(write, text) for _ in range(3)]:
        future.result()


def _in_a_loop_in_a_thread(text: str) -> None:
    thread = threading.Thread(target=_under_a_loop(), args=(text,))
    thread.start()
    thread.join()


async def _in_threads_of_the_loop(text: str) -> None:
    await asyncio.gather(*(asyncio.to_thread(write, text) for _ in range(3)))


async def _not_sensitive(text: str) -> None:
    await asyncio.gather(*(sync_to_async(write, thread_sensitive=False)(text) for _ in range(3)))


BESIDE = {
    "sensitive": _under_a_loop(),
    "not_sensitive": _under_a_loop(thread_sensitive=False),
    "threads": _in_threads,
    "foreign_threads": _in_foreign_threads,
    "executor": _in_an_executor,
    "loop_in_thread": _in_a_loop_in_a_thread,
}

COROUTINES = {"to_thread": _in_threads_of_the_loop, "not_sensitive": _not_sensitive}

#: Tasks that write three rows from threads other than their own.
OTHER_THREADS = {
    "thread": [delayed_task(name=f"{__name__}.{how}_beside_thread")(run) for how, run in BESIDE.items()],
    "process": [
        delayed_task(name=f"{__name__}.{how}_beside_process", executor="process")(run) for how, run in BESIDE.items()
    ],
    "coroutine": [delayed_task(name=f"{__name__}.{how}_beside_loop")(run) for how, run in COROUTINES.items()],
}
