"""The pages of tasks, schedules, workers, background workers, pauses and API keys in the Django admin."""

from django.contrib import admin

from autotask.admin.background import BackgroundAdmin
from autotask.admin.keys import KeyAdmin
from autotask.admin.pauses import PauseAdmin
from autotask.admin.schedules import ScheduleAdmin
from autotask.admin.tasks import TaskAdmin
from autotask.admin.workers import WorkerAdmin
from autotask.models import ApiKey, BackgroundWorker, Pause, Schedule, TaskRecord, Worker

__all__ = ["BackgroundAdmin", "KeyAdmin", "PauseAdmin", "ScheduleAdmin", "TaskAdmin", "WorkerAdmin"]

admin.site.register(TaskRecord, TaskAdmin)
admin.site.register(Schedule, ScheduleAdmin)
admin.site.register(Worker, WorkerAdmin)
admin.site.register(Pause, PauseAdmin)
admin.site.register(ApiKey, KeyAdmin)
admin.site.register(BackgroundWorker, BackgroundAdmin)
