"""Choose the tasks to claim, how many, and for which pool."""
