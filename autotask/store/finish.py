"""Record how attempts ended, only while the claims are still ours."""

import functools
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask.store import arrays, claims, ends, model_rows, notify, slots
from autotask.store.ahead import Ahead
from autotask.store.connection import rows, text
from autotask.store.model_rows import RowTable
from autotask.store.prepared import bare_rows, prepared_ahead, prepared_rows
from autotask.store.progress import Claim
from autotask.task import State


class Outcome(NamedTuple):
    """The end of one attempt.

    :ivar state: DONE, ERROR, CANCELLED or RETRY.
    :ivar ended_at: when the attempt ended, on the monotonic clock of the process.
    :ivar value: the signed result.
    :ivar delay: seconds until the next attempt, for RETRY.
    :ivar began: whether the function was called; a task cancelled or expired before that has no attempt.
    :ivar recorded: whether the transaction of the function has recorded it already.
    """

    id: uuid.UUID
    fence: int
    state: State
    ended_at: float
    seconds: float
    value: bytes | None = None
    error_type: str = ""
    error_message: str = ""
    traceback: str = ""
    delay: float = 0.0
    began: bool = True
    recorded: bool = False


@dataclass(slots=True)
class HandingOn:
    """Gives the slots of tasks that end to those that wait for them.

    :ivar slots: the current number of slots of each limit, by its base.
    :ivar heirs: the claims that have begun in the slots of tasks that end, by the fences of these.
    :ivar admitted: how many tasks have become ready.
    :ivar marked: how many gates should be looked at.
    :ivar inherited: the ids of the heirs that have their slots now.
    :ivar gates: those at which others were waiting.
    """

    slots: Mapping[str, int]
    heirs: Mapping[int, Claim] = field(default_factory=dict)
    admitted: int = 0
    marked: int = 0
    inherited: frozenset[uuid.UUID] = frozenset()
    gates: Sequence[str] = ()


@dataclass(slots=True)
class RowEnds:
    """Writes outcomes to the rows of model tasks.

    :ivar table: the one with the rows.
    :ivar results: as JSON, by the ids of the tasks.
    :ivar missed: how many rows were not written, because somebody has locked or deleted them.
    """

    table: RowTable
    results: Mapping[uuid.UUID, str]
    missed: int = 0


class _Terms(NamedTuple):
    """The parts that all ways to record outcomes need.

    :ivar now: the monotonic clock of the process.
    :ivar error_ttl: the least time to live of errors.
    :ivar over: the numbers of the claims that are over with these outcomes.
    :ivar in_snapshot: whether the transaction does not see later commits.
    """

    now: float
    error_ttl: float
    over: Sequence[int]
    in_snapshot: bool = False

    def run(self, connection: BaseDatabaseWrapper, sql: str, params: Mapping[str, Any]) -> tuple[Any, ...]:
        """Run a statement, and return its row.

        Its plan is the same for any number of outcomes, so it is prepared: to parse and plan it each time takes PostgreSQL a fifth of
        the time of a large batch, and longer than a small one.
        """
        return prepared_rows(connection, claims.unlocked(sql) if self.in_snapshot else sql, params)[0]

    def run_one(
        self, connection: BaseDatabaseWrapper, sql: str, params: Mapping[str, Any], telling: bool
    ) -> tuple[Any, ...]:
        """Do the same for one outcome; if the statement notifies, as nearly always, only numbers are read."""
        if telling and not self.in_snapshot:
            return bare_rows(connection, sql, params)[0]
        return self.run(connection, sql, params)


#: Records outcomes on a connection, notifying or not.
_End = Callable[[BaseDatabaseWrapper, Sequence[Outcome], _Terms, bool], tuple[Any, ...]]

# Both tables keep the fence of a recorded outcome, and no two attempts have the same. So outcomes recorded now, or by an
# earlier try whose COMMIT got no answer, can be distinguished from those that were not accepted.
RECORDED = """
SELECT id FROM autotask_result WHERE id = ANY(%(id)s::uuid[]) AND fence = ANY(%(fence)s::bigint[])
UNION ALL
SELECT task_id FROM autotask_attempt
WHERE task_id = ANY(%(id)s::uuid[]) AND fence = ANY(%(fence)s::bigint[]) AND state <> 7
"""


