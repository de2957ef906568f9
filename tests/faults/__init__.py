"""The fault suite: what is broken, how, what must hold all the same, and the figures; see docs/contributing.rst."""
