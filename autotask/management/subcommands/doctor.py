"""``doctor``: look for problems that keep tasks from running, and say how to fix them."""

from argparse import ArgumentParser

from autotask.doctor.diagnosis import Finding, Verdict, finding_document
from autotask.doctor.examination import CHECKS, examine_all
from autotask.management.console import UNHEALTHY, Console, failure, open_tables
from autotask.management.subcommand import Subcommand
from autotask.store import misplaced
from autotask.texts import render


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    parser.add_argument("--quiet", action="store_true", help="Print problems only.")
    parser.add_argument(
        "--repair",
        action="store_true",
        help="First have workers rescue the tasks that no worker can find, because rows were deleted by hand.",
    )
    parser.add_argument("--json", action="store_true", help="Print one JSON document.")


def run(console: Console, *, quiet: bool, repair: bool, json: bool) -> None:
    """Go through all checks, and print the findings."""
    repaired = misplaced.repair(open_tables()) if repair else 0
    if repair and not json and (repaired or not quiet):
        console.say(f"{render.count(repaired, 'task')} repaired.")
    problems = 0
    documents = []
    for number, name, finding in examine_all():
        problems += finding.verdict is Verdict.PROBLEM
        documents.append(finding_document(number, name, finding))
        if not json and (finding.verdict is Verdict.PROBLEM or not quiet):
            console.say(*lines(number, name, finding))
    if json:
        shown = [each for each in documents if each["verdict"] == Verdict.PROBLEM or not quiet]
        console.say(render.as_json({"healthy": not problems, "repaired": repaired, "checks": shown}))
    if problems:
        raise failure(f"{render.count(problems, 'problem')} found.", UNHEALTHY)


def lines(number: int, name: str, finding: Finding) -> list[str]:
    """Return a finding."""
    widest = max(len(check.name) for check in CHECKS)
    shown = [f"{number:>2}  {finding.verdict.upper():<7}  {name:<{widest}}  {finding.text}"]
    return [*shown, f"{'':<13}fix: {finding.fix}"] if finding.fix else shown


SUBCOMMAND = Subcommand(
    name="doctor",
    help="Look for problems that keep tasks from running, and say how to fix them.",
    description="Check settings, database, tables, workers and queues, and say how to fix each problem. The exit code is "
    "0 if there is none, and 3 otherwise.",
    examples=(
        ("doctor", "all checks"),
        ("doctor --quiet || mail -s 'tasks' admin@example.org", "send a mail when something is wrong"),
        ("doctor --repair", "the same, after tasks were deleted by hand from some of the tables"),
        ("doctor --json", "one JSON document, for programs"),
    ),
    add_arguments=add_arguments,
    run=run,
)
