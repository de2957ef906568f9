"""Tasks that can be called through the API, and some that cannot."""

import datetime
import threading

from autotask.context import TaskContext
from autotask.tasks import delayed_task

opened = threading.Event()
runs: list[object] = []


@delayed_task(name="api.add", api=True)
def add(x: int, y: int = 0) -> int:
    """Add two numbers.

    They may be negative.
    """
    return x + y


@delayed_task(
    name="api.fib", api=True, json_schema={"type": "object", "properties": {"n": {"type": "number"}}}, concurrency=2
)
def fib(params):
    n = params["n"]
    return 1 if n < 2 else fib.function({"n": n - 1}) + fib.function({"n": n - 2})


@delayed_task(name="api.give", api=True)
def give(params):
    return {
        "dict": {"a": 1},
        "text": "päper",
        "none": None,
        "number": 1.5,
        "both": {"result": "ready", "file_path": "/srv/reports/7.txt"},
        "date": datetime.date(2026, 11, 28),
        "set": {1},
        "nan": float("nan"),
        "list": [1, "two"],
    }[params["what"]]


@delayed_task(name="api.fail", api=True)
def fail(reason: str = "bad"):
    raise ValueError(reason, 5)


@delayed_task(name="api.once", api=True, unique=True, on_conflict="raise")
def once(n: int):
    runs.append(n)


@delayed_task(name="api.same", api=True, unique=True)
def same(n: int):
    runs.append(n)


@delayed_task(name="api.slow", api=True, takes_context=True)
def slow(context: TaskContext, n: int = 0):
    context.progress(1, 2)
    opened.wait(20)
    return n


@delayed_task(name="api.hidden")
def hidden():
    return "secret"


@delayed_task(name="api.listed")
def listed(x: int = 0) -> int:
    return x
