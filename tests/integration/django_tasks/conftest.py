"""Django's tasks are tested where there are any: on Django 6, or with the backport."""

from importlib.util import find_spec

import django

if django.VERSION < (6, 0) and not find_spec("django_tasks"):
    collect_ignore_glob = ["*"]
