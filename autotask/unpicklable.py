"""Why a value cannot be pickled: the error that names the part of it that is to blame."""

from typing import Any

from autotask import pickling
from autotask.exceptions import NotReferable, UnpicklableArgument, UnpicklableResult, UnsuitableArgument
from autotask.texts.lines import describe

#: The depth to which containers are searched for the value that cannot be pickled.
_DEEPEST_PATH = 8


def unpicklable(args: tuple[Any, ...], kwargs: dict[str, Any], name: str, error: Exception) -> UnpicklableArgument:
    """Return the error for arguments, which names one of them.

    :param name: the name of the task.
    :param error: what pickling them has raised.
    """
    for path, value in [(f"args[{i}]", v) for i, v in enumerate(args)] + list(kwargs.items()):
        if (reason := _why_unpicklable(value)) is not None:
            path, reason = _deepest(path, value, reason, _DEEPEST_PATH)
            if isinstance(reason, NotReferable):
                return UnsuitableArgument(path=path, task=name, **reason.facts)
            return UnpicklableArgument(path=path, task=name, reason=describe(reason))
    return UnpicklableArgument(path="list", task=name, reason=describe(error))


def unpicklable_result(value: Any, name: str, error: Exception) -> UnpicklableResult:
    """Return the error for a result, or for what a step has returned."""
    if not isinstance(error, NotReferable):
        return UnpicklableResult(task=name, reason=describe(error))
    path, reason = _deepest("result", value, error, _DEEPEST_PATH)
    return UnpicklableResult(task=name, reason=f"{path}: {reason}".removesuffix("."))


def _deepest(path: str, value: Any, reason: Exception, depth: int) -> tuple[str, Exception]:
    """Look for the value that cannot be pickled inside its containers, to name it as exactly as possible."""
    for key, item in pickling.parts(value) if depth else ():
        if (inner := _why_unpicklable(item)) is not None:
            return _deepest(path + key, item, inner, depth - 1)
    return path, reason


def _why_unpicklable(value: Any) -> Exception | None:
    try:
        pickling.dumps(value)
    except Exception as error:  # whatever a __reduce__ or __getstate__ raises
        return error
    return None
