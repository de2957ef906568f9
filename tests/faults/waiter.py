"""A program with a companion that calls tasks and waits for their results: ``python -m tests.faults.waiter NUMBER``.

It begins when it reads a line. It prints, as JSON, for ``wait()`` and for ``await_result()`` the seconds of each call.
"""

import asyncio
import json
import sys
import time

import django
from django.db import connection

from autotask import companion
from tests.faults import ledger


def main(number: int) -> None:
    """Call and wait, one by one."""
    django.setup()
    companion.start()
    from tests.faults.app import tasks  # Django has to be set up first.

    written = ledger.from_environment()

    def call():
        handle = tasks.note()
        written.write("enqueued", id=handle.id)
        return handle

    sys.stdin.readline()
    call().wait(30)
    found = {"wait": [], "await": []}
    for _ in range(number):
        time.sleep(0.3)
        began = time.monotonic()
        call().wait(30)
        found["wait"].append(time.monotonic() - began)

    async def wait():
        for _ in range(number):
            await asyncio.sleep(0.3)
            handle = await asyncio.to_thread(call)
            began = time.monotonic()
            await handle.await_result(30)
            found["await"].append(time.monotonic() - began)

    asyncio.run(wait())
    connection.close()
    print(json.dumps(found), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]))
