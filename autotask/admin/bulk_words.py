"""The acts that can be done to all tasks that match a filter."""

import enum
from collections.abc import Sequence
from typing import Any, NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from autotask.acts import tasks
from autotask.task import State


class Word(enum.StrEnum):
    """The acts, as arguments of the task that does them."""

    RETRY = "retry"
    CANCEL = "cancel"
    DISCARD = "discard"
    RUN = "run"
    PRIORITIZE = "prioritize"


#: The least and the most tasks that can be retried in a second.
SLOWEST = 0.01
FASTEST = 10_000


class Act(NamedTuple):
    """An act.

    :ivar label: on its button.
    :ivar said: in the history of each task.
    :ivar permission: that it takes, in addition to that to act on all.
    :ivar states: of the tasks to which it can be done.
    """

    label: Promise
    said: Promise
    permission: str
    states: Sequence[State]


#: The permission to do any of them to all tasks that match.
PERMISSION = "autotask.act_on_all_tasks"

ACTS = {
    Word.RETRY: Act(_("Retry"), _("Retried."), "retry_task", tasks.RETRYABLE),
    Word.CANCEL: Act(_("Cancel"), _("Cancelled."), "cancel_task", tasks.CANCELLABLE),
    Word.DISCARD: Act(_("Discard"), _("Discarded."), "discard_task", tasks.RETRYABLE),
    Word.RUN: Act(_("Run now"), _("Made due."), "run_task", tasks.SCHEDULED),
    Word.PRIORITIZE: Act(_("Change the priority"), _("Priority changed."), "run_task", tasks.WAITING),
}


def may(user: Any, word: Word) -> bool:
    """Whether a user may do an act to all tasks that match."""
    return bool(user.is_active and user.has_perm(PERMISSION) and user.has_perm(f"autotask.{ACTS[word].permission}"))
