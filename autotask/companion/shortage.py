"""Errors that say that a process lacks something for a companion, and not that something is wrong; standard library only."""

import errno
import threading

_ERRNOS = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}


def is_shortage(error: BaseException) -> bool:
    """Whether there is no room now for one more thread, process or file, or no memory."""
    if isinstance(error, OSError):
        return error.errno in _ERRNOS
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "start new thread" in str(error))


def daemon_threads_are_refused() -> bool:
    """Whether this is a sub-interpreter that can have no daemon threads, as those that have a lock (GIL) of their own."""
    try:
        threading.Thread(daemon=True)
    except RuntimeError:
        return True
    return False
