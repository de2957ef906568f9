"""Tracebacks that begin where the code of the project does; standard library only."""

import itertools
import sys
import traceback
from types import FrameType, TracebackType

#: Packages and modules whose frames stand before the first one of a task function.
_ABOVE = frozenset({"autotask", "asgiref", "asyncio", "concurrent", "contextlib", "threading"})


def cut(error: BaseException) -> None:
    """Remove the first frames, those of autotask, from the tracebacks of an exception and of its causes.

    Where there are no others, the fault may be in autotask: then they stay.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        if (first := of_others(each.__traceback__)) is not None:
            each.__traceback__ = first
        waiting += (each.__cause__, each.__context__)


def lines_of(thread: int | None) -> str:
    """Return the lines of code that a thread is running, without the first ones, those of autotask; "" if it has ended."""
    # Without a frame, walk_stack() would show this thread.
    last = sys._current_frames().get(thread or 0)
    frames = [*traceback.walk_stack(last)][::-1] if last else []
    others = [*itertools.dropwhile(lambda each: _belongs_above(each[0]), frames)]
    return "".join(traceback.StackSummary.extract(iter(others or frames)).format())


def of_others(frames: TracebackType | None) -> TracebackType | None:
    """Return a traceback from its first frame that is not of autotask; None if there is none."""
    while frames is not None and _belongs_above(frames.tb_frame):
        frames = frames.tb_next
    return frames


def _belongs_above(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__")
    return isinstance(module, str) and module.partition(".")[0] in _ABOVE
