"""The words of the title of a worker."""

from types import SimpleNamespace

from autotask.worker.pools.base import Run
from autotask.worker.title import text


def run(name, id, began):
    return Run(SimpleNamespace(name=name, id=id), began)


def test_a_title_tells_of_the_task_that_began_first_and_counts_the_others():
    first, second = run("reports.build", 7, began=1.0), run("mail.send", 8, began=2.0)
    assert text("worker of 4121", []) == "autotask: worker of 4121"
    assert text("worker of 4121", [first]) == "autotask: worker of 4121 [reports.build #7]"
    assert text("worker of 4121", [second, first]) == "autotask: worker of 4121 [reports.build #7 and 1 more]"
