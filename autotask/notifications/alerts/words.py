"""The description of an incident, in the language of its reader; its facts are in the database."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.translation import gettext, ngettext

from autotask.store.incidents import Incident
from autotask.texts import localized
from autotask.texts.lines import one_line
from autotask.texts.localized import in_words

#: The values of JSON that identify one incident among others of its kind.
Facts = Mapping[str, Any]


def of(facts: Facts) -> str:
    """Return an incident in words; *when* among its facts is the kind of its rule."""
    return one_line(_WORDS[facts["when"]](facts), 500)


def of_incident(incident: Incident) -> str:
    """Return a stored incident in words: in those of the site if another version of the code has noted other facts."""
    try:
        return of(incident.facts)
    except KeyError:
        return incident.text


def _failures(facts: Facts) -> str:
    words = ngettext(
        "%(name)s: %(failed)d of %(number)d task (%(share)s) failed within %(time)s",
        "%(name)s: %(failed)d of %(number)d tasks (%(share)s) failed within %(time)s",
        facts["ended"],
    )
    return words % {
        "name": facts["name"],
        "failed": facts["failed"],
        "number": facts["ended"],
        "share": localized.share(facts["failed"] / facts["ended"]),
        "time": in_words(facts["window"]),
    }


def _age(facts: Facts) -> str:
    words = gettext("the oldest ready task has waited %(time)s (queue %(queue)s)")
    return words % {"time": in_words(facts["seconds"]), "queue": facts["queue"]}


def _length(facts: Facts) -> str:
    ready, queue = facts["ready"], facts["queue"]
    if queue:
        words = ngettext(
            "%(number)d task ready in the queue %(queue)s", "%(number)d tasks ready in the queue %(queue)s", ready
        )
    else:
        words = ngettext("%(number)d task ready", "%(number)d tasks ready", ready)
    return words % {"number": ready, "queue": queue}


def _workers(facts: Facts) -> str:
    alive, needed = facts["alive"], facts["needed"]
    said = gettext("no worker is alive")
    if alive:
        said = ngettext("%(number)d worker alive", "%(number)d workers alive", alive) % {"number": alive}
    if needed == 1:
        return said
    return gettext("%(workers)s, at least %(number)d needed") % {"workers": said, "number": needed}


def _missed(facts: Facts) -> str:
    words = gettext("the schedule %(name)s has missed its tick of %(tick)s")
    tick = timezone.localtime(datetime.fromisoformat(facts["tick"]))
    return words % {"name": facts["name"], "tick": localized.moment(tick, zone=True)}


_WORDS: dict[str, Callable[[Facts], str]] = {
    "failures": _failures,
    "age": _age,
    "length": _length,
    "workers": _workers,
    "missed": _missed,
}
