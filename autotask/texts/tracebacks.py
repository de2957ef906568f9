"""Tracebacks that begin where the code of the project does; standard library only."""

from types import TracebackType

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
        if (first := _first_of_others(each.__traceback__)) is not None:
            each.__traceback__ = first
        waiting += (each.__cause__, each.__context__)


def _first_of_others(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and _is_above(frames):
        frames = frames.tb_next
    return frames


def _is_above(frame: TracebackType) -> bool:
    module = frame.tb_frame.f_globals.get("__name__")
    return isinstance(module, str) and module.partition(".")[0] in _ABOVE
