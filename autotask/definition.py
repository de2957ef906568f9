"""The calls of a task: how they are made, run here and now, or stored for workers."""

import functools
import json
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, ParamSpec, Self, TypeVar, Unpack

from asgiref.sync import async_to_sync, sync_to_async
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import (
    addresses,
    bulk,
    carriers,
    context,
    defaults,
    handover,
    on_end,
    payload,
    references,
    renewal,
    telemetry,
)
from autotask.conf import settings
from autotask.context import TaskContext
from autotask.declared import Declared
from autotask.flow.plan import Plan, Site
from autotask.functions import refuse_script
from autotask.handle import TaskHandle
from autotask.options import CALL_OPTION_NAMES, DEFINITION_OPTION_NAMES, CallOptions, Options
from autotask.parameters import mismatch
from autotask.signals import task_enqueued, tasks_stored, tasks_to_run_now
from autotask.site_limits import site
from autotask.store import many, notify, uncommitted, unique
from autotask.store.connection import current, text
from autotask.store.enqueue import STATED, Kind, NewTask, has_only_key
from autotask.store.unique import Stored, Terms
from autotask.task import new_id
from autotask.values import reject_unknown

logger = logging.getLogger("autotask")

#: The names of tasks for which it was logged that workers may not know them.
_warned: set[str] = set()

P = ParamSpec("P")
R = TypeVar("R")


