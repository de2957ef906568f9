"""Metrics for Prometheus: ``path("metrics/", autotask.metrics.view)``."""

from autotask.metrics.views import view as view
