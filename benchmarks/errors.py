"""What can be wrong with a benchmark, as messages for people."""


class BenchmarkError(Exception):
    """Something that the user can do something about; the message says what."""


class NotRun(Exception):
    """A measure that cannot be taken here; the message says why."""
