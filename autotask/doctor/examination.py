"""The checks of the doctor, with the text and the fix of each problem."""

from collections.abc import Iterator
from datetime import UTC, datetime, tzinfo

from django.conf import settings as django_settings
from django.core.checks import run_checks
from django.db.migrations.executor import MigrationExecutor
from django.utils.timezone import get_default_timezone

from autotask import logs, registry
from autotask.checks import TAG, notes
from autotask.conf import settings
from autotask.doctor import background, interpreter
from autotask.doctor.diagnosis import DATABASE, Check, Finding, Patient, examine, fine, problem
from autotask.queues import serves
from autotask.schedules import zone_data
from autotask.schedules.crontab import Crontab
from autotask.store import health, misplaced, notify, pauses, prune, read, schedules, tables, tally
from autotask.store.connection import current
from autotask.store.pauses import Kind
from autotask.store.read import LivingWorker
from autotask.texts import advice
from autotask.texts.durations import in_words
from autotask.texts.lines import one_line
from autotask.texts.render import count, moment

#: Seconds that a ready task may wait before something is wrong.
LONGEST_WAIT = 60.0

#: Seconds by which two clocks may differ.
LARGEST_DIFFERENCE = 5.0

#: Seconds after which a transaction has held back vacuum for too long.
LONG_TRANSACTION = 300.0

#: The share of the queue of notifications from which something is wrong. PostgreSQL warns from half, too.
LARGEST_SHARE_OF_QUEUE = 0.5

#: The cleaning intervals after which a result past its time to live has been forgotten.
MISSED_CLEANINGS = 10


def look_at_database(patient: Patient) -> Finding:
    """Whether the database can be reached, and is new enough for this Django."""
    connection = patient.connection
    # Django checks the version only for the first connection of a process.
    connection.check_database_version_supported()
    name, version = health.where(connection)
    return fine(f"PostgreSQL {version}, database {name!r}")


def look_at_tables(patient: Patient) -> Finding:
    """Whether the tables are there, up to date, and open to this role."""
    executor = MigrationExecutor(current())
    targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] == "autotask"]
    missing = [str(migration) for migration, _ in executor.migration_plan(targets)]
    if missing:
        text = f"{count(len(missing), 'migration')} not applied: {', '.join(missing)}"
        return problem(text, advice.migrate(settings.DATABASE))
    if not tables.are_there(patient.connection):
        return problem(
            "all migrations are recorded as applied, but the tables are not in the search_path of this role",
            "Set the search_path in OPTIONS of the database, or migrate with the role that runs the site.",
        )
    role, missing_rights = health.missing_rights(patient.connection)
    if missing_rights:
        grants = "; ".join(f'GRANT {right} TO "{role}"' for right in missing_rights)
        return problem(f"the role {role!r} lacks the rights {', '.join(missing_rights)}", one_line(grants, 2000))
    return fine("all migrations are applied, and the role has all necessary rights")


def look_at_switch(patient: Patient) -> Finding:
    """Whether calls are stored and left to workers."""
    if not settings.IS_ACTIVE:
        return problem(
            "AUTOTASK_IS_ACTIVE is False: calls run their functions at once, without a worker, and no companion starts",
            "Set AUTOTASK_IS_ACTIVE = True.",
        )
    if settings.IMMEDIATE:
        return problem(
            f"AUTOTASK_IMMEDIATE is {settings.IMMEDIATE!r}: calls run their tasks at once, without a worker, which is for tests only",
            "Remove AUTOTASK_IMMEDIATE from the settings of the site.",
        )
    return fine("AUTOTASK_IS_ACTIVE is True")


def look_at_system_checks(patient: Patient) -> Finding:
    """Whether the system checks of autotask find errors."""
    serious = [message for message in run_checks(tags=[TAG]) if message.is_serious() and not message.is_silenced()]
    if not serious:
        return fine("; ".join(["no errors", *(f"{note.id}: {one_line(note.msg)}" for note in notes())]))
    return problem(
        "; ".join(f"{message.id}: {one_line(message.msg)}" for message in serious),
        " ".join(one_line(message.hint) for message in serious if message.hint),
    )


