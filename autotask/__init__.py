"""Delayed, periodic and cron tasks for Django on PostgreSQL."""

__version__ = "1.0.0.dev0"
