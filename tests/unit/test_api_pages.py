"""The page about the HTTP API has what the API has."""

import re

from autotask.api import problems, submitting
from tests.documents import ROOT

PAGE = (ROOT / "docs" / "reference" / "http_api.rst").read_text(encoding="utf-8")


def test_each_code_of_an_error_is_in_the_documentation():
    table = PAGE.split("Errors\n------")[1]
    rows = re.findall(r"^[45]\d\d   (``.+?``)  ", table, re.MULTILINE)
    assert sorted(code for row in rows for code in re.findall(r"``(\w+)``", row)) == sorted(problems.CODES)


def test_each_member_of_a_request_is_in_the_documentation():
    terms = re.findall(r"^(``\w+``(?:, ``\w+``)*)$", PAGE.split("``GET tasks/`` takes")[0], re.MULTILINE)
    assert sorted(name for term in terms for name in re.findall(r"``(\w+)``", term)) == sorted(submitting.MEMBERS)
