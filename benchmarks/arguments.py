"""What the commands have in common on the command line: types whose messages say what was expected, and options."""

import contextlib
import tempfile
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Iterator
from pathlib import Path

from benchmarks.server import DATA


def add_common(parser: ArgumentParser) -> None:
    """Define the options that all measuring commands have."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--log", type=Path, metavar="FILE", help="write the output of workers there (default: nowhere)")
    parser.add_argument(
        "--data",
        type=Path,
        default=DATA,
        metavar="FOLDER",
        help="where an own PostgreSQL keeps its data for the time being: the disk that is measured (default: %(default)s)",
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
    """Read a whole number from 1 on; thousands may be apart, as in 20_000."""
    return _whole(text, 1)


def positive_seconds(text: str) -> float:
    """Read a number of seconds above 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ArgumentTypeError(f"expected seconds, more than 0, not {text!r}")
    return seconds


def sizes(text: str) -> tuple[int, ...]:
    """Read whole numbers from 0 on, with commas between them."""
    return tuple(_whole(word, 0) for word in text.split(","))


def _whole(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise ArgumentTypeError(f"expected a whole number from {least} on, not {text!r}")
    return number
