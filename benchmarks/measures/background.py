"""Background workers: how soon and how fast they handle what is put, and what twenty of them cost while nothing happens."""

from benchmarks.measures.measure import Bench, Figure, Measure

#: Values that are handled one after the other.
_PUTS = 10_000


def _take(bench: Bench) -> dict[str, float]:
    own, other = bench.run("put_beside_call", "companion"), bench.run("put_beside_call")
    handled = bench.run("puts_beside_insert", tasks=min(_PUTS, bench.scale.tasks))
    ticks = bench.run("interval_beside_tasks", seconds=max(60.0, bench.scale.seconds))
    # In direct succession; some of their statements come only every ten seconds.
    seconds = max(30.0, bench.scale.seconds)
    bare, idle = (bench.run(metric, "companion", seconds=seconds) for metric in ("idle", "idle_background"))
    return {
        "own_ratio": own["ratio"],
        "own_p50_ms": own["put_p50_ms"],
        "other_ratio": other["ratio"],
        "other_p50_ms": other["put_p50_ms"],
        "rate": handled["rate"],
        "bare_rate": handled["bare_rate"],
        "rate_ratio": handled["ratio"],
        "in_order": handled["in_order"],
        "worker_cpu_us": handled["worker_cpu_us"],
        "server_cpu_us": handled["server_cpu_us"],
        "ticks_off": abs(ticks["runs"] - ticks["expected"]),
        "late_p99_ms": ticks["p99_ms"],
        "more_statements_per_s": idle["statements_per_s"] - bare["statements_per_s"],
        "more_cpu_percent": idle["cpu_percent"] - bare["cpu_percent"],
        "more_kb_each": 1_000 * (idle["worker_mb"] - bare["worker_mb"]) / 20,
    }


MEASURE = Measure(
    "background",
    "background workers: put to first line, values one after the other, an interval, and twenty idle ones",
    (
        Figure("own_ratio", "put to first line, compared with a task's, own companion, p50", "×", most=1.3),
        Figure("own_p50_ms", "that time", "ms"),
        Figure("other_ratio", "the same with a worker that is another process", "×", most=1.3),
        Figure("other_p50_ms", "that time", "ms"),
        Figure("rate", "values that one queue worker handles, one after the other", "1/s"),
        Figure("bare_rate", "single INSERTs of that row", "1/s"),
        Figure("rate_ratio", "the first compared with the second", "×", least=0.7),
        Figure("in_order", "whether all were handled in order", ""),
        Figure("worker_cpu_us", "CPU of the worker for one of them", "µs"),
        Figure("server_cpu_us", "CPU of PostgreSQL for one of them", "µs"),
        Figure(
            "ticks_off",
            "runs too many or too few of an interval of 0.1 s in 60 s, beside 50 tasks a second",
            "",
            most=2,
        ),
        Figure("late_p99_ms", "how late these begin, p99", "ms", most=20),
        Figure("more_statements_per_s", "statements more with 20 idle ones", "1/s", most=1),
        Figure("more_cpu_percent", "CPU more with 20 idle ones", "%", most=0.3),
        Figure("more_kb_each", "memory of the worker more, each", "kB", most=200),
    ),
    _take,
    once=True,
)
