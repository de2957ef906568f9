"""The payload that notifies of the end of a task, with its result, so that a waiting caller need not query."""

import base64
import uuid
from dataclasses import dataclass

from autotask import payload
from autotask.context import Progress
from autotask.exceptions import PayloadRefused
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
