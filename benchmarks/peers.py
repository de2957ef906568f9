"""The queues that can be measured, and in which configurations."""

from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.errors import BenchmarkError

REQUIREMENTS = Path(__file__).parent / "drivers" / "requirements"


@dataclass(frozen=True)
class Peer:
    """One queue.

    :ivar configs: configurations with descriptions; "default" is the queue as installed.
    :ivar python: the oldest Python that its pinned version runs on.
    :ivar own: whether it runs in the environment of the benchmark, not in its own.
    """

    name: str
    configs: dict[str, str] = field(default_factory=dict)
    python: tuple[int, int] = (3, 11)
    own: bool = False

    @property
    def module(self) -> str:
        """The module of its driver."""
        return f"benchmarks.drivers.{self.name.replace('-', '_')}"

    @property
    def requirements(self) -> Path:
        """The packages of its environment, with versions."""
        return REQUIREMENTS / f"{self.name}.txt"


_ALL = (
    Peer(
        "autotask",
        {
            "default": "a dedicated worker",
            "logs": "a dedicated worker that keeps the lines of tasks",
            "companion": "the worker that the calling process has started",
            "await": "the same, waited for in a coroutine",
        },
        own=True,
    ),
    Peer("reference", {"default": "the smallest honest queue, in batches of 100, without Django"}),
    Peer(
        "pgqueuer",
        {
            "default": "batches of 10, its default; coroutines",
            "batch100": "batches of 100; coroutines: its best",
            "functions": "batches of 100; plain functions in threads",
        },
    ),
    Peer(
        "procrastinate",
        {
            "default": "one at a time, its default; coroutines",
            "c10": "concurrency 10, logging warnings only; coroutines: its best",
            "functions": "concurrency 10, logging warnings only; plain functions in threads",
        },
    ),
    Peer(
        "django-tasks-db",
        {"default": "polls every second, its default", "fast": "polls every 50 ms"},
        python=(3, 12),
    ),
    Peer("huey", {"default": "on PostgreSQL, one thread, its default", "threads4": "on PostgreSQL, four threads"}),
    Peer(
        "counting",
        {
            "default": "five tasks at once, each of which records its attempt and counts those that run, as in GoodJob",
            "least": "the same without attempts",
        },
        own=True,
    ),
)

PEERS = {peer.name: peer for peer in _ALL}


def parse(text: str) -> tuple[Peer, str]:
    """Read ``pgqueuer`` or ``pgqueuer:batch100``; return the peer and the name of the configuration.

    :raises BenchmarkError: there is no such peer or configuration.
    """
    name, _, config = text.partition(":")
    if name not in PEERS:
        raise BenchmarkError(f"There is no driver for {name!r}. There are: {', '.join(PEERS)}.")
    peer = PEERS[name]
    if (config or "default") not in peer.configs:
        known = ", ".join(f"{name}:{known}" for known in peer.configs)
        raise BenchmarkError(f"{name} has no configuration {config!r}. There are: {known}.")
    return peer, config or "default"
