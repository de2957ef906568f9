"""The tasks that are about an object: those whose calls named it as their subject."""

from typing import TYPE_CHECKING

from django.db.models import Model, QuerySet

from autotask.conf import settings
from autotask.models import TaskRecord
from autotask.references import subject

if TYPE_CHECKING:
    Tasks = QuerySet[TaskRecord]
else:
    Tasks = QuerySet  # cannot be subscripted at run time


def tasks_of(instance: Model) -> Tasks:
    """Return the tasks about a saved model instance, newest first: those that wait, run, or have ended and are still kept.

    ::

        send_invoice.using(subject=order)(order.pk)
        autotask.tasks_of(order).filter(name="shop.tasks.send_invoice").exists()

    It is a queryset of ``autotask.models.TaskRecord``, to read only: it queries when it is used, by an index, and can
    be filtered, counted and sliced. ``record.status`` is as that of a handle; ``TaskHandle(record.id)`` is its handle.

    :raises NotReferable: the instance is not saved. (A TypeError.)
    """
    records: Tasks = TaskRecord.objects.using(settings.DATABASE).filter(subject=subject(instance))
    return records.order_by("-id")
