"""How the command ends, in real processes and where there are no tables."""

import re
import subprocess
import sys

import pytest

from autotask.tasks import delayed_task
from tests.helpers import environment
from tests.integration.commands.command import manage, process

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.usefixtures("_without_tables")
@pytest.mark.parametrize(
    "words",
    [
        *(["status"], ["list"], ["stats"], ["prune"], ["resign"], ["alerts"], ["background"], ["schedules"]),
        *([word, "0" * 32] for word in ("show", "logs", "retry", "cancel", "discard")),
        *(["pause", "--everything"], ["resume", "--everything"], ["keys", "list"]),
    ],
)
def test_without_tables_there_is_one_line_that_says_so(words):
    shown = manage(*words)
    assert (shown.code, shown.out) == (1, "")
    assert re.fullmatch(r"The tables of autotask are not in .* Run: python manage.py migrate autotask", shown.err)


#: Runs each line of words as ``manage.py`` does, in a fork, since to load Django takes longest; prints the statuses.
FORKS = """
import os, sys, django
from django.core.management import execute_from_command_line

django.setup()
statuses = []
for line in sys.stdin.read().splitlines():
    if not (pid := os.fork()):
        execute_from_command_line(["manage.py", "autotask", *line.split()])
        sys.exit()
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
sys.exit(" ".join(map(str, statuses)))
"""


def test_the_process_ends_with_the_documented_code():
    lines = ["status", "", "prune --older-than soon", "doctor", "show 00000000-0000-0000-0000-000000000000"]
    words = [sys.executable, "-c", FORKS]
    ended = subprocess.run(
        words, input="\n".join(lines), env=environment(DEBUG="false"), capture_output=True, text=True
    )
    assert ended.stderr.splitlines()[-1] == "0 2 2 3 4"


def test_text_that_the_terminal_has_no_letters_for_is_no_error():
    handle = delayed_task(name="some.name")(lambda text: None)("漢字 ü")
    shown = process("autotask", "show", str(handle.id), PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (shown.code, shown.err) == (0, "")
    assert re.search(r"^arguments +text='\?\? \?'$", shown.out, re.M)


def test_wrong_settings_do_not_keep_manage_py_check_from_telling():
    wrong = dict.fromkeys(("TASKS_MODULE", "IS_ACTIVE", "COMPANION", "DATABASE"), "5")
    shown = process("check", **{f"AUTOTASK_{name}": value for name, value in wrong.items()})
    assert shown.code == 1
    assert shown.err.count("(autotask.E003)") == 4
    assert "Traceback" not in shown.err
