"""Insert many tasks: with one INSERT, or if they are very many by COPY.

COPY in its binary format is two thirds of the work of an INSERT for the server, and less for the driver. The rows are sent
while they are written, so the server works on the first ones while this process still writes the others. But it takes two
more round trips. (PostgreSQL documentation, "COPY", "Binary Format".)
"""

import functools
import io
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, fields
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Self

from django.db import IntegrityError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.psycopg_any import is_psycopg3

from autotask.flow import UNTIL_CLAIMED, unique_flow
from autotask.store import arrays, columns
from autotask.store.connection import execute, in_transaction, in_utc, is_alone, rows
from autotask.store.enqueue import LARGEST_STATEMENT, MANY, Kind, NewTask, parameters
from autotask.task import State

#: The fewest tasks for which COPY is worth its round trips.
MANY_ENOUGH = 200

#: Bytes that are written at once.
_PIECE = 1 << 16

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"

#: PostgreSQL counts moments in microseconds from here.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

#: The types of the items of an array, as the server knows them.
_TEXT_OID = 25

# The server refuses to COPY into a table with row-level security. (PostgreSQL documentation, "COPY", "Notes".)
BEFORE = "SELECT clock_timestamp() AT TIME ZONE 'UTC', row_security_active('autotask_task') OR row_security_active('autotask_ready')"

# The same, and which keys are taken. Each is looked up in the index: for "= ANY" of this many, the planner would read the table.
BEFORE_UNIQUE = f"""{BEFORE},
ARRAY(SELECT key FROM unnest(%(key)s::text[]) AS asked(key) CROSS JOIN LATERAL (
    SELECT FROM autotask_task t WHERE t.unique_key = key AND {columns.HAS_KEY} LIMIT 1
) AS taken)"""


def _array(names: Sequence[str]) -> bytes:
    items = b"".join(_field(name.encode()) for name in names)
    return struct.pack(">iiiii", 1, 0, _TEXT_OID, len(names), 1) + items


