"""The state of a process that a job may change, and that is restored after each job."""

import contextlib
import faulthandler
import os
import resource
import signal
import socket
import time

_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)

#: Limits that end a process, or make calls fail in it.
_LIMITS = [resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE]

#: Signals that programs handle. Looking at all 64 would take several times as long.
_SIGNALS = [
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGPIPE,
    signal.SIGALRM,
    signal.SIGTERM,
    signal.SIGCHLD,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGXCPU,
]


class ProcessState:
    """The current state of the process. Create it, and call its methods, in the main thread.

    Where nothing was changed, restoring only compares, in less than a hundred microseconds.
    """

    def __init__(self) -> None:
        self._folder = _folder()
        self._umask = _umask()
        self._environment = dict(os.environb)
        self._handlers = [(number, signal.getsignal(number)) for number in _SIGNALS]
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self._socket_timeout = socket.getdefaulttimeout()
        self._limits = {number: resource.getrlimit(number) for number in _LIMITS}

    def restore(self) -> None:
        """Undo what a job has changed."""
        # First timers, which could end or interrupt the process at any moment.
        for timer in _TIMERS:
            signal.setitimer(timer, 0)
        faulthandler.cancel_dump_traceback_later()
        self._restore_signals()
        self._restore_limits()
        if _folder() != self._folder and self._folder:
            with contextlib.suppress(OSError):  # It is deleted.
                os.chdir(self._folder)
        if _umask() != self._umask:
            os.umask(self._umask)
        if socket.getdefaulttimeout() != self._socket_timeout:
            socket.setdefaulttimeout(self._socket_timeout)
        if os.environb != self._environment:
            os.environb.clear()
            os.environb.update(self._environment)
            time.tzset()

    def _restore_signals(self) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers:
            if signal.getsignal(number) is not handler and handler is not None:
                signal.signal(number, handler)
        if not faulthandler.is_enabled():
            faulthandler.enable(2)  # whatever sys.stderr is by now
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def _restore_limits(self) -> None:
        for number, (soft, hard) in self._limits.items():
            now = resource.getrlimit(number)
            if now != (soft, hard):
                # Only root can raise a hard limit again.
                with contextlib.suppress(ValueError, OSError):
                    resource.setrlimit(number, (soft if now[1] == hard else min(soft, now[1]), now[1]))


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:
        return None


def _umask() -> int:
    # It can only be read by setting it.
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
