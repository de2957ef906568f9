"""What the distribution has: the page that PyPI makes of the README, and files that are no modules."""

import re
import runpy
import sys
from unittest import mock

import pytest

from tests.documents import ROOT

README = (ROOT / "README.rst").read_text(encoding="utf-8")
PICTURE = r"^\.\. image:: (\S+)$"


@pytest.fixture(scope="module")
def setup():
    """What setup.py defines, and what it gives to setuptools."""
    setuptools = mock.Mock()  # environments for tests need not have it
    with mock.patch.dict(sys.modules, {"setuptools": setuptools}):
        names = runpy.run_path(str(ROOT / "setup.py"))
    return {**names, "given": setuptools.setup.call_args.kwargs}


def test_the_page_has_no_picture_that_only_the_repository_can_show(setup):
    assert re.findall(PICTURE, README, re.M)
    assert [name for name in re.findall(PICTURE, setup["given"]["long_description"], re.M) if "://" not in name] == []


def test_pictures_get_the_address_of_the_repository(setup):
    page = setup["for_pypi"](README, "https://example.org/raw/main/")
    assert re.findall(PICTURE, page, re.M) == ["https://example.org/raw/main/docs/images/dashboard.png"]
    assert page.replace("https://example.org/raw/main/", "") == README


def test_without_an_address_only_the_picture_is_missing(setup):
    without = setup["for_pypi"](README, "")
    assert "image::" not in without and ":alt:" not in without
    assert "There is no broker and no second command.\n\nIn a project with a PostgreSQL" in without


def test_all_files_that_are_no_modules_are_in_the_package(setup):
    package = ROOT / "autotask"
    shipped = {path for pattern in setup["given"]["package_data"]["autotask"] for path in package.glob(pattern)}
    files = (path for path in package.rglob("*.*") if path.is_file() and "__pycache__" not in path.parts)
    others = {path for path in files if path.suffix != ".py"}
    assert package / "locale" / "de" / "LC_MESSAGES" / "django.mo" in others
    assert others - shipped == set()


def test_the_demo_installs_what_a_user_would(setup):
    given = setup["given"]
    section = re.search(r"^\[testenv:demo\]\n(.*?)^\[", (ROOT / "tox.ini").read_text(encoding="utf-8"), re.M | re.S)[1]
    listed = re.search(r"^deps =\n((?: +.*\n)+)", section, re.M)[1]
    needed = [*given["install_requires"], *given["extras_require"]["embedded"]]
    assert sorted(line.strip() for line in listed.splitlines()) == sorted(needed)
