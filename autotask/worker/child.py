"""The program of a child process: set Django up, then run one job after the other until its worker is gone."""

import faulthandler
import os
import queue
import signal
import sys
import threading
import time
from typing import Any

from autotask import django_setup, telemetry
from autotask.context import Progress, StopRequest
from autotask.processes import life, module_path, streams
from autotask.store.progress import Claim
from autotask.worker import log_capture
from autotask.worker.job import Work
from autotask.worker.log_lines import show_log_lines
from autotask.worker.pools.messages import Begun, Ended, Frames, Stop, frame
from autotask.worker.process_state import ProcessState

#: Seconds between two reports of the progress of one job.
SAY_EVERY = 0.5


#: Seconds within which telemetry has to be sent when this process ends: less than its worker waits for that.
LAST_WORDS = 0.8


class Messenger:
    """Sends messages to the worker, including the progress of jobs. One thread at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()
        self._last: tuple[Claim, Progress] | None = None
        self._unsaid = False
        self._said_at = float("-inf")

    def send(self, message: Any) -> None:
        """Send a message."""
        with self._lock:
            self._send(message)

    def report(self, claim: Claim, said: Progress) -> None:
        """Report the progress of a job; see :class:`autotask.worker.reporter.Reporter`."""
        with self._lock:
            self._last, self._unsaid = (claim, said), True
            if time.monotonic() - self._said_at >= SAY_EVERY:
                self._say()

    def last_word(self, claim: Claim) -> Progress | None:
        """Return the last progress of a job."""
        with self._lock:
            return self._last[1] if self._last and self._last[0] == claim else None

    def end(self, value: Any) -> None:
        """Report the end of the job."""
        with self._lock:
            if self._unsaid:
                self._say()
            self._last = None
            self._send(Ended(value))

    def _say(self) -> None:
        self._send(self._last)
        self._unsaid, self._said_at = False, time.monotonic()

    def _send(self, message: Any) -> None:
        data = memoryview(frame(message))
        while data:
            data = data[os.write(self._descriptor, data) :]


class Inbox(threading.Thread):
    """Reads messages of the worker, also while a job runs: jobs, requests to stop, and the end of the worker."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(name="autotask-inbox", daemon=True)
        self.jobs: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self.stop = StopRequest()
        self.busy = False
        self._descriptor = descriptor

    def run(self) -> None:
        """Read until the end of the pipe, which is the end of the worker."""
        frames = Frames(self._descriptor)
        while frames.read():
            while (message := frames.next()) is not None:
                if isinstance(message, Stop):
                    self.stop.ask(message.why)
                else:
                    self.jobs.put(message)
        if self.busy:
            os._exit(1)
        self.jobs.put(None)


def main() -> None:
    """Run the child. Its arguments are the process id of its parent, and the pipes from and to it."""
    streams.complete()
    parent, jobs, messages = map(int, sys.argv[1:4])
    life.die_with_parent(parent, signal.SIGKILL)
    # A terminal or a service manager may signal all processes. This one ends with its worker, which has its grace.
    signal.signal(signal.SIGINT, _do_nothing)
    signal.signal(signal.SIGTERM, _do_nothing)
    os.register_at_fork(after_in_child=life.forget_signals)
    for descriptor in (jobs, messages):
        os.set_inheritable(descriptor, False)
    faulthandler.enable()
    module_path.restore()
    inbox, messenger = Inbox(jobs), Messenger(messages)
    inbox.start()
    django_setup.set_up(os.environ.pop(django_setup.VARIABLE, ""))
    show_log_lines()
    log_capture.start(log_capture.forwarder(messenger.send))
    state = ProcessState()
    while (job := inbox.jobs.get()) is not None:
        inbox.stop, inbox.busy = StopRequest(), True
        messenger.send(Begun())
        ended = job.run(messenger, inbox.stop)
        # Before the end is reported: if a timer fires now, it hits the job that has set it.
        state.restore()
        messenger.end(ended)
        inbox.busy = False
    if telemetry.used is not None:
        telemetry.used.flush(LAST_WORDS)


def _do_nothing(*_: object) -> None:
    """Replace SIG_IGN, which programs that a task starts would inherit."""


if __name__ == "__main__":
    main()
