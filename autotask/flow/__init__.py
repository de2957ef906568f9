"""Flow control of one task: the gates that it must pass before it is ready, and its unique key."""

import functools
import json
from json.encoder import encode_basestring_ascii
from typing import Any, NamedTuple, TypeGuard

#: json.dumps() would make an encoder for each call.
_written = json.JSONEncoder(separators=(",", ":")).encode

#: The prefixes of the keys of gates.
LIMIT = "limit:"
RATE = "rate:"

#: The prefix of a unique key that is free as soon as a worker has claimed its task.
UNTIL_CLAIMED = "waiting:"

#: The prefix of the buckets from which calls with a key for some seconds draw their token.
UNIQUE = "unique:"


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


def unique_flow(key: str) -> str:
    """Return :attr:`Flow.stored` of a flow that is no more than a unique key, the most frequent one, in a quarter of the time."""
    return f'{{"gates":[],"unique":{encode_basestring_ascii(key)}}}'


class Flow(NamedTuple):
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

    @property
    def stored(self) -> str:
        """The JSON that is stored: a gate is an object with the fields of its class.

        What follows from its key, and what most have, is left out: each task with a limit has it in its row, which is written three
        times.
        """
        if self.unique_key is not None and not self.gates and not self.once:
            return unique_flow(self.unique_key)
        return _stored(self)

    @classmethod
    def load(cls, stored: str) -> "Flow":
        """Return the flow that :attr:`stored` describes."""
        loaded = json.loads(stored)
        gates = tuple(_loaded(gate) for gate in loaded["gates"])
        return cls(gates, loaded.get("unique"), loaded.get("once", False))


# Often, all calls have the same.
@functools.lru_cache(maxsize=64)
def _stored(flow: Flow) -> str:
    written: dict[str, object] = {"gates": [_said(gate) for gate in flow.gates]}
    if flow.unique_key is not None:
        written["unique"] = flow.unique_key
    return _written(written | {"once": True} if flow.once else written)


def base_of(key: str) -> str:
    """Return the name of the limit or rate of a gate, as statements read it from the key."""
    return key.partition(":")[2].partition("(")[0]


def without_prefix(unique_key: str) -> str:
    """Return a unique key as people know it, without the prefix that says how long it is taken."""
    return unique_key.removeprefix(UNTIL_CLAIMED).removeprefix(UNIQUE)


def _said(gate: Gate) -> dict[str, object]:
    said: dict[str, object] = gate._asdict()
    if said["base"] == base_of(gate.key):
        del said["base"]
    if said.get("when_full") == "wait":
        del said["when_full"]
    return said


def _loaded(said: dict[str, Any]) -> Gate:
    fields = {"base": base_of(said["key"]), **said}
    return LimitGate(**fields) if "most" in said else RateGate(**fields)
