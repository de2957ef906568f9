"""Many light workers that drain one queue."""

from benchmarks.measures.measure import Bench, Figure, Measure

#: Each has two sessions, and a server has 100 connections by default.
_MANY = 45

#: Times the tasks of a drain, so that each worker makes several of its largest claims.
_LONGER = 7


def _take(bench: Bench) -> dict[str, float]:
    tasks = _LONGER * bench.scale.tasks
    # Before and after: a machine that slows down meanwhile must not look like the cost of many.
    before, many, after = (bench.run("light", workers=workers, tasks=tasks) for workers in (1, _MANY, 1))
    ones = {key: (before[key] + after[key]) / 2 for key in ("claim_us", "record_us")}
    return {
        "one_us": ones["claim_us"],
        "many_us": many["claim_us"],
        "ratio": many["claim_us"] / ones["claim_us"],
        "look_us": many["look_us"],
        "record_ratio": many["record_us"] / ones["record_us"],
    }


MEASURE = Measure(
    "light",
    f"one and {_MANY} light workers: forks with the sessions of a worker, which claim and record as workers do, and run nothing",
    (
        Figure("one_us", "CPU of the server to claim a task, one worker", "µs"),
        Figure("many_us", f"the same with {_MANY}", "µs"),
        Figure("ratio", f"{_MANY} workers to one", "×", most=1.5),
        Figure("look_us", f"their last looks for other lanes, {_MANY} workers", "µs"),
        Figure("record_ratio", "the same for recording an outcome", "×"),
    ),
    _take,
)
