"""How long the loop sleeps while it finds nothing to do."""

#: The first sleep without work, in seconds; each further one is twice as long, up to AUTOTASK_POLL_INTERVAL.
#: Its length covers the interval in which a process sends no second NOTIFY.
FIRST_SLEEP = 0.03

#: The first sleep, in seconds, when all ready tasks are locked: by another worker that is claiming them, or by somebody
#: who has asked to hear of their end. Each further one is twice as long, up to FIRST_SLEEP.
LOCKED_SLEEP = 0.001


class IdleSleep:
    """The length of the next sleep without work. Only the loop calls this.

    :ivar seconds: while there is nothing.
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
        """Sleep longer next time, since nothing has come; *longest* is the limit in seconds."""
        self.seconds = min(2 * self.seconds, longest)

    def while_locked(self) -> float:
        """Return for how long to sleep now, while others hold the locks of all there is; longer each time."""
        seconds = self._locked
        self._locked = min(2 * seconds, FIRST_SLEEP)
        return seconds
