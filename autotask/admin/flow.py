"""The part of a task's page that says which gates it has to pass, and why it waits."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _, pgettext_lazy

from autotask import reasons, why
from autotask.admin import show
from autotask.flow import Gate
from autotask.models import TaskRecord
from autotask.reasons import Place, Reason
from autotask.store import read
from autotask.store.connection import current
from autotask.store.gates_read import Holder
from autotask.task import State
from autotask.why import Explanation

PLACE_WORDS = {
    Place.PASSED: pgettext_lazy("gate", "passed"),
    Place.HERE: pgettext_lazy("gate", "waits here"),
    Place.AHEAD: pgettext_lazy("gate", "ahead"),
}

#: The colours of the style sheet.
_PLACE_KINDS = {Place.PASSED: "done", Place.HERE: "held", Place.AHEAD: "scheduled"}


def brief(record: TaskRecord) -> str:
    """Return the place where a held task waits, for the list; "" for others."""
    return reasons.brief(record.name, record.gate) if record.state == State.HELD and record.gate else ""


def context(record: TaskRecord) -> dict[str, Any]:
    """Return the reason why the task does not run, for its page, with the address of all tasks that wait for the same."""
    explanation: Explanation = vars(record)["explanation"]
    _, tasks_address = vars(record)["addresses"]
    gate = explanation.reason.gate if explanation.reason else None
    return {
        "explanation": None if State(record.state).ended else explanation,
        "gate_address": f"{tasks_address}?{urlencode({'gate': gate})}" if gate and tasks_address else None,
    }


def attach(record: TaskRecord, task_address: Callable[..., str | None], tasks_address: str | None) -> None:
    """Look up why a task waits, for the fields below."""
    task = read.task(current(), record.id) if record.flow else None
    explanation = why.explain(current(), record.id, translated=True)
    vars(record)["flow_seen"] = task, explanation.reason
    vars(record)["explanation"] = explanation
    vars(record)["addresses"] = (task_address, tasks_address)


def fieldsets(record: TaskRecord | None, usual: Sequence[Any]) -> list[Any]:
    """Return the parts of the page of a task: its gates have one of their own."""
    if record is None or not usual:
        return list(usual)
    first, *others = usual
    reason, stated = _reason(record), record.flow or {}
    fields = [
        *([slots] if reason and reason.holders else []),
        *([gates] if stated.get("gates") else []),
        *([unique_key] if stated.get("unique") else []),
    ]
    own = [(_("Flow control"), {"fields": tuple(fields)})] if fields else []
    return [first, *own, *others]


@admin.display(description=_("slots taken by"))
def slots(record: TaskRecord) -> str:
    """Show the tasks that have the slots, with links to them."""
    reason = _reason(record)
    holders = reason.holders if reason else ()
    task_address, _ = vars(record)["addresses"]
    items = ((show.link(task_address(each.id), each.id), show.name(each.name), _activity(each)) for each in holders)
    rows = format_html_join("", "<li>{} {} {}</li>", items)
    return format_html('<ul class="autotask-tasks">{}</ul>', rows)


@admin.display(description=_("gates"))
def gates(record: TaskRecord) -> str:
    """Show the limits and rates in the order in which the task passes them."""
    task, _ = vars(record)["flow_seen"] or (None, None)
    items = ((_place(place), reasons.in_full(gate)) for gate, place in _gates(task))
    rows = format_html_join("", "<li>{} {}</li>", items)
    return format_html('<ol class="autotask-tasks">{}</ol>', rows)


@admin.display(description=_("unique key"))
def unique_key(record: TaskRecord) -> str:
    """Show the key that no other task may have."""
    assert record.flow is not None  # otherwise the field is not on the page
    return show.name(reasons.key_in_words(record.flow["unique"]))


def _reason(record: TaskRecord) -> Reason | None:
    seen = vars(record).get("flow_seen")
    return seen[1] if seen else None


def _gates(task: read.StoredTask | None) -> list[tuple[Gate, Place | None]]:
    return [] if task is None else reasons.gates_of(task)


def _place(place: Place | None) -> str:
    return "" if place is None else show.pill(PLACE_WORDS[place], _PLACE_KINDS[place])


def _activity(holder: Holder) -> str:
    if holder.seconds is not None:
        return format_html("{} {}", show.state(State.RUNNING), show.duration(timedelta(seconds=holder.seconds)))
    return show.state(holder.state)
