"""The reasons of tasks that run or have ended."""

from django.utils.translation import gettext as _

from autotask.reasons import clock
from autotask.store.read import StoredTask
from autotask.store.situation import SeenWorker, Situation
from autotask.task import State
from autotask.texts import advice
from autotask.texts.lines import one_line
from autotask.texts.localized import in_words
from autotask.why import workers
from autotask.why.codes import Code
from autotask.why.finding import Finding
from autotask.why.site import Site

_ENDED = {State.DONE: Code.DONE, State.ERROR: Code.ERROR, State.CANCELLED: Code.CANCELLED}


def ended(task: StoredTask) -> Finding:
    """Say how it ended."""
    at = "" if task.ended_at is None else _(" at %(time)s") % {"time": clock(task.ended_at, task.ended_at)}
    why = f": {one_line(task.error_message, 300)}" if task.error_message else ""
    words = {State.DONE: _("done"), State.ERROR: _("it ended in an error"), State.CANCELLED: _("it was cancelled")}
    after = _(", after it was asked to stop") if task.state is State.DONE and task.was_asked_to_stop else ""
    text = f"{words[task.state]}{at}{after}{why}"
    if task.expired:
        gone = _("its result is gone")
        return Finding(code=_ENDED[task.state], text=f"{text}; {gone}")
    again = "" if task.state is State.DONE else advice.manage(f"retry {task.id}")
    return Finding(code=_ENDED[task.state], text=text, advice=again)


def running(situation: Situation, task: StoredTask, site: Site) -> Finding:
    """Say which worker runs it, and for how long, or that its worker hangs or is lost."""
    worker = next((each for each in situation.workers if each.id == task.worker_id), None)
    if worker is None or not worker.alive:
        return _lost(situation, worker, site)
    if workers.is_silent(worker, site):  # It may be stopped since before it has begun, or with the task in the middle.
        return workers.hanging([worker])
    since = "" if task.started_at is None else in_words((situation.now - task.started_at).total_seconds())
    limit = in_words(site.timeout if task.timeout is None else task.timeout)
    facts = {"worker": worker, "time": since, "limit": limit}
    text = (
        _("the worker %(worker)s claimed it %(time)s ago, and runs it or is about to; its time limit is %(limit)s")
        % facts
    )
    if task.cancel_requested:
        text = (
            _("it was asked to stop; the worker %(worker)s claimed it %(time)s ago, and it has not stopped yet") % facts
        )
        return Finding(code=Code.ASKED_TO_STOP, text=text, advice=advice.manage(f"show {task.id}"))
    return Finding(code=Code.RUNNING, text=text, advice=advice.manage(f"show {task.id}"))


def _lost(situation: Situation, worker: SeenWorker | None, site: Site) -> Finding:
    if worker is None:
        seen = _("its worker is not registered any more")
    else:
        seen = _("its worker was last seen %(time)s ago") % {"time": in_words(worker.seen)}
    others = any(each.alive for each in situation.workers)
    then = _("another worker rescues it soon") if others else _("the next worker that starts rescues it")
    text = f"{seen}; {then}"
    return Finding(code=Code.WORKER_LOST, text=text, advice="" if others else site.how_to_start)
