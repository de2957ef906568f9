"""Announce incidents by the rules in AUTOTASK_ALERTS, once when they begin and once when they are over."""
