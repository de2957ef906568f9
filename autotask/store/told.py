"""What comes with word of the end of a task, so that who waits for it need not ask: its result, and all that a handle shows."""

import base64
import uuid
from dataclasses import dataclass

from autotask import payload
from autotask.context import Progress
from autotask.exceptions import PayloadRefused
from autotask.task import State

#: Bytes of a signed result that is told. What is told can have 8000, in base64. (PostgreSQL documentation, "NOTIFY".)
LARGEST = 5000

#: What is told of a task, for a statement that knows it as *e*. Only a result that was signed can be told, since anybody who
#: can connect to the database can say that a task has ended.
WORDS = f"""
CASE WHEN e.new_state = {State.DONE:d} AND length(e.value) <= {LARGEST} THEN concat_ws(
    ' ', e.fence, e.attempt, coalesce(e.progress_done::text, '-'), coalesce(e.progress_total::text, '-'),
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
    """Return what was told of a task; None if that was only that it has ended, or is not signed with a key of this site."""
    try:
        fence, attempt, done, total, value = words.split(maxsplit=4)
        progress = None if done == "-" else Progress(float(done), None if total == "-" else float(total))
        task = ToldTask(id, int(fence), int(attempt), progress, base64.b64decode(value))
        payload.verify_result(task.value, id=id, fence=task.fence)
    except (ValueError, OverflowError, PayloadRefused):
        return None
    return task
