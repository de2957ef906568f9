"""Workflows: tasks whose steps are durable."""

from autotask.workflows.steps import astep, step

__all__ = ["astep", "step"]
