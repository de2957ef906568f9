"""The checks before any worker matters: is it time, does nothing else come first."""

from collections.abc import Iterator

from django.utils.translation import gettext as _

from autotask import reasons
from autotask.flow import UNTIL_CLAIMED, LimitGate, RateGate
from autotask.reasons import Reason, clock
from autotask.store import pauses
from autotask.store.pauses import Kind, Pause
from autotask.store.read import StoredTask
from autotask.store.situation import Situation
from autotask.task import BACKGROUND, REMOTE, State
from autotask.texts import advice
from autotask.texts.lines import one_line
from autotask.texts.localized import in_words, whole
from autotask.why.codes import Code
from autotask.why.finding import Finding, passed
from autotask.why.site import Site

#: Seconds by which two clocks may differ.
LARGEST_DIFFERENCE = 5.0

#: The fewest tasks from which the usual time is known.
FEWEST = 3


def findings(situation: Situation, task: StoredTask, site: Site) -> Iterator[Finding]:
    """Yield the outcome of each check, in order."""
    if situation.uncommitted:
        yield Finding(
            code=Code.UNCOMMITTED,
            text=_("the transaction in which it was called is not committed yet, and workers do not see it before"),
        )
    if situation.misplaced:
        text = _(
            "it is due, but neither ready nor held nor claimed, so no worker finds it: somebody has deleted rows by hand, or has "
            "restored only some of the tables"
        )
        yield Finding(code=Code.MISPLACED, text=text, advice=advice.manage("doctor --repair"))
    yield _due(situation, task, site)
    yield from _over(situation, task)
    pause = _pause_of(situation, task)
    yield _paused(situation, pause)
    # While a pause is in force, nobody lets a held task continue, even if nothing else is in its way.
    is_stopped = pause is not None and task.state is State.HELD
    yield from (finding for finding in _gate(situation, task) if not (is_stopped and finding.passed))
    yield from _elsewhere(situation, task)


def _due(situation: Situation, task: StoredTask, site: Site) -> Finding:
    now, at = situation.now, clock(task.run_at, situation.now)
    if task.state is not State.SCHEDULED or task.run_at <= now or situation.unknown_for is not None:
        return passed(Code.SCHEDULED, _("it is due, since %(time)s") % {"time": at})
    left = in_words((task.run_at - now).total_seconds())
    if (skew := (site.clock - now).total_seconds()) > LARGEST_DIFFERENCE and task.run_at <= site.clock:
        text = _(
            "it is due by the clock of this host, which is %(skew)s ahead of that of the database: there in %(left)s"
        ) % {"skew": in_words(skew), "left": left}
        fix = _("Set both clocks by NTP; see:") + " " + advice.manage("doctor")
        return Finding(code=Code.CLOCK_SKEW, text=text, advice=fix, until=task.run_at)
    code, text = _later(situation, task, _("%(time)s, in %(left)s") % {"time": at, "left": left})
    return Finding(code=code, text=text, until=task.run_at)


def _later(situation: Situation, task: StoredTask, when: str) -> tuple[Code, str]:
    failure = situation.failure
    if failure is not None and failure.is_last:
        error = one_line(failure.error, 200)
        number = str(failure.number)
        if task.retries and failure.state is State.RETRY:
            number = _("%(number)s of %(most)s") % {"number": number, "most": task.retries + 1}
        said = _("attempt %(number)s did not succeed (%(error)s); the next one is due at %(when)s")
        return Code.RETRYING, said % {"number": number, "error": error, "when": when}
    if task.started_at is not None:
        return Code.SNOOZED, _("it has put itself off, or its next step is due later: at %(when)s") % {"when": when}
    if (reasons.unique_key(task) or "").startswith(UNTIL_CLAIMED):
        said = _("it is due at %(when)s; until it begins, another call with its key may take its place, and put it off")
        return Code.DEBOUNCED, said % {"when": when}
    return Code.SCHEDULED, _("it is due at %(when)s") % {"when": when}


def _over(situation: Situation, task: StoredTask) -> Iterator[Finding]:
    if task.cancel_requested:
        text = _("it was cancelled while it ran; the next worker that claims it records that")
        yield Finding(code=Code.CANCELLING, text=text)
    if task.expires_at is None:
        return
    at = clock(task.expires_at, situation.now)
    if task.expires_at > situation.now:
        yield passed(Code.EXPIRED, _("it has not expired; it does at %(time)s") % {"time": at})
    else:
        text = _("its time was over at %(time)s; the next worker that looks ends it as cancelled") % {"time": at}
        yield Finding(code=Code.EXPIRED, text=text)


# --- pauses, limits and rates ------------------------------------------------------------------------------------------


