"""``python -m benchmarks.pulling --peer PYTHON``: both packages in turns, on one server of PostgreSQL.

PYTHON belongs to an environment with django-simpletask2, django-redis, django-simpletask2-server, gunicorn and psycopg2-binary.
The client comes from there for both. Redis is ``redis-server`` on the path.

Both sites have one worker of gunicorn with 8 threads, connections that last, ``DEBUG = False`` and no middleware. For a fair comparison,
install autotask and django-simpletask2 into one environment, so that Python, Django and driver are the same, and let it be PYTHON, too;
what differs is printed.

A third site, "bare", answers the client from memory: no task is kept, or run. That is what client, gunicorn and Django take by
themselves, so no package can be faster.
"""

import argparse
import json
import statistics
import subprocess
import sys

from benchmarks import table
from benchmarks.pulling.burden import PARTS
from benchmarks.pulling.run import Pulled, Run, own_redis
from benchmarks.server import DATA, measured_server

#: By name: the package, the engine of the client.
SIDES = {
    "autotask": ("autotask", "api"),
    "autotask, redis": ("autotask", "redis"),
    "django-simpletask2": ("django_simpletask2", "api"),
    "django-simpletask2, redis": ("django_simpletask2", "redis"),
    "bare": ("bare", "api"),
    "bare, redis": ("bare", "redis"),
}

#: The sides that others are compared with.
PEERS = ("django-simpletask2", "django-simpletask2, redis")


def main() -> None:
    """Measure, and print the figures as JSON lines and a summary."""
    options = _parser().parse_args()
    sides = options.sides or list(SIDES)
    found: dict[str, list[Pulled]] = {side: [] for side in sides}
    _say_what_differs(options.peer)
    with measured_server(DATA) as server, own_redis() as redis:
        for round in range(options.repeat):
            for side in sides if round % 2 == 0 else reversed(sides):
                with Run(server, redis, *SIDES[side], options) as run:
                    found[side].append(run.pulled())
                print(json.dumps({"round": round, "side": side, "tasks_per_s": found[side][-1].rate}), flush=True)
        if options.samples and any(SIDES[side][0] == "autotask" for side in sides):
            with Run(server, redis, "autotask", "api", options) as run:
                _print_rest(sorted(run.latencies(options.samples)), *run.rows(1000, 30))
    _print_burden(found)
    _print_ratios(found)


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m benchmarks.pulling", description=__doc__)
    made.add_argument("--peer", required=True, help="the Python of the environment with django-simpletask2")
    made.add_argument("--model", choices=("hellotask", "twotask"), default="hellotask", help="one step, or two")
    made.add_argument("--tasks", type=int, default=300)
    made.add_argument("--threads", type=int, default=1, help="threads of the client")
    made.add_argument("--repeat", type=int, default=3)
    made.add_argument("--samples", type=int, default=50, help="samples of the latency; 0: none, and no bulk_create()")
    made.add_argument("--sides", nargs="+", choices=list(SIDES), help="only these")
    return made


def _say_what_differs(peer: str) -> None:
    """Print in what the environments of both sides differ."""
    code = (
        "import json, sys, django, gunicorn; from django.db.backends.postgresql.psycopg_any import is_psycopg3;"
        "print(json.dumps({'Python': sys.version, 'Django': django.__version__, 'gunicorn': gunicorn.__version__,"
        " 'psycopg': 3 if is_psycopg3 else 2}))"
    )
    ours, theirs = (
        json.loads(subprocess.run([python, "-c", code], check=True, capture_output=True).stdout)
        for python in (sys.executable, peer)
    )
    for name, value in ours.items():
        if value != theirs[name]:
            print(f"NOT A FAIR COMPARISON: autotask has {name} {value}, django-simpletask2 {theirs[name]}")


def _print_burden(found: dict[str, list[Pulled]]) -> None:
    rows = []
    for side, runs in found.items():
        parts = [statistics.median(run.burden[part] for run in runs) for part in PARTS]
        rate = statistics.median(run.rate for run in runs)
        rows.append([side, *[f"{value:.2f}" for value in (*parts, sum(parts), 1000 / rate)], f"{rate:.1f}"])
    print("\nMilliseconds of CPU for each task, and of time; tasks/s:")
    print(table.render(["", *PARTS, "CPU", "time", "tasks/s"], rows))


def _print_ratios(found: dict[str, list[Pulled]]) -> None:
    print("\nMedian of tasks/s against the other side in the same round, least and most:")
    rows = []
    for peer in PEERS:
        for side in found:
            if peer in found and side not in PEERS:
                ratios = [one.rate / other.rate for one, other in zip(found[side], found[peer], strict=True)]
                figures = (statistics.median(ratios), min(ratios), max(ratios))
                rows.append([side, peer, *[f"{ratio:.2f} x" for ratio in figures]])
    print(table.render(["", "against", "median", "least", "most"], rows, left=2))


def _print_rest(latencies: list[float], bare: float, tasks: float) -> None:
    middle, late = statistics.median(latencies), latencies[int(len(latencies) * 0.95)]
    print(f"commit to answer of get_a_task: p50 {middle:.1f} ms, p95 {late:.1f} ms")
    print(f"1,000 rows by bulk_create(): {1000 * tasks:.0f} ms, bare {1000 * bare:.0f} ms: {tasks / bare:.2f} x")


if __name__ == "__main__":
    main()
