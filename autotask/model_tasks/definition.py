"""The definition of the tasks of one model: how a row becomes a task, and which step an attempt runs."""

import contextlib
import functools
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from django.utils import timezone

from autotask import garbage, payload, references
from autotask.conf import settings
from autotask.context import TaskContext
from autotask.control import Discard
from autotask.definition import Definition
from autotask.exceptions import (
    AutotaskError,
    InvalidOptionType,
    OtherDatabase,
    PayloadRefused,
    PayloadTooNew,
    RemoteWithExpiry,
    TenantRow,
    UnknownOption,
)
from autotask.flow import options as flow_options
from autotask.flow.keys import names
from autotask.handle import TaskHandle
from autotask.model_tasks import handlers, proxying
from autotask.options import DEFINITION_OPTION_NAMES, Options
from autotask.store import notify, steps
from autotask.store.begin_step import Key
from autotask.store.connection import current
from autotask.store.enqueue import Kind, NewTask
from autotask.store.model_rows import RowTable
from autotask.store.steps import Advance
from autotask.task import REMOTE, ClaimedTask
from autotask.values import nearest, plain_name

#: Options that a model task cannot have: each row has a task of its own, and a method gets no context.
_WITHOUT = ("takes_context", "json_schema", "api", "unique", "unique_for", "on_conflict", "debounce", "throttle")
_INSTEAD = {"queue": ": write channel or channel_field"} | dict.fromkeys(_WITHOUT, ", which model tasks do not have")
OPTION_NAMES = tuple(name for name in DEFINITION_OPTION_NAMES if name not in _INSTEAD)

#: The most kinds that are kept: one for each channel.
MOST_KINDS = 1000


def run_step(row_: Model) -> Any:
    """Run the next step of a row; workers call it through :meth:`ModelTask.for_attempt`.

    No field can have the name of the parameter, so that both can be arguments of keys.
    """
    raise NotImplementedError  # for_attempt() knows the claimed task


