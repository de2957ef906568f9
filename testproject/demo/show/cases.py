"""The calls of the demo, their expected outcomes, and the differences."""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autotask.task import CANCELLED, DONE, ERROR, RUNNING, WAITING, Status


@dataclass(frozen=True)
class Case:
    """One call of a task of the demo.

    :ivar task: name of the function in ``demo.tasks``.
    :ivar body: the JSON that is posted to enqueue it.
    :ivar says: part of the text of the result or error.
    :ivar leaves: a file below ``DEMO_OUTPUT``, as a pattern.
    :ivar mails: part of a mail about its end.
    :ivar waits: seconds before which it must not start.
    :ivar api: whether it is posted to the HTTP API.
    :ivar created: whether the call makes a task, and does not return the one of an earlier call.
    """

    task: str
    body: dict[str, Any] = field(default_factory=dict)
    status: Status = DONE
    attempts: int = 1
    says: str = ""
    leaves: str = ""
    mails: str = ""
    waits: float = 0
    api: bool = False
    created: bool = True

    def __str__(self) -> str:
        words: list[str] = [self.status]
        words += [f"after {self.attempts} attempts"] if self.attempts > 1 else []
        words += ["the same task"] if not self.created else []
        words += [f"not before {self.waits:g} s"] if self.waits and self.status is DONE else []
        return ", ".join(words)


@dataclass(frozen=True)
class Course:
    """The course of a call."""

    status: Status
    attempts: int
    text: str
    waited: float | None
    worker_is_ours: bool
    created: bool = True


def once() -> list[Case]:
    """Return one case of each kind."""
    return [
        Case(
            "send_welcome_mail",
            {"args": ["Anna", "anna@autotask.example"]},
            says="anna@autotask.example",
            leaves="mail/*.log",
        ),
        Case("report_sales", {"args": [3]}, says="'revenue': '1460.00'", leaves="reports/sales-03.txt"),
        Case("draw_sales", says="sales.svg", leaves="charts/sales.svg"),
        Case("mail_sales", says="as a picture", mails='filename="sales-of-the-year.svg"', api=True),
        Case("fetch_prices", {"args": [f"Tea & Co {random.randrange(10**6)}"]}, attempts=3, says="third attempt"),
        Case("charge_card", {"args": [4711]}, status=ERROR, says="the card for order 4711 has expired"),
        Case("remind", {"args": ["water the plants"]}, waits=3, says="water the plants"),
        Case("remind", {"args": ["never mind"], "using": {"delay": 3600}}, status=CANCELLED, attempts=0),
        Case("work_for", {"args": [2, "demo"], "using": {"priority": 50}}, says="worked for 2 s"),
        Case("take_note", {"many": [["demo", f"line {number}"] for number in (1, 2, 3)]}, says="line "),
        Case("pack_parcel", {"many": [[order] for order in range(1, 6)]}, says="of 2 tables in use"),
        Case("inspect_machine", {"args": ["lathe"]}, says="all 5 parts are fine"),
        Case("count_stock", {"args": ["teapots"]}, says="42 teapots left"),
        Case("count_stock", {"args": ["teapots"]}, says="42 teapots left", created=False),
    ]


def stream() -> Iterator[Case]:
    """Yield cases of every kind without end, each time with another name."""
    for round in itertools.count(1):
        name = random.choice(["Anna", "Bela", "Chiara", "Deniz", "Emil", "Fatma", "Greta", "Hugo"])
        yield Case("send_welcome_mail", {"args": [name, f"{name.lower()}@autotask.example"]})
        yield Case("report_sales", {"args": [random.randint(1, 12)]})
        yield Case("fetch_prices", {"args": [f"{name} & Co {random.randrange(10**6)}"]})
        yield Case("work_for", {"args": [random.randint(1, 6), "demo"]})
        yield Case("draw_sales")
        yield Case("mail_sales", api=True)
        yield Case("charge_card", {"args": [4710 + round]})
        yield Case("remind", {"args": [f"call {name}"]})
        yield Case("take_note", {"many": [["demo", f"{name} {number}"] for number in (1, 2, 3)]})
        yield Case("pack_parcel", {"many": [[5 * round + number] for number in range(5)]})
        yield Case("count_stock", {"many": [["teapots"], ["cups"], ["teapots"]]})


def problems(case: Case, course: Course, output: Path) -> list[str]:
    """Return the differences from the expected; empty if there are none."""
    if course.status in (WAITING, RUNNING):
        return ["did not finish in time"]
    found = []
    if course.status is not case.status:
        found.append(f"is {course.status}")
    if course.attempts != case.attempts:
        found.append(f"{course.attempts} attempts")
    if case.says not in course.text:
        found.append(f"does not say {case.says!r}")
    if case.leaves and not any(output.glob(case.leaves)):
        found.append(f"left no {case.leaves}")
    if case.mails and not any(case.mails in mail.read_text() for mail in output.glob("mail/*.log")):
        found.append(f"no mail has {case.mails!r}")
    if course.created is not case.created:
        found.append("made a task of its own" if course.created else "made no task")
    if case.waits and course.waited is not None and course.waited < case.waits:
        found.append(f"started after {course.waited:.1f} s")
    if case.attempts and not course.worker_is_ours:
        found.append("not run by the companion")
    return found
