"""manage.py autotask: parse the command line, call the sub-command, and exit with its code."""

import contextlib
import inspect
import os
import sys
import textwrap
from argparse import SUPPRESS, ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandParser, DjangoHelpFormatter
from django.db import DatabaseError, InterfaceError
from django.utils import translation
from django.utils.connection import ConnectionDoesNotExist

from autotask import __version__, django_setup
from autotask.checks import TAG
from autotask.exceptions import AutotaskError
from autotask.management.console import USAGE, Console, failure
from autotask.management.lookup import meant
from autotask.management.subcommands import (
    alerts,
    background,
    cancel,
    discard,
    doctor,
    health,
    keys,
    list_tasks,
    logs,
    next_ticks,
    pause,
    prune,
    resign,
    resume,
    retry,
    run_now,
    schedules,
    show,
    stats,
    status,
    why,
    worker,
)
from autotask.texts.lines import describe

SUBCOMMANDS = {
    module.SUBCOMMAND.name: module.SUBCOMMAND
    for module in (
        worker,
        status,
        stats,
        list_tasks,
        show,
        logs,
        why,
        retry,
        cancel,
        discard,
        schedules,
        next_ticks,
        pause,
        resume,
        run_now,
        alerts,
        background,
        prune,
        resign,
        keys,
        doctor,
        health,
    )
}

EPILOG = """\
Exit codes:
  0   ok
  1   error
  2   wrong usage
  3   unhealthy (doctor, health), or an incident (alerts)
  4   no such task, schedule, background worker or key
  75  start it again, to get rid of a task that does not stop (worker)

Examples:
  python manage.py autotask doctor
  python manage.py autotask worker --help
"""


class HelpFormatter(RawDescriptionHelpFormatter, DjangoHelpFormatter):
    """Leaves the examples as they are, and puts Django's own options last."""


class Command(BaseCommand):
    """The command."""

    help = "Run, watch and repair background tasks."
    # The doctor reports them itself, and the others are needed most when something is wrong. A worker runs autotask's own.
    requires_system_checks = ()

    def get_version(self) -> str:
        """Return the versions that ``--version`` shows."""
        return f"autotask {__version__}, Django {super().get_version()}"

    def run_from_argv(self, argv: list[str]) -> None:
        """Show the help if there is no sub-command, and suggest one for a mistyped one; the parser knows the rest."""
        if len(argv) == 2:
            self.create_parser(argv[0], argv[1]).print_help(sys.stderr)
            raise SystemExit(USAGE)
        word = argv[2] if len(argv) > 2 else ""
        if word not in SUBCOMMANDS and (suggestion := meant(word, SUBCOMMANDS)):
            self._called_from_command_line = True
            self.create_parser(argv[0], argv[1]).error(f"there is no sub-command {word!r}{suggestion}")
        super().run_from_argv(argv)

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return the parser, which shows its epilog as written."""
        # Positional: packages such as django-configurations replace this method with a function of their own.
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.formatter_class = HelpFormatter
        parser.epilog = EPILOG
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """Define the sub-commands."""
        parsers = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True, title="sub-commands")
        for subcommand in SUBCOMMANDS.values():
            own = parsers.add_parser(
                subcommand.name,
                help=subcommand.help,
                description=textwrap.fill(subcommand.description, 80),
                epilog=subcommand.epilog,
                formatter_class=HelpFormatter,
            )
            subcommand.add_arguments(own)
            _add_common_options(own)

    def handle(self, *, subcommand: str, **options: Any) -> None:
        """Call the sub-command, and turn errors into one line on stderr."""
        chosen = SUBCOMMANDS[subcommand]
        if chosen.needs_sound_settings:
            self.check(tags=[TAG])
        # Leave out the options that Django, or a package that replaces its parser, passes to each command.
        own = {name: options[name] for name in inspect.signature(chosen.run).parameters if name in options}
        try:
            is_program = self._called_from_command_line
            with translation.override(None) if chosen.gives_reasons else contextlib.nullcontext():
                chosen.run(Console(self.stdout, self.stderr, is_program), **own)
        except (AutotaskError, ConnectionDoesNotExist) as error:
            raise failure(str(error)) from error
        except (DatabaseError, InterfaceError) as error:
            raise failure(f"{describe(error).strip()} (Find out why: python manage.py autotask doctor)") from error
        except BrokenPipeError:
            _leave_closed_pipe()


def _add_common_options(parser: ArgumentParser) -> None:
    """Accept Django's own options after the sub-command too.

    Without defaults, so that options before the sub-command keep their values.
    """
    group = parser.add_argument_group("options of all Django commands")
    group.add_argument("-v", "--verbosity", type=int, choices=range(4), default=SUPPRESS, help=SUPPRESS)
    group.add_argument("--settings", default=SUPPRESS, help="Python path of the settings module.")
    group.add_argument("--pythonpath", default=SUPPRESS, help="A folder to add to the Python path.")
    group.add_argument("--traceback", action="store_true", default=SUPPRESS, help="Show tracebacks of errors.")
    group.add_argument("--no-color", action="store_true", default=SUPPRESS, help=SUPPRESS)
    group.add_argument("--force-color", action="store_true", default=SUPPRESS, help=SUPPRESS)
    group.add_argument("--skip-checks", action="store_true", default=SUPPRESS, help=SUPPRESS)
    if django_setup.uses_configurations():
        group.add_argument("--configuration", default=SUPPRESS, help="Name of the configuration class.")


def _leave_closed_pipe() -> None:
    """The reader, such as ``head``, has seen enough. The interpreter would complain when it flushes the rest."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
