"""The price of a limit: a drain of tasks behind limits, compared with a plain one and with tasks that count."""

from benchmarks.measures.measure import Bench, Figure, Measure

#: As many threads as tasks may run at once, so that the tasks that count never have to be put back.
_THREADS = 5

#: How many times the tasks of a drain wait at the limits of the keys.
_WAITING = 5

#: Seconds for the tasks that count.
_LIMIT = 300.0


def _take(bench: Bench) -> dict[str, float]:
    waiting = _WAITING * bench.scale.tasks
    many_plain = bench.drain(tasks=waiting)
    keys = bench.drain(tasks=waiting, function="one_per_account", limit=_LIMIT)
    plain = bench.drain(threads=_THREADS)
    one = bench.run("drain", function="five_at_once", threads=_THREADS, limit=_LIMIT)
    counting = bench.drain(peer="counting", threads=_THREADS, limit=_LIMIT)
    least = bench.drain(peer="counting", config="least", threads=_THREADS, limit=_LIMIT)
    return {
        "keys": keys,
        "keys_ratio": keys / many_plain,
        "one": one["rate"],
        "one_ratio": one["rate"] / plain,
        "counting": counting,
        "counting_ratio": one["rate"] / counting,
        "least_ratio": one["rate"] / least,
        "worker_cpu_us": one["worker_cpu_us"],
    }


MEASURE = Measure(
    "limits",
    "waiting no-op tasks behind limits, one worker process",
    (
        Figure(
            "keys", "drain, one at a time for each of 1,000 keys (100,000 tasks, or 25,000 with --quick)", "tasks/s"
        ),
        Figure("keys_ratio", "to a plain drain of as many", "×", least=0.7),
        Figure("one", "drain, five at a time for one key", "tasks/s"),
        Figure("one_ratio", "to a plain drain", "×", least=0.25),
        Figure("counting", "the same where each task counts the running ones", "tasks/s"),
        Figure("counting_ratio", "five at a time / tasks that count", "×", least=5),
        Figure("least_ratio", "five at a time / tasks that count, and record no attempts", "×"),
        Figure("worker_cpu_us", "CPU of the worker for a task, five at a time", "µs"),
    ),
    _take,
)