def _moment(moment: datetime) -> bytes:
    return struct.pack(">q", (moment - _EPOCH) // _MICROSECOND)


#: The functions that write the values of each type.
WRITTEN: dict[str, Callable[[Any], bytes]] = {
    "text": str.encode,
    "text[]": _array,
    "jsonb": lambda value: b"\1" + value.encode(),
    "smallint": struct.Struct(">h").pack,
    "int": struct.Struct(">i").pack,
    "float8": struct.Struct(">d").pack,
    "boolean": struct.Struct(">?").pack,
    "timestamptz": _moment,
}


class Form(NamedTuple):
    """The columns of the rows of tasks.

    :ivar common: those that all tasks of a kind have in common, with their types; those of one task follow.
    :ivar sql: the statement that takes the rows.
    :ivar head: how each row begins.
    """

    common: Mapping[str, str]
    sql: str
    head: bytes

    @classmethod
    def of(cls, common: Mapping[str, str], *more: str) -> Self:
        """Return the form with these columns, and with *more* after those of one task."""
        names = ["id", *common, "ready_at", "arguments", "payload", *more]
        sql = f"COPY autotask_task ({', '.join(names)}) FROM STDIN (FORMAT binary)"
        return cls(common, sql, struct.pack(">hi", len(names), 16))


_TYPES = {name: how.type for name, how in columns.CARRIED.items()} | {
    "state": "smallint",
    **dict.fromkeys(("created_at", "run_at", "expires_at"), "timestamptz"),
}
_DEFAULTS = {field.name: field.default for field in fields(columns.Carried) if field.default is not MISSING}
_IN_ALL = (*(name for name in columns.CARRIED if name not in _DEFAULTS), "state", "created_at", "run_at")


def _form(kinds: Collection[Kind], *more: str) -> Form:
    """Return the form for tasks of some kinds: columns in which all have the default of the table, the server need not read.

    :param more: as for :meth:`Form.of`.
    """
    special = {name for kind in kinds for name, default in _DEFAULTS.items() if getattr(kind, name) != default}
    if any(kind.expires is not None or kind.expires_at is not None for kind in kinds):
        special.add("expires_at")
    return _form_of((*_IN_ALL, *sorted(special)), more)


@functools.lru_cache(maxsize=100)
def _form_of(common: tuple[str, ...], more: tuple[str, ...]) -> Form:
    return Form.of({name: _TYPES[name] for name in common}, *more)


# The ready table's columns that all tasks of a kind have in common; moment and id of each follow.
COPY_READY = "COPY autotask_ready (queue, priority, executor, suspect, resets, ready_at, id) FROM STDIN (FORMAT binary)"

_READY_AND_ID = struct.Struct(">iqi").pack
_READY_AND_LENGTH = struct.Struct(">iqi").pack
_LENGTH = struct.Struct(">i").pack


def insert_many(connection: BaseDatabaseWrapper, tasks: Sequence[NewTask]) -> None:
    """Insert all of the tasks or none; they are ready a microsecond apart, in their order."""
    # A statement of more than 1 GB would make the server close the connection. COPY has no such limit.
    if len(tasks) < MANY_ENOUGH and sum(len(task.payload) for task in tasks) < LARGEST_STATEMENT:
        execute(connection, MANY, parameters(tasks))
        return
    ((now, is_row_security_active),) = rows(connection, BEFORE)
    if is_row_security_active:
        execute(connection, MANY, parameters(tasks))
        return

    def send() -> None:
        come: list[bytes] = []
        form = _form({task.kind for task in tasks})
        _send(connection, form.sql, _pieces(_rows(enumerate(tasks), in_utc(now), come, form)))
        _send(connection, COPY_READY, _pieces(come))

    if is_alone(connection):
        in_transaction(connection, send)
    else:
        send()


def insert_unique(connection: BaseDatabaseWrapper, tasks: Sequence[NewTask]) -> Sequence[NewTask]:
    """Insert tasks of one definition that need no more than a unique key, if they are many, except those whose keys others have.

    :returns: the tasks that were not inserted; all of them, if this is not the way to insert them.
    """
    keyed = {task.key: task for task in tasks if task.key is not None}
    if not MANY_ENOUGH <= len(tasks) == len(keyed):
        return tasks
    ((now, is_row_security_active, taken),) = rows(connection, BEFORE_UNIQUE, {"key": arrays.texts(keyed)})
    if is_row_security_active:
        return tasks
    others, come = [keyed.pop(key) for key in taken], list[bytes]()
    form = _form({task.kind for task in tasks}, "flow", "unique_key")
    if not keyed:
        return others
    try:
        with transaction.atomic(using=connection.alias):
            _send(connection, form.sql, _pieces(_unique_rows(keyed, in_utc(now), come, form)))
            _send(connection, COPY_READY, _pieces(come))
    except IntegrityError:  # Another transaction has taken one of the keys since.
        return tasks
    return others


def _send(connection: BaseDatabaseWrapper, sql: str, pieces: Iterator[bytes]) -> None:
    # Django converts only the errors of its own methods.
    with connection.cursor() as cursor, connection.wrap_database_errors:
        if is_psycopg3:
            with cursor.copy(sql) as into:
                for piece in pieces:
                    into.write(piece)
        else:
            cursor.copy_expert(sql, _Readable(pieces), _PIECE)


def _pieces(rows: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what to send, in pieces."""
    piece, size = [_HEADER], 0
    for row in rows:
        piece.append(row)
        size += len(row)
        if size >= _PIECE:
            yield b"".join(piece)
            piece, size = [], 0
    piece.append(_TRAILER)
    yield b"".join(piece)


def _rows(
    tasks: Iterable[tuple[int, NewTask]], now: datetime, come: list[bytes], form: Form, resets: bool = False
) -> Iterator[bytes]:
    """Yield the rows of tasks.

    :param tasks: each with its place among them, from which its moment follows.
    :param come: gets the rows of the ready table, with the same moments.
    :param resets: whether a claim writes them.
    """
    known: dict[Kind, tuple[bytes, bytes]] = {}
    head = form.head
    begin = (now - _EPOCH) // _MICROSECOND
    for place, (id, kind, arguments, payload, *_) in tasks:
        if (found := known.get(kind)) is None:
            common_ready = _common_ready(kind, resets) if _due(kind, now) <= now else b""
            found = known[kind] = _common(kind, now, form.common), common_ready
        common, common_ready = found
        number, shown = id.bytes, arguments.encode()
        if common_ready:
            turn = begin + place
            ready = _READY_AND_LENGTH(8, turn, len(shown))
            come.append(common_ready + _READY_AND_ID(8, turn, 16) + number)
        else:
            ready = _NULL + _LENGTH(len(shown))
        yield b"".join((head, number, common, ready, shown, _LENGTH(len(payload)), payload))


def _unique_rows(keyed: Mapping[str, NewTask], now: datetime, come: list[bytes], form: Form) -> Iterator[bytes]:
    """Yield the rows of tasks by their keys, in the order of these: so two such calls do not wait for each other."""
    keys, tasks = list(keyed), list(keyed.values())
    order = sorted(range(len(keys)), key=keys.__getitem__)
    rows = _rows(((place, tasks[place]) for place in order), now, come, form, keys[0].startswith(UNTIL_CLAIMED))
    for place, row in zip(order, rows, strict=True):
        key = keys[place]
        flow, text = unique_flow(key).encode(), key.encode()
        yield b"".join((row, _LENGTH(len(flow) + 1), b"\1", flow, _LENGTH(len(text)), text))


def _common_ready(kind: Kind, resets: bool) -> bytes:
    """Return the columns of the ready table that all tasks of a kind have in common."""
    fields = (
        kind.queue.encode(),
        WRITTEN["smallint"](kind.priority),
        kind.executor.encode(),
        b"\0",
        b"\1" if resets else b"\0",
    )
    return struct.pack(">h", len(fields) + 2) + b"".join(map(_field, fields))


def _due(kind: Kind, now: datetime) -> datetime:
    return kind.run_after or now + timedelta(seconds=kind.delay)


def _common(kind: Kind, now: datetime, common: Mapping[str, str]) -> bytes:
    """Return the columns that all tasks of a kind have in common, of these names and types."""
    due = _due(kind, now)
    expires_at = kind.expires_at
    if expires_at is None and kind.expires is not None:
        expires_at = due + timedelta(seconds=kind.expires)
    values = {name: getattr(kind, name) for name in columns.CARRIED} | {
        "state": State.READY if due <= now else State.SCHEDULED,
        "created_at": now,
        "run_at": due,
        "expires_at": expires_at,
    }
    fields = [None if (value := values[name]) is None else WRITTEN[type](value) for name, type in common.items()]
    return b"".join(map(_field, fields))


def _field(value: bytes | None) -> bytes:
    return _NULL if value is None else _LENGTH(len(value)) + value


class _Readable(io.RawIOBase):
    """The pieces as the file that psycopg2 reads."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        """Return the next bytes, at most this many; none at the end."""
        rest = self._rest or next(self._pieces, b"")
        self._rest = rest[size:]
        return rest[:size]
