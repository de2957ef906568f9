"""Store calls that other calls may stand in for: unique, throttled and debounced ones."""

import contextlib
import functools
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.exceptions import AlreadyEnqueued
from autotask.flow import without_prefix
from autotask.flow.plan import Throttle
from autotask.store import arrays, columns, draws, enqueue, held, many, marks, ready
from autotask.store.connection import in_transaction, rows
from autotask.store.enqueue import NewTask

#: Makes the call of a new task that of a stored one: with its id, and signed for it. The last argument is the stored
#: payload, if the terms ask for it.
Renew = Callable[[NewTask, uuid.UUID, bytes | None], NewTask]

#: The most looks for the task that has a key, if it ends just then each time.
TRIES = 100

#: The tries of a call of many. While many tasks run, some of them may begin or end in each try. So the last one does not begin at the
#: first key again, although it may then wait for another call, or a claim, that waits for it: the database ends one of the two.
BEGINNINGS = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Terms:
    """The policy for a call if there is a task already.

    :ivar on_conflict: "return", "raise" or "replace".
    :ivar renew: for "replace".
    :ivar merges: whether *renew* needs the stored payload.
    :ivar at_most: seconds after the first call at which a task runs, however often its time is replaced; None: no limit.
    """

    on_conflict: str = "return"
    renew: Renew | None = None
    merges: bool = False
    at_most: float | None = None


class Stored(NamedTuple):
    """The outcome of a call.

    :ivar id: the id of its task.
    :ivar created: whether the task is new; False: it was there before.
    :ivar renewed: the call with which the arguments of a task were replaced; None: they were not.
    """

    id: uuid.UUID
    created: bool
    renewed: NewTask | None = None


#: Whether a task may still be replaced, if it does not run.
_NOT_BEGUN = "t.attempt = 0 AND NOT t.cancel_requested"

FIND = f"""
SELECT t.unique_key, t.id, {_NOT_BEGUN} AND {held.STATE} <> 2
FROM autotask_task t
WHERE t.unique_key = ANY(%(key)s::text[]) AND {columns.HAS_KEY}
"""

LOCK = f"""
WITH {held.locked_in_order("t.id = ANY(%(id)s::uuid[])", _NOT_BEGUN, ", t.payload")}
SELECT id, payload FROM locked
"""

# A task that is due and has the same gates as before stays where it is among those that wait; with others, it begins at the
# first of them. Workers pass over a row that this transaction has locked: so they are asked to look at its gate again, and
# at those whose slots it has no longer. These are deleted, since it may pass another gate in the same place.
# Rows are locked in the order of their keys, as they are inserted. The conditions are checked again once a row is locked,
# so a task that has begun meanwhile is left alone.
# The ready row of one that stays is written all the same: a claim that began before this commit would read the task as it was,
# and now leaves it to the next claim. That of one that waits at a gate is deleted, and inserted again.
# The new arguments are carried through all of it: in a join of such tables, the planner would expect few rows, and compare each of
# thousands with each.
REPLACE = f"""
WITH clock AS MATERIALIZED (SELECT clock_timestamp() AS now),
new AS (
    SELECT t.id, t.arguments AS new_arguments, t.payload AS new_payload, {
    enqueue.FLOW
} AS new_flow, t.unique_key AS new_key,
           t.gate AS new_gate, coalesce(kind.run_after, clock.now + kind.delay * interval '1 s') AS new_due,
           kind.expires AS new_expires, kind.expires_at AS new_expires_at, kind.subject AS new_subject,
           kind.metadata AS new_metadata, clock.now
    FROM clock {enqueue.KINDS}{enqueue.FLOWING}
),
{
    held.locked_in_order(
        "true",
        _NOT_BEGUN,
        ", t.state, t.passed, t.flow, t.created_at, t.unique_key",
        source="new JOIN autotask_task t ON t.id = new.id",
        carried=", new_arguments, new_payload, new_flow, new_key, new_gate, new_due, new_expires, new_expires_at, new_subject, "
        "new_metadata, now",
    )
},
former AS MATERIALIZED (
    SELECT *, due <= now AND stays AS stays_there FROM (
        SELECT *, least(new_due, created_at + %(at_most)s::float8 * interval '1 s') AS due,
               coalesce(flow -> 'gates', '[]') = coalesce(new_flow -> 'gates', '[]') AND state <> 0 AS stays
        FROM locked WHERE unique_key IS NOT DISTINCT FROM new_key
    ) AS locked
),
moves AS (
    DELETE FROM autotask_ready WHERE ctid = ANY(ARRAY(SELECT ready_address FROM former WHERE NOT stays_there))
),
touched AS (
    UPDATE autotask_ready SET suspect = suspect WHERE ctid = ANY(ARRAY(SELECT ready_address FROM former WHERE stays_there))
),
{held.TAKEN.replace("locked", "former")},
replaced AS (
    UPDATE autotask_task t
    SET arguments = new_arguments, payload = new_payload, flow = new_flow, run_at = due,
        subject = new_subject, metadata = new_metadata,
        expires_at = coalesce(new_expires_at, due + new_expires * interval '1 s'),
        state = CASE WHEN due > now THEN 0 WHEN stays THEN t.state WHEN new_gate IS NULL THEN 1 ELSE 8 END,
        ready_at = CASE WHEN due > now THEN NULL WHEN stays THEN t.ready_at WHEN new_gate IS NULL THEN now END,
        gate = CASE WHEN stays_there THEN t.gate ELSE new_gate END,
        passed = CASE WHEN stays_there THEN t.passed WHEN new_gate IS NOT NULL THEN 0 END
    FROM former
    WHERE t.id = former.id AND {held.ARE_TAKEN}
    RETURNING {held.RETURNING}, stays_there AND former.state = 1 AS stays_ready,
              former.flow, former.passed > coalesce(t.passed, 0) AS gives_up
),
come AS ({ready.come("(SELECT * FROM replaced WHERE NOT stays_ready)")}),
{held.waiting("replaced")},
given_up AS (
    DELETE FROM autotask_slot s
    USING replaced r CROSS JOIN LATERAL jsonb_array_elements(r.flow -> 'gates') AS gate
    WHERE r.gives_up AND s.gate = gate.value ->> 'key' AND s.task_id = r.id
),
freed AS ({marks.freed("(SELECT flow FROM replaced WHERE gives_up)")})
SELECT id FROM replaced
"""


