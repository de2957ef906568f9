"""The seconds of CPU that the processes of a run have used, by what they do."""

import psutil

from benchmarks.drivers.metrics import server_process
from benchmarks.sql import Connection

#: What processes do, in the order of the table.
PARTS = ("client", "web server", "companion", "PostgreSQL", "Redis")


def used(client: int, web: int, redis: int, connection: Connection) -> dict[str, float]:
    """Return the seconds that each part has used until now.

    :param client: the process of the client.
    :param web: the first process of the web server, whose descendants include the companion.
    """
    served = _family(psutil.Process(web))
    found = [each for each in served if _is_companion(each)]
    return {
        "client": _seconds(_family(psutil.Process(client))),
        "web server": _seconds([each for each in served if each not in found]),
        "companion": _seconds(found),
        "PostgreSQL": _seconds(_family(server_process(connection))),
        "Redis": _seconds([psutil.Process(redis)]),
    }


def _family(first: psutil.Process | None) -> list[psutil.Process]:
    return [] if first is None else [first, *first.children(recursive=True)]


def _is_companion(process: psutil.Process) -> bool:
    try:
        return "autotask" in " ".join(process.cmdline())
    except psutil.Error:
        return False


def _seconds(processes: list[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.Error:  # it has just ended
            continue
        # Those of children that have ended are in neither of them.
        total += times.user + times.system
    return total
