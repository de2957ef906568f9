"""A program that calls tasks with flow control from several threads: ``python -m tests.faults.flowing.calls MIX``.

Like ``tests/faults/caller.py`` it writes each call to the ledger, and exits at the end of its standard input.
"""

import argparse
import random
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import django
from django.db import DatabaseError, InterfaceError, connection, transaction

from tests.faults import ledger

#: The keys that all callers share: few, so that they meet.
ACCOUNTS = 4

#: Calls that are undone, by way of the transaction.
UNDONE = ("rolled back", "savepoint rolled back")


def main() -> None:
    """Call until the end of the input."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.flowing.calls")
    parser.add_argument("mix", choices=MIXES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rate", type=float, default=20.0, help="Calls in a second, of each thread.")
    parser.add_argument("--seconds", type=float, default=0.05, help="How long the tasks take at most.")
    parser.add_argument("--open", type=float, default=0.0, help="How long a transaction stays open at most.")
    parser.add_argument("--file", type=Path, help="Until this exists, a transaction stays open.")
    parser.add_argument("--closed", type=Path, help="Made by the task that closes its bucket.")
    parser.add_argument("--crowd", type=int, default=0, help="How many calls at once.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    django.setup()
    over = threading.Event()
    threads = [threading.Thread(target=Calls(options, number, over).run) for number in range(options.threads)]
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()


class Calls:
    """The calls of one thread."""

    def __init__(self, options: argparse.Namespace, number: int, over: threading.Event) -> None:
        # Imported here: Django has to be set up before task functions are defined.
        from autotask.acts import tasks as acts
        from autotask.exceptions import AlreadyEnqueued
        from tests.faults.flowing import tasks

        self.options = options
        self.random = random.Random(f"{options.seed} {number} {time.monotonic_ns()}")
        self.tasks, self.acts, self.refused = tasks, acts, AlreadyEnqueued
        self.ledger = ledger.from_environment()
        self.over = over
        self.known: deque[Any] = deque(maxlen=20)

    def run(self) -> None:
        """Call until the program is over."""
        while not self.over.wait(self.random.expovariate(self.options.rate)):
            began = time.time()
            try:
                MIXES[self.options.mix](self)
            except (DatabaseError, InterfaceError) as error:
                state = getattr(error.__cause__, "sqlstate", None) or getattr(error.__cause__, "pgcode", None)
                self.ledger.write("unknown", seconds=time.time() - began, error=f"{error}", sqlstate=state)
            except Exception as error:
                self.ledger.write("error", error=f"{type(error).__name__}: {error}")
            # As Django does at the end of a request.
            connection.close_if_unusable_or_obsolete()
        connection.close()

    def call(self, task: Any, *args: Any, key: str = "", **options: Any) -> None:
        """Call a task, in a transaction or without one, and note what became of it."""
        how = self.random.choice(("", "", "committed", *UNDONE) if key else ("",))
        began, handles = time.time(), []
        try:
            with _surrounded(how, self._stay_open):
                handles.append(task.using(**options)(*args) if options else task(*args))
        except self.refused as error:
            self.ledger.write("called", id=error.facts["id"], key=key, began=began, ended=time.time(), how="refused")
            return
        for handle in handles:
            if how in UNDONE:
                self.ledger.write("undone", id=handle.id, key=key, created=handle.created)
            else:
                self.note(handle, key, began)

    def note(self, handle: Any, key: str, began: float) -> None:
        """Write down a call that was committed."""
        self.known.append(handle.id)
        ended = time.time()
        if handle.created is not False:
            self.ledger.write("enqueued", id=handle.id, seconds=ended - began)
        if key:
            self.ledger.write(
                "called", id=handle.id, key=key, began=began, ended=ended, how=f"created {handle.created}"
            )

    def call_many(self, task: Any, items: Iterable[tuple[Any, ...]]) -> None:
        """Call a task many times with one statement."""
        began = time.time()
        with _surrounded(self.random.choice(("", "committed")), self._stay_open):
            handles = task.enqueue_many(list(items))
        for handle in handles:
            self.note(handle, "", began)

    def meddle(self) -> None:
        """Cancel some tasks, or retry them."""
        if self.known:
            ids = self.random.sample(self.known, self.random.randint(1, len(self.known)))
            self.ledger.write("fault", pid=None, action="meddled")
            self.random.choice((self.acts.cancel, self.acts.retry))([uuid.UUID(str(id)) for id in ids])

    def account(self) -> int:
        """Return one of the few keys."""
        return self.random.randrange(ACCOUNTS)

    def seconds(self) -> float:
        """Return how long a task is to take: mostly short, sometimes ten times as long."""
        most = self.options.seconds
        return self.random.uniform(0, most) if self.random.random() < 0.9 else most * 10

    def _stay_open(self) -> None:
        if self.options.open:
            time.sleep(self.random.uniform(0, self.options.open))


@contextmanager
def _surrounded(how: str, wait: Callable[[], None]) -> Iterator[None]:
    """Run a block in a transaction, in one that is rolled back, or in a savepoint that is."""
    with ExitStack() as stack:
        if how:
            stack.enter_context(transaction.atomic())
        if how == "savepoint rolled back":
            stack.enter_context(transaction.atomic())
        yield
        if how:
            wait()
        if how in UNDONE:
            transaction.set_rollback(True)


def _limits(calls: Calls) -> None:
    tasks, seconds, failing = calls.tasks, calls.seconds(), calls.random.random() < 0.1
    calls.call(
        *calls.random.choice(
            [
                (tasks.two_at_a_time, seconds, failing),
                (tasks.by_account, calls.account(), seconds, failing),
                (tasks.share, seconds, failing),
                (tasks.share_too, seconds, failing),
                (tasks.in_narrow_queue, calls.account(), seconds, failing),
            ]
        )
    )


def _unique(calls: Calls) -> None:
    tasks, account = calls.tasks, calls.account()
    if calls.random.random() < 0.15:
        calls.meddle()
        return
    task = calls.random.choice([tasks.once, tasks.once_waiting, tasks.newest, tasks.once_or_error])
    prefix = "waiting:" if task is tasks.once_waiting else ""
    options = {"delay": 0.2} if calls.random.random() < 0.2 else {}
    calls.call(task, account, calls.seconds(), key=f"{prefix}{task.name}(account={account})", **options)


def _rated(calls: Calls) -> None:
    calls.call(calls.tasks.rated, 0.0)


def _storm(calls: Calls) -> None:
    tasks, chance, account, seconds = calls.tasks, calls.random, calls.account(), calls.seconds()
    keyed = [tasks.by_account, tasks.once, tasks.once_waiting, tasks.newest, tasks.debounced, tasks.throttled]
    keyed += [tasks.rated_by_account, tasks.in_narrow_queue]
    if chance.random() < 0.15:
        calls.meddle()
    elif chance.random() < 0.2:
        calls.call_many(chance.choice(keyed), [(calls.account(), seconds) for _ in range(chance.randrange(2, 30))])
    elif chance.random() < 0.3:
        calls.call(chance.choice([tasks.two_at_a_time, tasks.share, tasks.share_too, tasks.rated]), seconds)
    else:
        calls.call(chance.choice(keyed), account, seconds, key="any")


def _each_with(calls: Calls, account: int) -> None:
    """Call every task that has a key."""
    tasks = calls.tasks
    for task in (tasks.by_account, tasks.in_narrow_queue, tasks.rated_by_account):
        calls.note(task(account, 0.0), "", time.time())
    for task in (tasks.once, tasks.once_waiting, tasks.newest, tasks.debounced, tasks.throttled):
        calls.note(task(account, 0.0), "", time.time())


def _held_open(calls: Calls) -> None:
    with transaction.atomic():
        _each_with(calls, 1)
        calls.ledger.write("held")
        while not calls.options.file.exists():
            time.sleep(0.02)
    calls.over.wait()


def _each(calls: Calls) -> None:
    began = time.time()
    _each_with(calls, 2)
    calls.ledger.write("each", seconds=time.time() - began)
    calls.over.wait()


def _crowd(calls: Calls) -> None:
    """Fill a limit and the queues before gates that will let nobody pass."""
    tasks, options = calls.tasks, calls.options
    calls.note(tasks.wait_in_line(1, str(options.file)), "", time.time())
    calls.call_many(tasks.wait_in_line, [(1, str(options.file))] * options.crowd)
    calls.call_many(tasks.two_at_a_time, [(0.0,)] * (options.crowd // 10))
    calls.call_many(tasks.close_bucket, [(1, str(options.closed), 600.0)] * (options.crowd // 10))
    calls.ledger.write("crowd")
    calls.over.wait()


def _others(calls: Calls) -> None:
    """Call tasks that wait for nothing of what the crowd waits for."""
    tasks, count = calls.tasks, calls.options.crowd
    file = str(calls.options.closed or __file__)
    handles = tasks.wait_in_line.enqueue_many([(2, file)] * count)
    handles += tasks.close_bucket.enqueue_many([(2, file, 600.0)] * count)
    handles += tasks.share.enqueue_many([(0.0,)] * count)
    handles += tasks.once.enqueue_many([(account,) for account in range(count)])
    for handle in handles:
        calls.note(handle, "", time.time())
    calls.ledger.write("others", ids=[str(handle.id) for handle in handles])
    calls.over.wait()


def _closing(calls: Calls) -> None:
    options = calls.options
    calls.call_many(calls.tasks.close_bucket, [(1, str(options.closed), options.seconds)] * options.crowd)
    calls.over.wait()


#: What a program calls.
MIXES = {
    "limits": _limits,
    "unique": _unique,
    "rated": _rated,
    "storm": _storm,
    "held open": _held_open,
    "each": _each,
    "crowd": _crowd,
    "others": _others,
    "closing": _closing,
}


if __name__ == "__main__":
    main()
