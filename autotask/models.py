"""The tables as Django models, for migrations and for pages that read; tasks are never changed through them."""

import json
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.fields.json import KeyTextTransform
from django.utils.translation import gettext_lazy as _

from autotask.task import State

if TYPE_CHECKING:
    Field = models.Field[Any, Any]
    Lookup = models.Lookup[Any]
    Manager = models.Manager[Any]
else:
    Field, Lookup, Manager = models.Field, models.Lookup, models.Manager  # cannot be subscripted at run time

# Plain numbers, so that migrations do not import the enumeration.
SCHEDULED, READY, RUNNING = State.SCHEDULED.value, State.READY.value, State.RUNNING.value
HELD = State.HELD.value
DONE, ERROR, CANCELLED = State.DONE.value, State.ERROR.value, State.CANCELLED.value


class NamesField(Field):
    """Names, as an array in PostgreSQL; as text in other databases, where no rows are stored.

    Django's ``ArrayField`` would make every project add ``django.contrib.postgres`` to its ``INSTALLED_APPS``.
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        """Return the type of the column."""
        return "text[]" if connection.vendor == "postgresql" else "text"

    def to_python(self, value: Any) -> Any:
        """Return the names in the text made by :meth:`value_to_string`."""
        return json.loads(value) if isinstance(value, str) else value

    def value_to_string(self, obj: models.Model) -> str:
        """Return the names as JSON, for a fixture."""
        return json.dumps(self.value_from_object(obj))


class NumbersField(Field):
    """Whole numbers, as an array in PostgreSQL; as text in other databases, where no rows are stored."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        """Return the type of the column."""
        return "bigint[]" if connection.vendor == "postgresql" else "text"

    def to_python(self, value: Any) -> Any:
        """Return the numbers in the text made by :meth:`value_to_string`."""
        return json.loads(value) if isinstance(value, str) else value

    def value_to_string(self, obj: models.Model) -> str:
        """Return the numbers as JSON, for a fixture."""
        return json.dumps(self.value_from_object(obj))


@NamesField.register_lookup
class Has(Lookup):
    """``names__has="a"``: the names include this one."""

    lookup_name = "has"

    def as_sql(self, compiler: Any, connection: BaseDatabaseWrapper) -> tuple[str, tuple[Any, ...]]:
        """Return the condition."""
        names, names_params = self.process_lhs(compiler, connection)
        name, name_params = self.process_rhs(compiler, connection)
        return f"{name} = ANY({names})", (*name_params, *names_params)


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
    worker_id = models.UUIDField(_("worker"), null=True)
    fence = models.BigIntegerField(null=True)
    schedule = models.TextField(_("schedule"), null=True)
    scheduled_for = models.DateTimeField(_("tick"), null=True)
    at_most_once = models.BooleanField(_("at most once"), db_default=False)
    progress_done = models.FloatField(_("done"), null=True)
    progress_total = models.FloatField(_("of"), null=True)
    tags = NamesField(_("tags"), null=True)
    flow = models.JSONField(_("flow control"), null=True)
    on_end = models.TextField(_("notices"), null=True, help_text=_("Whom to tell of its end, as JSON."))

    class Meta:
        abstract = True


class Task(TaskFields):
    """A live task: it waits or runs."""

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
        db_table = "autotask_task"
        verbose_name = _("live task")
        verbose_name_plural = _("live tasks")
        default_permissions = ()
        indexes = [
            models.Index(
                "queue", "priority", "executor", "ready_at", name="autotask_ready", condition=models.Q(state=READY)
            ),
            models.Index(
                "queue",
                "priority",
                "executor",
                name="autotask_suspect",
                condition=models.Q(state=READY, lost__gt=0),
            ),
            models.Index("run_at", name="autotask_due", condition=models.Q(state=SCHEDULED)),
            models.Index("worker_id", name="autotask_running", condition=models.Q(state=RUNNING)),
            models.Index("schedule", name="autotask_of_schedule", condition=models.Q(schedule__isnull=False)),
            models.Index(
                "gate",
                models.F("priority").desc(),
                "run_at",
                "id",
                name="autotask_held",
                condition=models.Q(state=HELD),
            ),
            models.Index(
                "expires_at", name="autotask_expiring", condition=models.Q(state=HELD, expires_at__isnull=False)
            ),
            models.Index(
                "name",
                models.F("priority").desc(),
                "run_at",
                "id",
                name="autotask_message",
                condition=models.Q(executor="background", state=READY),
            ),
        ]
        constraints = [
            models.CheckConstraint(
                name="autotask_task_is_live", condition=models.Q(state__in=[SCHEDULED, READY, RUNNING, HELD])
            ),
            # A key that begins with "waiting:" is free as soon as a worker has claimed its task.
            models.UniqueConstraint(
                "unique_key",
                name="autotask_unique",
                condition=models.Q(unique_key__isnull=False)
                & (~models.Q(state=RUNNING) | ~models.Q(unique_key__startswith="waiting:")),
            ),
            models.CheckConstraint(
                name="autotask_running_is_claimed",
                condition=models.Q(state=RUNNING, fence__isnull=False, worker_id__isnull=False)
                | (~models.Q(state=RUNNING) & models.Q(fence__isnull=True, worker_id__isnull=True)),
            ),
        ]


class Result(TaskFields):
    """A finished task, kept until ``kept_until`` and until everybody was told of its end.

    It keeps its payload if it may run again: unless it is done, or else if there is one task for its key, ever.
    """

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
            models.Index("ended_at", name="autotask_result_ended"),
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
        ]
        constraints = [
            # With that of the live table, it lets the planner skip the half of the view that cannot match.
            models.CheckConstraint(
                name="autotask_result_is_ended", condition=models.Q(state__in=[DONE, ERROR, CANCELLED])
            ),
        ]


class Mark(models.Model):
    """A request to look at a gate at a moment: something has come that waits there, or that lets others pass.

    Rows are only added and deleted, never changed, so the transactions of callers hold up nobody.
    """

    id = models.BigAutoField(primary_key=True)
    gate = models.TextField()
    at = models.DateTimeField()

    class Meta:
        db_table = "autotask_mark"
        default_permissions = ()
        indexes = [models.Index("at", name="autotask_mark_at")]


class Slot(models.Model):
    """One of the slots of a limit, and the task that has it, or had it last.

    It is taken while that task is live and has passed the gate at this place; so nothing has to give it back, and nothing
    can leak. Each time it is given away it gets another version, so that no two sessions give it away at once.
    """

    pk = models.CompositePrimaryKey("gate", "number")
    gate = models.TextField()
    number = models.IntegerField()
    task_id = models.UUIDField()
    place = models.SmallIntegerField()
    version = models.BigIntegerField()

    class Meta:
        db_table = "autotask_slot"
        default_permissions = ()


class Bucket(models.Model):
    """The tokens of a rate: the bucket is full again at ``full_at`` (the theoretical arrival time of GCRA)."""

    gate = models.TextField(primary_key=True)
    full_at = models.DateTimeField()
    closed_until = models.DateTimeField(null=True)
    task_id = models.UUIDField(null=True)

    class Meta:
        db_table = "autotask_bucket"
        default_permissions = ()


class Pause(models.Model):
    """Something that nobody works on until it is resumed: a queue, a task, a limit, or everything."""

    id = models.BigAutoField(primary_key=True)
    kind = models.TextField(_("kind"))
    name = models.TextField(_("name"), db_default="")
    paused_at = models.DateTimeField(_("paused"))
    paused_by = models.TextField(_("paused by"), db_default="")
    until = models.DateTimeField(_("until"), null=True)
    reason = models.TextField(_("reason"), db_default="")

    class Meta:
        db_table = "autotask_pause"
        verbose_name = _("pause")
        verbose_name_plural = _("pauses")
        default_permissions = ("view",)
        permissions = [("pause_tasks", _("Can pause and resume tasks"))]
        constraints = [models.UniqueConstraint("kind", "name", name="autotask_pause_of")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}".strip()


class ApiKey(models.Model):
    """A key of the HTTP API: its name, what it allows, and the SHA-256 of its secret."""

    id = models.BigAutoField(primary_key=True)
    name = models.TextField(_("name"))
    digest = models.TextField()
    scopes = NamesField(_("scopes"))
    created_at = models.DateTimeField(_("created"))
    expires_at = models.DateTimeField(_("expires"), null=True)
    used_at = models.DateTimeField(_("last used"), null=True)
    revoked_at = models.DateTimeField(_("revoked"), null=True)

    class Meta:
        db_table = "autotask_api_key"
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")
        default_permissions = ("view",)
        permissions = [("issue_keys", _("Can create and revoke API keys"))]
        constraints = [
            models.UniqueConstraint("name", name="autotask_api_key_name", condition=models.Q(revoked_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return self.name


class IdempotencyKey(models.Model):
    """An idempotency key of a caller of the HTTP API, and the task that its first request made.

    :ivar fingerprint: of the request, so that another one with the same key is noticed.
    :ivar until: when it is forgotten.
    """

    pk = models.CompositePrimaryKey("caller", "key")
    caller = models.TextField()
    key = models.TextField()
    fingerprint = models.TextField()
    task_id = models.UUIDField()
    until = models.DateTimeField()

    class Meta:
        db_table = "autotask_idempotency_key"
        default_permissions = ()
        indexes = [models.Index("until", name="autotask_idempotency_until")]


class Attempt(models.Model):
    """One attempt that did not succeed: what went wrong, and its outcome."""

    id = models.BigAutoField(primary_key=True)
    task_id = models.UUIDField()
    number = models.IntegerField(_("attempt"))
    fence = models.BigIntegerField()
    state = models.SmallIntegerField(_("outcome"))
    worker_id = models.UUIDField(_("worker"), null=True)
    started_at = models.DateTimeField(_("started"), null=True)
    ended_at = models.DateTimeField(_("ended"))
    error_type = models.TextField(_("exception"), db_default="")
    error_message = models.TextField(_("error"), db_default="")
    traceback = models.TextField(_("traceback"), db_default="")

    class Meta:
        db_table = "autotask_attempt"
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        default_permissions = ()
        indexes = [models.Index("task_id", name="autotask_attempt_task")]


class LogPiece(models.Model):
    """Some lines that one attempt has logged. Rows are only added and deleted."""

    id = models.BigAutoField(primary_key=True)
    task_id = models.UUIDField()
    attempt = models.IntegerField()
    at = models.DateTimeField()
    text = models.TextField()

    class Meta:
        db_table = "autotask_log"
        default_permissions = ()
        indexes = [
            models.Index("task_id", "id", name="autotask_log_of_task"),
            models.Index("at", name="autotask_log_at"),
        ]


class Step(models.Model):
    """What a step of a task has returned: it is not run again.

    The steps of model tasks have a number, from 1; those of functions a name, and the number 0.
    """

    pk = models.CompositePrimaryKey("task_id", "number", "name")
    task_id = models.UUIDField()
    number = models.SmallIntegerField(_("number"))
    name = models.TextField(_("step"))
    value = models.BinaryField(null=True)
    started_at = models.DateTimeField(_("started"))
    ended_at = models.DateTimeField(_("ended"))

    class Meta:
        db_table = "autotask_step"
        verbose_name = _("step")
        verbose_name_plural = _("steps")
        default_permissions = ()


class Statistics(models.Model):
    """What happened to the tasks of one name and queue in one minute, one hour, or since the table was made.

    :ivar period: seconds, with 0 for all times.
    :ivar at: when the period began; 1970 for all times.
    :ivar waiting: how many attempts waited how long, by the buckets of :data:`autotask.statistics.BOUNDS`.
    :ivar running: the same for how long they ran.
    """

    pk = models.CompositePrimaryKey("period", "at", "name", "queue")
    period = models.IntegerField()
    at = models.DateTimeField()
    name = models.TextField()
    queue = models.TextField()
    started = models.BigIntegerField()
    succeeded = models.BigIntegerField()
    failed = models.BigIntegerField()
    retried = models.BigIntegerField()
    cancelled = models.BigIntegerField()
    lost = models.BigIntegerField()
    waited = models.FloatField()
    ran = models.FloatField()
    waiting = NumbersField()
    running = NumbersField()

    class Meta:
        db_table = "autotask_statistics"
        default_permissions = ()


class Worker(models.Model):
    """One row per living worker. No index on columns that heartbeats change, so that they stay HOT updates."""

    id = models.UUIDField(primary_key=True, editable=False)
    kind = models.TextField(_("kind"))
    host = models.TextField(_("host"))
    boot_id = models.TextField()
    pid = models.IntegerField(_("pid"))
    pid_started = models.BigIntegerField()
    serves_pid = models.IntegerField(_("Django process"), null=True)
    queues = models.TextField(_("queues"), db_default="", help_text=_("Comma-separated; empty means all."))
    threads = models.SmallIntegerField(_("threads"))
    executors = models.TextField(db_default="")
    version = models.TextField(_("version"))
    zone_data = models.TextField(_("time zone data"), db_default="")
    stopping = models.BooleanField(_("stopping"), db_default=False)
    idle = models.BooleanField(_("idle"), db_default=False)
    started_at = models.DateTimeField(_("started"))
    seen_at = models.DateTimeField(_("last seen"))
    lease_until = models.DateTimeField(_("lease until"))

    class Meta:
        db_table = "autotask_worker"
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class Schedule(models.Model):
    """One row per periodic or cron task, with its next tick."""

    name = models.TextField(_("schedule"), primary_key=True)
    task = models.TextField(_("task"))
    spec = models.TextField(_("when"))
    former = models.TextField(
        db_default="", help_text=_("The timetables that it had before, for workers whose code is older; one a line.")
    )
    registered_at = models.DateTimeField(_("registered"))
    last_tick = models.DateTimeField(_("last tick"), null=True)
    next_tick = models.DateTimeField(_("next tick"))
    held = models.TextField(
        _("held ticks"), db_default="", help_text=_("Ticks whose tasks wait for the end of an earlier one.")
    )
    declared_at = models.DateTimeField(
        _("declared"), help_text=_("When a worker last said that its code has this schedule.")
    )
    paused_at = models.DateTimeField(_("paused"), null=True)
    paused_by = models.TextField(_("paused by"), db_default="")
    resumed_at = models.DateTimeField(
        _("resumed"), null=True, help_text=_("Ticks from before this moment are not made up for.")
    )

    class Meta:
        db_table = "autotask_schedule"
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        default_permissions = ("view",)
        permissions = [
            ("pause_schedule", _("Can pause and resume schedules")),
            ("run_schedule", _("Can run schedules")),
        ]

    def __str__(self) -> str:
        return self.name


class BackgroundWorker(models.Model):
    """One row per background worker: whether it is to run, and with which arguments."""

    name = models.TextField(_("background worker"), primary_key=True)
    kind = models.TextField(_("kind"))
    per = models.TextField(_("one per"))
    queue = models.TextField(_("queue"))
    wanted = models.BooleanField(_("to run"))
    decided = models.BooleanField(
        db_default=False, help_text=_("Whether somebody, or its function, has decided that, and not just the code.")
    )
    start_id = models.UUIDField(help_text=_("Identifies the last start."))
    setup = models.BinaryField(null=True, help_text=_("The signed arguments of the last start."))
    ended = models.TextField(_("has stopped by itself"), db_default="")
    declared_at = models.DateTimeField(_("declared"), help_text=_("When a worker last said that its code has it."))

    class Meta:
        db_table = "autotask_background"
        verbose_name = _("background worker")
        verbose_name_plural = _("background workers")
        default_permissions = ("view",)
        permissions = [
            ("start_backgroundworker", _("Can start background workers")),
            ("stop_backgroundworker", _("Can stop background workers")),
            ("trigger_backgroundworker", _("Can trigger background workers")),
        ]

    def __str__(self) -> str:
        return self.name


class BackgroundInstance(models.Model):
    """One instance of a background worker: that of the site, of a host or of a worker. Only its host writes to it."""

    pk = models.CompositePrimaryKey("name", "place")
    name = models.TextField()
    place = models.TextField(help_text=_("Empty for the site; otherwise names the host or the worker."))
    worker_id = models.UUIDField(null=True)
    fence = models.BigIntegerField()
    start_id = models.UUIDField()
    host = models.TextField()
    pid = models.IntegerField()
    began_at = models.DateTimeField(null=True)
    taken_at = models.DateTimeField()
    runs = models.BigIntegerField(db_default=0)
    errors = models.BigIntegerField(db_default=0)
    last_run_at = models.DateTimeField(null=True)
    last_error = models.TextField(db_default="")
    last_error_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "autotask_background_instance"
        default_permissions = ()


class BackgroundTrigger(models.Model):
    """A trigger of one instance that belongs to a host or a worker, until its run has ended."""

    name = models.TextField()
    place = models.TextField()
    created_at = models.DateTimeField()

    class Meta:
        db_table = "autotask_background_trigger"
        default_permissions = ()
        indexes = [models.Index(fields=["name", "place"], name="autotask_trigger_place")]


class TaskRecord(models.Model):
    """Every task, live or finished: a view over both tables, for pages that list them together."""

    id = models.UUIDField(primary_key=True, editable=False)
    state = models.SmallIntegerField(_("state"))
    queue = models.TextField(_("queue"))
    priority = models.SmallIntegerField(_("priority"))
    name = models.TextField(_("task"))
    arguments = models.TextField(_("arguments"))
    created_at = models.DateTimeField(_("created"))
    run_at = models.DateTimeField(_("due"))
    started_at = models.DateTimeField(_("started"), null=True)
    ended_at = models.DateTimeField(_("ended"), null=True)
    kept_until = models.DateTimeField(_("kept until"), null=True)
    attempt = models.IntegerField(_("attempts"))
    failures = models.IntegerField(_("failures"))
    lost = models.IntegerField(_("lost"))
    retries = models.IntegerField(_("retries"))
    ttl = models.FloatField(_("time to live"))
    timeout = models.FloatField(_("time limit"), null=True)
    executor = models.TextField(_("executor"))
    worker_id = models.UUIDField(_("worker"), null=True)
    schedule = models.TextField(_("schedule"), null=True)
    scheduled_for = models.DateTimeField(_("tick"), null=True)
    at_most_once = models.BooleanField(_("at most once"))
    progress_done = models.FloatField(_("done"), null=True)
    progress_total = models.FloatField(_("of"), null=True)
    expires_at = models.DateTimeField(_("expires"), null=True)
    cancel_requested = models.BooleanField(_("cancellation asked for"))
    error_message = models.TextField(_("error"))
    tags = NamesField(_("tags"), null=True)
    flow = models.JSONField(_("flow control"), null=True)
    gate = models.TextField(_("gate"), null=True)
    on_end = models.TextField(_("notices"), null=True)

    class Meta:
        db_table = "autotask_record"
        managed = False
        verbose_name = _("task")
        verbose_name_plural = _("tasks")
        default_permissions = ("view",)
        permissions = [
            ("retry_task", _("Can retry tasks")),
            ("cancel_task", _("Can cancel tasks")),
            ("run_task", _("Can run scheduled tasks at once and change priorities")),
            ("act_on_all_tasks", _("Can act on all tasks that match a filter")),
            ("submit_task", _("Can submit tasks through the HTTP API")),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.id}"

    def _save_table(self, raw: bool = False, *args: Any, **options: Any) -> bool:
        # dumpdata writes views as well, and loaddata would fail on them. The rows are loaded with the tables.
        return False if raw else bool(super()._save_table(raw, *args, **options))  # type: ignore[misc]  # of Django's own


class NoRows(Manager):
    """The manager of a model without a table, for programs that read all models, such as dumpdata."""

    def get_queryset(self) -> models.QuerySet[Any]:
        """Return nothing."""
        return super().get_queryset().none()


class Dashboard(models.Model):
    """The pages of the dashboard, which read other tables; it has no rows, only permissions."""

    objects = NoRows()

    class Meta:
        managed = False
        base_manager_name = "objects"
        verbose_name = _("dashboard")
        verbose_name_plural = _("dashboard")
        default_permissions = ("view",)
