"""The program from which a guard has its workers forked: load the project once, then fork a worker at each order."""

import functools
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from autotask.companion import child
from autotask.companion.forks import CHANGED, FORBIDDEN, FORKED, FULL, GO, LINE, LOADED
from autotask.processes import forking, life, packets

if TYPE_CHECKING:
    from autotask.template import Template

#: The name of a fork in ``ps -e`` and ``top``, of 15 bytes at most; its command line is that of the template.
FORK = b"autotask worker"


def main() -> int:
    """Run the template that the guard's environment variables describe; return its exit status."""
    guard = child.prepare()
    line = socket.socket(fileno=int(os.environ.pop(LINE)))
    line.set_inheritable(False)
    return child.report(lambda: _carry_out_orders(line, guard))


def _carry_out_orders(line: socket.socket, guard: int) -> int:
    # Imported here and not above: child.report() reports a project that cannot be imported.
    from autotask import django_setup

    django_setup.set_up(os.environ.pop(django_setup.VARIABLE, ""))

    from autotask.template import Template
    from autotask.worker import process  # noqa: F401 - for the forks, which load it once for all
    from autotask.worker.log_lines import show_log_lines

    show_log_lines()
    template = Template()
    if _is_hindered(line, template):
        return 0
    _answer(line, LOADED)
    while order := packets.receive(line):
        words, descriptors = order
        if _is_hindered(line, template):
            return 0
        try:
            pid = forking.fork_for(guard, functools.partial(_work, line, guard, words["variables"], descriptors))
        except OSError:  # no room
            _answer(line, FULL)
        else:
            _answer(line, FORKED, str(pid))
        packets.close(descriptors)
    return 0


def _is_hindered(line: socket.socket, template: "Template") -> bool:
    """Whether this process must not be forked; if so, tell the guard why."""
    if why := template.obstacle():
        _answer(line, CHANGED if template.change() else FORBIDDEN, why)
    return bool(why)


def _answer(line: socket.socket, answer: str, fact: str = "") -> None:
    packets.send(line, {"answer": answer, "fact": fact})


def _work(line: socket.socket, guard: int, variables: Mapping[str, str], descriptors: Sequence[int]) -> None:
    """Run the worker in its fork."""
    line.close()
    life.name(FORK)
    go, leave, wake, *offers = descriptors
    life.ignore_interrupts()
    life.die_with_parent(guard, signal.SIGKILL)
    if os.read(go, 1) != GO:
        os._exit(0)
    os.close(go)
    os.environ.update(variables)
    os.environ["AUTOTASK_LEAVE_FD"] = str(leave)
    os.environ["AUTOTASK_WAKE_FD"] = str(wake)
    os.environ["AUTOTASK_OFFER_FDS"] = ",".join(map(str, offers))

    from autotask.worker import ending

    ending.like_a_program(child.report(child.work))


if __name__ == "__main__":
    sys.exit(main())
