"""The thread in the Django process: start the guard, replace it, wake its worker, let it go."""

import contextlib
import logging
import os
import subprocess
import threading
import time

from autotask import module_path
from autotask.companion import interpreter
from autotask.companion.meeting_place import meeting_place
from autotask.conf import settings
from autotask.store import notify

logger = logging.getLogger("autotask.companion")

FIRST_WAIT = 0.1
LONGEST_WAIT = 30.0

#: A guard that has lived this many seconds has started well; the next one is started at once.
LIVED_WELL = 10.0


class Supervisor:
    """Keeps one guard running as long as this process lives.

    Nothing here may harm the process that serves: it has one thread, which never raises, and waits for nothing else.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        # The guard holds the read end of the first pipe, and reads its end when this process is gone. Nobody writes
        # to it. The second one carries a byte for each transaction that has enqueued something to the worker.
        self._life_read, self._life_write = os.pipe()
        try:
            self._wake_read, self._wake_write = os.pipe()
        except OSError:
            _close(self._life_read, self._life_write)
            raise
        os.set_blocking(self._wake_write, False)
        self._thread = threading.Thread(target=self._run, name="autotask-supervisor", daemon=True)

    def start(self) -> None:
        """Start the thread. It has to outlive the guard: to the kernel, the thread that starts a process is its parent."""
        try:
            self._thread.start()
        except (RuntimeError, MemoryError):  # no more threads
            self.forget()
            raise
        # With one worker for all processes of the host, that of this process may only stand by.
        notify.set_waker(None if settings.COMPANION == "host" else self.wake)

    def wake(self) -> None:
        """Tell the worker that something was enqueued."""
        # If the pipe is full of bytes that nobody has read yet, it need not be told again.
        with contextlib.suppress(OSError):
            os.write(self._wake_write, b"\0")

    def forget(self) -> None:
        """Let go of everything in a fork of the process, which has inherited what belongs to its parent."""
        notify.set_waker(None)
        _close(self._life_read, self._life_write, self._wake_read, self._wake_write)

    def _run(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            try:
                status = self._start_guard().wait()
                logger.debug("The guard of the companion ended with status %d", status)
            except Exception as error:  # no memory, no more processes: whatever it is, the server goes on serving
                if failures == 0:
                    logger.warning("The companion could not be started, will try again: %s", error)
            failures = 0 if time.monotonic() - began > LIVED_WELL else failures + 1
            time.sleep(0 if failures <= 1 else min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(failures, 16)))

    def _start_guard(self) -> subprocess.Popen[bytes]:
        command = [interpreter.path(), "-S", "-m", "autotask.companion.guard"]
        command += ["--parent", str(self.pid), "--life-fd", str(self._life_read), "--wake-fd", str(self._wake_read)]
        command += ["--grace", str(settings.SHUTDOWN_GRACE)]
        return subprocess.Popen(
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            close_fds=True,  # else it would keep the port of the server open
            pass_fds=(self._life_read, self._wake_read),
            start_new_session=True,  # a signal to the server's process group is the server's business
        )


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _environment() -> dict[str, str]:
    """Return the environment in which the worker finds the same modules and settings as this process."""
    # -S leaves out site-packages for the guard only; both know the modules of the project by a variable.
    environment = module_path.handed_on(os.environ)
    if place := meeting_place():
        environment["AUTOTASK_ELECTION"] = place
    for name in [name for name in environment if name == "RUN_MAIN" or name.startswith("WERKZEUG_")]:
        del environment[name]
    return environment
