"""The part of a situation that callers of the HTTP API may know: nothing about hosts, people and other tasks."""

from dataclasses import replace

from autotask.store.situation import SeenWorker, Situation


def anonymous(situation: Situation) -> Situation:
    """Return the same situation without names."""
    return replace(
        situation,
        task=situation.task and replace(situation.task, error_message=situation.task.public_error),
        workers=tuple(map(_anonymous, situation.workers)),
        in_force=tuple(replace(pause, paused_by="", reason="") for pause in situation.in_force),
        holders=(),
        locker=situation.locker and replace(situation.locker, pid=0, application=""),
    )


def _anonymous(worker: SeenWorker) -> SeenWorker:
    return replace(worker, host="", pid=0)
