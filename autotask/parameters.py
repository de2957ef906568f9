"""The parameters of a task function: how the arguments of a call fit them, and how these are one JSON object."""

import inspect
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any

from autotask.exceptions import SchemaMismatch

#: The only parameter of a function that takes the whole object of a call.
WHOLE = "params"

_BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_OF_ANY_NUMBER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Parameters:
    """The parameters of a task function.

    :ivar signature: that of the function, without its context.
    """

    def __init__(self, signature: inspect.Signature) -> None:
        self.signature = signature

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
        """Return the arguments by the names of their parameters, including defaults.

        :raises TypeError: they do not fit the function.
        """
        names, needed = self.positional
        if not kwargs and needed <= len(args) <= len(names) and self._defaults is not None:
            return {**self._defaults, **dict(zip(names, args, strict=False))}  # the same, ten times as fast
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    @cached_property
    def positional(self) -> tuple[tuple[str, ...], float]:
        """The parameters that can be given by position, and how many must be; infinity if one must be given by name."""
        parameters = list(self.signature.parameters.values())
        needed = [p for p in parameters if p.default is p.empty and p.kind not in _OF_ANY_NUMBER]
        enough = all(p.kind in _BY_POSITION for p in needed)
        return tuple(p.name for p in parameters if p.kind in _BY_POSITION), len(needed) if enough else math.inf

    @cached_property
    def are_whole(self) -> bool:
        """Whether the only one is called ``params``: then it is the object of a call, not a part of it."""
        parameters = self.signature.parameters
        return list(parameters) == [WHOLE] and parameters[WHOLE].kind not in _OF_ANY_NUMBER

    def as_object(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Return the arguments of a call as one object, without defaults: what a JSON schema describes.

        :raises TypeError: they do not fit the function.
        """
        if self.are_whole:
            return self.bound(args, kwargs)[WHOLE]
        names, needed = self.positional
        if not kwargs and needed <= len(args) <= len(names):
            return dict(zip(names, args, strict=False))
        given = self.signature.bind(*args, **kwargs).arguments
        if (others := self._by_kind(inspect.Parameter.VAR_KEYWORD)) and others in given:
            given = {**given, **given.pop(others)}
        return given

    def from_object(self, given: Any, task: str) -> Arguments:
        """Return the arguments of a call that is described by one object, as :meth:`as_object` returns it.

        :param given: an object of JSON; for :attr:`are_whole`, any value.
        :param task: the name of the task, for messages.
        :raises SchemaMismatch: they do not fit the function.
        """
        if self.are_whole:
            return (given,), {}
        if not isinstance(given, Mapping):
            raise mismatch(task, [_error("", "type", f"it must be an object, but is {type(given).__name__}")])
        if errors := list(self._misfits(given)):
            raise mismatch(task, errors)
        if all(p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) for p in self.signature.parameters.values()):
            return (), dict(given)
        return self._placed(dict(given))

    def _misfits(self, given: Mapping[str, Any]) -> Iterator[dict[str, str]]:
        parameters = self.signature.parameters
        others = self._by_kind(inspect.Parameter.VAR_KEYWORD)
        for name in given:
            if not others and name not in parameters:
                known = ", ".join(parameters) or "none"
                yield _error(name, "additionalProperties", f"there is no such parameter; known are: {known}")
        for name, parameter in parameters.items():
            if parameter.kind in _OF_ANY_NUMBER:
                if parameter.kind is parameter.VAR_POSITIONAL and not isinstance(given.get(name, ()), (list, tuple)):
                    yield _error(name, "type", "it must be an array")
            elif parameter.default is parameter.empty and name not in given:
                yield _error(name, "required", "it is missing")

    def _placed(self, given: dict[str, Any]) -> Arguments:
        """Return arguments of which some must be given by position."""
        args: list[Any] = []
        for name, parameter in self.signature.parameters.items():
            if parameter.kind is parameter.VAR_POSITIONAL:
                args.extend(given.pop(name, ()))
            elif parameter.kind in _BY_POSITION:
                args.append(given.pop(name) if name in given else parameter.default)
        return tuple(args), given

    def _by_kind(self, kind: Any) -> str:
        return next((p.name for p in self.signature.parameters.values() if p.kind is kind), "")

    @cached_property
    def _defaults(self) -> dict[str, Any] | None:
        """The defaults of all parameters, in their order; None if there are parameters of any number."""
        parameters = self.signature.parameters
        if any(p.kind in _OF_ANY_NUMBER for p in parameters.values()):
            return None
        return {name: p.default for name, p in parameters.items()}


def mismatch(task: str, errors: list[dict[str, str]]) -> SchemaMismatch:
    """Return the exception for arguments that do not fit.

    :param errors: each with ``path``, ``rule`` and ``message``.
    """
    first, more = errors[0], len(errors) - 1
    problem = f"{first['path']}: {first['message']}" if first["path"] else first["message"]
    return SchemaMismatch(task=task, problem=f"{problem} (and {more} more)" if more else problem, errors=errors)


def _error(path: str, rule: str, message: str) -> dict[str, str]:
    return {"path": path, "rule": rule, "message": message}
