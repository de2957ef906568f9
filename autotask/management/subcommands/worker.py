"""``worker``: run tasks in this process until told to stop."""

import os
from argparse import ArgumentParser

from autotask.conf import settings
from autotask.management.arguments import plain_names, whole
from autotask.management.console import USAGE, Console, failure
from autotask.management.subcommand import Subcommand
from autotask.worker.loop import WorkerOptions
from autotask.worker.process import run_worker


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
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
        help="Coroutines to run at a time. Default: AUTOTASK_COROUTINES.",
    )
    parser.add_argument(
        "--processes",
        type=whole(0, 1000),
        metavar="N",
        help="Child processes that run tasks. Default: AUTOTASK_PROCESSES.",
    )
    parser.add_argument("--burst", action="store_true", help="End when nothing is left to do now.")


def run(
    console: Console,
    *,
    queues: tuple[str, ...],
    exclude_queues: tuple[str, ...],
    threads: int | None,
    coroutines: int | None,
    processes: int | None,
    burst: bool,
) -> None:
    """Run a worker."""
    if queues and not set(queues) - set(exclude_queues):
        raise failure("--exclude-queues leaves none of --queues to serve.", USAGE)
    if not settings.IS_ACTIVE:
        console.complain("AUTOTASK_IS_ACTIVE is False: calls run in place. Only what is stored already is run here.")
    # Whatever the tasks of this worker start is not to start a companion of its own.
    os.environ["AUTOTASK_WORKER"] = str(os.getpid())
    status = run_worker(
        WorkerOptions(
            kind="worker",
            queues=queues,
            exclude_queues=exclude_queues,
            threads=threads or settings.THREADS,
            coroutines=settings.COROUTINES if coroutines is None else coroutines,
            processes=settings.PROCESSES if processes is None else processes,
            burst=burst,
        )
    )
    if status:
        raise failure(f"The worker ended with status {status}.", status)


SUBCOMMAND = Subcommand(
    name="worker",
    help="Run tasks in this process until told to stop.",
    description="Run tasks in this process: a dedicated worker, beside or instead of the companions of the site. "
    "The first SIGTERM or Ctrl-C lets running tasks finish for AUTOTASK_SHUTDOWN_GRACE seconds, a second one ends the "
    "worker at once. Log lines go to stderr.",
    examples=(
        ("worker", "serve all queues"),
        ("worker --queues mail,reports --threads 8", "serve two queues, with eight threads"),
        ("worker --exclude-queues slow", "serve all queues but one"),
        ("worker --burst", "run what is there, then end"),
    ),
    add_arguments=add_arguments,
    run=run,
    needs_sound_settings=True,
)
