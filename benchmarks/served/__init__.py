"""A site with the HTTP API and one view of its own, as servers run it."""

import os

os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.served.settings"
