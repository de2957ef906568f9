"""Choose the command: measure autotask by itself, compare it with others, or write the report."""

import signal
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec

from benchmarks.errors import BenchmarkError


def main(arguments: Sequence[str]) -> None:
    """Run the command that the first word names."""
    for package in ("psutil", "django"):
        if find_spec(package) is None:
            raise BenchmarkError(f"{package} is not installed. Run: tox -e benchmarks, or: pip install {package}")
    command, rest = _command(arguments)
    command(rest)


def _command(arguments: Sequence[str]) -> tuple[Callable[[Sequence[str]], None], Sequence[str]]:
    # Imported only now: main() has checked the packages that they need.
    from benchmarks import compare, report, suite

    commands = {"compare": compare.main, "report": report.main}
    if arguments and arguments[0] in commands:
        return commands[arguments[0]], arguments[1:]
    return suite.main, arguments


if __name__ == "__main__":
    # Clean up, as after Ctrl-C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        main(sys.argv[1:])
    except BenchmarkError as error:
        sys.exit(f"benchmarks: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
