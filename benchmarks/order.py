"""What is to be measured once: of which queue, on which tables, in which way."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

#: The metrics that need tasks in the tables before they begin.
_ON_FULL_TABLES = ("drain", "claim_buffers")


@dataclass(frozen=True)
class Order:
    """One measurement of one queue; it travels to the process that does it as JSON.

    :ivar peer: the name of the queue, see ``peers.py``.
    :ivar config: one of the peer's configurations.
    :ivar metric: what is measured: a function of ``drivers/metrics.py`` or one of the driver's own.
    :ivar tasks: how many tasks are drained or enqueued.
    :ivar function: which task function is drained; peers have only "nothing".
    :ivar workers: worker processes.
    :ivar threads: threads of each worker, where that can be chosen; 0 leaves it to the configuration.
    :ivar prefill: rows that are in the tables besides: "none", "future" (not yet due) or "ended".
    :ivar rows: how many these are.
    :ivar younger: whether they came after the tasks to drain, rather than before.
    :ivar snapshot: whether a transaction is open all the time that has seen the tables as they were before.
    :ivar samples: how many times a latency is taken.
    :ivar seconds: how long an idle worker is watched.
    :ivar limit: seconds after which a measurement ends with what it has.
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
        """The queue and its configuration, for people."""
        return self.peer if self.config == "default" else f"{self.peer}:{self.config}"

    @property
    def preparation(self) -> "Order":
        """The order to make a database as this one needs it; equal for all orders that can start from copies of one."""
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
        """Return what :meth:`to_json` has written."""
        fields: dict[str, Any] = json.loads(text)
        return cls(**fields)