def store(
    connection: BaseDatabaseWrapper,
    tasks: Sequence[NewTask],
    terms: Terms,
    tokens: Sequence[Throttle] = (),
    telling: bool = False,
) -> dict[uuid.UUID, Stored]:
    """Store calls in the caller's transaction, except those for which there is a task already.

    :param tokens: from which bucket each call draws, if their definition has one; not together with "replace".
    :param telling: whether to notify workers, too, if a single task with no more than a key is stored.
    :returns: what became of the calls for which there is a task already, by the ids that they would have had.
    :raises AlreadyEnqueued: there is a task already, and the terms say "raise"; then nothing is stored.
    """
    if len(tasks) == 1 and not tokens and not terms.merges:
        for _ in range(TRIES):
            with contextlib.suppress(_Missed):
                return _insert_one(connection, tasks, terms, telling)
    else:
        seen: Seen = {}
        last = BEGINNINGS if len(tasks) > 1 else TRIES
        for number in range(1, last + 1):
            store_them = functools.partial(_draw_and_insert, connection, tasks, terms, tokens, seen, number == last)
            with contextlib.suppress(_Missed):
                return in_transaction(connection, store_them)
    task = tasks[0]
    raise AlreadyEnqueued(name=task.kind.name, key=task.any_flow.unique_key, id="that ends again and again")


class _Missed(Exception):
    """Another transaction has ended or begun a task before this one could find or replace it.

    The next try begins where this one began, and so takes the keys from the first on. If it kept its keys and locks, and
    continued with the other tasks, it could wait for another call or a claim that waits for it.
    """


def _insert_one(
    connection: BaseDatabaseWrapper, tasks: Sequence[NewTask], terms: Terms, telling: bool
) -> dict[uuid.UUID, Stored]:
    if enqueue.insert_flowing(connection, tasks, telling):
        return {}
    # Only to replace a row locks it, even if it turns out that its task has begun. Outside of a transaction it does not stay locked.
    locks = terms.on_conflict == "replace" and connection.in_atomic_block
    with transaction.atomic(using=connection.alias) if locks else contextlib.nullcontext():
        found = _answer(connection, _find(connection, tasks), terms)
        if not found:
            raise _Missed
        return found


def _draw_and_insert(
    connection: BaseDatabaseWrapper,
    tasks: Sequence[NewTask],
    terms: Terms,
    tokens: Sequence[Throttle],
    seen: "Seen",
    keeps: bool,
) -> dict[uuid.UUID, Stored]:
    late = draws.draw(connection, tokens, [task.id for task in tasks]) if tokens else {}
    taken = [_Taken(task, late[task.id], by.key) for task, by in zip(tasks, tokens, strict=False) if task.id in late]
    found = _answer(connection, taken, terms, {task.id for task in tasks} if taken else ())
    rest = [task for task in tasks if task.id not in late] if late else tasks
    return found | _insert(connection, rest, terms, seen, keeps) if rest else found


class _Taken(NamedTuple):
    """A call for which there is a task already.

    :ivar by: the id of that task.
    :ivar key: what both need.
    :ivar begun: whether it is known to have begun.
    """

    task: NewTask
    by: uuid.UUID
    key: str
    begun: bool = False


