"""The gain from more worker processes."""

from benchmarks.measures.measure import Bench, Figure, Measure

#: Tasks of each worker that use a CPU for two milliseconds.
_COMPUTE = 1_000


def _take(bench: Bench) -> dict[str, float]:
    # Enough tasks for each worker that the last worker has started long before the first one is done.
    nothing = {count: bench.run("drain", workers=count, tasks=bench.scale.tasks * count) for count in (1, 2, 4)}
    compute = {count: bench.drain(workers=count, tasks=_COMPUTE * count, function="compute_2ms") for count in (1, 2, 4)}
    return {
        "nothing_1": nothing[1]["rate"],
        "nothing_2": nothing[2]["rate"] / nothing[1]["rate"],
        "nothing_4": nothing[4]["rate"] / nothing[1]["rate"],
        "compute_1": compute[1],
        "compute_2": compute[2] / compute[1],
        "compute_4": compute[4] / compute[1],
        "duplicates": sum(found["duplicates"] for found in nothing.values()),
    }


MEASURE = Measure(
    "workers",
    "one, two and four worker processes",
    (
        Figure("nothing_1", "no-op tasks, one worker", "tasks/s"),
        Figure("nothing_2", "no-op tasks, two workers / one", "×", least=1),
        Figure("nothing_4", "no-op tasks, four workers / one", "×", least=1),
        Figure("compute_1", "tasks of 2 ms of CPU, one worker", "tasks/s"),
        Figure("compute_2", "tasks of 2 ms of CPU, two workers / one", "×", least=1.6),
        Figure("compute_4", "tasks of 2 ms of CPU, four workers / one", "×"),
        Figure("duplicates", "tasks that ran twice", "", most=0),
    ),
    _take,
)
