"""Limits: how many tasks may run at a time."""

from dataclasses import dataclass

from autotask.exceptions import InvalidOption, InvalidOptionType
from autotask.flow.keys import Key, checked_key
from autotask.values import plain_name, whole

#: The most slots that a limit can have.
MOST_SLOTS = 10_000

#: The name of the limit of all tasks.
EVERYTHING = "*"

#: The prefixes of limits that belong to a queue, or to a task by AUTOTASK_MAX_TYPE_COUNT.
QUEUE = "queue:"
TYPE = "type:"

_WHERE = "Limit()"


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit on how many tasks run at the same time, over all workers of the site.

    ::

        @delayed_task(concurrency=Limit(1, key="account_id"))
        def sync(account_id): ...

    :param most: the number of tasks that may run at a time; None: that of the *name* in ``AUTOTASK_LIMITS``.
    :param key: each value of the key has a limit of its own: True (all arguments), the name of a parameter, a list of names,
        or a function of the task's arguments; None: one limit for all calls.
    :param name: tasks whose limits have the same name share one, and the smallest number counts; by default each task has
        its own.
    :raises InvalidOption: a value is out of its range, or neither *most* nor *name* is given.
    :raises InvalidOptionType: a value has the wrong type.
    """

    most: int | None = None
    key: Key | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.name is not None:
            plain_name(self.name, "name", _WHERE)
        given = self.most is not None or self.name is None
        if given and (isinstance(self.most, bool) or not isinstance(self.most, int)):
            raise InvalidOptionType(
                option="most",
                where=_WHERE,
                expected='a whole number, or left out if there is a name: Limit(name="openai")',
                value=self.most,
                type=type(self.most).__name__,
            )
        if self.most is not None:
            whole(self.most, "most", _WHERE, 1, MOST_SLOTS)
        object.__setattr__(self, "key", checked_key(self.key, "key", _WHERE))

    def base(self, task: str) -> str:
        """Return the name of the limit, without a key.

        :param task: the name of the task that has it.
        """
        return self.name or task


def checked_limit(value: object, option: str, where: str) -> Limit:
    """Return the limit that is given as a number, as a name in AUTOTASK_LIMITS, or as a Limit.

    :raises InvalidOption: the number is out of its range, or the name is not plain.
    :raises InvalidOptionType: it is none of these.
    """
    if isinstance(value, Limit):
        return value
    if isinstance(value, str):
        return Limit(name=plain_name(value, option, where))
    if isinstance(value, int) and not isinstance(value, bool):
        return Limit(whole(value, option, where, 1, MOST_SLOTS))
    raise InvalidOption(
        option=option, where=where, expected="a whole number, a name in AUTOTASK_LIMITS, or a Limit", value=value
    )
