"""What a pool promises: submit, room, take back, interrupt, abandon, drain."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from autotask.context import StopRequest
from autotask.exceptions import TaskInterrupted

T = TypeVar("T")


class Interruptible(Protocol):
    """What a pool gives to the function by which it runs an item."""

    def call(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Call a function that may be interrupted. An interruption hits this call, or nothing at all.

        :raises TaskInterrupted: it was interrupted, whatever it raised because of that.
        """

    def stop_request(self) -> StopRequest:
        """Return what tells the function that it should stop."""


class Uninterrupted:
    """An attempt that nothing in this process can interrupt; the process itself can be killed.

    :param stop: what tells the function that it should stop.
    """

    def __init__(self, stop: StopRequest) -> None:
        self._stop = stop

    def call(self, function: Callable[..., Any], /, *args: Any) -> Any:
        """Call a function."""
        return function(*args)

    def stop_request(self) -> StopRequest:
        """Return what tells the function that it should stop."""
        return self._stop


@dataclass(frozen=True, slots=True)
class Run(Generic[T]):
    """An item that is being run.

    :ivar began: when, on the monotonic clock.
    """

    item: T
    began: float


@dataclass(frozen=True, slots=True)
class Abandoned:
    """What is left of a run that could not be stopped.

    :ivar hangs: whether it goes on in this process, so that only the end of the process ends it.
    :ivar where: the lines of code it was at, as far as they are known.
    :ivar with_others: whether all that the pool runs hangs with it.
    """

    hangs: bool
    where: str = ""
    with_others: bool = False


class Pool(Protocol[T]):
    """A place where items are run, several at a time."""

    size: int

    #: Seconds that an item gets to stop by itself when it is to be cancelled, before it is interrupted.
    patience: float

    def submit(self, item: T) -> None:
        """Run an item as soon as there is a free place.

        :raises Exception: the item could not be taken in, as where the system has no thread left for the pool.
        """

    def outstanding(self) -> int:
        """Return how many items have been submitted and not finished."""

    def wake_when(self, waiting: int) -> None:
        """Ask to be woken when no more than *waiting* submitted items wait for a place."""

    def take_back(self) -> list[T]:
        """Return the items that wait for a place, and forget them."""

    def running(self) -> list[Run[T]]:
        """Return the items that are being run."""

    def ask(self, item: T, why: str) -> None:
        """Tell an item that is being run that it should stop. It may be told again."""

    def interrupt(self, item: T, interruption: TaskInterrupted) -> bool:
        """Stop an item that is being run, by the strongest means that harm no other one. Only one thread calls this.

        :returns: whether it could be tried; it may be too early, or too late.
        """

    def abandon(self, item: T) -> Abandoned | None:
        """Forget an item that is being run and cannot be stopped; None: it has just come to its end."""

    def drain(self, seconds: float) -> bool:
        """Wait until everything submitted is finished, at most so many seconds; return whether it is."""

    def busy_seconds(self) -> tuple[int, float]:
        """Return how many items have been finished, and the seconds they took altogether."""

    def close(self) -> None:
        """End what belongs to the pool. Nothing is run any more."""
