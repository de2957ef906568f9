"""The tables of live tasks and of results."""

from django.db import models
from django.db.models.fields.json import KeyTextTransform
from django.utils.translation import gettext_lazy as _

from autotask.models.fields import IdsField, NamesField
from autotask.task import State

# Plain numbers, so that migrations do not import the enumeration.
SCHEDULED, READY = State.SCHEDULED.value, State.READY.value
HELD = State.HELD.value
DONE, ERROR, CANCELLED = State.DONE.value, State.ERROR.value, State.CANCELLED.value


class TaskFields(models.Model):
    """The columns that a task keeps from its call until its result is pruned."""

    id = models.UUIDField(primary_key=True, editable=False)
    state = models.SmallIntegerField(_("state"))
    queue = models.TextField(_("queue"))
    priority = models.SmallIntegerField(_("priority"))
    name = models.TextField(_("task"))
    arguments = models.TextField(_("arguments"), help_text=_("As text, shortened, with secrets masked."))
    created_at = models.DateTimeField(_("created"))
    run_at = models.DateTimeField(_("due"))
    started_at = models.DateTimeField(_("started"), null=True)
    attempt = models.IntegerField(_("attempts"), db_default=0, help_text=_("Attempts started so far."))
    failures = models.IntegerField(_("failures"), db_default=0, help_text=_("Attempts that raised an exception."))
    lost = models.IntegerField(_("lost"), db_default=0, help_text=_("Attempts whose worker died."))
    retries = models.IntegerField(_("retries"))
    ttl = models.FloatField(_("time to live"), help_text=_("Seconds for which the result is kept at least."))
    timeout = models.FloatField(_("time limit"), null=True, help_text=_("Seconds that one attempt may take."))
    executor = models.TextField(_("executor"), db_default="", help_text=_("Where it runs; empty means in a thread."))
    schedule = models.TextField(_("schedule"), null=True)
    scheduled_for = models.DateTimeField(_("tick"), null=True)
    at_most_once = models.BooleanField(_("at most once"), db_default=False)
    progress_done = models.FloatField(_("done"), null=True)
    progress_total = models.FloatField(_("of"), null=True)
    tags = NamesField(_("tags"), null=True)
    flow = models.JSONField(_("flow control"), null=True)
    on_end = models.TextField(_("notices"), null=True, help_text=_("Recipients to notify of its end, as JSON."))
    subject = models.TextField(_("subject"), null=True, help_text=_("The object that it is about."))
    metadata = models.JSONField(_("metadata"), null=True)

    class Meta:
        abstract = True


class LiveFields(TaskFields):
    """The columns that a task has only while it is live."""

    ready_at = models.DateTimeField(null=True)
    cancel_requested = models.BooleanField(db_default=False)
    awaited = models.BooleanField(db_default=False)
    unknown_since = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(_("expires"), null=True)
    payload = models.BinaryField()
    unique_key = models.TextField(_("unique key"), null=True)
    gate = models.TextField(_("gate"), null=True)
    passed = models.SmallIntegerField(null=True)

    class Meta:
        abstract = True


class Task(LiveFields):
    """A live task: it waits or runs.

    While it is READY by its state, it has a row in :class:`ReadyTask` if it is ready; while it is HELD, one in :class:`HeldTask`. Or
    else it has a place in a :class:`Claim`: it runs.

    :ivar attempt: the attempts that are over.
    """

    class Meta:
        db_table = "autotask_task"
        verbose_name = _("live task")
        verbose_name_plural = _("live tasks")
        default_permissions = ()
        indexes = [
            models.Index("run_at", name="autotask_due", condition=models.Q(state=SCHEDULED)),
            models.Index("schedule", name="autotask_of_schedule", condition=models.Q(schedule__isnull=False)),
            models.Index(
                "name",
                models.F("priority").desc(),
                "run_at",
                "id",
                name="autotask_message",
                condition=models.Q(executor="background", state=READY),
            ),
            # For the lists of the admin. Workers find the next task at a gate in HeldTask.
            models.Index("gate", "id", name="autotask_at_gate", condition=models.Q(state=HELD)),
            # Only of tasks with a subject; the others pay nothing for it.
            models.Index("subject", "id", name="autotask_subject", condition=models.Q(subject__isnull=False)),
        ]
        constraints = [
            models.CheckConstraint(
                name="autotask_task_is_live", condition=models.Q(state__in=[SCHEDULED, READY, HELD])
            ),
            # A claim takes away a key that begins with "waiting:".
            models.UniqueConstraint("unique_key", name="autotask_unique", condition=models.Q(unique_key__isnull=False)),
        ]


class ReadyTask(models.Model):
    """A task that may be claimed now: what a claim needs to find it, in the order in which it is found.

    :ivar suspect: whether its worker has died before.
    :ivar resets: whether the claim writes the task: its unique key is free then, or it has the progress of an earlier attempt.
    """

    pk = models.CompositePrimaryKey("queue", "priority", "executor", "ready_at", "id")
    queue = models.TextField()
    priority = models.SmallIntegerField()
    executor = models.TextField()
    ready_at = models.DateTimeField()
    id = models.UUIDField()
    suspect = models.BooleanField()
    resets = models.BooleanField()

    class Meta:
        db_table = "autotask_ready"
        default_permissions = ()
        indexes = [
            models.Index("queue", "priority", "executor", name="autotask_suspect", condition=models.Q(suspect=True))
        ]


