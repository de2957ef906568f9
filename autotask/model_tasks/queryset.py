"""The manager of model tasks: rows that are made many at a time, and the status of rows."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import connections, models, transaction
from django.db.models import Case, Exists, F, OuterRef, Q, Subquery, Value, When
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Coalesce
from django.utils.translation import gettext_lazy as _

from autotask.conf import settings
from autotask.models import LiveTask, Result
from autotask.task import State, new_ids

if TYPE_CHECKING:
    QuerySet = models.QuerySet[Any]
else:
    QuerySet = models.QuerySet


def doubt(rows: Sequence[Any], using: str) -> None:
    """Note that new rows may be rolled back with the caller's transaction, until that has committed."""
    if not connections[using].in_atomic_block:
        return

    def commit() -> None:
        for row in rows:
            row._is_doubtful = False

    for row in rows:
        row._is_doubtful = True
    transaction.on_commit(commit, using=using)


class Status(models.IntegerChoices):
    """The progress of a row; the numbers are those of django-simpletask2."""

    READY = 10, _("ready")
    DOING = 20, _("doing")
    DONE = 30, _("done")


class SimpleTaskQuerySet(QuerySet):
    """Rows that are tasks."""

    def bulk_create(self, objs: Iterable[Any], *args: Any, **options: Any) -> list[Any]:
        """Insert rows, and with one more statement their tasks; the parameters are those of Django.

        Rows that are not inserted, because of ``ignore_conflicts`` or ``update_conflicts``, get no new tasks.
        """
        rows = list(objs)
        if not rows:
            return super().bulk_create(rows, *args, **options)
        self._for_write = True
        definition, alias = self.model.task_definition, self.db
        definition.refuse_unfit(alias)
        new = [row for row, id in zip(rows, new_ids(len(rows)), strict=True) if row.begin(id)]
        with transaction.atomic(using=alias, savepoint=False):
            made = super().bulk_create(rows, *args, **options)
            if options.get("ignore_conflicts") or options.get("update_conflicts") or args[1:]:
                new = self._inserted(new, alias)
            definition.enqueue_rows(new, alias)
        doubt(new, alias)
        return made

    async def abulk_create(self, objs: Iterable[Any], *args: Any, **options: Any) -> list[Any]:
        """Like :meth:`bulk_create`, from a coroutine."""
        return await sync_to_async(self.bulk_create)(objs, *args, **options)

    def with_status(self) -> "SimpleTaskQuerySet":
        """Add what the task of each row does now: ``status``, ``start_time``, ``due_time``, ``auto_reset_time``.

        All of them can be used in ``filter()`` and ``order_by()``. ``status`` is a :class:`Status`. ``start_time``: when step
        1 began, or the current attempt of it. ``due_time``: when a waiting task is or was due. ``auto_reset_time``: when
        a step that waits for a client from outside is offered again.
        """
        live = LiveTask.objects.using(settings.DATABASE).filter(id=OuterRef("task_id"))
        ended = Result.objects.using(settings.DATABASE).filter(id=OuterRef("task_id"))
        begun = KeyTextTransform("start", KeyTextTransform("1", F("step_times")))
        is_doing = Q(current_step__gt=1) | Exists(live.filter(state=State.RUNNING))
        status = Case(
            When(done_time__isnull=False, then=Value(Status.DONE.value)),
            When(Exists(ended), then=Value(Status.DONE.value)),
            When(is_doing, then=Value(Status.DOING.value)),
            default=Value(Status.READY.value),
            output_field=models.PositiveSmallIntegerField(choices=Status.choices),
        )
        waits = live.filter(executor="remote", state__in=[State.SCHEDULED, State.READY])
        found: SimpleTaskQuerySet = self.annotate(
            status=status,
            start_time=Coalesce(
                Cast(begun, models.DateTimeField()),
                Subquery(live.filter(state=State.RUNNING).values("started_at")[:1]),
                Subquery(ended.values("started_at")[:1]),
            ),
            due_time=Subquery(live.exclude(state=State.RUNNING).values("run_at")[:1]),
            auto_reset_time=Subquery(waits.values(when=Coalesce("ready_at", "run_at"))[:1]),
        )
        return found

    def _inserted(self, rows: list[Any], alias: str) -> list[Any]:
        """Return those rows that were inserted, with their keys."""
        ids = {row.task_id: row for row in rows}
        found = self.model._base_manager.using(alias).filter(task_id__in=list(ids)).values_list("task_id", "pk")
        made = dict(found)
        for id, key in made.items():
            ids[id].pk, ids[id]._state.adding, ids[id]._state.db = key, False, alias
        return [row for id, row in ids.items() if id in made]


class SimpleTaskManager(models.Manager.from_queryset(SimpleTaskQuerySet)):  # type: ignore[misc]  # made at run time
    """The manager of model tasks."""
