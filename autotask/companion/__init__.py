"""The worker process that starts and stops with one Django process; start reading at supervisor.py."""


def start() -> bool:
    """Start a companion for this process, for programs that do not answer requests with Django, or not yet.

    Servers need no call. Further calls do nothing: a process has one companion.

    :returns: whether this process has a companion now; it has none if ``AUTOTASK_IS_ACTIVE`` is False,
        ``AUTOTASK_COMPANION`` is ``"off"``, or the process is itself a worker.
    """
    # The guard imports this package too, in an interpreter without Django.
    from autotask.companion import starter

    return starter.start()
