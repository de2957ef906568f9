"""The parts of a sub-command."""

from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Subcommand:
    """One sub-command of ``manage.py autotask``.

    :ivar help: one line for the list of sub-commands.
    :ivar description: what it does, in full.
    :ivar examples: command lines, each with its purpose.
    :ivar run: called with the console, and the options by name.
    :ivar needs_sound_settings: whether it refuses to start if the system checks of autotask find an error.
    :ivar gives_reasons: whether it shows why tasks wait, or what is wrong; the admin translates that, and commands are English.
    """

    name: str
    help: str
    description: str
    examples: tuple[tuple[str, str], ...]
    add_arguments: Callable[[ArgumentParser], Any]
    run: Callable[..., None]
    needs_sound_settings: bool = False
    gives_reasons: bool = False

    @property
    def epilog(self) -> str:
        """The examples below the help."""
        lines = [f"  python manage.py autotask {line}\n      {what}" for line, what in self.examples]
        return "Examples:\n" + "\n".join(lines)
