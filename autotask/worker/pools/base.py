"""What a pool promises: submit, room, take back, drain."""

from typing import Protocol, TypeVar

T = TypeVar("T")


class Pool(Protocol[T]):
    """A place where records are run, several at a time."""

    size: int

    def submit(self, record: T) -> None:
        """Run a record as soon as there is a free place."""

    def outstanding(self) -> int:
        """Return how many records have been submitted and not finished."""

    def wake_when(self, waiting: int) -> None:
        """Ask to be woken when no more than *waiting* submitted records wait for a place."""

    def take_back(self) -> list[T]:
        """Return the records that wait for a place, and forget them."""

    def running(self) -> list[T]:
        """Return the records that are being run."""

    def drain(self, seconds: float) -> bool:
        """Wait until everything submitted is finished, at most so many seconds; return whether it is."""

    def busy_seconds(self) -> tuple[int, float]:
        """Return how many records have been finished, and the seconds they took altogether."""
