"""A task function with its options, which every decorator makes, and how a call becomes a row."""

import functools
import inspect
import json
import logging
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Generic, ParamSpec, Self, TypeVar, Unpack

from asgiref.sync import async_to_sync, sync_to_async
from django.db.backends.base.base import BaseDatabaseWrapper

from autotask import (
    addresses,
    bulk,
    carriers,
    context,
    defaults,
    display,
    handover,
    hints,
    on_end,
    payload,
    references,
    renewal,
    telemetry,
)
from autotask.conf import settings
from autotask.context import TaskContext
from autotask.flow import options as flow_options
from autotask.flow.keys import refuse_unfit_function, refuse_unknown_names
from autotask.flow.plan import Plan, Site
from autotask.functions import SCRIPTS, is_coroutine_function, refuse_method, refuse_script
from autotask.handle import TaskHandle
from autotask.options import CALL_OPTION_NAMES, DEFINITION_OPTION_NAMES, CallOptions, Options
from autotask.parameters import Parameters, mismatch
from autotask.signals import task_enqueued, tasks_stored, tasks_to_run_now
from autotask.site_limits import site
from autotask.store import many, notify, uncommitted, unique
from autotask.store.connection import current, text
from autotask.store.enqueue import STATED, Kind, NewTask
from autotask.store.unique import Terms
from autotask.task import COROUTINE, THREAD, ClaimedTask, State, new_id
from autotask.values import reject_unknown

logger = logging.getLogger("autotask")

#: The names of tasks for which it was logged that workers may not know them.
_warned: set[str] = set()

P = ParamSpec("P")
R = TypeVar("R")


