"""The checks of workers: is there one, does it serve the queue and the pool, does it know the task, has it room, does it look."""

from collections.abc import Iterator, Sequence

from autotask.queues import in_words as queues_in_words, serves
from autotask.store.gates_read import COUNTED
from autotask.store.read import StoredTask
from autotask.store.situation import Locker, SeenWorker, Situation
from autotask.task import PROCESS, THREAD, State
from autotask.texts import advice
from autotask.texts.durations import in_words
from autotask.texts.lines import one_line
from autotask.texts.render import count
from autotask.why.codes import Code
from autotask.why.finding import Finding, passed
from autotask.why.site import Site

#: Seconds for which an idle worker may take no notice of a ready task before something is wrong: at least so long, and so
#: many times its own interval.
STALLED_AFTER, STALLED_POLLS = 15.0, 3

#: The same for a heartbeat.
SILENT_AFTER, SILENT_BEATS = 5.0, 3

#: Seconds after which a worker that is not idle takes a task under which another one has died.
SUSPECT_FOR = 30.0


def findings(situation: Situation, task: StoredTask, site: Site) -> Iterator[Finding]:
    """Yield the outcome of each check, in order; the later ones only if there is a worker to check."""
    alive = [worker for worker in situation.workers if worker.alive and not worker.stopping]
    yield _switch(alive, site)
    yield _alive(situation, alive, site)
    if not alive:
        return
    serving = [worker for worker in alive if serves(worker.queues, task.queue)]
    yield _queue(task, alive, serving)
    if not serving:
        return
    having = [
        worker for worker in serving if task.executor == THREAD and worker.threads or task.executor in worker.executors
    ]
    yield _pool(task, serving, having)
    yield _known(situation, task, site)
    if not having:
        return
    yield from _unlocked(situation)
    silent = max(SILENT_AFTER, SILENT_BEATS * site.beat)
    awake = [worker for worker in having if worker.seen <= silent]
    yield _heartbeat(having, awake)
    if awake:
        yield from _room(situation, task, awake, site)


def ready(situation: Situation, task: StoredTask, site: Site) -> Finding:
    """Return the outcome if nothing keeps a task from its next worker."""
    line = "" if not situation.ahead else f"; {_ahead(situation)} of its queue come first"
    text = f"it is ready, and a worker with room takes it within {in_words(site.poll)} (AUTOTASK_POLL_INTERVAL), most often at once{line}"
    return Finding(code=Code.READY, text=text, place=situation.ahead + 1)


def _switch(alive: Sequence[SeenWorker], site: Site) -> Finding:
    if site.active:
        return passed(Code.INACTIVE, "autotask is switched on")
    if alive:
        return passed(
            Code.INACTIVE, "autotask is switched off in the settings of this process, but a worker runs elsewhere"
        )
    text = "autotask is switched off (AUTOTASK_IS_ACTIVE or AUTOTASK_IMMEDIATE): calls run at once, and no companion starts"
    return Finding(
        code=Code.INACTIVE,
        text=text,
        advice="Set AUTOTASK_IS_ACTIVE = True, without AUTOTASK_IMMEDIATE. Then: " + advice.manage("doctor"),
    )


def _alive(situation: Situation, alive: Sequence[SeenWorker], site: Site) -> Finding:
    if alive:
        return passed(Code.NO_WORKER, f"{count(len(alive), 'worker is', 'workers are')} alive: {_named(alive)}")
    last = min((worker.seen for worker in situation.workers), default=None)
    stopping = [worker for worker in situation.workers if worker.alive]
    if stopping:
        text = f"no worker takes new tasks: {_named(stopping)} {'is' if len(stopping) == 1 else 'are'} stopping"
    else:
        text = "no worker is alive" + ("" if last is None else f"; one was last seen {in_words(last)} ago")
    return Finding(code=Code.NO_WORKER, text=text, advice=site.how_to_start)


def _queue(task: StoredTask, alive: Sequence[SeenWorker], serving: Sequence[SeenWorker]) -> Finding:
    if serving:
        return passed(
            Code.QUEUE_UNSERVED, f"{count(len(serving), 'worker serves', 'workers serve')} the queue {task.queue!r}"
        )
    served = ", ".join(sorted({queues_in_words(worker.queues) for worker in alive}))
    text = f"no living worker serves the queue {task.queue!r}; those that live serve: {one_line(served, 300)}"
    return Finding(code=Code.QUEUE_UNSERVED, text=text, advice=advice.serve(task.queue))


def _pool(task: StoredTask, serving: Sequence[SeenWorker], having: Sequence[SeenWorker]) -> Finding:
    pool = "threads" if task.executor == THREAD else f"the pool {task.executor!r}"
    if having:
        return passed(
            Code.POOL_UNSERVED, f"{count(len(having), 'of them has', 'of them have')} {pool}, in which it runs"
        )
    text = f"no worker of its queue has {pool}, in which it runs"
    settings = {THREAD: "AUTOTASK_THREADS", PROCESS: "AUTOTASK_PROCESSES", "coroutine": "AUTOTASK_COROUTINES"}
    fix = f"Raise {settings.get(task.executor, 'its size in AUTOTASK_EXECUTORS')} where workers run. Then: {advice.serve(task.queue)}"
    return Finding(code=Code.POOL_UNSERVED, text=text, advice=fix)


