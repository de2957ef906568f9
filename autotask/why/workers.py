"""The checks of workers: is there one, does it serve the queue and the pool, does it know the task, has it room, does it look."""

import uuid
from collections.abc import Iterator, Sequence

from django.utils.translation import gettext as _, ngettext

from autotask.queues import in_words as queues_in_words, serves
from autotask.store.gates_read import COUNTED
from autotask.store.read import StoredTask
from autotask.store.situation import Locker, SeenWorker, Situation
from autotask.task import PROCESS, THREAD, State
from autotask.texts import advice
from autotask.texts.lines import one_line
from autotask.texts.localized import in_words, whole
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
    yield from _unlocked(situation, task)
    awake = [worker for worker in having if not is_silent(worker, site)]
    yield _heartbeat(having, awake)
    if awake:
        yield from _room(situation, task, awake, site)


def is_silent(worker: SeenWorker, site: Site) -> bool:
    """Whether a worker has sent no heartbeat for so long that it hangs."""
    return worker.seen > max(SILENT_AFTER, SILENT_BEATS * site.beat)


def hanging(silent: Sequence[SeenWorker]) -> Finding:
    """Return the outcome if workers hang."""
    text = ngettext(
        "%(names)s hangs: the last heartbeat came %(time)s ago",
        "%(names)s hang: the last heartbeat came %(time)s ago",
        len(silent),
    ) % {"names": _named(silent), "time": in_words(min(worker.seen for worker in silent))}
    return Finding(
        code=Code.WORKER_STALLED,
        text=text,
        advice=_("See the log of the worker, and restart it. Then:") + " " + advice.manage("status"),
    )


def ready(situation: Situation, task: StoredTask, site: Site) -> Finding:
    """Return the outcome if nothing keeps a task from its next worker."""
    said = _(
        "it is ready, and a worker with room takes it within %(time)s (AUTOTASK_POLL_INTERVAL), most often at once"
    )
    text = said % {"time": in_words(site.poll)}
    if situation.ahead:
        text += "; " + _("ahead of it in its queue: %(tasks)s") % {"tasks": _ahead(situation)}
    return Finding(code=Code.READY, text=text, place=situation.ahead + 1)


def _switch(alive: Sequence[SeenWorker], site: Site) -> Finding:
    if site.active:
        return passed(Code.INACTIVE, _("autotask is switched on"))
    if alive:
        elsewhere = _("autotask is switched off in the settings of this process, but a worker runs elsewhere")
        return passed(Code.INACTIVE, elsewhere)
    text = _(
        "autotask is switched off (AUTOTASK_IS_ACTIVE or AUTOTASK_IMMEDIATE): calls run at once, and no companion starts"
    )
    return Finding(
        code=Code.INACTIVE,
        text=text,
        advice=_("Set AUTOTASK_IS_ACTIVE = True, without AUTOTASK_IMMEDIATE. Then:") + " " + advice.manage("doctor"),
    )


def _alive(situation: Situation, alive: Sequence[SeenWorker], site: Site) -> Finding:
    if alive:
        said = ngettext("%(number)d worker is alive: %(names)s", "%(number)d workers are alive: %(names)s", len(alive))
        return passed(Code.NO_WORKER, said % {"number": len(alive), "names": _named(alive)})
    last = min((worker.seen for worker in situation.workers), default=None)
    stopping = [worker for worker in situation.workers if worker.alive]
    if stopping:
        text = ngettext(
            "no worker takes new tasks: %(names)s is stopping",
            "no worker takes new tasks: %(names)s are stopping",
            len(stopping),
        ) % {"names": _named(stopping)}
    elif last is None:
        text = _("no worker is alive")
    else:
        text = _("no worker is alive; one was last seen %(time)s ago") % {"time": in_words(last)}
    return Finding(code=Code.NO_WORKER, text=text, advice=site.how_to_start)


