"""A drain where each wait for the disk takes a millisecond longer, as in a cloud."""

import dataclasses
from importlib.util import find_spec

from benchmarks.measures.measure import Bench, Figure, Measure
from benchmarks.server import own_server
from benchmarks.session import session

_MICROSECONDS = 1_000


def _take(bench: Bench) -> dict[str, float]:
    fast = bench.drain()
    with own_server(bench.data, _MICROSECONDS) as server, session(server, bench.log) as slow:
        there = dataclasses.replace(bench, session=slow)
        figures = {"rate": there.drain()}
        if find_spec("psycopg"):
            figures["ratio"] = figures["rate"] / there.drain(peer="reference")
    return figures | {"slower": figures["rate"] / fast}


MEASURE = Measure(
    "fsync",
    "a drain on a server of its own, each fsync 1 ms slower",
    (
        Figure("rate", "drain, each fsync 1 ms slower", "tasks/s"),
        Figure("ratio", "drain / reference, each fsync 1 ms slower", "×"),
        Figure("slower", "to the drain on the disk as it is", "×"),
    ),
    _take,
)
