"""``worker``: run tasks until asked to stop, in this process or in several that it supervises."""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from django.db import DatabaseError, InterfaceError

from autotask import crew, django_setup, registry
from autotask.conf import settings
from autotask.management.arguments import plain_names, size, whole
from autotask.management.console import USAGE, Console, failure, open_tables
from autotask.management.subcommand import Subcommand
from autotask.store.errors import is_outage, refuses_login
from autotask.values import nearest
from autotask.worker import ending, log_lines
from autotask.worker.options import WorkerOptions
from autotask.worker.process import run_worker


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    _add_shares(parser)
    _add_supervision(parser)
    parser.add_argument("--burst", action="store_true", help="Exit when nothing is left to do now.")


def _add_shares(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--queues", type=plain_names, default=(), metavar="A,B", help="Serve only these queues. Default: all."
    )
    parser.add_argument(
        "--exclude-queues", type=plain_names, default=(), metavar="C", help="Do not serve these queues. Default: none."
    )
    parser.add_argument(
        "--threads", type=whole(1, 1000), metavar="N", help="Threads that run tasks. Default: AUTOTASK_THREADS."
    )
    parser.add_argument(
        "--coroutines",
        type=whole(0, 10_000),
        metavar="N",
        help="Coroutines that run tasks. Default: AUTOTASK_COROUTINES.",
    )
    parser.add_argument(
        "--processes",
        type=whole(0, 1000),
        metavar="N",
        help="Child processes that run tasks. Default: AUTOTASK_PROCESSES.",
    )


def _add_supervision(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--workers", type=whole(1, 1000), default=1, metavar="N", help="Run N worker processes. Default: 1."
    )
    parser.add_argument(
        "--max-tasks", type=whole(1, 999_999_999), metavar="N", help="Replace a worker after N tasks. Default: never."
    )
    parser.add_argument(
        "--max-memory",
        type=size,
        metavar="SIZE",
        help="Replace a worker when its process uses more memory than SIZE, like 512M or 1.5G. Default: never.",
    )
    parser.add_argument("--reload", action="store_true", help="Replace workers when the code changes, for development.")


def run(
    console: Console,
    *,
    queues: tuple[str, ...],
    exclude_queues: tuple[str, ...],
    threads: int | None,
    coroutines: int | None,
    processes: int | None,
    workers: int,
    max_tasks: int | None,
    max_memory: int | None,
    reload: bool,
    burst: bool,
    verbosity: int,
) -> None:
    """Run a worker, or several."""
    if queues and not set(queues) - set(exclude_queues):
        raise failure("--exclude-queues leaves none of --queues to serve.", USAGE)
    if reload and burst:
        raise failure("--reload waits for changes, and --burst for the end of the work: choose one.", USAGE)
    if verbosity > 1:
        os.environ[log_lines.VERBOSE] = "1"
    if processes != 0 and django_setup.cannot_be_repeated():
        console.complain(f'Tasks with executor="process" are left to other workers: {django_setup.ADVICE}.')
        processes = 0
    options = WorkerOptions(
        kind="worker",
        queues=queues,
        exclude_queues=exclude_queues,
        threads=threads or settings.THREADS,
        coroutines=settings.COROUTINES if coroutines is None else coroutines,
        processes=settings.PROCESSES if processes is None else processes,
        max_tasks=max_tasks,
        max_memory=max_memory,
        reload=reload,
        burst=burst,
    )
    _work(console, workers, options)


def _work(console: Console, workers: int, options: WorkerOptions) -> None:
    if crew.is_member():
        status = crew.work(options)
        ending.begin(status)
        sys.exit(status)
    _doubt(console, options.queues)
    if not settings.IS_ACTIVE:
        console.complain("AUTOTASK_IS_ACTIVE is False: calls store no tasks. Only tasks already stored run here.")
    if options.burst:
        _refuse_what_lasts()
    crew.mark()
    if workers > 1 or options.max_tasks or options.max_memory or options.reload:
        status = crew.Crew(workers, options).run()
    else:
        status = run_worker(options)
        if console.is_program:
            ending.begin(status)
    if status:
        raise failure(f"The worker exited with status {status}.", status)


def _doubt(console: Console, queues: Sequence[str]) -> None:
    """Complain of queues that no task has by its decorator. Calls may name them all the same."""
    known = {definition.options.queue for definition in registry.definitions()}
    for queue in queues:
        if queue not in known:
            console.complain(
                f"No task in the code has the queue {queue!r}{nearest(queue, known)}. It is served all the same."
            )


def _refuse_what_lasts() -> None:
    """Refuse a burst that could only wait for ``migrate`` or a password. An outage is waited for, by the worker."""
    try:
        open_tables()
    except (DatabaseError, InterfaceError) as error:
        if refuses_login(error) or not is_outage(error):
            raise


SUBCOMMAND = Subcommand(
    name="worker",
    help="Run tasks until SIGTERM or Ctrl-C.",
    description="Run tasks, as a dedicated worker alongside the companions of the site or instead of them. After the first "
    "SIGTERM or Ctrl-C, running tasks have AUTOTASK_SHUTDOWN_GRACE seconds to finish; a second one stops the worker at "
    "once. With --workers, --max-tasks, --max-memory or --reload, this process supervises the workers, which are its "
    "child processes; replacing one loses no task. Log lines go to stderr. Exit codes: 0 it was asked to stop, or "
    "--burst found nothing more to do; 1 it failed; 2 wrong usage; 75 start it again, to get rid of a task that does "
    "not stop. With -v 2, it also logs the tasks that are done.",
    examples=(
        ("worker", "serve all queues"),
        ("worker --queues mail,reports --threads 8", "serve two queues, with eight threads"),
        ("worker --exclude-queues slow", "serve all queues but one"),
        ("worker --workers 4", "run four workers, each a process with its own threads"),
        ("worker --max-tasks 10000 --max-memory 512M", "replace workers before they leak too much"),
        ("worker --reload", "restart when the code changes, for development"),
        ("worker --burst", "run all tasks that are due, then exit"),
    ),
    add_arguments=add_arguments,
    run=run,
    needs_sound_settings=True,
)
