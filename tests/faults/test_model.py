"""A model of the tables in memory, and the real statements: after each step of any history they agree."""

import itertools
import time
import uuid
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from autotask.flow import Flow
from autotask.store import (
    cancel,
    claim,
    enqueue,
    finish,
    follow,
    forgotten,
    gates,
    promote,
    prune,
    requeue,
    rescue,
    workers,
)
from autotask.store.cancel import Cancellation
from autotask.store.claim import INNOCENT, SUSPECT, BoundedLane, Lane
from autotask.store.connection import current, execute, rows
from autotask.store.finish import HandingOn, Outcome
from autotask.store.follow import Wanted
from autotask.store.gates import Present
from autotask.task import State
from tests.faults import flow_state
from tests.faults.gate_model import CHOICES, A, B, Gates, Task
from tests.integration.store.shapes import new_task, sign_on

LANES = [BoundedLane(Lane("default", 0), None)]

MAX_CRASHES = 3

TABLES = [
    f"autotask_{name}"
    for name in ("task", "ready", "held", "claim", "result", "attempt", "worker", "slot", "mark", "bucket", "pause")
]

#: The events that each run must have.
WORTH = (
    *("claim of others", "claim of suspects", "claim under no lease", "end accepted", "end refused", "retry accepted"),
    *("retry refused", "release", "cancel: cancelled", "cancel: requested", "cancel: too late", "promotion"),
    *("requeue done", "requeue refused", "pruning", "rescue", "end by a rescue", "no burial of oneself"),
    *("handed over", "handed over to a dead worker"),
    *("beat after the lease", "new identity", "end under the next claim", "retry under the next claim"),
    *("hold", "admission", "admission to the next gate", "nobody to hand a slot on to"),
    *("slots given up by a rescue", "slots kept by a rescue", "pause of a limit", "claim of followers"),
    "followers held again",
)

#: Those that only long runs can be sure to have.
RARE = ("slots given up by a retry", "slot inherited", "slot handed on", "held again")

WAITING = (State.SCHEDULED, State.READY, State.HELD)


@dataclass(frozen=True)
class Claim:
    """A claim of a worker, which may be outdated."""

    id: uuid.UUID
    fence: int


