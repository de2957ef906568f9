"""What it costs to keep the lines that tasks log: nothing while they log nothing."""

from benchmarks.measures.measure import Bench, Figure, Measure


def _take(bench: Bench) -> dict[str, float]:
    off, silent = bench.run("drain"), bench.run("drain", "logs")
    unkept = bench.run("drain", function="say_five")
    lines = bench.run("drain", "logs", function="say_five")
    return {
        "off": off["rate"],
        "silent": silent["rate"],
        "unkept": unkept["rate"],
        "lines": lines["rate"],
        "silent_ratio": silent["rate"] / off["rate"],
        "unkept_ratio": unkept["rate"] / off["rate"],
        "lines_ratio": lines["rate"] / silent["rate"],
        "silent_cpu_us": silent["worker_cpu_us"] - off["worker_cpu_us"],
        "unkept_cpu_us": unkept["worker_cpu_us"] - off["worker_cpu_us"],
        "lines_cpu_us": lines["worker_cpu_us"] - silent["worker_cpu_us"],
        "lines_server_cpu_us": (lines["server_cpu_us"] or 0.0) - (silent["server_cpu_us"] or 0.0),
    }


MEASURE = Measure(
    "logs",
    "waiting tasks, whose lines are kept in the database",
    (
        Figure("off", "drain, without AUTOTASK_LOGS", "tasks/s"),
        Figure("silent", "with it, tasks that log nothing", "tasks/s"),
        Figure("unkept", "without it, tasks that log five lines each, which nobody keeps", "tasks/s"),
        Figure("lines", "with it, tasks that log five lines each", "tasks/s"),
        Figure("silent_ratio", "tasks that log nothing / drain without it", "×", least=0.97),
        Figure("unkept_ratio", "tasks that log five lines which nobody keeps / drain, for comparison", "×"),
        Figure("lines_ratio", "tasks that log five lines / tasks that log nothing", "×", least=0.6),
        Figure("silent_cpu_us", "CPU of the worker that a task costs more that logs nothing", "µs"),
        Figure("unkept_cpu_us", "CPU of the worker for five lines that nobody keeps: logging itself", "µs"),
        Figure("lines_cpu_us", "CPU of the worker for five lines, with those of logging itself", "µs"),
        Figure("lines_server_cpu_us", "CPU of the server for five lines", "µs"),
    ),
    _take,
)
