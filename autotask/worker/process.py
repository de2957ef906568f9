"""One worker as a process: signals in, log lines out, and how it ends."""

import gc
import os
import signal
import sys

from autotask.processes import life, streams
from autotask.worker import code_watch, ending, title
from autotask.worker.log_lines import show_log_lines
from autotask.worker.options import WorkerOptions
from autotask.worker.worker import Worker

#: New objects after which Python searches for garbage. A batch of claimed tasks is some thousands, none of which is garbage.
_NEW_OBJECTS = 10_000


def run_worker(options: WorkerOptions) -> int:
    """Run a worker in the main thread until it is asked to stop; return the exit status of the process.

    SIGTERM asks it to finish its running tasks; a second one makes it leave at once. SIGINT means the same, unless it is
    ignored already, as it is in a companion.
    """
    streams.complete()
    show_log_lines()
    whose = f" of {options.serves_pid}" if options.serves_pid else ""
    worker = Worker(options, title.shower(f"worker{whose}"))
    os.register_at_fork(after_in_child=life.forget_signals)
    signal.set_wakeup_fd(worker.stalls.signal_fd, warn_on_full_buffer=False)
    # A thread that has waited for the database gets its turn after this many seconds: with Python's 5 ms, claims and
    # outcomes would wait longer for short tasks than for the disk.
    sys.setswitchinterval(0.001)
    if 0 < gc.get_threshold()[0] < _NEW_OBJECTS:
        gc.set_threshold(_NEW_OBJECTS)
    signal.signal(signal.SIGTERM, lambda *_: worker.stop())
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: worker.stop())
    if options.reload:
        code_watch.start(worker.renew)
    if not worker.run():
        # Threads that still run would fail in an interpreter that is shutting down.
        ending.now(worker.exit_status)
    return worker.exit_status
