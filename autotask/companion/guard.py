"""The guard, standard library only: ties the worker's life to Django's, restarts it, stops it in time.

It is a process of its own between the Django process and the worker. It has one thread and runs no code of the project, so
it notices the end of the Django process whatever that or the worker is busy with.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence

from autotask.processes import life, readable, streams, supervised
from autotask.processes.starting import Interpreter
from autotask.processes.stop_signals import StopSignals
from autotask.processes.supervised import LOOK_EVERY, SupervisedProcess
from autotask.texts.lines import indented


class Guard:
    """Keeps one worker running until the Django process is gone.

    :param parent: process id of the Django process.
    :param life_fd: read end of a pipe that the Django process holds open and never writes to; its end means "stop".
    :param wake_fd: read end of the pipe with which the Django process wakes the worker; passed on to it.
    :param offer_fds: the ends of the pipe for offers; passed on to the worker. An older Django process has none.
    :param grace: seconds that the worker gets to finish its tasks.
    :param options: for the interpreter of the worker. An older Django process passes none.
    """

    def __init__(
        self,
        parent: int,
        life_fd: int,
        wake_fd: int,
        offer_fds: Sequence[int],
        grace: float,
        options: Sequence[str] = ("-P",),
    ) -> None:
        self._parent = parent
        self._life_fd = life_fd
        self._offer_fds = offer_fds
        self._grace = grace
        self._signals = StopSignals()
        environment = {
            **os.environ,
            "AUTOTASK_GUARD": str(os.getpid()),
            "AUTOTASK_SERVES": str(parent),
            "AUTOTASK_WAKE_FD": str(wake_fd),
            **({"AUTOTASK_OFFER_FDS": ",".join(map(str, offer_fds))} if offer_fds else {}),
        }
        command = [sys.executable, *options, "-m", "autotask.companion.child"]
        start = Interpreter(command, environment, pass_fds=(wake_fd, *offer_fds))
        self._worker = SupervisedProcess(start, grace, self._say)

    def run(self) -> None:
        """Watch until the Django process is gone or a signal to stop comes, then stop the worker."""
        life.ignore_interrupts()
        self._signals.catch(signal.SIGTERM)
        life.die_with_parent(self._parent, signal.SIGTERM)
        while not self._is_over():
            if self._offer_fds and not self._worker.running():
                self._drop_offer()
            self._worker.look_after()
            self._signals.sleep(min(LOOK_EVERY, self._worker.rest()), [self._life_fd])
        supervised.stop([self._worker], self._grace, self._signals, self._is_urgent)

    def _drop_offer(self) -> None:
        """Remove the offer of a dead worker."""
        # Without autotask.offer and its imports: this process should stay small.
        with contextlib.suppress(OSError):  # there is none
            os.readv(self._offer_fds[0], [bytearray(64)])

    def _is_over(self) -> bool:
        if self._signals.count or life.is_orphan(self._parent):
            return True
        return bool(readable.wait([self._life_fd], 0)) and not os.read(self._life_fd, 1)

    def _is_urgent(self) -> bool:
        """Whether a second signal to stop came, not counting the kernel's when the Django process is gone."""
        return self._signals.count - (1 if life.is_orphan(self._parent) else 0) >= 2

    def _say(self, what: str, *, serious: bool = False) -> None:
        say(what, self._parent, serious=serious)


def say(what: str, parent: int, *, serious: bool = False) -> None:
    """Write one line, or more with indentation, to the standard error of the Django process; or JSON, if its lines are."""
    line = _as_json if streams.JSON_LINES in os.environ else _as_text
    # Nobody may be reading it any more.
    with contextlib.suppress(OSError):
        os.write(2, f"{line(what, parent, serious)}\n".encode(errors="replace"))


def _as_text(what: str, parent: int, serious: bool) -> str:
    moment = "" if streams.adds_time() else f"{time.strftime('%Y-%m-%d %H:%M:%S')} "
    return f"{moment}autotask[{os.getpid()}] guard of {parent}: {indented(('ERROR: ' if serious else '') + what)}"


def _as_json(what: str, parent: int, serious: bool) -> str:
    return json.dumps(
        {
            "asctime": time.strftime("%Y-%m-%d %H:%M:%S"),
            "levelname": "ERROR" if serious else "WARNING",
            "name": "autotask.companion.guard",
            "process": os.getpid(),
            "message": f"guard of {parent}: {what}",
        }
    )


def main() -> None:
    """Run the guard with the options of the command line."""
    streams.complete()
    parser = argparse.ArgumentParser(prog="python -m autotask.companion.guard", description=__doc__)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--life-fd", type=int, required=True)
    parser.add_argument("--wake-fd", type=int, required=True)
    parser.add_argument("--offer-fds", type=int, nargs=2, default=())
    parser.add_argument("--grace", type=float, required=True)
    parser.add_argument(
        "options", nargs="*", default=("-P",), help="Options of the interpreter of the worker, after --."
    )
    given = parser.parse_args()
    Guard(given.parent, given.life_fd, given.wake_fd, given.offer_fds, given.grace, given.options).run()


if __name__ == "__main__":
    main()