def look_at_definitions(patient: Patient) -> Finding:
    """Whether any task function was found."""
    found = len(list(registry.definitions()))
    if not found:
        return problem(
            "no task functions found",
            f"Decorate functions in the {settings.TASKS_MODULE}.py of an app that is in INSTALLED_APPS.",
        )
    return fine(f"{count(found, 'task function')} found, {count(len(registry.schedules()), 'schedule')} among them")


def look_at_workers(patient: Patient) -> Finding:
    """Whether a worker is alive."""
    registered = read.workers(patient.connection)
    alive = [worker for worker in registered if worker.alive]
    if alive:
        return fine(f"{count(len(alive), 'worker')}: {', '.join(map(_described, alive))}")
    last = min((worker.seen for worker in registered), default=None)
    fix = "Start one: python manage.py autotask worker"
    if settings.COMPANION != "off":
        fix = "Start the site (runserver and gunicorn have companions), or a worker: python manage.py autotask worker"
    return problem("no worker is alive" + ("" if last is None else f"; one was last seen {in_words(last)} ago"), fix)


def look_at_queues(patient: Patient) -> Finding:
    """Whether each queue with ready tasks has a worker."""
    waiting = [queue.queue for queue in tally.counts(patient.connection) if queue.ready]
    workers = [worker for worker in read.workers(patient.connection) if worker.alive and not worker.stopping]
    unserved = [queue for queue in waiting if not any(serves(worker.queues, queue) for worker in workers)]
    if unserved:
        return problem(
            f"no worker serves {', '.join(unserved)}",
            f"python manage.py autotask worker --queues {','.join(unserved)}",
        )
    return fine(
        f"{count(len(waiting), 'queue')} with ready tasks, all served" if waiting else "no queue has ready tasks"
    )


def look_at_waiting(patient: Patient) -> Finding:
    """Whether ready tasks are claimed soon, apart from those of paused queues."""
    paused = {(pause.kind, pause.name) for pause in pauses.read(patient.connection)}
    ready = [
        queue for queue in tally.counts(patient.connection) if queue.ready and (Kind.QUEUE, queue.queue) not in paused
    ]
    if (Kind.EVERYTHING, "") in paused:
        return fine("everything is paused")
    slowest = max(ready, key=lambda queue: queue.oldest, default=None)
    if slowest is None:
        return fine("no ready task waits")
    text = f"the oldest ready task has waited {in_words(slowest.oldest)} (queue {slowest.queue})"
    if slowest.oldest < LONGEST_WAIT:
        return fine(text)
    return problem(
        text,
        f"Run more tasks at a time (AUTOTASK_THREADS), or start a worker for this queue only: "
        f"python manage.py autotask worker --queues {slowest.queue}",
    )


def look_at_clocks(patient: Patient) -> Finding:
    """Whether this host and the database agree on the time."""
    before = datetime.now(UTC)
    database = schedules.now(patient.connection)
    return compare_clocks(before, database, datetime.now(UTC))


def compare_clocks(before: datetime, database: datetime, after: datetime) -> Finding:
    """Compare the clock of the database with that of the host, which was read before and after it."""
    # The time between the two looks may be the time that the answer took.
    ahead = max((database - after).total_seconds(), 0.0)
    behind = max((before - database).total_seconds(), 0.0)
    if ahead + behind <= LARGEST_DIFFERENCE:
        return fine("host and database agree")
    return problem(
        f"the clock of the database is {in_words(ahead + behind)} {'ahead of' if ahead else 'behind'} that of this host",
        "Set both by NTP (chrony, systemd-timesyncd). Tasks use the clock of the database.",
    )


