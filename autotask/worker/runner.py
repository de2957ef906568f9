"""Run a task for a pool, here or in another process, and pass its outcome to the recorder."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from autotask.store.finish import Outcome
from autotask.task import ClaimedTask
from autotask.worker import coroutine, execution, job, steps
from autotask.worker.held import HeldTasks
from autotask.worker.hygiene import tidy_connections
from autotask.worker.job import Job
from autotask.worker.outcome import Advanced, Lost, Released
from autotask.worker.pools.base import Run
from autotask.worker.pools.coroutines import CoroutinePlace
from autotask.worker.pools.messages import Ended
from autotask.worker.pools.places import Place
from autotask.worker.pools.processes import Died, End
from autotask.worker.recorder import Recorder
from autotask.worker.registration import Registration
from autotask.worker.reporter import Reporter
from autotask.worker.sync_threads import NoThread
from autotask.worker.writes import Record

logger = logging.getLogger("autotask.worker")

#: Seconds until a task that found no thread, or no process, is ready again.
WITHOUT_THREAD = 5.0
WITHOUT_PROCESS = 5.0

#: Seconds between two log lines about tasks that found no thread.
SAY_EVERY = 5.0


class Runner:
    """Runs one task in the thread that calls it: one of the pool's threads, the event loop, or one that serves a process.

    It is the customer of the pools that run tasks in other processes, see
    :class:`autotask.worker.pools.processes.Customer`.

    :param is_last_coroutine: returns whether no other coroutine runs or waits.
    :param keep_line: takes lines that tasks have logged in other processes; None: there are none.
    """

    def __init__(
        self,
        registration: Registration,
        held: HeldTasks,
        reporter: Reporter,
        recorder: Recorder,
        is_last_coroutine: Callable[[], bool],
        keep_line: Callable[[Any], None] | None = None,
    ) -> None:
        self._keep_line = keep_line
        self._registration = registration
        self._held = held
        self._reporter = reporter
        self._recorder = recorder
        self._is_last_coroutine = is_last_coroutine
        self._is_cancelled = held.is_cancelled
        self._coroutines_are_ready = False
        self._said_at = float("-inf")

    def run(self, task: ClaimedTask, attempt: Place) -> None:
        """Run a task in this thread of a pool."""
        try:
            ended = self._not_begun(task, attempt.began)
            if ended is None:
                ended = execution.execute(task, self._is_cancelled, self._reporter, attempt)
            if task.reply:
                attempt.over()
                self._put(task, ended, self._recorder.put_urgent)
            else:
                self._put(task, ended)
        except BaseException as error:  # noqa: B036 - the thread must not end, nor the task stay without outcome
            # In this order: logging itself may have failed.
            self._put(task, steps.broken(task, error))
            logger.exception("The worker itself failed at %s %s", task.name, task.id)

    async def run_coroutine(self, task: ClaimedTask, place: CoroutinePlace[ClaimedTask]) -> None:
        """Run a task on this event loop."""
        try:
            ended = self._not_begun(task, time.monotonic()) or await self._without_its_thread(task)
            if ended is None:
                ended = await coroutine.execute(task, self._is_cancelled, self._reporter, place)
        except NoThread as error:
            ended = self.without_thread(task, error)
            self._put(task, ended)
        except BaseException as error:  # noqa: B036 - as above
            if place.is_destroyed():
                raise
            ended = steps.broken(task, error)
            self._put(task, ended)
            logger.exception("The worker itself failed at %s %s", task.name, task.id)
        else:
            self._put(task, ended)
        if not self._coroutines_are_ready:
            return  # Nothing has used a connection.
        try:
            await coroutine.tidy(ended, self._is_last_coroutine)
        except Exception:  # the task has its outcome already, and must get no second one
            logger.exception("The connections that coroutines use could not be tidied after %s %s", task.name, task.id)

    def without_thread(self, task: ClaimedTask, error: Exception) -> Released:
        """Return the release of a task that cannot run here now, and log it, at most once in a while."""
        now = time.monotonic()
        if now - self._said_at >= SAY_EVERY:
            self._said_at = now
            logger.error("%s %s is released, since it cannot be run here now: %s", task.name, task.id, error)
        return Released(task, delay=WITHOUT_THREAD)

    # --- for tasks that run in other processes ----------------------------------------------------------------------

    def job(self, task: ClaimedTask) -> Job | None:
        """Return the job to send; None if the task must not begin."""
        if (ended := self._not_begun(task, time.monotonic())) is not None:
            self._put(task, ended)
            return None
        return job.make(task)

    def received(self, task: ClaimedTask, message: Any) -> None:
        """Take the progress that a task has reported, or a line that it has logged."""
        if type(message) is tuple:
            self._reporter.report(*message)
        elif self._keep_line is not None:
            self._keep_line(message)

    def ended(self, task: ClaimedTask, began: float, end: End) -> None:
        """Decide the outcome of a task."""
        try:
            self._put(task, self._outcome(task, began, end))
        except BaseException as error:  # noqa: B036 - as above
            self._put(task, steps.broken(task, error))
            logger.exception("The worker itself failed at %s %s", task.name, task.id)
        finally:
            tidy_connections(unsure=True)  # receivers may have left them open

    def _outcome(self, task: ClaimedTask, began: float, end: End) -> Outcome | Released | Lost:
        if isinstance(end, BaseException):
            return steps.stopped(Run(task, began), end, self._is_cancelled(task))
        if isinstance(end, Died):
            logger.error("%s %s: its process died: %s", task.name, task.id, end.how)
            return Lost(task, end.how)
        if not isinstance(end, Ended):
            logger.error("%s %s: no process could be started for it: %s", task.name, task.id, end.how)
            return Released(task, delay=WITHOUT_PROCESS)
        # The clock of another machine means nothing here.
        if isinstance(end.value, Outcome):
            return end.value._replace(ended_at=time.monotonic())
        if isinstance(end.value, Advanced):
            return replace(end.value, step=end.value.step._replace(ended_at=time.monotonic()))
        released: Released = replace(end.value, task=task)
        return released

    # --- for all ----------------------------------------------------------------------------------------------------

    def _not_begun(self, task: ClaimedTask, now: float) -> Outcome | Released | None:
        """Return the outcome of a claimed task that must not begin; None if it may."""
        if self._held.cancelled and self._is_cancelled(task):
            return steps.cancelled(task)
        return None if now < self._registration.fresh_until else Released(task)

    async def _without_its_thread(self, task: ClaimedTask) -> Released | None:
        """Return the release of a coroutine if there is no thread from which it could use the database."""
        if not self._coroutines_are_ready:
            try:
                await coroutine.get_ready()
            except RuntimeError as error:
                return self.without_thread(task, error)
            self._coroutines_are_ready = True
        return None

    def _put(
        self, task: ClaimedTask, ended: Outcome | Released | Lost, put: Callable[[Record], None] | None = None
    ) -> None:
        if task.fence not in self._held.given_up:  # else its outcome is recorded already
            (put or self._recorder.put)((task, ended))