class Definition(Generic[P, R]):
    """A task function with its options.

    :ivar function: the function as written.
    :ivar name: the name under which workers find it, by default ``module.qualname``.
    :ivar options: how it runs.
    :ivar executor: where it runs, see ``autotask.task.THREAD``.
    """

    #: Whether it was made after Django had started: not all processes import its module.
    is_late = False

    #: Whether workers call :meth:`attempt_ended`.
    hears_ends = False

    def __init__(self, function: Callable[P, Any], name: str, options: Options) -> None:
        self.function = function
        self.name = name
        self.options = options
        self.is_async = is_coroutine_function(function)
        self._is_of_script = function.__module__ in SCRIPTS
        self.executor = _stored_executor(options, self.is_async)
        self._planned: tuple[Site | None, Plan | None] = (None, None)
        for option, key in flow_options.keys(options).items():
            if key is not None:
                refuse_unknown_names(key, option, self.signature.parameters, name)
                refuse_unfit_function(key, option, self.signature, name)
        for option, rate in (("rate", options.rate), ("throttle", options.throttle)):
            if rate is not None:
                refuse_unfit_function(rate.cost, option, self.signature, name)
        addresses.refuse_invalid(options.email or (), name)
        # Its attributes are not copied: they could overwrite those above.
        functools.update_wrapper(self, function, updated=())  # type: ignore[arg-type]  # only DelayedTask can be called

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def __set_name__(self, owner: type, name: str) -> None:
        refuse_method(self.function, owner)

    def using(self, **options: Unpack[CallOptions]) -> Self:
        """Return the same task with other options for the calls made through it.

        :param options: ``delay`` (seconds or timedelta), ``run_after`` (aware datetime), ``queue``, ``priority``,
            ``retries``, ``ttl`` (seconds or timedelta), ``expires`` (seconds, timedelta or aware datetime),
            ``timeout`` (seconds or timedelta), ``tags`` (a list of names), ``subject`` (the saved model instance that the
            task is about), ``metadata`` (a dict of what JSON can hold), ``unique``, ``unique_for``, ``on_conflict``,
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

    @property
    def is_hidden(self) -> bool:
        """Whether workers do not know it, and its name does not lead them to its module."""
        return self.is_late and not self.name.startswith(f"{self.function.__module__}.")

    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function here and now, and return its value; nothing is stored.

        All its exceptions reach the caller, including Retry, Snooze, Cancel and Discard. A function that takes a context
        gets that of the task that is running here; outside of tasks it gets one of its own, which drops its progress.
        """
        function = self._in_place()
        result: R = async_to_sync(function)(*args, **kwargs) if self.is_async else function(*args, **kwargs)
        return result

    def with_context(self, context: TaskContext) -> Callable[..., Any]:
        """Return the function, with the context as its first argument if it takes one."""
        function: Callable[..., Any] = self.function
        return functools.partial(function, context) if self.options.takes_context else function

    def accepts(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether stored arguments fit the function."""
        args, kwargs = self.as_called(args, kwargs)
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError:
            return False
        return True

    def shown(self, arguments: payload.Arguments) -> str:
        """Return stored arguments as text, with secrets masked.

        :raises TypeError: they do not fit the function.
        """
        return self._shown(*self.as_called(*arguments))

    # --- overridden by kinds of task that run differently -----------------------------------------------------------

    @classmethod
    def find(cls, task: ClaimedTask) -> "Definition[Any, Any] | None":
        """Return the definition of a claimed task of this kind that no decorator has registered; None if there is none."""
        return None

    def for_attempt(self, task: ClaimedTask, context: TaskContext) -> Callable[..., Any]:
        """Return the callable that a worker calls with the stored arguments of a task."""
        return self.with_context(context)

    def log_key(self, task: ClaimedTask) -> str | None:
        """Return the key by which people know a task, for its log file; None: only its id."""
        return None

    def attempt_ended(self, task: ClaimedTask, state: State, message: str, error: BaseException | None) -> None:
        """Called in the worker when an attempt has ended, if ``hears_ends`` is True."""

    def as_called(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return stored arguments as the caller gave them."""
        return args, kwargs

    # ----------------------------------------------------------------------------------------------------------------

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
        arguments = self.bound(args, kwargs)
        throttle = plan.throttle(arguments) if plan.draws else None
        return NewTask(id, kind, text(shown), envelope, plan.flow(arguments), throttle)

    def signer(self, carried: Mapping[str, Any] | None) -> payload.Signer:
        """Return what signs the arguments of its calls now.

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
        if tasks[0].flow is None and tasks[0].throttle is None:  # all of them: they have the same options
            uncommitted.store(tasks, self._insert)
            return [TaskHandle(task.id, self.name, True) for task in tasks]
        handles: list[TaskHandle[R]] = [TaskHandle(task.id, self.name) for task in tasks]
        uncommitted.store(tasks, functools.partial(self._insert_flowing, handles))
        return handles

    def refuse_unreachable(self) -> None:
        """Refuse a call that no worker could run, unless calls run in place.

        :raises UnsuitableFunction: the function is defined in the running script.
        """
        if self._is_of_script and not settings.IMMEDIATE:
            refuse_script(self.function)

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by the names of their parameters, including defaults.

        :raises TypeError: they do not fit the function.
        """
        return self.parameters.bound(args, kwargs)

    @property
    def plan(self) -> Plan | None:
        """What flow control does with its calls; None: nothing.

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

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The signature of the function, without its context."""
        signature = inspect.signature(self.function)
        if not self.options.takes_context:
            return signature
        first, *others = signature.parameters.values()
        return signature if first.kind is first.VAR_POSITIONAL else signature.replace(parameters=others)

    @functools.cached_property
    def parameters(self) -> Parameters:
        """The parameters of the function, without its context."""
        return Parameters(self.signature)

    @functools.cached_property
    def by_position(self) -> display.Positional:
        """What shows the arguments of its calls that are given by position."""
        return display.Positional(self.parameters.positional[0])

    @functools.cached_property
    def schema(self) -> dict[str, Any]:
        """The JSON schema of the object that describes a call: its ``json_schema``, or one made of its type hints."""
        given = self.options.json_schema
        return hints.schema(self.signature, self.function) if given is None else given.document

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

    def _shown(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return the arguments as text, if they fit the function."""
        names, needed = self.parameters.positional
        if not kwargs and needed <= len(args) <= len(names):
            return self.by_position.shown(args)  # the same as after binding, ten times as fast
        try:
            return display.arguments(self.signature.bind(*args, **kwargs))
        except TypeError as error:
            raise TypeError(f"{self.name}{self.signature}: {error}. Nothing was enqueued.") from None

    def _insert(self, tasks: list[NewTask]) -> None:
        connection = current()
        if len(tasks) == 1:
            handover.insert(connection, tasks[0])
        else:
            many.insert_many(connection, tasks)
            notify.wake_after_commit(connection)
        self._announce(connection, tasks, tasks)

    def _insert_flowing(self, handles: Sequence[TaskHandle[R]], tasks: list[NewTask]) -> None:
        """Store the tasks whose keys and tokens are free, and make the handles of the others those of the ones that are."""
        connection = current()
        drawn = [task.throttle for task in tasks if task.throttle is not None]
        stored = unique.store(connection, tasks, self._terms, drawn)
        if len(tasks) < len(handles):  # The others were cancelled before the commit.
            ids = {task.id for task in tasks}
            handles = [handle for handle in handles if handle.id in ids]
        for handle, done in zip(handles, stored, strict=True):
            handle.id, handle.created = done.id, done.created
        new = [task for task, done in zip(tasks, stored, strict=True) if done.created]
        renewed = {done.id: done.renewed for done in stored if done.renewed is not None}
        if new or renewed:
            notify.wake_after_commit(connection)
            changed = [renewed.pop(task.id, task) for task in new] if renewed else new
            self._announce(connection, new, [*changed, *renewed.values()])

    def _announce(self, connection: BaseDatabaseWrapper, new: list[NewTask], changed: list[NewTask]) -> None:
        """Send the signals: *changed* are the new tasks, and those whose arguments were replaced."""
        if new and task_enqueued.receivers:
            connection.on_commit(functools.partial(_send_enqueued, new), robust=True)
        if settings.IMMEDIATE:
            tasks_to_run_now.send(sender=type(self), tasks=changed)
        if tasks_stored.receivers:
            tasks_stored.send(sender=type(self), definition=self, tasks=changed)


def _stored_executor(options: Options, is_async: bool) -> str:
    if options.executor is None:
        return COROUTINE if is_async else THREAD
    return THREAD if options.executor == "thread" else options.executor


def _send_enqueued(tasks: list[NewTask]) -> None:
    for task in tasks:
        task_enqueued.send_robust(sender=Definition, task_id=task.id, name=task.kind.name, queue=task.kind.queue)
