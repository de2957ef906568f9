"""Whether tasks are worked on, for probes: ``path("health/", autotask.health.view)`` and ``manage.py autotask health``."""

from autotask.health.views import view as view
