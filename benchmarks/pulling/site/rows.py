"""How long ``bulk_create()`` takes with and without tasks: ``python -m benchmarks.pulling.site.rows ROWS ROUNDS``.

It prints the seconds of each round as JSON, in turns on one connection.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import django


def seconds(create: Callable[[list[Any]], object], rows: list[Any]) -> float:
    """Return how long it takes."""
    began = time.perf_counter()
    create(rows)
    return time.perf_counter() - began


if __name__ == "__main__":
    django.setup()
    from django.db.models import QuerySet

    from benchmarks.pulling.site.models import HelloTask

    found: dict[str, list[float]] = {"bare": [], "tasks": []}
    ways: dict[str, Callable[[list[Any]], object]] = {
        "bare": QuerySet(HelloTask).bulk_create,
        "tasks": HelloTask.objects.bulk_create,
    }
    for round in range(int(sys.argv[2]) + 1):
        for name in sorted(ways, reverse=bool(round % 2)):
            took = seconds(ways[name], [HelloTask(name=str(number)) for number in range(int(sys.argv[1]))])
            if round:  # the first one connects, and imports
                found[name].append(took)
    print(json.dumps(found))