def _queue(task: StoredTask, alive: Sequence[SeenWorker], serving: Sequence[SeenWorker]) -> Finding:
    if serving:
        said = ngettext(
            "%(number)d worker serves the queue %(name)s", "%(number)d workers serve the queue %(name)s", len(serving)
        )
        return passed(Code.QUEUE_UNSERVED, said % {"number": len(serving), "name": repr(task.queue)})
    served = ", ".join(sorted({queues_in_words(worker.queues) for worker in alive}))
    said = _("no running worker serves the queue %(name)s; the running workers serve: %(queues)s")
    text = said % {"name": repr(task.queue), "queues": one_line(served, 300)}
    return Finding(code=Code.QUEUE_UNSERVED, text=text, advice=advice.serve(task.queue))


def _pool(task: StoredTask, serving: Sequence[SeenWorker], having: Sequence[SeenWorker]) -> Finding:
    pool = _("threads") if task.executor == THREAD else _("the pool %(name)s") % {"name": repr(task.executor)}
    if having:
        said = ngettext(
            "%(number)d of them has %(pool)s, in which it runs",
            "%(number)d of them have %(pool)s, in which it runs",
            len(having),
        )
        return passed(Code.POOL_UNSERVED, said % {"number": len(having), "pool": pool})
    text = _("no worker of its queue has %(pool)s, in which it runs") % {"pool": pool}
    settings = {THREAD: "AUTOTASK_THREADS", PROCESS: "AUTOTASK_PROCESSES", "coroutine": "AUTOTASK_COROUTINES"}
    setting = settings.get(task.executor) or _("its size in AUTOTASK_EXECUTORS")
    fix = _("Raise %(setting)s where workers run. Then:") % {"setting": setting} + " " + advice.serve(task.queue)
    return Finding(code=Code.POOL_UNSERVED, text=text, advice=fix)


def _known(situation: Situation, task: StoredTask, site: Site) -> Finding:
    if situation.unknown_for is None:
        return passed(Code.UNKNOWN_TASK, _("no worker has released it as unknown"))
    left = max(0.0, site.patience - situation.unknown_for)
    text = _(
        "a worker that claimed it %(time)s ago runs other code, which does not know its function, arguments or carriers "
        "(%(name)s); it waits for a newer worker, and ends in an error after another %(left)s"
    ) % {"time": in_words(situation.unknown_for), "name": one_line(task.name, 200), "left": in_words(left)}
    fix = _("Restart the workers with the code that made the call. See:") + " " + advice.manage("doctor")
    return Finding(code=Code.UNKNOWN_TASK, text=text, advice=fix)


def _unlocked(situation: Situation, task: StoredTask) -> Iterator[Finding]:
    locker, due = situation.locker, situation.ready_at or task.run_at
    # Workers also lock rows, but only for a moment.
    if locker is None or min(locker.seconds or 1, (situation.now - due).total_seconds()) < 1:
        return
    yield Finding(
        code=Code.LOCKED,
        text=_("a transaction has locked its row, and workers pass it over: %(session)s")
        % {"session": _session(locker)},
        advice=_("End that transaction, or:") + f" SELECT pg_terminate_backend({locker.pid})",
    )


def _session(locker: Locker) -> str:
    name = f" ({one_line(locker.application, 60)})" if locker.application else ""
    age = "" if locker.seconds is None else _(", open for %(time)s") % {"time": in_words(locker.seconds)}
    whose = _("that of pid %(pid)s") % {"pid": locker.pid} if locker.pid else _("that of another session")
    return whose + (name if locker.pid else "") + age


def _heartbeat(having: Sequence[SeenWorker], awake: Sequence[SeenWorker]) -> Finding:
    if not awake:
        return hanging(having)
    last = min(worker.seen for worker in having)
    return passed(Code.WORKER_STALLED, _("the last heartbeat came %(time)s ago") % {"time": in_words(last)})


