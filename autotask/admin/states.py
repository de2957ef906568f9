"""The states with their counts, as links to their tasks: above the list, and on the overview."""

from collections.abc import Callable
from typing import Any

from django.utils.translation import gettext

from autotask.admin import show
from autotask.admin.filters import STATES
from autotask.store import glance
from autotask.store.glance import Count
from autotask.task import State
from autotask.texts.localized import whole


def shown(counts: dict[State, Count], address: Callable[[str | None], str | None]) -> list[dict[str, Any]]:
    """Return the states with their counts.

    :param address: returns that of the tasks in a state, given by its word in addresses.
    """
    return [
        {
            "word": show.STATE_WORDS[state],
            "help": show.STATE_HELP.get(state, ""),
            "kind": state.name.lower(),
            "key": key,
            "number": number(counts[state]) if state in counts else None,
            "address": address(key),
        }
        for key, state in STATES.items()
    ]


def choices(
    counts: dict[State, Count], address: Callable[[str | None], str], chosen: str | None
) -> list[dict[str, Any]]:
    """Return all states and each one as a choice above the list."""
    every = {"word": gettext("all"), "help": "", "key": None, "number": None, "address": address(None)}
    found = [every, *shown(counts, address)]
    return [{**each, "is_current": each["key"] == chosen} for each in found]


def number(count: Count) -> str:
    """Return a count as text."""
    if count.is_exact:
        return whole(count.number)
    if count.number <= glance.COUNTED:
        return f"> {whole(count.number)}"
    # The estimate of the planner is not better than three digits.
    return f"≈ {whole(round(count.number, 3 - len(str(count.number))))}"