class HeldTask(models.Model):
    """A task that waits at a gate: what is needed to find it, in the order in which tasks pass.

    :ivar rank: its priority, with the other sign.
    :ivar follows: whether a claim may take it as a follower, as far as it alone is concerned.
    :ivar resets: whether such a claim writes the task, as of :class:`ReadyTask`.
    """

    pk = models.CompositePrimaryKey("gate", "rank", "run_at", "id")
    gate = models.TextField()
    rank = models.SmallIntegerField()
    run_at = models.DateTimeField()
    id = models.UUIDField()
    queue = models.TextField()
    expires_at = models.DateTimeField(null=True)
    follows = models.BooleanField()
    resets = models.BooleanField()

    class Meta:
        db_table = "autotask_held"
        default_permissions = ()
        indexes = [
            models.Index("expires_at", name="autotask_expiring", condition=models.Q(expires_at__isnull=False)),
        ]


class Claim(models.Model):
    """The tasks that a worker has claimed together.

    :ivar number: with the place of a task, it makes the fence.
    :ivar ids: the tasks; NULL at the place of one that was put back.
    """

    number = models.BigIntegerField(primary_key=True)
    worker_id = models.UUIDField()
    at = models.DateTimeField()
    ids = IdsField()

    class Meta:
        db_table = "autotask_claim"
        default_permissions = ()


class PastTask(models.Model):
    """The record of a task that is kept after its result is gone, for ``AUTOTASK_HISTORY``: that it ran, and how it ended.

    :ivar gone_at: when its result was pruned.
    """

    id = models.UUIDField(primary_key=True, editable=False)
    state = models.SmallIntegerField()
    queue = models.TextField()
    priority = models.SmallIntegerField()
    name = models.TextField()
    created_at = models.DateTimeField()
    run_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField()
    gone_at = models.DateTimeField()
    attempt = models.IntegerField()
    failures = models.IntegerField()
    lost = models.IntegerField()
    retries = models.IntegerField()
    schedule = models.TextField(null=True)
    tags = NamesField(null=True)
    subject = models.TextField(null=True)
    error_message = models.TextField(db_default="")

    class Meta:
        db_table = "autotask_history"
        default_permissions = ()
        indexes = [
            # Only of a few tasks: the others pay for one index, that of the primary key.
            models.Index(
                "state", "id", name="autotask_history_not_done", condition=models.Q(state__in=[ERROR, CANCELLED])
            ),
            models.Index("subject", "id", name="autotask_history_subject", condition=models.Q(subject__isnull=False)),
        ]
        constraints = [
            # As for the other tables: the planner skips it where its tasks cannot match.
            models.CheckConstraint(
                name="autotask_history_is_ended", condition=models.Q(state__in=[DONE, ERROR, CANCELLED])
            ),
        ]


class Result(TaskFields):
    """A finished task, kept until ``kept_until`` and until all recipients were notified of its end.

    It keeps its payload if it may run again: unless it is done, or else if there is one task for its key, ever.
    """

    worker_id = models.UUIDField(_("worker"), null=True)
    fence = models.BigIntegerField(null=True)
    ended_at = models.DateTimeField(_("ended"))
    kept_until = models.DateTimeField(_("kept until"))
    payload = models.BinaryField(null=True)
    value = models.BinaryField(null=True)
    error_message = models.TextField(_("error"), db_default="")
    notices = models.JSONField(_("sent notices"), null=True)
    settled_at = models.DateTimeField(_("settled"), null=True, help_text=_("When all notices were sent, or given up."))

    class Meta:
        db_table = "autotask_result"
        verbose_name = _("result")
        verbose_name_plural = _("results")
        default_permissions = ()
        indexes = [
            models.Index("kept_until", name="autotask_result_kept"),
            models.Index(
                "state", "id", name="autotask_result_not_done", condition=models.Q(state__in=[ERROR, CANCELLED])
            ),
            models.Index(
                "schedule",
                "created_at",
                name="autotask_result_of_schedule",
                condition=models.Q(schedule__isnull=False),
            ),
            # Only of tasks that exist once for their key; the others pay nothing for it.
            models.Index(
                KeyTextTransform("unique", "flow"),
                name="autotask_result_once",
                condition=models.Q(flow__has_key="once"),
            ),
            models.Index(
                "ended_at",
                name="autotask_result_to_tell",
                condition=models.Q(on_end__isnull=False, settled_at__isnull=True),
            ),
            models.Index("subject", "id", name="autotask_result_subject", condition=models.Q(subject__isnull=False)),
        ]
        constraints = [
            # With that of the live table, it lets the planner skip the half of the view that cannot match.
            models.CheckConstraint(
                name="autotask_result_is_ended", condition=models.Q(state__in=[DONE, ERROR, CANCELLED])
            ),
        ]
