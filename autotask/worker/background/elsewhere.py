"""Runs background workers outside of the worker's threads: in a process of their own, or an executor of the project."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, wait
from typing import Any, Protocol

from autotask import django_setup
from autotask.conf import settings
from autotask.exceptions import ExecutorUnknown, TaskInterrupted, WorkerStopping
from autotask.task import PROCESS
from autotask.worker import executors, remote
from autotask.worker.background.call import Answer, Call
from autotask.worker.pools.messages import Ended
from autotask.worker.pools.processes import Desk, Died, NoChild

#: The main module of a child process.
CHILD = "autotask.worker.child"

#: Seconds between two checks whether a run in an executor should be given up.
LOOK_EVERY = 0.1


class ProcessLost(Exception):
    """The process that ran the function has died; the argument says how."""


class Elsewhere(Protocol):
    """The place where one thread of an instance has its runs done. Other threads ask and interrupt."""

    def run(self, call: Call) -> Answer:
        """Run this, and wait for the end.

        :raises ProcessLost: it died.
        :raises TaskInterrupted: it was interrupted.
        """

    def ask(self) -> None:
        """Ask the current run to end soon."""

    def interrupt(self) -> bool:
        """End the current run; return whether there is one."""

    def close(self) -> None:
        """Give up what was started for it."""


class OwnProcess:
    """A child process, started when it is first needed, and again if it dies."""

    def __init__(self) -> None:
        self._desk: Desk[Call] = Desk(CHILD)
        self._call: Call | None = None
        self._asked = ""

    def run(self, call: Call) -> Answer:
        """See :class:`Elsewhere`."""
        self._call = call
        try:
            _, end = self._desk.run(call, call, lambda item, message: None, lambda: self._asked)
        finally:
            self._call = None
        match end:
            case Ended(value=answer):
                assert isinstance(answer, Answer)
                return answer
            case Died(how=how) | NoChild(how=how):
                raise ProcessLost(how)
            case TaskInterrupted() as interruption:
                raise interruption

    def ask(self) -> None:
        """See :class:`Elsewhere`."""
        self._asked = "its background worker is to stop"  # first, for a run that is about to begin
        if (call := self._call) is not None:
            self._desk.ask(call, self._asked)

    def interrupt(self) -> bool:
        """See :class:`Elsewhere`."""
        call = self._call
        return call is not None and self._desk.interrupt(call, WorkerStopping("its worker has to stop"))

    def close(self) -> None:
        """See :class:`Elsewhere`."""
        if (child := self._desk.dismiss()) is not None:
            child.close()


class OfExecutor:
    """An executor that the project names in AUTOTASK_EXECUTORS. No request to stop reaches a run in it.

    :param name: its name.
    :param make: makes it, when it is first needed, and again if it breaks.
    """

    def __init__(self, name: str, make: Callable[[], Executor]) -> None:
        self._name = name
        self._make = make
        self._executor: Executor | None = None
        self._future: Future[Any] | None = None
        self._interrupted = False

    def run(self, call: Call) -> Answer:
        """See :class:`Elsewhere`."""
        run = functools.partial(remote.run, os.environ.get("DJANGO_SETTINGS_MODULE", ""), django_setup.function())
        try:
            if self._executor is None:
                self._executor = self._make()
            self._future = self._executor.submit(run, call)
            return self._awaited(self._future)
        except TaskInterrupted:
            raise
        except Exception as error:  # anything that the factory or the executor of the project raises
            if isinstance(error, (BrokenExecutor, RuntimeError)):
                self._executor = None
            raise ProcessLost(f"executor {self._name!r}: {type(error).__name__}: {error}") from error
        finally:
            self._future = None

    def _awaited(self, future: "Future[Any]") -> Answer:
        while not self._interrupted:
            if wait([future], LOOK_EVERY).done:
                answer = future.result()
                assert isinstance(answer, Answer)
                return answer
        future.cancel()
        raise WorkerStopping("its worker has to stop")

    def ask(self) -> None:
        """See :class:`Elsewhere`."""

    def interrupt(self) -> bool:
        """See :class:`Elsewhere`."""
        self._interrupted = True
        return self._future is not None

    def close(self) -> None:
        """See :class:`Elsewhere`."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)


def make(executor: str) -> Elsewhere | None:
    """Return the place for runs with this executor; None: in the thread itself.

    :raises ExecutorUnknown: the settings do not have it.
    """
    if not executor:
        return None
    if executor == PROCESS:
        return OwnProcess()
    if executor not in settings.EXECUTORS:
        raise ExecutorUnknown(name=executor, known=", ".join(settings.EXECUTORS) or "none")
    return OfExecutor(executor, functools.partial(executors.make, settings.EXECUTORS[executor][0]))
