"""Why a task waits, as a sentence for users and a code for programs."""

import enum
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.translation import gettext as _, ngettext

from autotask.flow import LIMIT, RATE, UNTIL_CLAIMED, Flow, Gate, LimitGate, RateGate, is_limit
from autotask.store import pauses
from autotask.store.gates_read import COUNTED, Holder, SeenGate
from autotask.store.pauses import Kind, Pause
from autotask.store.read import StoredTask
from autotask.store.situation import Situation
from autotask.task import REMOTE, State
from autotask.texts import localized
from autotask.texts.localized import in_words, whole

_UNITS = (("s", 1), ("m", 60), ("h", 3600), ("d", 86400))


class Code(enum.StrEnum):
    """The kinds of reasons; the words are documented, and stay."""

    LIMIT = "held.limit"
    RATE = "held.rate"
    CLOSED = "held.closed"
    PAUSED = "held.paused"
    READY_PAUSED = "ready.paused"
    READY_REMOTE = "ready.remote"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a task waits although it is due.

    :ivar text: a sentence without a capital letter and a full stop.
    :ivar gate: the gate at which it waits; None if it is ready.
    :ivar until: when that may change: the next token, the end of a pause; None: unknown.
    :ivar waiting: how many tasks wait at the gate, counted up to ``COUNTED`` + 1.
    :ivar holders: the tasks that have the slots of the gate.
    """

    code: Code
    text: str
    gate: str | None = None
    until: datetime | None = None
    waiting: int = 0
    holders: Sequence[Holder] = ()


class Place(enum.StrEnum):
    """The position of a live task at one of its gates."""

    PASSED = "passed"
    HERE = "here"
    AHEAD = "ahead"


# --- why ---------------------------------------------------------------------------------------------------------------


def of(situation: Situation) -> Reason | None:
    """Return why a task waits; None if it is not due, runs or has ended, or only waits for a worker."""
    task = situation.task
    if task is not None and task.state is State.HELD and situation.gate is not None:
        return of_held(task, situation.gate, situation.holders, situation.in_force)
    return of_ready(task, situation.in_force) if task is not None and task.state is State.READY else None


def of_held(task: StoredTask, gate: SeenGate, holders: Sequence[Holder], in_force: Iterable[Pause]) -> Reason:
    """Return why a task waits at a gate."""
    pause = pause_of(gate.key, in_force)
    if pause is not None:
        return Reason(Code.PAUSED, paused(pause, gate.at), gate.key, pause.until, gate.waiting, holders)
    # What the task itself says about the gate, as it may have another cost than the first one that waits there.
    terms = next((each for each, _ in gates_of(task) if each.key == gate.key), gate.terms)
    if isinstance(terms, LimitGate):
        text = _limit(task.name, gate, terms, holders)
        return Reason(Code.LIMIT, text, gate.key, None, gate.waiting, holders)
    if isinstance(terms, RateGate):
        return _rate(task.name, gate, terms)
    kind, name = pauses.of_gate(gate.key) or (Kind.TASK, name_of(gate.key))
    return Reason(Code.PAUSED, _("%(what)s was paused, and is being resumed") % {"what": what(kind, name)}, gate.key)


def of_ready(task: StoredTask, in_force: Iterable[Pause]) -> Reason | None:
    """Return why a ready task cannot be claimed; None if nothing but the lack of a worker keeps it."""
    names = {Kind.EVERYTHING: "", Kind.QUEUE: task.queue, Kind.TASK: task.name}
    for pause in in_force:
        if names.get(pause.kind) == pause.name:
            return Reason(Code.READY_PAUSED, paused(pause, timezone.now()), until=pause.until)
    if task.executor == REMOTE:
        return Reason(Code.READY_REMOTE, _("waits for a client from outside that starts its next step"))
    return None


def brief(task_name: str, gate: str, in_force: Iterable[Pause] = ()) -> str:
    """Return the gate at which a task waits, without a look at the gate.

    :param in_force: the pauses to mention.
    """
    closed = _(", which is paused") if pause_of(gate, in_force) else ""
    if gate.startswith(LIMIT):
        return _("waits for a slot of %(name)s") % {"name": _limit_name(task_name, gate)} + closed
    if gate.startswith(RATE):
        return _("waits for tokens of %(name)s") % {"name": name_of(gate)} + closed
    kind, name = pauses.of_gate(gate) or (Kind.TASK, name_of(gate))
    return _("%(what)s is paused") % {"what": what(kind, name)}


def gates_of(task: StoredTask) -> list[tuple[Gate, Place | None]]:
    """Return the gates of a task in their order, and where it is; None once it has ended."""
    gates = Flow.load(task.flow).gates if task.flow else ()
    if task.passed is None:
        return [(gate, None) for gate in gates]
    return [(gate, _place(task, number, gate)) for number, gate in enumerate(gates, 1)]


def unique_key(task: StoredTask) -> str | None:
    """Return the key that no other task may have; None if it has none."""
    return Flow.load(task.flow).unique_key if task.flow else None


def key_in_words(key: str) -> str:
    """Return a unique key, and when it is free again if that is before the end of the task."""
    if not key.startswith(UNTIL_CLAIMED):
        return key
    return _("%(key)s (until it is claimed)") % {"key": key.removeprefix(UNTIL_CLAIMED)}


def _place(task: StoredTask, number: int, gate: Gate) -> Place:
    assert task.passed is not None
    if number <= task.passed:
        return Place.PASSED
    return Place.HERE if task.state is State.HELD and task.gate == gate.key else Place.AHEAD


# --- pauses ------------------------------------------------------------------------------------------------------------


def pause_of(gate: str, in_force: Iterable[Pause]) -> Pause | None:
    """Return the pause that lets nobody pass a gate: of a task or queue, of a limit or rate, or of a key; None: it is open."""
    paused = pauses.of_gate(gate)
    named = {paused} if paused else {(Kind.LIMIT, name_of(gate)), (Kind.LIMIT, base_of(gate))}
    return next((pause for pause in in_force if (pause.kind, pause.name) in named), None)


def paused(pause: Pause, now: datetime) -> str:
    """Say what is paused, by whom, until when, and why."""
    return _("%(what)s is paused") % {"what": what(pause.kind, pause.name)} + pause_details(pause, now)


def what(kind: Kind, name: str) -> str:
    """Name what is paused."""
    words = {
        Kind.EVERYTHING: _("everything"),
        Kind.QUEUE: _("the queue %(name)s"),
        Kind.TASK: _("the task %(name)s"),
        Kind.LIMIT: _("the limit %(name)s"),
    }
    return words[kind] % {"name": name}


def pause_details(pause: Pause, now: datetime) -> str:
    """Return by whom something is paused, until when, and why, as the end of a sentence; "" if nobody has said so."""
    by = _(" by %(who)s") % {"who": pause.paused_by} if pause.paused_by else ""
    until = _(" until %(time)s") % {"time": clock(pause.until, now)} if pause.until else ""
    return by + until + (f": {pause.reason}" if pause.reason else "")


# --- gates in words ----------------------------------------------------------------------------------------------------


def name_of(gate: str) -> str:
    """Return the name of a gate without its kind: that of the limit, rate or paused task, with the key."""
    return gate.partition(":")[2]


def base_of(gate: str) -> str:
    """Return the same without the key."""
    return name_of(gate).partition("(")[0]


def in_full(gate: Gate) -> str:
    """Return a gate in words: ``limit openai, 20 slots``, or ``rate 100/m of shop.tasks.call``."""
    if is_limit(gate):
        slots = ngettext("%(number)d slot", "%(number)d slots", gate.most) % {"number": gate.most}
        return _("limit %(name)s") % {"name": name_of(gate.key)} + f", {slots}"
    assert isinstance(gate, RateGate)
    return _rate_name(gate) + (", " + _("%(number)s tokens") % {"number": f"{gate.cost:g}"} if gate.cost != 1 else "")


def per_time(gate: RateGate) -> str:
    """Return a rate as people write it: ``100/m``."""
    counts = {unit: size / gate.interval for unit, size in _UNITS}
    whole = [unit for unit, number in counts.items() if number >= 1 and abs(number - round(number)) < 1e-6 * number]
    if not whole:
        return f"1 each {in_words(gate.interval)}"
    # 60/m and 1/s differ in nothing but the tokens that are saved up: as many as the number that was written.
    unit = next((unit for unit in whole if round(counts[unit]) == gate.burst), whole[0])
    return f"{round(counts[unit])}/{unit}"


def tokens(gate: SeenGate, terms: RateGate) -> float:
    """Return the number of tokens in the bucket now."""
    if gate.full_at is None:
        return terms.burst
    missing = max(0.0, (gate.full_at - gate.at).total_seconds()) / terms.interval
    return max(0.0, terms.burst - missing)


def next_tokens(gate: SeenGate, terms: RateGate) -> datetime | None:
    """Return when there are enough tokens for a task; None if they are there."""
    moments = [gate.closed_until] if gate.closed_until else []
    if gate.full_at is not None:
        moments.append(gate.full_at - timedelta(seconds=(terms.burst - terms.cost) * terms.interval))
    last = max(moments, default=gate.at)
    return last if last > gate.at else None


def how_many(waiting: int) -> str:
    """Return the number of waiting tasks, in words."""
    if waiting > COUNTED:
        return _("more than %(number)s tasks wait") % {"number": whole(COUNTED)}
    return ngettext("%(number)s task waits", "%(number)s tasks wait", waiting) % {"number": whole(waiting)}


def _limit(task_name: str, gate: SeenGate, terms: LimitGate, holders: Sequence[Holder]) -> str:
    name, waiting = _limit_name(task_name, gate.key), how_many(gate.waiting)
    if gate.taken == terms.most == len(holders) == 1:
        said = _("waits for a slot of %(name)s: taken by %(holder)s; %(waiting)s")
        return said % {"name": name, "holder": holder(holders[0]), "waiting": waiting}
    facts = {"name": name, "taken": whole(gate.taken), "most": whole(terms.most), "waiting": waiting}
    text = _("waits for a slot of %(name)s (%(taken)s of %(most)s taken; %(waiting)s)") % facts
    return text if gate.taken >= terms.most else text + ": " + _("a worker has to look and let tasks pass")


def _limit_name(task_name: str, gate: str) -> str:
    # The limit of a task itself needs no other word than its name.
    return name_of(gate) if base_of(gate) == task_name else _("limit %(name)s") % {"name": name_of(gate)}


def holder(task: Holder) -> str:
    """Return a task that has a slot, and what it does with it."""
    if task.seconds is not None:
        return _("task %(id)s running for %(time)s") % {"id": task.id, "time": in_words(task.seconds)}
    if task.state is State.HELD and task.gate:
        does = _("is paused") if task.gate.startswith(pauses.GATE) else brief(task.name, task.gate)
        return _("task %(id)s, which %(does)s") % {"id": task.id, "does": does}
    return _("task %(id)s, which waits for a worker") % {"id": task.id}


def _rate(task_name: str, gate: SeenGate, terms: RateGate) -> Reason:
    name, waiting = _rate_name(terms), how_many(gate.waiting)
    if gate.closed_until is not None and gate.closed_until > gate.at:
        until = clock(gate.closed_until, gate.at)
        said = _("waits for tokens of %(name)s: a task was refused, and nobody gets any until %(until)s; %(waiting)s")
        text = said % {"name": name, "until": until, "waiting": waiting}
        return Reason(Code.CLOSED, text, gate.key, gate.closed_until, gate.waiting)
    coming = next_tokens(gate, terms)
    when = (
        _("next at %(time)s") % {"time": clock(coming, gate.at)}
        if coming
        else _("they are there, and a worker has to look")
    )
    text = _("waits for tokens of %(name)s, %(when)s; %(waiting)s") % {"name": name, "when": when, "waiting": waiting}
    return Reason(Code.RATE, text, gate.key, coming, gate.waiting)


def _rate_name(gate: RateGate) -> str:
    return _("rate %(rate)s of %(name)s") % {"rate": per_time(gate), "name": name_of(gate.key)}


def clock(moment: datetime, now: datetime) -> str:
    """Return a moment in Django's current time zone, without the day if that is today's."""
    local, today = timezone.localtime(moment), timezone.localtime(now).date()
    return f"{local:%H:%M:%S}" if local.date() == today else localized.moment(local)