class Model(RuleBasedStateMachine):
    """Two workers, and all acts of the store.

    :cvar reached: how often what is worth a test has come about; a history in which nothing happens proves nothing.
    """

    reached: Counter[str] = Counter()

    def __init__(self) -> None:
        super().__init__()
        execute(current(), f"TRUNCATE {', '.join(TABLES)}")
        self.gates = Gates()
        self.tasks: dict[uuid.UUID, Task] = {}
        self.attempts: list[tuple[uuid.UUID, int, State]] = []
        self.claims: list[Claim] = []
        self.names = {name: sign_on(lease=3600) for name in "ab"}
        self.alive = dict.fromkeys("ab", True)
        self.registered = dict.fromkeys("ab", True)
        self.turns, self.numbers = itertools.count(1), itertools.count(1)

    # --- the life of tasks ------------------------------------------------------------------------------------------

    @initialize()
    def begin(self):
        for delayed in (False, False, False, True):
            self._enqueue(delayed)

    @precondition(lambda self: len(self.tasks) < 8)
    @rule(delayed=st.booleans(), gates=st.sampled_from(CHOICES))
    def enqueue(self, delayed, gates):
        self._enqueue(delayed, gates)

    @precondition(lambda self: len(self.tasks) < 8)
    @rule(name=st.sampled_from("ab"))
    def enqueue_as_claimed(self, name):
        new = new_task(id=uuid.UUID(int=next(self.numbers)), retries=2, ttl=3600.0)
        fence = enqueue.insert_claimed(current(), new, self.names[name])
        assert fence not in {earlier.fence for earlier in self.claims}
        self.tasks[new.id] = Task(
            new.id, State.RUNNING, attempt=1, fence=fence, worker=str(self.names[name]), turn=next(self.turns)
        )
        self.claims.append(Claim(new.id, fence))
        self.reached["handed over"] += 1
        self.reached["handed over to a dead worker"] += not (self.alive[name] and self.registered[name])

    def _enqueue(self, delayed, gates=()):
        # Ordered, and the same in each run of a history.
        new = new_task(id=uuid.UUID(int=next(self.numbers)), delay=3600.0 if delayed else 0.0, retries=2, ttl=3600.0)
        if gates:
            assert enqueue.insert_flowing(current(), [new._replace(flow=Flow(gates))]) == {new.id}
        else:
            enqueue.insert(current(), new)
        called = Task(new.id, State.SCHEDULED, turn=next(self.turns), gates=gates)
        self.tasks[new.id] = called.waits(State.SCHEDULED if delayed else State.READY)
        self.gates.mark(self.tasks[new.id])
        self.reached["hold"] += bool(gates) and not delayed

    @precondition(lambda self: self.gates.marks)
    @rule()
    def admit(self):
        self._admit()

    @precondition(lambda self: len(self.tasks) < 6)
    @rule(gates=st.sampled_from(CHOICES[1:]), waits=st.booleans(), dies=st.booleans())
    def crowd(self, gates, waits, dies):
        """As many tasks come as may pass, or one more; one that has passed ends, or loses its worker twice."""
        for _ in range(gates[-1].most + waits):
            self._enqueue(False, gates)
        self._admit()
        self.beat("a")
        self._claim("a", 3, suspect=False)
        if dies:
            self._rescue("a", "")
            self.beat("b")
            self._claim("b", 3, suspect=True)
            self._rescue("b", "")
        else:
            for held in [held for held in self.claims if self._is_current(held) and self.tasks[held.id].gates][:1]:
                self._end(held, State.DONE)

    def _admit(self):
        more = True
        while more:
            line, more = self._line(), bool(self.gates.marks)
            through = self.gates.look(self.tasks, line)
            found = gates.admit(current(), Present(), room={"": 100})
            assert found == (sum(task.state is State.READY for task in through), more)
            self._pass(through)
            self.reached["admission"] += found.ready
            self.reached["admission to the next gate"] += sum(task.state is State.HELD for task in through)

    def _pass(self, through):
        turns = self._order([task.id for task in through if task.state is State.READY])
        for task in through:
            self.tasks[task.id] = replace(task, turn=turns.get(task.id, task.turn))

    @rule(gate=st.sampled_from(sorted(Gates().slots)))
    def pause_or_resume(self, gate):
        if gate in self.gates.paused:
            self.gates.paused.remove(gate)
            execute(current(), "DELETE FROM autotask_pause WHERE name = %(name)s", {"name": gate.partition(":")[2]})
            execute(current(), "INSERT INTO autotask_mark (gate, at) VALUES (%(gate)s, now())", {"gate": gate})
            self.gates.marks.add(gate)
        else:
            self.gates.paused.add(gate)
            sql = "INSERT INTO autotask_pause (kind, name, paused_at) VALUES ('limit', %(name)s, now())"
            execute(current(), sql, {"name": gate.partition(":")[2]})
            self.reached["pause of a limit"] += bool(self._in(State.HELD))

    @precondition(lambda self: self._in(State.READY))
    @rule(name=st.sampled_from("ab"), limit=st.integers(1, 3), suspect=st.booleans())
    def claim(self, name, limit, suspect):
        self._claim(name, limit, suspect)

    @precondition(lambda self: self._in(State.READY))
    @rule(name=st.sampled_from("ab"), suspect=st.booleans())
    def claim_and_die(self, name, suspect):
        self.beat(name)
        self._claim(name, 3, suspect)
        self._rescue(name, "")

    def _claim(self, name, limit, suspect):
        which = SUSPECT if suspect else INNOCENT
        found = claim.claim(current(), self.names[name], LANES, per_lane=limit, limit=limit, which=which)
        ready = [t for t in self._in(State.READY) if (t.lost > 0) == (which == SUSPECT)]
        expected = sorted(ready, key=lambda t: t.turn)[:limit] if self.alive[name] and self.registered[name] else []
        assert [t.id for t in found] == [t.id for t in expected]
        self.reached[f"claim of {'suspects' if suspect else 'others'}"] += bool(found)
        self.reached["claim under no lease"] += bool(ready) and not expected
        for got in found:
            known = self.tasks[got.id]
            self.tasks[got.id] = replace(
                known, state=State.RUNNING, attempt=known.attempt + 1, fence=got.fence, worker=str(self.names[name])
            )
            assert (got.attempt, got.failures, got.lost) == (known.attempt + 1, known.failures, known.lost)
            assert got.cancel_requested == known.cancel_requested
            assert all(got.fence > earlier.fence for earlier in self.claims if earlier.id == got.id)
            assert got.fence not in {earlier.fence for earlier in self.claims}
            self.claims.append(Claim(got.id, got.fence))

    @precondition(lambda self: self._in(State.HELD))
    @rule(name=st.sampled_from("ab"), gate=st.sampled_from([A, B]), number=st.integers(1, 3))
    def follow(self, name, gate, number):
        self._follow(name, gate, number)

    def _follow(self, name, gate, number):
        line, may = self._line(), self.alive[name] and self.registered[name]
        expected = self.gates.followers(self.tasks, line, gate, number) if may else []
        wanted = [Wanted(gate.key, number, gate.most)]
        found = follow.follow(current(), self.names[name], wanted, queues=["default"], slots={})[gate.key]
        assert [t.id for t in found] == [t.id for t in expected]
        self.reached["claim of followers"] += bool(found)
        # All of them are ready since their claim.
        turns = {id: next(self.turns) for id in sorted(got.id for got in found)}
        for got in found:
            known = self.tasks[got.id]
            claimed = replace(known, state=State.RUNNING, attempt=known.attempt + 1, fence=got.fence)
            self.tasks[got.id] = replace(claimed, worker=str(self.names[name]), turn=turns[got.id])
            self.claims.append(Claim(got.id, got.fence))

    @precondition(lambda self: len(self.tasks) < 6)
    @rule(gate=st.sampled_from([A, B]), dies=st.booleans())
    def inherit(self, gate, dies):
        """A task ends in whose slot another one has begun; the worker dies with that one and a third, or both end."""
        for _ in range(gate.most + 3):
            self._enqueue(False, (gate,))
        self._admit()
        self.beat("a")
        self._claim("a", 3, suspect=False)
        self._follow("a", gate, 2)
        ends = 1 if dies else 4
        for _ in range(ends):
            for held in [held for held in self.claims if self._is_current(held) and self.tasks[held.id].passed == 1][
                :1
            ]:
                self._end(held, State.DONE)
        if dies:
            self._rescue("a", "")

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), state=st.sampled_from([State.DONE, State.ERROR, State.CANCELLED]))
    def end(self, data, state):
        self._end(self._held(data), state)

    @precondition(lambda self: any(t.lost == 0 for t in self._in(State.READY)))
    @rule(retry=st.booleans())
    def come_late(self, retry):
        self.beat("a")
        self.beat("b")
        self._claim("a", 3, suspect=False)
        self._rescue("a", "")
        self._claim("b", 3, suspect=True)
        for held in [held for held in self.claims if self._is_late(held)][:1]:
            if retry:
                self._retry(held)
            else:
                self._end(held, State.DONE)

    def _end(self, held, state):
        known, line = self.tasks.get(held.id), self._line()
        heir = self._heir(held)
        handing_on = None
        if known and known.gates:
            handing_on = HandingOn({}, {held.fence: (heir.id, heir.fence)} if heir else {})
        outcome = self._outcome(held, state)
        accepted = finish.end(current(), [outcome], now=time.monotonic(), error_ttl=3600, handing_on=handing_on)
        assert accepted == self._is_current(held)
        self.reached[f"end {'accepted' if accepted else 'refused'}"] += 1
        self.reached["end under the next claim"] += self._is_late(held)
        if accepted:
            failures = known.failures + (state is State.ERROR)
            heir = self.gates.inherit(known, heir) if heir else None
            if heir:
                self.tasks[heir.id] = heir
                self.reached["slot inherited"] += 1
            through = [] if heir else self.gates.hand_on(self.tasks, line, known)
            assert not handing_on or handing_on.inherited == ({heir.id} if heir else set())
            assert not handing_on or handing_on.admitted == sum(task.state is State.READY for task in through)
            self.reached["slot handed on"] += len(through)
            self.reached["nobody to hand a slot on to"] += bool(known.gates) and not through and not heir
            self.tasks[held.id] = replace(known, state=state, failures=failures, passed=None)
            self._pass(through)
            if state is not State.DONE:
                self.attempts.append((held.id, known.attempt, state))
        recorded = finish.recorded(current(), [self._outcome(held, state)])
        assert (held.id in recorded) or not accepted

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def retry(self, data):
        self._retry(self._held(data))

    def _retry(self, held):
        outcome = self._outcome(held, State.RETRY)
        accepted = finish.retry(current(), [outcome], now=time.monotonic())
        assert accepted == self._is_current(held)
        self.reached[f"retry {'accepted' if accepted else 'refused'}"] += 1
        self.reached["retry under the next claim"] += self._is_late(held)
        if accepted:
            known = self.tasks[held.id]
            self.attempts.append((held.id, known.attempt, State.RETRY))
            self.tasks[held.id] = replace(
                known.waits(State.SCHEDULED), failures=known.failures + 1, fence=None, worker=None
            )
            self.gates.freed(known)
            self.reached["slots given up by a retry"] += bool(known.gates)

    @precondition(lambda self: self._in(State.RUNNING))
    @rule(name=st.sampled_from("ab"), data=st.data())
    def release_what_is_not_held(self, name, data):
        mine = [t for t in self._in(State.RUNNING) if t.worker == str(self.names[name])]
        kept = data.draw(st.lists(st.sampled_from(mine), unique=True)) if mine else []
        given = forgotten.reconcile(current(), self.names[name], [t.fence for t in kept])
        assert {str(id) for id in given} == {str(t.id) for t in mine if t not in kept}
        self.reached["release"] += bool(given)
        back = [t for t in mine if t not in kept]
        turns = self._order([t.id for t in back if not t.waits_again])
        for known in back:
            self._put_back(replace(known, attempt=known.attempt - 1), turns)

    def _put_back(self, known, turns):
        """A task is ready again, in its former turn unless it was lost, or waits at its gate again if it had no slot."""
        state = State.HELD if known.waits_again else State.READY
        keeps = known.waits_again or not known.lost
        turn = known.turn if keeps else turns[known.id]
        self.tasks[known.id] = replace(known, state=state, fence=None, worker=None, turn=turn)
        self.gates.mark(self.tasks[known.id])
        self.reached["followers held again"] += known.waits_again

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def cancel(self, data):
        known = self._any(data)
        found = cancel.cancel(current(), known.id)
        self.reached[f"cancel: {found.value}"] += 1
        if known.state in WAITING:
            assert found is Cancellation.CANCELLED
            self.tasks[known.id] = replace(known, state=State.CANCELLED, passed=None)
            self.gates.freed(known)
        elif known.state is State.RUNNING:
            assert found is Cancellation.REQUESTED
            self.tasks[known.id] = replace(known, cancel_requested=True)
        else:
            assert found is Cancellation.TOO_LATE

    @precondition(lambda self: self._in(State.SCHEDULED))
    @rule(data=st.data())
    def become_due(self, data):
        known = data.draw(st.sampled_from(self._in(State.SCHEDULED)))
        execute(
            current(),
            "UPDATE autotask_task SET run_at = CASE WHEN id = %(id)s THEN now() - interval '1 s' "
            "ELSE now() + interval '1 h' END WHERE state = 0",
            {"id": known.id},
        )
        count, _ = promote.promote(current())
        assert count == 1
        self.reached["promotion"] += 1
        # One that should be cancelled waits at no gate: a worker records that at once.
        due = replace(known, state=State.READY) if known.cancel_requested else known.waits(State.READY)
        self.tasks[known.id] = replace(due, turn=next(self.turns))
        self.gates.mark(self.tasks[known.id])

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def requeue(self, data):
        known = self._any(data)
        done = requeue.requeue(current(), known.id)
        assert done == (known.state in (State.ERROR, State.CANCELLED))
        self.reached[f"requeue {'done' if done else 'refused'}"] += 1
        if done:
            again = Task(known.id, State.READY, known.attempt, turn=next(self.turns), gates=known.gates)
            self.tasks[known.id] = again.waits(State.READY)
            self.gates.mark(self.tasks[known.id])
            self.reached["held again"] += bool(known.gates)

    @precondition(lambda self: [t for t in self.tasks.values() if t.state.ended])
    @rule(data=st.data())
    def prune(self, data):
        known = data.draw(st.sampled_from([t for t in self.tasks.values() if t.state.ended]))
        sql = "UPDATE autotask_result SET kept_until = now() - interval '1 s' WHERE id = %(id)s"
        execute(current(), sql, {"id": known.id})
        assert prune.prune(current()).results == 1
        self.reached["pruning"] += 1
        del self.tasks[known.id]
        self.attempts = [attempt for attempt in self.attempts if attempt[0] != known.id]

    # --- the life of workers ----------------------------------------------------------------------------------------

    @precondition(lambda self: self._in(State.RUNNING))
    @rule(name=st.sampled_from("ab"))
    def lose_the_lease(self, name):
        self._lose_the_lease(name)

    def _lose_the_lease(self, name):
        sql = "UPDATE autotask_worker SET lease_until = now() - interval '1 s' WHERE id = %(id)s"
        execute(current(), sql, {"id": self.names[name]})
        self.alive[name] = False

    @precondition(lambda self: not all(self.alive.values()) or any(t.cancel_requested for t in self.tasks.values()))
    @rule(name=st.sampled_from("ab"))
    def beat_again(self, name):
        self.beat(name)

    def beat(self, name):
        found = workers.beat(current(), self.names[name], lease=3600, stopping=False) is not None
        assert found == self.registered[name]
        self.reached["beat after the lease"] += found and not self.alive[name]
        self.reached["new identity"] += not found
        mine = [t for t in self._in(State.RUNNING) if t.worker == str(self.names[name])]
        asked = {t.id for t in mine if t.cancel_requested}
        assert set(workers.to_be_cancelled(current(), self.names[name])) == asked
        if found:
            self.alive[name] = True
        else:
            self.names[name] = sign_on(lease=3600)
            self.alive[name] = self.registered[name] = True

    @precondition(lambda self: self._in(State.RUNNING))
    @rule(dead=st.sampled_from(["", "a", "b"]), by=st.sampled_from(["", "a", "b"]))
    def rescue(self, dead, by):
        self._rescue(dead, by)

    @precondition(lambda self: self._in(State.RUNNING))
    @rule(name=st.sampled_from("ab"))
    def rescue_after_an_outage(self, name):
        self._lose_the_lease(name)
        self._rescue("", name)

    def _rescue(self, dead, by):
        known_dead = [self.names[dead]] if dead else []
        gone = {n for n in "ab" if self.registered[n] and (n == dead or (not self.alive[n] and n != by))}
        living = {str(self.names[n]) for n in "ab" if self.registered[n] and n not in gone}
        orphans = [t for t in self._in(State.RUNNING) if t.worker not in living]
        found = rescue.rescue(
            current(),
            known_dead,
            reason="",
            max_crashes=MAX_CRASHES,
            error_ttl=3600,
            rescuer=self.names[by] if by else None,
        )
        over = [t for t in orphans if t.cancel_requested or t.lost + 1 >= MAX_CRASHES]
        assert found == (len(gone), len(orphans) - len(over), len(over))
        self.reached["rescue"] += len(orphans) > len(over)
        self.reached["end by a rescue"] += bool(over)
        self.reached["no burial of oneself"] += (
            bool(by) and self.registered[by] and not self.alive[by] and by not in gone
        )
        for n in gone:
            self.registered[n] = self.alive[n] = False
        turns = self._order([t.id for t in orphans if t not in over and t.lost == 0 and not t.waits_again])
        for t in orphans:
            self.attempts.append((t.id, t.attempt, State.LOST))
            lost = replace(t, lost=t.lost + 1, fence=None)
            if t in over:
                state = State.CANCELLED if t.cancel_requested else State.ERROR
                self.tasks[t.id] = replace(lost, state=state, passed=None)
                self.gates.freed(t)
            elif t.lost == 0:
                self._put_back(lost, turns)
                self.reached["slots kept by a rescue"] += bool(t.passed)
            else:
                self.tasks[t.id] = replace(lost.waits(State.SCHEDULED), worker=None)
                self.gates.freed(t)
                self.reached["slots given up by a rescue"] += bool(t.gates)

    # --- what must hold ---------------------------------------------------------------------------------------------

    @invariant()
    def tables_and_model_agree(self):
        sql = """
            SELECT id, state, attempt, failures, lost, fence, worker_id::text, cancel_requested, passed,
                   CASE WHEN state = 8 THEN gate END
            FROM autotask_live
            UNION ALL
            SELECT id, state, attempt, failures, lost, fence, worker_id::text, NULL, NULL, NULL FROM autotask_result
        """
        stored = sorted(rows(current(), sql), key=lambda row: row[0])
        known = [
            (
                t.id,
                int(t.state),
                t.attempt,
                t.failures,
                t.lost,
                t.fence,
                t.worker,
                None if t.state.ended else t.cancel_requested,
                t.passed,
                t.gate,
            )
            for t in sorted(self.tasks.values(), key=lambda t: t.id)
        ]
        assert stored == known
        found = rows(current(), "SELECT task_id, number, state FROM autotask_attempt")
        assert sorted(found) == sorted((id, number, int(state)) for id, number, state in self.attempts)

    @invariant()
    def gates_and_model_agree(self):
        assert {gate for (gate,) in rows(current(), "SELECT gate FROM autotask_mark")} == self.gates.marks
        slots = {(gate, number): has for gate, given in self.gates.slots.items() for number, has in given.items()}
        found = rows(current(), "SELECT gate, number, task_id, place FROM autotask_slot")
        assert {(gate, number): (id, place) for gate, number, id, place in found} == slots
        assert flow_state.problems(current()) == []

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _line(self):
        """Return the held tasks in their order."""
        return [id for (id,) in rows(current(), "SELECT id FROM autotask_live WHERE state = 8 ORDER BY run_at, id")]

    def _in(self, state):
        return [t for t in self.tasks.values() if t.state is state]

    def _heir(self, held):
        """Return a task that runs without a slot, and may have begun in that of another one, which has just ended."""
        known = self.tasks.get(held.id)
        if known is None or known.passed != 1 or len(known.gates) != 1:
            return None
        mates = [t for t in self._in(State.RUNNING) if t.follows and t.gates == known.gates and t.fence is not None]
        return mates[0] if mates else None

    def _any(self, data):
        return self.tasks[data.draw(st.sampled_from(list(self.tasks)))]

    def _held(self, data):
        """Choose a claim: a valid one, one of a task that now runs under another claim, or any."""
        good = [held for held in self.claims if self._is_current(held)]
        late = [held for held in self.claims if self._is_late(held)]
        return data.draw(st.sampled_from(data.draw(st.sampled_from([good, late, self.claims])) or self.claims))

    def _is_late(self, held):
        known = self.tasks.get(held.id)
        return known is not None and known.state is State.RUNNING and known.fence != held.fence

    def _is_current(self, held):
        known = self.tasks.get(held.id)
        return known is not None and known.state is State.RUNNING and known.fence == held.fence

    def _outcome(self, held, state):
        return Outcome(held.id, held.fence, state, ended_at=time.monotonic(), seconds=0.0, delay=3600.0)

    def _order(self, ids):
        """Return the turns of tasks that one statement has made ready, in its order."""
        sql = "SELECT id FROM autotask_live WHERE id = ANY(%(ids)s) ORDER BY ready_at"
        return {row[0]: next(self.turns) for row in rows(current(), sql, {"ids": list(ids)})} if ids else {}


@pytest.mark.django_db(transaction=True)
def test_the_tables_do_what_the_model_does_in_any_history(pytestconfig):
    Model.reached.clear()
    long = pytestconfig.getoption("--faults-seconds", None) is not None
    run_state_machine_as_test(
        Model,
        settings=settings(
            max_examples=300 if long else 80,
            stateful_step_count=50,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    worth = (*WORTH, *RARE) if long else WORTH
    assert {kind: Model.reached[kind] for kind in worth if not Model.reached[kind]} == {}
