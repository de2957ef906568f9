"""The process that has loaded the project for its forks."""

import subprocess
import sys

from tests.helpers import ROOT, environment

ADDRESS = """
import django
django.setup()
from autotask.template import Template
assert Template().obstacle() == ""

from django.urls import reverse
from django.urls.resolvers import URLResolver
del URLResolver._populate
print(reverse("admin:index"))
"""


def test_forks_need_not_read_the_patterns_of_addresses_any_more():
    done = subprocess.run(
        [sys.executable, "-c", ADDRESS], env=environment(), cwd=ROOT / "testproject", capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("/admin/\n", "")
