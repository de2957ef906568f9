"""SimpleTask: an abstract model whose rows are tasks."""

import uuid
from collections.abc import Mapping
from typing import Any, ClassVar

from django.apps import apps
from django.core.checks import CheckMessage
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models, router, transaction
from django.db.models.signals import class_prepared
from django.utils.translation import gettext_lazy as _

from autotask import registry
from autotask.exceptions import RowWithoutTask
from autotask.handle import TaskHandle
from autotask.model_tasks import acting, checking
from autotask.model_tasks.definition import ModelTask
from autotask.model_tasks.queryset import SimpleTaskManager, doubt
from autotask.store import model_rows
from autotask.task import DEFAULT_QUEUE, new_id

#: The columns that workers write. save() leaves them as they are in the database.
OWN = ("task_id", "current_step", "step_times", "done_time", "success", "result", "error_message")


class SimpleTask(models.Model):
    """A row that is a task: saved once, it is run in the background, step by step.

    ::

        class WorldTask(SimpleTask):
            url = models.URLField()
            content = models.TextField(blank=True)
            final_step = 2

            def do_task_main_step1(self, payload):
                return {"proxy": {"method": "GET", "url": self.url}}

            def do_task_main_step2(self, payload):
                self.content = payload["proxied_content"] or ""
                self.save()

    :cvar final_step: the number of steps. With 1, the step is ``do_task_main``; with more, they are ``do_task_main_step1``,
        ``do_task_main_step2`` and so on.
    :cvar channel: the queue of its tasks.
    :cvar channel_field: the name of a field that holds the queue of each row; None: *channel*.
    :cvar options: those of ``delayed_task``, as a dict; without those of functions.
    :cvar remote: whether only a client from outside starts its steps.
    :cvar do_task_timeout: seconds that such a client has to begin the next step, before the task is offered again.
    """

    add_time = models.DateTimeField(_("added"), auto_now_add=True)
    mod_time = models.DateTimeField(_("changed"), auto_now=True)
    task_id = models.UUIDField(_("task"), null=True, unique=True, editable=False)
    current_step = models.PositiveSmallIntegerField(_("step"), default=1, editable=False)
    step_times = models.JSONField(_("times of steps"), default=dict, editable=False)
    done_time = models.DateTimeField(_("done"), null=True, editable=False, db_index=True)
    success = models.BooleanField(_("success"), null=True, editable=False)
    result = models.JSONField(_("result"), null=True, editable=False, encoder=DjangoJSONEncoder)
    error_message = models.TextField(_("error"), blank=True, default="", editable=False)

    objects = SimpleTaskManager()

    final_step: ClassVar[int] = 1
    is_multi_steps: ClassVar[bool] = False
    channel: ClassVar[str] = DEFAULT_QUEUE
    channel_field: ClassVar[str | None] = None
    options: ClassVar[Mapping[str, Any]] = {}
    remote: ClassVar[bool] = False
    do_task_timeout: ClassVar[float] = 300
    task_definition: ClassVar[ModelTask]

    #: Whether it was inserted in a transaction of which nobody knows yet whether it commits.
    _is_doubtful = False

    class Meta:
        abstract = True

    @property
    def task_info(self) -> str:
        """The row as text: ``app.model:key``."""
        return f"{self._meta.label_lower}:{self.pk}"

    @property
    def handle(self) -> TaskHandle[Any]:
        """The handle of the task.

        :raises RowWithoutTask: it is not saved yet, was loaded from a fixture, or was made as done.
        """
        if self.task_id is None:
            raise RowWithoutTask(id=None, name=self.task_info)
        return TaskHandle(self.task_id, self.task_definition.name)

    def task_channel(self) -> str:
        """Return the queue of the task; override it for other rules than ``channel`` and ``channel_field``."""
        return str(getattr(self, self.channel_field) or self.channel) if self.channel_field else self.channel

    # --- saving -----------------------------------------------------------------------------------------------------

    def save(self, *args: Any, **options: Any) -> None:
        """Save the row; a new one becomes a task, in the same transaction.

        Of a row that exists, the columns that workers write stay as they are in the database, unless *update_fields* names
        them.
        """
        using = options.get("using")
        if self._is_doubtful:
            self._look_for_row(using)
        is_plain = not (args or options.get("force_insert") or options.get("update_fields") is not None)
        if is_plain and not self._is_new() and self._is_in(using):
            left_out = {*OWN, *self.get_deferred_fields()}
            fields = [field for field in self._meta.concrete_fields if not (field.primary_key or field.generated)]
            options["update_fields"] = [field.name for field in fields if field.attname not in left_out]
        super().save(*args, **options)

    def save_base(
        self,
        raw: bool = False,
        force_insert: bool | tuple[models.base.ModelBase, ...] = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Any = None,
    ) -> None:
        """Save the row, and store its task if it is new. Fixtures are loaded as they are (*raw*)."""
        using = using or router.db_for_write(type(self), instance=self)
        is_new = self._is_new() or bool(force_insert)
        if raw or force_update or update_fields or not is_new or self._replaces(using, bool(force_insert)):
            super().save_base(raw, force_insert, force_update, using, update_fields)
            return
        if not self.begin():
            super().save_base(raw, force_insert, force_update, using, update_fields)
            return
        self.task_definition.refuse_unfit(using)
        with transaction.atomic(using=using, savepoint=False):
            super().save_base(raw, force_insert, force_update, using, update_fields)
            self.task_definition.enqueue_rows([self], using)
        doubt([self], using)

    def begin(self, id: uuid.UUID | None = None) -> bool:
        """Make this a new row, before it is inserted, and return whether it becomes a task: not one that is done.

        :param id: of the task; None: a new one.
        """
        if self.task_id is None and self.done_time is not None:
            return False
        self.task_id = id or new_id()
        self.current_step, self.step_times = 1, {}
        self.done_time, self.success, self.result, self.error_message = None, None, None, ""
        return True

    def _is_new(self) -> bool:
        return self._state.adding or self.pk is None

    def _look_for_row(self, using: str | None) -> None:
        """Make this a new row if the transaction that has inserted it was rolled back, so that saving it inserts it again."""
        if self._is_new():
            return
        if not self._exists(using or acting.database_to_write(self)):
            self._state.adding, self._is_doubtful = True, False

    def _is_in(self, using: str | None) -> bool:
        """Whether this is a row of the database in which it is saved. It may have been read from a replica of that."""
        return using is None or using == self._state.db or self._exists(using)

    def _exists(self, using: str) -> bool:
        return type(self)._base_manager.using(using).filter(pk=self.pk).exists()

    def _replaces(self, using: str, force_insert: bool) -> bool:
        """Whether the row has the key of another one, which Django would overwrite; then its task stays."""
        if force_insert or self.pk is None or self._meta.pk.has_default():
            return False
        found = type(self)._base_manager.using(using).filter(pk=self.pk).values("add_time", *OWN).first()
        for name, value in (found or {}).items():
            setattr(self, name, value)
        return found is not None

    # --- acts -------------------------------------------------------------------------------------------------------

    def start_again(self) -> None:
        """Begin again at step 1, whatever has happened to the row; what its steps have returned is forgotten.

        :raises RowBusy: its task runs.
        """
        acting.start_again(self)

    def run_now(self) -> bool:
        """Have a worker run the next step as soon as it can, even if the task waits for later or for a client from outside.

        :returns: whether the task waits.
        """
        return acting.run_now(self)

    def mark_done(self) -> None:
        """End the row as it is: its task is cancelled, and ``success`` stays unknown.

        :raises RowBusy: its task runs.
        """
        acting.mark_done(self)

    @classmethod
    def check(cls, **options: Any) -> list[CheckMessage]:
        """Check the class, too: its handlers, its channel and its options."""
        return [*super().check(**options), *checking.problems(cls)]


def _define(sender: type[models.Model], **_: Any) -> None:
    # Migrations make models of former states; these are no tasks.
    if issubclass(sender, SimpleTask) and sender._meta.apps is apps and not sender._meta.swapped:
        sender.task_definition = definition = registry.register(ModelTask(sender))
        model_rows.tables[definition.name] = definition.table()


class_prepared.connect(_define)
