"""While old and new code run side by side, an old worker leaves to a newer one what it does not know."""

import shutil

import pytest

from autotask.store.connection import rows
from autotask.task import State
from tests.acceptance.site import START
from tests.helpers import LONG, ROOT, wait_until

#: Seconds from the start of a worker with the new code to the end of the task; more where tests share a machine.
DONE_WITHIN = 2.0 if LONG else START

OLD = """
from autotask.tasks import delayed_task

@delayed_task
def known(value=None):
    return "by the old code"
"""

NEW = """
from autotask.tasks import delayed_task
from shop.things import Thing

@delayed_task
def known(value=None):
    return "by the new code"

@delayed_task
def added():
    return "by the new code"

def call_with_a_new_class():
    return known(Thing())
"""

THINGS = """
class Thing:
    pass
"""


@pytest.fixture
def trees(site):
    """Two trees of the same project."""
    site.apps.append("shop")
    return _tree(site, "old", tasks=OLD), _tree(site, "new", tasks=NEW, things=THINGS)


def _tree(site, name, **modules):
    folder = site.folder / name / "shop"
    folder.mkdir(parents=True)
    for module, text in {"__init__": "", **modules}.items():
        (folder / f"{module}.py").write_text(text)
    return folder.parent


def newer_autotask(tree):
    """Put a later autotask into a tree, which writes and reads envelopes of a later version."""
    copy = shutil.copytree(ROOT / "autotask", tree / "autotask", ignore=shutil.ignore_patterns("__pycache__"))
    module = copy / "envelopes.py"
    text = module.read_text()
    assert "\nVERSION = 1\n" in text
    module.write_text(text.replace("\nVERSION = 1\n", "\nVERSION = 2\n"))


def given_back(site, id):
    """Whether a worker has found that it does not know a task, and has left it to another one."""
    [[unknown, attempt]] = rows(
        site.database, "SELECT unknown_since IS NOT NULL, attempt FROM autotask_live WHERE id = %(id)s", {"id": id}
    )
    return unknown and attempt == 0 and site.task(id).state is not State.RUNNING


#: The task is new, its argument is of a new class, or the payload is of a later version of autotask.
CALLS = {"task": "added", "class": "call_with_a_new_class", "envelope": "known"}


@pytest.mark.parametrize("call", CALLS.values() if LONG else ["added"])
def test_an_old_worker_leaves_what_it_does_not_know_to_a_newer_one(site, trees, call):
    # Given a worker with the old code
    old, new = trees
    site.paths = [str(old)]
    server = site.runserver("--noreload")
    site.companion(server)

    # When a process with the new code calls
    if call == "known":
        newer_autotask(new)
    site.paths = [str(new)]
    caller = site.runserver("--noreload", COMPANION="off")
    id = caller.call(f"shop.tasks.{call}")

    # Then the old worker gives it back, and goes on
    wait_until(lambda: given_back(site, id), START, "the return of the task")
    assert site.result(site.wait_for_end(server.call("shop.tasks.known"))) == "by the old code"
    assert site.task(id).state in (State.SCHEDULED, State.READY)

    # When
    worker = site.worker()
    wait_until(lambda: len(site.registered()) == 2, START, "the new worker")

    # Then
    task = site.wait_for_end(id, DONE_WITHIN)
    assert (task.attempt, task.lost, task.failures) == (1, 0, 0)
    assert worker.lines(r"worker \d+ started")
