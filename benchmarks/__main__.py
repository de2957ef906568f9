"""Measure, print a table, and write JSON if asked to."""

import argparse
import json
import os
import platform
import statistics
import sys
from pathlib import Path


def main() -> None:
    """Run each measure several times, one after the other, and show the medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--repeat", type=int, default=3, help="times that everything is measured (default: %(default)s)"
    )
    parser.add_argument("--tasks", type=int, default=20_000, help="tasks to drain (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args()

    # Companion and workers are processes of their own, and have to find the same settings.
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    import django

    django.setup()
    # Both need Django to be set up.
    from django.core.management import call_command

    from benchmarks import measures

    call_command("migrate", verbosity=0)
    measures.clear()
    rounds = []
    for number in range(options.repeat):
        print(f"round {number + 1} of {options.repeat}", file=sys.stderr)
        figures = measures.enqueue(2000)
        figures |= measures.enqueue_many(10_000)
        figures |= measures.drain(options.tasks)
        figures |= measures.latency(200)
        measures.clear()
        rounds.append(figures)
    medians = {name: statistics.median(figures[name] for figures in rounds) for name in rounds[0]}
    for name, value in medians.items():
        print(f"{name:40} {value:12,.2f}")
    if options.json:
        machine = {"python": platform.python_version(), "django": django.get_version(), "cpus": os.cpu_count()}
        options.json.write_text(json.dumps({"machine": machine, "medians": medians, "rounds": rounds}, indent=2) + "\n")


if __name__ == "__main__":
    main()
