"""What people type and read at ``manage.py autotask``: durations, queues, columns, help."""

import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, _SubParsersAction
from datetime import UTC, datetime, timedelta

import django
import pytest
from django.core.management.base import CommandError

import autotask
from autotask import checks, queues
from autotask.doctor.diagnosis import Patient, Verdict
from autotask.doctor.examination import CHECKS, compare_clocks
from autotask.management.arguments import duration
from autotask.management.commands.autotask import SUBCOMMANDS, Command
from autotask.texts import durations, render
from tests.documents import ROOT


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("12h", 43200), ("7d", 604800), ("0", 0), ("2", 2), ("1.5h", 5400), (" 3M ", 180)],
)
def test_durations_are_read(text, seconds):
    assert duration()(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "7x", "-1s", "1h30m", "nan", "inf", "1e3", "٣s", "7 days", "9" * 20])
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(ArgumentTypeError, match="like 90s, 15m, 12h or 7d"):
        duration()(text)


def test_more_than_a_century_is_refused():
    with pytest.raises(ArgumentTypeError, match="century"):
        duration()("40000d")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0.0 s"),
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (3660, "1 h 1 min"),
        (90_000, "1 d 1 h"),
        (700_000, "8 d 2 h"),
    ],
)
def test_durations_are_told_in_their_two_largest_units(seconds, words):
    assert durations.in_words(seconds) == words


@pytest.mark.parametrize(
    ("registered", "served", "unserved", "words"),
    [
        ("", ["a", "b"], [], "all"),
        ("a,b", ["a", "b"], ["c"], "a,b"),
        ("-a", ["b"], ["a"], "all except a"),
        ("a,b,-b", ["a"], ["b", "c"], "a,b except b"),
    ],
)
def test_a_worker_serves_what_it_has_registered(registered, served, unserved, words):
    assert all(queues.serves(registered, queue) for queue in served)
    assert not any(queues.serves(registered, queue) for queue in unserved)
    assert queues.in_words(registered) == words


def test_columns_are_aligned_also_with_wide_characters():
    assert render.table(["NAME", "N"], [("ab", 7), ("漢字", 10), ("", 1)], right=["N"]) == [
        "NAME   N",
        "ab     7",
        "漢字  10",
        "-      1",
    ]


def test_what_could_drive_a_terminal_is_not_printed():
    lines = render.table(["A"], [("\x1b[2Jx\ry\u202e",)]) + render.paragraph("one\n\x9b31mtwo\x07\n")
    assert all(line.isprintable() for line in lines)


def test_json_is_ascii():
    assert render.as_json({"a": "\x1bü"}, one_a_line=True) == '{"a": "\\u001b\\u00fc"}'


_NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("database", "took", "verdict", "words"),
    [
        (0, 0, Verdict.OK, "agree"),
        (4, 0, Verdict.OK, "agree"),
        (7, 8, Verdict.OK, "agree"),
        (6, 0, Verdict.PROBLEM, "6.0 s ahead of"),
        (-6, 3, Verdict.PROBLEM, "6.0 s behind"),
    ],
)
def test_clocks_may_differ_by_five_seconds_and_the_time_of_the_answer(database, took, verdict, words):
    finding = compare_clocks(_NOON, _NOON + timedelta(seconds=database), _NOON + timedelta(seconds=took))
    assert (finding.verdict, words in finding.text) == (verdict, True)


def parse(*words: str):
    return Command().create_parser("manage.py", "autotask").parse_args(words)


@pytest.mark.parametrize("name", sorted(SUBCOMMANDS))
def test_each_sub_command_has_help_with_examples(name, capsys):
    with pytest.raises(SystemExit) as leaving:
        parse(name, "--help")
    assert leaving.value.code == 0
    shown = capsys.readouterr().out
    assert f"Examples:\n  python manage.py autotask {name}" in shown


def test_the_help_tells_the_exit_codes(capsys):
    with pytest.raises(SystemExit):
        parse("--help")
    shown = capsys.readouterr().out
    assert all(f"  {code}  " in shown for code in range(5))
    assert all(f"    {name} " in shown for name in SUBCOMMANDS)


