"""The background workers that this worker hosts."""
