"""The codes of the reasons; the words are documented, and stay."""

import enum


class Code(enum.StrEnum):
    """Why a task does not run, or what it does."""

    # There is no task to run.
    UNMIGRATED = "unmigrated"
    ROLLED_BACK_OR_PRUNED = "rolled_back_or_pruned"
    UNCOMMITTED = "uncommitted"

    # It is not to run yet, or never.
    SCHEDULED = "scheduled"
    CLOCK_SKEW = "clock_skew"
    RETRYING = "retrying"
    SNOOZED = "snoozed"
    DEBOUNCED = "debounced"
    EXPIRED = "expired"
    CANCELLING = "cancelling"

    # Something else comes first.
    PAUSED = "paused"
    HELD_BY_LIMIT = "held_by_limit"
    RATE = "rate"
    RATE_CLOSED = "rate_closed"
    REMOTE = "remote"
    BACKGROUND_STOPPED = "background_stopped"
    BACKGROUND = "background"

    # No worker takes it.
    MISPLACED = "misplaced"
    INACTIVE = "inactive"
    NO_WORKER = "no_worker"
    QUEUE_UNSERVED = "queue_unserved"
    POOL_UNSERVED = "pool_unserved"
    UNKNOWN_TASK = "unknown_task"
    LOCKED = "locked"
    WORKER_STALLED = "worker_stalled"
    SUSPECT = "suspect"
    SLOTS_BUSY = "slots_busy"
    READY = "ready"

    # It runs, or has ended.
    RUNNING = "running"
    ASKED_TO_STOP = "asked_to_stop"
    WORKER_LOST = "worker_lost"
    DONE = "done"
    ERROR = "error"
    CANCELLED = "cancelled"
