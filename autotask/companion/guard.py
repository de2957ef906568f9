"""The guard, standard library only: ties the worker's life to Django's, restarts it, stops it in time.

It is a process of its own between the Django process and the worker. It has one thread and runs no code of the project, so
it notices the end of the Django process whatever that or the worker is busy with. The processes of one server can share a
guard; then their workers are forks of one template.
"""

import argparse
import contextlib
import functools
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Collection, Mapping, Sequence

from autotask.companion.forks import Forks
from autotask.companion.served import DjangoProcess, Served
from autotask.companion.siblings import Siblings
from autotask.processes import life, streams
from autotask.processes.starting import APART, Interpreter, Process, Start
from autotask.processes.stop_signals import StopSignals
from autotask.processes.supervised import SupervisedProcess
from autotask.texts.lines import indented


class Guard:
    """Keeps one worker for each Django process that it knows, until all are gone.

    :param parent: process id of the Django process that has started this one.
    :param options: for the interpreter of the worker. An older Django process passes none.
    :param siblings: those that come to share this guard; None if it is for one process only.
    """

    def __init__(self, parent: int, options: Sequence[str] = ("-P",), siblings: Siblings | None = None) -> None:
        self._parent = parent
        self._siblings = siblings
        self._signals = StopSignals()
        self._command = [sys.executable, *options, "-m"]
        self._environment = {**os.environ, "AUTOTASK_GUARD": str(os.getpid())}
        self._forks = Forks([*self._command, "autotask.companion.template"], self._environment, self._forbid)
        self._served: list[Served] = []

    def serve(self, django: DjangoProcess, pidfd: int | None = None) -> None:
        """Keep a worker for a Django process from now on.

        :param pidfd: can be read when the process is gone; None for the parent, if it is the only one.
        """
        command, variables = [*self._command, "autotask.companion.child"], django.variables()
        start: Start = Interpreter(command, {**self._environment, **variables}, pass_fds=django.descriptors())
        if pidfd is not None:
            start = functools.partial(self._fork, django, start)
        worker = SupervisedProcess(start, django.grace, functools.partial(say, parent=django.pid))
        is_gone = functools.partial(life.is_orphan, django.pid) if pidfd is None else lambda: False
        self._served.append(Served(django, worker, is_gone, pidfd))

    def run(self) -> None:
        """Watch until no Django process is left or a signal to stop comes, then stop the workers."""
        life.ignore_interrupts()
        self._signals.catch(signal.SIGTERM)
        if self._siblings is None:
            life.die_with_parent(self._parent, signal.SIGTERM)
        while self._served:
            self._look_after_all()
            self._signals.sleep(min((each.rest() for each in self._served), default=0.0), self._descriptors())
        self._forks.end()

    def _look_after_all(self) -> None:
        if self._siblings:
            for django, pidfd in self._siblings.admit():
                self.serve(django, pidfd)
        for served in self._served.copy():
            if self._signals.count:
                served.stop(at_once=self._is_urgent())
            served.look_after()
            if served.is_over():
                served.close()
                self._served.remove(served)
        if self._siblings:
            self._forks.look_after()
            if self._signals.count or not self._served:
                self._siblings.close()
            _reap_all_but({pid for served in self._served for pid in served.pids()}.union(self._forks.pids()))

    def _descriptors(self) -> list[int]:
        siblings = self._siblings.descriptors() if self._siblings else []
        return [*siblings, *self._forks.descriptors(), *(fd for served in self._served for fd in served.descriptors())]

    def _fork(self, django: DjangoProcess, otherwise: Start, variables: Mapping[str, str], leave: int) -> Process:
        whose = {**variables, "AUTOTASK_SERVES": str(django.pid)}
        return self._forks.start(whose, leave, django.descriptors(), otherwise=otherwise)

    def _forbid(self, why: str) -> None:
        say(f"{APART}: {why}", self._parent)

    def _is_urgent(self) -> bool:
        """Whether a second signal to stop came, not counting the kernel's when the only Django process is gone."""
        kernels = 1 if self._siblings is None and life.is_orphan(self._parent) else 0
        return self._signals.count - kernels >= 2


def _reap_all_but(known: Collection[int]) -> None:
    """Reap what this process has adopted, such as forks that have not begun, and daemons that tasks have left behind."""
    with contextlib.suppress(ChildProcessError):  # there are no children
        while (found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) and found.si_pid not in known:
            os.waitpid(found.si_pid, os.WNOHANG)


def say(what: str, parent: int, *, serious: bool = False) -> None:
    """Write one line, or more with indentation, to the standard error of the Django process; or JSON, if its lines are."""
    line = _as_json if streams.JSON_LINES in os.environ else _as_text
    # Perhaps nobody reads it now.
    with contextlib.suppress(OSError):
        os.write(2, f"{line(what, parent, serious)}\n".encode(errors="replace"))


def _as_text(what: str, parent: int, serious: bool) -> str:
    moment = "" if streams.adds_time() else f"{time.strftime('%Y-%m-%d %H:%M:%S')} "
    return f"{moment}autotask[{os.getpid()}] guard of {parent}: {indented(('ERROR: ' if serious else '') + what)}"


def _as_json(what: str, parent: int, serious: bool) -> str:
    return json.dumps(
        {
            "asctime": time.strftime("%Y-%m-%d %H:%M:%S"),
            "levelname": "ERROR" if serious else "WARNING",
            "name": "autotask.companion.guard",
            "process": os.getpid(),
            "message": f"guard of {parent}: {what}",
        }
    )


def main() -> None:
    """Run the guard with the options of the command line."""
    streams.complete()
    parser = argparse.ArgumentParser(prog="python -m autotask.companion.guard", description=__doc__)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--life-fd", type=int, required=True)
    parser.add_argument("--wake-fd", type=int, required=True)
    parser.add_argument("--offer-fds", type=int, nargs=2, default=())
    parser.add_argument("--listen-fd", type=int)
    parser.add_argument("--grace", type=float, required=True)
    parser.add_argument(
        "options", nargs="*", default=("-P",), help="Options of the interpreter of the worker, after --."
    )
    given = parser.parse_args()
    django = DjangoProcess(given.parent, given.life_fd, given.wake_fd, given.offer_fds, given.grace)
    pidfd = siblings = None
    if given.listen_fd is not None:
        siblings = Siblings(socket.socket(fileno=given.listen_fd))
        life.adopt_orphans()
        pidfd = os.pidfd_open(given.parent)
        if life.is_orphan(given.parent):  # it may be that of another process already
            return
    guard = Guard(given.parent, given.options, siblings)
    guard.serve(django, pidfd)
    guard.run()


if __name__ == "__main__":
    main()