def _known(situation: Situation, task: StoredTask, site: Site) -> Finding:
    if situation.unknown_for is None:
        return passed(Code.UNKNOWN_TASK, "no worker has released it as unknown")
    left = max(0.0, site.patience - situation.unknown_for)
    text = (
        f"a worker that claimed it {in_words(situation.unknown_for)} ago runs other code, which does not know its function, "
        f"arguments or carriers ({one_line(task.name, 200)}); it waits for a newer worker, and ends in an error after another "
        f"{in_words(left)}"
    )
    fix = "Restart the workers with the code that made the call. See: " + advice.manage("doctor")
    return Finding(code=Code.UNKNOWN_TASK, text=text, advice=fix)


def _unlocked(situation: Situation) -> Iterator[Finding]:
    locker, since = situation.locker, situation.ready_at
    if locker is None or since is None or (situation.now - since).total_seconds() < 1:
        return
    yield Finding(
        code=Code.LOCKED,
        text=f"a transaction has locked its row, and workers pass it over: {_session(locker)}",
        advice=f"End that transaction, or: SELECT pg_terminate_backend({locker.pid})",
    )


def _session(locker: Locker) -> str:
    name = f" ({one_line(locker.application, 60)})" if locker.application else ""
    age = "" if locker.seconds is None else f", open for {in_words(locker.seconds)}"
    return (f"that of pid {locker.pid}{name}" if locker.pid else "that of another session") + age


def _heartbeat(having: Sequence[SeenWorker], awake: Sequence[SeenWorker]) -> Finding:
    last = min(worker.seen for worker in having)
    if awake:
        return passed(Code.WORKER_STALLED, f"the last heartbeat came {in_words(last)} ago")
    text = f"{_named(having)} {'hangs' if len(having) == 1 else 'hang'}: the last heartbeat came {in_words(last)} ago"
    return Finding(
        code=Code.WORKER_STALLED,
        text=text,
        advice="See the log of the worker, and restart it. Then: " + advice.manage("status"),
    )


def _room(situation: Situation, task: StoredTask, awake: Sequence[SeenWorker], site: Site) -> Iterator[Finding]:
    waited = 0.0 if situation.ready_at is None else (situation.now - situation.ready_at).total_seconds()
    if task.lost and task.executor != PROCESS and waited < SUSPECT_FOR and all(worker.running for worker in awake):
        text = (
            f"{count(task.lost, 'worker')} died while running it, so for {in_words(SUSPECT_FOR)} only a worker that runs nothing "
            "else takes it"
        )
        yield Finding(code=Code.SUSPECT, text=text)
    free = [worker for worker in awake if _free(worker, task, site)]
    if not free:
        yield _busy(situation, task, awake)
        return
    yield passed(Code.SLOTS_BUSY, f"{count(len(free), 'worker has', 'workers have')} room for it")
    yield _looked(situation, task, waited, free, site)


def _free(worker: SeenWorker, task: StoredTask, site: Site) -> bool:
    size = site.size(task.executor, worker.threads)
    return size is None or worker.running.get(task.executor, 0) < size


def _busy(situation: Situation, task: StoredTask, awake: Sequence[SeenWorker]) -> Finding:
    running = sum(worker.running.get(task.executor, 0) for worker in awake)
    what = "threads" if task.executor == THREAD else f"places in the pool {task.executor!r}"
    text = f"all {what} of {_named(awake)} are busy, with {count(running, 'task')} that run or are next; {_ahead(situation)} come first"
    fix = "Run more tasks at a time (AUTOTASK_THREADS), or start another worker: " + advice.serve(task.queue)
    return Finding(code=Code.SLOTS_BUSY, text=text, advice=fix, place=situation.ahead + 1)


def _looked(situation: Situation, task: StoredTask, waited: float, free: Sequence[SeenWorker], site: Site) -> Finding:
    patience = max(STALLED_AFTER, STALLED_POLLS * site.poll)
    overdue = max(waited, (situation.now - task.run_at).total_seconds() if task.state is State.SCHEDULED else 0.0)
    active = min((worker.active for worker in free if worker.active is not None), default=None)
    if overdue < patience or active is not None and active < patience:
        return passed(Code.WORKER_STALLED, "they look for work")
    done = "have claimed nothing lately" if active is None else f"have claimed or ended nothing for {in_words(active)}"
    text = f"it has been ready for {in_words(overdue)}, but {_named(free)}, with room for it, {done}"
    return Finding(
        code=Code.WORKER_STALLED,
        text=text,
        advice="See the log of the worker, and restart it. Then: " + advice.manage("doctor"),
    )


def _ahead(situation: Situation) -> str:
    if situation.ahead > COUNTED:
        return f"more than {COUNTED:,} tasks"
    return "no other task" if not situation.ahead else count(situation.ahead, "other task")


def _named(workers: Sequence[SeenWorker], most: int = 3) -> str:
    names = list(dict.fromkeys(map(str, workers)))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
