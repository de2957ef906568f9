"""From a call to the function's first line, and there and back again, in a process with a companion; prints JSON."""

import json
import statistics
import sys
import time

import django


def main(count: int) -> None:
    """Measure so many calls, each on an idle system."""
    django.setup()
    # Both need Django to be set up.
    import autotask.companion
    from benchmarks.functions import clock

    autotask.companion.start()
    clock().wait(timeout=30)
    first_line, round_trip = [], []
    for _ in range(count):
        time.sleep(0.01)
        began = time.monotonic()
        line = clock().wait(timeout=30)
        round_trip.append(1e3 * (time.monotonic() - began))
        first_line.append(1e3 * (line - began))
    figures = {}
    for name, values in (("call to first line", first_line), ("round trip with wait()", round_trip)):
        figures[f"{name}, p50 ms"] = statistics.median(values)
        figures[f"{name}, p99 ms"] = statistics.quantiles(values, n=100)[98]
    print(json.dumps(figures))


if __name__ == "__main__":
    main(int(sys.argv[1]))
