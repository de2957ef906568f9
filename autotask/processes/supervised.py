"""Keep a worker process running: start it, replace it when it ends, stop it in time; standard library only."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from autotask.processes.exit_status import MISCONFIGURED, RECYCLED, how_it_ended
from autotask.processes.starting import Process, Start
from autotask.processes.stop_signals import StopSignals

#: Seconds between two starts of a misconfigured worker.
MISCONFIGURED_WAIT = 30.0

#: A worker that has lived this many seconds has started well; the next one is started at once.
LIVED_WELL = 10.0

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0

#: Seconds between two looks of the supervising process, if nothing wakes it.
LOOK_EVERY = 0.5

#: Seconds beyond the grace that the worker gets to write its last outcomes.
LAST_WORDS = 0.75

#: Seconds that the tasks of a worker get to finish while it is recycled, for example because one of them does not stop; or
#: AUTOTASK_SHUTDOWN_GRACE, if that is longer. Nothing new is claimed meanwhile, so it must not take forever.
RECYCLE_WITHIN = 300.0

#: Seconds that a recycled worker gets after that to write its last outcomes and exit. Then it is killed.
TO_END = 15.0

#: Deaths in a row after which a crash loop is logged, once.
CRASH_LOOP = 5

#: Workers that may finish their tasks alongside their successor. Without a limit, there would be as many processes as long
#: tasks if each worker is recycled after a few of them.
MOST_LEAVING = 1


def wait_before_start(deaths: int, status: int, chance: float) -> float:
    """Return the seconds to wait before the next start of a worker.

    :param deaths: how many workers in a row have died early.
    :param chance: a random number from 0 to 1, so that the workers of a site do not start all at once.
    """
    if status == MISCONFIGURED:
        return MISCONFIGURED_WAIT
    if deaths <= 1:
        return 0.0
    return min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(deaths - 2, 16)) * (0.8 + 0.4 * chance)


class Say(Protocol):
    """Logs one line."""

    def __call__(self, what: str, *, serious: bool = False) -> None:
        """Log it."""


class _Running:
    # Not a dataclass: what that imports is a tenth of the memory of a guard.
    def __init__(self, process: Process, started_at: float, leaving: int) -> None:
        self.process = process
        self.started_at = started_at
        self.leaving = leaving
        self.ends_before = float("inf")

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def says_that_it_leaves(self) -> bool:
        # A byte and not the end of the pipe, which a fork of a task may hold open.
        with contextlib.suppress(BlockingIOError):
            return bool(os.read(self.leaving, 1))
        return False

    def bury(self) -> None:
        """Terminate processes that its tasks have left behind."""
        os.close(self.leaving)
        # Usually there are none, and so no group. Without a process id, it has never run: 0 would be the own group.
        if self.process.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGTERM)


class SupervisedProcess:
    """One worker that is kept running.

    :param launch: starts it.
    :param grace: seconds to finish running tasks after a request to stop.
    :param overlap: whether a recycled worker gets its successor while it still finishes its tasks.
    :param until_done: whether a worker that has ended without an error gets no successor.
    """

    def __init__(
        self,
        launch: Start,
        grace: float,
        say: Say,
        *,
        overlap: bool = False,
        until_done: bool = False,
    ) -> None:
        self._launch = launch
        self._leaves_within = max(RECYCLE_WITHIN, grace) + TO_END
        self._say = say
        self._overlap = overlap
        self._until_done = until_done
        self._present: _Running | None = None
        self._leaving: list[_Running] = []
        self._readers: set[int] = set()
        self._start_at = time.monotonic()
        self._deaths = 0
        self._last_words = ""
        self._done = False

    def look_after(self) -> None:
        """Start the worker, or the next one, if it is time."""
        for former in self._leaving.copy():
            if former.has_ended():
                self._bury(former)
                self._leaving.remove(former)
            else:
                self._kill_if_late(former)
        present = self._present
        if present is None:
            if not self._done and time.monotonic() >= self._start_at:
                self._start()
        elif present.has_ended():
            self._bury(present)
            self._present = None
            self._note_death(present.process.wait(), time.monotonic() - present.started_at)
        elif self._has_place_for_successor() and present.says_that_it_leaves():
            present.ends_before = time.monotonic() + self._leaves_within
            if self._overlap:
                self._leaving.append(present)
                self._present = None
                self._start_at = time.monotonic()
                self._deaths, self._last_words = 0, ""
        else:
            self._kill_if_late(present)

    def is_done(self) -> bool:
        """Whether nothing runs, and nothing will be started."""
        return self._done and not self._leaving

    def rest(self) -> float:
        """Return the number of seconds that it can be left alone, unless a signal comes or :meth:`descriptors` can be read."""
        if self._present is not None or self._done:
            return LOOK_EVERY
        return max(0.0, min(LOOK_EVERY, self._start_at - time.monotonic()))

    def descriptors(self) -> list[int]:
        """Return the descriptors that can be read when there is something to do."""
        if self._present is None or not self._has_place_for_successor():
            return []
        return [self._present.leaving]

    def try_now(self) -> None:
        """Restart a dead worker at once: the reason for its death may be gone."""
        self._start_at = time.monotonic()

    def running(self) -> list[Process]:
        """Return the processes that have not ended."""
        return [each.process for each in self._known() if not each.has_ended()]

    def pids(self) -> list[int]:
        """Return the process ids of those that were not buried yet."""
        return [each.process.pid for each in self._known()]

    def bury(self) -> None:
        """Terminate processes that tasks have left behind, when all workers have ended."""
        for each in self._known():
            self._bury(each)

    def forget(self) -> None:
        """Close what a fork of the supervising process has inherited of it."""
        for descriptor in self._readers:
            os.close(descriptor)

    def _known(self) -> list[_Running]:
        return [*self._leaving, *([self._present] if self._present else [])]

    def _has_place_for_successor(self) -> bool:
        """Whether a leaving worker can get its successor now; if not, its byte stays in the pipe until it can."""
        return len(self._leaving) < MOST_LEAVING

    def _bury(self, dead: _Running) -> None:
        self._readers.discard(dead.leaving)
        dead.bury()

    def _kill_if_late(self, leaving: _Running) -> None:
        """Kill a leaving worker that does not end: it would keep its place forever."""
        if time.monotonic() >= leaving.ends_before:
            leaving.ends_before = float("inf")
            late = f"{self._leaves_within:g} s after recycling began"
            self._say(f"worker {leaving.process.pid} has not ended {late}, and is killed")
            leaving.process.kill()

    def _start(self) -> None:
        pipe: tuple[int, ...] = ()
        variables = {
            "AUTOTASK_EARLY_DEATHS": str(self._deaths),
            "AUTOTASK_PREDECESSOR": self._last_words,
        }
        started_at = time.monotonic()
        try:
            pipe = reader, writer = os.pipe()
            self._readers.add(reader)
            os.set_blocking(reader, False)
            process = self._launch({**variables, "AUTOTASK_LEAVE_FD": str(writer)}, writer)
        except OSError as error:  # no memory, no more processes, or no more descriptors
            self._readers.difference_update(pipe)
            for descriptor in pipe:
                os.close(descriptor)
            self._note_death(1, 0.0, f"could not be started: {error}")
        else:
            os.close(writer)
            self._present = _Running(process, started_at, reader)

    def _note_death(self, status: int, lived: float, how: str = "") -> None:
        how = how or how_it_ended(status)
        # A worker that ended without an error, or was recycled, has not failed.
        self._deaths = 0 if status in (0, RECYCLED) else 1 if lived >= LIVED_WELL else self._deaths + 1
        wait = wait_before_start(self._deaths, status, random.random())
        self._start_at = time.monotonic() + wait
        self._last_words = how
        self._done = self._until_done and status == 0
        if self._deaths == 0:
            return
        if self._deaths == CRASH_LOOP:
            again = f"the worker died {self._deaths} times in a row, the last time: {how}; will keep trying"
            self._say(again, serious=True)
        elif self._deaths < CRASH_LOOP and status != MISCONFIGURED:
            soon = f"in {wait:.1f} s" if wait else "now"
            self._say(f"the worker ended ({how}) after {lived:.1f} s; the next one starts {soon}")


def way_out() -> Callable[[int], None]:
    """Return a function that the worker calls, with its exit status, when it takes no more tasks.

    It asks the supervising process for a successor, which need not wait for the end of this process.
    """
    given = os.environ.pop("AUTOTASK_LEAVE_FD", "")
    if not given:
        return lambda status: None
    os.set_inheritable(int(given), False)

    def leave(status: int) -> None:
        if status == RECYCLED:
            # The reader may be gone.
            with contextlib.suppress(OSError):
                os.write(int(given), b"\0")

    return leave


class Stop:
    """Ends workers: terminates them, gives them time, and kills those that have not ended then.

    :param grace: seconds that they get to finish their tasks.
    """

    def __init__(self, workers: Sequence[SupervisedProcess], grace: float) -> None:
        self._workers = workers
        self._in_a_hurry = False
        self._deadline = 0.0
        self._terminate(grace)

    def hurry(self) -> None:
        """Have them stop at once, without the grace."""
        if not self._in_a_hurry:
            self._in_a_hurry = True
            self._terminate(0.0)

    def is_over(self) -> bool:
        """Whether all have ended, which those are made to do that have had their time."""
        running = self._running()
        if running and self.rest() > 0:
            return False
        for process in running:
            process.kill()
            process.wait()
        for worker in self._workers:
            worker.bury()
        return True

    def rest(self) -> float:
        """Return the number of seconds that they have left."""
        return self._deadline - time.monotonic()

    def _running(self) -> list[Process]:
        return [process for worker in self._workers for process in worker.running()]

    def _terminate(self, grace: float) -> None:
        for process in self._running():
            process.terminate()
        self._deadline = time.monotonic() + grace + LAST_WORDS


def stop(
    workers: Sequence[SupervisedProcess], grace: float, signals: StopSignals, is_urgent: Callable[[], bool]
) -> None:
    """Terminate all workers, wait for them, and kill those that do not end.

    :param grace: seconds that they get to finish their tasks.
    :param is_urgent: returns whether they have to stop at once, without the grace.
    """
    ending = Stop(workers, grace)
    while not ending.is_over():
        if is_urgent():
            ending.hurry()
        signals.sleep(ending.rest())
