"""What lists of processes such as ``ps`` and ``top`` show of a worker, where setproctitle is installed: what it runs."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec

from autotask.task import ClaimedTask
from autotask.worker.pools.base import Run

if find_spec("setproctitle"):
    from setproctitle import setproctitle

    _set: Callable[[str], None] | None = setproctitle
else:
    _set = None


class Title:
    """The title of this process; it is set only when it changes.

    :param who: what the process is.
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self._shown = ""

    def show(self, running: Sequence[Run[ClaimedTask]]) -> None:
        """Tell what is being run."""
        if (title := text(self._who, running)) != self._shown and _set is not None:
            _set(title)
            self._shown = title


def shower(who: str) -> Callable[[Sequence[Run[ClaimedTask]]], None] | None:
    """Return what shows what this process runs, which is nothing yet; None where nothing can be shown."""
    if _set is None:
        return None
    title = Title(who)
    title.show([])
    return title.show


def text(who: str, running: Sequence[Run[ClaimedTask]]) -> str:
    """Return the title: of what is being run, that which began first, and how much more there is."""
    if not running:
        return f"autotask: {who}"
    first = min(running, key=lambda run: run.began).item
    more = f" and {len(running) - 1} more" if len(running) > 1 else ""
    return f"autotask: {who} [{first.name} #{first.id}{more}]"
