"""How well four worker processes keep, and use, a rate that they share."""

from benchmarks.measures.measure import Bench, Figure, Measure

_WORKERS = 4

#: Tasks for each second: more than may begin.
_TASKS = 250


def _take(bench: Bench) -> dict[str, float]:
    seconds = 1.5 * bench.scale.seconds
    found = bench.run(
        "shared_rate", function="rated", workers=_WORKERS, seconds=seconds, tasks=int(_TASKS * seconds) + _TASKS
    )
    return {name: found[name] for name in ("most_in_a_second", "share", "processes")}


MEASURE = Measure(
    "rate",
    "a rate of 200 tasks a second, burst 20, that four worker processes share",
    (
        Figure("most_in_a_second", "the most tasks that begin in any second", "tasks", most=220),
        Figure("share", "tasks that begin / that may begin in 30 s (15 s with --quick)", "×", least=0.98),
        Figure("processes", "worker processes that run them", ""),
    ),
    _take,
)
