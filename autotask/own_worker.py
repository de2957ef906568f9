"""The worker of this process: its companion, or the worker that runs in this process."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from autotask.offer import Offer


class Line(Protocol):
    """The way to a companion that may take tasks over."""

    def take_offer(self, patience: float = 0.0) -> "Offer | None":
        """Take the worker's offer, if it has made one, or makes one within *patience* seconds."""

    def hand_over(self, body: bytes) -> None:
        """Send it the task."""


class OwnWorker:
    """Keeps how this process reaches its worker. The supervisor or the worker sets it; threads that store tasks use it.

    :ivar wake: wakes the worker; None: this process has none, and notifies the workers of others.
    :ivar line: hands tasks to the companion; None: this process has none.
    """

    __slots__ = ("line", "wake")

    def __init__(self) -> None:
        self.wake: Callable[[], None] | None = None
        self.line: Line | None = None


#: The worker of this process.
own = OwnWorker()