def look_at_notifications(patient: Patient) -> Finding:
    """Whether there is room in the queue of notifications, which all databases of the server share."""
    connection = patient.connection
    used = notify.usage(connection)
    text = f"{used:.0%} of the queue of NOTIFY is in use"
    if used < LARGEST_SHARE_OF_QUEUE:
        return fine(text)
    text += "; once it is full, workers and callers find tasks and results by polling only"
    if not (laggard := health.laggard(connection)):
        return problem(
            text, 'See the log of PostgreSQL: after "NOTIFY queue is ... full" it names the process that blocks it.'
        )
    whose = one_line(" ".join(filter(None, (laggard.application, laggard.database and f"on {laggard.database}"))), 100)
    age = "" if laggard.seconds is None else f", its transaction open for {in_words(laggard.seconds)}"
    return problem(
        f"{text}. A listening session blocks it: pid {laggard.pid} ({whose or 'of another role'}{age})",
        f"End its transaction in the program that began it, or run: SELECT pg_terminate_backend({laggard.pid})",
    )


def look_at_listening(patient: Patient) -> Finding:
    """Whether workers are notified of new tasks at once."""
    connection = patient.connection
    polling = f"workers find tasks by polling, within {settings.POLL_INTERVAL:g} s (AUTOTASK_POLL_INTERVAL)"
    if patient.pooled:
        if patient.hears():
            return fine("through a pooler that keeps sessions: LISTEN receives NOTIFY")
        return fine(f"through a pooler that shares sessions, where LISTEN receives nothing: {polling}")
    if health.hears(connection):
        return fine("LISTEN receives NOTIFY")
    return problem(f"LISTEN receives nothing: {polling}", "Connect workers directly to PostgreSQL, not to a pooler.")


def look_at_pruning(patient: Patient) -> Finding:
    """Whether results past their time to live are deleted."""
    longer = MISSED_CLEANINGS * settings.CLEAN_INTERVAL
    forgotten = prune.prunable(patient.connection, longer)
    if not forgotten:
        return fine("no result is kept much longer than its time to live")
    return problem(
        f"the time to live of {count(forgotten, 'result')} has been over for more than {in_words(longer)}",
        "python manage.py autotask prune; if this happens again, see the logs of the workers.",
    )


def look_at_transactions(patient: Patient) -> Finding:
    """Whether a transaction holds back vacuum."""
    old = health.old_transactions(patient.connection, LONG_TRANSACTION)
    if not old:
        return fine(f"none has been open for more than {in_words(LONG_TRANSACTION)}")
    listed = ", ".join(
        f"pid {transaction.pid} ({one_line(transaction.application, 60) or 'no name'}), open for "
        f"{in_words(transaction.age)}, last query at {moment(transaction.query_start)}"
        for transaction in old[:5]
    )
    return problem(
        f"{count(len(old), 'transaction')} left open, which slows down all queries on tasks: {listed}",
        f"End it in the program that began it, or run: SELECT pg_terminate_backend({old[0].pid})",
    )


def look_at_unknown(patient: Patient) -> Finding:
    """Whether tasks wait for workers with newer code."""
    unknown = tally.unknown(patient.connection)
    if not unknown:
        return fine("workers know all tasks they have claimed")
    listed = ", ".join(
        f"{one_line(each.name, 200)} ({each.count}, for up to {in_words(each.longest)})" for each in unknown[:10]
    )
    return problem(
        f"workers have released {count(sum(each.count for each in unknown), 'unknown task')}, whose function, arguments or "
        f"carriers their code does not know: {listed}",
        "Restart the workers with the code that enqueues these tasks; the workers' logs say what is unknown. After "
        f"{in_words(settings.UNKNOWN_TASK_TIMEOUT)} (AUTOTASK_UNKNOWN_TASK_TIMEOUT) such tasks fail.",
    )


def look_at_places(patient: Patient) -> Finding:
    """Whether workers can find each task that is due."""
    number, oldest = misplaced.find(patient.connection, 3)
    if not number:
        return fine("each task that is due is ready, held or claimed")
    return problem(
        f"{count(number, 'task')} due, but neither ready nor held nor claimed, so no worker finds {'it' if number == 1 else 'them'}: "
        f"{', '.join(map(str, oldest))}{', …' if number > len(oldest) else ''}. Somebody has deleted rows by hand, or has restored "
        "only some of the tables",
        "python manage.py autotask doctor --repair",
    )