class Definition(Declared[P, R]):
    """A task function with its options, and its calls.

    :ivar function: the function as written.
    :ivar name: the name under which workers find it, by default ``module.qualname``.
    :ivar options: how it runs.
    :ivar executor: where it runs, see ``autotask.task.THREAD``.
    """

    _planned: tuple[Site | None, Plan | None] = (None, None)

    def using(self, **options: Unpack[CallOptions]) -> Self:
        """Return the same task with other options for the calls made through it.

        :param options: ``delay`` (seconds or timedelta), ``run_after`` (aware datetime), ``queue``, ``priority``,
            ``retries``, ``ttl`` (seconds or timedelta), ``expires`` (seconds, timedelta or aware datetime),
            ``timeout`` (seconds or timedelta), ``tags`` (a list of names), ``subject`` (the saved model instance that the
            task is about), ``metadata`` (a dict of JSON values), ``unique``, ``unique_for``, ``on_conflict``,
            ``debounce`` and ``throttle`` (as for the decorator; False switches ``unique``, ``debounce`` or ``throttle``
            off), ``email`` and ``on_end`` (as for the decorator; an empty list switches them off).
        :raises UnknownOption: an option is not one of these.
        :raises InvalidOption: a value is out of its range.
        :raises InvalidOptionType: a value has the wrong type.
        """
        where = f"{self.name}.using()"
        reject_unknown(options, CALL_OPTION_NAMES, where, fixed=DEFINITION_OPTION_NAMES)
        changed = self.options.replace(where, **options)
        addresses.refuse_unlisted(changed.on_end or (), where)
        made = self._with(changed)
        made.is_late = self.is_late
        return made

    def enqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Store a call for a worker to run, and return the handle of its task.

        The task exists if and only if the caller's transaction commits.

        :raises TypeError: the arguments do not fit the function.
        :raises SchemaMismatch: they do not fit its ``json_schema``.
        :raises UnsuitableFunction: the function is defined in the running script.
        :raises UnpicklableArgument: an argument cannot be pickled.
        :raises PayloadTooLarge: the arguments take more than ``AUTOTASK_MAX_PAYLOAD`` bytes.
        :raises ContextNotCarried: a carrier of ``AUTOTASK_CONTEXT`` failed.
        :raises UnsuitableKey: a key cannot be made of the arguments.
        :raises AlreadyEnqueued: it is unique with ``on_conflict="raise"``, and there is a task already.
        :raises django.db.DatabaseError: it could not be stored.
        """
        self.refuse_unreachable()
        if telemetry.used is not None:
            return self.sent(lambda carried: [self.new_call(args, kwargs, carried)])[0]
        return self.store([self.new_call(args, kwargs, carriers.carried(self.name))])[0]

    async def aenqueue(self, /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle[R]:
        """Like :meth:`~autotask.definition.Definition.enqueue`, from a coroutine."""
        return await sync_to_async(self.enqueue)(*args, **kwargs)

    def enqueue_many(self, items: Iterable[tuple[Any, ...] | Mapping[str, Any]]) -> list[TaskHandle[R]]:
        """Store many calls at once: all of them or none. Calls that make no task of their own are among them.

        :param items: for each call, a tuple of positional or a dict of keyword arguments. A generator can make them: only
            some thousand are in memory at a time, unless the calls have keys, limits or a rate.
        :returns: handles, in the order of the items.
        :raises InvalidArguments: an item is neither tuple nor dict; the messages of all these errors give its index.
        :raises TypeError: an item does not fit the function.
        :raises SchemaMismatch: it does not fit its ``json_schema``.
        :raises UnpicklableArgument: an item cannot be pickled.
        :raises PayloadTooLarge: an item takes more than ``AUTOTASK_MAX_PAYLOAD`` bytes.
        :raises UnsuitableKey: a key cannot be made of the arguments of an item.
        :raises AlreadyEnqueued: they are unique with ``on_conflict="raise"``, and for one of them there is a task already.
        """
        self.refuse_unreachable()
        store = functools.partial(bulk.store, self)
        if telemetry.used is None:
            return store(bulk.made(self, items, carriers.carried(self.name)))
        make = functools.partial(bulk.made, self, items)
        return telemetry.used.sent(self.name, self.options.queue, True, make, store)

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now, and return its value; nothing is stored.

        All its exceptions reach the caller, including Retry, Snooze, Cancel and Discard. A function that takes a context
        gets that of the task that is running here; outside of tasks it gets one of its own, which drops its progress.
        """
        function = self._in_place()
        result: R = async_to_sync(function)(*args, **kwargs) if self.is_async else function(*args, **kwargs)
        return result

    def new_call(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        carried: Mapping[str, Any] | None = None,
        *,
        id: uuid.UUID | None = None,
        before: tuple[Any, ...] = (),
        signer: payload.Signer | None = None,
    ) -> NewTask:
        """Return the task of a call.

        :param id: the id of the task; by default a new one.
        :param before: what to store before the arguments.
        :param signer: signs it, and the other calls of a bulk; it has the values of carriers already.
        """
        id, shown = id or new_id(), self._shown(args, kwargs)
        schema = self.options.json_schema
        if schema is not None and (errors := schema.errors(self.parameters.as_object(args, kwargs))):
            raise mismatch(self.name, errors)
        kind = self._kind
        signer = signer or self.signer(carried)
        envelope = signer.dump((*before, *args) if before else args, kwargs, id, settings.MAX_PAYLOAD)
        if (plan := self.plan) is None:
            return NewTask(id, kind, text(shown), envelope)
        if not kwargs and (key := plan.quick_key(args)) is not None:
            return NewTask(id, kind, text(shown), envelope, None, None, key)
        arguments = self.for_keys(args, kwargs)
        throttle, flow = plan.throttle(arguments) if plan.draws else None, plan.flow(arguments)
        if flow is None or flow.gates:
            return NewTask(id, kind, text(shown), envelope, flow, throttle)
        return NewTask(id, kind, text(shown), envelope, None, throttle, flow.unique_key)

    def signer(self, carried: Mapping[str, Any] | None) -> payload.Signer:
        """Return the function that signs the arguments of its calls now.

        :param carried: the values of carriers.
        """
        kind = self._kind
        if kind.about is not None:
            carried = {**(carried or {}), payload.ABOUT: kind.about}
        return payload.signer(self.name, carried, tells=kind.on_end is not None)

    def sent(
        self,
        make: Callable[[Mapping[str, Any]], list[NewTask]],
        *,
        is_bulk: bool = False,
    ) -> list[TaskHandle[R]]:
        """Make calls and store them, with what travels along for carriers and telemetry, and return their handles.

        :param make: makes them, with these values of carriers.
        """
        if telemetry.used is None:
            return self.store(make(carriers.carried(self.name)))
        return telemetry.used.sent(self.name, self.options.queue, is_bulk, make, self.store)

    def store(self, tasks: list[NewTask]) -> list[TaskHandle[R]]:
        """Store calls, in the caller's transaction, and return the handles of their tasks.

        :raises AlreadyEnqueued: see :meth:`~autotask.definition.Definition.enqueue`.
        """
        if not tasks:
            return []
        if tasks[0].is_plain:  # all of them: they have the same options
            uncommitted.store(tasks, self._insert)
            return [TaskHandle(task.id, self.name, True) for task in tasks]
        handles: list[TaskHandle[R]] = [TaskHandle(task.id, self.name) for task in tasks]
        uncommitted.store(tasks, functools.partial(self._insert_flowing, handles))
        return handles

    def refuse_unreachable(self) -> None:
        """Refuse a call that no worker could run, unless calls run in place.

        :raises UnsuitableFunction: the function is defined in the running script.
        """
        if self.is_of_script and not settings.IMMEDIATE:
            refuse_script(self.function)

    @property
    def plan(self) -> Plan | None:
        """The plan of flow control for its calls; None: it has none.

        :raises InvalidOption: it names a limit that AUTOTASK_LIMITS does not have.
        """
        now = site()
        if self._planned[0] is not now:
            self._planned = (now, Plan.of(self.name, self.options, self.signature, now))
        return self._planned[1]

    @property
    def is_plain(self) -> bool:
        """Whether its calls are no more than their arguments: without keys, limits and rate."""
        return self.plan is None

    @functools.cached_property
    def _terms(self) -> Terms:
        return renewal.terms(self)

    def _in_place(self) -> Callable[..., Any]:
        return self.with_context(context.current() or TaskContext(new_id(), self.name))

    def _with(self, options: Options) -> Self:
        return type(self)(self.function, self.name, options)

    @property
    def _kind(self) -> Kind:
        kind = self._stated
        if self.options.ttl is None and kind.ttl != (ttl := defaults.ttl()):  # The setting has changed.
            kind = self.__dict__["_stated"] = replace(kind, ttl=ttl)
        return kind

    @functools.cached_property
    def _stated(self) -> Kind:
        options = self.options
        if self.is_hidden:
            self._warn_hidden()
        stated = {name: getattr(options, name) for name in STATED if hasattr(options, name)}
        if isinstance(options.expires, datetime):
            stated |= {"expires": None, "expires_at": options.expires}
        if options.debounce is not None:
            stated["delay"] = options.debounce.seconds
        stated["ttl"] = defaults.ttl() if options.ttl is None else options.ttl
        stated["on_end"] = on_end.stored(options.email, options.on_end)
        stated["subject"] = None if options.subject is None else references.subject(options.subject)
        stated["metadata"] = None if options.metadata is None else json.dumps(options.metadata, ensure_ascii=False)
        return Kind(**stated | {"name": self.name, "executor": self.executor})

    def _warn_hidden(self) -> None:
        if self.name not in _warned:
            _warned.add(self.name)
            logger.warning(
                "Workers may not know the task %s: its module %s is imported only after Django has started, and its name "
                "does not begin with that. Add the module to AUTOTASK_MODULES.",
                self.name,
                self.function.__module__,
            )

    def _insert(self, tasks: list[NewTask]) -> None:
        connection = current()
        if len(tasks) == 1:
            handover.insert(connection, tasks[0])
        else:
            many.insert_many(connection, tasks)
            self._wake(connection, tasks)
        self._announce(connection, tasks, tasks)

    def _wake(self, connection: BaseDatabaseWrapper, tasks: Sequence[NewTask]) -> None:
        """Notify workers of new tasks after the commit."""
        notify.wake_after_commit(connection)

    def _insert_flowing(self, handles: Sequence[TaskHandle[R]], tasks: list[NewTask]) -> None:
        """Store the tasks whose keys and tokens are free, and make the handles of the others those of the ones that are."""
        connection = current()
        others = self._stored_beside(connection, tasks)
        if len(tasks) < len(handles):  # The others were cancelled before the commit.
            ids = {task.id for task in tasks}
            handles = [handle for handle in handles if handle.id in ids]
        for handle in handles:
            handle.created = True
        new, renewed = tasks, dict[uuid.UUID, NewTask]()
        if others:
            new = [task for task in tasks if task.id not in others]
            renewed = {done.id: done.renewed for done in others.values() if done.renewed is not None}
            for handle in handles:
                if handle.id in others:
                    handle.id, handle.created = others[handle.id].id, False
        if new or renewed:
            changed = [renewed.pop(task.id, task) for task in new] if renewed else new
            self._announce(connection, new, [*changed, *renewed.values()])

    def _stored_beside(self, connection: BaseDatabaseWrapper, tasks: list[NewTask]) -> dict[uuid.UUID, Stored]:
        """Store these tasks, and wake workers after the commit; return what became of those whose keys and tokens were taken."""
        others: dict[uuid.UUID, Stored] = {}

        def store_them(telling: bool) -> bool:
            nonlocal others
            drawn = [task.throttle for task in tasks if task.throttle is not None]
            others = unique.store(connection, tasks, self._terms, drawn, telling)
            return len(others) < len(tasks)

        kind = tasks[0].kind
        if len(tasks) == 1 and has_only_key(tasks[0]):
            notify.store_and_wake(connection, store_them, (kind.queue, kind.executor))
        elif store_them(False):
            notify.wake_after_commit(connection)
        if len(others) == len(tasks) and any(done.renewed for done in others.values()):
            notify.wake_after_commit(connection)
        return others

    def _announce(self, connection: BaseDatabaseWrapper, new: list[NewTask], changed: list[NewTask]) -> None:
        """Send the signals: *changed* are the new tasks, and those whose arguments were replaced."""
        if new and task_enqueued.receivers:
            if settings.IMMEDIATE:  # They run before the commit.
                _send_enqueued(new)
            else:
                connection.on_commit(functools.partial(_send_enqueued, new), robust=True)
        if settings.IMMEDIATE:
            tasks_to_run_now.send(sender=type(self), tasks=changed)
        if tasks_stored.receivers:
            tasks_stored.send(sender=type(self), definition=self, tasks=changed)


def _send_enqueued(tasks: list[NewTask]) -> None:
    for task in tasks:
        task_enqueued.send_robust(sender=Definition, task_id=task.id, name=task.kind.name, queue=task.kind.queue)
