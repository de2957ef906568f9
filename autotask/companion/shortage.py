"""Errors for a shortage of resources, rather than for something wrong; standard library only."""

import errno
import threading

_ERRNOS = {errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE}


def is_shortage(error: BaseException) -> bool:
    """Whether there is no room now for another thread, process or file, or no memory."""
    if isinstance(error, OSError):
        return error.errno in _ERRNOS
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "start new thread" in str(error))


def daemon_threads_are_refused() -> bool:
    """Whether this is a sub-interpreter without daemon threads, such as one with its own GIL."""
    try:
        threading.Thread(daemon=True)
    except RuntimeError:
        return True
    return False
