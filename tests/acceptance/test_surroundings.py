"""Companions of processes that live in odd surroundings: in a folder of other people, and without standard streams."""

import ast
import os
import sys

import pytest

from tests.acceptance.site import ROOT, START
from tests.helpers import LONG, wait_until

#: An app whose tasks tell where they run.
APP = {
    "tasks": """
import os, sys
from autotask.tasks import delayed_task

@delayed_task
def look():
    for stream in (sys.stdout, sys.stderr):
        stream.write("a word")
        stream.flush()
    opened = [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
    return {"optimize": sys.flags.optimize, "looks here": os.getcwd() in sys.path, "opened": opened}

@delayed_task(executor="process")
def look_in_process():
    return look.call()
""",
}

PROGRAM = """
import os, sys, time
sys.path[:0] = {path!r}
os.chdir({folder!r})
import autotask.companion, django
django.setup()
from odd import tasks
autotask.companion.start()
with open({answer!r}, "w") as file:
    try:
        for task in ({tasks}):
            print(task().wait(30), file=file, flush=True)
    except BaseException:  # There may be no stderr that could show it.
        import traceback
        traceback.print_exc(file=file)
        raise
    print("done", file=file, flush=True)
time.sleep(600)
"""


@pytest.fixture
def ask(site):
    """Have a program that has a companion call tasks, and return the answers."""
    site.app("odd", **APP)
    folder = site.folder / "uploads"
    folder.mkdir()
    answer = site.folder / "answer"

    def said() -> str:
        return answer.read_text() if answer.exists() else ""

    def start(tasks: str, *options: str, before: tuple[str, ...] = ()) -> list[str]:
        path = [str(site.folder), str(ROOT), str(ROOT / "testproject")]
        program = PROGRAM.format(path=path, folder=str(folder), answer=str(answer), tasks=tasks)
        server = site.program("-c", SHELL, *before, sys.executable, *options, "-u", "-c", program)
        wait_until(lambda: said().endswith("done\n") or server.has_ended(), 2 * START, "the answers")
        assert said().endswith("done\n"), said()
        assert not server.has_ended()
        return answer.read_text().splitlines()[:-1]

    return start


#: Closes descriptors as "2>&-" of a shell does, and becomes the program.
SHELL = """
import os, sys
closed, words = sys.argv[1], sys.argv[2:]
for number in map(int, closed.split(",")) if closed else ():
    os.close(number)
os.execv(words[0], words)
"""


#: Options of the program, and which descriptors are closed.
CASES = [("-P", "2"), ("-I", "0,1,2"), ("-P", "")]


@pytest.mark.parametrize(("option", "closed"), CASES if LONG else CASES[:1])
def test_a_companion_takes_no_modules_of_the_current_folder_and_needs_no_standard_streams(ask, site, option, closed):
    # Given modules of other people
    for name in ("argparse", "json", "signal", "django", "psycopg", "psycopg2", "queue", "stat"):
        module = site.folder / "uploads" / f"{name}.py"
        module.write_text(f"open({str(site.folder / 'caught')!r}, 'a').write({name!r})")

    # When
    answers = ask("tasks.look, tasks.look_in_process", option, "-O", before=(closed,))

    # Then
    assert not (site.folder / "caught").exists()
    for answer in map(ast.literal_eval, answers):
        assert (answer["optimize"], answer["looks here"]) == (1, False)
        assert all(answer["opened"][int(number)] == os.devnull for number in closed.split(",") if number)
        assert not any("pipe" in name for name in answer["opened"])
