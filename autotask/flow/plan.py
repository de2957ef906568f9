"""Plans: what flow control does with the calls of one task, worked out once for all of them."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from autotask.exceptions import InvalidOption
from autotask.flow import LIMIT, RATE, UNIQUE, UNTIL_CLAIMED, Flow, Gate, LimitGate, RateGate
from autotask.flow.keys import Key, KeyWriter
from autotask.flow.limits import EVERYTHING, QUEUE, TYPE, Limit
from autotask.flow.options import WAIT, WAITING, FlowOptions
from autotask.flow.rates import Rate, checked_cost
from autotask.texts.masks import Masks

#: Returns the arguments of a call by position, by the names of all parameters.
Bound = Callable[[tuple[Any, ...]], Mapping[str, Any]]

#: Of these parameters, the arguments at their places are not the values.
_OF_ANY_NUMBER = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}

#: The prefix of the buckets from which throttled calls draw their tokens.
THROTTLE = "throttle:"


@dataclass(frozen=True, eq=False)
class Site:
    """The part that the plans of all tasks have in common: it comes from the settings.

    :ivar limits: numbers of slots by name: those of AUTOTASK_LIMITS, ``type:NAME`` for AUTOTASK_MAX_TYPE_COUNT, and ``*``,
        also for AUTOTASK_MAX_COUNT. If both give one, the smaller number counts.
    :ivar writer: writes keys.
    """

    limits: Mapping[str, int] = field(default_factory=dict)
    writer: KeyWriter = field(default_factory=lambda: KeyWriter(Masks(())))

    @classmethod
    def of(cls, limits: Mapping[str, int], most: int | None, by_type: Mapping[str, int], writer: KeyWriter) -> "Site":
        """Return the part that the settings decide.

        :param limits: AUTOTASK_LIMITS.
        :param most: AUTOTASK_MAX_COUNT.
        :param by_type: AUTOTASK_MAX_TYPE_COUNT.
        """
        everything = {} if most is None else {EVERYTHING: most}
        by_name = {TYPE + name: number for name, number in by_type.items()}
        return cls(_smallest([*limits.items(), *everything.items(), *by_name.items()]), writer)


class Throttle(NamedTuple):
    """The bucket from which a call draws its tokens; if they are not there, the task of an earlier call stands for it.

    :ivar key: the name of the bucket: ``throttle:NAME``, ``throttle:NAME(key)`` or ``unique:NAME(key)``.
    :ivar interval: seconds in which one token is added.
    :ivar burst: the most tokens that can be saved up.
    :ivar cost: the tokens that the call needs.
    """

    key: str
    interval: float
    burst: float
    cost: float = 1.0


def present_limits(limits: Iterable[tuple[str, Limit | None]], site: Site) -> dict[str, int]:
    """Return the current numbers of slots by the names of limits, as the code and the settings say.

    :param limits: the names of all tasks, each with its option ``concurrency``.
    """
    own = [(limit.base(task), limit.most) for task, limit in limits if limit and limit.most is not None]
    return _smallest([*own, *site.limits.items()])


class Plan:
    """The plan of flow control for the calls of one task.

    :param name: the name of the task.
    :param signature: that of its function, without the context.
    """

    def __init__(self, name: str, options: FlowOptions, signature: inspect.Signature, site: Site) -> None:
        self._name = name
        self._options = options
        self._signature = signature
        self._site = site
        #: Whether its calls draw tokens, see :meth:`throttle`.
        self.draws = options.throttle is not None or (
            options.unique is not None and not isinstance(options.unique_for, str)
        )
        self._limits = tuple(self._chosen_limits())
        self._has_gates = bool(self._limits) or options.rate is not None
        self._unique_prefix, self._unique_key = self._chosen_key()
        keyed = (self._unique_key, *(key for _, key in self._limits), options.rate and options.rate.key)
        varies = any(keyed) or (options.rate is not None and callable(options.rate.cost))
        #: The flow of all calls, if their arguments make no difference.
        self._fixed = None if varies else self._made(None)
        self._quick = self._quick_keys()

    @classmethod
    def of(cls, name: str, options: FlowOptions, signature: inspect.Signature, site: Site) -> "Plan | None":
        """Return the plan of a task; None if neither its options nor the site's limits concern it.

        :raises InvalidOption: it names a limit that AUTOTASK_LIMITS does not have.
        """
        own = (options.unique, options.concurrency, options.rate, options.debounce, options.throttle)
        if all(option is None for option in own) and not any(base in site.limits for base in _wider(name, options)):
            return None
        return cls(name, options, signature, site)

    def flow(self, arguments: Mapping[str, Any]) -> Flow | None:
        """Return the gates and the unique key of one call; None if it has neither.

        :param arguments: by the names of all parameters, including defaults.
        :raises UnsuitableKey: a key cannot be made of them.
        :raises InvalidOption: its cost is above the burst.
        """
        flow = self._fixed or self._made(self._bound(arguments))
        return flow if flow.gates or flow.unique_key else None

    def prepared(self, bound: Bound) -> Callable[[tuple[Any, ...]], Flow | str | None]:
        """Return a maker of the flows of calls by position; only the unique key of those that have nothing else, integers at once.

        :param bound: returns the arguments of such a call by the names of all parameters.
        """
        if (quick := self._quick) is None:
            return lambda args: self.flow(bound(args))
        begin = self._unique_prefix

        def written(args: tuple[Any, ...]) -> str | None:
            text = quick(args)
            return self._made(self._bound(bound(args))).unique_key if text is None else f"{begin}({text})"

        return written

    def quick_key(self, args: tuple[Any, ...]) -> str | None:
        """Return the unique key of a call by position that has nothing else, if it is made of integers: in a third of the time.

        :param args: they fit the function.
        :returns: None for other calls: ask :meth:`throttle` and :meth:`flow`.
        """
        text = None if self._quick is None else self._quick(args)
        return None if text is None else f"{self._unique_prefix}({text})"

    def throttle(self, arguments: Mapping[str, Any]) -> Throttle | None:
        """Return the bucket from which a call draws its tokens: for ``throttle``, and for ``unique_for`` in seconds."""
        options = self._options
        if options.throttle is not None:
            rate, bound = options.throttle, self._bound(arguments)
            key = self._keyed(THROTTLE + self._name, rate.key, bound, "throttle")
            return Throttle(key, rate.interval, rate.capacity, self._cost(rate, bound))
        if options.unique is not None and not isinstance(options.unique_for, str):
            key = self._keyed(UNIQUE + self._name, options.unique, self._bound(arguments), "unique")
            return Throttle(key, options.unique_for, 1.0)
        return None

    def _chosen_limits(self) -> Iterable[tuple[LimitGate, Key | None]]:
        """Return the gates of its limits without their keys, and these keys: narrow limits first."""
        own, known = self._options.concurrency, self._site.limits
        bases: tuple[str, ...] = _wider(self._name, self._options)
        if own is not None:
            base = own.base(self._name)
            most = _smaller(own.most, known.get(base))
            if most is None:
                shared = ", ".join(repr(name) for name in known if not name.startswith((EVERYTHING, QUEUE, TYPE)))
                expected = f"the name of a limit in AUTOTASK_LIMITS ({shared or 'it has none for tasks'})"
                raise InvalidOption(option="concurrency", where=self._name, expected=expected, value=own.name)
            yield LimitGate(LIMIT + base, base, most, self._options.when_full), own.key
            bases = tuple(wider for wider in bases if wider != base)
        for base in bases:
            if base in known:
                yield LimitGate(LIMIT + base, base, known[base], WAIT), None

    def _chosen_key(self) -> tuple[str, Key | None]:
        """Return the unique key of its tasks without its values, or "", and the key that these come from."""
        options = self._options
        if options.debounce is not None:
            return UNTIL_CLAIMED + self._name, options.debounce.key
        if options.unique is None or not isinstance(options.unique_for, str):
            return "", None
        return (UNTIL_CLAIMED if options.unique_for == WAITING else "") + self._name, options.unique

    def _quick_keys(self) -> Callable[[Sequence[Any]], str | None] | None:
        """Return a writer of the keys of calls by position that have nothing but their unique keys; None: there are others."""
        kinds = {parameter.kind for parameter in self._signature.parameters.values()}
        if self._has_gates or self._unique_key is None or kinds & _OF_ANY_NUMBER:
            return None
        return self._site.writer.prepared(self._unique_key, tuple(self._signature.parameters))

    def _made(self, bound: inspect.BoundArguments | None) -> Flow:
        gates = tuple(self._gates(bound)) if self._has_gates else ()
        option = "unique" if self._options.debounce is None else "debounce"
        return Flow(gates, self._keyed(self._unique_prefix, self._unique_key, bound, option) or None)

    def _gates(self, bound: inspect.BoundArguments | None) -> Iterable[Gate]:
        limits = [gate._replace(key=self._keyed(gate.key, key, bound, "concurrency")) for gate, key in self._limits]
        # While a task waits for tokens, it keeps no slot that tasks of another kind need.
        yield from (gate for gate in limits if gate.base == self._name)
        if (rate := self._options.rate) is not None:
            key = self._keyed(RATE + self._name, rate.key, bound, "rate")
            yield RateGate(key, self._name, rate.interval, rate.capacity, self._cost(rate, bound))
        yield from (gate for gate in limits if gate.base != self._name)

    def _keyed(self, prefix: str, key: Key | None, bound: inspect.BoundArguments | None, option: str) -> str:
        if key is None or bound is None:
            return prefix
        return f"{prefix}({self._site.writer.text(key, bound, option, self._name)})"

    def _cost(self, rate: Rate, bound: inspect.BoundArguments | None) -> float:
        if not callable(rate.cost):
            return float(rate.cost)
        assert bound is not None
        return checked_cost(rate.cost(*bound.args, **bound.kwargs), rate.capacity, f"a call of {self._name}")

    def _bound(self, arguments: Mapping[str, Any]) -> inspect.BoundArguments:
        return inspect.BoundArguments(self._signature, dict(arguments))


def _wider(name: str, options: FlowOptions) -> tuple[str, str, str]:
    return TYPE + name, QUEUE + options.queue, EVERYTHING


def _smaller(first: int | None, second: int | None) -> int | None:
    return min((number for number in (first, second) if number is not None), default=None)


def _smallest(numbers: Iterable[tuple[str, int]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, number in numbers:
        found[name] = min(number, found.get(name, number))
    return found
