"""The rate of tasks that sleep, with fifty threads."""

from benchmarks import bare_threads
from benchmarks.measures.measure import Bench, Figure, Measure

_THREADS = 50


def _take(bench: Bench) -> dict[str, float]:
    # No task is faster than a no-op: for the shorter sleep that is the lower limit.
    of_nothing = bench.run("drain", threads=_THREADS)
    nothing, compute = of_nothing["rate"], of_nothing["worker_cpu_us"] / 1e6
    short, long = (
        bench.drain(function="sleep_1ms", threads=_THREADS),
        bench.drain(function="sleep_10ms", threads=_THREADS),
    )
    bare = bare_threads.rate(bench.scale.tasks, _THREADS, compute, 0.001)
    return {
        "short": short,
        "bare": bare,
        "bare_ratio": short / bare,
        "short_ratio": short / min(nothing, _THREADS / 0.001),
        "long": long,
        "long_ratio": long / min(nothing, _THREADS / 0.01),
    }


MEASURE = Measure(
    "sleep",
    "tasks that sleep, fifty threads",
    (
        Figure("short", "drain of tasks that sleep 1 ms", "tasks/s"),
        Figure("short_ratio", "to the limit: 50 / 1 ms, or a drain of no-op tasks", "×", least=0.8),
        Figure("bare", "fifty bare threads that sleep 1 ms and compute as long as a no-op task costs", "calls/s"),
        Figure("bare_ratio", "tasks that sleep 1 ms / bare threads", "×"),
        Figure("long", "drain of tasks that sleep 10 ms", "tasks/s"),
        Figure("long_ratio", "to the limit: 50 / 10 ms, or a drain of no-op tasks", "×", least=0.8),
    ),
    _take,
)