def end(
    connection: BaseDatabaseWrapper,
    outcomes: Sequence[Outcome],
    *,
    now: float,
    error_ttl: float,
    handing_on: HandingOn | None = None,
    row_ends: RowEnds | None = None,
    over: Sequence[int] = (),
    in_snapshot: bool = False,
) -> int:
    """Record the outcomes DONE, ERROR and CANCELLED.

    :param now: the monotonic clock of the process.
    :param error_ttl: seconds for which errors are kept at least.
    :param handing_on: hands on the slots of the tasks; None: they have none.
    :param row_ends: writes to the rows of the tasks; None: they have none.
    :param over: the numbers of the claims whose last tasks these are.
    :param in_snapshot: whether the caller's transaction does not see later commits.
    :returns: how many were accepted. The others were rescued, cancelled or deleted, or are recorded already: ask
        :func:`recorded`.
    """
    end_these: _End
    terms = _Terms(now, error_ttl, over, in_snapshot)
    if handing_on:
        end_these = functools.partial(_end_handing_on, handing_on, row_ends)
    elif row_ends:
        end_these = functools.partial(_end_rows, row_ends)
    elif not _are_done(outcomes):
        end_these = _end_many
    else:
        end_these = _end_one if len(outcomes) == 1 else _end_done
    if connection.in_atomic_block:
        count, channels, words, *_ = end_these(connection, outcomes, terms, False)
        if channels:
            notify.tell_after_commit(connection, dict(zip(channels, words, strict=True)))
    else:
        count, *_ = notify.tell_or_not(connection, functools.partial(end_these, connection, outcomes, terms))
    return int(count)


def done_ahead(
    connection: BaseDatabaseWrapper, outcome: Outcome, *, now: float, error_ttl: float, over: Sequence[int]
) -> Ahead | None:
    """Return the statement by which :func:`end` records a success, to be sent; None if this connection cannot do that.

    Its answer is how many were accepted.
    """
    terms = _Terms(now, error_ttl, over)
    return prepared_ahead(connection, _telling_of_one(outcome, terms), _values(outcome, terms))


def _end_many(
    connection: BaseDatabaseWrapper, outcomes: Sequence[Outcome], terms: _Terms, telling: bool
) -> tuple[Any, ...]:
    sql = ends.END if telling else ends.END_QUIETLY
    return terms.run(connection, sql, _columns(outcomes, terms))


def _end_done(
    connection: BaseDatabaseWrapper, outcomes: Sequence[Outcome], terms: _Terms, telling: bool
) -> tuple[Any, ...]:
    sql = ends.END_DONE if telling else ends.END_DONE_QUIETLY
    return terms.run(connection, sql, _columns_done(outcomes, terms))


def _end_rows(
    row_ends: RowEnds,
    connection: BaseDatabaseWrapper,
    outcomes: Sequence[Outcome],
    terms: _Terms,
    telling: bool,
) -> tuple[Any, ...]:
    if len(outcomes) == 1 and _are_done(outcomes):
        return _end_row(row_ends, connection, outcomes[0], terms, telling)
    params = {**_columns(outcomes, terms), **model_rows.result_parameters(row_ends.results)}
    sql = ends.statement(ends.TELL if telling else ends.TELL_LATER, table=row_ends.table)
    found = terms.run(connection, sql, params)
    row_ends.missed = found[0] - found[-1]
    return found


def _end_row(
    row_ends: RowEnds, connection: BaseDatabaseWrapper, outcome: Outcome, terms: _Terms, telling: bool
) -> tuple[Any, ...]:
    params = {**_values(outcome, terms), "row_result": row_ends.results.get(outcome.id)}
    end = ends.BY_LAST if telling and _is_last(outcome, terms) else ends.BY_VALUE
    sql = ends.statement(ends.TELL if telling else ends.TELL_LATER, table=row_ends.table, end=end)
    found = terms.run_one(connection, sql, params, telling)
    row_ends.missed = int(found[0]) - int(found[-1])
    return found


def _end_handing_on(
    handing_on: HandingOn,
    row_ends: RowEnds | None,
    connection: BaseDatabaseWrapper,
    outcomes: Sequence[Outcome],
    terms: _Terms,
    telling: bool,
) -> tuple[Any, ...]:
    heirs = [handing_on.heirs.get(outcome.fence) for outcome in outcomes] if handing_on.heirs else []
    done = row_ends is None and _are_done(outcomes)
    params = {
        **(_columns_done(outcomes, terms) if done else _columns(outcomes, terms)),
        "claims": claims.numbers([o.fence for o in outcomes] + [heir[1] for heir in heirs if heir]),
        **slots.parameters(handing_on.slots),
        "heir": arrays.maybe_uuids([heir and heir[0] for heir in heirs]),
        "heir_fence": arrays.maybe_numbers([heir and heir[1] for heir in heirs]),
    }
    if done:
        sql = ends.END_DONE_HANDING_ON if telling else ends.END_DONE_HANDING_ON_QUIETLY
    else:
        sql = ends.END_HANDING_ON if telling else ends.END_HANDING_ON_QUIETLY
    if row_ends:
        sql = ends.statement(ends.TELL if telling else ends.TELL_LATER, True, row_ends.table)
        params |= model_rows.result_parameters(row_ends.results)
    found = terms.run(connection, sql, params)
    *_, wrote, inherited, gates, admitted, marked = found
    if row_ends:
        row_ends.missed = found[0] - wrote
    handing_on.inherited = frozenset(inherited or ())
    handing_on.gates = gates or ()
    handing_on.admitted += admitted
    handing_on.marked += marked
    return found


