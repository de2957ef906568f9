"""Django's Task with the options of autotask."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self, Unpack

from autotask.decorating import described
from autotask.django_tasks import AnyTask
from autotask.flow.debounce import Debounce
from autotask.flow.keys import Key
from autotask.flow.limits import Limit
from autotask.flow.options import OnConflict, UniqueFor, WhenFull
from autotask.flow.rates import Rate
from autotask.on_end import Webhook
from autotask.options import DJANGO_DECORATOR_OPTION_NAMES, DJANGO_TASK_OPTION_NAMES, DjangoTaskOptions, Exceptions
from autotask.retry import Backoff
from autotask.values import Seconds, reject_unknown

#: Fields that Django itself gives to the task, besides the options of its decorator.
_OF_TASK = {"func", "run_after"}


@dataclass(frozen=True, kw_only=True)
class AutotaskTask(AnyTask):
    """The task that ``@task`` makes if the backend is autotask. None means the default in ``OPTIONS`` of the backend.

    The options are those of :func:`autotask.tasks.delayed_task`.
    """

    retries: int | None = None
    backoff: Backoff | Sequence[float] | None = None
    retry_on: Exceptions | None = None
    no_retry_on: Exceptions | None = None
    timeout: Seconds | None = None
    ttl: Seconds | None = None
    expires: Seconds | datetime | None = None
    atomic: bool | None = None
    at_most_once: bool | None = None
    executor: str | None = None
    on_missing: str | None = None
    tags: Sequence[str] | None = None
    subject: Any = None
    metadata: Mapping[str, Any] | None = None
    unique: bool | Key | None = None
    unique_for: UniqueFor | Seconds | None = None
    on_conflict: OnConflict | None = None
    concurrency: int | str | Limit | None = None
    when_full: WhenFull | None = None
    rate: str | Rate | None = None
    debounce: bool | Debounce | Seconds | None = None
    throttle: bool | Rate | str | None = None
    email: str | Sequence[str] | None = None
    on_end: Webhook | Sequence[Webhook] | None = None
    json_schema: Mapping[str, Any] | None = None
    api: bool | None = None

    def __new__(cls, **given: Any) -> Self:
        """Refuse an unknown option: Django's decorator passes on whatever it was given.

        :raises UnknownOption: an option is not known. (A TypeError.)
        """
        where = f"@task of {described(given.get('func'))}"
        reject_unknown(given.keys() - _OF_TASK, DJANGO_DECORATOR_OPTION_NAMES, where)
        return super().__new__(cls)

    def using(
        self,
        *,
        priority: int | None = None,
        queue_name: str | None = None,
        run_after: datetime | timedelta | None = None,
        backend: str | None = None,
        **options: Unpack[DjangoTaskOptions],
    ) -> Self:
        """Return the same task with other options.

        :param run_after: the moment before which it does not run, or the time from the call until then.
        :param options: ``retries``, ``timeout`` and the others, see :class:`AutotaskTask`.
        :raises UnknownOption: an option is not known. (A TypeError.)
        :raises InvalidTask: a value is invalid.
        """
        reject_unknown(options, DJANGO_TASK_OPTION_NAMES, f"{self.module_path}.using()")
        given = dict[str, Any](options, priority=priority, queue_name=queue_name, run_after=run_after, backend=backend)
        return dataclasses.replace(self, **{name: value for name, value in given.items() if value is not None})


def extra_options(task: AnyTask) -> Mapping[str, Any]:
    """Return the options of autotask that a task has, whatever its class."""
    return {name: value for name in DJANGO_TASK_OPTION_NAMES if (value := getattr(task, name, None)) is not None}


def varied(task: AnyTask, **changes: Any) -> AnyTask:
    """Return a copy of a task with other values, even if its backend would not accept it now."""
    copy = object.__new__(type(task))
    for field in dataclasses.fields(task):
        object.__setattr__(copy, field.name, changes.get(field.name, getattr(task, field.name)))
    return copy
