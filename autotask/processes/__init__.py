"""Processes with their signals and pipes: no tasks, and only the standard library."""
