"""The tables as Django models, for migrations and for pages that read; tasks are never changed through them."""

from autotask.models.api import ApiKey, IdempotencyKey
from autotask.models.attempts import Attempt, LogPiece, Step
from autotask.models.background import BackgroundInstance, BackgroundTrigger, BackgroundWorker
from autotask.models.fields import Has, IdsField, NamesField, NumbersField
from autotask.models.flow import Bucket, Mark, Pause, Slot
from autotask.models.incidents import Incident
from autotask.models.pages import Dashboard, LiveTask, NoRows, TaskRecord
from autotask.models.statistics import Statistics
from autotask.models.tasks import (
    CANCELLED,
    DONE,
    ERROR,
    HELD,
    READY,
    SCHEDULED,
    Claim,
    HeldTask,
    PastTask,
    ReadyTask,
    Result,
    Task,
    TaskFields,
)
from autotask.models.workers import Schedule, Worker

__all__ = [
    "ApiKey",
    "Attempt",
    "BackgroundInstance",
    "BackgroundTrigger",
    "BackgroundWorker",
    "Bucket",
    "CANCELLED",
    "Claim",
    "DONE",
    "Dashboard",
    "ERROR",
    "HELD",
    "Has",
    "HeldTask",
    "IdempotencyKey",
    "IdsField",
    "Incident",
    "LiveTask",
    "LogPiece",
    "Mark",
    "NamesField",
    "NoRows",
    "NumbersField",
    "PastTask",
    "Pause",
    "READY",
    "ReadyTask",
    "Result",
    "SCHEDULED",
    "Schedule",
    "Slot",
    "Statistics",
    "Step",
    "Task",
    "TaskFields",
    "TaskRecord",
    "Worker",
]
