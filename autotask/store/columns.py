"""The columns that a task keeps from its call until its result is pruned, listed once; statements are made from the list."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, get_type_hints

from autotask.store import arrays
from autotask.store.connection import aware
from autotask.task import THREAD


@dataclass(frozen=True, slots=True)
class Stored:
    """The form in which PostgreSQL stores the values of a field.

    :ivar type: the type of the column, and of the parameter for one task.
    :ivar literal: writes the values of many tasks as one array.
    :ivar load: converts the values that the driver returns; None: not needed.
    """

    type: str
    literal: Callable[[list[Any]], str]
    load: Callable[[Any], Any] | None = None

    @property
    def many(self) -> str:
        """The type of the parameter for many tasks; PostgreSQL has no arrays of arrays."""
        return self.type.removesuffix("[]") + "[]"


Text = Annotated[str, Stored("text", arrays.texts)]
MaybeText = Annotated[str | None, Stored("text", arrays.texts)]
Small = Annotated[int, Stored("smallint", arrays.numbers)]
Whole = Annotated[int, Stored("int", arrays.numbers)]
Seconds = Annotated[float, Stored("float8", arrays.numbers)]
MaybeSeconds = Annotated[float | None, Stored("float8", arrays.maybe_numbers)]
Flag = Annotated[bool, Stored("boolean", arrays.flags)]
Moment = Annotated[datetime, Stored("timestamptz", arrays.moments, aware)]
MaybeMoment = Annotated[datetime | None, Stored("timestamptz", arrays.moments, aware)]
MaybeJson = Annotated[str | None, Stored("jsonb", arrays.texts)]
MaybeNames = Annotated[Sequence[str] | None, Stored("text[]", lambda values: arrays.texts(map(_array, values)))]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Carried:
    """The options of a call that its result still shows. Each field is a column of both tables.

    :ivar timeout: seconds that one attempt may take; None: the worker's limit.
    :ivar executor: where it runs, see :data:`autotask.task.THREAD`.
    :ivar scheduled_for: the tick of this task.
    :ivar on_end: the recipients to notify of its end, see :func:`autotask.on_end.stored`.
    :ivar subject: the object that it is about, see :func:`autotask.references.subject`.
    :ivar metadata: what its author wants to find with it, as JSON.
    """

    name: Text
    queue: Text
    priority: Small
    retries: Whole
    ttl: Seconds
    timeout: MaybeSeconds = None
    executor: Text = THREAD
    schedule: MaybeText = None
    scheduled_for: MaybeMoment = None
    at_most_once: Flag = False
    tags: MaybeNames = None
    on_end: MaybeText = None
    subject: MaybeText = None
    metadata: MaybeJson = None


def stored(record: type) -> dict[str, Stored]:
    """Return the columns of a record's fields, in order; without those whose type does not name one."""
    hints = get_type_hints(record, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}


CARRIED = stored(Carried)

#: The columns that a task keeps when its row moves to the other table, in either direction.
KEPT = ("id", "arguments", "payload", "created_at", "attempt", "flow", *CARRIED)

#: The columns of both tables.
COMMON = (*KEPT, *("state", "run_at", "started_at", "failures", "lost", "progress_done", "progress_total"))


#: The key in ``flow`` of the reason for which a task was asked to stop while it ran.
WHY = "why"

#: The same reason, as a task that was asked to stop finds it in its context, and in the exception that interrupts it.
TO_BE_CANCELLED = "it was cancelled"

#: The condition of the index of unique keys, in its own words. A claim takes away the keys that are held until then.
HAS_KEY = "unique_key IS NOT NULL"

#: The end of an insertion that leaves out the tasks whose unique keys others have.
UNLESS_TAKEN = f"ON CONFLICT (unique_key) WHERE {HAS_KEY} DO NOTHING"

#: The unique key of a task that has begun and waits again: one that is held only until then is not taken again.
KEY_AGAIN = "CASE WHEN NOT starts_with(t.unique_key, 'waiting:') THEN t.unique_key END"


def insert(table: str, source: str, kept: Iterable[str] = (), /, **values: str) -> str:
    """Return a statement that makes rows from those of a source.

    :param kept: columns with the same value as in the source.
    :param values: expressions for other columns, or for some of these.
    """
    values = {name: name for name in kept} | values
    return f"INSERT INTO {table} ({', '.join(values)})\nSELECT {', '.join(values.values())}\nFROM {source}"


def condition(name: str) -> str:
    """Return the condition that a column of :data:`CARRIED` equals the parameter of the same name.

    A column of names must contain it.
    """
    type = CARRIED[name].type
    return f"%({name})s::text = ANY({name})" if type.endswith("[]") else f"{name} = %({name})s::{type}"


def _array(names: Sequence[str] | None) -> str | None:
    return None if names is None else arrays.texts(names)
