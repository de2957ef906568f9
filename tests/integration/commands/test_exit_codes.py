"""How the command ends, in real processes and where there are no tables."""

import re

import pytest

from autotask.tasks import delayed_task
from tests.integration.commands.command import manage, process

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.usefixtures("_without_tables")
@pytest.mark.parametrize(
    "words", [["status"], ["list"], ["show", "0" * 32], ["retry", "x"], ["cancel", "x"], ["prune"], ["resign"]]
)
def test_without_tables_there_is_one_line_that_says_so(words):
    shown = manage(*words)
    assert (shown.code, shown.out) == (1, "")
    assert re.fullmatch(r"The tables of autotask are not in .* Run: python manage.py migrate autotask", shown.err)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["status"], 0),
        ([], 2),
        (["prune", "--older-than", "soon"], 2),
        (["doctor"], 3),
        (["show", "00000000-0000-0000-0000-000000000000"], 4),
    ],
)
def test_the_process_ends_with_the_documented_code(words, code):
    assert process("autotask", *words).code == code


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
