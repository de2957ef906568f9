"""An order: which queue to measure, on which tables, and how."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

#: The metrics that need tasks in the tables first.
_ON_FULL_TABLES = ("drain", "claim_buffers", "light")


@dataclass(frozen=True)
class Order:
    """One measurement of one queue; it is sent as JSON to the process that makes it.

    :ivar peer: the name of the queue, see ``peers.py``.
    :ivar config: one of the peer's configurations.
    :ivar metric: what is measured: a function of ``drivers/metrics.py`` or one of the driver's own.
    :ivar tasks: tasks to drain or enqueue.
    :ivar function: the task function; peers have only "nothing".
    :ivar workers: worker processes.
    :ivar threads: threads of each worker, if that can be chosen; 0 leaves it to the configuration.
    :ivar prefill: other rows in the tables: "none", "future" (not yet due), "ended" or "held"; with "_aside", they are
        in a table of nobody.
    :ivar rows: the number of these.
    :ivar younger: whether they come after the tasks to drain, not before.
    :ivar snapshot: whether a transaction with an old snapshot stays open.
    :ivar samples: how many times a latency is taken.
    :ivar seconds: how long an idle worker is watched.
    :ivar limit: seconds after which a measurement ends unfinished.
    """

    peer: str
    config: str = "default"
    metric: str = "drain"
    tasks: int = 20_000
    function: str = "nothing"
    workers: int = 1
    threads: int = 0
    prefill: str = "none"
    rows: int = 0
    younger: bool = False
    snapshot: bool = False
    samples: int = 100
    seconds: float = 20.0
    limit: float = 60.0

    @property
    def label(self) -> str:
        """The queue and its configuration, as text."""
        return self.peer if self.config == "default" else f"{self.peer}:{self.config}"

    @property
    def preparation(self) -> "Order":
        """The order that prepares a database for this one; equal for all orders that can start from copies of it."""
        if self.metric in _ON_FULL_TABLES:
            return replace(
                Order(self.peer, self.config, "prepare"),
                **{name: getattr(self, name) for name in ("tasks", "function", "prefill", "rows", "younger")},
            )
        return Order(self.peer, self.config, "prepare", tasks=0, prefill=self.prefill, rows=self.rows)

    def to_json(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the order that :meth:`to_json` has written."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**fields)
