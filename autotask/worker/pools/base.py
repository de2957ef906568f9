"""The interface of pools: submit, room, take back, interrupt, abandon, drain."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from autotask.context import StopRequest
from autotask.exceptions import TaskInterrupted

T = TypeVar("T")


class Interruptible(Protocol):
    """Passed by a pool to the function that runs an item."""

    def call(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Call a function that may be interrupted. An interruption hits this call, or nothing.

        :raises TaskInterrupted: the call was interrupted, whatever it raised because of that.
        """

    def stop_request(self) -> StopRequest:
        """Return the object that asks the function to stop."""


class Uninterrupted:
    """An attempt that nothing in this process can interrupt; the process itself can be killed."""

    def __init__(self, stop: StopRequest) -> None:
        self._stop = stop

    def call(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Call a function."""
        return function(*args)

    def stop_request(self) -> StopRequest:
        """Return the object that asks the function to stop."""
        return self._stop


@dataclass(frozen=True, slots=True)
class Run(Generic[T]):
    """A running item.

    :ivar began: when, on the monotonic clock.
    """

    item: T
    began: float


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The remains of a run that could not be stopped.

    :ivar hangs: whether it continues in this process, until the process ends.
    :ivar where: the lines of code that it was running, if known.
    :ivar with_others: whether all other items of the pool hang with it.
    """

    hangs: bool
    where: str = ""
    with_others: bool = False


class Pool(Protocol[T]):
    """Runs items, several at a time."""

    size: int

    #: Seconds that a cancelled item gets to stop by itself before it is interrupted.
    patience: float

    def submit(self, item: T) -> None:
        """Run an item as soon as there is a free place.

        :raises Exception: the item was not accepted, for example because the system has no threads left.
        """

    def outstanding(self) -> int:
        """Return the number of submitted items that have not finished."""

    def wake_when(self, waiting: int) -> None:
        """Ask to be woken when no more than *waiting* submitted items wait for a place."""

    def take_back(self) -> list[T]:
        """Return the items that wait for a place, and forget them."""

    def running(self) -> list[Run[T]]:
        """Return the running items."""

    def ask(self, item: T, why: str) -> None:
        """Ask a running item to stop. It may be asked again."""

    def interrupt(self, item: T, interruption: TaskInterrupted) -> bool:
        """Stop a running item, by the strongest means that harm no other item. Only one thread calls this.

        :returns: False if it is too early or too late to try.
        """

    def abandon(self, item: T) -> Abandoned | None:
        """Forget a running item that cannot be stopped; return None if it has just finished."""

    def drain(self, seconds: float) -> bool:
        """Wait until all submitted items have finished, at most *seconds*; return whether they have."""

    def busy_seconds(self) -> tuple[int, float]:
        """Return the number of finished items, and their total run time in seconds."""

    def close(self) -> None:
        """End the threads and processes of the pool. Nothing runs now."""
