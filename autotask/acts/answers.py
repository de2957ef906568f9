"""What an act answers for each task or schedule."""

import enum
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from autotask.task import State

#: What names a task, its id, or a schedule.
Key = TypeVar("Key", uuid.UUID, str)

#: Is called in the transaction of an act with those it was done to.
Log = Callable[[Sequence[Key]], object]


class Refusal(enum.Enum):
    """Why nothing could be done, where it is not the state of the task."""

    GONE = "not in the database any more"
    PAUSED = "paused already"
    NOT_PAUSED = "not paused"
    NOT_REGISTERED = "not registered"
    NOT_IN_CODE = "not in the code of this process"


@dataclass(frozen=True, slots=True)
class Answer(Generic[Key]):
    """What became of one task or schedule.

    :ivar refused: why nothing was done: the state of the task, or another reason; None: it was done.
    :ivar is_asked: whether the task runs, and its worker is asked to stop it.
    :ivar enqueued: the id of the task that a schedule was run with.
    """

    key: Key
    refused: State | Refusal | None = None
    is_asked: bool = False
    enqueued: uuid.UUID | None = None

    @property
    def is_done(self) -> bool:
        """Whether it is done, and nobody has to be waited for."""
        return self.refused is None and not self.is_asked


def keep_no_log(keys: Sequence[object]) -> None:
    """Write nothing down."""