#: The tasks of others that had the keys of a call in an earlier try, by the ids of its own. One that has ended between the INSERT of
#: this try and its look for them had the key until then.
Seen = dict[uuid.UUID, _Taken]


def _insert(
    connection: BaseDatabaseWrapper, tasks: Sequence[NewTask], terms: Terms, seen: Seen, keeps: bool
) -> dict[uuid.UUID, Stored]:
    """Insert the tasks whose keys are free, and say what happens to the others.

    :param keeps: whether to continue with the others if some are missed.
    :raises _Missed: they are.
    """
    found: dict[uuid.UUID, Stored] = {}
    remaining = many.insert_unique(connection, tasks)
    if remaining is tasks:
        remaining = _insert_free(connection, tasks)
    tries, own = TRIES if keeps else 1, {task.id for task in tasks} if remaining else set[uuid.UUID]()
    while remaining:
        taken = _find(connection, remaining)
        found |= _answer(connection, [*taken, *_ended(remaining, taken, terms, seen)], terms, own)
        seen.update((one.task.id, one) for one in taken if one.by not in own)
        tries -= 1
        if remaining := [task for task in remaining if task.id not in found]:
            if not tries:
                raise _Missed
            remaining = _insert_free(connection, remaining)
    return found


def _insert_free(connection: BaseDatabaseWrapper, tasks: Sequence[NewTask]) -> list[NewTask]:
    """Insert the tasks whose keys are free, and return the others."""
    inserted = enqueue.insert_flowing(connection, tasks)
    return [task for task in tasks if task.id not in inserted]


def _ended(tasks: Sequence[NewTask], taken: Sequence[_Taken], terms: Terms, seen: Seen) -> list[_Taken]:
    """Return those tasks whose keys were taken by tasks that have ended just now.

    If one of these could still have been replaced, it is left out: perhaps it was cancelled, and nobody would run the new arguments.
    """
    there = {one.task.id for one in taken}
    gone = [seen[task.id] for task in tasks if task.id in seen and task.id not in there]
    return [one for one in gone if one.begun or terms.on_conflict == "return"]


def _find(connection: BaseDatabaseWrapper, tasks: Sequence[NewTask]) -> list[_Taken]:
    """Return those tasks whose keys are taken.

    In one statement with the INSERT, this would not see a task that another transaction has stored meanwhile
    (findings/get_or_create_in_one_statement_finds_nothing.sh).
    """
    keys = {task.id: task.any_flow.unique_key for task in tasks}
    there = {
        key: (id, not_begun) for key, id, not_begun in rows(connection, FIND, {"key": arrays.texts(keys.values())})
    }
    taken = [(task, key, there[key]) for task in tasks if (key := keys[task.id]) in there]
    return [_Taken(task, id, key, not not_begun) for task, key, (id, not_begun) in taken if key]


def _answer(
    connection: BaseDatabaseWrapper, taken: Sequence[_Taken], terms: Terms, own: Collection[uuid.UUID] = ()
) -> dict[uuid.UUID, Stored]:
    """Settle the calls for which there is a task already; not those whose task has begun meanwhile.

    :param own: the ids of all calls of this bulk.
    """
    if taken and terms.on_conflict == "raise":
        one = taken[0]
        by = "of an earlier item" if one.by in own else one.by  # which is not stored, either
        raise AlreadyEnqueued(name=one.task.kind.name, key=without_prefix(one.key), id=by)
    replaced: dict[uuid.UUID, NewTask] = {}
    if terms.on_conflict == "replace" and terms.renew:
        replaced = _replace(connection, [one for one in taken if not one.begun], terms, terms.renew)
        taken = [one for one in taken if one.begun or one.by in replaced]
    return {task.id: Stored(by, False, replaced.get(by)) for task, by, _, _ in taken}


def _replace(
    connection: BaseDatabaseWrapper, taken: Sequence[_Taken], terms: Terms, renew: Renew
) -> dict[uuid.UUID, NewTask]:
    """Replace the arguments of tasks that have not begun; the last call of several for one task wins."""
    if not taken:
        return {}
    former: dict[uuid.UUID, bytes] = {}
    if terms.merges:
        ids = {"id": arrays.uuids({one.by for one in taken})}
        former = {id: bytes(payload) for id, payload in rows(connection, LOCK, ids)}
    renewed: dict[uuid.UUID, NewTask] = {}
    for task, by, _, _ in taken:
        if not terms.merges or by in former:
            renewed[by] = renew(task, by, renewed[by].payload if by in renewed else former.get(by))
    replaced: dict[uuid.UUID, NewTask] = {}
    for part in enqueue.parted(list(renewed.values())):
        params = {**enqueue.flowing_parameters(part), "at_most": terms.at_most}
        replaced |= {id: renewed[id] for (id,) in rows(connection, REPLACE, params)}
    return replaced