def _paused(situation: Situation, pause: Pause | None) -> Finding:
    if pause is None:
        return passed(Code.PAUSED, _("nothing that it needs is paused"))
    text = reasons.paused(pause, situation.now)
    what = {
        Kind.EVERYTHING: "--everything",
        Kind.QUEUE: f"--queue {pause.name}",
        Kind.TASK: f"--task {pause.name}",
        Kind.LIMIT: f"--limit {pause.name!r}",
    }
    fix = advice.manage(f"resume {what[pause.kind]}")
    return Finding(code=Code.PAUSED, text=text, advice=fix, until=pause.until)


def _pause_of(situation: Situation, task: StoredTask) -> Pause | None:
    names = {Kind.EVERYTHING: "", Kind.QUEUE: task.queue, Kind.TASK: task.name}
    bars = (pause for pause in situation.in_force if names.get(pause.kind) == pause.name)
    if task.state is State.HELD and task.gate and (pause := reasons.pause_of(task.gate, situation.in_force)):
        return pause
    return next(bars, None)


def _gate(situation: Situation, task: StoredTask) -> Iterator[Finding]:
    gates = reasons.gates_of(task)
    if not gates:
        return
    names = ", ".join(reasons.in_full(gate) for gate, _ in gates)
    if task.state is not State.HELD or not task.gate:
        text = _("it has passed its limits and rates, or is yet to come to them: %(names)s") % {"names": names}
        yield passed(Code.HELD_BY_LIMIT, text)
        return
    if task.gate.startswith(pauses.GATE) or situation.gate is None:
        yield passed(Code.PAUSED, _("the pause at which it was held is over, and a worker lets it go on"))
        return
    reason = reasons.of_held(task, situation.gate, situation.holders, ())
    terms = next((gate for gate, _ in gates if gate.key == task.gate), situation.gate.terms)
    yield _limit(situation, task, reason, terms) if isinstance(terms, LimitGate) else _rate(situation, reason, terms)


def _limit(situation: Situation, task: StoredTask, reason: Reason, terms: LimitGate) -> Finding:
    assert situation.gate is not None
    if situation.gate.taken < terms.most:
        text = _("slots of limit %(name)s are free, and a worker lets it pass soon")
        return passed(Code.HELD_BY_LIMIT, text % {"name": reasons.name_of(terms.key)})
    place = situation.place + 1
    wait = _expected(situation, place, terms.most)
    first = next(iter(situation.holders), None)
    parts = [_("it %(waits)s") % {"waits": reason.text}]
    if first and terms.most > 1:
        parts.append(_("the first of them is taken by %(holder)s") % {"holder": reasons.holder(first)})
    line = _("it is number %(place)s in line, likely for %(time)s") if wait else _("it is number %(place)s in line")
    parts.append(line % {"place": whole(place), "time": in_words(wait or 0)})
    fix = advice.manage(f"show {first.id if first else task.id}")
    return Finding(code=Code.HELD_BY_LIMIT, text="; ".join(parts), advice=fix, place=place, expected_wait=wait)


def _expected(situation: Situation, place: int, slots: int) -> float | None:
    """Return for how long a task is likely to wait for one of some slots, from how long such tasks took lately."""
    if situation.typical is None or situation.typical.count < FEWEST:
        return None
    return -(-place // slots) * situation.typical.seconds


def _rate(situation: Situation, reason: Reason, terms: object) -> Finding:
    place = situation.place + 1
    if reason.code is reasons.Code.RATE and reason.until is None:
        return passed(Code.RATE, _("there are tokens for it, and a worker lets it pass soon"))
    code = Code.RATE_CLOSED if reason.code is reasons.Code.CLOSED else Code.RATE
    wait = None
    if isinstance(terms, RateGate) and reason.until is not None:
        wait = (reason.until - situation.now).total_seconds() + (place - 1) * terms.interval * terms.cost
    return Finding(
        code=code,
        text=_("it %(waits)s") % {"waits": reason.text}
        + "; "
        + _("it is number %(place)s in line") % {"place": whole(place)},
        until=reason.until,
        place=place,
        expected_wait=wait,
        advice=advice.manage("status"),
    )


# --- tasks that no pool claims -----------------------------------------------------------------------------------------


def _elsewhere(situation: Situation, task: StoredTask) -> Iterator[Finding]:
    if task.executor == REMOTE:
        yield Finding(code=Code.REMOTE, text=_("it waits for a client from outside that starts its next step"))
    if task.executor == BACKGROUND:
        yield _background(situation, task)


def _background(situation: Situation, task: StoredTask) -> Finding:
    name = reasons.name_of(task.name)
    found = situation.background
    if found is not None and found.wanted and found.hosted:
        text = _("the background worker %(name)s takes it when it has done what came before") % {"name": name}
        return Finding(code=Code.BACKGROUND, text=text, advice=advice.manage("background"))
    if found is None:
        text = _("the background worker %(name)s, for which it is meant, is not known")
    elif found.wanted:
        text = _("the background worker %(name)s, for which it is meant, has no host")
    else:
        text = _("the background worker %(name)s, for which it is meant, is stopped")
    text %= {"name": name}
    return Finding(code=Code.BACKGROUND_STOPPED, text=text, advice=advice.manage(f"background start {name}"))
