"""Several dedicated workers, or one that is recycled, under one supervisor."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace

from django.utils.autoreload import get_child_arguments

from autotask.conf import settings
from autotask.processes import forking, life, module_path, streams, supervised
from autotask.processes.starting import APART, Interpreter, Process
from autotask.processes.stop_signals import StopSignals
from autotask.processes.supervised import LOOK_EVERY, SupervisedProcess
from autotask.template import Template
from autotask.worker import code_watch, ending, title
from autotask.worker.log_lines import show_log_lines
from autotask.worker.options import WorkerOptions
from autotask.worker.process import run_worker

logger = logging.getLogger("autotask.worker")

#: Tells a worker the process id of its supervisor.
_MARK = "AUTOTASK_CREW"


class Crew:
    """The supervisor. Its workers are forks of it, or run the command of this process again, marked as members of a crew.

    :param options: the options of each worker. Where workers watch their code and cannot even start, a change makes the
        supervisor try again at once.
    """

    def __init__(self, size: int, options: WorkerOptions) -> None:
        self._options = options
        self._signals = StopSignals()
        self._template: Template | None = Template() if settings.FORK == "auto" else None
        self._mark = {_MARK: str(os.getpid())}
        interpreter, *words = map(str, get_child_arguments())
        command = [interpreter, *module_path.interpreter_options(), *words]
        self._interpreter = Interpreter(command, {**os.environ, **self._mark})
        # A burst is over when nothing is left, which cannot be known while a former worker can still release tasks.
        overlap, grace = not options.burst, settings.SHUTDOWN_GRACE
        self._workers = [
            SupervisedProcess(self._start, grace, _say, overlap=overlap, until_done=options.burst) for _ in range(size)
        ]

    def run(self) -> int:
        """Keep the workers running until a signal to stop; return the exit status of the process."""
        streams.complete()
        show_log_lines()
        title.shower("supervisor")
        self._signals.catch(signal.SIGTERM, signal.SIGINT)
        if self._options.reload:
            code_watch.start(self._try_now)
        while not self._signals.count and not all(each.is_done() for each in self._workers):
            for each in self._workers:
                each.look_after()
            descriptors = [descriptor for each in self._workers for descriptor in each.descriptors()]
            self._signals.sleep(min(each.rest() for each in self._workers), descriptors)
        supervised.stop(self._workers, settings.SHUTDOWN_GRACE, self._signals, lambda: self._signals.count >= 2)
        return 0

    def _start(self, variables: Mapping[str, str], leave: int) -> Process:
        if not self._may_fork():
            return self._interpreter(variables, leave)
        return forking.fork(lambda: self._work_in_fork({**self._mark, **variables}))

    def _may_fork(self) -> bool:
        if self._template is None:
            return False
        # The thread of the watch forbids forks; and after a change, the supervisor has the old code.
        reload = "--reload replaces workers when the code changes" if self._options.reload else ""
        if why := reload or self._template.obstacle():
            self._template = None
            logger.info("supervisor %d: %s: %s", os.getpid(), APART, why)
        return self._template is not None

    def _work_in_fork(self, variables: Mapping[str, str]) -> None:
        for each in self._workers:
            each.forget()
        self._signals.forget()
        os.environ.update(variables)
        ending.like_a_program(work(self._options))

    def _try_now(self) -> None:
        for each in self._workers:
            each.try_now()
        self._signals.wake()


def is_member() -> bool:
    """Whether this process is one of the workers of a crew."""
    return _MARK in os.environ


def work(options: WorkerOptions) -> int:
    """Run one of the workers; return the exit status of the process."""
    mark()
    supervisor = int(os.environ.pop(_MARK))
    life.die_with_parent(supervisor, signal.SIGTERM)
    if sys.platform != "linux":
        threading.Thread(target=_stop_without, args=(supervisor,), daemon=True).start()
    return run_worker(
        replace(options, make_way=supervised.way_out(), predecessor=os.environ.pop("AUTOTASK_PREDECESSOR", ""))
    )


def mark() -> None:
    """Mark this process as a worker: programs that its tasks start must not start companions."""
    os.environ["AUTOTASK_WORKER"] = str(os.getpid())


def _stop_without(supervisor: int) -> None:
    """Poll for the death of the supervisor, which Linux reports by itself."""
    while not life.is_orphan(supervisor):
        time.sleep(LOOK_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)


def _say(what: str, *, serious: bool = False) -> None:
    logger.log(logging.ERROR if serious else logging.WARNING, "supervisor %d: %s", os.getpid(), what)
