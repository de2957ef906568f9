"""The fault suite: faults, the invariants that must hold under them, and figures; see docs/contributing.rst."""
