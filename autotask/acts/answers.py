"""The answers of an act, one for each task or schedule."""

import enum
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from autotask.task import State

#: The id of a task, the name of a schedule, or the key of a pause.
Key = TypeVar("Key", uuid.UUID, str, int)

#: Is called in the transaction of an act, with the keys it was done to.
Log = Callable[[Sequence[Key]], object]


class Refusal(enum.Enum):
    """Why nothing was done, if not because of the state of the task."""

    GONE = "no longer in the database"
    PAUSED = "already paused"
    NOT_PAUSED = "not paused"
    KEY_TAKEN = "another task has its unique key"
    NEEDED = "still needed: its mails or webhooks have not been sent, or rows of the site refer to it"
    NOT_REGISTERED = "not registered"
    STARTED = "already started"
    STOPPED = "already stopped"
    NO_TRIGGER = "not one that can be triggered"
    IN_CODE = "in the code of some worker, or was until lately"
    NOT_IN_CODE = "not in the code of this process"


@dataclass(frozen=True, slots=True)
class Answer(Generic[Key]):
    """The answer for one task or schedule.

    :ivar refused: why nothing was done: the state of the task, or another reason; None if it was done.
    :ivar is_asked: whether the task runs, and its worker was asked to stop it.
    :ivar enqueued: the id of the task, if a schedule was run.
    """

    key: Key
    refused: State | Refusal | None = None
    is_asked: bool = False
    enqueued: uuid.UUID | None = None

    @property
    def is_done(self) -> bool:
        """Whether it is done, without waiting for a worker."""
        return self.refused is None and not self.is_asked


def keep_no_log(keys: Sequence[object]) -> None:
    """Do nothing."""
