"""The title of a worker in ``ps`` and ``top``, which shows its running tasks, where setproctitle is installed."""

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

    :param who: the name of the process.
    """

    def __init__(self, who: str) -> None:
        self._who = who
        self._shown = ""

    def show(self, running: Sequence[Run[ClaimedTask]]) -> None:
        """Show the running tasks."""
        if (title := text(self._who, running)) != self._shown and _set is not None:
            _set(title)
            self._shown = title


def shower(who: str) -> Callable[[Sequence[Run[ClaimedTask]]], None] | None:
    """Return the function that shows the running tasks; None without setproctitle."""
    if _set is None:
        return None
    title = Title(who)
    title.show([])
    return title.show


def text(who: str, running: Sequence[Run[ClaimedTask]]) -> str:
    """Return the title: the running task that began first, and how many more there are."""
    if not running:
        return f"autotask: {who}"
    first = min(running, key=lambda run: run.began).item
    more = f" and {len(running) - 1} more" if len(running) > 1 else ""
    return f"autotask: {who} [{first.name} #{first.id}{more}]"
