"""The cost of tasks that wait for a token for long: nobody may poll for them."""

from benchmarks.measures.measure import Bench, Figure, Measure


def _take(bench: Bench) -> dict[str, float]:
    # Some of its statements come only every few seconds.
    found = bench.run("empty_bucket", function="hourly", seconds=3 * bench.scale.seconds)
    return found | {"more": found["waiting"] - found["idle"]}


MEASURE = Measure(
    "bucket",
    "an idle worker, and tasks that wait for an hour at an empty bucket",
    (
        Figure("idle", "statements (or transactions) of an idle worker", "1/s"),
        Figure("waiting", "the same while tasks wait at an empty bucket", "1/s"),
        Figure("more", "the difference", "1/s", most=0.2),
    ),
    _take,
    once=True,
)
