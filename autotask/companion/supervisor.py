"""The thread in the Django process: starts the guard, and replaces it."""

import json
import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence

from autotask import django_setup
from autotask.companion import family, interpreter, site_settings
from autotask.companion.meeting_place import meeting_place
from autotask.companion.pipes import Pipes
from autotask.conf import settings
from autotask.own_worker import own
from autotask.processes import module_path, streams

logger = logging.getLogger("autotask.companion")

FIRST_WAIT = 0.1
LONGEST_WAIT = 30.0

#: A guard that has lived this many seconds has started well; the next one is started at once.
LIVED_WELL = 10.0


#: A process tries this many times to share a guard. One that is about to end, or is older than the code, refuses it.
TRIES = 3

#: A guard, which this process has started or joined.
Guard = subprocess.Popen[bytes] | family.Membership


class Supervisor:
    """Keeps one guard running as long as this process lives.

    It must never harm the process that serves: it has one thread, which never raises, and waits only for the guard.

    :param has_siblings: whether it is one of several processes of a server, which can share a guard.
    """

    def __init__(self, *, has_siblings: bool = False) -> None:
        self.pid = os.getpid()
        self._has_siblings = has_siblings
        self._membership: family.Membership | None = None
        self._thread = threading.Thread(target=self._run, name="autotask-supervisor", daemon=True)
        self._pipes = Pipes()

    def start(self) -> None:
        """Start the thread. It has to outlive the guard: for the kernel, the thread that starts a process is its parent."""
        try:
            self._thread.start()
        except (RuntimeError, MemoryError):  # no more threads
            self.forget()
            raise
        # With one worker for all processes of the host, that of this process may be standing by.
        if settings.COMPANION != "host":
            own.wake, own.line = self._pipes.wake_worker, self._pipes

    def forget(self) -> None:
        """Drop everything in a fork of the process, where it belongs to the parent."""
        own.wake = own.line = None
        self._pipes.close()
        if self._membership:
            self._membership.forget()

    def _run(self) -> None:
        failures = 0
        while True:
            began = time.monotonic()
            try:
                status = self._guarded().wait()
                logger.debug("The guard of the companion ended with status %d", status)
            except Exception as error:  # whatever it is, such as no memory, the server continues to serve
                if failures == 0:
                    logger.warning("The companion could not be started, will try again: %s", error)
            failures = 0 if time.monotonic() - began > LIVED_WELL else failures + 1
            time.sleep(0 if failures <= 1 else min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(failures, 16)))

    def _guarded(self) -> Guard:
        """Start a guard, or join one that a sibling has started."""
        environment, options = _environment(), module_path.options()
        # -S leaves out site-packages for the guard only; guard and worker get the module path in a variable.
        command = [interpreter.path(), "-S", *options, "-m", "autotask.companion.guard"]
        if self._has_siblings and _can_share() and (address := _address(environment, command)):
            for _ in range(TRIES):
                if listener := family.listen(address):
                    with listener:
                        return self._start_guard(command, environment, options, listener)
                if joined := family.join(address, self._pipes, settings.SHUTDOWN_GRACE):
                    self._membership = joined
                    return joined
        return self._start_guard(command, environment, options)

    def _start_guard(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        options: Sequence[str],
        listener: socket.socket | None = None,
    ) -> subprocess.Popen[bytes]:
        pipes = self._pipes
        descriptors = [pipes.life, pipes.wake, *pipes.offers]
        given = ["--parent", str(self.pid), "--life-fd", str(pipes.life), "--wake-fd", str(pipes.wake)]
        given += ["--offer-fds", *map(str, pipes.offers), "--grace", str(settings.SHUTDOWN_GRACE)]
        if listener:
            given += ["--listen-fd", str(listener.fileno())]
            descriptors.append(listener.fileno())
        return subprocess.Popen(
            [*command, *given, "--", *options],
            env=environment,
            stdin=subprocess.DEVNULL,
            close_fds=True,  # or it would keep the port of the server open
            pass_fds=descriptors,
            start_new_session=True,  # a signal to the server's process group is for the server only
        )


def _can_share() -> bool:
    """Whether workers may be forks. One of those that stand by for the whole host is to cost less than a template."""
    return settings.FORK == "auto" and settings.COMPANION != "host"


def _address(environment: Mapping[str, str], command: Sequence[str]) -> str | None:
    """Return the address where processes meet that can share a guard; None if this one cannot."""
    # A template has the settings of the moment at which it was loaded. They may come from anywhere: a process that has others,
    # such as a new key after a reload, gets another template.
    if (same := site_settings.digest()) is None:
        return None
    return family.address(environment, [*command, same])


def _environment() -> dict[str, str]:
    """Return the environment in which the worker finds the same modules and settings as this process."""
    environment = {**module_path.handed_on(os.environ), **django_setup.handed_on()}
    if place := meeting_place():
        environment["AUTOTASK_ELECTION"] = place
    if _logs_json():
        environment[streams.JSON_LINES] = "1"
    for name in [name for name in environment if name == "RUN_MAIN" or name.startswith("WERKZEUG_")]:
        del environment[name]
    return environment


def _logs_json() -> bool:
    """Whether the log lines of this process on a standard stream are JSON."""
    record = logger.makeRecord(logger.name, logging.INFO, __file__, 0, "a line", (), None)
    for handler in (*logger.handlers, *logging.getLogger("autotask").handlers, *logging.getLogger().handlers):
        try:
            if isinstance(handler, logging.StreamHandler) and handler.stream.fileno() in (1, 2):
                return isinstance(json.loads(handler.format(record)), dict)
        except Exception:  # text, or whatever a formatter of the project raises
            continue
    return False
