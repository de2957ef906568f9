"""The files on the page about deployment are such as those that read them will take."""

import json
import re
import shlex
import shutil
import subprocess
import sys

import pytest
from django.apps import apps

from autotask.management.commands.autotask import Command
from autotask.store import health
from tests.documents import ROOT, blocks

PAGE = ROOT / "docs" / "howto" / "deploy.rst"


def block(language):
    """The only code block of a language."""
    [found] = [block.text for block in blocks(PAGE) if block.language == language]
    return found


def commands():
    """Each command line of manage.py on the page."""
    lines = [command for each in blocks(PAGE) for command in each.commands]
    lines += re.findall(r"^ExecStart=(.*)$", block("ini"), re.M)
    words = [shlex.split(line) for line in lines if "manage.py" in line]
    words += [json.loads(found) for found in re.findall(r"(?:CMD|command:) (\[.*\])$", block("docker"), re.M)]
    words += [json.loads(found) for found in re.findall(r"command: (\[.*\])$", block("yaml"), re.M)]
    return [each[each.index("manage.py") + 1 :] for each in words]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_each_command_on_the_page_is_understood(words):
    assert words[0] == "autotask"
    assert Command().create_parser("manage.py", "autotask").parse_args(words[1:]).subcommand in ("worker", "doctor")


def test_the_page_shows_a_command_for_each_kind_of_machine():
    assert len(commands()) == 5


def test_the_page_and_the_doctor_name_all_tables():
    tables = {model._meta.db_table for model in apps.get_app_config("autotask").get_models() if model._meta.managed}
    granted = re.search(r"GRANT SELECT, INSERT, UPDATE, DELETE\n *ON ([\w, \n]+) TO", block("sql"))[1]
    assert set(re.findall(r"\w+", granted)) == set(health.TABLES) == tables


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    # Given the unit, with paths and a user that are on this machine
    unit = tmp_path / "mysite-autotask.service"
    text = block("ini").replace("/srv/mysite/venv/bin/python", sys.executable).replace("/srv/mysite", "/")
    unit.write_text(text.replace("User=mysite\n", ""))

    # When
    verified = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )

    # Then; other units of the machine, which are read as well, may have faults of their own
    found = [line for line in verified.stderr.splitlines() if unit.stem in line]
    assert (verified.returncode, found) == (0, [])


def test_the_container_s_commands_need_no_shell():
    found = re.findall(r"^ *(?:HEALTHCHECK.*\\\n *)?CMD (.*)$", block("docker"), re.M)
    assert len(found) == 2 and all(json.loads(each)[0] == "python" for each in found)
