"""The acts of commands, admin and backend on tasks and schedules: each takes one or many, and answers for each."""

from autotask.acts.pausing import pause, pauses, resume

__all__ = ["pause", "pauses", "resume"]