def _room(situation: Situation, task: StoredTask, awake: Sequence[SeenWorker], site: Site) -> Iterator[Finding]:
    waited = 0.0 if situation.ready_at is None else (situation.now - situation.ready_at).total_seconds()
    if task.lost and task.executor != PROCESS and waited < SUSPECT_FOR and all(worker.running for worker in awake):
        said = ngettext(
            "%(number)d worker died while running it, so for %(time)s only a worker that runs nothing else takes it",
            "%(number)d workers died while running it, so for %(time)s only a worker that runs nothing else takes it",
            task.lost,
        )
        text = said % {"number": task.lost, "time": in_words(SUSPECT_FOR)}
        yield Finding(code=Code.SUSPECT, text=text)
    free = [worker for worker in awake if not worker.alone and _free(worker, task, site)]
    if not free:
        if busy := [worker for worker in awake if not worker.alone]:
            yield _busy(situation, task, busy)
        yield from (_behind_suspect(task, worker, worker.alone) for worker in awake if worker.alone)
        return
    said = ngettext("%(number)d worker has room for it", "%(number)d workers have room for it", len(free))
    yield passed(Code.SLOTS_BUSY, said % {"number": len(free)})
    yield _looked(situation, task, waited, free, site)


def _behind_suspect(task: StoredTask, worker: SeenWorker, suspect: uuid.UUID) -> Finding:
    said = _("%(worker)s runs only task %(id)s, because a worker died while running it")
    return Finding(
        code=Code.SUSPECT,
        text=said % {"worker": worker, "id": suspect},
        advice=_("Wait until that task has ended, or start another worker:") + " " + advice.serve(task.queue),
    )


def _free(worker: SeenWorker, task: StoredTask, site: Site) -> bool:
    size = site.size(task.executor, worker.threads)
    return size is None or worker.running.get(task.executor, 0) < size


def _busy(situation: Situation, task: StoredTask, awake: Sequence[SeenWorker]) -> Finding:
    running = sum(worker.running.get(task.executor, 0) for worker in awake)
    if task.executor == THREAD:
        said = _("all threads of %(names)s are busy, with %(running)s that run or are next; ahead of it: %(ahead)s")
    else:
        said = _(
            "all places in the pool %(pool)s of %(names)s are busy, with %(running)s that run or are next; ahead of it: %(ahead)s"
        )
    tasks = ngettext("%(number)d task", "%(number)d tasks", running) % {"number": running}
    facts = {"names": _named(awake), "running": tasks, "ahead": _ahead(situation), "pool": repr(task.executor)}
    text = said % facts
    fix = _("Run more tasks at a time (AUTOTASK_THREADS), or start another worker:") + " " + advice.serve(task.queue)
    return Finding(code=Code.SLOTS_BUSY, text=text, advice=fix, place=situation.ahead + 1)


def _looked(situation: Situation, task: StoredTask, waited: float, free: Sequence[SeenWorker], site: Site) -> Finding:
    patience = max(STALLED_AFTER, STALLED_POLLS * site.poll)
    overdue = max(waited, (situation.now - task.run_at).total_seconds() if task.state is State.SCHEDULED else 0.0)
    active = min((worker.active for worker in free if worker.active is not None), default=None)
    if overdue < patience or active is not None and active < patience:
        return passed(Code.WORKER_STALLED, _("they look for work"))
    if active is None:
        said = _("it has been ready for %(time)s, but %(names)s, with room for it, claimed nothing lately")
    else:
        said = _(
            "it has been ready for %(time)s, but %(names)s, with room for it, claimed and ended nothing in the last %(idle)s"
        )
    text = said % {"time": in_words(overdue), "names": _named(free), "idle": in_words(active or 0)}
    return Finding(
        code=Code.WORKER_STALLED,
        text=text,
        advice=_("See the log of the worker, and restart it. Then:") + " " + advice.manage("doctor"),
    )


def _ahead(situation: Situation) -> str:
    if situation.ahead > COUNTED:
        return _("more than %(number)s tasks") % {"number": whole(COUNTED)}
    if not situation.ahead:
        return _("no other task")
    return ngettext("%(number)d other task", "%(number)d other tasks", situation.ahead) % {"number": situation.ahead}


def _named(workers: Sequence[SeenWorker], most: int = 3) -> str:
    names = list(dict.fromkeys(map(str, workers)))
    listed = ", ".join(names[:most])
    return (
        _("%(names)s and %(more)d more") % {"names": listed, "more": len(names) - most} if len(names) > most else listed
    )
