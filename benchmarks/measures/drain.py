"""The rate at which one worker finishes waiting no-op tasks, compared with the smallest honest queue."""

from importlib.util import find_spec

from benchmarks.measures.measure import Bench, Figure, Measure


def _take(bench: Bench) -> dict[str, float]:
    found = bench.run("drain")
    figures = {"rate": found["rate"], "worker_cpu_us": found["worker_cpu_us"], "duplicates": found["duplicates"]}
    if found["server_cpu_us"] is not None:
        figures["server_cpu_us"] = found["server_cpu_us"]
    if find_spec("psycopg"):  # with psycopg2 the reference would be slower than it can be
        figures["reference"] = bench.drain(peer="reference")
        figures["ratio"] = figures["rate"] / figures["reference"]
    return figures


MEASURE = Measure(
    "drain",
    "waiting no-op tasks, one worker process",
    (
        Figure("rate", "drain", "tasks/s"),
        Figure("reference", "the same in the reference queue (needs psycopg 3)", "tasks/s"),
        Figure("ratio", "drain / reference", "×", least=0.55),
        Figure("worker_cpu_us", "CPU of the worker for a task", "µs", most=60),
        Figure("server_cpu_us", "CPU of the server for a task", "µs"),
        Figure("duplicates", "tasks that ran twice", "", most=0),
    ),
    _take,
)
