"""The module path for interpreters that a process starts for itself, so that they import the same; standard library only."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

#: The folder that holds the package, for an interpreter that knows no installed packages.
_HOME = str(Path(__file__).resolve().parents[2])


def options() -> list[str]:
    """Return the options for an interpreter that imports the same as this one, for use with :func:`handed_on`.

    They always include ``-P``: the module path is handed on as a whole, and with ``-m`` an interpreter would put the current
    folder before it, which may be writable for others.
    """
    # The omitted options would make it ignore PYTHONPATH; -s and -P are the rest of -I.
    own = [option for option in interpreter_options() if option not in ("-I", "-E", "-P")]
    return ["-P", *(["-s"] if sys.flags.isolated else []), *own]


def interpreter_options() -> list[str]:
    """Return the options of this interpreter that its children need."""
    return list(subprocess._args_from_interpreter_flags())  # type: ignore[attr-defined]  # used by multiprocessing, too


def handed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which an interpreter finds the modules of this process."""
    heeded = environment
    if sys.flags.ignore_environment:
        heeded = {name: value for name, value in environment.items() if not name.startswith("PYTHON")}
    return {
        **heeded,
        "PYTHONPATH": os.pathsep.join([*entries(), _HOME]),
        # restore() puts this back for programs that tasks run.
        "AUTOTASK_PYTHONPATH": environment.get("PYTHONPATH", ""),
    }


def entries() -> Iterator[str]:
    """Yield the folders and archives in which this process looks for modules, as absolute paths."""
    for entry in filter(_is_text, sys.path):
        try:
            yield os.path.abspath(entry)
        except OSError:
            continue  # relative to a current folder that is deleted


def _is_text(entry: object) -> bool:
    # Python imports nothing from other entries, such as an instance of Path.
    return isinstance(entry, str)


def restore() -> None:
    """Restore the module path of the project for programs that this process starts."""
    former = os.environ.pop("AUTOTASK_PYTHONPATH", "")
    if former:
        os.environ["PYTHONPATH"] = former
    else:
        os.environ.pop("PYTHONPATH", None)
