"""The three addresses, and all that is not one of them."""

import functools
from typing import Any

from autotask.api.simpletask2 import pulling
from autotask.api.simpletask2.envelope import answering
from autotask.api.simpletask2.problems import NoSuchAddress
from autotask.api.simpletask2.stepping import done
from autotask.store import model_rows, pull
from autotask.store.connection import current
from autotask.task import DEFAULT_QUEUE


def _fill(body: dict[str, Any]) -> None:
    pulling.fill(pulling.wanted(body.get("channels", DEFAULT_QUEUE)))


@functools.partial(answering, then=_fill)
def get_a_task(body: dict[str, Any]) -> str | None:
    """Wait for a task of the channels, and offer it: ``app.model:key``, or null after a while."""
    return pulling.pulled(pulling.wanted(body.get("channels", DEFAULT_QUEUE)))


@answering
def do_task(body: dict[str, Any]) -> dict[str, Any]:
    """Have a worker run a step, and wait for what it returns."""
    return done(body)


@answering
def do_auto_reset(body: dict[str, Any]) -> dict[str, Any]:
    """Offer tasks again whose client has not begun the next step in time. Workers do that as well."""
    names = pull.lapse(current())
    return {
        "auto_reset": {name: names.count(name) for name in model_rows.tables},
        "remove_duplicate_items": {},
        "update_channel_queue_size": {},
    }


@answering
def unknown(body: dict[str, Any]) -> None:
    """Answer in the same shape where there is nothing."""
    raise NoSuchAddress
