"""The pages of tasks, schedules and workers in the Django admin."""

from django.contrib import admin

from autotask.admin.schedules import ScheduleAdmin
from autotask.admin.tasks import TaskAdmin
from autotask.admin.workers import WorkerAdmin
from autotask.models import Schedule, TaskRecord, Worker

__all__ = ["ScheduleAdmin", "TaskAdmin", "WorkerAdmin"]

admin.site.register(TaskRecord, TaskAdmin)
admin.site.register(Schedule, ScheduleAdmin)
admin.site.register(Worker, WorkerAdmin)
