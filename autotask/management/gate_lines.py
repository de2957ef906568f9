"""The gates at which most tasks wait, as tables."""

from collections.abc import Sequence

from autotask import reasons
from autotask.flow import LimitGate, RateGate
from autotask.store.gates_read import COUNTED, SeenGate
from autotask.store.pauses import Kind, Pause, of_gate
from autotask.texts import render


def lines(gates: Sequence[SeenGate], pauses: Sequence[Pause]) -> list[str]:
    """Return the tables of limits, rates, paused tasks and paused queues; those that would be empty are left out."""
    limits = [_limit(gate, gate.terms, pauses) for gate in gates if isinstance(gate.terms, LimitGate)]
    rates = [_rate(gate, gate.terms, pauses) for gate in gates if isinstance(gate.terms, RateGate)]
    paused = [(of_gate(gate.key), gate) for gate in gates]
    tasks, queues = (
        [(each[1], *_end(gate, pauses)) for each, gate in paused if each and each[0] is kind]
        for kind in (Kind.TASK, Kind.QUEUE)
    )
    return [
        *_table(("LIMIT", "TAKEN", "WAITING", "PAUSED"), limits, right=("TAKEN", "WAITING")),
        *_table(("RATE", "PER TIME", "TOKENS", "NEXT", "WAITING", "PAUSED"), rates, right=("TOKENS", "WAITING")),
        *_table(("PAUSED TASK", "WAITING", "PAUSED"), tasks, right=("WAITING",)),
        *_table(("PAUSED QUEUE", "HELD", "PAUSED"), queues, right=("HELD",)),
    ]


def _table(head: tuple[str, ...], body: Sequence[tuple[object, ...]], right: tuple[str, ...]) -> list[str]:
    return ["", *render.table(head, body, right=right)] if body else []


def _limit(gate: SeenGate, terms: LimitGate, pauses: Sequence[Pause]) -> tuple[object, ...]:
    return reasons.name_of(gate.key), f"{gate.taken} of {terms.most}", *_end(gate, pauses)


def _rate(gate: SeenGate, terms: RateGate, pauses: Sequence[Pause]) -> tuple[object, ...]:
    tokens, coming = f"{reasons.tokens(gate, terms):.4g}", reasons.next_tokens(gate, terms)
    return (
        reasons.name_of(gate.key),
        reasons.per_time(terms),
        f"{tokens} of {terms.burst:g}",
        render.moment(coming) if coming else "now",
        *_end(gate, pauses),
    )


def _end(gate: SeenGate, pauses: Sequence[Pause]) -> tuple[object, ...]:
    pause = reasons.pause_of(gate.key, pauses)
    return _waiting(gate), "" if pause is None else reasons.pause_details(pause, gate.at).strip() or "yes"


def _waiting(gate: SeenGate) -> str:
    return f"{COUNTED}+" if gate.waiting > COUNTED else str(gate.waiting)
