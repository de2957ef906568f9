"""The errors of benchmarks."""


class BenchmarkError(Exception):
    """A problem that the user can solve; the message says how."""


class NotRun(Exception):
    """A measure that cannot be taken here; the message says why."""
