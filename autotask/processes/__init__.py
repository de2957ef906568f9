"""Processes, their signals, pipes and lives: nothing here knows of tasks, and nothing needs more than the standard library."""
