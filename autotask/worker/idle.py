"""The time that the loop sleeps while it finds nothing to do."""

#: The first sleep without work, in seconds; each further one is twice as long, up to AUTOTASK_POLL_INTERVAL.
#: Its length covers the interval in which a process sends no second NOTIFY.
FIRST_SLEEP = 0.03

#: The first sleep, in seconds, when all ready tasks are locked: by another worker that is claiming them, or by a caller
#: that waits for them. Each further one is twice as long, up to FIRST_SLEEP.
LOCKED_SLEEP = 0.001


class IdleSleep:
    """The length of the next sleep without work. Only the loop calls this.

    :ivar seconds: the length of that sleep.
    """

    def __init__(self) -> None:
        self.found_work()

    def found_work(self) -> None:
        """Begin again with short sleeps."""
        self.seconds, self._locked = FIRST_SLEEP, LOCKED_SLEEP

    def was_woken(self) -> None:
        """Look again soon: the next wake-up may not have been sent, so soon after this one."""
        self.seconds = FIRST_SLEEP

    def slept_through(self, longest: float) -> None:
        """Sleep longer next time, since nothing has come, up to *longest* seconds."""
        self.seconds = min(2 * self.seconds, longest)

    def while_locked(self) -> float:
        """Return the seconds to sleep now, while others have locked all ready tasks; more each time."""
        seconds = self._locked
        self._locked = min(2 * seconds, FIRST_SLEEP)
        return seconds