def test_without_a_sub_command_those_that_there_are_are_shown(capsys):
    with pytest.raises(SystemExit) as leaving:
        Command().run_from_argv(["manage.py", "autotask"])
    shown = capsys.readouterr()
    assert (leaving.value.code, shown.out) == (2, "")
    assert all(f"    {name} " in shown.err for name in SUBCOMMANDS)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("worker", "--threads", "0"), "'0' is not a whole number from 1 to 1000"),
        (("worker", "--queues", "a,,b"), "'' is not a name"),
        (("worker", "--workers", "0"), "'0' is not a whole number from 1 to 1000"),
        (("worker", "--max-tasks", "many"), "'many' is not a whole number from 1 to 999999999"),
        (("worker", "--max-memory", "512"), "'512' is not a size: write it like 512M or 1.5G"),
        (("worker", "--max-memory", "0M"), "'0M' is not a size"),
        (("list", "--limit", "1_0"), "'1_0' is not a whole number"),
        (("list", "--state", "lost"), "invalid choice: 'lost'"),
        (("list", "--name", "\x1b[2J"), "is not a name"),
        (("status", "--interval", "0"), "'0' is less than 0.1s"),
        (("prune", "--older-than", "soon"), "'soon' is not a duration"),
        (("show",), "required: ID"),
    ],
)
def test_wrong_usage_is_told_by_argument(words, expected):
    with pytest.raises(CommandError) as raised:
        parse(*words)
    assert expected in str(raised.value)


@pytest.mark.parametrize(
    ("text", "size"), [("512M", 2**29), ("1.5G", 3 * 2**29), ("256mb", 2**28), ("2GiB", 2**31), ("0.5M", 2**19)]
)
def test_sizes_are_binary_units(text, size):
    assert parse("worker", "--max-memory", text).max_memory == size


def test_what_django_gives_each_command_may_stand_before_and_behind_the_sub_command():
    assert parse("--traceback", "status").traceback is True
    assert parse("status", "--traceback", "--settings", "x").settings == "x"
    assert parse("-v", "2", "status").verbosity == 2


def test_a_patient_that_was_never_asked_has_nothing_to_close():
    patient = Patient()
    patient.close()
    assert not patient.pooled


@pytest.mark.parametrize("name", sorted(SUBCOMMANDS))
def test_each_option_of_a_sub_command_is_in_the_documentation(name):
    page = (ROOT / "docs" / "reference" / "commands.rst").read_text(encoding="utf-8")
    own = ArgumentParser()
    SUBCOMMANDS[name].add_arguments(own)
    synopsis = re.search(rf"^    python manage.py autotask {name} .*$", page, re.M)[0]
    assert set(re.findall(r"--[a-z-]+", synopsis)) == options_of(own) - {"--help"}


def options_of(parser: ArgumentParser) -> set[str]:
    """Return the long options of a parser and of the verbs that it has."""
    verbs = [action.choices.values() for action in parser._actions if isinstance(action, _SubParsersAction)]
    own = {option for action in parser._actions for option in action.option_strings if option.startswith("--")}
    return own.union(*(options_of(verb) for each in verbs for verb in each))


def test_each_check_of_the_doctor_is_in_the_documentation_with_its_number():
    page = (ROOT / "docs" / "reference" / "commands.rst").read_text(encoding="utf-8")
    listed = re.findall(r"^(\d+) +``(\w+)`` ", page, re.M)
    assert listed == [(str(number), check.name) for number, check in enumerate(CHECKS, 1)]


def test_the_version_is_that_of_autotask_and_django(capsys):
    with pytest.raises(SystemExit) as left:
        Command().run_from_argv(["manage.py", "autotask", "--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"autotask {autotask.__version__}, Django {django.get_version()}\n"


@pytest.mark.parametrize(
    ("word", "meant"), [("statsu", "'stats' or 'status'"), ("wroker", "'worker'"), ("shedules", "'schedules'")]
)
def test_a_mistyped_sub_command_is_guessed(word, meant, capsys):
    with pytest.raises(SystemExit) as left:
        Command().run_from_argv(["manage.py", "autotask", word])
    assert left.value.code == 2
    assert f"there is no sub-command {word!r} (did you mean {meant}?)" in capsys.readouterr().err


def test_notes_are_shown_by_check_and_not_before_each_command(monkeypatch):
    registered = []
    monkeypatch.setattr(checks, "register", lambda check, tag: registered.append(check))
    for command, shown in (("migrate", checks.CHECKS), ("check", (*checks.CHECKS, *checks.NOTES))):
        registered.clear()
        monkeypatch.setattr(sys, "argv", ["manage.py", command])
        checks.register_all()
        assert tuple(registered) == shown
