"""Many calls of one task: made and stored part by part in one transaction, so that a million take little memory."""

import itertools
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pickle import dumps
from typing import TYPE_CHECKING, Any, TypeVar

from django.db import transaction

from autotask import garbage, payload
from autotask.conf import settings
from autotask.exceptions import AutotaskError, InvalidArguments
from autotask.handle import TaskHandle
from autotask.pickling import LEAVES, PROTOCOL
from autotask.store import uncommitted
from autotask.store.connection import current, text
from autotask.store.enqueue import NewTask
from autotask.task import new_ids

if TYPE_CHECKING:
    from autotask.definition import Definition

R = TypeVar("R")

#: The most calls, and about the most bytes of arguments, in one part.
PART = 10_000
LARGEST_PART = 8 * 2**20

#: Items that are read before the first of them becomes a call; and after calls of at most this many bytes on average.
_READ = 100
_READ_IF_SMALL = 1_000
_SMALL = 1_000

Item = tuple[Any, ...] | Mapping[str, Any]
Quick = Callable[[uuid.UUID, Item], NewTask | None]


def store(definition: "Definition[Any, R]", tasks: Iterator[NewTask]) -> list[TaskHandle[R]]:
    """Store all calls or none, and return the handles of their tasks in order.

    :param tasks: what :func:`made` returns.
    """
    # All at once: keys are taken in one order, so that two such calls do not wait for each other; and what does not happen
    # now would happen part by part.
    if not definition.is_plain or settings.IMMEDIATE or uncommitted.has_to_wait():
        return definition.store(list(tasks))
    parts = _parts(tasks)
    # Nearly always there is only one, which needs no transaction.
    first, second = next(parts, []), next(parts, None)
    if second is None:
        with garbage.no_search():
            return definition.store(first)
    handles: list[TaskHandle[R]] = []
    # Each search would look at the handles, of which there are more and more.
    with garbage.rare_search(), transaction.atomic(using=current().alias):
        for part in itertools.chain((first, second), parts):
            handles += definition.store(part)
    return handles


def _parts(tasks: Iterator[NewTask]) -> Iterator[list[NewTask]]:
    part, size = list[NewTask](), 0
    for task in tasks:
        part.append(task)
        size += len(task.payload)
        if len(part) == PART or size >= LARGEST_PART:
            yield part
            part, size = [], 0
    if part:
        yield part


def made(definition: "Definition[Any, Any]", items: Iterable[Item], carried: Mapping[str, Any]) -> Iterator[NewTask]:
    """Yield the calls of the items; see :meth:`autotask.definition.Definition.enqueue_many`."""
    signer, quick = definition.signer(carried), None
    unread, number, most = iter(items), 0, _READ
    while read := list(itertools.islice(unread, most)):
        tasks = []
        with garbage.no_search():
            # Ids only now, since an item may come from code that calls tasks itself.
            for id, item in zip(new_ids(len(read)), read, strict=True):
                task = quick(id, item) if quick is not None else None
                if task is None:
                    task = _call(definition, number, item, id, signer)
                    quick = quick or _quick(definition, signer, task)
                tasks.append(task)
                number += 1
        yield from tasks
        most = _READ_IF_SMALL if sum(len(task.payload) for task in tasks) <= _SMALL * len(tasks) else _READ


def _call(definition: "Definition[Any, Any]", number: int, item: Any, id: uuid.UUID, signer: payload.Signer) -> NewTask:
    if isinstance(item, tuple):
        args, kwargs = item, {}
    elif isinstance(item, Mapping):
        args, kwargs = (), dict(item)
    else:
        raise InvalidArguments(index=number, task=definition.name, value=item)
    place = f"Item {number} of {definition.name}.enqueue_many()"
    try:
        return definition.new_call(args, kwargs, id=id, signer=signer)
    except AutotaskError as error:
        raise error.within(place) from error.__cause__
    except TypeError as error:
        raise TypeError(f"{place}: {error}") from None


def _quick(definition: "Definition[Any, Any]", signer: payload.Signer, first: NewTask) -> Quick | None:
    """Return a function that makes calls as :func:`_call` does, in half the time; None: they need more than their arguments.

    It returns None for a call that is not of the most frequent form, or has to be refused: numbers, texts and the like, by
    position.

    :param first: the first call.
    """
    plan, kind = definition.plan, first.kind
    has_own_key = first.flow is not None and first.flow.once
    if definition.options.json_schema is not None or has_own_key or (plan is not None and plan.draws):
        return None
    flow_of = None if plan is None else plan.prepared(definition.parameters.bound)
    (names, needed), most = definition.parameters.positional, settings.MAX_PAYLOAD - signer.overhead
    longest, show, sign = len(names), definition.by_position.prepared(), signer.prepared()
    has_no_parts, new = LEAVES.issuperset, tuple.__new__

    def make(id: uuid.UUID, item: Item) -> NewTask | None:
        if type(item) is not tuple or not needed <= len(item) <= longest or not has_no_parts(map(type, item)):
            return None
        body = dumps((item, {}), PROTOCOL)
        if len(body) > most:
            return None
        try:
            flow = None if flow_of is None else flow_of(item)
            key, flow = (flow, None) if type(flow) is str else (None, flow)
        except AutotaskError:  # It is raised again, with the place of the item.
            return None
        # Not by a call of the class, which takes three times as long.
        return new(NewTask, (id, kind, text(show(item)), sign(id.bytes, body), flow, None, key))

    return make
