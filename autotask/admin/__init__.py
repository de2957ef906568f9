"""The dashboard in the Django admin: its pages, and the lists of tasks, schedules, workers, pauses and API keys."""

from django.contrib import admin

from autotask.admin.background import BackgroundAdmin
from autotask.admin.dashboard import DashboardAdmin
from autotask.admin.keys import KeyAdmin
from autotask.admin.pauses import PauseAdmin
from autotask.admin.schedules import ScheduleAdmin
from autotask.admin.tasks import TaskAdmin
from autotask.admin.workers import WorkerAdmin
from autotask.models import ApiKey, BackgroundWorker, Dashboard, Pause, Schedule, TaskRecord, Worker

__all__ = ["BackgroundAdmin", "DashboardAdmin", "KeyAdmin", "PauseAdmin", "ScheduleAdmin", "TaskAdmin", "WorkerAdmin"]

admin.site.register(Dashboard, DashboardAdmin)
admin.site.register(TaskRecord, TaskAdmin)
admin.site.register(Schedule, ScheduleAdmin)
admin.site.register(Worker, WorkerAdmin)
admin.site.register(Pause, PauseAdmin)
admin.site.register(ApiKey, KeyAdmin)
admin.site.register(BackgroundWorker, BackgroundAdmin)
