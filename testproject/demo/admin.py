"""The page of the rows that are tasks."""

from django.contrib import admin

from autotask.admin.model_tasks import SimpleTaskAdmin
from demo.models import Inspection


@admin.register(Inspection)
class InspectionAdmin(SimpleTaskAdmin):
    """Inspections, with their state, and acts on them."""

    list_display = ("machine", "task_state", "task_step", "success", "result", "task_link")