def _end_one(
    connection: BaseDatabaseWrapper, outcomes: Sequence[Outcome], terms: _Terms, telling: bool
) -> tuple[Any, ...]:
    (outcome,) = outcomes
    sql = _telling_of_one(outcome, terms) if telling else ends.END_ONE_QUIETLY
    return terms.run_one(connection, sql, _values(outcome, terms), telling)


def _telling_of_one(outcome: Outcome, terms: _Terms) -> str:
    """Return the statement that records one success and notifies."""
    return ends.END_LAST if _is_last(outcome, terms) else ends.END_ONE


def _is_last(outcome: Outcome, terms: _Terms) -> bool:
    """Whether it is the last of its claim, which may then be deleted without a lock before."""
    return not terms.in_snapshot and list(terms.over) == [claims.number(outcome.fence)]


def retry(connection: BaseDatabaseWrapper, outcomes: Sequence[Outcome], *, now: float, over: Sequence[int] = ()) -> int:
    """Schedule the next attempt of tasks that failed; return how many were accepted, as :func:`end` does."""
    return int(rows(connection, ends.RETRY, _columns(outcomes, _Terms(now, 0.0, over)))[0][0])


def recorded(connection: BaseDatabaseWrapper, outcomes: Sequence[Outcome]) -> set[uuid.UUID]:
    """Return the ids whose outcome is recorded with just this fence."""
    ids, fences = arrays.uuids(o.id for o in outcomes), arrays.numbers(o.fence for o in outcomes)
    found = rows(connection, RECORDED, {"id": ids, "fence": fences})
    return {row[0] for row in found}


def _are_done(outcomes: Sequence[Outcome]) -> bool:
    """Whether all of them are successes."""
    # Not all(), which takes twice as long: this runs for each task.
    return bool(outcomes) and not [outcome for outcome in outcomes if outcome.state is not State.DONE]


def _values(outcome: Outcome, terms: _Terms) -> dict[str, Any]:
    return {
        **claims.parameters([outcome.fence], terms.over),
        "error_ttl": terms.error_ttl,
        "id": outcome.id,
        "fence": outcome.fence,
        "ended_ago": terms.now - outcome.ended_at,
        "seconds": outcome.seconds,
        "value": outcome.value,
    }


def _columns_done(outcomes: Sequence[Outcome], terms: _Terms) -> dict[str, str]:
    ids, fences, _, ended_at, seconds, values, *_ = zip(*outcomes, strict=True)
    now = terms.now
    return {
        **claims.parameters(fences, terms.over),
        "id": arrays.uuids(ids),
        "fence": arrays.numbers(fences),
        "ended_ago": arrays.seconds([now - each for each in ended_at]),
        "seconds": arrays.seconds(seconds),
        "value": _or_none(arrays.binaries, values),
    }


def _columns(outcomes: Sequence[Outcome], terms: _Terms) -> dict[str, Any]:
    now = terms.now
    return {
        **claims.parameters([o.fence for o in outcomes], terms.over),
        "error_ttl": terms.error_ttl,
        "id": arrays.uuids([o.id for o in outcomes]),
        "fence": arrays.numbers([o.fence for o in outcomes]),
        "state": arrays.numbers([o.state.value for o in outcomes]),
        "ended_ago": arrays.numbers([now - o.ended_at for o in outcomes]),
        "seconds": arrays.numbers([o.seconds for o in outcomes]),
        "value": _or_none(arrays.binaries, [o.value for o in outcomes]),
        "error_type": _or_none(arrays.texts, [text(o.error_type, 500) for o in outcomes]),
        "error_message": _or_none(arrays.texts, [text(o.error_message, 10_000) for o in outcomes]),
        "traceback": _or_none(arrays.texts, [text(o.traceback) for o in outcomes]),
        "delay": _or_none(arrays.numbers, [o.delay for o in outcomes]),
        "began": arrays.flags([o.began for o in outcomes]),
    }


def _or_none(literal: Callable[[Sequence[Any]], str], values: Sequence[Any]) -> str:
    # Most outcomes are successes without a value. unnest() pads shorter arrays with NULL.
    return literal(values) if any(values) else "{}"
