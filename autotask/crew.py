"""Several dedicated workers, or one that is recycled, under one supervisor."""

import logging
import os
import signal
import sys
import threading
import time
from dataclasses import replace

from django.utils.autoreload import get_child_arguments

from autotask.conf import settings
from autotask.processes import life, module_path, streams, supervised
from autotask.processes.stop_signals import StopSignals
from autotask.processes.supervised import LOOK_EVERY, SupervisedProcess
from autotask.worker import code_watch, title
from autotask.worker.log_lines import show_log_lines
from autotask.worker.options import WorkerOptions
from autotask.worker.process import run_worker

logger = logging.getLogger("autotask.worker")

#: Tells a worker the process id of its supervisor.
_MARK = "AUTOTASK_CREW"


class Crew:
    """The supervisor. Each worker runs the command of this process again, marked as a member of a crew.

    :param burst: stop when all workers have finished.
    :param reload: workers watch their code. Where they cannot even start, a change makes the supervisor try again at once.
    """

    def __init__(self, size: int, *, burst: bool, reload: bool) -> None:
        self._reload = reload
        self._signals = StopSignals()
        environment = {**os.environ, _MARK: str(os.getpid())}
        interpreter, *words = map(str, get_child_arguments())
        command = [interpreter, *module_path.interpreter_options(), *words]
        # A burst is over when nothing is left, which cannot be known while a former worker can still release tasks.
        grace = settings.SHUTDOWN_GRACE
        self._workers = [
            SupervisedProcess(command, environment, grace, _say, overlap=not burst, until_done=burst)
            for _ in range(size)
        ]

    def run(self) -> int:
        """Keep the workers running until a signal to stop; return the exit status of the process."""
        streams.complete()
        show_log_lines()
        title.shower("supervisor")
        self._signals.catch(signal.SIGTERM, signal.SIGINT)
        if self._reload:
            code_watch.start(self._try_now)
        while not self._signals.count and not all(each.is_done() for each in self._workers):
            for each in self._workers:
                each.look_after()
            descriptors = [descriptor for each in self._workers for descriptor in each.descriptors()]
            self._signals.sleep(min(each.rest() for each in self._workers), descriptors)
        supervised.stop(self._workers, settings.SHUTDOWN_GRACE, self._signals, lambda: self._signals.count >= 2)
        return 0

    def _try_now(self) -> None:
        for each in self._workers:
            each.try_now()
        self._signals.wake()


def is_member() -> bool:
    """Whether this process is one of the workers of a crew."""
    return _MARK in os.environ


def work(options: WorkerOptions) -> int:
    """Run one of the workers; return the exit status of the process."""
    supervisor = int(os.environ.pop(_MARK))
    life.die_with_parent(supervisor, signal.SIGTERM)
    if sys.platform != "linux":
        threading.Thread(target=_stop_without, args=(supervisor,), daemon=True).start()
    return run_worker(
        replace(options, make_way=supervised.way_out(), predecessor=os.environ.pop("AUTOTASK_PREDECESSOR", ""))
    )


def _stop_without(supervisor: int) -> None:
    """Poll for the death of the supervisor, which Linux reports by itself."""
    while not life.is_orphan(supervisor):
        time.sleep(LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)


def _say(what: str, *, serious: bool = False) -> None:
    logger.log(logging.ERROR if serious else logging.WARNING, "supervisor %d: %s", os.getpid(), what)