def look_at_time_zones(patient: Patient) -> Finding:
    """Whether all workers use the same time zone data, and the newest that is installed here."""
    here = zone_data.named(django_settings.TIME_ZONE)
    if here is None:
        return problem(
            f"no time zone data found for TIME_ZONE = {django_settings.TIME_ZONE!r}",
            "Install it: pip install tzdata",
        )
    zones = {str(zone): zone for zone in _zones()}
    used = ", ".join(sorted({str(zone_data.in_use(zone)) for zone in zones.values()}))
    newer = [found for zone in zones.values() if (found := zone_data.newer(zone, datetime.now(UTC)))]
    if newer:
        return problem(f"{used}; {', '.join(map(str, newer))}", zone_data.advice(newer[0]))
    same = ("", "unknown", here.version)
    others = [
        worker
        for worker in read.workers(patient.connection)
        if here.version and worker.alive and worker.zone_data.partition(" ")[0] not in same
    ]
    if others:
        listed = ", ".join(
            one_line(f"pid {worker.pid} on {worker.host} uses {worker.zone_data}") for worker in others[:5]
        )
        return problem(
            f"this process uses {here}, but {listed}",
            "Install the same version everywhere, and restart the workers: they read it only once.",
        )
    return fine(used)


def look_at_log_files(patient: Patient) -> Finding:
    """Whether this user may write the log files of tasks."""
    folder = logs.folder()
    if folder is None:
        return fine("AUTOTASK_LOG_DIR is not set: tasks have no log files")
    if why := logs.why_unwritable(folder):
        return problem(
            f"log files cannot be written to {one_line(str(folder))}: {why}",
            "Make the folder, and give the user that runs the workers the right to write there. Run the doctor as that user.",
        )
    return fine(f"this user may write log files to {one_line(str(folder))}")


def _zones() -> Iterator[tzinfo]:
    yield get_default_timezone()
    for task in registry.schedules().values():
        if isinstance(task.schedule, Crontab):
            yield task.schedule.zone


CHECKS = (
    Check(DATABASE, look_at_database),
    Check("tables", look_at_tables, (DATABASE,)),
    Check("switch", look_at_switch),
    Check("settings", look_at_system_checks),
    Check("tasks", look_at_definitions),
    Check("workers", look_at_workers, (DATABASE, "tables")),
    Check("queues", look_at_queues, (DATABASE, "tables", "workers")),
    Check("waiting", look_at_waiting, (DATABASE, "tables", "workers")),
    Check("clocks", look_at_clocks, (DATABASE,)),
    Check("notifications", look_at_notifications, (DATABASE,)),
    Check("listening", look_at_listening, (DATABASE, "notifications")),
    Check("pruning", look_at_pruning, (DATABASE, "tables", "workers")),
    Check("transactions", look_at_transactions, (DATABASE,)),
    Check("unknown", look_at_unknown, (DATABASE, "tables")),
    Check("places", look_at_places, (DATABASE, "tables")),
    Check("zones", look_at_time_zones, (DATABASE, "tables")),
    Check("logs", look_at_log_files),
    Check("background", background.look_at_hosts, (DATABASE, "tables", "workers")),
    Check("messages", background.look_at_messages, (DATABASE, "tables")),
    Check("python", interpreter.look_at_build),
)


def examine_all() -> Iterator[tuple[int, str, Finding]]:
    """Yield the number, the name and the finding of each check."""
    patient = Patient()
    try:
        for number, (check, finding) in enumerate(examine(patient, CHECKS), 1):
            yield number, check.name, finding
    finally:
        patient.close()


def _described(worker: LivingWorker) -> str:
    return one_line(f"pid {worker.pid} on {worker.host}, seen {in_words(worker.seen)} ago")
