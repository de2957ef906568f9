"""A real browser that looks at the pages of a real server."""

import os
import shutil
from importlib.resources import files

import pytest
from django.conf import settings
from django.db import connections

#: The tests here run in their own environment, tox -e browser: those of django-unfold by themselves, all others without it.
SETTINGS = {"tests.browser.settings": "test_unfold.py", "tests.browser.unfold_settings": "test_pages.py"}
collect_ignore_glob = [SETTINGS.get(settings.SETTINGS_MODULE, "test_*.py")]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Chromium: that in the environment variable CHROMIUM, or one on the PATH."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.fail("Chromium is missing. Debian: apt-get install chromium; elsewhere, name one in CHROMIUM.")
    return found


@pytest.fixture(scope="session")
def browser(chromium):
    """The browser."""
    from playwright.sync_api import sync_playwright

    # While Playwright's event loop is in this thread, Django gives it other connections than before and afterwards: those
    # on this side would stay open, and be in the way of those that wait for the end of all others.
    connections.close_all()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
        connections.close_all()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")
