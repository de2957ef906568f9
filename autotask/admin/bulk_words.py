"""The acts that can be done to all tasks that match a filter."""

import enum
from collections.abc import Sequence
from typing import NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from autotask.acts import tasks
from autotask.task import State


class Word(enum.StrEnum):
    """The acts, as arguments of the task that does them."""

    RETRY = "retry"
    CANCEL = "cancel"
    RUN = "run"
    PRIORITIZE = "prioritize"


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


ACTS = {
    Word.RETRY: Act(_("Retry"), _("Retried."), "retry_task", tasks.RETRYABLE),
    Word.CANCEL: Act(_("Cancel"), _("Cancelled."), "cancel_task", tasks.CANCELLABLE),
    Word.RUN: Act(_("Run now"), _("Made due."), "run_task", tasks.SCHEDULED),
    Word.PRIORITIZE: Act(_("Change the priority"), _("Priority changed."), "run_task", tasks.WAITING),
}
