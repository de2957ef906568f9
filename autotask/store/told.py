"""Tells a waiting caller of the end of a task, with its result, so that it need not query."""

import base64
import time
import uuid
from dataclasses import dataclass

from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import answers, payload
from autotask.context import Progress
from autotask.exceptions import PayloadRefused
from autotask.store.prepared import bare_rows_for_caller
from autotask.task import State

#: Bytes that a signed result may have. The payload can have 8000, in base64. (PostgreSQL documentation, "NOTIFY".)
LARGEST = 5000

#: The payload for a task, in a statement that calls it *e*. It is trusted because its result is signed: anybody who can
#: connect to the database can notify that a task has ended.
WORDS = f"""
CASE WHEN e.new_state = {State.DONE:d} AND length(e.value) <= {LARGEST} THEN concat_ws(
    ' ', e.fence, e.attempt + 1, coalesce(e.progress_done::text, '-'), coalesce(e.progress_total::text, '-'),
    encode(e.value, 'base64')
) ELSE '' END
"""

# The same of a task that has ended.
_WORDS_OF_ENDED = f"""
SELECT CASE WHEN state = {State.DONE:d} AND length(value) <= {LARGEST} THEN concat_ws(
    ' ', fence, attempt, coalesce(progress_done::text, '-'), coalesce(progress_total::text, '-'), encode(value, 'base64')
) ELSE '' END FROM autotask_result WHERE id = %(id)s::uuid
"""

#: Seconds before each of the first looks for the end of a task. A short task that an idle worker takes ends within this time, and
#: to listen for that would cost more than these looks: a write, and two more statements.
SOON = (0.0006, *[0.0] * 5, 0.0003, 0.0006, 0.001)

#: Milliseconds since the call after which there are no such looks.
LATELY = 20

#: The number of tasks of one name in a row that took longer, after which only one of the second number is looked for in this way.
IN_A_ROW = 4
SELDOM = 16

#: By the names of tasks that took longer: for how many in a row.
_longer: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class ToldTask:
    """A task that has ended as DONE; its attributes are those of a :class:`autotask.store.read.StoredTask`."""

    id: uuid.UUID
    fence: int
    attempt: int
    progress: Progress | None
    value: bytes
    name: str = ""
    state: State = State.DONE
    failures: int = 0
    error_message: str = ""


def told_task(id: uuid.UUID, words: str) -> ToldTask | None:
    """Return the task in a payload; None if that has no result, or one not signed with a key of this site."""
    try:
        fence, attempt, done, total, value = words.split(maxsplit=4)
        progress = None if done == "-" else Progress(float(done), None if total == "-" else float(total))
        task = ToldTask(id, int(fence), int(attempt), progress, base64.b64decode(value))
        payload.verify_result(task.value, id=id, fence=task.fence)
    except (ValueError, OverflowError, PayloadRefused):
        return None
    return task


def words_of_end(connection: BaseDatabaseWrapper, id: uuid.UUID) -> str | None:
    """Return the payload for a task that has ended; None: it has not."""
    found = bare_rows_for_caller(connection, _WORDS_OF_ENDED, {"id": id})
    words = found[0][0] if found else None
    return words.decode() if isinstance(words, bytes) else words


def soon(connection: BaseDatabaseWrapper, id: uuid.UUID, name: str, deadline: float | None) -> str | None:
    """Look a few times whether a task has ended that was called just now, and return the payload; None: listen for it.

    :param name: the name of the task.
    :param deadline: on the monotonic clock, after which nobody waits.
    """
    if not 0 <= time.time() * 1000 - (id.int >> 80) < LATELY:
        return None
    longer = _longer.get(name, 0)
    looks = longer < IN_A_ROW or not longer % SELDOM
    words = _looked(connection, id, deadline) if looks else None
    if words is None:
        _longer[name] = longer + 1
    elif longer:
        _longer.pop(name, None)
    return words


def _looked(connection: BaseDatabaseWrapper, id: uuid.UUID, deadline: float | None) -> str | None:
    for pause in SOON:
        if deadline is not None and time.monotonic() + pause >= deadline:
            break
        time.sleep(pause)  # 0.0 as well: other threads get their turn
        if (words := words_of_end(connection, id)) is not None:
            return words
    return None


def answer_of_result(value: bytes | None) -> bytes:
    """Return the answer that tells a thread, see :mod:`autotask.answers`, of a signed result; empty: it has to look."""
    return b"" if value is None or len(value) >= answers.LARGEST else b"r" + value


def answer_of_step(number: int, value: bytes | None) -> bytes:
    """Return the same for the signed value of a step that is not the last one."""
    return b"" if value is None or len(value) >= answers.LARGEST - 2 else b"s" + number.to_bytes(2, "big") + value


def result_in(words: bytes) -> bytes | None:
    """Return the signed result in an answer, of which the signature is not verified; None if it has none."""
    return words[1:] if words[:1] == b"r" else None


def step_in(words: bytes, number: int) -> bytes | None:
    """Return the signed value of a step in an answer, as :func:`result_in`; None if it has none of this step."""
    return words[3:] if words[:3] == b"s" + number.to_bytes(2, "big") else None
