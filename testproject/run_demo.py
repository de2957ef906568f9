#!/usr/bin/env python
"""See autotask work: run_demo.py [--once] starts the test project on its own data, and feeds it tasks."""

import os
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / ".demo"


def main() -> None:
    """Run the command "demo", in an environment in which it does not touch a developer's data."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "testproject.settings"
    os.environ["DEMO_PGDATA"] = str(FOLDER / "pgdata")
    os.environ["DEMO_OUTPUT"] = str(FOLDER / "output")
    os.environ.setdefault("AUTOTASK_MODULES", '["demo.background"]')
    from django.core.management import execute_from_command_line  # here, so that Ctrl-C is quiet from the first moment

    execute_from_command_line([sys.argv[0], "demo", *sys.argv[1:]])


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
