"""The program that the guard starts: set Django up, then run the worker until a signal to stop."""

import faulthandler
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable

from autotask.companion.election import Candidate
from autotask.companion.guard import say
from autotask.companion.shortage import is_shortage
from autotask.processes import life, module_path, streams, supervised
from autotask.processes.exit_status import MISCONFIGURED
from autotask.processes.supervised import LOOK_EVERY


def main() -> int:
    """Run the companion worker that the guard's environment variables describe; return its exit status."""
    prepare()
    return report(_load_and_work)


def prepare() -> int:
    """Tie the life of this process to that of the guard, and make it one of the project; return the guard's process id."""
    streams.complete()
    guard = int(os.environ["AUTOTASK_GUARD"])
    # The guard never stops without stopping this process, but it may be killed.
    life.die_with_parent(guard, signal.SIGKILL)
    if sys.platform != "linux":
        threading.Thread(target=_exit_without, args=(guard,), daemon=True).start()
    life.ignore_interrupts()
    faulthandler.enable()
    module_path.restore()
    return guard


def report(work: Callable[[], int]) -> int:
    """Do the work of this process, and complain of an error; return the exit status."""
    early_deaths = int(os.environ.get("AUTOTASK_EARLY_DEATHS", "0"))
    try:
        return work()
    except Exception as error:
        _complain(error, early_deaths)
        return MISCONFIGURED if _is_configuration(error) else 1


def _load_and_work() -> int:
    candidate = _next_one(os.environ.pop("AUTOTASK_ELECTION", ""))
    # Imported here and not above: _complain() reports a project that cannot be imported.
    from autotask import django_setup

    django_setup.set_up(os.environ.pop(django_setup.VARIABLE, ""))
    status = work(candidate)

    from autotask.worker import ending

    ending.begin(status)
    return status


def work(candidate: Candidate | None = None) -> int:
    """Run the worker, where Django is set up; return the exit status.

    :param candidate: if it is one of several of which one works.
    """
    from autotask.conf import settings
    from autotask.worker.log_lines import show_log_lines
    from autotask.worker.options import WorkerOptions
    from autotask.worker.process import run_worker

    show_log_lines()
    tell_guard = supervised.way_out()
    if candidate:
        candidate.wait_to_be_active(_stand_by)
    return run_worker(
        WorkerOptions(
            kind="companion",
            queues=settings.QUEUES,
            threads=settings.THREADS,
            coroutines=settings.COROUTINES,
            processes=settings.PROCESSES,
            serves_pid=int(os.environ["AUTOTASK_SERVES"]),
            wake_fd=int(os.environ["AUTOTASK_WAKE_FD"]),
            offer_fds=_pair(os.environ.get("AUTOTASK_OFFER_FDS", "")),
            yields=settings.COMPANION_YIELDS,
            make_way=lambda status: _leave(candidate, tell_guard, status),
            predecessor=os.environ.get("AUTOTASK_PREDECESSOR", ""),
        )
    )


def _leave(candidate: Candidate | None, tell_guard: Callable[[int], None], status: int) -> None:
    if candidate:
        candidate.step_down()
    tell_guard(status)


def _pair(words: str) -> tuple[int, int] | None:
    """Return two descriptors; None from an older guard, which an upgrade has left running."""
    first, comma, second = words.partition(",")
    return (int(first), int(second)) if comma else None


def _next_one(place: str) -> Candidate | None:
    """Return this worker as the next candidate, once it is; None if each companion works, or there is no lock."""
    if not place:
        return None
    candidate = None
    try:
        candidate = Candidate(place)
        candidate.wait_to_be_next()
    except OSError as error:
        if candidate:
            candidate.close()
        serves = int(os.environ["AUTOTASK_SERVES"])
        say(f"there is no lock any more ({error}): this companion works alongside others on this host", serves)
        return None
    return candidate


def _stand_by() -> None:
    logging.getLogger("autotask.worker").info(
        "worker %d stands by for Django process %s: the companion of another one works on this host",
        os.getpid(),
        os.environ["AUTOTASK_SERVES"],
    )


def _exit_without(guard: int) -> None:
    """Poll for the death of the guard, which Linux reports by itself."""
    while not life.is_orphan(guard):
        time.sleep(LOOK_EVERY)
    os._exit(1)


def _is_configuration(error: Exception) -> bool:
    return type(error).__name__ in ("ImproperlyConfigured", "NotPostgreSQL", "InvalidSetting")


def _complain(error: Exception, early_deaths: int) -> None:
    """Log the full error the first time, and one line from then on; a mere shortage only once."""
    serves = int(os.environ.get("AUTOTASK_SERVES", "0"))
    if is_shortage(error):
        if early_deaths == 0:
            say(
                f"the worker has no room: {error}. It needs about ten threads: raise the limit of processes and threads "
                "(TasksMax of systemd, pids of a container, ulimit -u). It is started again later; calls wait until then",
                serves,
            )
    elif early_deaths == 0:
        logging.shutdown()
        say("the worker failed:\n" + traceback.format_exc().rstrip(), serves)
    else:
        say(f"the worker failed: {type(error).__name__}: {error}", serves)


if __name__ == "__main__":
    sys.exit(main())
