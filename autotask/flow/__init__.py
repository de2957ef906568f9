"""Flow control of one task: the gates that it must pass before it is ready, and its unique key."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeGuard

#: json.dumps() would make an encoder for each call.
_written = json.JSONEncoder(separators=(",", ":")).encode

#: The prefixes of the keys of gates.
LIMIT = "limit:"
RATE = "rate:"

#: The prefix of a unique key that is free as soon as a worker has claimed its task.
UNTIL_CLAIMED = "waiting:"


class LimitGate(NamedTuple):
    """A place in the queue for one of the slots of a limit.

    :ivar key: the name of the gate: ``limit:base`` or ``limit:base(key)``.
    :ivar base: the name of the limit, without the key of this task.
    :ivar most: the number of slots when the call was made; workers use the current one if they know the limit.
    :ivar when_full: "wait", "drop" or "cancel_running".
    """

    key: str
    base: str
    most: int
    when_full: str = "wait"


class RateGate(NamedTuple):
    """A place in the queue for the tokens of a rate.

    :ivar key: the name of the gate: ``rate:base`` or ``rate:base(key)``.
    :ivar base: the name of the rate, without the key of this task.
    :ivar interval: seconds in which one token is added.
    :ivar burst: the most tokens that can be saved up.
    :ivar cost: the tokens that the task needs.
    """

    key: str
    base: str
    interval: float
    burst: float
    cost: float = 1.0


Gate = LimitGate | RateGate


def is_limit(gate: Gate) -> TypeGuard[LimitGate]:
    """Whether a gate is that of a limit."""
    return isinstance(gate, LimitGate)


@dataclass(frozen=True, eq=False)
class Flow:
    """The flow control of one task.

    :ivar gates: in the order in which it passes them: its own limit, its rate, then limits that it
        shares with other tasks.
    :ivar unique_key: no other live task has it; None: it has none.
    :ivar once: whether there is only ever one task with that key, which runs again after its end if need be. So its
        arguments are kept, also if it is done, and it is found among the results by its key.
    """

    gates: tuple[Gate, ...] = ()
    unique_key: str | None = None
    once: bool = False

    @cached_property
    def stored(self) -> str:
        """The JSON that is stored: a gate is an object with the fields of its class."""
        if not self.gates and not self.once:
            # By far the most frequent one, in a quarter of the time.
            return f'{{"gates":[],"unique":{json.dumps(self.unique_key)}}}'
        gates = [gate._asdict() for gate in self.gates]
        return _written({"gates": gates, "unique": self.unique_key, **({"once": True} if self.once else {})})

    @classmethod
    def load(cls, stored: str) -> "Flow":
        """Return the flow that :attr:`stored` describes."""
        loaded = json.loads(stored)
        gates = tuple(LimitGate(**gate) if "most" in gate else RateGate(**gate) for gate in loaded["gates"])
        return cls(gates, loaded["unique"], loaded.get("once", False))
