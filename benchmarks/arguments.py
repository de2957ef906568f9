"""Common options of the commands, and types whose messages say what was expected."""

import contextlib
import tempfile
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from pathlib import Path

from benchmarks.server import DATA


def add_common(parser: ArgumentParser) -> None:
    """Define the options of all commands that measure."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to it")
    parser.add_argument("--log", type=Path, metavar="FILE", help="write the output of workers to it (default: nowhere)")
    parser.add_argument(
        "--data",
        type=Path,
        default=DATA,
        metavar="FOLDER",
        help="where a PostgreSQL that is started keeps its data, so the disk that is measured (default: %(default)s)",
    )


@contextlib.contextmanager
def log_file(asked: Path | None) -> Iterator[Path]:
    """The file that was asked for, or a temporary one."""
    if asked is not None:
        yield asked
    else:
        with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
            yield Path(folder) / "log"


def positive(text: str) -> int:
    """Read a whole number from 1; thousands may be separated, as in 20_000."""
    return _whole(text, 1)


def positive_seconds(text: str) -> float:
    """Read a number of seconds above 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ArgumentTypeError(f"expected a number of seconds above 0, not {text!r}")
    return seconds


def sizes(text: str) -> tuple[int, ...]:
    """Read whole numbers from 0, separated by commas."""
    return tuple(_whole(word, 0) for word in text.split(","))


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise ArgumentTypeError(f"expected a whole number of at least {least}, not {text!r}")
    return number
