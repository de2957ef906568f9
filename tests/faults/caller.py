"""A program that calls tasks, as the processes of a site do: ``python -m tests.faults.caller``.

It writes to the ledger which calls were acknowledged, how long each took, and which ones raised. It exits at the end of its
standard input.
"""

import argparse
import random
import select
import sys
import time
from collections.abc import Callable
from typing import Any

import django
from django.db import DatabaseError, InterfaceError, connection

from autotask import companion
from tests.faults import ledger


def main() -> None:
    """Call until the end of the input."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.caller")
    parser.add_argument("--rate", type=float, default=0.0, help="Calls in a second.")
    parser.add_argument("--seconds", type=float, default=0.0, help="How long the tasks take at most.")
    parser.add_argument("--mixed", action="store_true", help="Also tasks that fail first, and delayed ones.")
    parser.add_argument("--companion", action="store_true", help="Have a companion.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    django.setup()
    if options.companion:
        companion.start()
    print("ready", flush=True)
    _Caller(options).run()


class _Caller:
    def __init__(self, options: argparse.Namespace) -> None:
        # Imported here: Django has to be set up before task functions are defined.
        from tests.faults.app import tasks

        self._options = options
        self._random = random.Random(options.seed)
        self._ledger = ledger.from_environment()
        self._tasks = tasks

    def run(self) -> None:
        interval = 1.0 / self._options.rate if self._options.rate else 3600.0
        due = time.monotonic() + (0.0 if self._options.rate else interval)
        while not select.select([sys.stdin], [], [], max(0.0, due - time.monotonic()))[0]:
            # A slow call is not made up for: a site does not, either.
            due = max(due + interval, time.monotonic() - interval)
            self._call(self._chosen())

    def _chosen(self) -> Callable[[], Any]:
        tasks, seconds = self._tasks, self._random.uniform(0, self._options.seconds)
        calls = [lambda: tasks.note(seconds)]
        if self._options.mixed:
            calls = [*calls * 3, tasks.fail_first, lambda: tasks.note.using(delay=0.2)(seconds)]
        return self._random.choice(calls)

    def _call(self, call: Callable[[], Any]) -> None:
        began = time.monotonic()
        try:
            handle = call()
        except (DatabaseError, InterfaceError) as error:
            self._ledger.write("unknown", seconds=time.monotonic() - began, error=f"{type(error).__name__}: {error}")
        else:
            self._ledger.write("enqueued", id=handle.id, seconds=time.monotonic() - began)
        # As Django does at the end of a request.
        connection.close_if_unusable_or_obsolete()


if __name__ == "__main__":
    main()
