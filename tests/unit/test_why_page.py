"""The page "Why is my task not running?" has an anchor for each code."""

import re

import pytest

from autotask.management.commands.autotask import SUBCOMMANDS
from autotask.why import Code
from tests.documents import ROOT

PAGE = (ROOT / "docs" / "reference" / "why.rst").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^``(\w+)``\n~+\n(.*?)(?=^\.\. _|^[A-Z][^\n]*\n---|\Z)", PAGE, re.M | re.S))


def test_each_code_has_its_section_and_each_section_a_code():
    assert sorted(SECTIONS) == sorted(Code)


def test_each_section_has_an_anchor_of_its_name():
    assert re.findall(r"^\.\. _(.*):$", PAGE, re.M) == [code.replace("_", "-") for code in SECTIONS]


@pytest.mark.parametrize("code", list(Code))
def test_each_section_ends_in_a_command(code):
    command = SECTIONS[code].rstrip().splitlines()[-1]
    name, sub = re.fullmatch(r"    python manage\.py (\w+) ([\w]+).*", command).groups()
    assert name == "migrate" or sub in SUBCOMMANDS
