"""The watch, standard library only: tie the worker's life to Django's, restart it, stop it in time.

It runs as a process of its own between the Django process and the worker. It has one thread and runs no code of the
project, so it always answers: it sees the Django process go whatever that or the worker is busy with.
"""

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import time

from autotask import life, readable
from autotask.exit_status import MISCONFIGURED, RECYCLED, how_it_ended

#: Seconds between two starts of a worker that says it is misconfigured.
MISCONFIGURED_WAIT = 30.0

#: A worker that has lived this many seconds has started well; the next one is started at once.
LIVED_WELL = 10.0

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0

#: Seconds between two looks whether the Django process is still the parent.
LOOK_EVERY = 0.5

#: What the worker gets beyond the grace, in seconds, to write its last outcomes.
LAST_WORDS = 0.75

#: Signals to stop that come within so many seconds are one request: a service manager may send it to all processes, and
#: the kernel does it when the Django process is gone.
SAME_REQUEST = 0.3

#: Deaths in a row after which it is called a crash loop, once.
CRASH_LOOP = 5


def wait_before_start(deaths: int, status: int, chance: float) -> float:
    """Return the seconds to wait before the next start of a worker.

    :param deaths: how many workers in a row have died early, the last one included.
    :param status: the exit status of the last one.
    :param chance: a random number from 0 to 1, so that workers of one site do not start all at once.
    """
    if status == MISCONFIGURED:
        return MISCONFIGURED_WAIT
    if deaths <= 1:
        return 0.0
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(deaths - 2, 16)) * (0.8 + 0.4 * chance)


class Guard:
    """Keeps one worker running until the Django process is gone.

    :param parent: process id of the Django process.
    :param life_fd: read end of a pipe that the Django process holds open and never writes to; its end means "stop".
    :param wake_fd: read end of the pipe by which the Django process wakes the worker; passed on to it.
    :param grace: seconds that the worker gets to finish what it runs.
    """

    def __init__(self, parent: int, life_fd: int, wake_fd: int, grace: float) -> None:
        self._parent = parent
        self._life_fd = life_fd
        self._wake_fd = wake_fd
        self._grace = grace
        self._worker: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._start_at = time.monotonic()
        self._deaths = 0
        self._last_words = ""
        self._stop_signals = 0
        self._last_stop_signal = float("-inf")
        self._signals, self._signal_writer = os.pipe()

    def run(self) -> None:
        """Watch until the Django process is gone or this process is told to stop, then stop the worker."""
        self._catch_signals()
        life.die_with_parent(self._parent, signal.SIGTERM)
        while not self._is_over():
            self._look_after_worker()
            self._sleep()
        self._stop_worker()

    def _catch_signals(self) -> None:
        os.set_blocking(self._signals, False)
        os.set_blocking(self._signal_writer, False)
        signal.set_wakeup_fd(self._signal_writer, warn_on_full_buffer=False)
        life.ignore_interrupts()
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _on_stop(self, *_: object) -> None:
        now = time.monotonic()
        if now - self._last_stop_signal >= SAME_REQUEST:
            self._stop_signals += 1
        self._last_stop_signal = now

    def _is_over(self) -> bool:
        if self._stop_signals or life.is_orphan(self._parent):
            return True
        return bool(readable.wait([self._life_fd], 0)) and not os.read(self._life_fd, 1)

    def _look_after_worker(self) -> None:
        now = time.monotonic()
        if self._worker is None:
            if now >= self._start_at:
                self._start()
            return
        status = self._worker.poll()
        if status is not None:
            self._end_its_children(self._worker.pid)
            self._worker = None
            self._note_death(status, now)

    def _start(self) -> None:
        self._started_at = time.monotonic()
        environment = {
            **os.environ,
            "AUTOTASK_GUARD": str(os.getpid()),
            "AUTOTASK_SERVES": str(self._parent),
            "AUTOTASK_WAKE_FD": str(self._wake_fd),
            "AUTOTASK_EARLY_DEATHS": str(self._deaths),
            "AUTOTASK_PREDECESSOR": self._last_words,
        }
        command = [sys.executable, "-m", "autotask.companion.child"]
        try:
            self._worker = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                close_fds=True,
                pass_fds=(self._wake_fd,),
                process_group=0,  # so that what tasks have started and left behind can be ended with it
            )
        except OSError as error:  # no memory, or no more processes
            self._note_death(1, self._started_at, f"could not be started: {error}")

    def _note_death(self, status: int, now: float, how: str = "") -> None:
        lived = now - self._started_at
        how = how or how_it_ended(status)
        # A worker that ended by itself without an error, or to get rid of a task, has not failed.
        self._deaths = 0 if status in (0, RECYCLED) else 1 if lived >= LIVED_WELL else self._deaths + 1
        wait = wait_before_start(self._deaths, status, random.random())
        self._start_at = now + wait
        self._last_words = how
        if self._deaths == 0:
            return
        if self._deaths == CRASH_LOOP:
            say(
                f"ERROR: the worker died {self._deaths} times in a row, the last time: {how}; will go on trying",
                self._parent,
            )
        elif self._deaths < CRASH_LOOP and status != MISCONFIGURED:
            say(
                f"the worker ended ({how}) after {lived:.1f} s; the next one starts {f'in {wait:.1f} s' if wait else 'now'}",
                self._parent,
            )

    def _sleep(self) -> None:
        wait = LOOK_EVERY
        if self._worker is None:
            wait = max(0.0, min(wait, self._start_at - time.monotonic()))
        if self._signals in readable.wait([self._life_fd, self._signals], wait):
            os.read(self._signals, 4096)

    def _stop_worker(self) -> None:
        if self._worker is None or self._worker.poll() is not None:
            return
        self._worker.terminate()
        deadline = time.monotonic() + self._grace + LAST_WORDS
        in_a_hurry = False
        while self._worker.poll() is None and (left := deadline - time.monotonic()) > 0:
            if not in_a_hurry and self._is_urgent():
                in_a_hurry = True
                self._worker.terminate()
                deadline = time.monotonic() + LAST_WORDS
            elif self._signals in readable.wait([self._signals], left):
                os.read(self._signals, 4096)
        if self._worker.poll() is None:
            self._worker.kill()
            self._worker.wait()
        self._end_its_children(self._worker.pid)

    def _is_urgent(self) -> bool:
        """Whether this process was told to stop a second time. The kernel tells it once, when the Django process is gone."""
        return self._stop_signals - (1 if life.is_orphan(self._parent) else 0) >= 2

    def _end_its_children(self, worker: int) -> None:
        # Usually there are none, and so no group any more.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(worker, signal.SIGTERM)


def say(what: str, parent: int) -> None:
    """Write one line to where the Django process writes its errors."""
    # If nobody reads it any more, there is nobody to tell.
    with contextlib.suppress(OSError):
        os.write(2, f"autotask[{os.getpid()}] guard of {parent}: {what}\n".encode(errors="replace"))


def main() -> None:
    """Run the guard as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m autotask.companion.guard", description=__doc__)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--life-fd", type=int, required=True)
    parser.add_argument("--wake-fd", type=int, required=True)
    parser.add_argument("--grace", type=float, required=True)
    options = parser.parse_args()
    Guard(options.parent, options.life_fd, options.wake_fd, options.grace).run()


if __name__ == "__main__":
    main()
