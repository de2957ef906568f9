"""The worker process that comes and goes with one Django process; start reading at supervisor.py."""


def start() -> bool:
    """Start a companion for this process, for programs that do not answer requests by Django, or not yet.

    Servers need no call. It may be called again: a process has one companion.

    :returns: whether this process has a companion now; it has none where ``AUTOTASK_IS_ACTIVE`` is False,
        ``AUTOTASK_COMPANION`` is ``"off"``, or the process is itself a worker.
    """
    # The guard imports this package too, in an interpreter without Django.
    from autotask.companion import starter

    return starter.start()
