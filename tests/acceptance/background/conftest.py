"""Fixtures of the tests of background workers whose workers are killed, paused, watched, or have processes of their own."""

from tests.integration.background.conftest import declared, lines, start

__all__ = ["declared", "lines", "start"]