class ModelTask(Definition[..., Any]):
    """The tasks of one model.

    :ivar model: the class of the rows.
    :ivar problem: what is wrong with its options; None: nothing.
    """

    key_words = "fields of the model"

    def __init__(self, model: type[Model]) -> None:
        self.model = model
        self.problem: AutotaskError | None = None
        name = model._meta.label_lower
        try:
            super().__init__(run_step, name, checked_options(model))
        except AutotaskError as problem:  # reported by manage.py check, and when a row is made
            self.problem = problem
            super().__init__(run_step, name, Options(on_missing="discard"))
        self._kinds: dict[tuple[str, bool], Kind] = {}
        self._in_keys = {name for key in flow_options.keys(self.options).values() for name in names(key)}

    @property
    def is_hidden(self) -> bool:
        """False: workers know all models."""
        return False

    @property
    def kind(self) -> Kind:
        """The options that all tasks of the model share, as for a worker that runs one of their steps."""
        return self._kind

    @property
    def key_names(self) -> list[str]:
        """The names of the fields."""
        return [field.name for field in self.model._meta.concrete_fields]

    def for_keys(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the row, and the values of the fields that are in keys."""
        return {**super().for_keys(args, kwargs), **{name: _field_value(args[0], name) for name in self._in_keys}}

    def as_called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the row only, without what a client from outside has sent along."""
        return args[:1], kwargs

    def table(self) -> RowTable:
        """Return the table with the columns that workers write."""
        columns = self.model._meta.get_field("task_id").model._meta
        quoted = _quoted(columns.db_table)
        if '"."' in columns.db_table:  # a schema, as people write it for PostgreSQL
            quoted = f'"{columns.db_table}"'
        return RowTable(self.name, quoted, has_steps=self.model.final_step != 1)  # type: ignore[attr-defined]  # of SimpleTask

    def key_of(self, text: str) -> Key | None:
        """Return the key of a row; None: no row has such a key, or it is not a single plain value."""
        key, pk = _key_without_value(self, settings.DATABASE), self._pk
        if key is None or "\0" in text:
            return None
        try:
            value = pk.to_python(text)
        except (ValidationError, ValueError):
            return None
        if str(value) != text:
            return None  # another way to write it
        if isinstance(value, int) and not -(2**31) <= value < 2 ** (63 if key.type == "bigint" else 31):
            return None
        return key._replace(value=pk.get_db_prep_value(value, current()))

    @property
    def _pk(self) -> Any:
        """The primary key of the table with the columns that workers write."""
        return self.model._meta.get_field("task_id").model._meta.pk

    def is_remote(self, queue: str) -> bool:
        """Whether only a client from outside starts the steps of a row."""
        return bool(getattr(self.model, "remote", False)) or queue in settings.REMOTE_CHANNELS

    # --- a row becomes a task ---------------------------------------------------------------------------------------

    def enqueue_rows(self, rows: Sequence[Model], using: str) -> list[TaskHandle[Any]]:
        """Store the tasks of new rows with one statement, in the caller's transaction.

        :param using: the alias of the database with the rows.
        :raises AutotaskError: an option is wrong, or the rows are where they cannot be tasks.
        """
        self.refuse_unfit(using)
        if not settings.IS_ACTIVE:
            for row in rows:
                self.run_in_place(row)
            return []
        # Not around code of the project that takes its time, nor around calls that wait for the keys of others.
        makes_many = len(rows) > 1 and self.is_plain and not settings.IMMEDIATE
        with garbage.no_search() if makes_many else contextlib.nullcontext():
            return self.sent(lambda carried: self._row_tasks(rows, carried), is_bulk=len(rows) > 1)

    def run_in_place(self, row: Any) -> None:
        """Run all steps of a row here and now, as with ``AUTOTASK_IS_ACTIVE = False``; exceptions reach the caller."""
        value, times = None, {}
        row.task_id = None
        for number in range(1, self.model.final_step + 1):  # type: ignore[attr-defined]  # of SimpleTask
            began = timezone.now()
            value = handlers.call(row, number, proxying.payload_for(row, number, value, None))
            times[str(number)] = {"start": began.isoformat(), "end": timezone.now().isoformat()}
        row.current_step, row.step_times = self.model.final_step, times  # type: ignore[attr-defined]  # as above
        row.done_time, row.success, row.result = timezone.now(), True, handlers.as_json(value, row)
        row.save(update_fields=["task_id", "current_step", "step_times", "done_time", "success", "result"])

    def refuse_unfit(self, using: str) -> None:
        """Refuse rows that cannot be tasks.

        :raises AutotaskError: an option is wrong, or row and task would not be in one database.
        """
        if self.problem is not None:
            raise self.problem
        if using != settings.DATABASE:
            raise OtherDatabase(model=self.model._meta.label, alias=using, expected=settings.DATABASE)

    def payload_of(
        self, row: Model, body: Mapping[str, Any], id: uuid.UUID, before: bytes | None = None
    ) -> bytes | None:
        """Return the signed arguments of the task of a row; None: leave them as they are, for the worker to refuse.

        :param body: what a client from outside has sent along.
        :param before: the arguments so far, with the values of carriers that are kept; None: there are none.
        """
        carried, tells = None, self._kind.on_end is not None
        if before is not None and payload.carries(before):
            try:
                carried = payload.load_carried(before, id=id, name=self.name)
            except (PayloadRefused, PayloadTooNew):
                return None
        return payload.dump_arguments(
            (row, body), {}, id=id, name=self.name, carried=carried, largest=True, tells=tells
        )

    def _row_tasks(self, rows: Sequence[Any], carried: Mapping[str, Any]) -> list[NewTask]:
        queues = [row.task_channel() for row in rows]
        kinds = {queue: self._kind_in(queue, self.is_remote(queue)) for queue in dict.fromkeys(queues)}
        ids, found = [row.task_id for row in rows], references.to_rows(rows)
        for reference in found:
            if reference.schema is not None:
                raise TenantRow(model=reference.model, schema=reference.schema)
        if carried or self.plan is not None or self._kind.on_end is not None:
            calls = [self.new_call((row,), {}, carried, id=row.task_id) for row in rows]
            return [call._replace(kind=kinds[queue]) for call, queue in zip(calls, queues, strict=True)]
        envelopes = payload.dump_references(zip(ids, found, strict=True), name=self.name)
        label = self.name  # Not row.task_info, which works out the label for each row.
        return [
            NewTask(id, kinds[queue], f"{label}:{refers.pk}", envelope)
            for refers, id, queue, envelope in zip(found, ids, queues, envelopes, strict=True)
        ]

    def _kind_in(self, queue: str, is_remote: bool) -> Kind:
        kind = self._kinds.get((queue, is_remote))
        if kind is None or kind.ttl != self._kind.ttl:
            plain_name(queue, "channel", self.model._meta.label)
            if is_remote and self._kind.expires is not None:
                raise RemoteWithExpiry(model=self.model._meta.label)
            if len(self._kinds) >= MOST_KINDS:
                self._kinds.clear()
            executor = REMOTE if is_remote else self._kind.executor
            kind = self._kinds[queue, is_remote] = replace(self._kind, queue=queue, executor=executor)
        return kind

    def _shown(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        return str(args[0].task_info)

    def _insert(self, tasks: list[NewTask]) -> None:
        super()._insert(tasks)
        if any(task.kind.executor == REMOTE for task in tasks):
            notify.tell_after_commit(current(), {notify.REMOTE_CHANNEL: ""})

    def _wake(self, connection: BaseDatabaseWrapper, tasks: Sequence[NewTask]) -> None:
        # Of tasks that are due for a client, no worker has to hear.
        if any(kind.executor != REMOTE or kind.delay or kind.run_after for kind in {task.kind for task in tasks}):
            super()._wake(connection, tasks)

    # --- an attempt -------------------------------------------------------------------------------------------------

    def for_attempt(self, task: ClaimedTask, context: TaskContext) -> Callable[..., Any]:
        """Return the callable that runs the next step of a row."""
        return functools.partial(self._run, task)

    def _run(self, claimed: ClaimedTask, row: Any, body: dict[str, Any] | None = None) -> Any:
        if row.task_id not in (None, claimed.id):  # somebody has retried a task that the row had before start_again()
            raise Discard(f"{row.task_info} has another task by now: {row.task_id}")
        number, before = self.next_step(claimed)
        limit = settings.TIMEOUT if claimed.timeout is None else claimed.timeout
        given = proxying.payload_for(row, number, before, body, limit)
        value = handlers.call(row, number, given)
        if number >= self.model.final_step:  # type: ignore[attr-defined]  # of SimpleTask
            return handlers.as_json(value, row)
        value = handlers.between(value)
        if not self.is_remote(claimed.queue):
            return Advance(number, value)
        return Advance(number, handlers.as_json(value, row), delay=float(row.do_task_timeout), executor=REMOTE)

    def next_step(self, task: ClaimedTask) -> tuple[int, Any]:
        """Return the number of the next step of a task, and what the one before has returned."""
        final = int(self.model.final_step)  # type: ignore[attr-defined]  # as above
        if final == 1:
            return 1, None
        last = steps.last(current(), task.id)
        if last is None:
            return 1, None
        value = payload.load_step(last.value, id=task.id, step=steps.word(last.number))
        # With newer code there may be fewer steps than this task has behind it.
        return min(last.number + 1, final), value


def _field_value(row: Model, name: str) -> Any:
    """Return the value of a field as it will be read from the database; of a foreign key, the key."""
    field = row._meta.get_field(name)
    given = getattr(row, field.attname)  # type: ignore[union-attr]  # it is a concrete field
    is_known = not hasattr(given, "resolve_expression")  # else the database works it out, and no key can have it
    return field.to_python(given) if is_known else given  # type: ignore[union-attr]  # as above


@functools.lru_cache(maxsize=1000)
def _key_without_value(definition: ModelTask, alias: str) -> Key | None:
    """Return the parts of a key that all rows share; None: the statement for a key cannot be written in advance."""
    pk = definition._pk
    if pk.is_relation or not pk.column or not (type := pk.rel_db_type(connections[alias])):
        return None
    columns = tuple(name.replace("%", "%%") for name in references.columns_of(definition.model, alias))
    return Key(definition.table().table, _quoted(pk.column), type.partition("(")[0], None, columns)


def _quoted(name: str) -> str:
    return '"{}"'.format(name.replace('"', '""').replace("%", "%%"))


def checked_options(model: type[Model]) -> Options:
    """Return the options of a model.

    :raises AutotaskError: one of them is wrong.
    """
    where = model._meta.label
    given: Any = getattr(model, "options", None) or {}
    if not isinstance(given, Mapping):
        kind = type(given).__name__
        raise InvalidOptionType(option="options", where=where, expected="a dict", value=given, type=kind)
    for name in given:
        if name not in OPTION_NAMES:
            advice = _INSTEAD.get(name) or nearest(str(name), OPTION_NAMES)
            raise UnknownOption(where=where, option=name, suggestion=advice, known=", ".join(OPTION_NAMES))
    return Options.of(where, **{"on_missing": "discard"} | dict(given))


def database_of(model: type[Model]) -> str:
    """Return the alias of the database for new rows."""
    return router.db_for_write(model)
