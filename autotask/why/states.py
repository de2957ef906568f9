"""What a task does that runs or has ended."""

from autotask.reasons import clock
from autotask.store.read import StoredTask
from autotask.store.situation import SeenWorker, Situation
from autotask.task import State
from autotask.texts import advice
from autotask.texts.durations import in_words
from autotask.texts.lines import one_line
from autotask.why.codes import Code
from autotask.why.finding import Finding
from autotask.why.site import Site

_ENDED = {State.DONE: Code.DONE, State.ERROR: Code.ERROR, State.CANCELLED: Code.CANCELLED}


def ended(task: StoredTask) -> Finding:
    """Return how it ended."""
    at = "" if task.ended_at is None else f" at {clock(task.ended_at, task.ended_at)}"
    why = f": {one_line(task.error_message, 300)}" if task.error_message else ""
    words = {State.DONE: "done", State.ERROR: "it ended in an error", State.CANCELLED: "it was cancelled"}
    after = ", after it was asked to stop" if task.state is State.DONE and task.was_asked_to_stop else ""
    text = f"{words[task.state]}{at}{after}{why}"
    again = "" if task.state is State.DONE else advice.manage(f"retry {task.id}")
    return Finding(code=_ENDED[task.state], text=text, advice=again)


def running(situation: Situation, task: StoredTask, site: Site) -> Finding:
    """Return who runs it, and for how long, or that its worker is lost."""
    worker = next((each for each in situation.workers if each.id == task.worker_id), None)
    if worker is None or not worker.alive:
        return _lost(situation, worker, site)
    since = "" if task.started_at is None else in_words((situation.now - task.started_at).total_seconds())
    limit = in_words(site.timeout if task.timeout is None else task.timeout)
    text = f"the worker {worker} claimed it {since} ago, and runs it or is about to; its time limit is {limit}"
    if task.cancel_requested:
        text = f"it was asked to stop; the worker {worker} claimed it {since} ago, and it has not stopped yet"
        return Finding(code=Code.ASKED_TO_STOP, text=text, advice=advice.manage(f"show {task.id}"))
    return Finding(code=Code.RUNNING, text=text, advice=advice.manage(f"show {task.id}"))


def _lost(situation: Situation, worker: SeenWorker | None, site: Site) -> Finding:
    seen = "is not registered any more" if worker is None else f"was last seen {in_words(worker.seen)} ago"
    others = any(each.alive for each in situation.workers)
    then = "another worker rescues it soon" if others else "the next worker that starts rescues it"
    text = f"its worker {seen}; {then}"
    return Finding(code=Code.WORKER_LOST, text=text, advice="" if others else site.how_to_start)
