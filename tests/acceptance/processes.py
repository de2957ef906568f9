"""Find the processes that a test has started, and those that these have started, wherever they belong to by now."""

import contextlib
import os

import psutil

from autotask.companion.template import FORK
from tests import tether

#: Which test a process comes from, in its environment: children inherit it, whoever their parent becomes.
MARK = "ACCEPTANCE_MARK"

_GONE = (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied)


def environment(mark: str) -> dict[str, str]:
    """Return the variables by which a process and what it starts are found.

    Where setproctitle is installed, they shall not make room for a title.
    """
    return {MARK: mark, "SPT_NOENV": "1", **tether.environment()}


def marked(mark: str) -> list[psutil.Process]:
    """Return the living processes of a test."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(*_GONE):
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def is_guard(process: psutil.Process) -> bool:
    """Whether a process is the guard of a companion."""
    return _runs(process, "autotask.companion.guard")


def is_worker(process: psutil.Process) -> bool:
    """Whether a process is the worker of a companion."""
    return (
        _runs(process, "autotask.companion.child")
        or (_runs(process, "autotask.companion.template") and _is_named(process, FORK.decode()))
        or _has_title(process, "autotask: worker of ")
    )


def is_template(process: psutil.Process) -> bool:
    """Whether a process is the one from which a guard has its workers forked."""
    return _runs(process, "autotask.companion.template") and not is_worker(process)


def is_companion(process: psutil.Process) -> bool:
    """Whether a process belongs to a companion."""
    return is_guard(process) or is_template(process) or is_worker(process)


def is_alive(pid: int) -> bool:
    """Whether there is such a process, and it is not just waiting to be reaped."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(process: psutil.Process) -> None:
    """Kill a process, which may just have gone by itself."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def parent(process: psutil.Process) -> int | None:
    """Return the process id of the parent, None where the process has ended."""
    with contextlib.suppress(*_GONE):
        return int(process.ppid())
    return None


def children(pid: int) -> set[int]:
    """Return the process ids of the children of a process, but not that of the tracker that multiprocessing starts."""
    found = set()
    for child in psutil.Process(pid).children():
        with contextlib.suppress(*_GONE):
            if "resource_tracker" not in " ".join(child.cmdline()):
                found.add(child.pid)
    return found


def zombies(pid: int) -> list[psutil.Process]:
    """Return the descendants of a process that have ended, but were not reaped."""
    children = psutil.Process(pid).children(recursive=True)
    return [child for child in children if child.status() == psutil.STATUS_ZOMBIE]


def _has_title(process: psutil.Process, title: str) -> bool:
    try:
        return "".join(process.cmdline()[:1]).startswith(title)  # one that has just ended has none
    except _GONE:
        return False


def _is_named(process: psutil.Process, name: str) -> bool:
    try:
        return process.name() == name
    except _GONE:
        return False


def _runs(process: psutil.Process, module: str) -> bool:
    try:
        return module in process.cmdline()
    except _GONE:
        return False
