"""The exit statuses of processes. For a worker, 0 is a requested end, and 1 a failure of its own."""

import signal

FAILED = 1

#: The worker cannot start because of how the project is configured (EX_CONFIG of sysexits.h).
MISCONFIGURED = 78

#: The worker was recycled, for example to get rid of a task that cannot be stopped; start another one at once (EX_TEMPFAIL).
RECYCLED = 75


def how_it_ended(status: int) -> str:
    """Return an exit status of subprocess in words."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {-status} ({signal.Signals(-status).name})"
    except ValueError:
        return f"signal {-status}"
